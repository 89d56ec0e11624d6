//! What has to be in a container's root file system before it runs: its working directory, and the volumes of its image.
//!
//! Names are resolved below the root, as they will be in the container: a link in an image cannot lead out of it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use crate::error::{IoContext as _, Result};
use crate::model::Config;
use crate::spec::{Mount, Spec};

/// Makes the directories, and adds what is to be mounted for them.
pub(super) fn prepare(root: &Path, config: &Config, spec: &mut Spec) -> Result<()> {
    // What is mounted over is not the image's.
    let is_covered = |spec: &Spec, path: &str| {
        spec.mounts.iter().any(|mount| Path::new(path).starts_with(&mount.destination))
    };
    let handle = super::open_directory(root)?;
    if !is_covered(spec, &config.workdir) {
        make_directory(&handle, root, &config.workdir)?;
    }
    for volume in &config.image_volumes {
        if is_covered(spec, volume) {
            continue;
        }
        let made = make_directory(&handle, root, volume)?;
        if config.read_only {
            // The same directory once more, as a mount of its own, which stays writable.
            let source = resolved(&made)?;
            let source = source.to_string_lossy();
            spec.mounts.push(Mount::new(volume, "bind", &source, &["bind", "rprivate", "nosuid", "nodev"]));
        }
    }
    Ok(())
}

/// Where an open directory is.
fn resolved(directory: &OwnedFd) -> Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    std::fs::read_link(&link).doing("read the link", link)
}

/// The directory `path` below the root, made with those above it where it is missing.
fn make_directory(root: &OwnedFd, shown: &Path, path: &str) -> Result<OwnedFd> {
    let open = |path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(root, path, flags, Mode::empty(), below)
    };
    let shown = |path: &str| shown.join(path.trim_start_matches('/'));
    let mut reached = String::from("/");
    let mut at = open(&reached).doing("open", shown(&reached))?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let next = format!("{}/{part}", reached.trim_end_matches('/'));
        at = match open(&next) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => {
                // The parent is open: whatever a name before this one led to, this makes an entry of that directory. A link
                // that leads nowhere is in the way, and stays so.
                match mkdirat(at.as_fd(), part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno).doing("create", shown(&next)),
                }
                open(&next).doing("open", shown(&next))?
            }
            Err(errno) => return Err(errno).doing("open", shown(&next)),
        };
        reached = next;
    }
    Ok(at)
}
