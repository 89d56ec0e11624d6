//! Extended attributes: the FILE_FULL_EA_INFORMATION list ([MS-FSCC], page "FileFullEaInformation").
//!
//! ```text
//! 0  u32  NextEntryOffset  from the start of this entry to the next; 0 in the last
//! 4  u8   Flags            0x80 = FILE_NEED_EA
//! 5  u8   EaNameLength     without the NUL
//! 6  u16  EaValueLength
//! 8       EaName, NUL, EaValue, zeroes up to a multiple of 4
//! ```
//!
//! Encoding pads the last entry too, as go-winio and Windows do; reading takes lists without that padding.

use crate::bytes::Fields;
use crate::error::{Error, Result};

const HEADER: usize = 8;
/// The limit of the EaNameLength field. NTFS itself stops at 254.
pub const MAX_NAME: usize = u8::MAX as usize;
/// The limit of the EaValueLength field.
pub const MAX_VALUE: usize = u16::MAX as usize;
/// The longest name on NTFS (its `$EA` attribute, like ntfs.sys, keeps one byte of the 255 back).
pub const MAX_NTFS_NAME: usize = 254;
/// The longest list of one file on NTFS, in bytes of its encoding (`$EA_INFORMATION` counts it in 16 bits).
pub const MAX_NTFS_LIST: usize = u16::MAX as usize;

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ea {
    /// The Flags byte, see [`Ea::NEED_EA`].
    pub flags: u8,
    /// The name: bytes of the OEM code page, ASCII in practice. Windows stores it in capitals.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl Ea {
    /// FILE_NEED_EA: programs that do not understand EAs must not open the file. A layer tar has no place for it.
    pub const NEED_EA: u8 = 0x80;

    /// An attribute without flags.
    pub fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { flags: 0, name: name.into(), value: value.into() }
    }

    /// Whether [`Ea::NEED_EA`] is set.
    pub fn is_needed(&self) -> bool {
        self.flags & Self::NEED_EA != 0
    }
}

/// Reads a list. Order and flags are kept; an empty buffer is an empty list.
pub fn parse_list(bytes: &[u8]) -> Result<Vec<Ea>> {
    let fields = Fields::new("FILE_FULL_EA_INFORMATION", bytes);
    let mut list = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        fields.slice(start, HEADER)?;
        let next = fields.u32(start)? as usize;
        let name_length = usize::from(fields.u8(start + 5)?);
        let value_length = usize::from(fields.u16(start + 6)?);
        let length = HEADER + name_length + 1 + value_length;
        fields.slice(start, length)?;
        if next != 0 && (next < length || next > bytes.len() - start) {
            return Err(fields.malformed(start, "a next entry behind this one and inside the buffer", next));
        }
        let name = fields.slice(start + HEADER, name_length)?;
        let nul = start + HEADER + name_length;
        if fields.u8(nul)? != 0 {
            return Err(fields.malformed(nul, "NUL behind the name", fields.u8(nul)?));
        }
        let value = fields.slice(nul + 1, value_length)?;
        list.push(Ea { flags: fields.u8(start + 4)?, name: name.to_vec(), value: value.to_vec() });
        if next == 0 {
            if let Some(rest) =
                bytes.get((start + length).next_multiple_of(4)..).filter(|rest| !rest.is_empty())
            {
                let position = bytes.len() - rest.len();
                return Err(fields.malformed(
                    position,
                    "the end of the buffer behind the last entry",
                    format!("{} more bytes", rest.len()),
                ));
            }
            break;
        }
        start += next;
    }
    Ok(list)
}

