//! The overlay over the layers of one attachment.

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use layerstone_layer::LayerPath;
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags};

use super::call::{self, FileSystem, OptionPath};
use super::layer::remove_point;
use super::mountinfo::SOURCE;
use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;

/// Environment variable for tests: `string` uses the interface of kernels before 6.7.
const INTERFACE_VARIABLE: &str = "LAYERSTONE_OVERLAY_OPTIONS";

/// Options that do not depend on the layers. What a commit reads from the upper directory must be all there is: whole
/// files (`metacopy`), under their own names (`redirect_dir`; `nofollow` also keeps a layer's own attributes from
/// pointing elsewhere). Without `index` a scratch stays usable when its layers are mounted anew. `xino` gives the whole
/// view one device number, as tools that compare them expect, where inode numbers have room for it.
const OPTIONS: [(&str, &str); 4] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "auto")];

/// Bytes of options that `mount(2)` takes: a page, with the NUL.
const OLD_LIMIT: usize = 4096;

/// What to put over what.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    /// The attachment.
    pub(super) id: &'a str,
    /// For messages.
    pub(super) subject: &'a str,
    pub(super) target: &'a Path,
    /// Topmost first, at least two without an upper directory, one with.
    pub(super) lowers: &'a [PathBuf],
    /// Upper and work directory.
    pub(super) writable: Option<(&'a Path, &'a Path)>,
    /// Nothing that is written is synced, not even when it is unmounted (since Linux 5.10).
    pub(super) volatile: bool,
    /// Where mounts may be made on the way.
    pub(super) mounting: &'a Path,
}

/// An overlay that is not yet where it should be.
#[derive(Debug)]
enum Made {
    /// Attached to nothing.
    Free(OwnedFd),
    /// At [`Overlay::staged`].
    Staged,
}

