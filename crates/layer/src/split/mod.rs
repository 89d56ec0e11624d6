//! The split stream: an archive with its payloads taken out and referred to, so that the same bytes can be written
//! again. (The idea is tar-split's, by Vincent Batts; the format is our own.)
//!
//! ```text
//! +-----------------+  0
//! | magic "LSPLIT01"|  8 bytes
//! +-----------------+  8
//! | zstd frame(s)   |  operations, in the order of the archive
//! +-----------------+  table_offset
//! | zstd frame      |  payload table: what each payload number means
//! +-----------------+  file size - 48
//! | footer          |  table_offset, table_length, payloads, archive_length: u64 LE each; xxh3 of these: u64; magic
//! +-----------------+
//! ```
//!
//! Operations are a tag byte and varints (LEB128):
//!
//! | tag | what follows | meaning |
//! | --- | --- | --- |
//! | 0 | - | end of the archive |
//! | 1 | n, then n bytes | these bytes: headers, padding, trailer |
//! | 2 | n | the next payload: n bytes of its file, from the start |
//! | 3 | count, then count times (gap, length) | the next payload: these ranges of its file, each `gap` behind the last |
//!
//! The payload table has, for each payload in order, a varint (the inode that holds it, an EROFS nid) and the XXH3-64 of
//! the payload as u64 LE. The hash is not what proves the layer (its DiffID is); it tells *which* file is damaged.

mod read;
mod write;

pub use read::{Op, Payload, Range, SplitReader};
pub use write::{PayloadId, SplitWriter};

use std::io;

const MAGIC: &[u8; 8] = b"LSPLIT01";
const FOOTER: usize = 48;

const OP_END: u8 = 0;
const OP_LITERAL: u8 = 1;
const OP_FILE: u8 = 2;
const OP_RANGES: u8 = 3;

/// The longest literal in one operation; longer ones are cut in pieces, so a reader needs no larger buffer.
const MAX_LITERAL: usize = 64 << 10;

/// The most ranges of one payload: more than a sparse map of the tar reader's limits can hold.
const MAX_RANGES: u64 = 4 << 20;

/// What can be wrong with a split stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error("{doing} the split stream")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A structure is not as the format says.
    #[error("the split stream is damaged: {what}")]
    Damaged {
        /// Which structure, and how.
        what: &'static str,
    },
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
