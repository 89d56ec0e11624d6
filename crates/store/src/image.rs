//! Images of a store: a name in `index.json`, a manifest, a configuration, and a chain of stored layers.

use layerstone_layer::Os;
use layerstone_layer::merge::Merged;
use layerstone_oci::{ChainId, Descriptor, ImageConfig, Index, Manifest, MediaKind, Platform, limits};

use crate::error::{Error, Result};
use crate::layer::StoredLayer;
use crate::root::Store;

/// An image of the store.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// The name that it was asked for by; a digest for images without one.
    pub name: String,
    /// The descriptor in `index.json`.
    pub descriptor: Descriptor,
    /// The manifest, byte for byte as it was published.
    pub manifest: Manifest,
    /// The configuration, byte for byte.
    pub config: ImageConfig,
}

impl StoredImage {
    /// The layers' identities, base first.
    pub fn chain_ids(&self) -> Vec<ChainId> {
        self.config.chain_ids()
    }

    /// The topmost layer; `None` for an image without layers.
    pub fn top(&self) -> Option<ChainId> {
        self.chain_ids().pop()
    }

    /// The operating system whose rules apply.
    pub fn os(&self) -> Os {
        Os::from_config(self.config.os())
    }
}

impl Store {
    /// All images, in the order of `index.json`.
    ///
    /// # Errors
    /// When the index or a manifest cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>> {
        let mut images = Vec::new();
        for descriptor in self.layout().index()?.manifests {
            images.extend(self.images_of(&descriptor)?);
        }
        Ok(images)
    }

    /// The image of that name; or of that manifest or configuration digest, of which the first few digits are enough.
    /// A name without tag means `latest`, one without registry also docker.io. Where one name stands for several platforms, `platform` chooses, by default
    /// the host's.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn image(&self, reference: &str, platform: Option<&Platform>) -> Result<StoredImage> {
        let images = self.images()?;
        let named = named(&images, reference);
        if !named.is_empty() {
            let platforms: Vec<Platform> = named.iter().map(|image| image.config.platform()).collect();
            let chosen = match platform {
                Some(wanted) => wanted.choose(&platforms),
                None if named.len() == 1 => Some(0),
                None => Platform::host_default().choose(&platforms),
            };
            return match chosen {
                Some(chosen) => Ok(named[chosen].clone()),
                None => Err(Error::Ambiguous {
                    id: reference.to_owned(),
                    what: "platform",
                    fits: platforms.iter().map(ToString::to_string).collect(),
                }),
            };
        }
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        if digits.len() < 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::NoImage(reference.to_owned()));
        }
        let mut found: Vec<StoredImage> = images
            .into_iter()
            .filter(|image| {
                let digests = [&image.descriptor.digest, &image.manifest.digest(), &image.config.digest()]
                    .map(|digest| digest.hex());
                digests.iter().any(|hex| hex.starts_with(&digits.to_ascii_lowercase()))
            })
            .collect();
        found.dedup_by_key(|image| image.manifest.digest());
        match found.len() {
            0 => Err(Error::NoImage(reference.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(Error::Ambiguous {
                id: reference.to_owned(),
                what: "image",
                fits: found.into_iter().map(|image| image.name).collect(),
            }),
        }
    }

    /// All images of that name, and the index that lists them where there is one: what was imported for several platforms.
    ///
    /// # Errors
    /// [`Error::NoImage`]; when the index or a manifest cannot be read.
    pub fn platforms(&self, reference: &str) -> Result<(Vec<StoredImage>, Option<(Descriptor, Vec<u8>)>)> {
        let images = self.images()?;
        let named: Vec<StoredImage> = named(&images, reference).into_iter().cloned().collect();
        let Some(first) = named.first() else { return Err(Error::NoImage(reference.to_owned())) };
        let index = match self.layout().find(&first.name)? {
            Some(entry) if entry.kind() == MediaKind::Index => {
                let bytes = self.layout().read_small_blob(&entry, limits::MAX_INDEX_SIZE)?;
                Some((entry, bytes))
            }
            _ => None,
        };
        Ok((named, index))
    }

    /// The image or, for an index, the images that an entry of `index.json` stands for and whose parts are stored.
    fn images_of(&self, descriptor: &Descriptor) -> Result<Vec<StoredImage>> {
        let name = descriptor.ref_name().map_or_else(|| descriptor.digest.to_string(), str::to_owned);
        let mut images = Vec::new();
        if descriptor.kind() == MediaKind::Index {
            let bytes = self.layout().read_small_blob(descriptor, limits::MAX_INDEX_SIZE)?;
            for entry in Index::parse(&bytes, &name)?.manifests {
                if !entry.is_attestation() && self.layout().has_blob(&entry.digest)? {
                    images.extend(self.image_of(&name, &entry)?);
                }
            }
        } else {
            images.extend(self.image_of(&name, descriptor)?);
        }
        Ok(images)
    }

    fn image_of(&self, name: &str, descriptor: &Descriptor) -> Result<Option<StoredImage>> {
        let manifest =
            Manifest::parse(self.layout().read_small_blob(descriptor, limits::MAX_MANIFEST_SIZE)?)?;
        if !manifest.is_image() {
            return Ok(None);
        }
        let config = self.layout().read_small_blob(manifest.config(), limits::MAX_CONFIG_SIZE)?;
        let config = ImageConfig::parse(config)?;
        Ok(Some(StoredImage { name: name.to_owned(), descriptor: descriptor.clone(), manifest, config }))
    }

    /// Opens layers, given base first, as one merged view.
    ///
    /// # Errors
    /// When a layer is missing or damaged.
    pub fn merged(&self, chain_ids: &[ChainId], os: Os) -> Result<Merged<StoredLayer>> {
        let layers = chain_ids.iter().rev().map(|chain| self.layer(chain));
        Ok(Merged::new(layers.collect::<Result<_>>()?, os))
    }

    /// The stored layer whose ChainID or DiffID starts with these digits.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn layer_by_prefix(&self, reference: &str) -> Result<Option<StoredLayer>> {
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference).to_ascii_lowercase();
        if digits.len() < 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let ids = self.layer_ids()?;
        let mut found: Vec<ChainId> =
            ids.iter().filter(|id| id.0.hex().starts_with(&digits)).cloned().collect();
        if found.is_empty() {
            for id in ids {
                if self.layer(&id)?.description().diff_id.0.hex().starts_with(&digits) {
                    found.push(id);
                }
            }
        }
        match found.as_slice() {
            [] => Ok(None),
            [one] => self.layer(one).map(Some),
            _ => Err(Error::Ambiguous {
                id: reference.to_owned(),
                what: "layer",
                fits: found.iter().map(|id| id.0.to_string()).collect(),
            }),
        }
    }
}

/// Those of that name: as it is, with the tag `latest`, or last as registries know it: `alpine` is what was pulled as
/// docker.io/library/alpine:latest.
fn named<'a>(images: &'a [StoredImage], reference: &str) -> Vec<&'a StoredImage> {
    let tagged = format!("{reference}:latest");
    let full = layerstone_oci::full_name(reference);
    for name in [reference, &tagged, &full] {
        let found: Vec<_> = images.iter().filter(|image| image.name == name).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}