impl Overlay<'_> {
    /// Makes the mount that shows the overlay, or only a directory of it; attached to nothing.
    pub(super) fn view(&self, subtree: Option<&str>) -> Result<OwnedFd> {
        let staged = Staged(self.staged());
        let made = self.make()?;
        let mount = match (made, subtree) {
            (Made::Free(mount), None) => mount,
            (made, subtree) => {
                // Only what is mounted somewhere can be cloned, before Linux 6.15.
                if let Made::Free(mount) = made {
                    create(&staged.0)?;
                    call::show(mount, &staged.0)?;
                    failpoint("attach-overlay-staged");
                }
                let seen = subtree.map_or_else(|| staged.0.clone(), |name| staged.0.join(name));
                let mount = call::clone_tree(&seen).map_err(|error| match (error, subtree) {
                    (Error::Mount { source, .. }, Some(name))
                        if source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        Error::NoPath { path: LayerPath::from(name), place: self.subject.to_owned() }
                    }
                    (error, _) => error,
                })?;
                failpoint("attach-overlay-cloned");
                remove_point(&staged.0)?;
                mount
            }
        };
        Ok(mount)
    }

    fn staged(&self) -> PathBuf {
        self.mounting.join(self.id)
    }

    fn source(&self) -> String {
        format!("{SOURCE}{}", self.id)
    }

    fn make(&self) -> Result<Made> {
        if std::env::var_os(INTERFACE_VARIABLE).is_some_and(|value| value == "string") {
            return self.make_by_string();
        }
        match self.make_layer_by_layer() {
            Ok(mount) => Ok(Made::Free(mount)),
            // What a kernel says that does not know `lowerdir+`; and many other things, so that error is the one to
            // show when the other way does not work either.
            Err(error @ Error::Mount { .. }) if is_invalid(&error) => {
                self.make_by_string().map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Names each layer by itself: since Linux 6.7, for as many layers as overlayfs can take.
    fn make_layer_by_layer(&self) -> Result<OwnedFd> {
        let overlay = FileSystem::open("overlay", self.subject.to_owned(), self.target)?;
        overlay.set("source", self.source().as_bytes())?;
        for (name, value) in OPTIONS {
            overlay.set(name, value.as_bytes())?;
        }
        // They keep the descriptors that the options speak of until the kernel has looked.
        let mut names = Vec::with_capacity(self.lowers.len() + 2);
        let mut attributes = MountAttrFlags::empty();
        match self.writable {
            None => {
                overlay.flag("ro")?;
                attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
            }
            Some((upper, work)) => {
                for (option, path) in [("upperdir", upper), ("workdir", work)] {
                    let name = OptionPath::new(path)?;
                    overlay.set(option, name.as_bytes())?;
                    names.push(name);
                }
                if self.volatile {
                    overlay.flag("volatile")?;
                }
            }
        }
        for lower in self.lowers {
            // The options of every overlay are read by whoever reads the list of mounts, over and over on a busy host:
            // with hundreds of containers over many layers, short names keep that list short.
            let name = OptionPath::by_descriptor(lower)?;
            overlay.set("lowerdir+", name.as_bytes())?;
            names.push(name);
        }
        overlay.try_create().map_err(|errno| overlay.failed("create", errno))?;
        overlay.mount(attributes)
    }

    /// Names all layers in one string of limited length, each as short as can be. Where that is too long, the lower
    /// layers become an overlay of their own, which is the lowest layer of the other: merging from the bottom up
    /// gives the same view, as nothing that lies below hides anything above.
    fn make_by_string(&self) -> Result<Made> {
        let names: Vec<OptionPath> =
            self.lowers.iter().map(|lower| OptionPath::by_descriptor(lower)).collect::<Result<_>>()?;
        let mut lengths = names.iter().map(|name| name.as_bytes().len() + 1);
        let directories = match self.writable {
            Some((upper, work)) => {
                Some((OptionPath::by_descriptor(upper)?, OptionPath::by_descriptor(work)?))
            }
            None => None,
        };
        let mut options = String::new();
        for (name, value) in OPTIONS {
            options.push_str(&format!(",{name}={value}"));
        }
        let mut both = options.clone();
        if let Some((upper, work)) = &directories {
            for (name, value) in [("upperdir", upper), ("workdir", work)] {
                both.push_str(&format!(",{name}={}", String::from_utf8_lossy(value.as_bytes())));
            }
            if self.volatile {
                both.push_str(",volatile");
            }
        }
        // One more name for the lower overlay, one more byte for the NUL.
        let room = |options: &str| OLD_LIMIT - "lowerdir=".len() - options.len() - 32;
        let total: usize = lengths.clone().sum();
        let staged = self.staged();
        let flags = if self.writable.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
        if total <= room(&both) {
            self.mount_string(&staged, &joined(&names, None), &both, flags)?;
            return Ok(Made::Staged);
        }
        let mut left = room(&both);
        let above = lengths
            .position(|length| {
                let fits = length <= left;
                left = left.saturating_sub(length);
                !fits
            })
            .unwrap_or(names.len());
        let below = &names[above..];
        if below.iter().map(|name| name.as_bytes().len() + 1).sum::<usize>() > room(&options) {
            let limit =
                above + room(&options) / names.iter().map(|n| n.as_bytes().len() + 1).max().unwrap_or(1);
            return Err(Error::TooManyLayers { layers: names.len(), limit });
        }
        let base = Staged(self.mounting.join(format!("{}-base", self.id)));
        // A lowest layer by itself needs another one to be an overlay; there are many here.
        self.mount_string(&base.0, &joined(below, None), &options, MountFlags::RDONLY)?;
        let base_name = OptionPath::by_descriptor(&base.0)?;
        self.mount_string(&staged, &joined(&names[..above], Some(&base_name)), &both, flags)?;
        // The overlay holds the lower one by itself; a descriptor would keep the mount busy.
        drop(base_name);
        drop(base);
        Ok(Made::Staged)
    }

    fn mount_string(&self, at: &Path, lowers: &str, options: &str, flags: MountFlags) -> Result<()> {
        create(at)?;
        let data = CString::new(format!("lowerdir={lowers}{options}")).unwrap_or_default();
        rustix::mount::mount(self.source(), at, "overlay", flags, Some(data.as_c_str()))
            .map_err(|errno| call::failed(format!("mount {} as overlay", self.subject), self.target, errno))
    }
}

fn joined(names: &[OptionPath], last: Option<&OptionPath>) -> String {
    let names: Vec<_> =
        names.iter().chain(last).map(|name| String::from_utf8_lossy(name.as_bytes())).collect();
    names.join(":")
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir(directory).doing("create", directory)
}

fn is_invalid(error: &Error) -> bool {
    matches!(error, Error::Mount { source, .. } if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()))
}

/// A directory on which something may be mounted for a moment; nothing is left when this is dropped.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = remove_point(&self.0);
    }
}
