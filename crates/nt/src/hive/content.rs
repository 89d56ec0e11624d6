//! The data of values by type, and how people read it.

use std::borrow::Cow;
use std::fmt;

use super::value::ValueType;
use crate::wide::WideString;

/// A value's data by its type. Data that does not fit its type (a REG_DWORD of three bytes, text of an odd number of bytes) is
/// [`Bytes`](Self::Bytes), as is that of types without a form of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content<'h> {
    /// REG_SZ, REG_EXPAND_SZ and REG_LINK, without the NULs at the end.
    Text(WideString),
    /// REG_MULTI_SZ, without the NULs at the end of each.
    List(Vec<WideString>),
    /// REG_DWORD, REG_DWORD_BIG_ENDIAN.
    Dword(u32),
    /// REG_QWORD.
    Qword(u64),
    /// Everything else.
    Bytes(Cow<'h, [u8]>),
}

impl<'h> Content<'h> {
    /// Takes data by its type.
    pub fn new(value_type: ValueType, data: Cow<'h, [u8]>) -> Self {
        let read = match value_type {
            ValueType::Sz | ValueType::ExpandSz | ValueType::Link => {
                WideString::from_le_bytes(&data).map(|text| Self::Text(without_nuls(text.units()).into()))
            }
            ValueType::MultiSz => WideString::from_le_bytes(&data).map(|text| Self::List(list(text.units()))),
            ValueType::Dword => {
                data.as_ref().try_into().ok().map(|word| Self::Dword(u32::from_le_bytes(word)))
            }
            ValueType::DwordBigEndian => {
                data.as_ref().try_into().ok().map(|word| Self::Dword(u32::from_be_bytes(word)))
            }
            ValueType::Qword => {
                data.as_ref().try_into().ok().map(|word| Self::Qword(u64::from_le_bytes(word)))
            }
            _ => None,
        };
        read.unwrap_or(Self::Bytes(data))
    }

    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&WideString> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when it is one.
    pub fn as_number(&self) -> Option<u64> {
        match self {
            Self::Dword(number) => Some(u64::from(*number)),
            Self::Qword(number) => Some(*number),
            _ => None,
        }
    }

    /// For people, cut behind `most` characters or bytes, with the number of those left out.
    pub fn display(&self, most: usize) -> impl fmt::Display + '_ {
        Shown { content: self, most }
    }
}

impl fmt::Display for Content<'_> {
    /// Numbers as `0x0000002a (42)`, texts quoted, lists in brackets, bytes in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(usize::MAX).fmt(f)
    }
}

fn without_nuls(mut units: &[u16]) -> &[u16] {
    while let [rest @ .., 0] = units {
        units = rest;
    }
    units
}

/// The texts of a REG_MULTI_SZ: a NUL ends each, one more ends the list; either may be missing.
fn list(units: &[u16]) -> Vec<WideString> {
    let units = units.strip_suffix(&[0]).unwrap_or(units);
    let units = match units {
        // A list of one empty text and the empty list look the same: the latter is what is meant.
        [] | [0] => return Vec::new(),
        units => units.strip_suffix(&[0]).unwrap_or(units),
    };
    units.split(|&unit| unit == 0).map(WideString::from).collect()
}

struct Shown<'c, 'h> {
    content: &'c Content<'h>,
    most: usize,
}

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Text(text) => self.text(f, text),
            Content::Dword(number) => write!(f, "{number:#010x} ({number})"),
            Content::Qword(number) => write!(f, "{number:#018x} ({number})"),
            Content::List(texts) => {
                f.write_str("[")?;
                for (n, text) in texts.iter().enumerate() {
                    if n >= self.most {
                        write!(f, ", ... {} more", texts.len() - n)?;
                        break;
                    }
                    f.write_str(if n == 0 { "" } else { ", " })?;
                    self.text(f, text)?;
                }
                f.write_str("]")
            }
            Content::Bytes(bytes) => {
                for (n, byte) in bytes.iter().take(self.most).enumerate() {
                    write!(f, "{}{byte:02x}", if n == 0 { "" } else { " " })?;
                }
                match bytes.len().saturating_sub(self.most) {
                    0 => Ok(()),
                    more => write!(f, " ... {more} more"),
                }
            }
        }
    }
}

impl Shown<'_, '_> {
    fn text(&self, f: &mut fmt::Formatter<'_>, text: &WideString) -> fmt::Result {
        let shown = &text.units()[..text.len().min(self.most)];
        write!(f, "{:?}", WideString::from(shown))?;
        match text.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " ... {more} more"),
        }
    }
}
