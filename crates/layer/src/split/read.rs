use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Take};

use xxhash_rust::xxh3::xxh3_64;

use super::{Error, FOOTER, MAGIC, MAX_LITERAL, MAX_RANGES, OP_END, OP_FILE, OP_LITERAL, OP_RANGES};

/// A range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Byte of the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A payload of the archive: where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The number of the payload, counted from 0.
    pub number: u64,
    /// The inode of the layer's image that holds it.
    pub nid: u64,
    /// XXH3-64 of its bytes.
    pub hash: u64,
    /// The ranges of the file, in order.
    pub ranges: Vec<Range>,
}

/// The next piece of the archive.
#[derive(Debug)]
pub enum Op<'a> {
    /// These bytes.
    Literal(&'a [u8]),
    /// The bytes of this payload.
    Payload(Payload),
    /// The archive is complete.
    End,
}

type Frames<R> = BufReader<zstd::Decoder<'static, BufReader<Take<R>>>>;

/// Reads a split stream. `R` is opened twice: once for the operations, once for the table.
pub struct SplitReader<R: Read> {
    ops: Frames<R>,
    table: Frames<R>,
    payloads: u64,
    next_payload: u64,
    archive_length: u64,
    given: u64,
    literal: Vec<u8>,
    done: bool,
}

impl<R: Read> std::fmt::Debug for SplitReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SplitReader")
            .field("payloads", &self.payloads)
            .field("archive_length", &self.archive_length)
            .finish_non_exhaustive()
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { doing: "reading", source }
}

fn damaged(what: &'static str) -> Error {
    Error::Damaged { what }
}

impl<R: Read + Seek> SplitReader<R> {
    /// Opens a split stream, given two independent readers of the same file.
    ///
    /// # Errors
    /// When the file cannot be read or its frame is not that of a split stream.
    pub fn open(mut ops: R, mut table: R) -> Result<Self, Error> {
        let mut magic = [0; MAGIC.len()];
        ops.rewind().map_err(failed)?;
        ops.read_exact(&mut magic).map_err(failed)?;
        if &magic != MAGIC {
            return Err(damaged("it does not start with the magic of a split stream (version 1)"));
        }
        let size = table.seek(SeekFrom::End(0)).map_err(failed)?;
        if size < (MAGIC.len() + FOOTER) as u64 {
            return Err(damaged("it is shorter than its footer"));
        }
        table.seek(SeekFrom::Start(size - FOOTER as u64)).map_err(failed)?;
        let mut footer = [0; FOOTER];
        table.read_exact(&mut footer).map_err(failed)?;
        let (fields, rest) = footer.split_at(32);
        let (hash, magic) = rest.split_at(8);
        if magic != MAGIC {
            return Err(damaged("the footer's magic is missing: it was cut short"));
        }
        if hash != xxh3_64(fields).to_le_bytes() {
            return Err(damaged("the footer's checksum is wrong"));
        }
        let mut numbers = [0u64; 4];
        for (number, bytes) in numbers.iter_mut().zip(fields.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().map_err(|_| damaged("the footer is short"))?);
        }
        let [table_offset, table_length, payloads, archive_length] = numbers;
        if table_offset.checked_add(table_length) != Some(size - FOOTER as u64)
            || table_offset < MAGIC.len() as u64
        {
            return Err(damaged("the footer's table does not lie inside the file"));
        }
        table.seek(SeekFrom::Start(table_offset)).map_err(failed)?;
        Ok(SplitReader {
            ops: frames(ops.take(table_offset - MAGIC.len() as u64))?,
            table: frames(table.take(table_length))?,
            payloads,
            next_payload: 0,
            archive_length,
            given: 0,
            literal: Vec::new(),
            done: false,
        })
    }
}

impl<R: Read> SplitReader<R> {
    /// Length of the archive in bytes.
    pub fn archive_length(&self) -> u64 {
        self.archive_length
    }

