//! Big data: what is too long for one cell.
//!
//! ```text
//!  0 "db"   2 u16 segments   4 u32 list of them: u32 each
//! ```
//!
//! Each segment holds 16344 bytes, the last one what is left. Versions below 1.4 have no segments: there data of any length is
//! in one cell.

use super::cell::{Cells, Record, position};
use super::error::{Error, Result};

/// The bytes of a full segment, and the longest data that is not cut.
pub const SEGMENT: usize = 16344;
/// Size of the record.
pub(super) const FIXED: usize = 8;

const WHAT: &str = "big data";

/// The cells of a value's segments, and that of the list of them.
pub(super) fn segments(cells: Cells<'_>, cell: u32, size: usize) -> Result<(u32, impl Iterator<Item = u32>)> {
    let record = cells.record(WHAT, cell, "db", FIXED)?;
    let count = usize::from(record.u16(2));
    if count != size.div_ceil(SEGMENT) {
        return Err(Error::Field {
            what: "number of segments",
            position: record.position() + 2,
            expected: "one for each 16344 bytes of data",
            found: count as u64,
        });
    }
    let list = record.u32(4);
    let what = "list of segments";
    let segments = Record { what, cell: list, bytes: cells.get(what, list)? }.slice(0, 4 * count)?;
    let cells = segments.chunks_exact(4).map(|cell| u32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]]));
    Ok((list, cells))
}

/// Puts the data together.
pub(super) fn read(cells: Cells<'_>, cell: u32, size: usize) -> Result<Vec<u8>> {
    if size > cells.bins.len() {
        return Err(Error::TooMany {
            what: "bytes of big data",
            position: position(cell),
            limit: cells.bins.len(),
        });
    }
    let (_, segments) = segments(cells, cell, size)?;
    let mut data = Vec::with_capacity(size);
    for segment in segments {
        let what = "data segment";
        let length = SEGMENT.min(size - data.len());
        let record = Record { what, cell: segment, bytes: cells.get(what, segment)? };
        data.extend_from_slice(record.slice(0, length)?);
    }
    Ok(data)
}
