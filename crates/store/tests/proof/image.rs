//! Images made in a test, and imported.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use layerstone_oci::{
    ChainId, Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, ImageSource, Layout, Manifest, MediaType,
    Platform, ResolvedImage, open_source,
};
use layerstone_store::import::ImportedLayer;
use layerstone_store::{ImportOptions, Result, Store};

/// A layer of an image to be made: its blob may be anything, also a lie.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) diff_id: DiffId,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Layer {
    fn new(media_type: &str, tar: &[u8], blob: Vec<u8>) -> Self {
        let (digest, size) = (Digest::of(&blob), blob.len() as u64);
        Layer { blob, media_type: media_type.into(), diff_id: DiffId(Digest::of(tar)), digest, size }
    }

    pub(crate) fn tar(tar: &[u8]) -> Self {
        Self::new(MediaType::OCI_LAYER, tar, tar.to_vec())
    }

    pub(crate) fn gzip(tar: &[u8]) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(tar).unwrap();
        Self::new(MediaType::OCI_LAYER_GZIP, tar, encoder.finish().unwrap())
    }

    pub(crate) fn zstd(tar: &[u8]) -> Self {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(tar).unwrap();
        Self::new(MediaType::OCI_LAYER_ZSTD, tar, encoder.finish().unwrap())
    }

    /// The same promises about other bytes.
    pub(crate) fn with_blob(&self, blob: Vec<u8>) -> Self {
        Layer { blob, ..self.clone() }
    }

    /// Other bytes, whose digest and size are right.
    pub(crate) fn with_sound_blob(&self, blob: Vec<u8>) -> Self {
        let (digest, size) = (Digest::of(&blob), blob.len() as u64);
        Layer { blob, digest, size, ..self.clone() }
    }
}

pub(crate) const LINUX: &str = "linux/amd64";
pub(crate) const WINDOWS: &str = "windows/amd64:10.0.20348.473";

/// Writes an image of these layers, base first, into the layout at `folder`.
pub(crate) fn write_image(folder: &Path, name: &str, platform: &str, layers: &[Layer]) {
    let layout = Layout::create(folder).unwrap();
    let mut config = ImageConfig::new(&Platform::parse(platform).unwrap());
    let mut descriptors = Vec::new();
    for layer in layers {
        config = config.append_layer(&layer.diff_id, HistoryEntry::default()).unwrap();
        // Past the layout's own checks: a blob may lie.
        std::fs::write(layout.blob_path(&layer.digest), &layer.blob).unwrap();
        let media_type = MediaType::new(layer.media_type.clone());
        descriptors.push(Descriptor::new(media_type, layer.digest, layer.size));
    }
    layout.put_blob_bytes(config.bytes()).unwrap();
    let manifest = Manifest::build(config.descriptor(), descriptors, Default::default()).unwrap();
    layout.put_blob_bytes(manifest.bytes()).unwrap();
    layout.set_image(name, &manifest.descriptor()).unwrap();
}

/// The image of that name in the layout or archive at `path`.
pub(crate) fn open(path: &Path, name: Option<&str>) -> Result<(ImageSource, ResolvedImage)> {
    let source = open_source(path, &std::env::temp_dir())?;
    let image = source.resolve(name, None)?;
    Ok((source, image))
}

/// Imports an image from a layout.
pub(crate) fn import_from(
    store: &Store,
    path: &Path,
    name: &str,
    options: &ImportOptions,
) -> Result<Vec<ImportedLayer>> {
    let (source, image) = open(path, Some(name))?;
    store.import_image(&source, &image, name, options, &|_| {})
}

/// Makes an image of these layers and imports it.
pub(crate) fn import(store: &Store, platform: &str, layers: &[Layer]) -> Result<Vec<ImportedLayer>> {
    let folder = tempfile::tempdir().unwrap();
    write_image(folder.path(), "test:1", platform, layers);
    import_from(store, folder.path(), "test:1", &ImportOptions::default())
}

pub(crate) fn chain_ids(layers: &[Layer]) -> Vec<ChainId> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
    layerstone_oci::chain_ids(&diff_ids)
}

/// Every stored layer gives its archive again.
pub(crate) fn verify_all(store: &Store) -> usize {
    let ids = store.layer_ids().unwrap();
    for id in &ids {
        let layer = store.layer(id).unwrap();
        let verified = layer.verify(&|_| {}).unwrap();
        assert!(verified.damage.is_empty(), "{id}: {:?}", verified.damage);
        assert_eq!(verified.bytes, layer.description().archive_size, "{id}");
    }
    ids.len()
}

/// Where the samples are.
pub(crate) fn data() -> PathBuf {
    std::env::var_os("LAYERSTONE_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from)
}

/// All archives below a directory of the samples: path and inflated bytes.
pub(crate) fn samples(below: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut todo) = (Vec::new(), vec![data().join(below)]);
    while let Some(path) = todo.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                todo.push(path);
            } else if name.ends_with(".tar") {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            } else if name.ends_with(".tar.gz") {
                found.push((path.clone(), inflate(&std::fs::read(&path).unwrap())));
            }
        }
    }
    found.sort();
    found
}

/// The tar in a blob.
pub(crate) fn inflate(blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if blob.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut out).unwrap();
    } else if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        out = zstd::decode_all(blob).unwrap();
    } else {
        out.extend_from_slice(blob);
    }
    out
}
