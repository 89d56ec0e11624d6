//! Reparse points: REPARSE_DATA_BUFFER ([MS-FSCC] 2.1.2).
//!
//! ```text
//! 0  u32  ReparseTag
//! 4  u16  ReparseDataLength   bytes behind this header (and behind the GUID, in the third-party form)
//! 6  u16  Reserved
//! 8       tags with the Microsoft bit: data        (REPARSE_DATA_BUFFER)
//! 8       others: 16 bytes of GUID, then data      (REPARSE_GUID_DATA_BUFFER, 2.1.2.3)
//!
//! data of a symlink (2.1.2.4) or mount point (2.1.2.5):
//! 0  u16  SubstituteNameOffset   bytes into PathBuffer
//! 2  u16  SubstituteNameLength   bytes, without NUL
//! 4  u16  PrintNameOffset
//! 6  u16  PrintNameLength
//! 8  u32  Flags                  symlinks only; 1 = SYMLINK_FLAG_RELATIVE
//!         PathBuffer
//! ```
//!
//! The substitute name is what the kernel follows, the print name what people see. [`ReparsePoint::from_target`]
//! builds both as Microsoft's go-winio does; [`ReparsePoint::target`] reads one back.
//!
//! [`View`] takes the data of other tags apart where it is published; the point keeps them as they are.
//!
//! [`ReparsePoint::encode`] writes one layout of the PathBuffer: substitute name, NUL, print name, NUL. Buffers from
//! elsewhere may be laid out otherwise, so whoever must give the bytes back unchanged keeps the bytes;
//! [`ReparsePoint::is_canonical`] tells whether encoding would give them back.

mod tags;
mod target;
mod views;

pub use tags::ReparseTag;
pub use target::TargetKind;
pub use views::{LxSpecial, NameUnit, View, Wof};

use crate::bytes::Fields;
use crate::error::{Error, Result};
use crate::wide::WideString;

/// MAXIMUM_REPARSE_DATA_BUFFER_SIZE ([MS-FSCC] 2.1.2): header and data.
pub const MAX_SIZE: usize = 16 * 1024;
/// SYMLINK_FLAG_RELATIVE ([MS-FSCC] 2.1.2.4).
pub const SYMLINK_FLAG_RELATIVE: u32 = 1;

const STRUCTURE: &str = "REPARSE_DATA_BUFFER";
const HEADER: usize = 8;
const GUID: usize = 16;

/// A reparse point: its tag and what the tag says about the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReparsePoint {
    /// Which filter or file system the point belongs to.
    pub tag: ReparseTag,
    /// The content.
    pub data: ReparseData,
}

/// The content of a reparse point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReparseData {
    /// IO_REPARSE_TAG_SYMLINK.
    Symlink {
        /// The name that the kernel follows.
        substitute: WideString,
        /// The name for people; may be empty.
        print: WideString,
        /// [`SYMLINK_FLAG_RELATIVE`] and bits without a name.
        flags: u32,
    },
    /// IO_REPARSE_TAG_MOUNT_POINT: a junction or a mounted volume.
    MountPoint {
        /// The name that the kernel follows.
        substitute: WideString,
        /// The name for people; PowerShell leaves it empty.
        print: WideString,
    },
    /// Another tag of Microsoft's: the bytes as they are.
    Raw(Vec<u8>),
    /// A tag of a third party: GUID (as on disk) and bytes.
    ThirdParty {
        /// The owner's GUID, in the byte order of the buffer.
        guid: [u8; 16],
        /// The bytes behind it.
        data: Vec<u8>,
    },
}

impl ReparsePoint {
    /// Reads a buffer, the whole of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new(STRUCTURE, bytes);
        let tag = ReparseTag(fields.u32(0)?);
        let length = usize::from(fields.u16(4)?);
        let start = if tag.is_microsoft() { HEADER } else { HEADER + GUID };
        let data = fields.slice(start, length)?;
        if bytes.len() > start + length {
            return Err(fields.malformed(4, "a data length that reaches the end of the buffer", length));
        }
        let data = match tag {
            ReparseTag::SYMLINK => {
                let (substitute, print) = names(&fields, 12)?;
                ReparseData::Symlink { substitute, print, flags: fields.u32(start + 8)? }
            }
            ReparseTag::MOUNT_POINT => {
                let (substitute, print) = names(&fields, 8)?;
                ReparseData::MountPoint { substitute, print }
            }
            tag if tag.is_microsoft() => ReparseData::Raw(data.to_vec()),
            _ => ReparseData::ThirdParty { guid: fields.guid(HEADER)?, data: data.to_vec() },
        };
        Ok(Self { tag, data })
    }

    /// Writes the buffer. Fails when it would be longer than [`MAX_SIZE`], or when tag and data do not belong together.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match &self.data {
            ReparseData::Symlink { substitute, print, flags } if self.tag == ReparseTag::SYMLINK => {
                put_names(&mut out, substitute, print, Some(*flags))?;
            }
            ReparseData::MountPoint { substitute, print } if self.tag == ReparseTag::MOUNT_POINT => {
                put_names(&mut out, substitute, print, None)?;
            }
            ReparseData::Raw(data) if self.tag.is_microsoft() && !self.tag.is_link() => {
                out.extend_from_slice(data);
            }
            ReparseData::ThirdParty { guid, data } if !self.tag.is_microsoft() => {
                out.extend_from_slice(guid);
                out.extend_from_slice(data);
            }
            _ => {
                return Err(Error::malformed(STRUCTURE, 0, "a tag that belongs to the data", self.tag));
            }
        }
        if out.len() + HEADER > MAX_SIZE {
            return Err(Error::TooLong { what: "reparse point", limit: MAX_SIZE, found: out.len() + HEADER });
        }
        let guid = if self.tag.is_microsoft() { 0 } else { GUID };
        let mut head = [0; HEADER];
        head[..4].copy_from_slice(&self.tag.0.to_le_bytes());
        head[4..6].copy_from_slice(&((out.len() - guid) as u16).to_le_bytes());
        out.splice(..0, head);
        Ok(out)
    }

    /// Whether `bytes` are exactly what encoding the point that they hold gives.
    pub fn is_canonical(bytes: &[u8]) -> bool {
        Self::parse(bytes).and_then(|point| point.encode()).is_ok_and(|again| again == bytes)
    }
}

