//! Names of keys and values: UTF-16, or one byte a character where all of them are below 256 ("compressed").

use std::cmp::Ordering;
use std::fmt;

use crate::name::upcase;
use crate::wide::WideString;

/// The most UTF-16 units of a key's name. The kernel takes 512 bytes (`REG_MAX_KEY_NAME_LENGTH`); "Registry Element Size Limits" of the
/// Windows SDK promises 255 units to programs.
pub const MAX_KEY_NAME: usize = 256;
/// The most UTF-16 units of a value's name (the same page).
pub const MAX_VALUE_NAME: usize = 16383;

/// A name as it stands in the hive.
#[derive(Clone, Copy)]
pub struct Name<'h> {
    bytes: &'h [u8],
    compressed: bool,
}

impl<'h> Name<'h> {
    pub(super) fn new(bytes: &'h [u8], compressed: bool) -> Self {
        Self { bytes, compressed }
    }

    /// The UTF-16 units. An odd byte at the end of an uncompressed name is left out; [`check`](super::Hive::check) tells.
    pub fn units(self) -> impl Iterator<Item = u16> + Clone + 'h {
        let width = if self.compressed { 1 } else { 2 };
        self.bytes.chunks_exact(width).map(|unit| match *unit {
            [low, high] => u16::from_le_bytes([low, high]),
            [single] => u16::from(single),
            _ => 0,
        })
    }

    /// The number of units.
    pub fn len(self) -> usize {
        if self.compressed { self.bytes.len() } else { self.bytes.len() / 2 }
    }

    /// Whether the name is empty: a default value's is.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it stands with one byte a character.
    pub fn is_compressed(self) -> bool {
        self.compressed
    }

    /// The bytes in the hive.
    pub fn as_bytes(self) -> &'h [u8] {
        self.bytes
    }

    /// The name by itself.
    pub fn to_wide(self) -> WideString {
        WideString::from_units(self.units().collect::<Vec<_>>())
    }

    /// Whether Windows takes both for the same.
    pub fn matches(self, units: impl IntoIterator<Item = u16>) -> bool {
        self.units().map(upcase).eq(units.into_iter().map(upcase))
    }

    /// The order in lists of subkeys: by the capitals' numbers.
    pub fn order(self, other: Name<'_>) -> Ordering {
        self.units().map(upcase).cmp(other.units().map(upcase))
    }

    /// The name in capitals: equal for names that Windows takes for the same.
    pub fn folded(self) -> WideString {
        WideString::from_units(self.units().map(upcase).collect::<Vec<_>>())
    }

    /// The hash that `lh` lists carry.
    pub fn hash(self) -> u32 {
        hash(self.units())
    }

    /// The hint that `lf` lists carry: the first four characters, or zeroes from the first one that is above 255.
    pub fn hint(self) -> [u8; 4] {
        hint(self.units())
    }
}

/// The hash of a name in `lh` lists.
pub(super) fn hash(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0, |hash: u32, unit| hash.wrapping_mul(37).wrapping_add(u32::from(upcase(unit))))
}

/// The hint of a name in `lf` lists.
pub(super) fn hint(units: impl Iterator<Item = u16>) -> [u8; 4] {
    let mut hint = [0; 4];
    for (place, unit) in hint.iter_mut().zip(units) {
        match u8::try_from(unit) {
            Ok(byte) => *place = byte,
            Err(_) => return [0; 4],
        }
    }
    hint
}

impl fmt::Display for Name<'_> {
    /// Lone surrogates show as U+FFFD.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf16_lossy(&self.units().collect::<Vec<_>>()))
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_wide(), f)
    }
}
