//! A backup stream taken apart: metadata read, data located.

use std::io::Read;

use super::{BackupReader, DataReader, Error, Extent, Result, StreamHeader, StreamId};
use crate::ea::{self, Ea};
use crate::reparse::{self, ReparsePoint};
use crate::tar::WindowsMetadata;
use crate::wide::WideString;

/// The longest security descriptor: two ACLs of 64 KiB, owner, group and header, with room to spare.
const MAX_DESCRIPTOR: u64 = 256 << 10;
/// The longest EA list. NTFS holds 64 KiB.
const MAX_EAS: u64 = 1 << 20;
/// The most ranges of one file, so many that a map of them takes 24 MiB.
const MAX_EXTENTS: u64 = 1 << 20;
/// The most alternate data streams of one file, and streams that are passed over.
const MAX_STREAMS: u64 = 1 << 14;

/// Everything that a backup stream says about a file, but for the bytes of its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The self-relative security descriptor, as it came; an empty one counts as none.
    pub security_descriptor: Option<Vec<u8>>,
    /// The extended attributes.
    pub eas: Vec<Ea>,
    /// The reparse point.
    pub reparse: Option<ReparsePoint>,
    /// Whether the reparse point is laid out otherwise than [`ReparsePoint::encode`] would lay it out.
    pub reparse_is_unusual: bool,
    /// The content; `None` when there is no data stream (directories, links, and empty files of older systems).
    pub data: Option<DataLayout>,
    /// The alternate data streams, in their order.
    pub alternates: Vec<Alternate>,
    /// Streams that were passed over: object ids, properties, hard links, TxF.
    pub ignored: Vec<Ignored>,
    /// Length of the backup stream.
    pub length: u64,
}

/// Where the content of a file lies in its backup stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataLayout {
    /// The size of the file.
    pub size: u64,
    /// Whether the stream has the sparse attribute.
    pub sparse: bool,
    /// The stored ranges, in rising order; the rest is zeroes.
    pub extents: Vec<Placed>,
}

/// A range of a file and where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The range.
    pub extent: Extent,
    /// Where its bytes start in the backup stream.
    pub position: u64,
}

/// An alternate data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternate {
    /// Its name, without colons and type.
    pub name: WideString,
    /// Its content.
    pub data: DataLayout,
}

/// A stream that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ignored {
    /// Its id.
    pub id: StreamId,
    /// Its size.
    pub size: u64,
}

impl Contents {
    /// Reads a backup stream to its end. Streams that Microsoft's tar writer passes over are listed in
    /// [`ignored`](Self::ignored); any other without meaning here is an error, as it is there.
    ///
    /// # Errors
    /// When the source fails, or the stream is malformed; see [`Error`].
    pub fn scan<R: Read>(reader: &mut BackupReader<R>) -> Result<Self> {
        let mut contents = Self::default();
        while let Some(header) = reader.next_stream()? {
            contents.take(reader, &header)?;
        }
        contents.length = reader.offset();
        Ok(contents)
    }

    fn take<R: Read>(&mut self, reader: &mut BackupReader<R>, header: &StreamHeader) -> Result<()> {
        let offset = reader.header_offset();
        let id = header.id;
        let metadata = |source| Error::Metadata { offset, id, source };
        let once = |seen: bool| if seen { Err(Error::Repeated { offset, id }) } else { Ok(()) };
        match id {
            StreamId::SECURITY => {
                once(self.security_descriptor.is_some())?;
                let bytes = reader.read_whole("a security descriptor of size", MAX_DESCRIPTOR)?;
                self.security_descriptor = Some(bytes).filter(|bytes| !bytes.is_empty());
            }
            StreamId::EA => {
                once(!self.eas.is_empty())?;
                let bytes = reader.read_whole("an EA list of size", MAX_EAS)?;
                self.eas = ea::parse_list(&bytes).map_err(metadata)?;
            }
            StreamId::REPARSE => {
                once(self.reparse.is_some())?;
                let bytes = reader.read_whole("a reparse point of size", reparse::MAX_SIZE as u64)?;
                self.reparse = Some(ReparsePoint::parse(&bytes).map_err(metadata)?);
                self.reparse_is_unusual = !ReparsePoint::is_canonical(&bytes);
            }
            StreamId::DATA => {
                once(self.data.is_some())?;
                self.data = Some(DataLayout::scan(reader, header)?);
            }
            StreamId::ALTERNATE_DATA => {
                self.count(self.alternates.len(), "number of alternate streams", offset)?;
                let name = header
                    .alternate_name()
                    .ok_or_else(|| Error::AlternateName { offset, name: header.name.to_string() })?;
                let data = DataLayout::scan(reader, header)?;
                self.alternates.push(Alternate { name, data });
            }
            StreamId::SPARSE_BLOCK => {
                return Err(Error::SparseBlock { offset, reason: "not behind sparse data of size 0" });
            }
            id if id.is_bookkeeping() => {
                self.count(self.ignored.len(), "number of streams", offset)?;
                self.ignored.push(Ignored { id, size: header.size });
            }
            id => return Err(Error::UnknownStream { offset, id, size: header.size }),
        }
        Ok(())
    }

    fn count(&self, there: usize, what: &'static str, offset: u64) -> Result<()> {
        match there as u64 {
            found if found >= MAX_STREAMS => Err(Error::TooLarge { offset, what, found, limit: MAX_STREAMS }),
            _ => Ok(()),
        }
    }

    /// Moves the metadata over; times and attributes, which a backup stream does not have, stay as they are there.
    pub fn move_metadata(&mut self, metadata: &mut WindowsMetadata) {
        metadata.security_descriptor = self.security_descriptor.take();
        metadata.eas = std::mem::take(&mut self.eas);
        metadata.reparse = self.reparse.take();
    }
}

impl DataLayout {
    fn scan<R: Read>(reader: &mut BackupReader<R>, header: &StreamHeader) -> Result<Self> {
        let offset = reader.header_offset();
        let mut data = DataReader::new(reader, header);
        let mut layout = Self { sparse: data.is_sparse(), ..Self::default() };
        while let Some(extent) = data.next_extent()? {
            if layout.extents.len() as u64 >= MAX_EXTENTS {
                return Err(Error::TooLarge {
                    offset,
                    what: "number of sparse blocks",
                    found: MAX_EXTENTS + 1,
                    limit: MAX_EXTENTS,
                });
            }
            layout.extents.push(Placed { extent, position: data.position() });
        }
        layout.size = data.size().unwrap_or_default();
        Ok(layout)
    }

    /// Checks the size against the one that is known from elsewhere.
    ///
    /// # Errors
    /// When they differ.
    pub fn expect_size(&self, announced: u64) -> Result<()> {
        match self.size == announced {
            true => Ok(()),
            false => Err(Error::FileSize { announced, found: self.size }),
        }
    }

    /// Bytes that are stored.
    pub fn stored(&self) -> u64 {
        self.extents.iter().map(|placed| placed.extent.len).sum()
    }

    /// The stored ranges when the stream is sparse, as [`BackupWriter::begin_data`](super::BackupWriter::begin_data) takes them.
    pub fn sparse_extents(&self) -> Option<Vec<Extent>> {
        self.sparse.then(|| self.extents.iter().map(|placed| placed.extent).collect())
    }
}
