//! Where everything goes, decided before the first byte of metadata is written.
//!
//! Inodes lie in the order of the nodes. One that carries a tail must not be cut by a block border, and neither must
//! the fixed part of any inode; the gaps that this leaves are at most what the next inode needs.

use std::collections::HashMap;

use super::output::block_of;
use super::xattr::Shared;
use super::{Content, FileData, Stored, Tree, dir, sparse};
use crate::format::{
    BLOCK_SIZE, LAYOUT_CHUNK_BASED, LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN, NID_SIZE, NULL_ADDR,
    XattrBodyHeader,
};
use crate::{Error, Nid};

/// Node number 0 stays unused: as an inode number it means "no file" to many programs.
const FIRST_INODE: u64 = NID_SIZE;

/// Bytes that follow the last inode. `fsck.erofs` (seen in 1.5) reads an attribute header behind every inode, even one
/// without attributes, and finds fault with an image that ends there.
const AFTER_LAST_INODE: u64 = size_of::<XattrBodyHeader>() as u64;

/// Where the content of an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: a device, a fifo, a socket.
    Nothing,
    /// A file: blocks written before, or [`NULL_ADDR`], and a tail of so many bytes behind the inode.
    File { block: u32, tail: u16 },
    /// A directory or symbolic link: blocks counted from the start of the area for them, and a tail behind the inode.
    Apart { block: u32, tail: u16 },
    /// A file with a chunk map of so many entries behind the inode.
    Chunks { entries: u64 },
    /// A file whose tail found no place behind the inode and follows in a block of its own, apart from the whole
    /// blocks; a chunk map of so many entries joins them.
    Split { bits: u8, entries: u64, tail_block: u32 },
}

impl Place {
    fn tail(self) -> u64 {
        match self {
            Self::File { tail, .. } | Self::Apart { tail, .. } => tail.into(),
            _ => 0,
        }
    }

    fn map_size(self) -> u64 {
        match self {
            Self::Chunks { entries } | Self::Split { entries, .. } => entries * 4,
            _ => 0,
        }
    }

    pub(super) fn data_layout(self) -> u16 {
        match self {
            Self::Chunks { .. } | Self::Split { .. } => LAYOUT_CHUNK_BASED,
            _ if self.tail() > 0 => LAYOUT_FLAT_INLINE,
            _ => LAYOUT_FLAT_PLAIN,
        }
    }
}

/// An inode as it will be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedInode {
    /// Bytes from the start of the metadata.
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) nlink: u32,
    pub(super) xattr_size: u32,
    pub(super) extended: bool,
    pub(super) place: Place,
}

impl PlannedInode {
    pub(super) fn nid(&self) -> Nid {
        Nid(self.offset / NID_SIZE)
    }
}

/// The whole plan. The areas follow one another: tails that need a block, inodes, shared attributes, directories.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) inodes: Vec<PlannedInode>,
    pub(super) build_time: (i64, u32),
    pub(super) meta_start: u64,
    pub(super) shared_start: u64,
    pub(super) apart_start: u64,
    pub(super) image_size: u64,
}

