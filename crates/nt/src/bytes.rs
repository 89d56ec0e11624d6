//! Little-endian fields by position, with an error that names structure and byte instead of a panic.

use crate::error::{Error, Result};

/// A byte slice that knows which structure it is.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) structure: &'static str,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self { structure, bytes }
    }

    pub(crate) fn slice(&self, position: usize, length: usize) -> Result<&'a [u8]> {
        position.checked_add(length).and_then(|end| self.bytes.get(position..end)).ok_or(Error::Truncated {
            structure: self.structure,
            position,
            needed: length,
            available: self.bytes.len().saturating_sub(position),
        })
    }

    fn array<const N: usize>(&self, position: usize) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.slice(position, N)?);
        Ok(out)
    }

    pub(crate) fn u8(&self, position: usize) -> Result<u8> {
        Ok(self.array::<1>(position)?[0])
    }

    pub(crate) fn u16(&self, position: usize) -> Result<u16> {
        self.array(position).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&self, position: usize) -> Result<u32> {
        self.array(position).map(u32::from_le_bytes)
    }

    pub(crate) fn i64(&self, position: usize) -> Result<i64> {
        self.array(position).map(i64::from_le_bytes)
    }

    pub(crate) fn guid(&self, position: usize) -> Result<[u8; 16]> {
        self.array(position)
    }

    pub(crate) fn malformed(&self, position: usize, expected: &'static str, found: impl ToString) -> Error {
        Error::malformed(self.structure, position, expected, found)
    }
}
