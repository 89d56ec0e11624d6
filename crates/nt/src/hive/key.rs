//! Key nodes.
//!
//! ```text
//!   0  "nk"   2 u16 flags
//!   4  FILETIME last written
//!  12  u8 access bits   13 u8 layered key (1.5 and 1.6)
//!  16  u32 parent       20 u32 subkeys    24 u32 volatile subkeys   28 u32 list of subkeys   32 u32 volatile list
//!  36  u32 values       40 u32 list of values: u32 each
//!  44  u32 security     48 u32 class name
//!  52  u16 longest subkey name   54 u16 virtualization and debug flags
//!  56  u32 longest class of a subkey   60 u32 longest value name   64 u32 longest value data   (bytes of UTF-16)
//!  72  u16 length of the name   74 u16 length of the class   76 name
//! ```
//!
//! Volatile subkeys are in memory only; their fields mean nothing in a file, and are not followed.

use super::cell::{Cells, NO_CELL, Record, position};
use super::error::{Error, Result};
use super::layered::{LAYER_BYTE, Layer};
use super::name::Name;
use super::security;
use super::subkeys::{Elements, Hint};
use super::value::{Value, ValueType};
use crate::security::SecurityDescriptor;
use crate::time::FileTime;
use crate::wide::WideString;

/// The deepest level below the root ("Registry Element Size Limits" of the Windows SDK).
pub const MAX_DEPTH: u16 = 512;
/// Size of a key node before the name.
pub(super) const KEY_FIXED: usize = 76;

pub(super) const WHAT: &str = "key";

/// The flags of a key node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KeyFlags(pub u16);

impl KeyFlags {
    /// The key is volatile: never so in a file that Windows wrote.
    pub const VOLATILE: Self = Self(0x0001);
    /// Another hive is mounted here.
    pub const HIVE_EXIT: Self = Self(0x0002);
    /// The root of the hive.
    pub const HIVE_ENTRY: Self = Self(0x0004);
    /// The key cannot be deleted.
    pub const NO_DELETE: Self = Self(0x0008);
    /// A symbolic link; the value `SymbolicLinkValue` (REG_LINK) names the target.
    pub const SYMLINK: Self = Self(0x0010);
    /// The name has one byte a character.
    pub const COMPRESSED_NAME: Self = Self(0x0020);
    /// The count of values is a predefined handle instead.
    pub const PREDEFINED_HANDLE: Self = Self(0x0040);

    /// Whether all of these flags are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags set as well.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These flags not set.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

/// A key in a hive: a view, cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Key<'h> {
    cells: Cells<'h>,
    pub(super) record: Record<'h>,
    depth: u16,
}

