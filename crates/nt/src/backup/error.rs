use std::io;

use thiserror::Error;

use super::StreamId;

/// What is wrong with a backup stream, or with what should become one. Offsets count bytes from the start of the stream.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The source failed.
    #[error("reading the backup stream at byte {offset}")]
    Read {
        /// Bytes read before.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
    /// The output failed.
    #[error("writing the backup stream at byte {offset}")]
    Write {
        /// Bytes written before.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
    /// The stream ends inside a header, a name or data.
    #[error("the backup stream ends at byte {offset}, inside {inside}: {missing} more bytes are needed")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// In what.
        inside: &'static str,
        /// Bytes that are missing there.
        missing: u64,
    },
    /// A size or a file offset is negative.
    #[error("the header at byte {offset}: {field} is negative ({value})")]
    Negative {
        /// Start of the header.
        offset: u64,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A name is too long, or not whole 16-bit units.
    #[error(
        "the header at byte {offset}: the name has {bytes} bytes, expected an even number up to {limit}",
        limit = super::MAX_NAME
    )]
    Name {
        /// Start of the header.
        offset: u64,
        /// What the header says.
        bytes: u64,
    },
    /// The name of an alternate data stream is not `:name:$DATA`.
    #[error("the header at byte {offset}: expected a name like `:name:$DATA`, found `{name}`")]
    AlternateName {
        /// Start of the header.
        offset: u64,
        /// The name.
        name: String,
    },
    /// A stream of an id that cannot be passed over without losing something.
    #[error("the header at byte {offset}: {id} of {size} bytes, which nothing here can keep")]
    UnknownStream {
        /// Start of the header.
        offset: u64,
        /// Its id.
        id: StreamId,
        /// Its size.
        size: u64,
    },
    /// A second stream of a kind that a file has only once.
    #[error("the header at byte {offset}: a second {id}")]
    Repeated {
        /// Start of the header.
        offset: u64,
        /// Its id.
        id: StreamId,
    },
    /// A sparse block where none can be, or one that is too short.
    #[error("the sparse block at byte {offset}: {reason}")]
    SparseBlock {
        /// Start of its header.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Sparse blocks out of order.
    #[error("the sparse block at byte {offset} begins at {start} of the file, the one before ends at {end}")]
    SparseOrder {
        /// Start of its header.
        offset: u64,
        /// Where in the file it begins.
        start: u64,
        /// Where in the file the block before ends.
        end: u64,
    },
    /// Sparse blocks without the block of size 0 that tells the size of the file.
    #[error("the sparse blocks end at byte {offset} without an end marker")]
    NoSparseEnd {
        /// Where the end marker was expected.
        offset: u64,
    },
    /// The data are not as long as the file was said to be.
    #[error("the data end at {found} of the file, which was announced with {announced} bytes")]
    FileSize {
        /// What was announced.
        announced: u64,
        /// What is there.
        found: u64,
    },
    /// More of something than is kept in memory.
    #[error("the header at byte {offset}: {what} {found} is over the limit of {limit}")]
    TooLarge {
        /// Start of the header.
        offset: u64,
        /// What it is.
        what: &'static str,
        /// How much of it.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A metadata stream that cannot be read.
    #[error("the {id} at byte {offset}")]
    Metadata {
        /// Start of its header.
        offset: u64,
        /// Which one.
        id: StreamId,
        /// What is wrong with it.
        source: crate::Error,
    },
    /// Writing: metadata that cannot be encoded.
    #[error("the {id} cannot be written")]
    Encode {
        /// Which one.
        id: StreamId,
        /// Why not.
        source: crate::Error,
    },
    /// Writing: more bytes than the header announced.
    #[error("too many bytes for {id}: {announced} were announced, {given} were given")]
    TooMany {
        /// Which stream.
        id: StreamId,
        /// What the header says.
        announced: u64,
        /// What came.
        given: u64,
    },
    /// Writing: the next stream, or the end, before all bytes came.
    #[error("bytes are missing for {id}: {announced} were announced, {given} were given")]
    Missing {
        /// Which stream.
        id: StreamId,
        /// What the header says.
        announced: u64,
        /// What came.
        given: u64,
    },
    /// Writing: the ranges of a sparse file overlap, are out of order, or end behind the file.
    #[error("range {start}..{end} of a sparse file of {size} bytes: {reason}")]
    Extent {
        /// Where the range starts.
        start: u64,
        /// Where it ends.
        end: u64,
        /// The size of the file.
        size: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<Error> for io::Error {
    /// For the `Read` and `Write` of this module: the error stays inside, and the kind is that of its cause.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Read { source, .. } | Error::Write { source, .. } => source.kind(),
            Error::Truncated { .. } | Error::NoSparseEnd { .. } => io::ErrorKind::UnexpectedEof,
            Error::TooMany { .. } | Error::Missing { .. } | Error::Encode { .. } | Error::Extent { .. } => {
                io::ErrorKind::InvalidInput
            }
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// The result of reading or writing a backup stream.
pub type Result<T, E = Error> = std::result::Result<T, E>;
