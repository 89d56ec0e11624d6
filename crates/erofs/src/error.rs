//! What can go wrong, with the place where it did.

use std::io;

use crate::{FileType, Nid, NodeId};

/// An error of the writer or the reader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output did not take bytes of the image.
    #[error("cannot write the image at offset {offset}")]
    Output {
        /// Where in the image.
        offset: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The scratch space for inline tails failed.
    #[error("cannot {action} the scratch space for file tails at offset {offset}")]
    Spill {
        /// `write` or `read`.
        action: &'static str,
        /// Where in the scratch space.
        offset: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// A file was begun, or the image finished, while a file was open; or data came while none was.
    #[error("{call} was called while {state}")]
    OutOfOrder {
        /// The call that came at the wrong time.
        call: &'static str,
        /// What the writer was doing.
        state: &'static str,
    },
    /// More bytes than announced came for a file.
    #[error("a file announced with {announced} bytes got at least {received}")]
    TooManyBytes {
        /// Bytes announced.
        announced: u64,
        /// Bytes that came.
        received: u64,
    },
    /// Fewer bytes than announced came for a file.
    #[error("a file announced with {announced} bytes ended after {received}")]
    TooFewBytes {
        /// Bytes announced.
        announced: u64,
        /// Bytes that came.
        received: u64,
    },
    /// A file is larger than Linux can address.
    #[error("a file of {size} bytes is larger than the limit of {} bytes", crate::format::FILE_MAX)]
    FileTooLarge {
        /// Its size.
        size: u64,
    },
    /// Segments of a sparse file overlap, go backwards or lie outside the file.
    #[error(
        "segment {index} of a sparse file of {size} bytes ({offset}+{len}) overlaps, goes backwards or lies outside"
    )]
    BadSegment {
        /// Which segment.
        index: usize,
        /// Where it starts.
        offset: u64,
        /// How long it is.
        len: u64,
        /// Size of the file.
        size: u64,
    },
    /// Storing a sparse file would cost far more than it holds.
    #[error("a sparse file of {size} bytes with {stored} bytes of data would take {cost} bytes of the image")]
    SparseTooLarge {
        /// Size of the file.
        size: u64,
        /// Bytes of data.
        stored: u64,
        /// Bytes that it would take at best.
        cost: u64,
    },
    /// The image would need more blocks than a 32-bit block address can tell.
    #[error("the image would grow to {blocks} blocks; 32-bit block addresses end at {}", u32::MAX)]
    ImageTooLarge {
        /// Blocks needed.
        blocks: u64,
    },
    /// The tree has no node 0, or node 0 is no directory.
    #[error("node 0 must be the root directory")]
    NoRoot,
    /// A directory refers to a node that does not exist.
    #[error("{directory} refers to {target}, which does not exist")]
    NoSuchNode {
        /// The directory.
        directory: NodeId,
        /// What it refers to.
        target: NodeId,
    },
    /// A directory has two names, is its own ancestor, or is the root and has a name.
    #[error("the directory {directory} is linked more than once, contains itself or is the root with a name")]
    DirectoryLoop {
        /// The directory.
        directory: NodeId,
    },
    /// A name in a directory is empty, too long, `.`, `..`, or has a slash or NUL in it.
    #[error("the name {:?} in {directory} cannot be stored", String::from_utf8_lossy(.name))]
    BadName {
        /// The directory.
        directory: NodeId,
        /// The name.
        name: Vec<u8>,
    },
    /// A directory has the same name twice.
    #[error("the name {:?} occurs twice in {directory}", String::from_utf8_lossy(.name))]
    DuplicateName {
        /// The directory.
        directory: NodeId,
        /// The name.
        name: Vec<u8>,
    },
    /// The type in a node's mode is not that of its content.
    #[error("{node} has the mode {mode:o} but its content is a {content:?}")]
    WrongMode {
        /// The node.
        node: NodeId,
        /// Its mode.
        mode: u16,
        /// What it holds.
        content: FileType,
    },
    /// A time has a billion nanoseconds or more.
    #[error("{node} has {nanoseconds} nanoseconds in its time; the limit is 999,999,999")]
    BadTime {
        /// The node.
        node: NodeId,
        /// What it has.
        nanoseconds: u32,
    },
    /// A symbolic link has a target that Linux cannot read back.
    #[error(
        "{node} is a symbolic link with a target of {len} bytes; 1 to {} without NUL can be stored",
        crate::format::SYMLINK_MAX
    )]
    BadSymlink {
        /// The node.
        node: NodeId,
        /// Length of the target.
        len: usize,
    },
    /// A device number does not fit.
    #[error(
        "{node} is the device {major}:{minor}; device numbers go up to {}:{}",
        crate::format::MAJOR_MAX,
        crate::format::MINOR_MAX
    )]
    BadDevice {
        /// The node.
        node: NodeId,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// The name of an extended attribute has no prefix that EROFS knows, or is too long.
    #[error(
        "{node} has the extended attribute {:?}; EROFS stores up to 255 bytes starting with user., trusted., security., or the two POSIX ACLs",
        String::from_utf8_lossy(.name)
    )]
    BadXattrName {
        /// The node.
        node: NodeId,
        /// The full name.
        name: Vec<u8>,
    },
    /// An extended attribute occurs twice on one node.
    #[error("{node} has the extended attribute {:?} twice", String::from_utf8_lossy(.name))]
    DuplicateXattr {
        /// The node.
        node: NodeId,
        /// The full name.
        name: Vec<u8>,
    },
    /// The value of an extended attribute is too long.
    #[error("{node} has the extended attribute {:?} with {len} bytes; the limit is {}", String::from_utf8_lossy(.name), crate::format::XATTR_VALUE_MAX)]
    XattrTooLarge {
        /// The node.
        node: NodeId,
        /// The full name.
        name: Vec<u8>,
        /// Length of the value.
        len: usize,
    },
    /// All extended attributes of a node together do not fit behind its inode.
    #[error(
        "the extended attributes of {node} take {len} bytes; the limit is {}",
        crate::format::XATTR_BODY_MAX
    )]
    XattrsTooLarge {
        /// The node.
        node: NodeId,
        /// Bytes needed.
        len: u64,
    },
    /// A file's content was written through another writer.
    #[error("the content of {node} does not belong to this image")]
    ForeignData {
        /// The node.
        node: NodeId,
    },

    /// The image could not be read.
    #[error("cannot read {len} bytes of the {structure} at offset {offset}")]
    Input {
        /// What was read.
        structure: &'static str,
        /// Where.
        offset: u64,
        /// How much.
        len: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// A structure lies outside the image.
    #[error(
        "the {structure} at offset {offset} with {len} bytes lies outside the image of {image_size} bytes"
    )]
    OutOfBounds {
        /// What.
        structure: &'static str,
        /// Where it should be.
        offset: u64,
        /// How long it should be.
        len: u64,
        /// Where the image ends.
        image_size: u64,
    },
    /// A field has a value that it cannot have.
    #[error("{structure} at offset {offset}: {field} is {found}, expected {expected}")]
    Corrupt {
        /// The structure.
        structure: &'static str,
        /// The field.
        field: &'static str,
        /// Where the structure starts in the image.
        offset: u64,
        /// What was found.
        found: u64,
        /// What would have been right.
        expected: &'static str,
    },
    /// The image uses something that this reader does not know.
    #[error("{structure} at offset {offset} uses {feature} ({found:#x}), which is not supported")]
    Unsupported {
        /// The structure.
        structure: &'static str,
        /// What it uses.
        feature: &'static str,
        /// Where the structure starts.
        offset: u64,
        /// The value found.
        found: u64,
    },
    /// An operation does not apply to this kind of inode.
    #[error("inode {nid} is a {found:?}, not a {expected:?}")]
    WrongType {
        /// The inode.
        nid: Nid,
        /// What it is.
        found: FileType,
        /// What the operation needs.
        expected: FileType,
    },
}
