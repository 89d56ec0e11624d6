use std::io::Write;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Error, MAGIC, MAX_LITERAL, OP_END, OP_FILE, OP_LITERAL, OP_RANGES, put_varint};
use crate::tar::Segment;

/// Headers compress to a tenth at any level; a low one keeps up with the import.
const ZSTD_LEVEL: i32 = 3;

/// The number of a payload, in the order of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadId(pub usize);

/// Writes a split stream while an archive is read.
pub struct SplitWriter<W: Write> {
    zstd: zstd::Encoder<'static, Counted<W>>,
    /// Literal bytes not yet written as an operation.
    literal: Vec<u8>,
    hashes: Vec<u64>,
    hasher: Box<Xxh3>,
    archive_length: u64,
}

impl<W: Write> std::fmt::Debug for SplitWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SplitWriter").field("payloads", &self.hashes.len()).finish_non_exhaustive()
    }
}

/// Counts what was written, to know where the table starts.
struct Counted<W> {
    inner: W,
    written: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { doing: "writing", source }
}

impl<W: Write> SplitWriter<W> {
    /// Starts a split stream in `output`.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn new(output: W) -> Result<Self, Error> {
        let mut output = Counted { inner: output, written: 0 };
        output.write_all(MAGIC).map_err(failed)?;
        Ok(SplitWriter {
            zstd: frame(output)?,
            literal: Vec::with_capacity(MAX_LITERAL),
            hashes: Vec::new(),
            hasher: Box::default(),
            archive_length: 0,
        })
    }

    /// Bytes of the archive that are no payload.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn literal(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.archive_length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(MAX_LITERAL - self.literal.len()));
            self.literal.extend_from_slice(now);
            bytes = later;
            if self.literal.len() == MAX_LITERAL {
                self.flush_literal()?;
            }
        }
        Ok(())
    }

    fn flush_literal(&mut self) -> Result<(), Error> {
        if !self.literal.is_empty() {
            let mut op = vec![OP_LITERAL];
            put_varint(&mut op, self.literal.len() as u64);
            self.zstd.write_all(&op).map_err(failed)?;
            self.zstd.write_all(&self.literal).map_err(failed)?;
            self.literal.clear();
        }
        Ok(())
    }

    /// Announces a payload: `size` bytes of a file from its start, or the given segments of it. Its bytes go through
    /// [`Self::payload_bytes`], then [`Self::end_payload`] ends it.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn begin_payload(&mut self, size: u64, segments: Option<&[Segment]>) -> Result<PayloadId, Error> {
        self.flush_literal()?;
        let mut op = Vec::new();
        match segments {
            None => {
                op.push(OP_FILE);
                put_varint(&mut op, size);
            }
            Some(segments) => {
                op.push(OP_RANGES);
                put_varint(&mut op, segments.len() as u64);
                let mut end = 0;
                for segment in segments {
                    put_varint(&mut op, segment.offset - end);
                    put_varint(&mut op, segment.len);
                    end = segment.offset + segment.len;
                }
            }
        }
        self.zstd.write_all(&op).map_err(failed)?;
        self.hasher.reset();
        Ok(PayloadId(self.hashes.len()))
    }

    /// Bytes of the announced payload. They are hashed, not stored.
    pub fn payload_bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.archive_length += bytes.len() as u64;
    }

    /// Ends the announced payload.
    pub fn end_payload(&mut self) {
        self.hashes.push(self.hasher.digest());
    }

    /// How many payloads there are so far.
    pub fn payloads(&self) -> usize {
        self.hashes.len()
    }

    /// Writes table and footer. `inode_of` tells which inode holds a payload.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn finish(mut self, inode_of: impl Fn(PayloadId) -> u64) -> Result<W, Error> {
        self.flush_literal()?;
        self.zstd.write_all(&[OP_END]).map_err(failed)?;
        let output = self.zstd.finish().map_err(failed)?;
        let table_offset = output.written;
        let mut table = frame(output)?;
        let mut row = Vec::new();
        for (number, hash) in self.hashes.iter().enumerate() {
            row.clear();
            put_varint(&mut row, inode_of(PayloadId(number)));
            row.extend_from_slice(&hash.to_le_bytes());
            table.write_all(&row).map_err(failed)?;
        }
        let mut output = table.finish().map_err(failed)?;
        let table_length = output.written - table_offset;
        let mut footer = Vec::new();
        for field in [table_offset, table_length, self.hashes.len() as u64, self.archive_length] {
            footer.extend_from_slice(&field.to_le_bytes());
        }
        footer.extend_from_slice(&xxh3_64(&footer).to_le_bytes());
        footer.extend_from_slice(MAGIC);
        output.write_all(&footer).map_err(failed)?;
        output.flush().map_err(failed)?;
        Ok(output.inner)
    }
}

fn frame<W: Write>(output: W) -> Result<zstd::Encoder<'static, W>, Error> {
    let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    Ok(encoder)
}
