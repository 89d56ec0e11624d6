//! A part of a file, read without moving the file's cursor.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use crate::sys;

/// Reads `size` bytes of a shared file, from `offset`. Several threads can each have their own on one file.
#[derive(Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Section {
    pub(crate) fn new(file: Arc<File>, offset: u64, size: u64) -> Self {
        Self { file, offset, left: size }
    }
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = sys::read_at(&self.file, &mut buf[..want], self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}
