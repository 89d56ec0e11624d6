//! Small images.

use std::collections::BTreeMap;
use std::io::Write as _;

use layerstone_oci::compress::Encoder;
use layerstone_oci::{
    Compression, Descriptor, Digest, HistoryEntry, ImageConfig, Index, Manifest, MediaType, Platform,
};

use super::Random;

/// An image: its documents and blobs.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
    /// Everything but the manifest, by digest.
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
}

/// A tar with one file of so many bytes that do not compress.
pub(crate) fn tar(name: &str, len: usize, seed: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(len as u64);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header.set_entry_type(tar::EntryType::Regular);
    let content = Random(seed).bytes(len);
    builder.append_data(&mut header, name, content.as_slice()).expect("tar");
    builder.into_inner().expect("tar")
}

pub(crate) fn compressed(tar: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder =
        Encoder::new(compression, None, std::num::NonZeroUsize::new(1), Vec::new()).expect("an encoder");
    encoder.write_all(tar).expect("compress");
    encoder.finish().expect("compress")
}

impl Image {
    /// An image with a layer for each length.
    pub(crate) fn new(platform: &str, layers: &[usize], compression: Compression) -> Self {
        let tars: Vec<_> =
            layers.iter().enumerate().map(|(n, len)| tar(&format!("file-{n}"), *len, n as u64)).collect();
        Self::of_tars(platform, &tars, |tar| {
            let media_type = MediaType::oci_layer(compression, false);
            (compressed(tar, compression), media_type)
        })
    }

    pub(crate) fn of_tars(
        platform: &str,
        tars: &[Vec<u8>],
        blob: impl Fn(&[u8]) -> (Vec<u8>, MediaType),
    ) -> Self {
        let mut config = ImageConfig::new(&Platform::parse(platform).expect("a platform"));
        let mut blobs = BTreeMap::new();
        let mut layers = Vec::new();
        for tar in tars {
            let diff_id = Digest::of(tar).into();
            config = config.append_layer(&diff_id, HistoryEntry::default()).expect("a layer");
            let (bytes, media_type) = blob(tar);
            layers.push(Descriptor::of(media_type, &bytes));
            blobs.insert(Digest::of(&bytes), bytes);
        }
        blobs.insert(config.digest(), config.bytes().to_vec());
        let manifest = Manifest::build(config.descriptor(), layers, BTreeMap::new()).expect("a manifest");
        Self { manifest, config, blobs }
    }

    pub(crate) fn entry(&self) -> Descriptor {
        self.manifest.descriptor().with_platform(self.config.platform())
    }

    /// The layer blobs, base first.
    pub(crate) fn layers(&self) -> Vec<Digest> {
        self.manifest.layers().iter().map(|layer| layer.digest).collect()
    }
}

/// An index of images.
pub(crate) fn index(images: &[&Image]) -> Vec<u8> {
    let mut index = Index::new();
    index.manifests = images.iter().map(|image| image.entry()).collect();
    index.to_bytes().expect("an index")
}
