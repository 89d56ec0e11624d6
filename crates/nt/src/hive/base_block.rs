//! The base block: the first 4096 bytes of a hive, and, shortened to a sector, of its transaction logs.
//!
//! ```text
//!    0  "regf"
//!    4  u32       primary sequence number      raised before a write,
//!    8  u32       secondary sequence number    and after it: not equal means that the hive is dirty
//!   12  FILETIME  last written
//!   20  u32 u32   version: 1, 3 to 6
//!   28  u32       type: 0 primary file; 1, 2 old log; 6 new log
//!   32  u32       format: 1, direct memory load
//!   36  u32       root key's cell
//!   40  u32       size of the hive bins
//!   44  u32       clustering factor: sector size / 512
//!   48  64 bytes  the end of the file's path, UTF-16
//!  112  ...       transaction manager's GUIDs and flags (Vista and later)
//!  144  u32       flags
//!  176  "OfRg", u32 1   written by the offline registry library, whose time of writing is a FILETIME at 512
//!  508  u32       checksum: XOR of the 127 words before it; 0 is written as 1, 0xFFFFFFFF as 0xFFFFFFFE
//! ```

use std::fmt;

use super::error::{Error, Result};
use crate::bytes::Fields;
use crate::time::FileTime;
use crate::wide::WideString;

/// Size of the base block of a primary file; cells are counted from here.
pub const BASE_BLOCK: usize = 4096;
/// What of the base block a log keeps, and what the checksum covers.
pub(super) const SECTOR: usize = 512;

pub(super) const SEQUENCE_PRIMARY: usize = 4;
pub(super) const SEQUENCE_SECONDARY: usize = 8;
pub(super) const LAST_WRITTEN: usize = 12;
pub(super) const MAJOR: usize = 20;
pub(super) const MINOR: usize = 24;
pub(super) const TYPE: usize = 28;
pub(super) const FORMAT: usize = 32;
pub(super) const ROOT: usize = 36;
pub(super) const BINS_SIZE: usize = 40;
pub(super) const CLUSTERING: usize = 44;
pub(super) const FILE_NAME: usize = 48;
pub(super) const FILE_NAME_SIZE: usize = 64;
pub(super) const FLAGS: usize = 144;
pub(super) const OFFLINE: usize = 176;
pub(super) const OFFLINE_SIGNATURE: [u8; 8] = *b"OfRg\x01\0\0\0";
pub(super) const CHECKSUM: usize = 508;
pub(super) const OFFLINE_WRITTEN: usize = 512;

/// A version of the format, of which only the minor part differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.3, Windows NT 4.0 and still most user hives: name hints, no big data.
    V1_3,
    /// 1.4: big data.
    V1_4,
    /// 1.5, Windows XP and later: name hashes.
    V1_5,
    /// 1.6, Windows 10 and later: layered keys.
    V1_6,
}

impl Version {
    /// The minor version number.
    pub const fn minor(self) -> u32 {
        match self {
            Self::V1_3 => 3,
            Self::V1_4 => 4,
            Self::V1_5 => 5,
            Self::V1_6 => 6,
        }
    }

    fn from_fields(major: u32, minor: u32) -> Result<Self> {
        match (major, minor) {
            (1, 3) => Ok(Self::V1_3),
            (1, 4) => Ok(Self::V1_4),
            (1, 5) => Ok(Self::V1_5),
            (1, 6) => Ok(Self::V1_6),
            _ => Err(Error::UnsupportedVersion { major, minor }),
        }
    }

    /// Whether values above 16344 bytes are cut into segments.
    pub const fn has_big_data(self) -> bool {
        self.minor() >= 4
    }

    /// Whether lists of subkeys carry hashes of the names instead of their first letters.
    pub const fn has_hashes(self) -> bool {
        self.minor() >= 5
    }

    /// Whether the layered-key byte has a meaning. Delta hives of both versions are in use.
    pub const fn has_layers(self) -> bool {
        self.minor() >= 5
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor())
    }
}

