//! All keys of a merged registry, each once.

use super::cell::CellSet;
use super::error::{Error, Result};
use super::merge::{HiveError, Merged, MergedKey};

/// The keys of a merged registry. See [`Merged::walk`].
#[derive(Debug)]
pub struct MergedWalk<'h> {
    /// What is still to be given: keys, or errors met on the way, from the last to the first, with their levels.
    pending: Vec<(usize, Result<MergedKey<'h>, HiveError>)>,
    /// The keys from the root's subkey down to the one given last.
    path: Vec<MergedKey<'h>>,
    met: Vec<CellSet>,
    /// List elements that the hives still have room for.
    elements: usize,
    limit: usize,
}

impl<'h> MergedWalk<'h> {
    pub(super) fn new(merged: &Merged<'h>) -> Self {
        let root = match merged.root() {
            Ok(root) => root.map(Ok),
            // Which one it was, the error itself does not say; without a root there is nothing to show.
            Err(error) => Some(Err(HiveError { hive: 0, error })),
        };
        Self::from(merged, root)
    }

    pub(super) fn from(merged: &Merged<'h>, start: Option<Result<MergedKey<'h>, HiveError>>) -> Self {
        let sizes = || merged.hives().iter().map(|hive| hive.cells());
        let limit = sizes().map(|cells| cells.most_elements()).sum();
        Self {
            pending: start.map(|start| (0, start)).into_iter().collect(),
            path: Vec::new(),
            met: sizes().map(|cells| CellSet::new(cells.bins.len())).collect(),
            elements: limit,
            limit,
        }
    }

    /// The keys below the one where the walk started, down to the one given last: its path. Empty at the start.
    pub fn path(&self) -> &[MergedKey<'h>] {
        &self.path
    }

    /// Leaves out what is below the key given last.
    pub fn skip_subkeys(&mut self) {
        while self.pending.last().is_some_and(|(level, _)| *level > self.path.len()) {
            self.pending.pop();
        }
    }

    fn enter(&mut self, level: usize, key: MergedKey<'h>) -> Result<MergedKey<'h>, HiveError> {
        self.path.truncate(level.saturating_sub(1));
        for (hive, part) in key.parts() {
            if !self.met[hive].insert(part.cell()) {
                return Err(HiveError { hive, error: Error::KeyShared { position: part.position() } });
            }
        }
        if level > 0 {
            self.path.push(key.clone());
        }
        let (subkeys, errors) = key.subkeys();
        let values: usize = key.parts().map(|(_, part)| part.values().count()).sum();
        let Some(left) = self.elements.checked_sub(subkeys.len() + errors.len() + values) else {
            self.pending.clear();
            let (what, position) = ("subkeys and values", key.top().position());
            return Err(HiveError {
                hive: key.hive(),
                error: Error::TooMany { what, position, limit: self.limit },
            });
        };
        self.elements = left;
        let below = errors.into_iter().map(Err).chain(subkeys.into_iter().map(Ok));
        let at = self.pending.len();
        self.pending.extend(below.map(|below| (level + 1, below)));
        self.pending[at..].reverse();
        Ok(key)
    }
}

impl<'h> Iterator for MergedWalk<'h> {
    type Item = Result<MergedKey<'h>, HiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (level, next) = self.pending.pop()?;
        Some(next.and_then(|key| self.enter(level, key)))
    }
}
