//! What takes how much of the disk.

use layerstone_oci::ChainId;

use crate::error::{Error, Result};
use crate::root::{Store, read_dir_or_empty};
use crate::usage;

/// What a store takes of the disk: allocated blocks in bytes, counted as `du` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUsage {
    /// All of it: what `du -s --block-size=1` says of the store's directory.
    pub total: u64,
    /// Each stored layer.
    pub layers: Vec<LayerUsage>,
    /// Manifests, configurations and the layer blobs that are kept.
    pub blobs: u64,
    /// Each scratch.
    pub scratches: Vec<ScratchUsage>,
    /// What is in flight, or was when its process died.
    pub staging: u64,
    /// What repair set aside.
    pub damaged: u64,
    /// What a collection would free of layers and blobs. `None` when it would refuse, because something is damaged that
    /// `fsck` would find.
    pub reclaimable: Option<u64>,
}

/// What a layer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUsage {
    /// Which layer.
    pub chain: ChainId,
    /// Its bytes.
    pub bytes: u64,
    /// The images that need it. A layer without any may still be needed by a scratch.
    pub images: Vec<String>,
    /// Whether more than one image needs it.
    pub shared: bool,
}

/// What a scratch takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchUsage {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

impl DiskUsage {
    /// Bytes of all layers.
    pub fn layer_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }

    /// Bytes of all scratches.
    pub fn scratch_bytes(&self) -> u64 {
        self.scratches.iter().map(|scratch| scratch.bytes).sum()
    }
}

impl Store {
    /// What takes how much of the disk. The layers `keep` (those that are attached) do not count as reclaimable.
    ///
    /// # Errors
    /// When a directory cannot be read. Damage is no error.
    pub fn df(&self, keep: &[ChainId]) -> Result<DiskUsage> {
        let _shared = self.lock_shared()?;
        let reachable = match self.reachable(keep) {
            Ok(reachable) => Some(reachable),
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => None,
        };
        let mut layers = Vec::new();
        for chain in self.layer_ids()? {
            let images = reachable.as_ref().and_then(|reachable| reachable.layers.get(&chain));
            let images = images.cloned().unwrap_or_default();
            let bytes = usage::of(&self.layer_path(&chain))?;
            layers.push(LayerUsage { chain, bytes, shared: images.len() > 1, images });
        }
        let mut scratches = Vec::new();
        for entry in read_dir_or_empty(&self.scratch_root())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            scratches.push(ScratchUsage { name, bytes: usage::of(&entry.path())? });
        }
        for name in self.volatile_names()? {
            if let Ok(scratch) = self.scratch(&name) {
                scratches.push(ScratchUsage { name, bytes: usage::of(scratch.path())? });
            }
        }
        scratches.sort_by(|a, b| a.name.cmp(&b.name));
        let reclaimable = match &reachable {
            Some(reachable) => Some(self.garbage(reachable)?.bytes()),
            None => None,
        };
        Ok(DiskUsage {
            total: usage::of(self.root())?,
            layers,
            blobs: usage::of(&self.root().join("blobs"))?,
            scratches,
            staging: usage::of(&self.staging_root())?,
            damaged: usage::of(&self.damaged_root())?,
            reclaimable,
        })
    }
}
