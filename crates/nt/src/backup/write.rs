use std::io::{self, Write};

use super::sparse::Blocks;
use super::{
    Error, Extent, HEADER, MAX_NAME, Result, SPARSE_OFFSET, StreamAttributes, StreamHeader, StreamId,
};
use crate::ea;
use crate::tar::WindowsMetadata;

/// Writes a backup stream to `W`: a header, its bytes, the next header. The output should be buffered.
///
/// A stream ends by itself when the next begins; that all announced bytes came is checked then.
#[derive(Debug)]
pub struct BackupWriter<W> {
    output: W,
    offset: u64,
    /// The stream being written: id, bytes announced, bytes given.
    current: Option<(StreamId, u64, u64)>,
    /// The sparse file being written, whose blocks begin and end by themselves.
    blocks: Option<Blocks>,
}

impl<W: Write> BackupWriter<W> {
    /// A writer at the start of a backup stream.
    pub fn new(output: W) -> Self {
        Self { output, offset: 0, current: None, blocks: None }
    }

    /// Bytes written so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The output.
    pub fn get_ref(&self) -> &W {
        &self.output
    }

    /// The output. Bytes that are written past the writer are in nobody's count.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.output
    }

    /// Begins a stream; exactly `header.size` bytes must follow.
    ///
    /// # Errors
    /// When the output fails, the stream before is incomplete, or the name or size cannot be.
    pub fn begin(&mut self, header: &StreamHeader) -> Result<()> {
        self.end()?;
        self.put_header(header)
    }

    /// Begins the content of the file, of `size` bytes. With `extents` the file is sparse: only the bytes of these ranges follow,
    /// in rising order. Without, all do.
    ///
    /// A sparse file of one range that is the whole file is written as plain data with the sparse attribute, any other as blocks.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), and when the ranges overlap, are out of order, or end behind the file.
    pub fn begin_data(&mut self, size: u64, extents: Option<&[Extent]>) -> Result<()> {
        self.end()?;
        let mut header = StreamHeader::new(StreamId::DATA, size);
        let Some(extents) = extents else { return self.put_header(&header) };
        header.attributes = StreamAttributes::SPARSE;
        let blocks = Blocks::new(StreamId::DATA, size, extents)?;
        if size == 0 || blocks.is_whole() {
            return self.put_header(&header);
        }
        header.size = 0;
        self.put_header(&header)?;
        self.current = None;
        self.blocks = Some(blocks);
        Ok(())
    }

    /// Writes the security descriptor, the EAs and the reparse point, in this order: all of the metadata that a backup stream
    /// has. (Times and attributes are not part of it.) An empty descriptor and an empty list are left out.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), and when a part cannot be encoded.
    pub fn metadata(&mut self, metadata: &WindowsMetadata) -> Result<()> {
        if let Some(descriptor) = metadata.security_descriptor.as_deref().filter(|bytes| !bytes.is_empty()) {
            self.stream(StreamId::SECURITY, descriptor)?;
        }
        if !metadata.eas.is_empty() {
            let list = ea::encode_list(&metadata.eas)
                .map_err(|source| Error::Encode { id: StreamId::EA, source })?;
            self.stream(StreamId::EA, &list)?;
        }
        if let Some(point) = &metadata.reparse {
            let buffer = point.encode().map_err(|source| Error::Encode { id: StreamId::REPARSE, source })?;
            self.stream(StreamId::REPARSE, &buffer)?;
        }
        Ok(())
    }

    /// A whole stream without a name.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn stream(&mut self, id: StreamId, bytes: &[u8]) -> Result<()> {
        self.begin(&StreamHeader::new(id, bytes.len() as u64))?;
        self.data(bytes)?;
        self.end()
    }

    /// Bytes of the current stream.
    ///
    /// # Errors
    /// When the output fails, or there are more bytes than announced.
    pub fn data(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.current.map_or(0, |(_, announced, given)| announced - given);
            if room == 0 && self.next_block()? {
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if now.is_empty() {
                return Err(self.too_many(later.len() as u64));
            }
            self.put(now)?;
            if let Some((_, _, given)) = &mut self.current {
                *given += now.len() as u64;
            }
            if let Some(blocks) = &mut self.blocks {
                blocks.given += now.len() as u64;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Ends the current stream, if there is one. Happens by itself when the next begins, and in [`finish`](Self::finish).
    ///
    /// # Errors
    /// When bytes are missing, or the output fails.
    pub fn end(&mut self) -> Result<()> {
        if let Some(blocks) = self.blocks.take() {
            self.current = None;
            if blocks.given < blocks.announced {
                let Blocks { id, announced, given, .. } = blocks;
                return Err(Error::Missing { id, announced, given });
            }
            self.put_block(Extent { offset: blocks.size, len: 0 })?;
        }
        match self.current.take() {
            Some((id, announced, given)) if given < announced => Err(Error::Missing { id, announced, given }),
            _ => Ok(()),
        }
    }

    /// Ends the backup stream and gives the output back, flushed.
    ///
    /// # Errors
    /// As [`end`](Self::end).
    pub fn finish(mut self) -> Result<W> {
        self.end()?;
        self.output.flush().map_err(|source| Error::Write { offset: self.offset, source })?;
        Ok(self.output)
    }

    /// The next block of a sparse file; false when there is none.
    fn next_block(&mut self) -> Result<bool> {
        let Some(extent) = self.blocks.as_mut().and_then(|blocks| blocks.extents.next()) else {
            return Ok(false);
        };
        self.put_block(extent)?;
        Ok(true)
    }

    fn put_block(&mut self, extent: Extent) -> Result<()> {
        self.put_header(&StreamHeader::new(StreamId::SPARSE_BLOCK, extent.len + SPARSE_OFFSET))?;
        self.put(&extent.offset.to_le_bytes())?;
        self.current = Some((StreamId::SPARSE_BLOCK, extent.len, 0));
        Ok(())
    }

    fn put_header(&mut self, header: &StreamHeader) -> Result<()> {
        let name = header.name.to_le_bytes();
        if name.len() > MAX_NAME {
            return Err(Error::Name { offset: self.offset, bytes: name.len() as u64 });
        }
        if let Err(value) = i64::try_from(header.size).map_err(|_| header.size.cast_signed()) {
            return Err(Error::Negative { offset: self.offset, field: "Size", value });
        }
        let mut bytes = Vec::with_capacity(HEADER + name.len());
        bytes.extend_from_slice(&header.id.0.to_le_bytes());
        bytes.extend_from_slice(&header.attributes.0.to_le_bytes());
        bytes.extend_from_slice(&header.size.to_le_bytes());
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&name);
        self.put(&bytes)?;
        self.current = Some((header.id, header.size, 0));
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).map_err(|source| Error::Write { offset: self.offset, source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn too_many(&self, more: u64) -> Error {
        let (id, announced, given) = match (&self.blocks, self.current) {
            (Some(blocks), _) => (blocks.id, blocks.announced, blocks.given),
            (None, Some(current)) => current,
            (None, None) => (StreamId::DATA, 0, 0),
        };
        Error::TooMany { id, announced, given: given.saturating_add(more) }
    }
}

impl<W: Write> Write for BackupWriter<W> {
    /// Bytes of the current stream.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.data(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
