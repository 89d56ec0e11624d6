//! A store with images in it, made for one test.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use layerstone_oci::{
    Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, ImageSource, Layout, Manifest, MediaType,
    Platform, SourceOptions,
};
use layerstone_store::{ImportOptions, Store, StoredImage};

/// A folder with a store. What is mounted in it is unmounted and everything removed when this is dropped, also when the
/// test fails.
#[derive(Debug)]
pub struct World {
    folder: Option<tempfile::TempDir>,
    root: PathBuf,
    pub store: Store,
}

impl World {
    pub fn new() -> Self {
        Self::within("")
    }

    /// With a folder of this name around it.
    pub fn within(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("layerstone-test-").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(&root).unwrap();
        let mut world = Self::at(&root);
        world.folder = Some(folder);
        world
    }

    /// One that another process has made, and removes.
    pub fn at(root: &Path) -> Self {
        let store = Store::create(root.join("store")).unwrap().with_runtime_dir(root.join("run"));
        World { folder: None, root: root.to_path_buf(), store }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A new directory.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Imports an image of these layers, given as tars, base first.
    pub fn import(&self, name: &str, os: &str, layers: &[Vec<u8>]) -> StoredImage {
        let path = self.root.join(format!("source-{name}"));
        write_layout(&path, name, os, layers);
        let source = ImageSource::open(&path, &SourceOptions::new(&self.root)).unwrap();
        let image = source.resolve(Some(name), None).unwrap();
        self.store.import_image(&source, &image, name, &ImportOptions::default(), &|_| ()).unwrap();
        self.store.image(name, None).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        #[cfg(target_os = "linux")]
        for point in mounts_below(folder.path()).into_iter().rev() {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = folder.close();
    }
}

/// Writes an OCI image layout with one image.
pub fn write_layout(path: &Path, name: &str, os: &str, layers: &[Vec<u8>]) {
    let layout = Layout::create(path).unwrap();
    let platform = Platform::new(os, "amd64");
    let mut config = ImageConfig::new(&platform);
    let mut descriptors = Vec::new();
    for layer in layers {
        layout.put_blob_bytes(layer).unwrap();
        descriptors.push(Descriptor::of(MediaType::OCI_LAYER, layer));
        config = config.append_layer(&DiffId(Digest::of(layer)), HistoryEntry::default()).unwrap();
    }
    layout.put_blob_bytes(config.bytes()).unwrap();
    let manifest = Manifest::build(config.descriptor(), descriptors, BTreeMap::new()).unwrap();
    layout.put_blob_bytes(manifest.bytes()).unwrap();
    layout.set_image(name, &manifest.descriptor().with_platform(platform)).unwrap();
}

/// Where something is mounted in a folder, in the order of mounting.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ").replace("\\134", "\\")))
        .filter(|point| point.starts_with(folder))
        .collect()
}

/// A layer's tar in the making.
#[derive(Default)]
pub struct Layer(Option<tar::Builder<Vec<u8>>>);

impl Layer {
    pub fn new() -> Self {
        Layer(Some(tar::Builder::new(Vec::new())))
    }

    fn add(mut self, path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_size(bytes.len() as u64);
        if kind == tar::EntryType::Char {
            // The null device.
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        self.0.as_mut().unwrap().append_data(&mut header, path, bytes).unwrap();
        self
    }

    pub fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.add(path, tar::EntryType::Regular, 0o644, bytes.as_ref())
    }

    pub fn program(self, path: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.add(path, tar::EntryType::Regular, mode, bytes.as_ref())
    }

    pub fn directory(self, path: &str) -> Self {
        self.add(path, tar::EntryType::Directory, 0o755, b"")
    }

    pub fn null_device(self, path: &str) -> Self {
        self.add(path, tar::EntryType::Char, 0o666, b"")
    }

    pub fn whiteout(self, directory: &str, name: &str) -> Self {
        self.file(&format!("{directory}.wh.{name}"), b"")
    }

    pub fn opaque(self, directory: &str) -> Self {
        self.file(&format!("{directory}/.wh..wh..opq"), b"")
    }

    pub fn tar(mut self) -> Vec<u8> {
        self.0.take().unwrap().into_inner().unwrap()
    }
}

/// For a test that this host cannot run. With `REQUIRE_ALL` that is a failure.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "{test} cannot run here: {reason}");
    eprintln!("SKIP {test}: {reason}");
}
