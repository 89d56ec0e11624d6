//! The OCI layer tar: reading every dialect in use without losing a byte, and writing one deterministic dialect.
//!
//! ```text
//! archive bytes ─► read::TarReader ─► events (Raw | Member | Data) ─► source::member_to_entry ─► Entry
//!                        │
//!                        └── every byte is in exactly one Raw or Data event, so the split stream
//!                            can write the same archive again
//! ```
//!
//! Dialects read: V7, ustar, old GNU (long names, base-256 numbers, sparse), PAX (local and global headers, sparse
//! 0.0, 0.1, 1.0). Written: ustar with PAX records where a value does not fit.

mod foreign;
pub mod header;
pub mod pax;
pub mod read;
pub mod source;
pub mod sparse;
pub mod write;

pub use read::{Event, Member, TarReader};
pub use sparse::Segment;
pub use write::TarWriter;

use std::io;

/// What can be wrong with a tar archive. Offsets count bytes of the uncompressed archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes could not be read (or inflated).
    #[error("reading the archive at byte {offset}")]
    Read {
        /// Bytes read before.
        offset: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The archive ends inside a header or a payload.
    #[error("the archive ends at byte {offset}, inside {inside}")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// What was being read.
        inside: &'static str,
    },
    /// A header's checksum is wrong: this is not a tar header.
    #[error(
        "the header at byte {offset} has checksum {stated}, expected {computed}: not a tar archive, or damaged"
    )]
    Checksum {
        /// Start of the header.
        offset: u64,
        /// What the header says.
        stated: i64,
        /// What its bytes sum to.
        computed: i64,
    },
    /// A numeric field is malformed.
    #[error("the header at byte {offset}: field `{field}` is not a number that tar can hold")]
    Number {
        /// Start of the header.
        offset: u64,
        /// Which field.
        field: &'static str,
    },
    /// An extended header is malformed.
    #[error("the PAX record at byte {offset}: {reason}")]
    Pax {
        /// Start of the record.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value of a PAX record is malformed.
    #[error("the entry at byte {offset}: PAX record `{key}` has the malformed value `{value}`")]
    PaxValue {
        /// Start of the entry's headers.
        offset: u64,
        /// The key.
        key: String,
        /// The value, lossily.
        value: String,
    },
    /// A sparse map is malformed.
    #[error("the entry at byte {offset}: sparse map: {reason}")]
    Sparse {
        /// Start of the entry's headers.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A header that is kept in memory is larger than any real one.
    #[error("the entry at byte {offset}: {what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Start of the header.
        offset: u64,
        /// What it is.
        what: &'static str,
        /// Its stated size.
        size: u64,
        /// The limit.
        limit: u64,
    },
}
