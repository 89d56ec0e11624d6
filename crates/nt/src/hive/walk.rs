//! All keys of a hive, each once.

use super::cell::{CellSet, Cells};
use super::error::{Error, Result};
use super::key::{Key, Subkeys};
use crate::hive::Hive;

/// The keys of a hive from the root down, each before its subkeys. Never longer than the hive allows: a key that was met before
/// is an error instead of a loop, and lists and data that are used again and again end the walk.
#[derive(Debug)]
pub struct Walk<'h> {
    cells: Cells<'h>,
    start: Option<Result<Key<'h>>>,
    stack: Vec<(Key<'h>, Subkeys<'h>)>,
    met: CellSet,
    /// List elements that the hive still has room for.
    elements: usize,
    /// Bytes of names, classes and data that the hive still has room for. Descriptors do not count: many keys share one.
    bytes: usize,
}

impl<'h> Walk<'h> {
    pub(super) fn new(hive: &'h Hive<'_>, start: Result<Key<'h>>) -> Self {
        let cells = hive.cells();
        Self {
            cells,
            start: Some(start),
            stack: Vec::new(),
            met: CellSet::new(cells.bins.len()),
            elements: cells.most_elements(),
            bytes: cells.bins.len(),
        }
    }

    /// The keys below the one where the walk started, down to the one given last: its path. Empty at the start.
    pub fn path(&self) -> impl Iterator<Item = Key<'h>> + '_ {
        self.stack.iter().skip(1).map(|(key, _)| *key)
    }

    /// Leaves out what is below the key given last.
    pub fn skip_subkeys(&mut self) {
        if let Some((_, subkeys)) = self.stack.last_mut() {
            while subkeys.next().is_some() {}
        }
    }

    fn enter(&mut self, key: Key<'h>) -> Result<Key<'h>> {
        if !self.met.insert(key.cell()) {
            return Err(Error::KeyShared { position: key.position() });
        }
        let (_, class) = key.class_cell();
        self.spend_bytes(key.name().as_bytes().len() + class, &key)?;
        for value in key.values().flatten() {
            self.spend(1, &key)?;
            let data = value.data_cell().map_or(0, |_| value.data_size() as usize);
            self.spend_bytes(value.name().as_bytes().len().saturating_add(data), &key)?;
        }
        self.stack.push((key, key.subkeys()));
        Ok(key)
    }

    fn spend_bytes(&mut self, bytes: usize, key: &Key<'h>) -> Result<()> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => {
                self.stack.clear();
                Err(Error::TooMany {
                    what: "bytes of names, classes and data",
                    position: key.position(),
                    limit: self.cells.bins.len(),
                })
            }
        }
    }

    fn spend(&mut self, elements: usize, key: &Key<'h>) -> Result<()> {
        match self.elements.checked_sub(elements) {
            Some(left) => {
                self.elements = left;
                Ok(())
            }
            None => {
                self.stack.clear();
                Err(Error::TooMany {
                    what: "subkeys and values",
                    position: key.position(),
                    limit: self.cells.most_elements(),
                })
            }
        }
    }
}

impl<'h> Iterator for Walk<'h> {
    type Item = Result<Key<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.start.take() {
            return Some(root.and_then(|root| self.enter(root)));
        }
        loop {
            let (key, subkeys) = self.stack.last_mut()?;
            let key = *key;
            match subkeys.next() {
                Some(subkey) => {
                    return Some(self.spend(1, &key).and(subkey).and_then(|subkey| self.enter(subkey)));
                }
                None => {
                    self.stack.pop();
                }
            }
        }
    }
}
