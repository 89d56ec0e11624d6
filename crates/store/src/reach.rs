//! What is needed: everything that images, scratches and attachments lead to.

use std::collections::{BTreeMap, HashSet};

use layerstone_oci::{
    ChainId, Descriptor, Digest, ImageConfig, Index, Manifest, MediaKind, Result as OciResult, limits,
};

use crate::error::{Error, Result};
use crate::layer::{DESCRIPTION, Description};
use crate::root::{Store, read_dir_or_empty, read_json};
use crate::scratch::check_name;

/// What must stay.
#[derive(Debug, Default)]
pub(crate) struct Reachable {
    /// Layers, with the images that need them.
    pub(crate) layers: BTreeMap<ChainId, Vec<String>>,
    /// Blobs, whether they are stored or not.
    pub(crate) blobs: HashSet<Digest>,
}

impl Reachable {
    fn layer(&mut self, chain: ChainId, image: Option<&str>) {
        let images = self.layers.entry(chain).or_default();
        if let Some(image) = image
            && !images.iter().any(|known| known == image)
        {
            images.push(image.to_owned());
        }
    }
}

impl Store {
    /// Everything that is needed: by `index.json`, by scratches, and by the layers `keep`.
    ///
    /// Whatever cannot be read is an error: what a damaged document needs is not known, so nothing may be removed.
    pub(crate) fn reachable(&self, keep: &[ChainId]) -> Result<Reachable> {
        let mut reachable = Reachable::default();
        let index = self.layout().index().map_err(|source| Error::DamagedIndex { source })?;
        for entry in &index.manifests {
            let image = image_name(entry);
            self.follow(entry, Some(&image), 0, &mut reachable)
                .map_err(|source| Error::DamagedImage { image, source })?;
        }
        for entry in read_dir_or_empty(&self.scratch_root())? {
            if let Some(name) = entry.file_name().to_str()
                && check_name(name).is_ok()
            {
                self.follow_scratch(name, &mut reachable)?;
            }
        }
        for name in self.volatile_names()? {
            match self.follow_scratch(&name, &mut reachable) {
                // It has gone meanwhile, as these do all the time.
                Err(_) if !self.volatile_names()?.contains(&name) => {}
                followed => followed?,
            }
        }
        for chain in keep {
            self.follow_parents(*chain, &mut reachable)?;
        }
        Ok(reachable)
    }

    /// Marks what a descriptor leads to. Below `index.json` itself, what is not stored is not looked for: an index may list
    /// platforms that were never imported.
    fn follow(
        &self,
        descriptor: &Descriptor,
        image: Option<&str>,
        depth: usize,
        reachable: &mut Reachable,
    ) -> OciResult<()> {
        let known = !reachable.blobs.insert(descriptor.digest);
        if depth > 0 && (known || !self.layout().has_blob(&descriptor.digest)?) {
            return Ok(());
        }
        match document_kind(self, descriptor)? {
            MediaKind::Index => {
                let bytes = self.layout().read_small_blob(descriptor, limits::MAX_INDEX_SIZE)?;
                let index = Index::parse(&bytes, &format!("index {}", descriptor.digest))?;
                if depth >= limits::MAX_INDEX_DEPTH {
                    let what = format!("index {}", descriptor.digest);
                    let reason = "indexes are nested more than four deep";
                    return Err(layerstone_oci::Error::Malformed { what, reason });
                }
                index.manifests.iter().try_for_each(|entry| self.follow(entry, image, depth + 1, reachable))
            }
            MediaKind::Manifest => {
                let bytes = self.layout().read_small_blob(descriptor, limits::MAX_MANIFEST_SIZE)?;
                self.follow_manifest(&Manifest::parse(bytes)?, image, depth, reachable)
            }
            // An index may list any blob; it stays, and leads nowhere.
            _ => Ok(()),
        }
    }

    fn follow_manifest(
        &self,
        manifest: &Manifest,
        image: Option<&str>,
        depth: usize,
        reachable: &mut Reachable,
    ) -> OciResult<()> {
        reachable.blobs.insert(manifest.config().digest);
        reachable.blobs.extend(manifest.layers().iter().map(|layer| layer.digest));
        if manifest.is_image() {
            let config = self.layout().read_small_blob(manifest.config(), limits::MAX_CONFIG_SIZE)?;
            for chain in ImageConfig::parse(config)?.chain_ids() {
                reachable.layer(chain, image);
            }
        }
        match manifest.subject() {
            Some(subject) if depth < limits::MAX_INDEX_DEPTH => {
                self.follow(subject, image, depth + 1, reachable)
            }
            _ => Ok(()),
        }
    }

    fn follow_scratch(&self, name: &str, reachable: &mut Reachable) -> Result<()> {
        let damaged = |source| Error::DamagedScratch { name: name.to_owned(), source: Box::new(source) };
        let scratch = self.scratch(name).map_err(damaged)?;
        let description = scratch.description();
        for chain in &description.chain_ids {
            reachable.layer(*chain, None);
        }
        reachable.blobs.insert(description.manifest);
        // The layers are known without the manifest, so a scratch outlives its loss.
        let Some(size) = self.layout().blob_size(&description.manifest)? else { return Ok(()) };
        let descriptor = Descriptor::new("", description.manifest, size);
        let manifest = self
            .layout()
            .read_small_blob(&descriptor, limits::MAX_MANIFEST_SIZE)
            .and_then(Manifest::parse)
            .map_err(|source| damaged(source.into()))?;
        // An image that only this scratch needs has no name to be listed under.
        self.follow_manifest(&manifest, None, 0, reachable).map_err(|source| damaged(source.into()))
    }

    fn follow_parents(&self, chain: ChainId, reachable: &mut Reachable) -> Result<()> {
        let mut next = Some(chain);
        let mut seen = HashSet::new();
        while let Some(chain) = next
            && seen.insert(chain)
        {
            reachable.layer(chain, None);
            if !self.has_layer(&chain)? {
                break;
            }
            next = read_json::<Description>(&self.layer_path(&chain).join(DESCRIPTION))?.parent;
        }
        Ok(())
    }
}

/// What an entry of `index.json` is called: its name, or else its digest.
pub(crate) fn image_name(entry: &Descriptor) -> String {
    entry.ref_name().map_or_else(|| entry.digest.to_string(), str::to_owned)
}

/// What a descriptor leads to. Old layouts leave the media type out; then the document tells.
pub(crate) fn document_kind(store: &Store, descriptor: &Descriptor) -> OciResult<MediaKind> {
    if !descriptor.media_type.as_str().is_empty() {
        return Ok(descriptor.kind());
    }
    let bytes = store.layout().read_small_blob(descriptor, limits::MAX_INDEX_SIZE)?;
    match Index::parse(&bytes, "a document without media type") {
        Ok(index) if !index.manifests.is_empty() => Ok(MediaKind::Index),
        _ => Ok(MediaKind::Manifest),
    }
}
