//! Bins and cells: how a hive divides its space.
//!
//! ```text
//!  bin   0 "hbin"   4 u32 own offset   8 u32 size, a multiple of 4096   20 FILETIME (first bin)   32 cells up to the end
//!  cell  0 i32 size with this field: negative = in use, positive = free   4 content
//! ```
//!
//! A cell is named by its offset from the first bin, which is byte 4096 of the file. `0xFFFF_FFFF` names none.

use super::base_block::{BASE_BLOCK, Version};
use super::error::{Error, Result};

/// The number that stands for "no cell".
pub const NO_CELL: u32 = u32::MAX;
/// Size of a bin's header.
pub(super) const BIN_HEADER: usize = 32;
/// Bins are multiples of this.
pub(super) const BIN_UNIT: usize = 4096;

/// The bytes of all bins, and the way from a cell's number to its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'h> {
    pub(super) bins: &'h [u8],
    pub(super) version: Version,
}

impl<'h> Cells<'h> {
    /// The content of a cell in use.
    pub(super) fn get(self, what: &'static str, cell: u32) -> Result<&'h [u8]> {
        let (content, used) = self.any(what, cell)?;
        if used { Ok(content) } else { Err(Error::CellFree { what, position: position(cell) }) }
    }

    /// The content of a cell, and whether it is in use.
    pub(super) fn any(self, what: &'static str, cell: u32) -> Result<(&'h [u8], bool)> {
        let end = (BASE_BLOCK + self.bins.len()) as u64;
        let start = cell as usize;
        let header = start
            .checked_add(4)
            .and_then(|content| self.bins.get(start..content))
            .ok_or(Error::CellOutside { what, position: position(cell), end })?;
        let size = i32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = size.unsigned_abs() as usize;
        let content = start
            .checked_add(length)
            .filter(|_| length >= 8)
            .and_then(|end| self.bins.get(start + 4..end))
            .ok_or(Error::CellSize { what, position: position(cell), size: size.unsigned_abs(), end })?;
        Ok((content, size < 0))
    }

    /// The content of a record: a cell in use with a signature and fixed fields.
    pub(super) fn record(
        self,
        what: &'static str,
        cell: u32,
        signature: &'static str,
        fixed: usize,
    ) -> Result<Record<'h>> {
        let bytes = self.get(what, cell)?;
        let record = Record { what, cell, bytes };
        let found = [record.u8(0), record.u8(1)];
        if found != signature.as_bytes() {
            return Err(Error::Signature { what, position: record.position(), expected: signature, found });
        }
        record.need(fixed)?;
        Ok(record)
    }

    /// How many list elements a hive of this size can have at most, when no list is used twice.
    pub(super) fn most_elements(self) -> usize {
        self.bins.len() / 4
    }
}

/// Where in the file a cell is.
pub(super) const fn position(cell: u32) -> u64 {
    BASE_BLOCK as u64 + cell as u64
}

/// The content of a cell, with fields by position. A field beyond the end reads as zero: [`Record::need`] comes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'h> {
    pub(super) what: &'static str,
    pub(super) cell: u32,
    pub(super) bytes: &'h [u8],
}

impl<'h> Record<'h> {
    /// Where in the file the content starts.
    pub(super) fn position(&self) -> u64 {
        position(self.cell) + 4
    }

    pub(super) fn need(&self, needed: usize) -> Result<()> {
        if self.bytes.len() >= needed {
            return Ok(());
        }
        Err(Error::Truncated {
            what: self.what,
            position: self.position(),
            needed,
            available: self.bytes.len(),
        })
    }

    pub(super) fn slice(&self, position: usize, length: usize) -> Result<&'h [u8]> {
        let needed = position.saturating_add(length);
        self.need(needed)?;
        Ok(&self.bytes[position..needed])
    }

    pub(super) fn u8(&self, position: usize) -> u8 {
        self.bytes.get(position).copied().unwrap_or_default()
    }

    pub(super) fn u16(&self, position: usize) -> u16 {
        u16::from_le_bytes([self.u8(position), self.u8(position + 1)])
    }

    pub(super) fn u32(&self, position: usize) -> u32 {
        match self.bytes.get(position..position + 4) {
            Some(word) => u32::from_le_bytes([word[0], word[1], word[2], word[3]]),
            None => 0,
        }
    }

    pub(super) fn i64(&self, position: usize) -> i64 {
        i64::from(self.u32(position)) | i64::from(self.u32(position + 4)) << 32
    }
}

/// A set of cells: one bit for each place that a cell can start at.
#[derive(Debug, Clone)]
pub(super) struct CellSet {
    bits: Vec<u64>,
}

impl CellSet {
    pub(super) fn new(bins: usize) -> Self {
        Self { bits: vec![0; bins.div_ceil(8 * 64)] }
    }

    fn place(cell: u32) -> (usize, u64) {
        let index = cell as usize / 8;
        (index / 64, 1 << (index % 64))
    }

    /// Adds a cell; false when it was there.
    pub(super) fn insert(&mut self, cell: u32) -> bool {
        let (word, bit) = Self::place(cell);
        match self.bits.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                true
            }
            _ => false,
        }
    }

    pub(super) fn contains(&self, cell: u32) -> bool {
        let (word, bit) = Self::place(cell);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }
}
