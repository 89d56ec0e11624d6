//! Writes what the layout planned.

use zerocopy::{FromZeros, IntoBytes};

use super::layout::{Layout, Place, PlannedInode};
use super::output::{ImageOutput, Sink};
use super::spill::Tails;
use super::xattr::{self, Shared};
use super::{Content, FileData, FinishOptions, Node, NodeId, Stored, Tree, dir};
use crate::format::{
    BLOCK_BITS, BLOCK_SIZE, COMPAT_MTIME, COMPAT_SB_CHKSUM, FORMAT_EXTENDED, FORMAT_LAYOUT_SHIFT,
    INCOMPAT_CHUNKED_FILE, InodeCompact, InodeExtended, LAYOUT_CHUNK_BASED, MAGIC, NULL_ADDR, SUPER_OFFSET,
    SuperBlock, encode_device, superblock_checksum,
};
use crate::{Error, FileType, Nid};

/// Metadata gathered before it goes to the output.
const BUFFER: usize = 256 << 10;

pub(super) fn emit<W: ImageOutput>(
    sink: &mut Sink<W>,
    tails: &mut Tails,
    tree: &Tree,
    xattrs: &Shared<'_>,
    layout: &Layout,
    options: FinishOptions,
) -> Result<(), Error> {
    let mut emitter = Emitter { sink, buffer: Vec::with_capacity(2 * BUFFER), tree, layout };
    emitter.late_tails(tails)?;
    emitter.pad_to(layout.meta_start)?;
    for (index, (node, inode)) in tree.nodes.iter().zip(&layout.inodes).enumerate() {
        emitter.pad_to(layout.meta_start + inode.offset)?;
        emitter.inode(index as u32, node, inode);
        xattrs.write_body(node, &mut emitter.buffer);
        emitter.content(NodeId(index as u32), node, inode, tails)?;
        emitter.flush_if_full()?;
    }
    emitter.pad_to(layout.shared_start)?;
    for xattr in xattrs.entries() {
        xattr::write_entry(xattr, &mut emitter.buffer);
        emitter.flush_if_full()?;
    }
    emitter.pad_to(layout.apart_start)?;
    for (node, inode) in tree.nodes.iter().zip(&layout.inodes) {
        emitter.apart(node, inode)?;
    }
    emitter.pad_to(layout.image_size)?;
    emitter.flush()?;

    let block0 = block0(tree, layout, xattrs, options);
    sink.out.write_block0(&block0).map_err(|source| Error::Output { offset: 0, source })
}

struct Emitter<'a, W> {
    sink: &'a mut Sink<W>,
    buffer: Vec<u8>,
    tree: &'a Tree,
    layout: &'a Layout,
}

