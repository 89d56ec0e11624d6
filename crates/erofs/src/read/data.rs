//! Content of files and symbolic links.

use super::{Image, Inode, Layout, ReadAt, corrupt};
use crate::format::{BLOCK_SIZE, NULL_ADDR};
use crate::{Error, FileType};

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where it starts in the file.
    pub file_offset: u64,
    /// Where it is in the image; `None` for a hole.
    pub image_offset: Option<u64>,
    /// How long it is.
    pub len: u64,
}

/// Bytes of a chunk map read at once.
const MAP_WINDOW: u64 = 64 << 10;

impl<R: ReadAt> Image<R> {
    /// Reads from a regular file. Fewer bytes than asked for come only at its end.
    pub fn read_at(&self, inode: &Inode, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        inode.expect(FileType::Regular)?;
        self.read_content(inode, buf, offset)
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        inode.expect(FileType::Symlink)?;
        // A link's size was checked with its inode.
        let mut target = vec![0; inode.size as usize];
        self.read_content(inode, &mut target, 0)?;
        if target.contains(&0) {
            return Err(corrupt("symbolic link", "target", self.inode_offset(inode.nid)?, 0u8, "no NUL"));
        }
        Ok(target)
    }

    /// The pieces of a regular file, in order and without gaps; neighbours are merged.
    pub fn extents(&self, inode: &Inode) -> Result<Vec<Extent>, Error> {
        inode.expect(FileType::Regular)?;
        let mut extents: Vec<Extent> = Vec::new();
        self.for_each_extent(inode, |extent| {
            match extents.last_mut() {
                Some(last)
                    if last.image_offset.map(|at| at + last.len) == extent.image_offset
                        && last.image_offset.is_some() == extent.image_offset.is_some() =>
                {
                    last.len += extent.len;
                }
                _ => extents.push(extent),
            }
            Ok(())
        })?;
        Ok(extents)
    }

    pub(super) fn read_content(&self, inode: &Inode, buf: &mut [u8], offset: u64) -> Result<usize, Error> {
        let len = inode.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let extent = self.extent_at(inode, at)?;
            let skip = at - extent.file_offset;
            let n = (extent.len - skip).min((len - done) as u64) as usize;
            let part = &mut buf[done..done + n];
            match extent.image_offset {
                Some(start) => self.read("file data", start + skip, part)?,
                None => part.fill(0),
            }
            done += n;
        }
        Ok(len)
    }

    pub(super) fn for_each_extent(
        &self,
        inode: &Inode,
        mut each: impl FnMut(Extent) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Layout::Chunks { map, bits, entry_size } = inode.layout else {
            let mut at = 0;
            while at < inode.size {
                let extent = self.extent_at(inode, at)?;
                at += extent.len;
                each(extent)?;
            }
            return Ok(());
        };
        let total = inode.size.div_ceil(1 << bits) * u64::from(entry_size);
        let mut done = 0;
        while done < total {
            let window = self.read_vec("chunk map", map + done, (total - done).min(MAP_WINDOW))?;
            for entry in window.chunks_exact(entry_size.into()) {
                let index = done / u64::from(entry_size);
                each(self.chunk(inode, index, bits, map + done, entry)?)?;
                done += u64::from(entry_size);
            }
        }
        Ok(())
    }

    /// The piece of the content that has `offset` in it, which is below the size.
    fn extent_at(&self, inode: &Inode, offset: u64) -> Result<Extent, Error> {
        let size = inode.size;
        Ok(match inode.layout {
            Layout::None => Extent { file_offset: 0, image_offset: None, len: size },
            Layout::Flat { start } => Extent { file_offset: 0, image_offset: Some(start), len: size },
            Layout::Inline { start, tail } => {
                let whole = size - size % BLOCK_SIZE;
                if offset < whole {
                    Extent { file_offset: 0, image_offset: Some(start), len: whole }
                } else {
                    Extent { file_offset: whole, image_offset: Some(tail), len: size - whole }
                }
            }
            Layout::Chunks { map, bits, entry_size } => {
                let index = offset >> bits;
                let at = map + index * u64::from(entry_size);
                let mut entry = [0; 8];
                let entry = &mut entry[..entry_size.into()];
                self.read("chunk map", at, entry)?;
                self.chunk(inode, index, bits, at, entry)?
            }
        })
    }

    /// The chunk that an entry of the map, at image offset `at`, tells of.
    fn chunk(&self, inode: &Inode, index: u64, bits: u8, at: u64, entry: &[u8]) -> Result<Extent, Error> {
        if let [_, _, device_low, device_high, ..] = *entry
            && entry.len() == 8
            && (device_low, device_high) != (0, 0)
        {
            let found = u16::from_le_bytes([device_low, device_high]).into();
            return Err(Error::Unsupported {
                structure: "chunk index",
                feature: "another device",
                offset: at,
                found,
            });
        }
        // The block address is the last field of both kinds of entry.
        let block = entry.last_chunk().map_or(NULL_ADDR, |bytes| u32::from_le_bytes(*bytes));
        let file_offset = index << bits;
        let len = (1 << bits).min(inode.size - file_offset);
        if block == NULL_ADDR {
            return Ok(Extent { file_offset, image_offset: None, len });
        }
        let start = u64::from(block) * BLOCK_SIZE;
        self.inside("chunk of a file", start, len)?;
        Ok(Extent { file_offset, image_offset: Some(start), len })
    }
}
