//! Images made for one test, in a store of their own; and programs and mounts of the host.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use layerstone_layer::tar::TarWriter;
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata, UnixTime, Xattr};
use layerstone_oci::compress::Encoder;
use layerstone_oci::{
    Compression, Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, Layout, Manifest, MediaType,
    Platform, open_source,
};
use layerstone_store::{CommitOptions, ImportOptions, Store, StoredImage};

/// A store in a directory that goes with it.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("store")).unwrap();
        World { dir, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An image of these layers, imported from gzip blobs.
    pub(crate) fn image(
        &self,
        name: &str,
        platform: &str,
        layers: &[Vec<u8>],
        keep_blobs: bool,
    ) -> StoredImage {
        let source = Layout::create(self.path(&format!("source-{name}"))).unwrap();
        let mut config = ImageConfig::new(&Platform::parse(platform).unwrap());
        let mut descriptors = Vec::new();
        for tar in layers {
            let mut encoder = Encoder::new(Compression::Gzip, Some(1), None, Vec::new()).unwrap();
            std::io::Write::write_all(&mut encoder, tar).unwrap();
            let blob = encoder.finish().unwrap();
            source.put_blob_bytes(&blob).unwrap();
            descriptors.push(Descriptor::of(MediaType::OCI_LAYER_GZIP, &blob));
            config = config.append_layer(&DiffId(Digest::of(tar)), HistoryEntry::default()).unwrap();
        }
        source.put_blob_bytes(config.bytes()).unwrap();
        let manifest = Manifest::build(config.descriptor(), descriptors, Default::default()).unwrap();
        source.put_blob_bytes(manifest.bytes()).unwrap();
        source.set_image(name, &manifest.descriptor()).unwrap();
        let source = open_source(source.root(), self.dir.path()).unwrap();
        let image = source.resolve(Some(name), None).unwrap();
        let options = ImportOptions { keep_blobs, ..ImportOptions::default() };
        self.store.import_image(&source, &image, name, &options, &|_| ()).unwrap();
        self.store.image(name, None).unwrap()
    }
}

/// A moment for everything that is made by hand.
pub(crate) const THEN: UnixTime = UnixTime::from_seconds(1_600_000_000);

pub(crate) fn committed_then() -> CommitOptions {
    CommitOptions { created: "2024-01-02T03:04:05Z".into(), ..CommitOptions::default() }
}

/// An entry and its bytes.
pub(crate) type Item = (Entry, Vec<u8>);

pub(crate) fn item(path: &str, kind: EntryKind, mode: u16) -> Item {
    let meta = Metadata { mode, mtime: THEN, ..Metadata::default() };
    (Entry { path: LayerPath::from(path), kind, meta }, Vec::new())
}

pub(crate) fn dir(path: &str) -> Item {
    item(path, EntryKind::Directory, 0o755)
}

pub(crate) fn file(path: &str, bytes: &str) -> Item {
    let (entry, _) = item(path, EntryKind::File { size: bytes.len() as u64, segments: None }, 0o644);
    (entry, bytes.as_bytes().to_vec())
}

pub(crate) fn link(path: &str, target: &str) -> Item {
    item(path, EntryKind::HardLink { target: LayerPath::from(target) }, 0o644)
}

pub(crate) fn symlink(path: &str, target: &str) -> Item {
    item(path, EntryKind::Symlink { target: target.as_bytes().to_vec() }, 0o777)
}

pub(crate) fn xattr((mut entry, bytes): Item, name: &str, value: &str) -> Item {
    entry.meta.xattrs.push(Xattr { name: name.into(), value: value.into() });
    entry.meta.xattrs.sort();
    (entry, bytes)
}

pub(crate) fn owned((mut entry, bytes): Item, uid: u32, gid: u32, mode: u16) -> Item {
    (entry.meta.uid, entry.meta.gid, entry.meta.mode) = (uid, gid, mode);
    (entry, bytes)
}

pub(crate) fn tar(items: &[Item]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (entry, bytes) in items {
        tar.entry(entry).unwrap();
        tar.data(bytes).unwrap();
    }
    tar.finish().unwrap()
}

/// Says that a test was not run, or fails where every test has to.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|v| v != "1"), "{test} has to run, but {reason}");
    eprintln!("SKIP {test}: {reason}");
}

/// Whether this is root, and all of these programs are installed; says so when not.
#[cfg(target_os = "linux")]
pub(crate) fn can(test: &str, root: bool, tools: &[&str]) -> bool {
    if root && !rustix::process::geteuid().is_root() {
        skip(test, "it needs root");
        return false;
    }
    for tool in tools {
        if Command::new(tool).arg("--version").output().is_err() {
            skip(test, &format!("{tool} is not installed"));
            return false;
        }
    }
    true
}

/// Runs a program, which must succeed, and gives what it prints.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?} failed\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs a script in a directory.
pub(crate) fn sh(directory: &Path, script: &str) {
    run(Command::new("bash").args(["-euc", script]).current_dir(directory));
}

/// The names in a tar, by GNU tar.
pub(crate) fn names(tar: &[u8]) -> Vec<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, tar).unwrap();
    let listing = run(Command::new("tar").args(["--quoting-style=escape", "-tf"]).arg(file.path()));
    listing.lines().map(str::to_owned).collect()
}

/// What umoci makes of an image of a layout. Its directory has to be gone before the layout's world.
pub(crate) fn umoci(layout: &Path, name: &str, bundle: &Path) -> PathBuf {
    let image = format!("{}:{name}", layout.display());
    run(Command::new("umoci").args(["unpack", "--image", &image]).arg(bundle));
    bundle.join("rootfs")
}

/// Mounts, undone when this is dropped, also when the test fails.
#[derive(Default)]
pub(crate) struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Mounts; false when the host cannot.
    pub(crate) fn mount(
        &mut self,
        kind: &str,
        source: &Path,
        options: &str,
        on: &Path,
    ) -> Result<(), String> {
        std::fs::create_dir_all(on).unwrap();
        let mut command = Command::new("mount");
        let output = command.args(["-t", kind, "-o", options]).arg(source).arg(on).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        self.0.push(on.to_path_buf());
        Ok(())
    }

    /// Mounts a scratch as overlayfs over the EROFS images of its chain.
    pub(crate) fn scratch(
        &mut self,
        world: &World,
        scratch: &layerstone_store::Scratch,
    ) -> Result<PathBuf, String> {
        let mut lowers = Vec::new();
        for (at, chain) in scratch.description().chain_ids.iter().enumerate().rev() {
            let on = world.path(&format!("lower-{}-{at}", scratch.name()));
            self.mount("erofs", &world.store.layer(chain).unwrap().image_path(), "ro", &on)?;
            lowers.push(on.display().to_string());
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={},index=off,metacopy=off,redirect_dir=off",
            lowers.join(":"),
            scratch.upper().display(),
            scratch.work().display(),
        );
        let on = world.path(&format!("merged-{}", scratch.name()));
        self.mount("overlay", Path::new("overlay"), &options, &on)?;
        Ok(on)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for on in self.0.drain(..).rev() {
            let _ = Command::new("umount").arg("-l").arg(on).output();
        }
    }
}
