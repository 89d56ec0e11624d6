//! The file of wanted containers as it counts, and noticing that it has changed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::error::Result;
use crate::plan::Wanted;
use crate::spec::{Definition, Loaded, Spec};

/// A file that was changed counts when it has not been changed again for so long.
pub(crate) const STILL: Duration = Duration::from_millis(250);

/// What tells one content of a file from another, without reading it.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) loaded: Loaded,
    pub(crate) wanted: Vec<Wanted>,
    /// When it was read.
    pub(crate) at: Timestamp,
    /// Why what is in it now does not count.
    pub(crate) error: Option<String>,
    /// Of what was read, whether it counts or not.
    stamp: Option<Stamp>,
    /// Another one, and since when it has been there.
    changed: Option<(Stamp, Instant)>,
}

impl File {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // Looked at first: what is written meanwhile is a change.
        let stamp = stamp(path);
        Ok(Self::new(Spec::load(path)?, stamp))
    }

    fn new(loaded: Loaded, stamp: Option<Stamp>) -> Self {
        let wanted = loaded.definitions.iter().map(Wanted::from).collect();
        File { loaded, wanted, at: Timestamp::now(), error: None, stamp, changed: None }
    }

    pub(crate) fn definition(&self, name: &str) -> Option<&Definition> {
        self.loaded.definitions.iter().find(|definition| definition.name == name)
    }

    /// What each container is, by name.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        let one = |definition: &Definition| (definition.name.clone(), definition.digest.clone());
        self.loaded.definitions.iter().map(one).collect()
    }

    /// True while it may still be being written: read in the middle of that, it would be another file.
    pub(crate) fn is_changing(&self) -> bool {
        self.changed.is_some()
    }

    /// True when it is another one than what was read last, and has been for a while. One that is gone has not changed.
    pub(crate) fn has_changed(&mut self) -> bool {
        let now = stamp(&self.loaded.path).filter(|now| self.stamp != Some(*now));
        self.changed = match (now, self.changed) {
            (None, _) => None,
            (Some(now), Some((known, since))) if known == now => Some((known, since)),
            (Some(now), _) => Some((now, Instant::now())),
        };
        self.changed.is_some_and(|(_, since)| since.elapsed() >= STILL)
    }

    /// Reads it again. How many containers it wants; or why it does not count, and the one before still does.
    pub(crate) fn read_again(&mut self) -> Result<usize, String> {
        self.changed = None;
        self.stamp = stamp(&self.loaded.path);
        let loaded = Spec::load(&self.loaded.path).map_err(|error| error.in_one_line());
        let loaded = loaded.and_then(|loaded| {
            if loaded.project == self.loaded.project {
                return Ok(loaded);
            }
            Err(format!(
                "the project was `{}` and is now `{}`: that needs a restart of the agent",
                self.loaded.project, loaded.project
            ))
        });
        match loaded {
            Ok(loaded) => {
                *self = Self::new(loaded, self.stamp);
                Ok(self.wanted.len())
            }
            Err(message) => {
                self.error = Some(message.clone());
                Err(message)
            }
        }
    }
}
