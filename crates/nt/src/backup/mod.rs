//! Win32 backup streams: what `BackupRead` gives and `BackupWrite` takes, a file with everything that belongs to it in one
//! sequence of bytes (Windows SDK, `WIN32_STREAM_ID`).
//!
//! # The format
//!
//! A backup stream is a list of streams, one behind the other, without padding and without an end marker: it ends where the
//! bytes end. Each stream has a header, little endian, of 20 bytes and a name:
//!
//! ```text
//! 0   u32  dwStreamId          what it is, see StreamId
//! 4   u32  dwStreamAttributes  8 = sparse, others in StreamAttributes
//! 8   i64  Size                bytes of data behind header and name
//! 16  u32  dwStreamNameSize    bytes of the name; 0 for all but alternate data
//! 20       cStreamName         UTF-16, no NUL: `:name:$DATA`
//!          data
//! ```
//!
//! Microsoft's code writes them in the order security, EAs, reparse point, data, alternate data. Readers may rely on two things
//! only: alternate data come behind the data, and sparse blocks right behind the stream that they belong to.
//!
//! # Sparse files
//!
//! | file | streams |
//! |---|---|
//! | size 0 | none (older systems), or data of size 0 |
//! | nothing allocated | data of size 0 with [`StreamAttributes::SPARSE`], then the end marker |
//! | one range | data with the whole content |
//! | several ranges | data of size 0 with [`StreamAttributes::SPARSE`], a sparse block for each range, then the end marker |
//!
//! A sparse block begins with the offset in the file (i64), which its size counts; the end marker is a block without bytes whose
//! offset is the size of the file. Blocks come in rising order. [`DataReader`] reads all of these shapes,
//! [`BackupWriter::begin_data`] writes them.
//!
//! # Use
//!
//! [`BackupReader`] gives one stream after another, from any [`std::io::Read`], in bounded memory. [`Contents`] reads the
//! metadata streams into a [`WindowsMetadata`](crate::WindowsMetadata) and remembers where the data lie, for sources that can seek.
//!
//! ```
//! use layerstone_nt::backup::{BackupReader, BackupWriter, Contents, StreamHeader};
//! use std::io::{Cursor, Read, Write};
//!
//! let mut writer = BackupWriter::new(Vec::new());
//! writer.begin_data(5, None)?;
//! writer.write_all(b"hello").unwrap();
//! writer.begin(&StreamHeader::alternate(&"s".into(), 3))?;
//! writer.write_all(b"abc").unwrap();
//! let bytes = writer.finish()?;
//!
//! let mut reader = BackupReader::new(bytes.as_slice());
//! let header = reader.next_stream()?.unwrap();
//! assert_eq!(header.size, 5);
//! let mut data = String::new();
//! reader.read_to_string(&mut data).unwrap();
//! assert_eq!(data, "hello");
//!
//! let contents = Contents::scan(&mut BackupReader::seekable(Cursor::new(&bytes)))?;
//! assert_eq!(contents.data.unwrap().size, 5);
//! assert_eq!(contents.alternates[0].name.to_string(), "s");
//! # Ok::<(), layerstone_nt::backup::Error>(())
//! ```

mod error;
mod read;
mod scan;
mod sparse;
mod write;

pub use error::{Error, Result};
pub use read::BackupReader;
pub use scan::{Alternate, Contents, DataLayout, Ignored, Placed};
pub use sparse::{DataReader, Extent};
pub use write::BackupWriter;

use std::fmt;
use std::ops::BitOr;

use crate::wide::WideString;

/// Bytes of a header without its name. (`sizeof(WIN32_STREAM_ID)` in C is 24, for alignment that the stream does not have.)
pub const HEADER: usize = 20;

/// The longest name of a stream, in bytes: `WIN32_FIND_STREAM_DATA` has room for MAX_PATH + 36 units. NTFS itself stops at
/// 255 units between the colons.
pub const MAX_NAME: usize = 2 * (260 + 36);

/// Bytes of the offset with which a sparse block begins; they count in its size.
pub const SPARSE_OFFSET: u64 = 8;

const DATA_TYPE: &str = ":$DATA";