impl<'h> Key<'h> {
    pub(super) fn read(cells: Cells<'h>, cell: u32, depth: u16) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep { position: position(cell), limit: MAX_DEPTH });
        }
        let record = cells.record(WHAT, cell, "nk", KEY_FIXED)?;
        record.need(KEY_FIXED + usize::from(record.u16(72)))?;
        Ok(Self { cells, record, depth })
    }

    /// The name. That of a root means nothing.
    pub fn name(&self) -> Name<'h> {
        let length = usize::from(self.record.u16(72));
        let bytes = self.record.bytes.get(KEY_FIXED..KEY_FIXED + length).unwrap_or_default();
        Name::new(bytes, self.flags().has(KeyFlags::COMPRESSED_NAME))
    }

    /// Size of the bins that the key is in.
    pub(super) fn hive_size(&self) -> usize {
        self.cells.bins.len()
    }

    /// The key's cell.
    pub fn cell(&self) -> u32 {
        self.record.cell
    }

    /// Where in the file the key's cell starts.
    pub fn position(&self) -> u64 {
        position(self.record.cell)
    }

    /// Levels below the root, which is at 0.
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// The flags.
    pub fn flags(&self) -> KeyFlags {
        KeyFlags(self.record.u16(2))
    }

    /// When the key or its values were last changed.
    pub fn last_written(&self) -> FileTime {
        FileTime(self.record.i64(4))
    }

    /// When the key was read, roughly: 1 = before the hive was initialised at boot, 2 = after.
    pub fn access_bits(&self) -> u8 {
        self.record.u8(12)
    }

    /// What the key means for hives below. Always [`Layer::default`] in versions that have no layered keys.
    pub fn layer(&self) -> Layer {
        if self.cells.version.has_layers() {
            Layer::from_byte(self.record.u8(LAYER_BYTE))
        } else {
            Layer::default()
        }
    }

    /// Virtualization flags (low byte) and debug flags (high byte), for copies.
    pub fn virtualization(&self) -> u16 {
        self.record.u16(54)
    }

    /// The cell of the key above, as this one says.
    pub fn parent_cell(&self) -> u32 {
        self.record.u32(16)
    }

    /// The number of subkeys that the key says it has.
    pub fn subkey_count(&self) -> u32 {
        self.record.u32(20)
    }

    pub(super) fn subkeys_cell(&self) -> u32 {
        if self.subkey_count() == 0 { NO_CELL } else { self.record.u32(28) }
    }

    pub(super) fn elements(&self) -> Elements<'h> {
        Elements::new(self.cells, self.subkeys_cell())
    }

    /// The subkeys in the order of the hive, which is that of their capitals. A subkey or a part of the list that
    /// cannot be read is an error among them; those behind it follow.
    pub fn subkeys(&self) -> Subkeys<'h> {
        Subkeys { cells: self.cells, elements: self.elements(), depth: self.depth + 1 }
    }

    /// The subkey of this name, in any case.
    ///
    /// # Errors
    /// When it was not found, but something among the subkeys could not be read.
    pub fn subkey(&self, name: &str) -> Result<Option<Self>> {
        self.subkey_units(&name.encode_utf16().collect::<Vec<_>>())
    }

    /// As [`subkey`](Self::subkey), with the name in UTF-16.
    ///
    /// A wrong hash of the name does not hide a key here, as it does from Windows: hivex writes such for names beyond ASCII.
    pub fn subkey_units(&self, name: &[u16]) -> Result<Option<Self>> {
        let hash = super::name::hash(name.iter().copied());
        let hashed = |hint: &Hint| !matches!(hint, Hint::Hash(other) if *other != hash);
        match self.find(name, hashed) {
            Ok(None) => self.find(name, |hint| !hashed(hint)),
            found => found,
        }
    }

    /// The subkey of this name among those whose hint is taken.
    fn find(&self, name: &[u16], taken: impl Fn(&Hint) -> bool) -> Result<Option<Self>> {
        let mut failure = None;
        for element in self.elements() {
            let key = match element {
                Ok((_, hint)) if !taken(&hint) => continue,
                Ok((cell, _)) => Self::read(self.cells, cell, self.depth + 1),
                Err(error) => Err(error),
            };
            match key {
                Ok(key) if key.name().matches(name.iter().copied()) => return Ok(Some(key)),
                Ok(_) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// The number of values that the key says it has.
    pub fn value_count(&self) -> u32 {
        if self.flags().has(KeyFlags::PREDEFINED_HANDLE) { 0 } else { self.record.u32(36) }
    }

    /// The handle that a key with [`KeyFlags::PREDEFINED_HANDLE`] stands for.
    pub fn predefined_handle(&self) -> Option<u32> {
        self.flags().has(KeyFlags::PREDEFINED_HANDLE).then(|| self.record.u32(36))
    }

    pub(super) fn values_cell(&self) -> u32 {
        if self.value_count() == 0 { NO_CELL } else { self.record.u32(40) }
    }

    /// The values in the order of the hive, which has no meaning. One that cannot be read is an error among them.
    pub fn values(&self) -> Values<'h> {
        let cell = self.values_cell();
        let mut values = Values { cells: self.cells, list: &[], failed: None, missing: None };
        if cell == NO_CELL {
            return values;
        }
        match self.cells.get("list of values", cell) {
            Ok(bytes) => {
                let wanted = (self.value_count() as usize).saturating_mul(4);
                values.list = &bytes[..wanted.min(bytes.len() & !3)];
                values.missing = (wanted > bytes.len()).then_some(Error::Truncated {
                    what: "list of values",
                    position: position(cell) + 4,
                    needed: wanted,
                    available: bytes.len(),
                });
            }
            Err(error) => values.failed = Some(error),
        }
        values
    }

    /// The value of this name, in any case; the empty name is the default value's.
    ///
    /// # Errors
    /// When it was not found, but one of the values could not be read.
    pub fn value(&self, name: &str) -> Result<Option<Value<'h>>> {
        let mut failure = None;
        for value in self.values() {
            match value {
                Ok(value) if value.name().matches(name.encode_utf16()) => return Ok(Some(value)),
                Ok(_) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// The class: a name that programs may give a key, and that few do.
    pub fn class(&self) -> Result<Option<WideString>> {
        let (cell, length) = self.class_cell();
        if cell == NO_CELL {
            return Ok(None);
        }
        let record = Record { what: "class name", cell, bytes: self.cells.get("class name", cell)? };
        let bytes = record.slice(0, length)?;
        let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        Ok(Some(WideString::from_units(units.collect::<Vec<_>>())))
    }

    /// The class's cell and its length in bytes. A length without a cell is nothing, and the other way round.
    pub(super) fn class_cell(&self) -> (u32, usize) {
        match (self.record.u32(48), self.record.u16(74)) {
            (NO_CELL, _) | (_, 0) => (NO_CELL, 0),
            (cell, length) => (cell, usize::from(length)),
        }
    }

    pub(super) fn security_cell(&self) -> u32 {
        self.record.u32(44)
    }

    /// The security descriptor's bytes, in self-relative form.
    pub fn security(&self) -> Result<&'h [u8]> {
        security::descriptor(self.cells, self.security_cell())
    }

    /// The security descriptor, read.
    pub fn security_descriptor(&self) -> Result<SecurityDescriptor> {
        SecurityDescriptor::parse(self.security()?).map_err(|reason| Error::Security {
            position: position(self.security_cell()) + 4 + security::FIXED as u64,
            reason: Box::new(reason),
        })
    }

    /// The key that a symbolic link leads to, as a path from the root of the registry (`\Registry\Machine\...`).
    pub fn symlink_target(&self) -> Result<Option<WideString>> {
        if !self.flags().has(KeyFlags::SYMLINK) {
            return Ok(None);
        }
        let Some(value) = self.value("SymbolicLinkValue")? else { return Ok(None) };
        if value.value_type() != ValueType::Link {
            return Ok(None);
        }
        Ok(WideString::from_le_bytes(&value.data()?))
    }
}

/// The subkeys of a key.
#[derive(Debug, Clone)]
pub struct Subkeys<'h> {
    cells: Cells<'h>,
    elements: Elements<'h>,
    depth: u16,
}

impl<'h> Iterator for Subkeys<'h> {
    type Item = Result<Key<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.elements.next()?;
        Some(element.and_then(|(cell, _)| Key::read(self.cells, cell, self.depth)))
    }
}

/// The values of a key.
#[derive(Debug, Clone)]
pub struct Values<'h> {
    cells: Cells<'h>,
    list: &'h [u8],
    failed: Option<Error>,
    missing: Option<Error>,
}

impl<'h> Values<'h> {
    /// The cells of the values.
    pub(super) fn value_cells(&self) -> impl Iterator<Item = u32> + use<'h> {
        self.list.chunks_exact(4).map(|cell| u32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]]))
    }
}

impl<'h> Iterator for Values<'h> {
    type Item = Result<Value<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let Some((cell, rest)) = self.list.split_first_chunk::<4>() else {
            return self.missing.take().map(Err);
        };
        self.list = rest;
        Some(Value::read(self.cells, u32::from_le_bytes(*cell)))
    }
}
