//! The content of a file or stream as ranges, whichever way it was stored: see the table in the module above.

use std::io::{self, Read};

use super::{BackupReader, Error, Result, SPARSE_OFFSET, StreamAttributes, StreamHeader, StreamId};

/// A range of a file that is stored, in bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extent {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

impl Extent {
    /// Where it ends.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// Reads the data of one file or alternate stream as ranges in rising order: `DATA`, or `DATA` and the sparse blocks behind it.
#[derive(Debug)]
pub struct DataReader<'a, R> {
    reader: &'a mut BackupReader<R>,
    sparse: bool,
    /// The range that plain data make, until it was given.
    plain: Option<u64>,
    /// Where the last block ended; the size of the file once it is known.
    end: u64,
    blocks: u64,
    done: bool,
}

impl<'a, R: Read> DataReader<'a, R> {
    /// The data whose header [`BackupReader::next_stream`] has just given. Reads nothing yet.
    pub fn new(reader: &'a mut BackupReader<R>, header: &StreamHeader) -> Self {
        let sparse = header.attributes.contains(StreamAttributes::SPARSE);
        let blocks = header.may_have_blocks();
        let plain = (!blocks).then_some(header.size);
        DataReader { reader, sparse, plain, end: 0, blocks: 0, done: false }
    }

    /// Whether the stream has the sparse attribute.
    pub fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// The size of the file, once [`next_extent`](Self::next_extent) has given `None`.
    pub fn size(&self) -> Option<u64> {
        self.done.then_some(self.end)
    }

    /// Where the bytes of the current range start in the backup stream.
    pub fn position(&self) -> u64 {
        self.reader.offset()
    }

    /// The next stored range; its bytes come through [`Read`], and are passed over when the next is asked for.
    ///
    /// # Errors
    /// When the source fails, or the blocks are out of order or have no end marker.
    pub fn next_extent(&mut self) -> Result<Option<Extent>> {
        if self.done {
            return Ok(None);
        }
        if let Some(len) = self.plain.take() {
            self.end = len;
            // What is said to be there must be there, also when nobody reads it.
            return Ok(Some(Extent { offset: 0, len }).filter(|_| len > 0).or_else(|| self.finished()));
        }
        if self.blocks == 0 && self.end > 0 {
            // The plain range has been given, and the file ends with it.
            self.reader.peek_stream()?;
            return Ok(self.finished());
        }
        match self.reader.peek_stream()? {
            Some(header) if header.id == StreamId::SPARSE_BLOCK => {}
            // An empty sparse file has no blocks at all.
            _ if self.blocks == 0 => return Ok(self.finished()),
            _ => return Err(Error::NoSparseEnd { offset: self.reader.offset() }),
        }
        let Some(header) = self.reader.next_stream()? else { return Ok(self.finished()) };
        let offset = self.reader.header_offset();
        let Some(len) = header.size.checked_sub(SPARSE_OFFSET) else {
            return Err(Error::SparseBlock { offset, reason: "shorter than its offset" });
        };
        let start = i64::from_le_bytes(self.reader.read_exactly()?);
        let start =
            u64::try_from(start).map_err(|_| Error::Negative { offset, field: "Offset", value: start })?;
        if start < self.end {
            return Err(Error::SparseOrder { offset, start, end: self.end });
        }
        let end = start.checked_add(len).filter(|&end| i64::try_from(end).is_ok());
        self.end = end.ok_or(Error::SparseBlock { offset, reason: "ends behind the largest file" })?;
        self.blocks += 1;
        Ok(if len == 0 { self.finished() } else { Some(Extent { offset: start, len }) })
    }

    fn finished(&mut self) -> Option<Extent> {
        self.done = true;
        None
    }
}

impl<R: Read> Read for DataReader<'_, R> {
    /// Bytes of the current range.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// The ranges of a sparse file that are still to be written.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) id: StreamId,
    pub(super) size: u64,
    pub(super) extents: std::vec::IntoIter<Extent>,
    /// Bytes of all ranges, and those that came.
    pub(super) announced: u64,
    pub(super) given: u64,
}

impl Blocks {
    /// Checks the ranges; empty ones are left out.
    pub(super) fn new(id: StreamId, size: u64, extents: &[Extent]) -> Result<Self> {
        let mut end = 0;
        let mut kept = Vec::new();
        let mut announced = 0;
        for extent in extents.iter().filter(|extent| extent.len > 0) {
            let bad = |reason| Error::Extent { start: extent.offset, end: extent.end(), size, reason };
            if extent.offset < end {
                return Err(bad("overlaps the range before it, or is out of order"));
            }
            end = extent
                .offset
                .checked_add(extent.len)
                .filter(|&end| end <= size)
                .ok_or_else(|| bad("ends behind the end of the file"))?;
            announced += extent.len;
            kept.push(*extent);
        }
        Ok(Self { id, size, extents: kept.into_iter(), announced, given: 0 })
    }

    /// Whether one range is the whole file: that is written as plain data.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.extents.as_slice(), [one] if one.offset == 0 && one.len == self.size)
    }
}
