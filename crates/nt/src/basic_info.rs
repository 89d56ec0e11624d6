//! FILE_BASIC_INFO ([MS-FSCC] 2.4.7, FileBasicInformation): four times and the attributes.

use crate::attributes::FileAttributes;
use crate::bytes::Fields;
use crate::error::Result;
use crate::time::FileTime;

/// The times and attributes of a file, as `SetFileInformationByHandle(FileBasicInfo)` takes them.
///
/// A time of 0, like attributes of 0, means "leave as it is" there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BasicInfo {
    /// When the file was made.
    pub creation: FileTime,
    /// When the data were last read.
    pub last_access: FileTime,
    /// When the data were last written.
    pub last_write: FileTime,
    /// When data or metadata last changed.
    pub change: FileTime,
    /// The attribute bits.
    pub attributes: FileAttributes,
}

impl BasicInfo {
    /// The bytes that carry meaning.
    pub const PACKED_SIZE: usize = 36;
    /// The structure's size in memory: padded to a multiple of 8.
    pub const SIZE: usize = 40;

    /// Reads the structure from its first 36 bytes; padding may be there or not.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new("FILE_BASIC_INFO", bytes);
        fields.slice(0, Self::PACKED_SIZE)?;
        if bytes.len() != Self::PACKED_SIZE && bytes.len() != Self::SIZE {
            return Err(fields.malformed(
                Self::PACKED_SIZE,
                "a length of 36 or 40 bytes",
                format!("{} bytes", bytes.len()),
            ));
        }
        Ok(Self {
            creation: FileTime(fields.i64(0)?),
            last_access: FileTime(fields.i64(8)?),
            last_write: FileTime(fields.i64(16)?),
            change: FileTime(fields.i64(24)?),
            attributes: FileAttributes(fields.u32(32)?),
        })
    }

    /// The 36 bytes that carry meaning.
    pub fn to_packed_bytes(&self) -> [u8; Self::PACKED_SIZE] {
        let mut out = [0; Self::PACKED_SIZE];
        for (slot, time) in
            out.chunks_exact_mut(8).zip([self.creation, self.last_access, self.last_write, self.change])
        {
            slot.copy_from_slice(&time.0.to_le_bytes());
        }
        out[32..].copy_from_slice(&self.attributes.0.to_le_bytes());
        out
    }

    /// The 40 bytes that the Windows API takes, padding zero.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..Self::PACKED_SIZE].copy_from_slice(&self.to_packed_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sizes_are_read_and_others_refused() {
        let info = BasicInfo {
            creation: FileTime(1),
            last_access: FileTime(2),
            last_write: FileTime(3),
            change: FileTime(-1),
            attributes: FileAttributes(0x8020),
        };
        let bytes = info.to_bytes();
        assert_eq!(bytes[8..16], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[32..], [0x20, 0x80, 0, 0, 0, 0, 0, 0]);
        assert_eq!(BasicInfo::parse(&bytes), Ok(info));
        assert_eq!(BasicInfo::parse(&bytes[..36]), Ok(info));
        for length in [0, 35, 37, 39] {
            assert!(BasicInfo::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
