//! The 512-byte tar header block: where each field lies and how its numbers are written.
//!
//! Sources: POSIX.1-2017 `pax`, section "ustar Interchange Format"; the GNU tar manual, "Basic Tar Format" (old
//! sparse fields, base-256 numbers).

use super::Error;

/// Size of a header and the unit that payloads are padded to.
pub const BLOCK: usize = 512;

/// A field of the header block: offset and length.
type Field = (usize, usize);

const NAME: Field = (0, 100);
const MODE: Field = (100, 8);
const UID: Field = (108, 8);
const GID: Field = (116, 8);
const SIZE: Field = (124, 12);
const MTIME: Field = (136, 12);
const CHECKSUM: Field = (148, 8);
const TYPEFLAG: usize = 156;
const LINKNAME: Field = (157, 100);
const MAGIC: Field = (257, 6);
const DEVMAJOR: Field = (329, 8);
const DEVMINOR: Field = (337, 8);
const PREFIX: Field = (345, 155);

/// Old GNU headers reuse the prefix area.
const GNU_ATIME: Field = (345, 12);
const GNU_CTIME: Field = (357, 12);
const GNU_SPARSE: usize = 386;
const GNU_SPARSE_ENTRIES: usize = 4;
const GNU_IS_EXTENDED: usize = 482;
const GNU_REALSIZE: Field = (483, 12);

/// An extension block of an old GNU sparse map: 21 entries, then a flag for one more block.
const EXT_SPARSE_ENTRIES: usize = 21;
const EXT_IS_EXTENDED: usize = 504;
const SPARSE_ENTRY: usize = 24;

/// Which dialect the magic announces. It decides what bytes 345..512 mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// No magic: Unix V7.
    V7,
    /// `ustar\0`: POSIX (ustar and pax).
    Ustar,
    /// `ustar ` (with a space): old GNU.
    Gnu,
}

/// A view of one header block whose checksum has been found right.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    block: &'a [u8; BLOCK],
    offset: u64,
}

impl<'a> Header<'a> {
    /// Checks the checksum of `block`, which starts at byte `offset` of the archive.
    pub fn parse(block: &'a [u8; BLOCK], offset: u64) -> Result<Self, Error> {
        let header = Header { block, offset };
        let stated = header.number(CHECKSUM, "checksum")?;
        let unsigned = checksum(block);
        // Historic writers summed signed characters, each 256 less for a byte above 127; both sums are in use.
        let signed = || {
            let (before, field) = block.split_at(CHECKSUM.0);
            let high = before.iter().chain(&field[CHECKSUM.1..]).filter(|&&byte| byte > 127).count();
            unsigned - 256 * high as i64
        };
        if stated != unsigned && stated != signed() {
            return Err(Error::Checksum { offset, stated, computed: unsigned });
        }
        Ok(header)
    }