/// Substitute and print name of a symlink or mount point whose PathBuffer starts `path_buffer` bytes into the data.
fn names(fields: &Fields<'_>, path_buffer: usize) -> Result<(WideString, WideString)> {
    fields.slice(HEADER, path_buffer)?;
    let name = |at: usize| {
        let offset = usize::from(fields.u16(HEADER + at)?);
        let length = usize::from(fields.u16(HEADER + at + 2)?);
        let bytes = fields.slice(HEADER + path_buffer + offset, length)?;
        WideString::from_le_bytes(bytes)
            .ok_or_else(|| fields.malformed(HEADER + at + 2, "a name of whole 16-bit units", length))
    };
    Ok((name(0)?, name(4)?))
}

fn put_names(
    out: &mut Vec<u8>,
    substitute: &WideString,
    print: &WideString,
    flags: Option<u32>,
) -> Result<()> {
    let (substitute_bytes, print_bytes) = (substitute.len() * 2, print.len() * 2);
    let total = substitute_bytes.saturating_add(print_bytes);
    if total > MAX_SIZE {
        return Err(Error::TooLong { what: "reparse point", limit: MAX_SIZE, found: total });
    }
    // Bounded by MAX_SIZE: every field fits.
    for field in [0, substitute_bytes, substitute_bytes + 2, print_bytes] {
        out.extend_from_slice(&(field as u16).to_le_bytes());
    }
    if let Some(flags) = flags {
        out.extend_from_slice(&flags.to_le_bytes());
    }
    for name in [substitute, print] {
        out.extend_from_slice(&name.to_le_bytes());
        // Counted strings, yet Windows and go-winio end them with NUL.
        out.extend_from_slice(&[0, 0]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_buffer_names_its_byte() {
        let link = ReparsePoint::from_target(&"C:\\t".into(), TargetKind::Symlink).encode().unwrap();
        for cut in 0..link.len() {
            assert!(ReparsePoint::parse(&link[..cut]).is_err(), "cut at {cut}");
        }
        let mut outside = link.clone();
        outside[12] = 0xFF;
        let error = ReparsePoint::parse(&outside).unwrap_err();
        // Header, fields and flags take 20 bytes; the name would start 255 behind them.
        assert!(matches!(error, Error::Truncated { position: 275, .. }), "{error}");
    }

    #[test]
    fn tags_of_third_parties_carry_a_guid() {
        let point = ReparsePoint {
            tag: ReparseTag(0x0000_1234),
            data: ReparseData::ThirdParty { guid: [7; 16], data: vec![1, 2, 3] },
        };
        let bytes = point.encode().unwrap();
        assert_eq!(bytes.len(), 8 + 16 + 3);
        assert_eq!(bytes[4..6], [3, 0]);
        assert_eq!(ReparsePoint::parse(&bytes), Ok(point));
    }

    #[test]
    fn tag_and_data_must_belong_together() {
        let point = ReparsePoint { tag: ReparseTag::SYMLINK, data: ReparseData::Raw(vec![]) };
        assert!(point.encode().is_err());
    }

    #[test]
    fn an_unusual_layout_is_read_and_not_called_canonical() {
        // Print name first, no NULs.
        let mut bytes = vec![0x03, 0, 0, 0xA0, 12, 0, 0, 0];
        bytes.extend_from_slice(&[2, 0, 2, 0, 0, 0, 2, 0]);
        bytes.extend_from_slice(&[b'p', 0, b's', 0]);
        let point = ReparsePoint::parse(&bytes).unwrap();
        assert_eq!(point.data, ReparseData::MountPoint { substitute: "s".into(), print: "p".into() });
        assert!(!ReparsePoint::is_canonical(&bytes));
        assert!(ReparsePoint::is_canonical(&point.encode().unwrap()));
    }
}