/// What the base block says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseBlock {
    /// Raised by one when a write begins.
    pub primary_sequence: u32,
    /// Made equal to the primary one when the write has ended.
    pub secondary_sequence: u32,
    /// When the hive was last written.
    pub last_written: FileTime,
    /// The version of the format.
    pub version: Version,
    /// The root key's cell, counted from the first bin.
    pub root: u32,
    /// Size of all bins in bytes.
    pub bins_size: u32,
    /// The end of the path that the hive was loaded from; for debugging only.
    pub file_name: WideString,
    /// Flags: 1 = the transaction manager has pending transactions, 2 = the hive was defragmented.
    pub flags: u32,
    /// When the offline registry library wrote the hive, if it did. Windows keeps the mark when it changes the hive later.
    pub written_offline: Option<FileTime>,
    /// The checksum in the file.
    pub checksum: u32,
    /// The checksum that belongs there.
    pub expected_checksum: u32,
}

impl BaseBlock {
    /// Reads the base block of a primary file.
    ///
    /// # Errors
    /// [`Error::TooShort`], [`Error::NotAHive`], [`Error::NotPrimary`], [`Error::UnsupportedVersion`]. A wrong checksum is
    /// none: see [`is_valid`](Self::is_valid).
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let (block, kind) = Self::parse_any(bytes)?;
        if kind == 0 { Ok(block) } else { Err(Error::NotPrimary { found: kind }) }
    }

    /// Reads the base block of a primary file or of a log; the second part is the type.
    pub(super) fn parse_any(bytes: &[u8]) -> Result<(Self, u32)> {
        if !bytes.starts_with(b"regf") {
            return Err(Error::NotAHive { found: bytes[..bytes.len().min(4)].to_vec() });
        }
        let sector = bytes.get(..SECTOR).ok_or(Error::TooShort {
            what: "the base block",
            needed: SECTOR,
            available: bytes.len(),
        })?;
        let fields = Fields::new("hive base block", bytes);
        let malformed =
            |_| Error::TooShort { what: "the base block", needed: SECTOR, available: bytes.len() };
        let word = |position| fields.u32(position).map_err(malformed);
        let time = |position| fields.i64(position).map(FileTime).map_err(malformed);

        let name = &sector[FILE_NAME..FILE_NAME + FILE_NAME_SIZE];
        let units: Vec<u16> = name
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .take_while(|&unit| unit != 0)
            .collect();
        let offline = sector[OFFLINE..OFFLINE + 4] == OFFLINE_SIGNATURE[..4];
        let block = Self {
            primary_sequence: word(SEQUENCE_PRIMARY)?,
            secondary_sequence: word(SEQUENCE_SECONDARY)?,
            last_written: time(LAST_WRITTEN)?,
            version: Version::from_fields(word(MAJOR)?, word(MINOR)?)?,
            root: word(ROOT)?,
            bins_size: word(BINS_SIZE)?,
            file_name: WideString::from_units(units),
            flags: word(FLAGS)?,
            // A log has no byte behind the sector that would be the time.
            written_offline: offline.then(|| fields.i64(OFFLINE_WRITTEN).map_or(FileTime::NOT_SET, FileTime)),
            checksum: word(CHECKSUM)?,
            expected_checksum: checksum(sector),
        };
        Ok((block, word(TYPE)?))
    }

    /// Whether the checksum is right.
    pub const fn is_valid(&self) -> bool {
        self.checksum == self.expected_checksum
    }

    /// Whether the last write did not end, by the rule of Windows: the checksum is wrong or the sequence numbers differ.
    /// What is missing is in the transaction logs ([`recover`](super::recover)).
    pub const fn is_dirty(&self) -> bool {
        !self.is_valid() || self.primary_sequence != self.secondary_sequence
    }
}

/// The checksum of a base block's first sector.
pub(super) fn checksum(sector: &[u8]) -> u32 {
    let sum = sector[..CHECKSUM.min(sector.len())]
        .chunks_exact(4)
        .fold(0, |sum, word| sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}