    fn bytes(&self, field: Field) -> &'a [u8] {
        &self.block[field.0..field.0 + field.1]
    }

    fn text(&self, field: Field) -> &'a [u8] {
        let bytes = self.bytes(field);
        &bytes[..bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len())]
    }

    fn number(&self, field: Field, name: &'static str) -> Result<i64, Error> {
        parse_number(self.bytes(field)).ok_or(Error::Number { offset: self.offset, field: name })
    }

    fn unsigned(&self, field: Field, name: &'static str) -> Result<u64, Error> {
        u64::try_from(self.number(field, name)?)
            .map_err(|_| Error::Number { offset: self.offset, field: name })
    }

    /// The dialect, from the magic.
    pub fn dialect(&self) -> Dialect {
        match self.bytes(MAGIC) {
            b"ustar\0" => Dialect::Ustar,
            b"ustar " => Dialect::Gnu,
            _ => Dialect::V7,
        }
    }

    /// The name, with the ustar prefix where there is one.
    pub fn name(&self) -> Vec<u8> {
        let name = self.text(NAME);
        let prefix = if self.dialect() == Dialect::Ustar { self.text(PREFIX) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The link target.
    pub fn link_name(&self) -> Vec<u8> {
        self.text(LINKNAME).to_vec()
    }

    /// The type flag as it stands.
    pub fn typeflag(&self) -> u8 {
        self.block[TYPEFLAG]
    }

    /// Mode bits; only the low 16 are ever meant.
    pub fn mode(&self) -> Result<u32, Error> {
        Ok(self.unsigned(MODE, "mode")? as u32 & 0xffff)
    }

    /// Numeric owner.
    pub fn uid(&self) -> Result<u64, Error> {
        self.unsigned(UID, "uid")
    }

    /// Numeric group.
    pub fn gid(&self) -> Result<u64, Error> {
        self.unsigned(GID, "gid")
    }

    /// Bytes of payload that follow, before padding.
    pub fn size(&self) -> Result<u64, Error> {
        self.unsigned(SIZE, "size")
    }

    /// Modification time, seconds since 1970.
    pub fn mtime(&self) -> Result<i64, Error> {
        self.number(MTIME, "mtime")
    }

    /// Device number; empty in V7 headers.
    pub fn device(&self) -> Result<(u32, u32), Error> {
        if self.dialect() == Dialect::V7 {
            return Ok((0, 0));
        }
        let part = |field, name| {
            u32::try_from(self.unsigned(field, name)?)
                .map_err(|_| Error::Number { offset: self.offset, field: name })
        };
        Ok((part(DEVMAJOR, "devmajor")?, part(DEVMINOR, "devminor")?))
    }

    /// Access and change time of old GNU headers; zero there means that none was recorded.
    pub fn gnu_times(&self) -> (Option<i64>, Option<i64>) {
        if self.dialect() != Dialect::Gnu {
            return (None, None);
        }
        let time = |field| parse_number(self.bytes(field)).filter(|&t| t != 0);
        (time(GNU_ATIME), time(GNU_CTIME))
    }

    /// The map of an old GNU sparse member: its entries so far, whether extension blocks follow, the logical size.
    pub fn gnu_sparse(&self) -> Result<(Vec<(u64, u64)>, bool, u64), Error> {
        let mut map = Vec::new();
        sparse_entries(&self.block[GNU_SPARSE..], GNU_SPARSE_ENTRIES, self.offset, &mut map)?;
        Ok((map, self.block[GNU_IS_EXTENDED] != 0, self.unsigned(GNU_REALSIZE, "realsize")?))
    }
}

/// The sum of a header's bytes, with blanks in the place of the sum itself.
pub(super) fn checksum(block: &[u8; BLOCK]) -> i64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let field = sum(&block[CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1]);
    i64::from(sum(block) - field + CHECKSUM.1 as u32 * u32::from(b' '))
}

/// Appends the entries of an extension block to `map`; tells whether one more block follows.
pub fn gnu_sparse_extension(
    block: &[u8; BLOCK],
    offset: u64,
    map: &mut Vec<(u64, u64)>,
) -> Result<bool, Error> {
    sparse_entries(block, EXT_SPARSE_ENTRIES, offset, map)?;
    Ok(block[EXT_IS_EXTENDED] != 0)
}

fn sparse_entries(bytes: &[u8], count: usize, offset: u64, map: &mut Vec<(u64, u64)>) -> Result<(), Error> {
    for entry in bytes.chunks_exact(SPARSE_ENTRY).take(count) {
        if entry[0] == 0 {
            break;
        }
        let number = |part: &[u8]| {
            parse_number(part)
                .and_then(|n| u64::try_from(n).ok())
                .ok_or(Error::Number { offset, field: "sparse map" })
        };
        map.push((number(&entry[..12])?, number(&entry[12..])?));
    }
    Ok(())
}

/// Reads a number field: octal text between blanks, or base-256 when the top bit of the first byte is set.
/// An empty field is zero. `None` when it is neither, or does not fit.
fn parse_number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement, big-endian, with the marker bit as a copy of the sign (bit 6).
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (at, &byte) in field.iter().enumerate() {
            let byte = if at == 0 { (byte & 0x7f) | if negative { 0x80 } else { 0 } } else { byte };
            value = value.checked_shl(8)? | i128::from(byte);
            if i64::try_from(value).is_err() {
                return None;
            }
        }
        return i64::try_from(value).ok();
    }
    let text = field.trim_ascii_start();
    let text = &text[..text.iter().position(|&b| b == 0 || b == b' ').unwrap_or(text.len())];
    text.iter().try_fold(0i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::parse_number;

    #[test]
    fn octal_numbers_may_be_padded_on_either_side() {
        assert_eq!(parse_number(b"0000644\0"), Some(0o644));
        assert_eq!(parse_number(b"   644 \0"), Some(0o644));
        assert_eq!(parse_number(b"77777777777 "), Some(0o77777777777));
        assert_eq!(parse_number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(parse_number(b"        "), Some(0));
        assert_eq!(parse_number(b"12x4\0"), None);
    }

    #[test]
    fn base_256_numbers_carry_a_sign() {
        let mut field = [0u8; 12];
        field[0] = 0x80;
        field[7] = 2;
        assert_eq!(parse_number(&field), Some(2 << 32));
        assert_eq!(parse_number(&[0xff; 12]), Some(-1));
        let mut too_large = [0xffu8; 12];
        too_large[0] = 0x80;
        assert_eq!(parse_number(&too_large), None);
    }
}
