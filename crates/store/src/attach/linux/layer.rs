//! The mounts of layers: one each, whoever uses it.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use layerstone_oci::ChainId;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::call::{self, FileSystem, OptionPath};
use super::loopdev::LoopDevice;
use super::runtime::Runtime;
use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;
use crate::layer::IMAGE;
use crate::root::{Store, read_dir_or_empty};

/// Environment variable for tests: `loop` mounts through loop devices where files would do too.
const BACKING_VARIABLE: &str = "LAYERSTONE_LAYER_MOUNTS";

/// What `statfs` says of EROFS (`linux/magic.h`).
const EROFS_MAGIC: u64 = 0xE0F5_E1E2;

/// What the mount of a layer allows. Only the overlay over it decides what a container may do: overlayfs reads the layer
/// with the rights of whoever mounted it and asks its own mount about devices, set-user-ID and execution. So nothing
/// is lost in the container by forbidding here what nobody should do with the bare layer. Execution is not forbidden:
/// the pages of a running program are mapped from the layer's own file.
const ATTRIBUTES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOATIME);

/// How an image file becomes a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    /// As it is.
    File,
    /// Through a loop device.
    Loop,
}

/// Sees to it that every layer is mounted; returns where, in the same order.
pub(super) fn mount_all(store: &Store, runtime: &Runtime, chain_ids: &[ChainId]) -> Result<Vec<PathBuf>> {
    let root = runtime.layers();
    let mut points = Vec::with_capacity(chain_ids.len());
    for chain in chain_ids {
        let point = root.join(chain.0.hex());
        if !is_mounted(&point)? {
            match fs::create_dir(&point) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).doing("create", &point);
                }
                _ => {}
            }
            let mount = image(chain, &store.layer_path(chain).join(IMAGE))?;
            failpoint("attach-layer-made");
            call::show(mount, &point)?;
            failpoint("attach-layer-mounted");
        }
        points.push(point);
    }
    Ok(points)
}

/// True when an EROFS lies there: nobody else mounts anything in the runtime directory.
fn is_mounted(point: &Path) -> Result<bool> {
    match rustix::fs::statfs(point) {
        Ok(found) => Ok(u64::try_from(found.f_type).is_ok_and(|kind| kind == EROFS_MAGIC)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno).doing("look at", point),
    }
}

/// The mount of a layer's image, attached to nothing.
pub(super) fn image(chain: &ChainId, image: &Path) -> Result<OwnedFd> {
    let subject = format!("layer {}", chain.0.short());
    if std::env::var_os(BACKING_VARIABLE).is_some_and(|value| value == "loop") {
        return mount_with(Backing::Loop, &subject, image);
    }
    match mount_with(Backing::File, &subject, image) {
        // What the kernel says when it wants a block device.
        Err(Error::Mount { source, .. }) if source.raw_os_error() == Some(Errno::NOTBLK.raw_os_error()) => {
            mount_with(Backing::Loop, &subject, image)
        }
        other => other,
    }
}

/// Mounts an image in one of the two ways; attached to nothing.
pub(super) fn mount_with(backing: Backing, subject: &str, image: &Path) -> Result<OwnedFd> {
    match backing {
        Backing::File => mount(subject, image, image),
        Backing::Loop => {
            let device = LoopDevice::new(image).map_err(|source| Error::Mount {
                doing: format!("set up a loop device for {subject}"),
                path: image.to_path_buf(),
                why: "this kernel cannot mount image files as they are, so /dev/loop-control is needed \
                      (Linux 5.8 or later; in a container it must be passed in)"
                    .into(),
                source,
            })?;
            mount(subject, image, device.path())
        }
    }
}

fn mount(subject: &str, image: &Path, source: &Path) -> Result<OwnedFd> {
    let erofs = FileSystem::open("erofs", subject.to_owned(), image)?;
    erofs.flag("ro")?;
    let source = OptionPath::new(source)?;
    erofs.set("source", source.as_bytes())?;
    erofs.try_create().map_err(|errno| erofs.failed("create", errno))?;
    erofs.mount(ATTRIBUTES)
}

/// Takes away the mounts of all layers that are not in `used`.
pub(super) fn sweep(runtime: &Runtime, used: &BTreeSet<ChainId>) -> Result<()> {
    let used: BTreeSet<String> = used.iter().map(|chain| chain.0.hex()).collect();
    for entry in read_dir_or_empty(&runtime.layers())? {
        if !entry.file_name().to_str().is_some_and(|name| used.contains(name)) {
            remove_point(&entry.path())?;
            failpoint("detach-layer-unmounted");
        }
    }
    Ok(())
}

/// Takes away everything that is mounted at a directory of ours, and the directory. It stays where another mount
/// namespace has something mounted on it; the next sweep tries again.
pub(super) fn remove_point(point: &Path) -> Result<()> {
    while call::take_away(point)? != call::Unmounted::NotThere {}
    match fs::remove_dir(point) {
        Err(error)
            if !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ResourceBusy) =>
        {
            Err(error).doing("remove", point)
        }
        _ => Ok(()),
    }
}
