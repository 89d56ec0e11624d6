use std::io::{self, Read, Seek, SeekFrom};

use super::{Error, HEADER, MAX_NAME, Result, StreamAttributes, StreamHeader, StreamId};
use crate::bytes::Fields;
use crate::wide::WideString;

/// What is read over rather than sought over: a seek empties the buffer of a buffered source.
const SEEK_FROM: u64 = 4096;

/// Passes over bytes; returns how many there were.
type Skip<R> = fn(&mut R, u64) -> io::Result<u64>;

/// Reads a backup stream, one stream after the other.
///
/// The bytes of a stream come through [`Read`] or [`read_data`](Self::read_data); those that nobody asks for are passed over when
/// the next stream is asked for. The source should be buffered.
pub struct BackupReader<R> {
    input: R,
    skip: Skip<R>,
    /// Bytes taken from the input.
    offset: u64,
    /// Bytes of the current stream that are still to come.
    left: u64,
    /// Start of the current stream's header.
    header_at: u64,
    /// A header that was read and given back, and where it starts.
    peeked: Option<(u64, StreamHeader)>,
}

impl<R> std::fmt::Debug for BackupReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupReader").field("offset", &self.offset).field("left", &self.left).finish()
    }
}

impl<R: Read> BackupReader<R> {
    /// A reader of a source that cannot seek: what is passed over is read.
    pub fn new(input: R) -> Self {
        Self::with_skip(input, read_over)
    }

    fn with_skip(input: R, skip: Skip<R>) -> Self {
        Self { input, skip, offset: 0, left: 0, header_at: 0, peeked: None }
    }

    /// Bytes of the backup stream that were read or passed over.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the header of the current stream starts.
    pub fn header_offset(&self) -> u64 {
        self.header_at
    }

    /// Bytes of the current stream that have not been read.
    pub fn remaining(&self) -> u64 {
        self.left
    }

    /// The source, wherever it stands.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The header of the next stream; `None` when the bytes end where a header would start.
    ///
    /// # Errors
    /// When the source fails, ends inside a stream, or holds a header that cannot be.
    pub fn next_stream(&mut self) -> Result<Option<StreamHeader>> {
        self.pass_over()?;
        let (at, header) = match self.peeked.take() {
            Some(peeked) => peeked,
            None => match self.header()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        self.header_at = at;
        self.left = header.size;
        Ok(Some(header))
    }

    /// The next header, which [`next_stream`](Self::next_stream) will give again.
    pub(super) fn peek_stream(&mut self) -> Result<Option<&StreamHeader>> {
        self.pass_over()?;
        if self.peeked.is_none() {
            self.peeked = self.header()?;
        }
        Ok(self.peeked.as_ref().map(|(_, header)| header))
    }

    /// Reads bytes of the current stream; 0 at its end.
    ///
    /// # Errors
    /// When the source fails or ends before the stream does.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.read_some(&mut buffer[..most])?;
        if read == 0 {
            return Err(self.truncated("data", self.left));
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// Reads the rest of the current stream, which must not be longer than `limit`.
    pub(super) fn read_whole(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>> {
        if self.left > limit {
            return Err(Error::TooLarge { offset: self.header_at, what, found: self.left, limit });
        }
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.read_data(&mut buffer)? {
                0 => return Ok(bytes),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Reads exactly this many bytes of the current stream.
    pub(super) fn read_exactly<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            match self.read_data(&mut bytes[filled..])? {
                0 => return Err(self.truncated("data", (N - filled) as u64)),
                read => filled += read,
            }
        }
        Ok(bytes)
    }

    fn pass_over(&mut self) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        let skipped = (self.skip)(&mut self.input, self.left)
            .map_err(|source| Error::Read { offset: self.offset, source })?;
        self.offset += skipped;
        self.left -= skipped.min(self.left);
        match self.left {
            0 => Ok(()),
            missing => {
                self.left = 0;
                Err(self.truncated("data", missing))
            }
        }
    }

    fn header(&mut self) -> Result<Option<(u64, StreamHeader)>> {
        let at = self.offset;
        let mut bytes = [0; HEADER];
        match self.fill(&mut bytes)? {
            0 => return Ok(None),
            HEADER => {}
            read => return Err(self.truncated("a header", (HEADER - read) as u64)),
        }
        // Of 20 bytes, so nothing is missing.
        let fields = Fields::new("WIN32_STREAM_ID", &bytes);
        let metadata = |source| Error::Metadata { offset: at, id: StreamId(0), source };
        let id = StreamId(fields.u32(0).map_err(metadata)?);
        let attributes = StreamAttributes(fields.u32(4).map_err(metadata)?);
        let size = fields.i64(8).map_err(metadata)?;
        let name_bytes = fields.u32(16).map_err(metadata)?;
        let size =
            u64::try_from(size).map_err(|_| Error::Negative { offset: at, field: "Size", value: size })?;
        let mut name = [0; MAX_NAME];
        let name = usize::try_from(name_bytes)
            .ok()
            .and_then(|length| name.get_mut(..length))
            .ok_or(Error::Name { offset: at, bytes: name_bytes.into() })?;
        let read = self.fill(name)?;
        if read < name.len() {
            return Err(self.truncated("a stream's name", (name.len() - read) as u64));
        }
        let name =
            WideString::from_le_bytes(name).ok_or(Error::Name { offset: at, bytes: name_bytes.into() })?;
        Ok(Some((at, StreamHeader { id, attributes, size, name })))
    }

    /// Reads until the buffer is full or the source ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.input.read(buffer) {
                Ok(read) => {
                    self.offset += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { offset: self.offset, source }),
            }
        }
    }

    fn truncated(&self, inside: &'static str, missing: u64) -> Error {
        Error::Truncated { offset: self.offset, inside, missing }
    }
}

impl<R: Read + Seek> BackupReader<R> {
    /// A reader of a source that can seek: long streams that nobody reads are jumped over. Offsets count from where the
    /// source stands now.
    pub fn seekable(input: R) -> Self {
        Self::with_skip(input, seek_over)
    }
}

impl<R: Read> Read for BackupReader<R> {
    /// Bytes of the current stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_data(buffer)?)
    }
}

fn read_over<R: Read>(input: &mut R, count: u64) -> io::Result<u64> {
    io::copy(&mut input.take(count), &mut io::sink())
}

/// Jumps to the last byte and reads that: behind the end of a file there is nothing to read, but one can seek there.
fn seek_over<R: Read + Seek>(input: &mut R, count: u64) -> io::Result<u64> {
    if count <= SEEK_FROM {
        return read_over(input, count);
    }
    let before = input.stream_position()?;
    let last = i64::try_from(count - 1).ok().filter(|&last| before.checked_add_signed(last).is_some());
    if let Some(last) = last {
        input.seek(SeekFrom::Current(last))?;
        if read_over(input, 1)? == 1 {
            return Ok(count);
        }
    }
    let end = input.seek(SeekFrom::End(0))?;
    Ok(end.saturating_sub(before).min(count))
}
