//! Tails of files, kept aside until their inodes are written.

use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};

use crate::Error;

/// Scratch space for file tails: a temporary file, usually.
pub trait Spill: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> Spill for T {}

/// Bytes kept in memory before the scratch space is touched.
const MEMORY: usize = 4 << 20;
/// Read ahead in the scratch space: inodes come in the order of the tree, so the next tail is mostly the next bytes.
const WINDOW: usize = 256 << 10;

pub(crate) struct Tails {
    spill: Box<dyn Spill>,
    spilled: u64,
    memory: Vec<u8>,
    window: Vec<u8>,
    window_start: u64,
}

impl fmt::Debug for Tails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tails").field("spilled", &self.spilled).field("memory", &self.memory.len()).finish()
    }
}

impl Tails {
    pub(crate) fn new(spill: Box<dyn Spill>) -> Self {
        Self { spill, spilled: 0, memory: Vec::new(), window: Vec::new(), window_start: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.spilled + self.memory.len() as u64
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.memory.len() + bytes.len() > MEMORY {
            let offset = self.spilled;
            let write = |spill: &mut dyn Spill| {
                spill.seek(SeekFrom::Start(offset))?;
                spill.write_all(&self.memory)
            };
            write(self.spill.as_mut()).map_err(|source| Error::Spill { action: "write", offset, source })?;
            self.spilled += self.memory.len() as u64;
            self.memory.clear();
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// The tail of `len` bytes at `offset`; `None` when no such tail was ever appended.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, Error> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len()) {
            return Ok(None);
        }
        let end = offset + len as u64;
        if offset >= self.spilled {
            let start = (offset - self.spilled) as usize;
            return Ok(Some(&self.memory[start..start + len]));
        }
        if offset < self.window_start || end > self.window_start + self.window.len() as u64 {
            self.fill_window(offset, len)?;
        }
        let start = (offset - self.window_start) as usize;
        Ok(Some(&self.window[start..start + len]))
    }

    fn fill_window(&mut self, offset: u64, len: usize) -> Result<(), Error> {
        // A piece is spilled whole, but a tail may have come in several pieces with a spill between them.
        let want = (self.spilled - offset).min(len.max(WINDOW) as u64) as usize;
        self.window.clear();
        self.window.resize(want, 0);
        self.window_start = offset;
        let read = |spill: &mut dyn Spill, buf: &mut [u8]| {
            spill.seek(SeekFrom::Start(offset))?;
            spill.read_exact(buf)
        };
        read(self.spill.as_mut(), &mut self.window).map_err(|source| {
            self.window.clear();
            Error::Spill { action: "read", offset, source }
        })?;
        if want < len {
            self.window.extend_from_slice(&self.memory[..len - want]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn tails_come_back_from_memory_scratch_and_across_their_border() {
        let mut tails = Tails::new(Box::new(Cursor::new(Vec::new())));
        let tail = |i: usize| vec![(i % 251) as u8; 1000 + i % 1000];
        let mut offsets = Vec::new();
        for i in 0..8000 {
            offsets.push(tails.len());
            let bytes = tail(i);
            tails.append(&bytes[..500]).unwrap();
            tails.append(&bytes[500..]).unwrap();
        }
        assert!(tails.spilled > 0 && !tails.memory.is_empty());
        for i in (0..8000).chain((0..8000).rev().step_by(7)) {
            assert_eq!(tails.get(offsets[i], tail(i).len()).unwrap(), Some(&tail(i)[..]), "tail {i}");
        }
        assert_eq!(tails.get(tails.len() - 1, 2).unwrap(), None);
        assert_eq!(tails.get(u64::MAX, 2).unwrap(), None);
    }
}
