//! What the behaviour tests share: where samples are, how a test is skipped, and small images made by hand.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerstone_oci::{Descriptor, HistoryEntry, ImageConfig, Layout, Manifest, MediaType, Platform};

/// Says that a test was not run, or fails where every test has to.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|v| v != "1"), "{test} has to run, but {reason}");
    eprintln!("SKIP {test}: {reason}");
}

/// A sample, or `None` after having said so.
pub(crate) fn sample(test: &str, name: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("LAYERSTONE_TEST_DATA").map_or(default, PathBuf::from).join(name);
    if !path.exists() {
        skip(test, &format!("there is no {}", path.display()));
        return None;
    }
    Some(path)
}

/// A program of the system, or `None` after having said so.
pub(crate) fn tool(test: &str, name: &str) -> Option<Command> {
    if Command::new(name).arg("--version").output().is_err() {
        skip(test, &format!("{name} is not installed"));
        return None;
    }
    Some(Command::new(name))
}

/// Runs a program, which must succeed, and gives its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?} failed\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// `skopeo` on a policy that needs no file.
pub(crate) fn skopeo(test: &str) -> Option<Command> {
    let mut command = tool(test, "skopeo")?;
    command.arg("--insecure-policy");
    Some(command)
}

/// A tar of these files; a link is written as `("name", Content::Symlink("target"))`.
pub(crate) fn tar_of(entries: &[(&str, Content<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let data: &[u8] = match content {
            Content::File(data) => data,
            Content::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name_literal(target).unwrap();
                b""
            }
            Content::HardLink(target) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_link_name_literal(target).unwrap();
                b""
            }
        };
        header.set_size(data.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// What a tar entry is.
pub(crate) enum Content<'a> {
    File(&'a [u8]),
    Symlink(&'a str),
    HardLink(&'a str),
}

/// A layer with one file.
pub(crate) fn layer_tar(name: &str, data: &[u8]) -> Vec<u8> {
    tar_of(&[(name, Content::File(data))])
}

/// gzip, by another encoder than the crate's own.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// An image with these layers, gzip-compressed, and its blobs.
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
    pub(crate) platform: Platform,
    pub(crate) blobs: BTreeMap<layerstone_oci::Digest, Vec<u8>>,
}

pub(crate) fn image(platform: &str, layers: &[Vec<u8>]) -> Image {
    let platform = Platform::parse(platform).unwrap();
    let mut config = ImageConfig::new(&platform);
    let mut descriptors = Vec::new();
    let mut blobs = BTreeMap::new();
    for tar in layers {
        let entry = HistoryEntry { created_by: Some("test".into()), ..HistoryEntry::default() };
        config = config.append_layer(&layerstone_oci::Digest::of(tar).into(), entry).unwrap();
        let blob = gzip(tar);
        let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, &blob);
        blobs.insert(descriptor.digest, blob);
        descriptors.push(descriptor);
    }
    blobs.insert(config.digest(), config.bytes().to_vec());
    let manifest = Manifest::build(config.descriptor(), descriptors, BTreeMap::new()).unwrap();
    blobs.insert(manifest.digest(), manifest.bytes().to_vec());
    Image { manifest, config, platform, blobs }
}

impl Image {
    /// Stores all of its blobs.
    pub(crate) fn store(&self, layout: &Layout) {
        for blob in self.blobs.values() {
            layout.put_blob_bytes(blob).unwrap();
        }
    }
}