impl<W: ImageOutput> Emitter<'_, W> {
    fn flush(&mut self) -> Result<(), Error> {
        self.sink.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn pad_to(&mut self, offset: u64) -> Result<(), Error> {
        let pos = self.sink.pos + self.buffer.len() as u64;
        debug_assert!(pos <= offset, "the layout planned {offset} but the image is at {pos}");
        let gap = offset.saturating_sub(pos);
        if gap <= BLOCK_SIZE {
            self.buffer.resize(self.buffer.len() + gap as usize, 0);
            self.flush_if_full()
        } else {
            self.flush()?;
            self.sink.zeros(gap)
        }
    }

    fn target(&self, node: NodeId) -> (Nid, FileType) {
        let nid = self.layout.inodes[node.index()].nid();
        (nid, self.tree.nodes[node.index()].content.file_type())
    }

    /// Tails that found no place behind their inodes, a block each.
    fn late_tails(&mut self, tails: &mut Tails) -> Result<(), Error> {
        for (index, (node, inode)) in self.tree.nodes.iter().zip(&self.layout.inodes).enumerate() {
            let Content::File(data) = &node.content else { continue };
            if data.tail().is_some() && inode.place.data_layout() != crate::format::LAYOUT_FLAT_INLINE {
                self.tail(NodeId(index as u32), data, tails)?;
                let pos = self.sink.pos + self.buffer.len() as u64;
                self.pad_to(pos.next_multiple_of(BLOCK_SIZE))?;
            }
        }
        Ok(())
    }

    fn tail(&mut self, node: NodeId, data: &FileData, tails: &mut Tails) -> Result<(), Error> {
        if let Some((offset, len)) = data.tail() {
            let tail = tails.get(offset, len as usize)?.ok_or(Error::ForeignData { node })?;
            self.buffer.extend_from_slice(tail);
        }
        Ok(())
    }

    fn inode(&mut self, index: u32, node: &Node, inode: &PlannedInode) {
        let data_layout = inode.place.data_layout();
        let format = data_layout << FORMAT_LAYOUT_SHIFT;
        let xattr_icount = match inode.xattr_size {
            0 => 0,
            size => (size - 12) / 4 + 1,
        } as u16;
        let u = self.union_field(node, inode);
        // Only 32-bit programs see it; the kernel tells others the node number.
        let ino = index.wrapping_add(1);
        if inode.extended {
            let raw = InodeExtended {
                format: (format | FORMAT_EXTENDED).into(),
                xattr_icount: xattr_icount.into(),
                mode: node.mode.into(),
                reserved: 0.into(),
                size: inode.size.into(),
                u: u.into(),
                ino: ino.into(),
                uid: node.uid.into(),
                gid: node.gid.into(),
                mtime: (node.mtime as u64).into(),
                mtime_nsec: node.mtime_nsec.into(),
                nlink: inode.nlink.into(),
                reserved2: [0; 16],
            };
            self.buffer.extend_from_slice(raw.as_bytes());
        } else {
            let raw = InodeCompact {
                format: format.into(),
                xattr_icount: xattr_icount.into(),
                mode: node.mode.into(),
                nlink: (inode.nlink as u16).into(),
                size: (inode.size as u32).into(),
                reserved: 0.into(),
                u: u.into(),
                ino: ino.into(),
                uid: (node.uid as u16).into(),
                gid: (node.gid as u16).into(),
                reserved2: 0.into(),
            };
            self.buffer.extend_from_slice(raw.as_bytes());
        }
    }

    /// First block, device number or chunk format.
    fn union_field(&self, node: &Node, inode: &PlannedInode) -> u32 {
        match (&node.content, inode.place) {
            (&(Content::CharDevice { major, minor } | Content::BlockDevice { major, minor }), _) => {
                encode_device(major, minor)
            }
            (Content::File(FileData { stored: Stored::Chunked(chunks), .. }), _) => chunks.bits.into(),
            (_, Place::Split { bits, .. }) => bits.into(),
            (_, Place::File { block, .. }) => block,
            (_, Place::Apart { tail, .. }) if u64::from(tail) == inode.size => NULL_ADDR,
            // The layout checked that the whole image has 32-bit block addresses.
            (_, Place::Apart { block, .. }) => (self.layout.apart_start / BLOCK_SIZE) as u32 + block,
            _ => 0,
        }
    }

    /// What follows inode and attributes: a tail or a chunk map.
    fn content(
        &mut self,
        id: NodeId,
        node: &Node,
        inode: &PlannedInode,
        tails: &mut Tails,
    ) -> Result<(), Error> {
        match (&node.content, inode.place) {
            (Content::File(data), Place::File { tail: 1.., .. }) => self.tail(id, data, tails),
            (Content::File(data), Place::Chunks { entries }) => self.chunk_map(data, entries),
            (Content::File(data), Place::Split { bits, entries, tail_block }) => {
                let Stored::Flat { first: Some(first), .. } = data.stored else { return Ok(()) };
                for entry in 0..entries - 1 {
                    self.map_entry(first + ((entry as u32) << bits))?;
                }
                self.map_entry(tail_block)
            }
            (Content::Directory(entries), Place::Apart { tail: 1.., .. }) => {
                if let Some((range, _)) = dir::blocks(entries).last() {
                    self.directory_block(&entries[range]);
                }
                Ok(())
            }
            (Content::Symlink(target), Place::Apart { tail: 1.., .. }) => {
                self.buffer.extend_from_slice(target);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn chunk_map(&mut self, data: &FileData, entries: u64) -> Result<(), Error> {
        let Stored::Chunked(chunks) = &data.stored else { return Ok(()) };
        let mut next = 0;
        for run in chunks.runs.iter() {
            for _ in next..run.first_chunk {
                self.map_entry(NULL_ADDR)?;
            }
            for i in 0..run.chunks {
                // Blocks were reserved when the file began, so this cannot overflow.
                self.map_entry(run.block + ((i as u32) << chunks.bits))?;
            }
            next = run.first_chunk + run.chunks;
        }
        for _ in next..entries {
            self.map_entry(NULL_ADDR)?;
        }
        Ok(())
    }

    fn map_entry(&mut self, block: u32) -> Result<(), Error> {
        self.buffer.extend_from_slice(&block.to_le_bytes());
        self.flush_if_full()
    }

    fn directory_block(&mut self, entries: &dir::Entries) {
        let mut buffer = std::mem::take(&mut self.buffer);
        dir::write_block(entries, |node| self.target(node), &mut buffer);
        self.buffer = buffer;
    }

    /// Blocks of directories and long symbolic links.
    fn apart(&mut self, node: &Node, inode: &PlannedInode) -> Result<(), Error> {
        let Place::Apart { tail, .. } = inode.place else { return Ok(()) };
        match &node.content {
            Content::Directory(entries) => {
                let whole = inode.size - u64::from(tail);
                for (range, _) in dir::blocks(entries).take(whole.div_ceil(BLOCK_SIZE) as usize) {
                    self.directory_block(&entries[range]);
                    self.pad_block()?;
                }
                Ok(())
            }
            Content::Symlink(target) if tail == 0 => {
                self.buffer.extend_from_slice(target);
                self.pad_block()
            }
            _ => Ok(()),
        }
    }

    fn pad_block(&mut self) -> Result<(), Error> {
        self.pad_to((self.sink.pos + self.buffer.len() as u64).next_multiple_of(BLOCK_SIZE))
    }
}

fn block0(tree: &Tree, layout: &Layout, xattrs: &Shared<'_>, options: FinishOptions) -> [u8; 4096] {
    let chunked = layout.inodes.iter().any(|inode| inode.place.data_layout() == LAYOUT_CHUNK_BASED);
    let block = |offset: u64| (offset / BLOCK_SIZE) as u32;
    let mut raw = SuperBlock::new_zeroed();
    raw.magic = MAGIC.into();
    raw.feature_compat = (COMPAT_SB_CHKSUM | COMPAT_MTIME).into();
    raw.blkszbits = BLOCK_BITS;
    // The root is the first inode and lies in the first or second block of its area.
    raw.root_nid = (layout.inodes[0].nid().0 as u16).into();
    raw.inos = (tree.nodes.len() as u64).into();
    raw.build_time = (layout.build_time.0 as u64).into();
    raw.build_time_nsec = layout.build_time.1.into();
    raw.blocks = block(layout.image_size).into();
    raw.meta_blkaddr = block(layout.meta_start).into();
    raw.xattr_blkaddr = if xattrs.size() > 0 { block(layout.shared_start) } else { 0 }.into();
    raw.uuid = options.uuid;
    raw.feature_incompat = if chunked { INCOMPAT_CHUNKED_FILE } else { 0 }.into();

    let mut block0 = [0; BLOCK_SIZE as usize];
    block0[SUPER_OFFSET..SUPER_OFFSET + size_of::<SuperBlock>()].copy_from_slice(raw.as_bytes());
    raw.checksum = superblock_checksum(&block0).into();
    block0[SUPER_OFFSET..SUPER_OFFSET + size_of::<SuperBlock>()].copy_from_slice(raw.as_bytes());
    block0
}
