//! Windows strings: any sequence of 16-bit units, surrogates paired or not.
//!
//! NTFS names and reparse targets are not checked for being UTF-16. To carry them as bytes without loss this crate uses
//! WTF-8 (Simon Sapin, "The WTF-8 encoding"): UTF-8, plus three-byte forms for lone surrogates.

use std::fmt;

use crate::error::{Error, Result};

/// A string of 16-bit units as Windows holds it; lone surrogates survive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WideString(Vec<u16>);

impl WideString {
    /// A string from units.
    pub fn from_units(units: impl Into<Vec<u16>>) -> Self {
        Self(units.into())
    }

    /// A string from WTF-8, of which UTF-8 is a part.
    ///
    /// A pair of surrogates encoded as two three-byte forms (CESU-8) is taken as the pair it makes.
    pub fn from_wtf8(bytes: &[u8]) -> Result<Self> {
        let mut units = Vec::with_capacity(bytes.len());
        let mut done = 0;
        while done < bytes.len() {
            match std::str::from_utf8(&bytes[done..]) {
                Ok(rest) => {
                    units.extend(rest.encode_utf16());
                    break;
                }
                Err(error) => {
                    let valid = &bytes[done..done + error.valid_up_to()];
                    // Just found to be UTF-8: lossy changes nothing.
                    units.extend(String::from_utf8_lossy(valid).encode_utf16());
                    done += valid.len();
                    let Some(&[0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF]) = bytes.get(done..done + 3)
                    else {
                        return Err(Error::malformed(
                            "WTF-8 text",
                            done,
                            "UTF-8 or an encoded surrogate",
                            format!("{:#04x}", bytes[done]),
                        ));
                    };
                    units.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
                    done += 3;
                }
            }
        }
        Ok(Self(units))
    }

    /// A string from little-endian bytes; `None` when their number is odd.
    pub fn from_le_bytes(bytes: &[u8]) -> Option<Self> {
        bytes
            .len()
            .is_multiple_of(2)
            .then(|| Self(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()))
    }

    /// The units.
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no unit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The units as little-endian bytes.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    /// WTF-8: UTF-8 where the string is UTF-16, three bytes for each lone surrogate.
    pub fn to_wtf8(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len());
        let mut buffer = [0; 4];
        for unit in char::decode_utf16(self.0.iter().copied()) {
            match unit {
                Ok(c) => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
                Err(lone) => {
                    let unit = lone.unpaired_surrogate();
                    out.extend_from_slice(&[
                        0xED,
                        0x80 | (unit >> 6 & 0x3F) as u8,
                        0x80 | (unit & 0x3F) as u8,
                    ]);
                }
            }
        }
        out
    }

    /// The text, or `None` when a lone surrogate is in it.
    pub fn to_utf8(&self) -> Option<String> {
        String::from_utf16(&self.0).ok()
    }

    /// Whether the string starts with this ASCII text.
    pub(crate) fn starts_with(&self, ascii: &str) -> bool {
        self.strip_prefix(ascii).is_some()
    }

    /// The units behind this ASCII text.
    pub(crate) fn strip_prefix(&self, ascii: &str) -> Option<&[u16]> {
        let (head, rest) = self.0.split_at_checked(ascii.len())?;
        head.iter().copied().eq(ascii.encode_utf16()).then_some(rest)
    }

    /// ASCII text with these units behind it.
    pub(crate) fn prefixed(ascii: &str, units: &[u16]) -> Self {
        Self(ascii.encode_utf16().chain(units.iter().copied()).collect())
    }
}

impl From<&str> for WideString {
    fn from(text: &str) -> Self {
        Self(text.encode_utf16().collect())
    }
}

impl From<&[u16]> for WideString {
    fn from(units: &[u16]) -> Self {
        Self::from_units(units)
    }
}

impl fmt::Display for WideString {
    /// Lone surrogates show as U+FFFD.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf16_lossy(&self.0))
    }
}

impl fmt::Debug for WideString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for unit in char::decode_utf16(self.0.iter().copied()) {
            match unit {
                Ok(c) => write!(f, "{}", c.escape_debug())?,
                Err(lone) => write!(f, "\\u{{{:x}}}", lone.unpaired_surrogate())?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_survive_the_way_through_bytes() {
        let name = WideString::from_units([0x61, 0xD83D, 0xDE00, 0xDC00, 0xD800, 0x62]);
        assert_eq!(name.to_wtf8(), b"a\xF0\x9F\x98\x80\xED\xB0\x80\xED\xA0\x80b");
        assert_eq!(WideString::from_wtf8(&name.to_wtf8()), Ok(name.clone()));
        assert_eq!(WideString::from_le_bytes(&name.to_le_bytes()), Some(name.clone()));
        assert_eq!(name.to_utf8(), None);
        assert_eq!(format!("{name:?}"), "\"a😀\\u{dc00}\\u{d800}b\"");
    }

    #[test]
    fn other_bytes_are_refused_with_their_position() {
        let error = WideString::from_wtf8(b"ab\xFF").unwrap_err();
        assert!(matches!(error, Error::Malformed { position: 2, .. }), "{error}");
        assert!(WideString::from_wtf8(b"\xED\xA0").is_err());
    }
}
