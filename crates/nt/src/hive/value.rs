//! Values and their data.
//!
//! ```text
//!   0  "vk"   2 u16 length of the name   4 u32 size of the data; 0x8000_0000 = up to 4 bytes, in the next field
//!   8  u32 cell of the data, or the data   12 u32 type   16 u16 flags: 1 compressed name, 2 tombstone   20 name
//! ```
//!
//! Data above 16344 bytes is cut into segments from version 1.4 on: see [`big_data`](super::big_data).

use std::borrow::Cow;
use std::fmt;

use super::big_data::{self, SEGMENT};
use super::cell::{Cells, Record, position};
use super::content::Content;
use super::error::{Error, Result};
use super::name::Name;

/// Size of a value before the name.
pub(super) const VALUE_FIXED: usize = 20;
/// In the size field: the data is in the next field.
pub(super) const RESIDENT: u32 = 0x8000_0000;
/// The name has one byte a character.
pub(super) const FLAG_COMPRESSED: u16 = 0x0001;
/// The value is deleted in the hives below.
pub(super) const FLAG_TOMBSTONE: u16 = 0x0002;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueType {
    /// REG_NONE: bytes of no type.
    None,
    /// REG_SZ: text.
    Sz,
    /// REG_EXPAND_SZ: text with `%VARIABLES%`.
    ExpandSz,
    /// REG_BINARY.
    Binary,
    /// REG_DWORD, little-endian.
    Dword,
    /// REG_DWORD_BIG_ENDIAN.
    DwordBigEndian,
    /// REG_LINK: the target of a symbolic link.
    Link,
    /// REG_MULTI_SZ: a list of texts.
    MultiSz,
    /// REG_RESOURCE_LIST.
    ResourceList,
    /// REG_FULL_RESOURCE_DESCRIPTOR.
    FullResourceDescriptor,
    /// REG_RESOURCE_REQUIREMENTS_LIST.
    ResourceRequirementsList,
    /// REG_QWORD, little-endian.
    Qword,
    /// A number that has no name. Device properties and the SAM put numbers of their own here.
    Other(u32),
}

impl ValueType {
    /// From the number.
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Sz,
            2 => Self::ExpandSz,
            3 => Self::Binary,
            4 => Self::Dword,
            5 => Self::DwordBigEndian,
            6 => Self::Link,
            7 => Self::MultiSz,
            8 => Self::ResourceList,
            9 => Self::FullResourceDescriptor,
            10 => Self::ResourceRequirementsList,
            11 => Self::Qword,
            other => Self::Other(other),
        }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Sz => 1,
            Self::ExpandSz => 2,
            Self::Binary => 3,
            Self::Dword => 4,
            Self::DwordBigEndian => 5,
            Self::Link => 6,
            Self::MultiSz => 7,
            Self::ResourceList => 8,
            Self::FullResourceDescriptor => 9,
            Self::ResourceRequirementsList => 10,
            Self::Qword => 11,
            Self::Other(number) => number,
        }
    }

    /// The name in the Windows SDK, where there is one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::None => "REG_NONE",
            Self::Sz => "REG_SZ",
            Self::ExpandSz => "REG_EXPAND_SZ",
            Self::Binary => "REG_BINARY",
            Self::Dword => "REG_DWORD",
            Self::DwordBigEndian => "REG_DWORD_BIG_ENDIAN",
            Self::Link => "REG_LINK",
            Self::MultiSz => "REG_MULTI_SZ",
            Self::ResourceList => "REG_RESOURCE_LIST",
            Self::FullResourceDescriptor => "REG_FULL_RESOURCE_DESCRIPTOR",
            Self::ResourceRequirementsList => "REG_RESOURCE_REQUIREMENTS_LIST",
            Self::Qword => "REG_QWORD",
            Self::Other(_) => return None,
        })
    }
}

impl fmt::Display for ValueType {
    /// The name, or the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("{:#x}", self.number())),
        }
    }
}

/// A value in a hive: a view, cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Value<'h> {
    cells: Cells<'h>,
    pub(super) record: Record<'h>,
}

impl<'h> Value<'h> {
    pub(super) fn read(cells: Cells<'h>, cell: u32) -> Result<Self> {
        let record = cells.record("value", cell, "vk", VALUE_FIXED)?;
        record.need(VALUE_FIXED + usize::from(record.u16(2)))?;
        Ok(Self { cells, record })
    }

    /// The name; empty for the default value.
    pub fn name(&self) -> Name<'h> {
        let length = usize::from(self.record.u16(2));
        let bytes = self.record.bytes.get(VALUE_FIXED..VALUE_FIXED + length).unwrap_or_default();
        Name::new(bytes, self.flags() & FLAG_COMPRESSED != 0)
    }

    /// Whether this is the value that a key has for itself, which `regedit` shows as `(Default)` and `.reg` files as `@`.
    pub fn is_default(&self) -> bool {
        self.record.u16(2) == 0
    }

    /// The value's cell.
    pub fn cell(&self) -> u32 {
        self.record.cell
    }

    /// Where in the file the value's cell starts.
    pub fn position(&self) -> u64 {
        position(self.record.cell)
    }

    pub(super) fn flags(&self) -> u16 {
        self.record.u16(16)
    }

    /// Whether the value says that the hives below have none of this name. Only layered hives have such.
    pub fn is_tombstone(&self) -> bool {
        self.cells.version.has_layers() && self.flags() & FLAG_TOMBSTONE != 0
    }

    /// The type.
    pub fn value_type(&self) -> ValueType {
        ValueType::from_number(self.record.u32(12))
    }

    /// The size of the data in bytes, as the value says.
    pub fn data_size(&self) -> u32 {
        self.record.u32(4) & !RESIDENT
    }

    /// The cell of the data, when it is in one.
    pub(super) fn data_cell(&self) -> Option<u32> {
        (self.record.u32(4) & RESIDENT == 0 && self.data_size() > 0).then(|| self.record.u32(8))
    }

    /// Whether the data is in segments.
    pub(super) fn is_big(&self) -> bool {
        self.cells.version.has_big_data() && self.data_size() as usize > SEGMENT && self.data_cell().is_some()
    }

    /// The data. Borrowed from the hive, unless it has to be put together from segments.
    ///
    /// # Errors
    /// When the data's cells cannot be read, or are too small for the size that the value says.
    pub fn data(&self) -> Result<Cow<'h, [u8]>> {
        let size = self.data_size() as usize;
        let Some(cell) = self.data_cell() else {
            return match self.record.bytes.get(8..8 + size) {
                Some(data) if size <= 4 => Ok(Cow::Borrowed(data)),
                _ => Err(Error::Field {
                    what: "size of resident data",
                    position: self.record.position() + 4,
                    expected: "0 to 4",
                    found: size as u64,
                }),
            };
        };
        if self.is_big() {
            return big_data::read(self.cells, cell, size).map(Cow::Owned);
        }
        let record = Record { what: "value data", cell, bytes: self.cells.get("value data", cell)? };
        record.slice(0, size).map(Cow::Borrowed)
    }

    /// The data by its type.
    pub fn content(&self) -> Result<Content<'h>> {
        Ok(Content::new(self.value_type(), self.data()?))
    }
}
