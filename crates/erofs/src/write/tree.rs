//! The tree that an image is made of, and the rules it must keep.

use std::collections::HashSet;
use std::fmt;

use super::FileData;
use crate::format::{MAJOR_MAX, MINOR_MAX, NAME_MAX, S_IFMT, SYMLINK_MAX, XATTR_NAME_MAX, XATTR_VALUE_MAX};
use crate::types::split_xattr_name;
use crate::{Error, FileType, Xattr};

/// Index of a node in [`Tree::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index into [`Tree::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// Everything an image names. Node 0 is the root directory; nodes that no directory names are stored as well.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The nodes; their order is the order of inodes in the image.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Adds a node.
    ///
    /// # Panics
    /// With more than 2^32 nodes, which no memory holds.
    pub fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("node ids have 32 bits"));
        self.nodes.push(node);
        id
    }
}

/// A file, directory or other inode.
#[derive(Debug, Clone)]
pub struct Node {
    /// Type and permission bits; the type must be that of `content`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds, below a billion.
    pub mtime_nsec: u32,
    /// Extended attributes, in any order.
    pub xattrs: Vec<Xattr>,
    /// What it holds.
    pub content: Content,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Names, in any order, without `.` and `..`.
    Directory(Vec<(Vec<u8>, NodeId)>),
    /// Content written before.
    File(FileData),
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
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
    /// A fifo.
    Fifo,
    /// A socket.
    Socket,
}

impl Content {
    /// The type that the mode must have.
    pub fn file_type(&self) -> FileType {
        match self {
            Self::Directory(_) => FileType::Directory,
            Self::File(_) => FileType::Regular,
            Self::Symlink(_) => FileType::Symlink,
            Self::CharDevice { .. } => FileType::CharDevice,
            Self::BlockDevice { .. } => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// Checks every rule, sorts the directories, gives them `.` and `..`, and counts the names of each node.
pub(super) fn prepare(tree: &mut Tree) -> Result<Vec<u32>, Error> {
    if !matches!(tree.nodes.first().map(|n| &n.content), Some(Content::Directory(_))) {
        return Err(Error::NoRoot);
    }
    for (id, node) in ids(tree) {
        check_node(id, node)?;
    }
    let (nlinks, parents) = count_links(tree)?;
    refuse_loops(&parents)?;
    for (index, node) in tree.nodes.iter_mut().enumerate() {
        if let Content::Directory(entries) = &mut node.content {
            let own = NodeId(index as u32);
            let parent = parents[index].unwrap_or(own);
            entries.push((b".".to_vec(), own));
            entries.push((b"..".to_vec(), parent));
            entries.sort_unstable();
            if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(Error::DuplicateName { directory: own, name: pair[0].0.clone() });
            }
        }
    }
    Ok(nlinks)
}

fn ids(tree: &Tree) -> impl Iterator<Item = (NodeId, &Node)> {
    tree.nodes.iter().enumerate().map(|(index, node)| (NodeId(index as u32), node))
}

fn check_node(id: NodeId, node: &Node) -> Result<(), Error> {
    let content = node.content.file_type();
    if node.mode & S_IFMT != content.mode_bits() {
        return Err(Error::WrongMode { node: id, mode: node.mode, content });
    }
    if node.mtime_nsec >= 1_000_000_000 {
        return Err(Error::BadTime { node: id, nanoseconds: node.mtime_nsec });
    }
    check_xattrs(id, &node.xattrs)?;
    match &node.content {
        Content::Directory(entries) => entries.iter().try_for_each(|(name, _)| check_name(id, name)),
        Content::Symlink(target)
            if target.is_empty() || target.len() > SYMLINK_MAX || target.contains(&0) =>
        {
            Err(Error::BadSymlink { node: id, len: target.len() })
        }
        &(Content::CharDevice { major, minor } | Content::BlockDevice { major, minor })
            if major > MAJOR_MAX || minor > MINOR_MAX =>
        {
            Err(Error::BadDevice { node: id, major, minor })
        }
        _ => Ok(()),
    }
}

fn check_name(directory: NodeId, name: &[u8]) -> Result<(), Error> {
    let bad = name.is_empty() || name.len() > NAME_MAX || name == b"." || name == b"..";
    if bad || name.iter().any(|&b| b == b'/' || b == 0) {
        return Err(Error::BadName { directory, name: name.to_vec() });
    }
    Ok(())
}

fn check_xattrs(node: NodeId, xattrs: &[Xattr]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for Xattr { name, value } in xattrs {
        if name.len() > XATTR_NAME_MAX || name.contains(&0) || split_xattr_name(name).is_none() {
            return Err(Error::BadXattrName { node, name: name.clone() });
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(Error::XattrTooLarge { node, name: name.clone(), len: value.len() });
        }
        if !seen.insert(name) {
            return Err(Error::DuplicateXattr { node, name: name.clone() });
        }
    }
    Ok(())
}

/// Link counts, and the parent of each directory that has one.
fn count_links(tree: &Tree) -> Result<(Vec<u32>, Vec<Option<NodeId>>), Error> {
    let is_dir = |id: NodeId| matches!(tree.nodes[id.index()].content, Content::Directory(_));
    let mut nlinks: Vec<u32> = ids(tree).map(|(id, _)| if is_dir(id) { 2 } else { 0 }).collect();
    let mut parents = vec![None; tree.nodes.len()];
    for (directory, node) in ids(tree) {
        let Content::Directory(entries) = &node.content else { continue };
        for &(_, target) in entries {
            if target.index() >= tree.nodes.len() {
                return Err(Error::NoSuchNode { directory, target });
            }
            if is_dir(target) {
                if target == NodeId(0) || parents[target.index()].replace(directory).is_some() {
                    return Err(Error::DirectoryLoop { directory: target });
                }
                nlinks[directory.index()] += 1;
            } else {
                nlinks[target.index()] += 1;
            }
        }
    }
    // A node without a name still has an inode, and an inode without links is a deleted one.
    nlinks.iter_mut().for_each(|n| *n = (*n).max(1));
    Ok((nlinks, parents))
}

/// Every directory has at most one parent here, so a loop is a chain of parents that comes back to its start.
fn refuse_loops(parents: &[Option<NodeId>]) -> Result<(), Error> {
    let mut walked_from = vec![u32::MAX; parents.len()];
    for start in 0..parents.len() {
        let mut at = NodeId(start as u32);
        while walked_from[at.index()] == u32::MAX {
            walked_from[at.index()] = start as u32;
            match parents[at.index()] {
                Some(parent) if walked_from[parent.index()] == start as u32 => {
                    return Err(Error::DirectoryLoop { directory: parent });
                }
                Some(parent) => at = parent,
                None => break,
            }
        }
    }
    Ok(())
}