    /// How many payloads the archive has.
    pub fn payloads(&self) -> u64 {
        self.payloads
    }

    /// The next piece of the archive.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn next_op(&mut self) -> Result<Op<'_>, Error> {
        if self.done {
            return Ok(Op::End);
        }
        let mut tag = [0];
        self.ops.read_exact(&mut tag).map_err(failed)?;
        match tag[0] {
            OP_END => {
                self.done = true;
                // A frame's checksum stands at its very end: without reading up to there, damage goes unseen.
                at_end(&mut self.ops)?;
                at_end(&mut self.table)?;
                if self.next_payload != self.payloads || self.given != self.archive_length {
                    return Err(damaged("operations and footer do not count the same"));
                }
                Ok(Op::End)
            }
            OP_LITERAL => {
                let len = varint(&mut self.ops)?;
                if len > MAX_LITERAL as u64 {
                    return Err(damaged("a literal is longer than the format allows"));
                }
                // Literals without bytes would let a small file hold operations without end.
                if len == 0 {
                    return Err(damaged("a literal is empty"));
                }
                self.literal.resize(len as usize, 0);
                self.ops.read_exact(&mut self.literal).map_err(failed)?;
                self.count(len)?;
                Ok(Op::Literal(&self.literal))
            }
            OP_FILE => {
                let len = varint(&mut self.ops)?;
                self.count(len)?;
                self.payload(vec![Range { offset: 0, len }])
            }
            OP_RANGES => {
                let count = varint(&mut self.ops)?;
                if count > MAX_RANGES {
                    return Err(damaged("a payload has more ranges than the format allows"));
                }
                let mut ranges = Vec::new();
                let mut end = 0u64;
                for _ in 0..count {
                    let gap = varint(&mut self.ops)?;
                    let len = varint(&mut self.ops)?;
                    let overflow = || damaged("a range overflows");
                    let offset = end.checked_add(gap).ok_or_else(overflow)?;
                    end = offset.checked_add(len).ok_or_else(overflow)?;
                    self.count(len)?;
                    ranges.push(Range { offset, len });
                }
                self.payload(ranges)
            }
            _ => Err(damaged("an operation is unknown")),
        }
    }

    fn payload(&mut self, ranges: Vec<Range>) -> Result<Op<'_>, Error> {
        if self.next_payload >= self.payloads {
            return Err(damaged("there are more payloads than the footer says"));
        }
        let nid = varint(&mut self.table)?;
        let mut hash = [0; 8];
        self.table.read_exact(&mut hash).map_err(failed)?;
        let number = self.next_payload;
        self.next_payload += 1;
        Ok(Op::Payload(Payload { number, nid, hash: u64::from_le_bytes(hash), ranges }))
    }

    /// Counts archive bytes, so that a damaged stream cannot describe an endless archive.
    fn count(&mut self, bytes: u64) -> Result<(), Error> {
        self.given = self
            .given
            .checked_add(bytes)
            .filter(|&given| given <= self.archive_length)
            .ok_or_else(|| damaged("it describes more bytes than the archive has"))?;
        Ok(())
    }
}

fn frames<R: Read>(input: Take<R>) -> Result<Frames<R>, Error> {
    let decoder = zstd::Decoder::new(input).map_err(failed)?;
    Ok(BufReader::with_capacity(128 << 10, decoder))
}

/// Nothing may follow in these frames; reading that far makes zstd compare its checksum.
fn at_end(frames: &mut impl BufRead) -> Result<(), Error> {
    match frames.fill_buf().map_err(failed)? {
        [] => Ok(()),
        _ => Err(damaged("something follows the last operation or payload")),
    }
}

fn varint(input: &mut impl BufRead) -> Result<u64, Error> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte).map_err(failed)?;
        let part = u64::from(byte[0] & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        value |= part << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged("a number is longer than 64 bits"))
}
