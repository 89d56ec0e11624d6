//! Garbage collection: what no image, scratch or attachment needs goes.
//!
//! Everything happens while the store is held alone, so nothing that is being imported is taken for garbage. Tools that do
//! not know the store's lock (skopeo, umoci) must not write to it meanwhile.
//!
//! A layer first leaves `layers/` by a rename into staging, which is made durable, and is removed then: a crash never leaves
//! half a layer where layers are looked for. Layers go before those they lie on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use layerstone_oci::{ChainId, Digest, durable};

use crate::error::{IoContext, Result};
use crate::failpoint::failpoint;
use crate::layer::{DESCRIPTION, Description};
use crate::leftovers::{Leftover, remove_tree};
use crate::reach::Reachable;
use crate::root::{ExclusiveLock, Store, read_dir_or_empty, read_json, sync_directory};
use crate::usage;

/// How to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcOptions {
    /// Only say what would be freed.
    pub dry_run: bool,
    /// Wait until nobody else works on the store; otherwise [`Error::InUse`](crate::Error::InUse) says that somebody
    /// does.
    pub wait: bool,
}

/// What a collection freed, or would free. Bytes are those of the disk, counted as `du` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcOutcome {
    /// Layers.
    pub layers: Vec<(ChainId, u64)>,
    /// Blobs.
    pub blobs: Vec<(Digest, u64)>,
    /// Staging directories and temporary files of processes that died.
    pub staging: Vec<(PathBuf, u64)>,
    /// Lock files of layers that are not stored.
    pub locks: usize,
    /// All of it together.
    pub bytes_freed: u64,
}

/// What is being removed, for a progress display.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum GcStep<'a> {
    /// A layer is gone.
    Layer {
        /// Which.
        chain: &'a ChainId,
        /// Bytes of disk that it took.
        bytes: u64,
    },
    /// A blob is gone.
    Blob {
        /// Which.
        digest: &'a Digest,
        /// Bytes of disk that it took.
        bytes: u64,
    },
    /// Something that a dead process left is gone.
    Leftover {
        /// Where it was.
        path: &'a Path,
        /// Bytes of disk that it took.
        bytes: u64,
    },
}

