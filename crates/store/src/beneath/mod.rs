//! Files below a directory, reached without ever leaving it: every path is resolved by the kernel beneath an open
//! directory, follows no symbolic link and crosses no mount.
//!
//! The directories are a container's: names and links in them are hostile, and may change while they are looked at.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(crate) use linux::{Beneath, Found, is_privileged};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Beneath, Found, is_privileged};

use layerstone_layer::UnixTime;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// What the system tells of a file without opening it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) kind: FileKind,
    /// Permission bits: the low 12.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: UnixTime,
    pub(crate) inode: u64,
    pub(crate) nlink: u32,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
}
