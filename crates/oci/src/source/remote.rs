//! Images whose documents somebody else has fetched, and whose layers will be read from elsewhere: a registry's.

use crate::source::{Content, ResolvedImage, SourceLayer};
use crate::{Error, ImageConfig, Manifest, MediaKind, Platform, Result};

impl ResolvedImage {
    /// An image of these documents, whose layers are not looked at: that their content is there, and how it is compressed,
    /// is what their descriptors say. `stated` is the platform that an index gives for the manifest.
    ///
    /// # Errors
    /// When the configuration is not the one that the manifest names, when the numbers of layers and DiffIDs differ, or when
    /// a layer has another media type than layers have.
    pub fn from_documents(
        names: Vec<String>,
        stated: Option<&Platform>,
        manifest: Manifest,
        config: ImageConfig,
    ) -> Result<Self> {
        let what = || format!("image {}", manifest.digest());
        if !manifest.is_image() {
            let found = manifest.config().media_type.as_str().to_owned();
            return Err(Error::MediaType { what: what(), expected: "an image configuration", found });
        }
        if manifest.config().digest != config.digest() {
            return Err(Error::malformed(what(), "its configuration is another document"));
        }
        let (layers, diff_ids) = (manifest.layers().len(), config.diff_ids().len());
        if layers != diff_ids {
            return Err(Error::LayerCount { what: what(), layers, diff_ids });
        }
        let layers = manifest.layers().iter().zip(config.diff_ids()).map(|(descriptor, diff_id)| {
            let MediaKind::Layer { compression, .. } = descriptor.kind() else {
                let (what, found) =
                    (format!("layer {}", descriptor.digest), descriptor.media_type.as_str().to_owned());
                return Err(Error::MediaType { what, expected: "a layer", found });
            };
            descriptor.digest.require_sha256()?;
            let content = Content::Blob;
            Ok(SourceLayer { descriptor: descriptor.clone(), diff_id: *diff_id, compression, content })
        });
        let layers = layers.collect::<Result<_>>()?;
        let platform = super::oci::completed(stated, &config);
        let config_descriptor = manifest.config().clone();
        Ok(Self { names, platform, manifest, config, config_descriptor, layers })
    }
}
