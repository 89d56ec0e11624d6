//! Images of a docker archive: what `docker save` writes.
//!
//! ```text
//! manifest.json                      [{"Config": name, "RepoTags": [...], "Layers": [names]}, ...]
//! <image id>.json                    the configuration
//! <layer id>/layer.tar               a layer: a file, or a link to that of another image
//! blobs/sha256/<hex>                 since Docker 25: configuration and layers, in an OCI layout
//! ```
//!
//! `manifest.json` is specified in [docker image spec v1.2, "Combined Image JSON + Filesystem Changeset
//! Format"](https://github.com/moby/docker-image-spec/blob/main/spec.md). There is no image manifest in it: one is made,
//! the same each time for the same archive.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::hash::Sha256Writer;
use crate::json::null_as_default;
use crate::limits::{MAX_CONFIG_SIZE, MAX_DOCKER_MANIFEST_SIZE, MAX_INDEX_MANIFESTS, MAX_LAYERS};
use crate::source::tarfile::TarFile;
use crate::source::{Candidate, Content, ResolvedImage, SourceImage, SourceLayer, sniff};
use crate::{
    Compression, Descriptor, DiffId, Digest, Error, ImageConfig, Manifest, MediaKind, MediaType, Result,
    VerifyError,
};

/// The file that makes a tar a docker archive.
pub(super) const MANIFEST: &str = "manifest.json";

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    config: String,
    #[serde(default, deserialize_with = "null_as_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<String>,
    /// Descriptors of layers that came from elsewhere, by DiffID: base layers of Windows.
    #[serde(default, deserialize_with = "null_as_default")]
    layer_sources: BTreeMap<String, Descriptor>,
}

pub(super) fn read_items(tar: &TarFile) -> Result<Vec<Item>> {
    let what = || format!("{MANIFEST} of {}", tar.place());
    let bytes = tar.read_small(MANIFEST, MAX_DOCKER_MANIFEST_SIZE)?;
    let items: Vec<Item> = serde_json::from_slice(&bytes).map_err(Error::json(what()))?;
    if items.len() > MAX_INDEX_MANIFESTS {
        return Err(Error::TooMany { what: what(), things: "images", limit: MAX_INDEX_MANIFESTS });
    }
    if items.iter().any(|item| item.layers.len() > MAX_LAYERS) {
        return Err(Error::TooMany { what: what(), things: "layers in an image", limit: MAX_LAYERS });
    }
    Ok(items)
}

/// The images, each with its configuration as descriptor: its digest is what Docker calls the image ID.
pub(super) fn images(tar: &TarFile, items: &[Item]) -> Result<Vec<SourceImage>> {
    let image = |item: &Item| {
        let config = read_config(tar, item)?;
        let (descriptor, platform) = (config.descriptor(), Some(config.platform()));
        let candidates = vec![Candidate { descriptor: descriptor.clone(), platform, present: true }];
        Ok(SourceImage { names: item.repo_tags.clone(), descriptor, candidates })
    };
    items.iter().map(image).collect()
}

fn read_config(tar: &TarFile, item: &Item) -> Result<ImageConfig> {
    let config = ImageConfig::parse(tar.read_small(&item.config, MAX_CONFIG_SIZE)?)?;
    match named_digest(&item.config) {
        Some(expected) if expected != config.digest() => {
            let what = format!("{} of {}", item.config, tar.place());
            Err(Error::Verify {
                what,
                source: Box::new(VerifyError::Mismatch { expected, found: config.digest() }),
            })
        }
        _ => Ok(config),
    }
}

pub(super) fn resolve(tar: &TarFile, item: &Item) -> Result<ResolvedImage> {
    let config = read_config(tar, item)?;
    let (layers, diff_ids) = (item.layers.len(), config.diff_ids().len());
    if layers != diff_ids {
        return Err(Error::LayerCount {
            what: format!("image {} of {}", item.config, tar.place()),
            layers,
            diff_ids,
        });
    }
    let pairs = item.layers.iter().zip(config.diff_ids());
    let layers: Vec<SourceLayer> =
        pairs.map(|(name, diff_id)| layer(tar, item, name, diff_id)).collect::<Result<_>>()?;
    let descriptors = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let config_descriptor = config.descriptor();
    let manifest = Manifest::build(config_descriptor.clone(), descriptors, BTreeMap::new())?;
    let platform = config.platform();
    Ok(ResolvedImage { names: item.repo_tags.clone(), platform, manifest, config, config_descriptor, layers })
}

fn layer(tar: &TarFile, item: &Item, name: &str, diff_id: &DiffId) -> Result<SourceLayer> {
    let source = item.layer_sources.get(&diff_id.to_string());
    let Some(span) = tar.find(name)? else {
        // A foreign layer may be left out of the archive; its descriptor says where it is.
        let foreign = source.filter(|source| !source.urls.is_empty());
        let missing = || Error::EntryMissing { place: tar.place().to_owned(), name: name.to_owned() };
        let mut descriptor = foreign.ok_or_else(missing)?.clone();
        let compression = match descriptor.kind() {
            MediaKind::Layer { compression, .. } => compression,
            _ => Compression::Gzip,
        };
        descriptor.media_type = MediaType::oci_layer(compression, true);
        return Ok(SourceLayer { descriptor, diff_id: *diff_id, compression, content: Content::Absent });
    };
    let what = || format!("{name} of {}", tar.place());
    let compression = sniff(&mut tar.open(span), &what())?;
    let digest = match (compression, named_digest(name)) {
        // Whether it is true shows when the layer is read.
        (Compression::None, _) => diff_id.0,
        (_, Some(named)) => named,
        _ => {
            let mut hashing = Sha256Writer::new(std::io::sink());
            std::io::copy(&mut tar.open(span), &mut hashing).map_err(Error::stream("read", what()))?;
            hashing.finish().1
        }
    };
    let source = source.filter(|source| source.digest == digest && source.size == span.size);
    let nondistributable =
        source.is_some_and(|source| matches!(source.kind(), MediaKind::Layer { nondistributable: true, .. }));
    let mut descriptor =
        Descriptor::new(MediaType::oci_layer(compression, nondistributable), digest, span.size);
    if let Some(source) = source {
        descriptor.urls.clone_from(&source.urls);
    }
    Ok(SourceLayer { descriptor, diff_id: *diff_id, compression, content: Content::Entry(span) })
}

/// The digest in a name of the form `blobs/sha256/<hex>`. Other forms are names, and nobody checks them.
fn named_digest(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("./").unwrap_or(name).strip_prefix("blobs/sha256/")?;
    Digest::parse(&format!("sha256:{hex}")).ok()
}
