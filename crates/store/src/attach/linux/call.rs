//! The kernel's mount calls, with errors that say which step failed, on what, and what to do.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use crate::error::{Error, Result};

/// What a host must have in its kernel to show a layer.
const NO_PRIVILEGE: &str =
    "the privilege to mount (CAP_SYS_ADMIN outside of a user namespace): run this as root";
const NO_MOUNT_API: &str = "the mount calls of Linux 5.2 (fsopen and its like): update the kernel, or let the \
     sandbox that this runs in allow them";

/// The longest string that a mount option can have: `fsconfig` takes 256 bytes with the NUL.
const MAX_OPTION: usize = 255;

/// A name for a path that fits a mount option: a path that is too long, or has a character that options treat
/// specially, is opened and named by its descriptor.
#[derive(Debug)]
pub(super) struct OptionPath {
    name: CString,
    /// Keeps the descriptor that the name speaks of.
    _open: Option<OwnedFd>,
}

impl OptionPath {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let special = bytes.iter().any(|b| matches!(b, b'\\' | b',' | b':' | 0));
        match CString::new(bytes) {
            Ok(name) if bytes.len() <= MAX_OPTION && !special => Ok(OptionPath { name, _open: None }),
            _ => Self::by_descriptor(path),
        }
    }

    /// The shortest name that a path can have.
    pub(super) fn by_descriptor(path: &Path) -> Result<Self> {
        let fd = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed("open", path, errno))?;
        let name = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default();
        Ok(OptionPath { name, _open: Some(fd) })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.name.as_bytes()
    }
}

/// A file system that is being set up.
#[derive(Debug)]
pub(super) struct FileSystem<'a> {
    context: OwnedFd,
    kind: &'static str,
    /// What messages are about.
    subject: String,
    path: &'a Path,
}

impl<'a> FileSystem<'a> {
    /// Asks for a file system of a kind; `subject` and `path` are for messages.
    pub(super) fn open(kind: &'static str, subject: String, path: &'a Path) -> Result<Self> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| failed(format!("start an {kind} mount of {subject}"), path, errno))?;
        Ok(FileSystem { context, kind, subject, path })
    }

    /// Sets an option that is there or not.
    pub(super) fn flag(&self, name: &'static str) -> Result<()> {
        fsconfig_set_flag(self.context.as_fd(), name).map_err(|errno| self.failed(name, errno))
    }

    /// Sets an option. A value that the mount call does not understand is the kernel's `errno`.
    pub(super) fn try_set(&self, name: &str, value: &[u8]) -> Result<(), Errno> {
        fsconfig_set_string(self.context.as_fd(), name, value)
    }

    /// Sets an option.
    pub(super) fn set(&self, name: &str, value: &[u8]) -> Result<()> {
        self.try_set(name, value).map_err(|errno| self.failed(name, errno))
    }

    /// Makes it: only now the kernel looks at what the options name.
    pub(super) fn try_create(&self) -> Result<(), Errno> {
        fsconfig_create(self.context.as_fd())
    }

    /// Makes the mount, attached to nothing: it vanishes with the descriptor.
    pub(super) fn mount(&self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        fsmount(self.context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| self.failed("mount", errno))
    }

    /// An error of one step, with what the kernel had to say.
    pub(super) fn failed(&self, step: &str, errno: Errno) -> Error {
        let doing = format!("mount {} as {} (step `{step}`)", self.subject, self.kind);
        let said = said(&self.context);
        match failed(doing, self.path, errno) {
            Error::Mount { doing, path, why, source } if !said.is_empty() => {
                let why = if why.is_empty() { said } else { format!("{said}; {why}") };
                Error::Mount { doing, path, why, source }
            }
            error => error,
        }
    }
}

/// The messages that the kernel keeps for the maker of a mount.
fn said(context: &OwnedFd) -> String {
    let mut messages = Vec::new();
    let mut buffer = [0; 1024];
    // One message a read, at most eight are kept; the first two characters are its severity.
    while messages.len() < 16 {
        let Ok(read) = rustix::io::read(context, &mut buffer) else { break };
        if read == 0 {
            break;
        }
        let text = String::from_utf8_lossy(buffer.get(2..read).unwrap_or_default()).trim().to_owned();
        messages.push(format!("the kernel says: {text}"));
    }
    messages.join("; ")
}

/// An error of a mount call.
pub(super) fn failed(doing: impl Into<String>, path: &Path, errno: Errno) -> Error {
    let missing = match errno {
        Errno::PERM => Some(NO_PRIVILEGE.to_owned()),
        Errno::NOSYS => Some(NO_MOUNT_API.to_owned()),
        Errno::NODEV => Some(
            "the file systems EROFS and overlayfs in its kernel: try `modprobe erofs overlay`, see `doctor`"
                .to_owned(),
        ),
        _ => None,
    };
    match missing {
        Some(missing) => Error::Unsupported { doing: "mount", missing },
        None => Error::Mount {
            doing: doing.into(),
            path: path.to_path_buf(),
            why: explain(errno).unwrap_or_default().to_owned(),
            source: errno.into(),
        },
    }
}

/// What a number means for mounts, where its usual text misleads.
fn explain(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::INVAL => {
            "an option this kernel does not know, an image it does not accept, or a file system that cannot lie \
             under this one; `dmesg` may say more"
        }
        Errno::NOTBLK => "this kernel mounts block devices only, not files",
        Errno::BUSY => "somebody uses it",
        Errno::STALE => "the scratch has been used with other layers before",
        Errno::LOOP => "too many file systems over each other, or a link where a directory should be",
        Errno::NOSPC => "the number of mounts is limited by /proc/sys/fs/mount-max",
        Errno::UCLEAN => "the image is damaged: `verify` tells how",
        _ => return None,
    })
}

/// Shows a mount at a directory.
pub(super) fn show(mount: impl AsFd, at: &Path) -> Result<()> {
    move_mount(mount.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| failed("show the mount at", at, errno))
}

/// One more mount of what can be seen at `path`, attached to nothing.
pub(super) fn clone_tree(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    open_tree(CWD, path, flags).map_err(|errno| failed("take a mount of", path, errno))
}

/// How unmounting went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmounted {
    /// Nobody used it.
    Gone,
    /// Somebody does: it is out of sight.
    Lazily,
    /// There was no mount.
    NotThere,
}

/// Takes the topmost mount away from a directory, without following a link.
pub(super) fn take_away(path: &Path) -> Result<Unmounted> {
    match unmount(path, UnmountFlags::NOFOLLOW) {
        Ok(()) => return Ok(Unmounted::Gone),
        Err(Errno::INVAL | Errno::NOENT) => return Ok(Unmounted::NotThere),
        Err(Errno::BUSY) => {}
        Err(errno) => return Err(failed("unmount", path, errno)),
    }
    match unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
        Ok(()) => Ok(Unmounted::Lazily),
        Err(Errno::INVAL | Errno::NOENT) => Ok(Unmounted::NotThere),
        Err(errno) => Err(failed("unmount", path, errno)),
    }
}

/// The kernel's number of the mount that is seen at `path`, where it tells (Linux 5.8).
pub(super) fn mount_id(path: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}
