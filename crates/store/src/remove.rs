//! Removing an image: only its name goes. Layers and blobs that nothing else needs go with the next collection.

use layerstone_oci::{Descriptor, Digest, Index, Manifest, MediaKind, limits};

use crate::error::{Error, Result};
use crate::reach::{document_kind, image_name};
use crate::root::Store;

/// An image that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedImage {
    /// The names that are gone; digests for entries without one.
    pub names: Vec<String>,
    /// The manifests, or indexes, that they stood for.
    pub digests: Vec<Digest>,
    /// Scratches that lie over it all the same: its layers stay until they are gone too.
    pub scratches: Vec<String>,
}

impl Store {
    /// Removes the image of that name, or of that manifest or configuration digest, of which the first few digits are
    /// enough. A name without tag means `latest`.
    ///
    /// Where several names stand for one digest, the digest removes all of them only with `force`. An image over which a
    /// scratch lies is only removed by `force`, unless it has another name; the scratch stays usable.
    ///
    /// # Errors
    /// When there is none, it is in use, or the digits fit more than one.
    pub fn remove_image(&self, reference: &str, force: bool) -> Result<RemovedImage> {
        let _shared = self.lock_shared()?;
        let scratches = self.scratches()?;
        self.layout().update_index(|index| {
            let chosen = self.entries_to_remove(index, reference, force)?;
            let is_chosen = |at: &usize| chosen.contains(at);
            let stays: Vec<Digest> = (0..index.manifests.len())
                .filter(|at| !is_chosen(at))
                .flat_map(|at| self.manifests_of(&index.manifests[at]))
                .collect();
            let goes: Vec<Digest> = chosen
                .iter()
                .flat_map(|&at| self.manifests_of(&index.manifests[at]))
                .filter(|digest| !stays.contains(digest))
                .collect();
            let over: Vec<String> = scratches
                .iter()
                .filter(|scratch| goes.contains(&scratch.description().manifest))
                .map(|scratch| scratch.name().to_owned())
                .collect();
            if !over.is_empty() && !force {
                return Err(Error::InUse {
                    what: format!("image `{reference}`"),
                    by: format!("these scratches lie over it: {}", over.join(", ")),
                });
            }
            let entries = || chosen.iter().map(|&at| &index.manifests[at]);
            let removed = RemovedImage {
                names: entries().map(image_name).collect(),
                digests: entries().map(|entry| entry.digest).collect(),
                scratches: over,
            };
            let mut at = 0;
            index.manifests.retain(|_| {
                at += 1;
                !chosen.contains(&(at - 1))
            });
            Ok(removed)
        })
    }

    /// Which entries of the index `reference` means.
    fn entries_to_remove(&self, index: &Index, reference: &str, force: bool) -> Result<Vec<usize>> {
        let matching = |test: &dyn Fn(&Descriptor) -> bool| -> Vec<usize> {
            (0..index.manifests.len()).filter(|&at| test(&index.manifests[at])).collect()
        };
        let tagged = format!("{reference}:latest");
        for name in [reference, &tagged] {
            let named = matching(&|entry| entry.ref_name() == Some(name));
            if !named.is_empty() {
                return Ok(named);
            }
        }
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference).to_ascii_lowercase();
        if digits.len() < 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::NoImage(reference.to_owned()));
        }
        let starts = |digest: &Digest| digest.hex().starts_with(&digits);
        let found = matching(&|entry| {
            starts(&entry.digest)
                || self.manifest(entry).is_some_and(|manifest| starts(&manifest.config().digest))
        });
        let names = || found.iter().map(|&at| image_name(&index.manifests[at])).collect::<Vec<_>>();
        let Some(&first) = found.first() else { return Err(Error::NoImage(reference.to_owned())) };
        let one = found.iter().all(|&at| index.manifests[at].digest == index.manifests[first].digest);
        if found.len() > 1 && !(one && force) {
            return Err(Error::Ambiguous { id: reference.to_owned(), what: "image", fits: names() });
        }
        Ok(found)
    }

    /// The manifests that an entry of the index stands for; a damaged image can be removed too, so what cannot be read
    /// counts for nothing.
    fn manifests_of(&self, entry: &Descriptor) -> Vec<Digest> {
        let mut digests = vec![entry.digest];
        if document_kind(self, entry).is_ok_and(|kind| kind == MediaKind::Index)
            && let Ok(bytes) = self.layout().read_small_blob(entry, limits::MAX_INDEX_SIZE)
            && let Ok(index) = Index::parse(&bytes, "an index")
        {
            digests.extend(index.manifests.iter().map(|manifest| manifest.digest));
        }
        digests
    }

    fn manifest(&self, entry: &Descriptor) -> Option<Manifest> {
        let bytes = self.layout().read_small_blob(entry, limits::MAX_MANIFEST_SIZE).ok()?;
        Manifest::parse(bytes).ok()
    }
}
