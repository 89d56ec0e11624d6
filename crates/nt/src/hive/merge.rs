//! The registry that a stack of hives makes.
//!
//! The lowest hive is that of the base layer, the others are the deltas of the layers above, in order. A key at some path is
//! looked for from the top down:
//!
//! | the hive's key | adds to the merged key | then |
//! |---|---|---|
//! | not there | nothing | on to the hive below |
//! | merge | values, subkeys | on |
//! | tombstone | nothing | stop: what is below is deleted |
//! | supersede-local | values, subkeys | on, but only subkeys count below |
//! | supersede-tree | values, subkeys | stop |
//!
//! A key exists when a hive above the stop adds something, and the parent exists. Only hives whose key takes part in the parent
//! are asked for a subkey. Then:
//!
//! | of the merged key | comes from |
//! |---|---|
//! | a value | the topmost hive that has one of the name; if that is a tombstone (flag 2), there is none |
//! | name, descriptor, flags | the topmost key |
//! | class | the topmost key that does not say "inherit class"; no class if all say so |
//! | last written | the latest of all keys that take part |
//!
//! A hive without marks, of any version, is merged by the same table: all its keys are "merge".
//! Roots correspond to one another whatever they are called.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::error::{Error, Result};
use super::key::{Key, KeyFlags};
use super::layered::LayerSemantics;
use super::merged_walk::MergedWalk;
use super::name::Name;
use super::open::Hive;
use super::value::Value;
use crate::time::FileTime;
use crate::wide::WideString;

/// The most hives in a stack: one and 127 differencing hives, as in Windows.
pub const MAX_HIVES: usize = 128;

/// A stack of hives, lowest first, seen as one.
#[derive(Debug, Clone)]
pub struct Merged<'h> {
    hives: Vec<&'h Hive<'h>>,
}

impl<'h> Merged<'h> {
    /// Stacks hives: the base first, then the deltas from the lowest layer to the top.
    ///
    /// # Errors
    /// [`Error::StackSize`] for none, or for more than [`MAX_HIVES`].
    pub fn new(hives: impl IntoIterator<Item = &'h Hive<'h>>) -> Result<Self> {
        let hives: Vec<_> = hives.into_iter().take(MAX_HIVES + 1).collect();
        if hives.is_empty() || hives.len() > MAX_HIVES {
            return Err(Error::StackSize { found: hives.len(), limit: MAX_HIVES });
        }
        Ok(Self { hives })
    }

    /// The hives, lowest first.
    pub fn hives(&self) -> &[&'h Hive<'h>] {
        &self.hives
    }

    /// The root; `None` when it is a tombstone.
    pub fn root(&self) -> Result<Option<MergedKey<'h>>> {
        let mut layers = Layers::default();
        for (hive, opened) in self.hives.iter().enumerate().rev() {
            if !layers.add(hive, opened.root()?) {
                break;
            }
        }
        Ok(layers.finish())
    }

    /// The key at a path from the root, with backslashes and in any case.
    ///
    /// # Errors
    /// When something on the way cannot be read in one of the hives that count.
    pub fn key(&self, path: &str) -> Result<Option<MergedKey<'h>>> {
        let mut key = self.root()?;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            let Some(above) = key else { break };
            key = above.subkey(name)?;
        }
        Ok(key)
    }

    /// All keys from the root down, each before its subkeys, with what could not be read among them. As with
    /// [`Hive::walk`], no hive can make this loop.
    pub fn walk(&self) -> MergedWalk<'h> {
        MergedWalk::new(self)
    }

    /// As [`walk`](Self::walk), from one of this registry's keys down.
    pub fn walk_from(&self, key: MergedKey<'h>) -> MergedWalk<'h> {
        MergedWalk::from(self, Some(Ok(key)))
    }
}

/// One hive's part in a merged key.
#[derive(Debug, Clone, Copy)]
struct Part<'h> {
    hive: usize,
    key: Key<'h>,
    /// Covered by a supersede-local above: only the subkeys count.
    subkeys_only: bool,
}

/// The parts of a key that is being looked for, from the top down.
#[derive(Debug, Default)]
struct Layers<'h> {
    parts: Vec<Part<'h>>,
    covered: bool,
    closed: bool,
}

impl<'h> Layers<'h> {
    /// Adds a hive's key. False when the hives below do not count.
    fn add(&mut self, hive: usize, key: Key<'h>) -> bool {
        if self.closed {
            return false;
        }
        let semantics = key.layer().semantics;
        if semantics != LayerSemantics::Tombstone {
            self.parts.push(Part { hive, key, subkeys_only: self.covered });
        }
        match semantics {
            LayerSemantics::Merge => {}
            LayerSemantics::SupersedeLocal => self.covered = true,
            LayerSemantics::Tombstone | LayerSemantics::SupersedeTree => self.closed = true,
        }
        !self.closed
    }

    fn finish(self) -> Option<MergedKey<'h>> {
        let top = *self.parts.first()?;
        Some(MergedKey { top, parts: self.parts })
    }
}

/// A key of the merged registry.
#[derive(Debug, Clone)]
pub struct MergedKey<'h> {
    top: Part<'h>,
    /// From the top down.
    parts: Vec<Part<'h>>,
}

