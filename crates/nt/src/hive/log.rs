//! Transaction logs: what is in them, entry by entry.
//!
//! A log starts with a sector of the hive's base block, its type changed. What follows depends on the format.
//!
//! ```text
//!  new (Windows 8.1 and later, type 6), at 512, each a multiple of 512 bytes long
//!    0 "HvLE"   4 u32 size   8 u32 flags for the base block   12 u32 sequence number   16 u32 size of the bins
//!   20 u32 pages   24 u64 Marvin32 of all from 40   32 u64 Marvin32 of the first 32 bytes
//!   40 pages * { u32 offset from the first bin, u32 size }, then the pages' bytes
//!
//!  old (type 1 or 2), at 512
//!    0 "DIRT"   4 a bit for each 512 bytes of the bins; then, from the next multiple of 512 on, those that are set
//! ```

use thiserror::Error as ThisError;

use super::base_block::{BaseBlock, SECTOR};
use super::error::Error;
use super::marvin;
use crate::bytes::Fields;

const TYPE_NEW: u32 = 6;
const ENTRY_FIXED: usize = 40;
/// The unit of old logs, and what entries of new ones are aligned to.
const UNIT: usize = 512;
const BINS_UNIT: u32 = 4096;

/// Why a log, or the rest of it from some place on, was not used.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Unused {
    /// There is nothing in it.
    #[error("the log is empty")]
    Empty,
    /// It does not begin with a base block.
    #[error("the log has no base block: {0}")]
    BaseBlock(Error),
    /// The checksum of its base block is wrong.
    #[error("the checksum of the log's base block is {found:#010x} instead of {expected:#010x}")]
    Checksum {
        /// The right one.
        expected: u32,
        /// The one in the log.
        found: u32,
    },
    /// The log was not written to its end.
    #[error("the log itself was not finished: sequence numbers {primary} and {secondary}")]
    Unfinished {
        /// The one raised before the log was written.
        primary: u32,
        /// The one raised after it.
        secondary: u32,
    },
    /// A type that is none of a log's.
    #[error("type {found} is not that of a log")]
    Type {
        /// The type.
        found: u32,
    },
    /// The entry, or the whole log, is from before the state of the hive.
    #[error("sequence number {found} is older than the hive, which needs {needed} or later")]
    Old {
        /// What the hive has written already.
        needed: u32,
        /// The entry's number.
        found: u32,
    },
    /// A gap between entries. Behind the last entry, what an earlier use of the log left is found.
    #[error("sequence number {found} does not follow {expected}")]
    Gap {
        /// The number that comes next.
        expected: u32,
        /// The number of the entry.
        found: u32,
    },
    /// An entry with an impossible size, page or number.
    #[error("a log entry is malformed: {what} is {found}")]
    Entry {
        /// The field.
        what: &'static str,
        /// What is there.
        found: u64,
    },
    /// An entry with a wrong hash: it was not written whole.
    #[error("hash {number} of the log entry is wrong")]
    Hash {
        /// 1 for the pages, 2 for the header.
        number: u8,
    },
    /// An old log of another state of the hive.
    #[error("the log belongs to another state of the hive: last written at {found} instead of {expected}")]
    Time {
        /// The hive's time, as a FILETIME.
        expected: i64,
        /// The log's time.
        found: i64,
    },
    /// The hive would become larger than hive and logs together.
    #[error("the hive would grow to {found} bytes, more than the {limit} of hive and logs together")]
    Growth {
        /// The largest size that the logs account for.
        limit: u64,
        /// The size asked for.
        found: u64,
    },
    /// The base block of the hive is damaged, and another log has the later state.
    #[error("another log has the latest base block")]
    Superseded,
}

/// A log whose base block is right.
#[derive(Debug)]
pub(super) struct Log<'l> {
    /// Its place among the logs given.
    pub(super) index: usize,
    pub(super) base: BaseBlock,
    pub(super) bytes: &'l [u8],
    pub(super) new: bool,
}

impl<'l> Log<'l> {
    pub(super) fn parse(index: usize, bytes: &'l [u8]) -> Result<Self, Unused> {
        if bytes.iter().all(|&byte| byte == 0) {
            return Err(Unused::Empty);
        }
        let (base, kind) = BaseBlock::parse_any(bytes).map_err(Unused::BaseBlock)?;
        if !base.is_valid() {
            return Err(Unused::Checksum { expected: base.expected_checksum, found: base.checksum });
        }
        if base.primary_sequence != base.secondary_sequence {
            let (primary, secondary) = (base.primary_sequence, base.secondary_sequence);
            return Err(Unused::Unfinished { primary, secondary });
        }
        match kind {
            1 | 2 | TYPE_NEW => Ok(Self { index, base, bytes, new: kind == TYPE_NEW }),
            found => Err(Unused::Type { found }),
        }
    }

