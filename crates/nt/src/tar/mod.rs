//! Windows metadata in the tar of a container layer: the PAX records that Microsoft's `backuptar` (go-winio) writes and
//! reads, as keys and values. Reading tar blocks is not done here.
//!
//! | key | value |
//! |---|---|
//! | [`FILE_ATTRIBUTES`] | decimal `FILE_ATTRIBUTE_*` |
//! | [`RAW_SECURITY_DESCRIPTOR`] | base64 of the self-relative descriptor |
//! | [`SDDL`] | old: the descriptor as SDDL; the raw form wins |
//! | [`MOUNT_POINT`] | present: the symlink entry is a junction |
//! | [`EA_PREFIX`]`NAME` | base64 of an extended attribute's value |
//! | [`CREATION_TIME`] | seconds since 1970, a decimal number |
//! | `mtime`, `atime`, `ctime` | POSIX; `ctime` is ChangeTime |
//!
//! Source: go-winio `backuptar/tar.go`, and image-spec `layer.md` for the keys that every reader must know.
//!
//! # Where this differs from Microsoft's code
//!
//! Times: theirs wrap outside 1677..2262, ours are exact; a FILETIME of 0 is left out instead of written as nonsense, and that
//! nonsense reads as 0; an absent `atime` or `ctime` stays "not set" instead of becoming the year 1754. What is
//! unusual and not wrong is told as a [`Note`].

mod note;
mod read;
mod write;

pub use note::Note;
pub use read::WindowsRecords;

use crate::basic_info::BasicInfo;
use crate::ea::Ea;
use crate::reparse::ReparsePoint;
use crate::time::UnixTime;

/// `FILE_ATTRIBUTE_*` as a decimal number.
pub const FILE_ATTRIBUTES: &str = "MSWINDOWS.fileattr";
/// Self-relative security descriptor in base64.
pub const RAW_SECURITY_DESCRIPTOR: &str = "MSWINDOWS.rawsd";
/// Security descriptor as SDDL; old.
pub const SDDL: &str = "MSWINDOWS.sd";
/// Marks a symlink entry as a junction by being there.
pub const MOUNT_POINT: &str = "MSWINDOWS.mountpoint";
/// Start of the key of an extended attribute; its name follows.
pub const EA_PREFIX: &str = "MSWINDOWS.xattr.";
/// Creation time.
pub const CREATION_TIME: &str = "LIBARCHIVE.creationtime";
/// Last write time (POSIX).
pub const MTIME: &str = "mtime";
/// Last access time (POSIX).
pub const ATIME: &str = "atime";
/// Change time (POSIX).
pub const CTIME: &str = "ctime";

/// What a tar entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EntryKind {
    /// Typeflag 0: a file with data.
    #[default]
    File,
    /// Typeflag 5.
    Directory,
    /// Typeflag 2: a symbolic link or, with [`MOUNT_POINT`], a junction.
    Symlink,
    /// Typeflag 1.
    HardLink,
    /// Devices, FIFOs and the rest: for Microsoft an entry without data.
    Other,
}

impl EntryKind {
    /// The kind of an entry by typeflag and name. As in Go's `archive/tar`, a file whose name ends in `/` is a directory.
    pub fn new(typeflag: u8, name: &[u8]) -> Self {
        match typeflag {
            b'0' | 0 if name.ends_with(b"/") => Self::Directory,
            b'0' | 0 => Self::File,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'5' => Self::Directory,
            _ => Self::Other,
        }
    }

    /// The typeflag to write; `None` for [`EntryKind::Other`].
    pub const fn typeflag(self) -> Option<u8> {
        match self {
            Self::File => Some(b'0'),
            Self::HardLink => Some(b'1'),
            Self::Symlink => Some(b'2'),
            Self::Directory => Some(b'5'),
            Self::Other => None,
        }
    }
}

/// What the tar header itself says about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TarFacts<'a> {
    /// What the entry is.
    pub kind: EntryKind,
    /// The link's target, from the header or the `linkpath` record.
    pub linkname: &'a [u8],
    /// The header's mtime. Records `mtime`, `atime` and `ctime` win over these three fields.
    pub mtime: UnixTime,
    /// The access time, when the header has one.
    pub atime: Option<UnixTime>,
    /// The change time, when the header has one.
    pub ctime: Option<UnixTime>,
}

/// The Windows metadata of one file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct WindowsMetadata {
    /// Times and attributes.
    pub basic: BasicInfo,
    /// The self-relative security descriptor, as it came; not checked.
    pub security_descriptor: Option<Vec<u8>>,
    /// The extended attributes, in the order in which they came.
    pub eas: Vec<Ea>,
    /// The reparse point.
    pub reparse: Option<ReparsePoint>,
}
