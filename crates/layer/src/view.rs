//! Looking at one layer that is stored or being written: the interface that images and scratches offer.

use std::fmt;
use std::io::Read;

use crate::entry::Metadata;

/// What a name in a layer leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its metadata.
    pub meta: Metadata,
    /// How many names it has in its layer.
    pub nlink: u32,
    /// Identity inside the layer: two names with the same number are hard links of each other.
    pub inode: u64,
    /// Alternate data streams: name and size.
    pub streams: Vec<(Vec<u8>, u64)>,
}

/// The kinds of nodes. Whiteouts are nodes too: this is a layer, not yet the merged view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory {
        /// Nothing of the parent layers' directory shows.
        opaque: bool,
    },
    /// A regular file of so many bytes.
    File {
        /// Its size.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
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
    /// A socket (in a scratch only).
    Socket,
    /// What parent layers have under this name is gone.
    Whiteout,
}

impl NodeKind {
    /// True for directories.
    pub fn is_directory(&self) -> bool {
        matches!(self, NodeKind::Directory { .. })
    }

    /// One letter, as `ls -l` has it.
    pub fn letter(&self) -> char {
        match self {
            NodeKind::Directory { .. } => 'd',
            NodeKind::File { .. } => '-',
            NodeKind::Symlink { .. } => 'l',
            NodeKind::CharDevice { .. } => 'c',
            NodeKind::BlockDevice { .. } => 'b',
            NodeKind::Fifo => 'p',
            NodeKind::Socket => 's',
            NodeKind::Whiteout => 'w',
        }
    }
}

/// One layer's own entries, whiteouts included.
pub trait LayerView {
    /// Names a node of the layer.
    type Id: Clone + PartialEq + fmt::Debug;
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The root directory.
    fn root(&self) -> Self::Id;

    /// What `id` is.
    ///
    /// # Errors
    /// When the layer cannot be read.
    fn node(&self, id: &Self::Id) -> Result<Node, Self::Error>;

    /// The node called `name` in `directory`.
    ///
    /// # Errors
    /// When the layer cannot be read.
    fn lookup(&self, directory: &Self::Id, name: &[u8]) -> Result<Option<Self::Id>, Self::Error>;

    /// The names in `directory`, in the order of their bytes.
    ///
    /// # Errors
    /// When the layer cannot be read.
    fn read_dir(&self, directory: &Self::Id) -> Result<Vec<(Vec<u8>, Self::Id)>, Self::Error>;

    /// The bytes of a file, or of one of its alternate streams.
    ///
    /// # Errors
    /// When there is no such file or stream, or the layer cannot be read.
    fn open<'a>(&'a self, id: &Self::Id, stream: Option<&[u8]>) -> Result<Box<dyn Read + 'a>, Self::Error>;
}
