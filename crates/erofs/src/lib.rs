//! EROFS images in safe Rust: a writer that streams, and a reader that believes nothing.
//!
//! EROFS is the read-only file system of the Linux kernel that mounts an image file as it is, without a loop device.
//! This crate writes the uncompressed kind with 4 KiB blocks, which the kernel, `fsck.erofs` and any EROFS reader
//! understand, and reads that kind back whoever wrote it.
//!
//! # The image
//!
//! ```text
//! block 0         superblock, at byte 1024; written last
//! blocks 1..      file data in the order in which it came, each file from a block border on
//!                 tails that found no place behind their inodes, one block each
//! meta_start      inodes, in the order of the tree's nodes, the root first:
//!                   | inode 32 or 64 | attributes | tail of the content, or chunk map |
//!                 shared extended attributes
//!                 directories and long symbolic links
//! image_size
//! ```
//!
//! - A **node number** ([`Nid`]) is an address: the inode's offset from `meta_start` divided by 32. Number 0 is unused.
//! - An inode takes 32 bytes when its owner, size and links are small and its time is the most frequent one of the
//!   image, which the superblock carries; otherwise 64.
//! - The last bytes of a file, up to half a block, lie behind its inode, so that a small file costs no block.
//! - A file with holes is cut into equal chunks; the map of chunks lies behind the inode, and holes take no blocks.
//! - An **extended attribute** that several nodes have is stored once and referred to.
//! - A directory is a sequence of blocks, each with sorted names; a name is found by halving over the blocks' first
//!   names, then within one block.
//!
//! The same calls with the same arguments give the same bytes. An image whose writing was cut short has no superblock.
//!
//! # Writing
//!
//! ```
//! use layerstone_erofs::{Content, FinishOptions, Image, ImageWriter, Node, Tree};
//!
//! # fn main() -> Result<(), layerstone_erofs::Error> {
//! let mut writer = ImageWriter::new(Vec::new(), std::io::Cursor::new(Vec::new()));
//! writer.begin_file(5)?;
//! writer.write(b"hello")?;
//! let data = writer.end_file()?;
//!
//! let node = |mode, content| Node { mode, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: vec![], content };
//! let mut tree = Tree::default();
//! let root = tree.push(node(0o040755, Content::Directory(vec![])));
//! let file = tree.push(node(0o100644, Content::File(data)));
//! tree.nodes[root.index()].content = Content::Directory(vec![(b"greeting".to_vec(), file)]);
//! let finished = writer.finish(tree, FinishOptions::new([7; 16]))?;
//!
//! let image = Image::open(finished.output)?;
//! let nid = image.resolve(b"/greeting")?.expect("it was just written");
//! assert_eq!(nid, finished.nids[file.index()]);
//! let mut bytes = [0; 16];
//! let len = image.read_at(&image.inode(nid)?, &mut bytes, 0)?;
//! assert_eq!(&bytes[..len], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Reading
//!
//! [`Image`] may be given any bytes: a damaged or hostile image leads to an [`Error`] that names the structure, the
//! field and the offset, never to a panic, an endless loop, or an allocation that the image's size does not justify.

#![forbid(unsafe_code)]

mod error;
pub mod format;
mod read;
mod sys;
mod types;
mod write;

pub use error::Error;
pub use read::{CheckReport, DirEntry, Extent, Image, Inode, Layout, ReadAt};
pub use types::{FileType, Nid, Xattr};
pub use write::{
    Content, FileData, FileOutput, FinishOptions, Finished, ImageOutput, ImageWriter, Node, NodeId, Segment,
    Spill, Tree,
};
