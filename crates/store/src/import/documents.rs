//! Importing what is more than one image, or none: an index with all its images, an artifact.

use std::io::{self, Read};

use layerstone_oci::{Descriptor, Digest, Index, Manifest, MediaType, ResolvedImage, VerifyingReader};

use super::{ImportOptions, ImportedLayer, LayerBlobs, Progress};
use crate::error::{IoContext, Result};
use crate::root::Store;

/// Hears about the images of an index: which of them, and what about it.
pub type IndexProgressFn<'a> = &'a (dyn Fn(usize, Progress<'_>) + Sync);

/// Opens a blob by its descriptor.
pub type OpenBlobFn<'a> = &'a dyn Fn(&Descriptor) -> Box<dyn Read + Send>;

impl Store {
    /// Imports several images of an index, and names the index: [`image`](Self::image) then chooses among those. The index is kept
    /// byte for byte, with entries for images that are not imported.
    ///
    /// # Errors
    /// As [`import_image`](Self::import_image); when `index` is none.
    pub fn import_index(
        &self,
        blobs: &dyn LayerBlobs,
        index: (&[u8], &MediaType),
        images: &[ResolvedImage],
        name: &str,
        options: &ImportOptions,
        progress: IndexProgressFn<'_>,
    ) -> Result<Vec<Vec<ImportedLayer>>> {
        let (bytes, media_type) = index;
        Index::parse(bytes, &format!("index {}", Digest::of(bytes)))?;
        self.sweep()?;
        let _shared = self.lock_shared()?;
        let mut imported = Vec::new();
        for (at, image) in images.iter().enumerate() {
            imported.push(self.import_contents(blobs, image, options, &|event| progress(at, event))?);
        }
        self.layout().put_blob_bytes(bytes)?;
        self.layout().set_image(name, &Descriptor::of(media_type.clone(), bytes))?;
        Ok(imported)
    }

    /// Keeps an artifact: its manifest, and all its blobs as they are. Gives the bytes that were fetched; blobs that are there
    /// are not.
    ///
    /// # Errors
    /// When a blob cannot be had or is not what its descriptor promises; when the store fails.
    pub fn import_artifact(&self, manifest: &Manifest, name: &str, open: OpenBlobFn<'_>) -> Result<u64> {
        self.sweep()?;
        let _shared = self.lock_shared()?;
        let mut fetched = 0;
        for descriptor in std::iter::once(manifest.config()).chain(manifest.layers()) {
            if self.layout().has_blob(&descriptor.digest)? {
                continue;
            }
            let mut blob = self.layout().blob_writer_in(&self.staging_root())?;
            let mut reader =
                VerifyingReader::new(open(descriptor), descriptor.digest, Some(descriptor.size))?;
            fetched += io::copy(&mut reader, &mut blob).doing("copy a blob into", self.root())?;
            blob.commit_as(&descriptor.digest, Some(descriptor.size))?;
        }
        self.layout().put_blob_bytes(manifest.bytes())?;
        self.layout().set_image(name, &manifest.descriptor())?;
        Ok(fetched)
    }

    /// The artifact of that name, or of that manifest digest.
    ///
    /// # Errors
    /// When the index or the manifest cannot be read.
    pub fn artifact(&self, reference: &str) -> Result<Option<Manifest>> {
        for entry in self.layout().index()?.manifests {
            let named = entry.ref_name() == Some(reference) || entry.digest.to_string() == reference;
            if !named || entry.kind() != layerstone_oci::MediaKind::Manifest {
                continue;
            }
            let bytes = self.layout().read_small_blob(&entry, layerstone_oci::limits::MAX_MANIFEST_SIZE)?;
            let manifest = Manifest::parse(bytes)?;
            if !manifest.is_image() {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }
}