impl Layout {
    /// Plans an image whose data ends at `data_end`, a multiple of the block size.
    pub(super) fn plan(
        tree: &Tree,
        nlinks: &[u32],
        xattrs: &Shared<'_>,
        data_end: u64,
    ) -> Result<Self, Error> {
        let build_time = most_frequent_time(tree);
        let mut areas = Areas { late_end: data_end, apart_blocks: 0 };
        let mut cursor = FIRST_INODE;
        let mut inodes = Vec::with_capacity(tree.nodes.len());
        for (node, &nlink) in tree.nodes.iter().zip(nlinks) {
            let size = content_size(&node.content);
            let xattr_size = xattrs.body_size(node);
            let extended = (node.mtime, node.mtime_nsec) != build_time
                || size > u64::from(u32::MAX)
                || [node.uid, node.gid, nlink].iter().any(|&n| n > u32::from(u16::MAX));
            let fixed = if extended { 64 } else { 32 };
            let head = fixed + xattr_size;
            let place = areas.place(&node.content, size, head)?;

            let uncut = if place.tail() > 0 { head + place.tail() } else { fixed };
            if cursor % BLOCK_SIZE + uncut > BLOCK_SIZE {
                cursor = cursor.next_multiple_of(BLOCK_SIZE);
            }
            // The attributes of one node are limited to a few hundred KiB.
            inodes.push(PlannedInode {
                offset: cursor,
                size,
                nlink,
                xattr_size: xattr_size as u32,
                extended,
                place,
            });
            cursor = (cursor + head + place.tail() + place.map_size()).next_multiple_of(NID_SIZE);
        }

        let meta_start = areas.late_end;
        let shared_start = meta_start + (cursor + AFTER_LAST_INODE).next_multiple_of(BLOCK_SIZE);
        let apart_start = shared_start + xattrs.size().next_multiple_of(BLOCK_SIZE);
        let image_size = apart_start + areas.apart_blocks * BLOCK_SIZE;
        block_of(image_size, 0)?;
        Ok(Self { inodes, build_time, meta_start, shared_start, apart_start, image_size })
    }
}

/// The areas that grow while inodes are planned.
struct Areas {
    late_end: u64,
    apart_blocks: u64,
}

impl Areas {
    /// Finds the place for content whose inode and attributes take `head` bytes.
    fn place(&mut self, content: &Content, size: u64, head: u64) -> Result<Place, Error> {
        let fits = |tail: u64| tail > 0 && head + tail <= BLOCK_SIZE;
        match content {
            Content::File(data) => self.place_file(data, fits),
            Content::Directory(_) | Content::Symlink(_) => {
                let inline = fits(size % BLOCK_SIZE);
                let blocks = if inline { size / BLOCK_SIZE } else { size.div_ceil(BLOCK_SIZE) };
                let block = block_of(self.apart_blocks * BLOCK_SIZE, blocks * BLOCK_SIZE)?;
                self.apart_blocks += blocks;
                Ok(Place::Apart { block, tail: if inline { (size % BLOCK_SIZE) as u16 } else { 0 } })
            }
            _ => Ok(Place::Nothing),
        }
    }

    fn place_file(&mut self, data: &FileData, fits: impl Fn(u64) -> bool) -> Result<Place, Error> {
        let first = match &data.stored {
            Stored::Chunked(chunks) => return Ok(Place::Chunks { entries: chunks.entries(data.size) }),
            Stored::Flat { first, .. } => *first,
        };
        let block = first.unwrap_or(NULL_ADDR);
        let Some((_, tail)) = data.tail() else { return Ok(Place::File { block, tail: 0 }) };
        if fits(tail) {
            return Ok(Place::File { block, tail: tail as u16 });
        }
        let tail_block = block_of(self.late_end, BLOCK_SIZE)?;
        self.late_end += BLOCK_SIZE;
        if first.is_none() {
            return Ok(Place::File { block: tail_block, tail: 0 });
        }
        // The largest chunks whose borders meet the start of the tail.
        let bits = (data.size / BLOCK_SIZE).trailing_zeros() as u8;
        let bits = bits.min(crate::format::CHUNK_BLKBITS_MASK as u8);
        Ok(Place::Split { bits, entries: sparse::entries(data.size, bits), tail_block })
    }
}

fn content_size(content: &Content) -> u64 {
    match content {
        Content::Directory(entries) => dir::size(entries),
        Content::File(data) => data.size,
        Content::Symlink(target) => target.len() as u64,
        _ => 0,
    }
}

/// The time that saves the most bytes when inodes need not carry it; the earliest one of equals.
fn most_frequent_time(tree: &Tree) -> (i64, u32) {
    let mut counts: HashMap<(i64, u32), u64> = HashMap::new();
    for node in &tree.nodes {
        *counts.entry((node.mtime, node.mtime_nsec)).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by_key(|&(time, count)| (count, std::cmp::Reverse(time)))
        .map(|(time, _)| time)
        .unwrap_or_default()
}
