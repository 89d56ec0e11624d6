//! The values that writer and reader share.

use crate::format;

/// Node number: where an inode lies in the image, in units of 32 bytes from the start of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nid(pub u64);

impl std::fmt::Display for Nid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An extended attribute with its full name, such as `user.comment`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Full name, prefix included.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// What an inode is. The numbers are those of a directory entry (`FT_*` of the kernel).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    /// Regular file.
    Regular = 1,
    /// Directory.
    Directory = 2,
    /// Character device.
    CharDevice = 3,
    /// Block device.
    BlockDevice = 4,
    /// Fifo.
    Fifo = 5,
    /// Socket.
    Socket = 6,
    /// Symbolic link.
    Symlink = 7,
}

impl FileType {
    /// The type in the upper bits of a mode; `None` when there is no such type.
    pub fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode & format::S_IFMT {
            format::S_IFREG => Self::Regular,
            format::S_IFDIR => Self::Directory,
            format::S_IFCHR => Self::CharDevice,
            format::S_IFBLK => Self::BlockDevice,
            format::S_IFIFO => Self::Fifo,
            format::S_IFSOCK => Self::Socket,
            format::S_IFLNK => Self::Symlink,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub fn mode_bits(self) -> u16 {
        match self {
            Self::Regular => format::S_IFREG,
            Self::Directory => format::S_IFDIR,
            Self::CharDevice => format::S_IFCHR,
            Self::BlockDevice => format::S_IFBLK,
            Self::Fifo => format::S_IFIFO,
            Self::Socket => format::S_IFSOCK,
            Self::Symlink => format::S_IFLNK,
        }
    }

    pub(crate) fn from_dirent(number: u8) -> Option<Self> {
        use FileType::*;
        [Regular, Directory, CharDevice, BlockDevice, Fifo, Socket, Symlink]
            .into_iter()
            .find(|t| *t as u8 == number)
    }
}

/// Number and rest of an attribute's full name; `None` when no prefix that EROFS knows fits.
pub(crate) fn split_xattr_name(name: &[u8]) -> Option<(u8, &[u8])> {
    format::XATTR_PREFIXES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        // A prefix with a dot needs something behind it, a whole name must have nothing.
        (rest.is_empty() != prefix.ends_with(b".")).then_some((*index, rest))
    })
}