impl<'h> MergedKey<'h> {
    /// The name, as the topmost hive spells it.
    pub fn name(&self) -> Name<'h> {
        self.top.key.name()
    }

    /// The topmost hive that has the key, by its place in the stack: 0 is the base.
    pub fn hive(&self) -> usize {
        self.top.hive
    }

    /// Every hive's key that takes part, from the top down, with its place in the stack.
    pub fn parts(&self) -> impl Iterator<Item = (usize, Key<'h>)> + '_ {
        self.parts.iter().map(|part| (part.hive, part.key))
    }

    /// The topmost hive's key.
    pub fn top(&self) -> Key<'h> {
        self.top.key
    }

    /// The flags of the topmost key.
    pub fn flags(&self) -> KeyFlags {
        self.top.key.flags()
    }

    /// The latest time among the keys that take part.
    pub fn last_written(&self) -> FileTime {
        self.parts.iter().map(|part| part.key.last_written()).max().unwrap_or_default()
    }

    /// The security descriptor's bytes.
    pub fn security(&self) -> Result<&'h [u8]> {
        self.top.key.security()
    }

    /// The class.
    pub fn class(&self) -> Result<Option<WideString>> {
        match self.parts.iter().find(|part| !part.key.layer().inherit_class) {
            Some(part) => part.key.class(),
            None => Ok(None),
        }
    }

    /// The subkey of this name, in any case.
    pub fn subkey(&self, name: &str) -> Result<Option<Self>> {
        let name: Vec<u16> = name.encode_utf16().collect();
        let mut layers = Layers::default();
        for part in &self.parts {
            if let Some(key) = part.key.subkey_units(&name)?
                && !layers.add(part.hive, key)
            {
                break;
            }
        }
        Ok(layers.finish())
    }

    /// The subkeys, sorted by their names in capitals, and what could not be read on the way to them. A subkey of which a
    /// part cannot be read is given as the rest of it makes it.
    pub fn subkeys(&self) -> (Vec<Self>, Vec<HiveError>) {
        let (mut found, mut errors) = (BTreeMap::<WideString, Layers<'h>>::new(), Vec::new());
        for part in &self.parts {
            let mut met = None;
            let mut names = Names::of(&part.key);
            for key in part.key.subkeys() {
                match key.and_then(|key| names.take(key.name()).map(|()| key)) {
                    Ok(key) => {
                        let name = key.name().folded();
                        // The same name twice in one hive: the first counts, as in a look-up.
                        if met.as_ref() != Some(&name) {
                            found.entry(name.clone()).or_default().add(part.hive, key);
                        }
                        met = Some(name);
                    }
                    Err(error) => errors.push(HiveError { hive: part.hive, error }),
                }
                if names.is_spent() {
                    break;
                }
            }
        }
        (found.into_values().filter_map(Layers::finish).collect(), errors)
    }

    /// The value of this name, in any case.
    pub fn value(&self, name: &str) -> Result<Option<MergedValue<'h>>> {
        for part in self.parts.iter().filter(|part| !part.subkeys_only) {
            if let Some(value) = part.key.value(name)? {
                return Ok((!value.is_tombstone()).then_some(MergedValue { hive: part.hive, value }));
            }
        }
        Ok(None)
    }

    /// The values, sorted by their names in capitals, and what could not be read on the way to them.
    pub fn values(&self) -> (Vec<MergedValue<'h>>, Vec<HiveError>) {
        let (mut found, mut errors) = (BTreeMap::<WideString, MergedValue<'h>>::new(), Vec::new());
        for part in self.parts.iter().filter(|part| !part.subkeys_only) {
            let mut names = Names::of(&part.key);
            for value in part.key.values() {
                match value.and_then(|value| names.take(value.name()).map(|()| value)) {
                    Ok(value) => {
                        if let Entry::Vacant(place) = found.entry(value.name().folded()) {
                            place.insert(MergedValue { hive: part.hive, value });
                        }
                    }
                    Err(error) => errors.push(HiveError { hive: part.hive, error }),
                }
                if names.is_spent() {
                    break;
                }
            }
        }
        (found.into_values().filter(|value| !value.value.is_tombstone()).collect(), errors)
    }
}

/// The names in a list: together not longer than the hive, unless the same ones are listed again and again.
struct Names {
    position: u64,
    limit: usize,
    left: Option<usize>,
}

impl Names {
    fn of(key: &Key<'_>) -> Self {
        let limit = key.hive_size();
        Self { position: key.position(), limit, left: Some(limit) }
    }

    fn take(&mut self, name: Name<'_>) -> Result<()> {
        self.left = self.left.and_then(|left| left.checked_sub(name.as_bytes().len()));
        match self.left {
            Some(_) => Ok(()),
            None => {
                Err(Error::TooMany { what: "bytes of names", position: self.position, limit: self.limit })
            }
        }
    }

    fn is_spent(&self) -> bool {
        self.left.is_none()
    }
}

/// A value of the merged registry.
#[derive(Debug, Clone, Copy)]
pub struct MergedValue<'h> {
    /// The hive that it comes from, by its place in the stack.
    pub hive: usize,
    /// The value.
    pub value: Value<'h>,
}

/// What could not be read, and of which hive of the stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hive {hive} of the stack: {error}")]
pub struct HiveError {
    /// The hive, by its place in the stack.
    pub hive: usize,
    /// What is wrong.
    pub error: Error,
}