/// Checks that NTFS can keep a list: names of 1 to [`MAX_NTFS_NAME`] bytes, and the whole in [`MAX_NTFS_LIST`].
///
/// # Errors
/// The first name or size that it cannot.
pub fn check_ntfs(list: &[Ea]) -> Result<()> {
    let mut total = 0_usize;
    for ea in list {
        if ea.name.is_empty() {
            return Err(Error::malformed("FILE_FULL_EA_INFORMATION", total + 5, "a name", "an empty one"));
        }
        let over = |what, limit, found| {
            if found > limit { Err(Error::TooLong { what, limit, found }) } else { Ok(()) }
        };
        over("name of an extended attribute on NTFS", MAX_NTFS_NAME, ea.name.len())?;
        total += (HEADER + ea.name.len() + 1 + ea.value.len()).next_multiple_of(4);
        over("list of extended attributes on NTFS", MAX_NTFS_LIST, total)?;
    }
    Ok(())
}

/// Writes a list in the order given; an empty list is an empty buffer.
pub fn encode_list(list: &[Ea]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (n, ea) in list.iter().enumerate() {
        let name_length = u8::try_from(ea.name.len()).map_err(|_| Error::TooLong {
            what: "name of an extended attribute",
            limit: MAX_NAME,
            found: ea.name.len(),
        })?;
        let value_length = u16::try_from(ea.value.len()).map_err(|_| Error::TooLong {
            what: "value of an extended attribute",
            limit: MAX_VALUE,
            found: ea.value.len(),
        })?;
        let length = (HEADER + ea.name.len() + 1 + ea.value.len()).next_multiple_of(4);
        let next = if n + 1 == list.len() { 0 } else { length as u32 };
        let end = out.len() + length;
        out.extend_from_slice(&next.to_le_bytes());
        out.extend_from_slice(&[ea.flags, name_length]);
        out.extend_from_slice(&value_length.to_le_bytes());
        out.extend_from_slice(&ea.name);
        out.push(0);
        out.extend_from_slice(&ea.value);
        out.resize(end, 0);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: [u8; 36] = *b"\x10\0\0\0\0\x03\x03\0foo\0bar\0\0\0\0\0\0\x04\x04\0fizz\0buzz\0\0\0";

    fn two() -> Vec<Ea> {
        vec![Ea::new("foo", "bar"), Ea::new("fizz", "buzz")]
    }

    #[test]
    fn lists_read_with_and_without_the_last_padding() {
        assert_eq!(encode_list(&two()).unwrap(), TWO);
        assert_eq!(parse_list(&TWO), Ok(two()));
        assert_eq!(parse_list(&TWO[..33]), Ok(two()));
        assert_eq!(parse_list(&[]), Ok(vec![]));
        assert_eq!(encode_list(&[]).unwrap(), [0_u8; 0]);
    }

    #[test]
    fn broken_lists_say_where() {
        assert_eq!(
            parse_list(&TWO[..20]),
            Err(Error::Truncated {
                structure: "FILE_FULL_EA_INFORMATION",
                position: 16,
                needed: 8,
                available: 4
            })
        );
        for next in [1_u8, 12, 37, 255] {
            let mut bytes = TWO;
            bytes[0] = next;
            assert!(parse_list(&bytes).is_err(), "next offset {next}");
        }
    }

    #[test]
    fn names_and_values_over_the_field_are_refused() {
        assert!(encode_list(&[Ea::new(vec![b'a'; 256], "")]).is_err());
        assert!(encode_list(&[Ea::new("a", vec![0; 65536])]).is_err());
        assert!(encode_list(&[Ea::new(vec![b'a'; 255], vec![0; 65535])]).is_ok());
    }

    #[test]
    fn ntfs_keeps_less_than_the_fields_could_hold() {
        let fits = |list: &[Ea]| check_ntfs(list).is_ok();
        assert!(fits(&[]));
        assert!(fits(&[Ea::new(vec![b'a'; 254], "")]));
        assert!(!fits(&[Ea::new(vec![b'a'; 255], "")]));
        assert!(!fits(&[Ea::new("", "x")]));
        // Header, name, NUL and value: 65,532 is the largest multiple of 4 in 16 bits.
        assert!(fits(&[Ea::new("a", vec![0; 65_532 - 10])]));
        assert!(!fits(&[Ea::new("a", vec![0; 65_532 - 9])]));
        assert!(!fits(&[Ea::new("a", vec![0; 40_000]), Ea::new("b", vec![0; 40_000])]));
    }
}