impl Store {
    /// Frees everything that no entry of `index.json`, no scratch and none of the layers `keep` (those that are
    /// attached) needs.
    ///
    /// # Errors
    /// When the index, an image or a scratch cannot be read: then nothing is removed, because nobody knows what it needs.
    /// When somebody else works on the store and `wait` is off. When something cannot be removed.
    pub fn gc(
        &self,
        options: GcOptions,
        keep: &[ChainId],
        progress: &dyn Fn(GcStep<'_>),
    ) -> Result<GcOutcome> {
        let lock = if options.wait { self.lock_exclusive()? } else { self.try_lock_exclusive()? };
        self.gc_holding(&lock, options.dry_run, keep, progress)
    }

    /// The same for a caller that holds this store alone already: so that it can look what is attached without anything
    /// being attached meanwhile.
    ///
    /// # Errors
    /// As [`gc`](Self::gc).
    pub fn gc_holding(
        &self,
        _lock: &ExclusiveLock,
        dry_run: bool,
        keep: &[ChainId],
        progress: &dyn Fn(GcStep<'_>),
    ) -> Result<GcOutcome> {
        let reachable = self.reachable(keep)?;
        let garbage = self.garbage(&reachable)?;
        let mut leftovers = self.leftovers()?;
        for path in self.partial_blobs()? {
            leftovers.push(Leftover::of(path)?);
        }
        let locks = self.stale_locks(&garbage)?;
        failpoint("gc-marked");
        if !dry_run {
            self.remove_layers(&garbage, progress)?;
            self.remove_blobs(&garbage, progress)?;
            for leftover in &mut leftovers {
                leftover.remove()?;
                progress(GcStep::Leftover { path: &leftover.path, bytes: leftover.bytes });
            }
            for path in &locks {
                remove_tree(path)?;
            }
        }
        Ok(garbage.into_outcome(&leftovers, locks.len()))
    }

    /// What is stored and not needed, layers before those they lie on.
    pub(crate) fn garbage(&self, reachable: &Reachable) -> Result<Garbage> {
        let mut layers = Vec::new();
        for chain in self.layer_ids()? {
            if !reachable.layers.contains_key(&chain) {
                layers.push((chain, usage::of(&self.layer_path(&chain))?));
            }
        }
        self.children_first(&mut layers);
        let mut blobs = Vec::new();
        for entry in read_dir_or_empty(&self.root().join("blobs").join("sha256"))? {
            if let Some(name) = entry.file_name().to_str()
                && let Ok(digest) = Digest::parse(&format!("sha256:{name}"))
                && !reachable.blobs.contains(&digest)
            {
                blobs.push((digest, usage::of(&entry.path())?));
            }
        }
        blobs.sort();
        Ok(Garbage { layers, blobs })
    }

    fn children_first(&self, layers: &mut [(ChainId, u64)]) {
        let parents: HashMap<ChainId, Option<ChainId>> = layers
            .iter()
            .map(|(chain, _)| {
                let json = self.layer_path(chain).join(DESCRIPTION);
                (*chain, read_json::<Description>(&json).ok().and_then(|description| description.parent))
            })
            .collect();
        let depth = |chain: &ChainId| {
            let mut above = parents.get(chain);
            let mut depth = 0;
            // A damaged description may name anything as parent, even a circle.
            while let Some(Some(parent)) = above
                && depth < parents.len()
            {
                depth += 1;
                above = parents.get(parent);
            }
            depth
        };
        layers.sort_by_cached_key(|(chain, _)| (std::cmp::Reverse(depth(chain)), *chain));
    }

    /// Lock files of layers that are not stored, or will not be when `garbage` is gone.
    fn stale_locks(&self, garbage: &Garbage) -> Result<Vec<PathBuf>> {
        let mut stale = Vec::new();
        for entry in read_dir_or_empty(&self.locks_root())? {
            if let Some(name) = entry.file_name().to_str()
                && let Ok(digest) = Digest::parse(&format!("sha256:{name}"))
            {
                let chain = ChainId(digest);
                if !self.has_layer(&chain)? || garbage.layers.iter().any(|(gone, _)| *gone == chain) {
                    stale.push(entry.path());
                }
            }
        }
        Ok(stale)
    }

    fn remove_layers(&self, garbage: &Garbage, progress: &dyn Fn(GcStep<'_>)) -> Result<()> {
        if garbage.layers.is_empty() {
            return Ok(());
        }
        let staging = self.stage()?;
        let aside = |chain: &ChainId| staging.path().join(chain.hex());
        for (chain, _) in &garbage.layers {
            let path = self.layer_path(chain);
            durable::rename(&path, &aside(chain)).doing("remove", &path)?;
            failpoint("gc-renamed");
        }
        sync_directory(staging.path())?;
        sync_directory(&self.layers_root())?;
        for (chain, bytes) in &garbage.layers {
            remove_tree(&aside(chain))?;
            failpoint("gc-deleted");
            progress(GcStep::Layer { chain, bytes: *bytes });
        }
        Ok(())
    }

    fn remove_blobs(&self, garbage: &Garbage, progress: &dyn Fn(GcStep<'_>)) -> Result<()> {
        for (digest, bytes) in &garbage.blobs {
            self.layout().remove_blob(digest)?;
            failpoint("gc-blob-deleted");
            progress(GcStep::Blob { digest, bytes: *bytes });
        }
        Ok(())
    }
}

/// What is stored and not needed, with the bytes of disk it takes.
#[derive(Debug)]
pub(crate) struct Garbage {
    pub(crate) layers: Vec<(ChainId, u64)>,
    pub(crate) blobs: Vec<(Digest, u64)>,
}

impl Garbage {
    pub(crate) fn bytes(&self) -> u64 {
        let layers = self.layers.iter().map(|(_, bytes)| bytes);
        layers.chain(self.blobs.iter().map(|(_, bytes)| bytes)).sum()
    }

    fn into_outcome(self, leftovers: &[Leftover], locks: usize) -> GcOutcome {
        let bytes_freed = self.bytes() + leftovers.iter().map(|leftover| leftover.bytes).sum::<u64>();
        let staging = leftovers.iter().map(|leftover| (leftover.path.clone(), leftover.bytes)).collect();
        GcOutcome { layers: self.layers, blobs: self.blobs, staging, locks, bytes_freed }
    }
}
