//! How a file with holes is cut into chunks.
//!
//! EROFS stores holes chunk by chunk, all chunks of a file being equal and a power of two: small chunks make a long
//! map, large ones store zeros around small data. The cheapest size is chosen, and a file that would still cost far
//! more than it holds is refused, because its size is only a claim.

use std::sync::Arc;

use crate::Error;
use crate::format::{BLOCK_BITS, BLOCK_SIZE, CHUNK_BLKBITS_MASK, FILE_MAX};

/// A piece of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Where it starts in the file.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// What a sparse file may cost whatever it holds.
const COST_ALWAYS_ALLOWED: u64 = 64 << 20;

/// Consecutive chunks in consecutive blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRun {
    pub(crate) first_chunk: u64,
    pub(crate) chunks: u64,
    pub(crate) block: u32,
}

/// The chunks of a file: everything outside the runs is a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// log2 of blocks in a chunk.
    pub(crate) bits: u8,
    pub(crate) runs: Arc<[ChunkRun]>,
}

impl Chunks {
    pub(crate) fn entries(&self, size: u64) -> u64 {
        entries(size, self.bits)
    }

    pub(crate) fn image_bytes(&self, size: u64) -> u64 {
        let end = size.next_multiple_of(BLOCK_SIZE);
        let shift = self.bits + BLOCK_BITS;
        let run =
            |run: &ChunkRun| ((run.first_chunk + run.chunks) << shift).min(end) - (run.first_chunk << shift);
        self.runs.iter().map(run).sum::<u64>() + 4 * self.entries(size)
    }
}

pub(crate) fn entries(size: u64, bits: u8) -> u64 {
    size.div_ceil(BLOCK_SIZE << bits)
}

/// What to write for a file with holes: runs of chunks, and within them data and zeros in turn.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) chunks: Chunks,
    /// Bytes of zeros, then bytes of data, then zeros...
    pub(crate) pieces: Vec<(u64, u64)>,
    /// Zeros at the end.
    pub(crate) padding: u64,
}

/// Checks the segments and gives those that are not empty.
pub(crate) fn checked(size: u64, segments: &[Segment]) -> Result<Vec<Segment>, Error> {
    if size > FILE_MAX {
        return Err(Error::FileTooLarge { size });
    }
    let mut end = 0;
    let mut kept: Vec<Segment> = Vec::with_capacity(segments.len());
    for (index, &Segment { offset, len }) in segments.iter().enumerate() {
        let bad = Error::BadSegment { index, offset, len, size };
        match offset.checked_add(len) {
            Some(next) if offset >= end && next <= size => end = next,
            _ => return Err(bad),
        }
        match kept.last_mut() {
            Some(last) if last.offset + last.len == offset => last.len += len,
            _ if len > 0 => kept.push(Segment { offset, len }),
            _ => {}
        }
    }
    Ok(kept)
}

/// Plans a file whose first stored block will be `block`. `segments` come from [`checked`].
pub(crate) fn plan(size: u64, segments: &[Segment], block: u32) -> Result<Plan, Error> {
    let stored = segments.iter().map(|s| s.len).sum::<u64>();
    let (mut bits, mut cost) = (0, u64::MAX);
    for candidate in 0..=CHUNK_BLKBITS_MASK as u8 {
        let bytes: u64 = runs(size, segments, candidate).map(|(start, end)| end - start).sum();
        let total = bytes.saturating_add(entries(size, candidate).saturating_mul(4));
        if total < cost {
            (bits, cost) = (candidate, total);
        }
    }
    if cost > COST_ALWAYS_ALLOWED.max(stored.saturating_mul(2)) {
        return Err(Error::SparseTooLarge { size, stored, cost });
    }

    let mut out = Vec::new();
    let mut pieces = Vec::with_capacity(segments.len());
    let mut left = segments.iter().peekable();
    let (mut written, mut padding) = (0u64, 0u64);
    for (start, end) in runs(size, segments, bits) {
        let first_chunk = start / (BLOCK_SIZE << bits);
        let chunks = entries(end, bits) - first_chunk;
        let here = u64::from(block) + written / BLOCK_SIZE;
        let block = u32::try_from(here).map_err(|_| Error::ImageTooLarge { blocks: here })?;
        out.push(ChunkRun { first_chunk, chunks, block });
        let mut at = start;
        while let Some(segment) = left.next_if(|s| s.offset < end) {
            pieces.push((padding + segment.offset - at, segment.len));
            at = segment.offset + segment.len;
            padding = 0;
        }
        padding += end - at;
        written += end - start;
    }
    Ok(Plan { chunks: Chunks { bits, runs: out.into() }, pieces, padding })
}

/// The parts of the file that get blocks, as byte ranges: whole chunks, but the last one ends with the file's last block.
fn runs(size: u64, segments: &[Segment], bits: u8) -> impl Iterator<Item = (u64, u64)> + '_ {
    let shift = u32::from(bits + BLOCK_BITS);
    let last = size.next_multiple_of(BLOCK_SIZE);
    let mut segments = segments.iter().peekable();
    std::iter::from_fn(move || {
        let first = segments.next()?;
        let up = |end: u64| ((((end - 1) >> shift) + 1) << shift).min(last);
        let start = (first.offset >> shift) << shift;
        let mut end = up(first.offset + first.len);
        while let Some(next) = segments.next_if(|s| s.offset < end) {
            end = end.max(up(next.offset + next.len));
        }
        Some((start, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &[(u64, u64)]) -> Vec<Segment> {
        list.iter().map(|&(offset, len)| Segment { offset, len }).collect()
    }

    #[test]
    fn a_file_of_holes_has_one_chunk_and_no_data() {
        let plan = plan(1 << 40, &[], 1).unwrap();
        assert!(plan.chunks.runs.is_empty() && plan.pieces.is_empty());
        assert_eq!(plan.chunks.entries(1 << 40), 1);
        assert_eq!(super::plan(FILE_MAX, &[], 1).unwrap().padding, 0);
    }

    #[test]
    fn a_little_data_in_a_terabyte_is_stored_cheaply() {
        let plan = plan(1 << 40, &segments(&[(5 << 30, 10)]), 7).unwrap();
        assert!(plan.chunks.entries(1 << 40) * 4 + plan.padding < 8 << 20);
        let chunk = (10 + plan.pieces[0].0 + plan.padding).next_multiple_of(BLOCK_SIZE);
        assert_eq!(plan.chunks.image_bytes(1 << 40), plan.chunks.entries(1 << 40) * 4 + chunk);
    }

    #[test]
    fn data_all_over_a_terabyte_is_refused() {
        let list: Vec<_> = (0..1000).map(|i| (i << 30, 1)).collect();
        assert!(matches!(plan(1 << 40, &segments(&list), 1), Err(Error::SparseTooLarge { .. })));
    }

    #[test]
    fn segments_out_of_order_or_outside_are_refused() {
        for bad in [&[(10, 5), (14, 1)][..], &[(10, 5), (0, 1)], &[(95, 6)], &[(u64::MAX, 2)]] {
            assert!(matches!(checked(100, &segments(bad)), Err(Error::BadSegment { .. })), "{bad:?}");
        }
        assert_eq!(checked(100, &segments(&[(0, 10), (10, 5), (100, 0)])).unwrap(), segments(&[(0, 15)]));
    }
}
