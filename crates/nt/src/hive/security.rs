//! Security cells: descriptors that keys share.
//!
//! ```text
//!  0 "sk"   4 u32 next   8 u32 previous   12 u32 keys that refer to it   16 u32 size   20 self-relative descriptor
//! ```
//!
//! All of a hive form one ring.

use super::cell::Cells;
use super::error::Result;

pub(super) const WHAT: &str = "security descriptor";
/// Size before the descriptor.
pub(super) const FIXED: usize = 20;

/// The descriptor's bytes.
pub(super) fn descriptor(cells: Cells<'_>, cell: u32) -> Result<&[u8]> {
    let record = cells.record(WHAT, cell, "sk", FIXED)?;
    record.slice(FIXED, record.u32(16) as usize)
}
