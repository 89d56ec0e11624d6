//! Stores to try things on: images are built as tars in an OCI layout, then imported.

#![allow(dead_code, reason = "no test needs all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use layerstone_oci::{
    ChainId, Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, Layout, Manifest, MediaType, Platform,
    open_source,
};
use layerstone_store::{ImportOptions, Store};
use tempfile::TempDir;

/// A source of images and a store, both gone when this is dropped.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) source: Layout,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Layout::create(dir.path().join("source")).unwrap();
        let store = Store::create(dir.path().join("store")).unwrap();
        Fixture { dir, source, store }
    }

    pub(crate) fn root(&self) -> &Path {
        self.store.root()
    }

    /// Builds an image of these layers in the source.
    pub(crate) fn build(&self, name: &str, layers: &[Vec<u8>]) {
        let mut config = ImageConfig::new(&Platform::parse("linux/amd64").unwrap());
        let mut descriptors = Vec::new();
        for tar in layers {
            let blob = zstd::encode_all(tar.as_slice(), 1).unwrap();
            let digest = self.source.put_blob_bytes(&blob).unwrap();
            descriptors.push(Descriptor::new(MediaType::OCI_LAYER_ZSTD, digest, blob.len() as u64));
            let history = HistoryEntry { created_by: Some("test".into()), ..HistoryEntry::default() };
            config = config.append_layer(&DiffId(Digest::of(tar)), history).unwrap();
        }
        self.source.put_blob_bytes(config.bytes()).unwrap();
        let manifest = Manifest::build(config.descriptor(), descriptors, Default::default()).unwrap();
        self.source.put_blob_bytes(manifest.bytes()).unwrap();
        self.source.set_image(name, &manifest.descriptor()).unwrap();
    }

    /// Builds an image and imports it.
    pub(crate) fn add(&self, name: &str, layers: &[Vec<u8>], keep_blobs: bool) -> Vec<ChainId> {
        self.build(name, layers);
        self.import_to(&self.store, name, keep_blobs)
    }

    pub(crate) fn import_to(&self, store: &Store, name: &str, keep_blobs: bool) -> Vec<ChainId> {
        let source = open_source(self.source.root(), self.dir.path()).unwrap();
        let image = source.resolve(Some(name), None).unwrap();
        let options = ImportOptions { keep_blobs, ..ImportOptions::default() };
        store.import_image(&source, &image, name, &options, &|_| {}).unwrap();
        image.config.chain_ids()
    }
}

/// An uncompressed layer of these files; the directories above them come first.
pub(crate) fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut made = std::collections::BTreeSet::new();
    for (path, bytes) in files {
        for parent in Path::new(path).ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if parent != Path::new("") && made.insert(parent.to_path_buf()) {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                tar.append_data(&mut header, parent, std::io::empty()).unwrap();
            }
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Bytes that do not compress, different for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// What `du` says a directory takes; `None` where there is no `du`.
pub(crate) fn du(path: &Path) -> Option<u64> {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Says that a test cannot run here. With `REQUIRE_ALL=1` that is a failure.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "{test} must run, but {reason}");
    eprintln!("SKIP {test}: {reason}");
}

/// Whether a program is on the path.
pub(crate) fn have(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Every file below a directory.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
