//! The neutral model: one thing that a layer says about one path.

use layerstone_nt::tar::WindowsMetadata;

use crate::path::LayerPath;
use crate::tar::Segment;

use layerstone_nt::UnixTime;

/// One entry of a layer. The bytes of a file come beside it, from the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: LayerPath,
    /// What it is.
    pub kind: EntryKind,
    /// Everything else about it. Whiteouts, opaque markers and hard links have none that counts.
    pub meta: Metadata,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// For a sparse file: the ranges that are stored, in rising order.
        segments: Option<Vec<Segment>>,
    },
    /// One more name of the file at `target`, which may be in a parent layer.
    HardLink {
        /// The other name.
        target: LayerPath,
    },
    /// A symbolic link (in a Windows layer the reparse point in the metadata is the truth).
    Symlink {
        /// Where it points, as it stands.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// An alternate data stream of the file at the path (NTFS).
    Stream {
        /// Name of the stream, without `:` and `:$DATA`.
        name: Vec<u8>,
        /// Its size in bytes.
        size: u64,
    },
    /// Whatever the parent layers have at the path is gone (`.wh.<name>` in a tar).
    Whiteout,
    /// Whatever the parent layers have *in* the directory at the path is gone (`.wh..wh..opq` in a tar).
    Opaque,
}

impl EntryKind {
    /// How many bytes come beside the entry: the content of a file or stream, of a sparse file the stored ranges only.
    pub fn payload(&self) -> u64 {
        match self {
            EntryKind::File { segments: Some(segments), .. } => {
                segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.len))
            }
            EntryKind::File { size, .. } | EntryKind::Stream { size, .. } => *size,
            _ => 0,
        }
    }

    /// One word for reports and messages.
    pub fn name(&self) -> &'static str {
        match self {
            EntryKind::Directory => "directory",
            EntryKind::File { .. } => "file",
            EntryKind::HardLink { .. } => "hard link",
            EntryKind::Symlink { .. } => "symlink",
            EntryKind::CharDevice { .. } => "character device",
            EntryKind::BlockDevice { .. } => "block device",
            EntryKind::Fifo => "fifo",
            EntryKind::Stream { .. } => "alternate data stream",
            EntryKind::Whiteout => "whiteout",
            EntryKind::Opaque => "opaque marker",
        }
    }
}

/// An extended attribute: full name (`user.mime_type`) and value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// The name with its prefix.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// What belongs to an entry beside its kind and its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits, set-user-id, set-group-id, sticky: the low 12 bits. No type bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: UnixTime,
    /// Extended attributes, sorted by name, no name twice.
    pub xattrs: Vec<Xattr>,
    /// The NTFS part, on entries of Windows layers.
    pub windows: Option<Box<WindowsMetadata>>,
}

impl Metadata {
    /// What a directory gets that no entry speaks of: rwxr-xr-x, root, 1970.
    pub fn implicit_directory() -> Self {
        Metadata { mode: 0o755, ..Metadata::default() }
    }

    /// The value of an extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Option<&[u8]> {
        self.xattrs.iter().find(|x| x.name == name).map(|x| x.value.as_slice())
    }
}

/// Which operating system a layer is for. It decides how a tar is read and how names compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    /// Linux, and everything else with POSIX metadata.
    Linux,
    /// Windows.
    Windows,
}

impl Os {
    /// From the `os` field of an image configuration.
    pub fn from_config(os: &str) -> Self {
        if os.eq_ignore_ascii_case("windows") { Os::Windows } else { Os::Linux }
    }
}