/// What a stream is (`dwStreamId`). Unknown values are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl StreamId {
    /// BACKUP_DATA: the content.
    pub const DATA: Self = Self(1);
    /// BACKUP_EA_DATA: a FILE_FULL_EA_INFORMATION list.
    pub const EA: Self = Self(2);
    /// BACKUP_SECURITY_DATA: a self-relative security descriptor.
    pub const SECURITY: Self = Self(3);
    /// BACKUP_ALTERNATE_DATA: the content of a named stream.
    pub const ALTERNATE_DATA: Self = Self(4);
    /// BACKUP_LINK: hard links.
    pub const LINK: Self = Self(5);
    /// BACKUP_PROPERTY_DATA.
    pub const PROPERTY: Self = Self(6);
    /// BACKUP_OBJECT_ID: 64 bytes of object id.
    pub const OBJECT_ID: Self = Self(7);
    /// BACKUP_REPARSE_DATA: a REPARSE_DATA_BUFFER.
    pub const REPARSE: Self = Self(8);
    /// BACKUP_SPARSE_BLOCK: an offset and the bytes there.
    pub const SPARSE_BLOCK: Self = Self(9);
    /// BACKUP_TXFS_DATA: transactional NTFS.
    pub const TXF: Self = Self(10);
    /// BACKUP_GHOSTED_FILE_EXTENTS.
    pub const GHOSTED_EXTENTS: Self = Self(11);

    /// The name in the Windows headers, without `BACKUP_`.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::DATA => "DATA",
            Self::EA => "EA_DATA",
            Self::SECURITY => "SECURITY_DATA",
            Self::ALTERNATE_DATA => "ALTERNATE_DATA",
            Self::LINK => "LINK",
            Self::PROPERTY => "PROPERTY_DATA",
            Self::OBJECT_ID => "OBJECT_ID",
            Self::REPARSE => "REPARSE_DATA",
            Self::SPARSE_BLOCK => "SPARSE_BLOCK",
            Self::TXF => "TXFS_DATA",
            Self::GHOSTED_EXTENTS => "GHOSTED_FILE_EXTENTS",
            _ => return None,
        })
    }

    /// Whether this is one of the streams that Microsoft's tar writer passes over: links, properties, object ids and TxF. Any
    /// other stream that carries neither content nor metadata stops it.
    pub const fn is_bookkeeping(self) -> bool {
        matches!(self, Self::LINK | Self::PROPERTY | Self::OBJECT_ID | Self::TXF)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "stream id {}", self.0),
        }
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({}: {self})", self.0)
    }
}

/// The bits of `dwStreamAttributes`. Unknown bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StreamAttributes(pub u32);

impl StreamAttributes {
    /// No bit: what Microsoft's code writes.
    pub const NORMAL: Self = Self(0);
    /// The data change when they are read.
    pub const MODIFIED_WHEN_READ: Self = Self(1);
    /// Security data; `BackupRead` sets it.
    pub const CONTAINS_SECURITY: Self = Self(2);
    /// Properties.
    pub const CONTAINS_PROPERTIES: Self = Self(4);
    /// The stream is sparse: when its size is 0, sparse blocks may follow.
    pub const SPARSE: Self = Self(8);
    /// Ghosted extents.
    pub const CONTAINS_GHOSTED_EXTENTS: Self = Self(0x10);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for StreamAttributes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The header of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamHeader {
    /// What it is.
    pub id: StreamId,
    /// Its attributes.
    pub attributes: StreamAttributes,
    /// Bytes of data that follow.
    pub size: u64,
    /// Its name as it stands: `:name:$DATA` for alternate data, empty for all others.
    pub name: WideString,
}

impl StreamHeader {
    /// A header without name and attributes.
    pub fn new(id: StreamId, size: u64) -> Self {
        Self { id, attributes: StreamAttributes::NORMAL, size, name: WideString::default() }
    }

    /// The header of the alternate data stream called `name` (no colon, no type).
    pub fn alternate(name: &WideString, size: u64) -> Self {
        let units = [0x3A].into_iter().chain(name.units().iter().copied()).chain(DATA_TYPE.encode_utf16());
        let name = WideString::from_units(units.collect::<Vec<_>>());
        Self { name, ..Self::new(StreamId::ALTERNATE_DATA, size) }
    }

    /// The name of an alternate data stream without colon and type; `None` when the header's name is not `:name` or
    /// `:name:$DATA`.
    pub fn alternate_name(&self) -> Option<WideString> {
        let name = self.name.strip_prefix(":")?;
        let stem = name.len().checked_sub(DATA_TYPE.len()).filter(|&at| {
            let kind = String::from_utf16_lossy(&name[at..]);
            kind.eq_ignore_ascii_case(DATA_TYPE)
        });
        let name = &name[..stem.unwrap_or(name.len())];
        (!name.is_empty() && !name.contains(&0x3A)).then(|| WideString::from_units(name))
    }

    /// Whether sparse blocks may follow the stream: it is (alternate) data of size 0 with the sparse attribute.
    pub fn may_have_blocks(&self) -> bool {
        self.size == 0
            && self.attributes.contains(StreamAttributes::SPARSE)
            && matches!(self.id, StreamId::DATA | StreamId::ALTERNATE_DATA)
    }
}