    /// The entries of a new log that follow one another, and where and why they end, if not by the end of the log.
    pub(super) fn entries(&self) -> (Vec<Entry<'l>>, Option<(usize, Unused)>) {
        let mut entries: Vec<Entry<'l>> = Vec::new();
        let mut at = SECTOR;
        while self.bytes.get(at..at + 4) == Some(b"HvLE") {
            let entry = match Entry::parse(&self.bytes[at..]) {
                Ok(entry) => entry,
                Err(unused) => return (entries, Some((at, unused))),
            };
            if let Some(last) = entries.last()
                && entry.sequence != last.sequence.wrapping_add(1)
            {
                let expected = last.sequence.wrapping_add(1);
                return (entries, Some((at, Unused::Gap { expected, found: entry.sequence })));
            }
            at += entry.size;
            entries.push(entry);
        }
        (entries, None)
    }

    /// The dirty pages of an old log, each of 512 bytes with its offset from the first bin.
    pub(super) fn dirty_pages(&self) -> Result<Vec<(u32, &'l [u8])>, (usize, Unused)> {
        let malformed = |at, what, found: usize| (at, Unused::Entry { what, found: found as u64 });
        if self.bytes.get(SECTOR..SECTOR + 4) != Some(b"DIRT") {
            return Err(malformed(SECTOR, "the signature DIRT", 0));
        }
        let bits = self.base.bins_size as usize / UNIT;
        let start = SECTOR + 4;
        let bitmap = self.bytes.get(start..start + bits.div_ceil(8)).ok_or(malformed(
            start,
            "the size of the bins",
            self.base.bins_size as usize,
        ))?;
        let mut at = (start + bitmap.len()).next_multiple_of(UNIT);
        let mut pages = Vec::new();
        for bit in 0..bits {
            if bitmap[bit / 8] & 1 << (bit % 8) == 0 {
                continue;
            }
            let page =
                self.bytes.get(at..at + UNIT).ok_or(malformed(at, "the number of dirty pages", bit))?;
            pages.push(((bit * UNIT) as u32, page));
            at += UNIT;
        }
        Ok(pages)
    }
}

/// An entry of a new log that is whole.
#[derive(Debug, Clone)]
pub(super) struct Entry<'l> {
    pub(super) size: usize,
    pub(super) flags: u32,
    pub(super) sequence: u32,
    pub(super) bins_size: u32,
    pub(super) pages: Vec<(u32, &'l [u8])>,
}

impl<'l> Entry<'l> {
    fn parse(bytes: &'l [u8]) -> Result<Self, Unused> {
        let malformed = |what, found: u64| Unused::Entry { what, found };
        let fields = Fields::new("log entry", bytes);
        let word =
            |position| fields.u32(position).map_err(|_| malformed("the size of the log", bytes.len() as u64));
        let long = |position| Ok(u64::from(word(position)?) | u64::from(word(position + 4)?) << 32);

        let size = word(4)? as usize;
        let entry = bytes
            .get(..size)
            .filter(|_| size >= ENTRY_FIXED && size.is_multiple_of(UNIT))
            .ok_or(malformed("the size", size as u64))?;
        // A fuzzer does not find inputs with right hashes: without, it gets at what is behind them.
        if !cfg!(fuzzing) {
            if marvin::hash(&entry[..32]) != long(32)? {
                return Err(Unused::Hash { number: 2 });
            }
            if marvin::hash(&entry[ENTRY_FIXED..]) != long(24)? {
                return Err(Unused::Hash { number: 1 });
            }
        }
        let bins_size = word(16)?;
        if !bins_size.is_multiple_of(BINS_UNIT) {
            return Err(malformed("the size of the bins", u64::from(bins_size)));
        }
        let count = word(20)? as usize;
        let references = entry[ENTRY_FIXED..]
            .get(..count.saturating_mul(8))
            .ok_or(malformed("the number of pages", count as u64))?;
        let mut data = &entry[ENTRY_FIXED + references.len()..];
        let mut pages = Vec::with_capacity(count);
        for reference in references.chunks_exact(8) {
            let reference = Fields::new("page reference", reference);
            let (offset, length) = match (reference.u32(0), reference.u32(4)) {
                (Ok(offset), Ok(length)) => (offset, length),
                _ => return Err(malformed("the number of pages", count as u64)),
            };
            if offset.checked_add(length).is_none_or(|end| end > bins_size) {
                return Err(malformed("the offset of a page", u64::from(offset)));
            }
            let (page, rest) = data
                .split_at_checked(length as usize)
                .ok_or(malformed("the size of a page", u64::from(length)))?;
            data = rest;
            pages.push((offset, page));
        }
        Ok(Self { size, flags: word(8)?, sequence: word(12)?, bins_size, pages })
    }
}
