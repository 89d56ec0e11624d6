//! Keys and values by themselves, to make hives from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::error::Result;
use super::key::{Key, KeyFlags};
use super::layered::Layer;
use super::open::Hive;
use super::value::{FLAG_COMPRESSED, FLAG_TOMBSTONE, Value, ValueType};
use crate::name::upcase;
use crate::time::FileTime;
use crate::wide::WideString;

/// A key with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyTree {
    /// The name.
    pub name: WideString,
    /// The class, which few keys have.
    pub class: Option<WideString>,
    /// When the key was last changed.
    pub last_written: FileTime,
    /// The flags. Whether the name is compressed is for the writer to say.
    pub flags: KeyFlags,
    /// Virtualization and debug flags, see [`Key::virtualization`].
    pub virtualization: u16,
    /// See [`Key::access_bits`].
    pub access_bits: u8,
    /// What the key means for hives below.
    pub layer: Layer,
    /// With [`KeyFlags::PREDEFINED_HANDLE`], the handle; such a key has no values.
    pub predefined_handle: u32,
    /// The self-relative security descriptor; `None` for [`HiveWriter::DEFAULT_SECURITY`](super::HiveWriter::DEFAULT_SECURITY).
    pub security: Option<Arc<[u8]>>,
    /// The values, in the order in which they are to be listed.
    pub values: Vec<ValueTree>,
    /// The subkeys, in any order.
    pub subkeys: Vec<KeyTree>,
}

impl KeyTree {
    /// A key without values and subkeys.
    pub fn new(name: impl Into<WideString>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A root, with the flags that Windows gives one.
    pub fn root(name: impl Into<WideString>) -> Self {
        Self { flags: KeyFlags::HIVE_ENTRY.with(KeyFlags::NO_DELETE), ..Self::new(name) }
    }

    /// A whole hive.
    ///
    /// # Errors
    /// When any of it cannot be read: a copy lacks nothing.
    pub fn read(hive: &Hive<'_>) -> Result<Self> {
        let mut above: Vec<Self> = Vec::new();
        let mut descriptors: HashMap<u32, Arc<[u8]>> = HashMap::new();
        for key in hive.walk() {
            let key = key?;
            while above.len() > usize::from(key.depth()) {
                close(&mut above);
            }
            let mut tree = Self::without_security(&key)?;
            // Many keys have the same.
            match descriptors.entry(key.security_cell()) {
                Entry::Occupied(known) => tree.security = Some(Arc::clone(known.get())),
                Entry::Vacant(place) => {
                    tree.security = Some(Arc::clone(place.insert(key.security()?.into())))
                }
            }
            above.push(tree);
        }
        while above.len() > 1 {
            close(&mut above);
        }
        match above.pop() {
            Some(root) => Ok(root),
            None => Self::read_key(&hive.root()?),
        }
    }

    /// One key and its values, without its subkeys.
    pub fn read_key(key: &Key<'_>) -> Result<Self> {
        Ok(Self { security: Some(key.security()?.into()), ..Self::without_security(key)? })
    }

    fn without_security(key: &Key<'_>) -> Result<Self> {
        let values = key.values().map(|value| ValueTree::read(&value?)).collect::<Result<_>>()?;
        Ok(Self {
            name: key.name().to_wide(),
            class: key.class()?,
            last_written: key.last_written(),
            flags: key.flags().without(KeyFlags::COMPRESSED_NAME),
            virtualization: key.virtualization(),
            access_bits: key.access_bits(),
            layer: key.layer(),
            predefined_handle: key.predefined_handle().unwrap_or_default(),
            security: None,
            values,
            subkeys: Vec::new(),
        })
    }

    /// The subkey of this name, made if there is none.
    pub fn subkey_mut(&mut self, name: &str) -> &mut Self {
        let at = self.subkeys.iter().position(|key| same(&key.name, name));
        let at = at.unwrap_or_else(|| {
            self.subkeys.push(Self::new(name));
            self.subkeys.len() - 1
        });
        &mut self.subkeys[at]
    }

    /// The value of this name, in any case.
    pub fn value(&self, name: &str) -> Option<&ValueTree> {
        self.values.iter().find(|value| same(&value.name, name))
    }

    /// Puts the value in the place of one of the same name, or at the end.
    pub fn set_value(&mut self, value: ValueTree) {
        let name = value.name.to_string();
        match self.values.iter_mut().find(|other| same(&other.name, &name)) {
            Some(place) => *place = value,
            None => self.values.push(value),
        }
    }
}

/// The last key is whole: puts it below the one before.
fn close(above: &mut Vec<KeyTree>) {
    if let Some(key) = above.pop()
        && let Some(parent) = above.last_mut()
    {
        parent.subkeys.push(key);
    }
}

fn same(name: &WideString, other: &str) -> bool {
    name.units().iter().map(|&unit| upcase(unit)).eq(other.encode_utf16().map(upcase))
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueTree {
    /// The name; empty for the default value.
    pub name: WideString,
    /// The type.
    pub value_type: ValueType,
    /// The data.
    pub data: Vec<u8>,
    /// Whether the value is deleted in the hives below. It has neither type nor data then.
    pub tombstone: bool,
    /// Flags that have no meaning to this module, kept for copies.
    pub other_flags: u16,
}

impl ValueTree {
    /// A value of bytes.
    pub fn new(name: impl Into<WideString>, value_type: ValueType, data: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), value_type, data: data.into(), tombstone: false, other_flags: 0 }
    }

    /// Text, with its NUL.
    pub fn text(name: impl Into<WideString>, value_type: ValueType, text: &str) -> Self {
        let data = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        Self::new(name, value_type, data)
    }

    /// A REG_DWORD.
    pub fn dword(name: impl Into<WideString>, number: u32) -> Self {
        Self::new(name, ValueType::Dword, number.to_le_bytes())
    }

    /// The mark that a value of the hives below is deleted.
    pub fn tombstone(name: impl Into<WideString>) -> Self {
        Self { tombstone: true, ..Self::new(name, ValueType::None, []) }
    }

    /// A value of a hive.
    pub fn read(value: &Value<'_>) -> Result<Self> {
        Ok(Self {
            name: value.name().to_wide(),
            value_type: value.value_type(),
            data: value.data()?.into_owned(),
            tombstone: value.is_tombstone(),
            other_flags: value.flags() & !(FLAG_COMPRESSED | FLAG_TOMBSTONE),
        })
    }
}
