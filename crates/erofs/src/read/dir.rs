//! Directories.

use std::cmp::Ordering;

use zerocopy::FromBytes;

use super::{Image, Inode, ReadAt, corrupt};
use crate::format::{BLOCK_SIZE, DIRENT_SIZE, Dirent, NAME_MAX};
use crate::{Error, FileType, Nid};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirEntry {
    /// The name: any bytes but slash and NUL.
    pub name: Vec<u8>,
    /// What it names.
    pub nid: Nid,
    /// The type of that, as the directory tells it.
    pub file_type: FileType,
}

/// One block of a directory, its offsets and names checked entry by entry on access.
struct Block {
    bytes: Vec<u8>,
    count: usize,
    /// For errors.
    inode_offset: u64,
}

impl Block {
    fn bad(&self, field: &'static str, found: u64, expected: &'static str) -> Error {
        corrupt("directory", field, self.inode_offset, found, expected)
    }

    fn dirent(&self, index: usize) -> Result<Dirent, Error> {
        self.bytes
            .get(index * DIRENT_SIZE..)
            .and_then(|bytes| Dirent::read_from_prefix(bytes).ok())
            .map(|(dirent, _)| dirent)
            .ok_or_else(|| self.bad("nameoff", index as u64, "room for every entry"))
    }

    fn entry(&self, index: usize) -> Result<(Dirent, &[u8]), Error> {
        let dirent = self.dirent(index)?;
        let start = usize::from(dirent.nameoff.get());
        let end = if index + 1 < self.count {
            usize::from(self.dirent(index + 1)?.nameoff.get())
        } else {
            self.bytes.len()
        };
        let name = (start >= self.count * DIRENT_SIZE)
            .then(|| self.bytes.get(start..end))
            .flatten()
            .ok_or_else(|| self.bad("nameoff", start as u64, "ascending offsets behind the entries"))?;
        // Only the last name of a block is padded.
        let name = match name.iter().position(|&b| b == 0) {
            Some(nul) if index + 1 == self.count => &name[..nul],
            Some(_) => return Err(self.bad("name", 0, "no NUL in a name")),
            None => name,
        };
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&b'/') {
            return Err(self.bad("name", name.len() as u64, "1 to 255 bytes without a slash"));
        }
        Ok((dirent, name))
    }
}

impl<R: ReadAt> Image<R> {
    /// All names of a directory in ascending order, without `.` and `..`.
    pub fn read_dir(&self, inode: &Inode) -> Result<Vec<DirEntry>, Error> {
        let mut entries = Vec::new();
        self.for_each_entry(inode, |entry| {
            if entry.name != b"." && entry.name != b".." {
                entries.push(entry);
            }
        })?;
        Ok(entries)
    }

    /// The inode of a name in a directory, found by halving: a few blocks are read whatever the directory's size.
    /// `.` and `..` are names, too.
    pub fn lookup(&self, inode: &Inode, name: &[u8]) -> Result<Option<Nid>, Error> {
        inode.expect(FileType::Directory)?;
        // Before `low` blocks start with smaller names, from `high` on with larger ones.
        let (mut low, mut high) = (0, inode.size.div_ceil(BLOCK_SIZE));
        let mut candidate = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let block = self.directory_block(inode, middle)?;
            let (dirent, first) = block.entry(0)?;
            match first.cmp(name) {
                Ordering::Equal => return Ok(Some(Nid(dirent.nid.get()))),
                Ordering::Less => {
                    low = middle + 1;
                    candidate = Some(block);
                }
                Ordering::Greater => high = middle,
            }
        }
        let Some(block) = candidate else { return Ok(None) };
        let (mut low, mut high) = (1, block.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let (dirent, found) = block.entry(middle)?;
            match found.cmp(name) {
                Ordering::Equal => return Ok(Some(Nid(dirent.nid.get()))),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Every entry, `.` and `..` included.
    pub(super) fn for_each_entry(&self, inode: &Inode, mut each: impl FnMut(DirEntry)) -> Result<(), Error> {
        inode.expect(FileType::Directory)?;
        let mut previous: Vec<u8> = Vec::new();
        for index in 0..inode.size.div_ceil(BLOCK_SIZE) {
            let block = self.directory_block(inode, index)?;
            for entry in 0..block.count {
                let (dirent, name) = block.entry(entry)?;
                if name <= previous.as_slice() {
                    return Err(block.bad("name", index, "strictly ascending names"));
                }
                let file_type = FileType::from_dirent(dirent.file_type)
                    .ok_or_else(|| block.bad("file_type", dirent.file_type.into(), "1 to 7"))?;
                previous.clear();
                previous.extend_from_slice(name);
                each(DirEntry { name: name.to_vec(), nid: Nid(dirent.nid.get()), file_type });
            }
        }
        Ok(())
    }

    fn directory_block(&self, inode: &Inode, index: u64) -> Result<Block, Error> {
        let start = index * BLOCK_SIZE;
        let mut bytes = vec![0; (inode.size - start).min(BLOCK_SIZE) as usize];
        self.read_content(inode, &mut bytes, start)?;
        let mut block = Block { bytes, count: 1, inode_offset: self.inode_offset(inode.nid)? };
        let names = usize::from(block.dirent(0)?.nameoff.get());
        if names < DIRENT_SIZE || names % DIRENT_SIZE != 0 || names >= block.bytes.len() {
            return Err(block.bad("nameoff", names as u64, "a multiple of 12 within the block"));
        }
        block.count = names / DIRENT_SIZE;
        Ok(block)
    }
}
