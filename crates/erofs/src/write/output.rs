//! Where an image goes: the trait, the usual file, and the block arithmetic on top.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use crate::Error;
use crate::format::BLOCK_SIZE;

/// Takes the bytes of an image.
///
/// The writer appends strictly one after the other, from image offset 4096 on, in pieces of any size; block 0 comes
/// once and last, so that an image without a superblock is one that was never finished.
pub trait ImageOutput {
    /// Takes the next bytes.
    fn append(&mut self, buf: &[u8]) -> io::Result<()>;
    /// Takes block 0, after everything else. Whatever `append` held back must be written before.
    fn write_block0(&mut self, block: &[u8; 4096]) -> io::Result<()>;
}

impl<T: ImageOutput + ?Sized> ImageOutput for &mut T {
    fn append(&mut self, buf: &[u8]) -> io::Result<()> {
        (**self).append(buf)
    }

    fn write_block0(&mut self, block: &[u8; 4096]) -> io::Result<()> {
        (**self).write_block0(block)
    }
}

/// An image in memory, for tests and small images.
impl ImageOutput for Vec<u8> {
    fn append(&mut self, buf: &[u8]) -> io::Result<()> {
        if self.is_empty() {
            self.resize(BLOCK_SIZE as usize, 0);
        }
        self.extend_from_slice(buf);
        Ok(())
    }

    fn write_block0(&mut self, block: &[u8; 4096]) -> io::Result<()> {
        if self.len() < block.len() {
            self.resize(block.len(), 0);
        }
        self[..block.len()].copy_from_slice(block);
        Ok(())
    }
}

/// An image in a file, gathered into large writes.
#[derive(Debug)]
pub struct FileOutput {
    file: File,
    buffer: Vec<u8>,
    started: bool,
}

impl FileOutput {
    const BUFFER: usize = 1 << 20;

    /// Writes to `file`, which should be empty. Nothing is synced: that is the caller's decision.
    pub fn new(file: File) -> Self {
        Self { file, buffer: Vec::with_capacity(Self::BUFFER), started: false }
    }

    /// The file. Complete once the image was finished.
    pub fn into_inner(self) -> File {
        self.file
    }

    fn flush(&mut self) -> io::Result<()> {
        self.start()?;
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn start(&mut self) -> io::Result<()> {
        if !self.started {
            self.file.seek(SeekFrom::Start(BLOCK_SIZE))?;
            self.started = true;
        }
        Ok(())
    }
}

impl ImageOutput for FileOutput {
    fn append(&mut self, buf: &[u8]) -> io::Result<()> {
        if self.buffer.len() + buf.len() > Self::BUFFER {
            self.flush()?;
            if buf.len() >= Self::BUFFER {
                return self.file.write_all(buf);
            }
        }
        self.buffer.extend_from_slice(buf);
        Ok(())
    }

    fn write_block0(&mut self, block: &[u8; 4096]) -> io::Result<()> {
        self.flush()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(block)
    }
}

/// An output that knows where it is.
#[derive(Debug)]
pub(crate) struct Sink<W> {
    pub(crate) out: W,
    pub(crate) pos: u64,
}

impl<W: ImageOutput> Sink<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, pos: BLOCK_SIZE }
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if !bytes.is_empty() {
            self.out.append(bytes).map_err(|source| Error::Output { offset: self.pos, source })?;
            self.pos += bytes.len() as u64;
        }
        Ok(())
    }

    pub(crate) fn zeros(&mut self, mut count: u64) -> Result<(), Error> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while count > 0 {
            let n = count.min(ZEROS.len() as u64);
            self.append(&ZEROS[..n as usize])?;
            count -= n;
        }
        Ok(())
    }

    pub(crate) fn pad_to_block(&mut self) -> Result<(), Error> {
        self.zeros(self.pos.next_multiple_of(BLOCK_SIZE) - self.pos)
    }

    /// The block at the current position, once `bytes` more are known to fit behind it.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<u32, Error> {
        block_of(self.pos, bytes)
    }
}

/// The block address of `pos`, provided that an image going on for `bytes` still has 32-bit addresses.
pub(crate) fn block_of(pos: u64, bytes: u64) -> Result<u32, Error> {
    let blocks = pos.saturating_add(bytes).div_ceil(BLOCK_SIZE);
    match u32::try_from(pos / BLOCK_SIZE) {
        Ok(block) if blocks < u64::from(u32::MAX) => Ok(block),
        _ => Err(Error::ImageTooLarge { blocks }),
    }
}
