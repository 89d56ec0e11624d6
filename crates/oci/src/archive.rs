//! Writing image archives: OCI archives, and docker archives that are OCI archives as well.
//!
//! ```text
//! blobs/
//! blobs/sha256/
//! blobs/sha256/<hex>      every blob, once, in the order in which they are added
//! index.json              the images and their names
//! manifest.json           docker archives only: what `docker load` reads
//! oci-layout
//! ```
//!
//! The bytes depend on nothing but what is added, in which order, and under which names: all times are zero, all owners
//! root, all modes the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use serde::Serialize;
use tar::{EntryType, Header};

use crate::layout::{LAYOUT_FILE, check_name};
use crate::name::{full_name, tagged_name};
use crate::source::blob_name;
use crate::{
    CONTAINERD_NAME_ANNOTATION, Descriptor, Digest, Error, Index, Manifest, MediaKind, Platform,
    REF_NAME_ANNOTATION, Result, VerifyingReader,
};

/// The kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveFormat {
    /// A tar of an OCI image layout.
    Oci,
    /// The same with a `manifest.json`, as `docker save` has written it since Docker 25: `docker load`, podman and skopeo
    /// read it.
    Docker,
}

/// An image to be listed in an archive.
#[derive(Debug, Clone)]
pub struct ArchiveImage {
    /// Its manifest, whose blob is written by [`ArchiveWriter::finish`] unless it was added.
    pub manifest: Manifest,
    /// Its platform, for the index.
    pub platform: Option<Platform>,
    /// Its names; none is allowed.
    pub names: Vec<String>,
}

/// Writes an archive as a stream: add each blob, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct ArchiveWriter<W: Write> {
    output: W,
    format: ArchiveFormat,
    written: BTreeSet<Digest>,
}

/// One image of `manifest.json`
/// ([docker image spec v1.2](https://github.com/moby/docker-image-spec/blob/main/spec.md)).
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerItem {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    pub fn new(output: W, format: ArchiveFormat) -> Result<Self> {
        let mut writer = Self { output, format, written: BTreeSet::new() };
        writer.header("blobs/", EntryType::Directory, 0o755, 0)?;
        writer.header("blobs/sha256/", EntryType::Directory, 0o755, 0)?;
        Ok(writer)
    }

    /// Whether the blob was added already.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.written.contains(digest)
    }

    /// Adds a blob of known digest and size; fails unless `content` is that. A blob that was added already is not read.
    /// After a failure the archive is of no use.
    pub fn add_blob(&mut self, digest: &Digest, size: u64, content: impl Read) -> Result<()> {
        if self.has_blob(digest) {
            return Ok(());
        }
        let mut content = VerifyingReader::new(content, *digest, Some(size))?;
        self.header(&blob_name(digest), EntryType::Regular, 0o444, size)?;
        let what = || format!("blob {digest} into the archive");
        io::copy(&mut content, &mut self.output).map_err(Error::stream("write", what()))?;
        self.pad(size).map_err(Error::stream("write", what()))?;
        self.written.insert(*digest);
        Ok(())
    }

    /// Adds a blob that is in memory.
    pub fn add_blob_bytes(&mut self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        self.add_blob(&digest, content.len() as u64, content)?;
        Ok(digest)
    }

    /// Lists the images, ends the archive and gives the output back, flushed.
    ///
    /// Configurations and layers must have been added; only layers that may not be distributed, and have URLs, can be left
    /// out, and not of docker archives. Images that share a name are listed each by itself, for their platforms.
    pub fn finish(mut self, images: &[ArchiveImage]) -> Result<W> {
        let mut index = Index::new();
        let mut items = Vec::new();
        for image in images {
            self.add_blob_bytes(image.manifest.bytes())?;
            self.check_blobs(image)?;
            index.manifests.append(&mut self.index_entries(image)?);
            items.push(docker_item(image));
        }
        self.file("index.json", &index.to_bytes()?)?;
        if self.format == ArchiveFormat::Docker {
            self.file(
                "manifest.json",
                &serde_json::to_vec(&items).map_err(Error::json("new manifest.json"))?,
            )?;
        }
        self.file("oci-layout", LAYOUT_FILE.as_bytes())?;
        // Two blocks of zeros end a tar (POSIX.1-2017, pax).
        let end = self.output.write_all(&[0; 1024]).and_then(|()| self.output.flush());
        end.map_err(Error::stream("write", "the end of the archive"))?;
        Ok(self.output)
    }

    fn check_blobs(&self, image: &ArchiveImage) -> Result<()> {
        let may_be_left_out = |blob: &Descriptor| {
            self.format == ArchiveFormat::Oci
                && !blob.urls.is_empty()
                && matches!(blob.kind(), MediaKind::Layer { nondistributable: true, .. })
        };
        let mut blobs = std::iter::once(image.manifest.config()).chain(image.manifest.layers());
        match blobs.find(|blob| !self.has_blob(&blob.digest) && !may_be_left_out(blob)) {
            Some(missing) => {
                Err(Error::BlobNotAdded { image: Box::new(image.manifest.digest()), digest: missing.digest })
            }
            None => Ok(()),
        }
    }

    fn index_entries(&self, image: &ArchiveImage) -> Result<Vec<Descriptor>> {
        let mut entry = image.manifest.descriptor();
        entry.platform.clone_from(&image.platform);
        if image.names.is_empty() {
            return Ok(vec![entry]);
        }
        let named = |name: &String| {
            check_name(name)?;
            let mut entry = entry.clone();
            entry.annotations.insert(REF_NAME_ANNOTATION.to_owned(), name.clone());
            if self.format == ArchiveFormat::Docker {
                // The name under which Docker's containerd store, which reads the index, keeps the image.
                entry.annotations.insert(CONTAINERD_NAME_ANNOTATION.to_owned(), full_name(name));
            }
            Ok(entry)
        };
        image.names.iter().map(named).collect()
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let size = content.len() as u64;
        self.header(name, EntryType::Regular, 0o444, size)?;
        let written = self.output.write_all(content).and_then(|()| self.pad(size));
        written.map_err(Error::stream("write", format!("{name} into the archive")))
    }

    fn header(&mut self, name: &str, kind: EntryType, mode: u32, size: u64) -> Result<()> {
        let what = || format!("{name} into the archive");
        let mut header = Header::new_gnu();
        header.set_path(name).map_err(Error::stream("write", what()))?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Above 8 GiB this is GNU's base-256 form, which every reader knows.
        header.set_size(size);
        header.set_cksum();
        self.output.write_all(header.as_bytes()).map_err(Error::stream("write", what()))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = usize::try_from(size.wrapping_neg() % 512).unwrap_or_default();
        self.output.write_all(&[0; 512][..padding])
    }
}

fn docker_item(image: &ArchiveImage) -> DockerItem {
    let tags: Vec<String> = image.names.iter().map(|name| tagged_name(name)).collect();
    DockerItem {
        config: blob_name(&image.manifest.config().digest),
        repo_tags: Some(tags).filter(|tags| !tags.is_empty()),
        layers: image.manifest.layers().iter().map(|layer| blob_name(&layer.digest)).collect(),
    }
}

/// Writes a whole archive: every blob of every image, in the order of their digests, each opened when its turn comes.
///
/// Layers that may not be distributed and that `open` says are missing ([`Error::ForeignLayer`], [`Error::BlobMissing`])
/// are left out of OCI archives. The same images always give the same bytes.
pub fn write_archive<W: Write, R: Read>(
    output: W,
    format: ArchiveFormat,
    images: &[ArchiveImage],
    mut open: impl FnMut(&Descriptor) -> Result<R>,
) -> Result<W> {
    let mut blobs: BTreeMap<Digest, Option<&Descriptor>> = BTreeMap::new();
    let mut manifests: BTreeMap<Digest, &Manifest> = BTreeMap::new();
    for image in images {
        let manifest = &image.manifest;
        manifests.insert(manifest.digest(), manifest);
        blobs.insert(manifest.digest(), None);
        let parts = std::iter::once(manifest.config()).chain(manifest.layers());
        blobs.extend(parts.map(|part| (part.digest, Some(part))));
    }
    let mut writer = ArchiveWriter::new(output, format)?;
    for (digest, descriptor) in blobs {
        match (descriptor, manifests.get(&digest)) {
            (_, Some(manifest)) => drop(writer.add_blob_bytes(manifest.bytes())?),
            (Some(descriptor), None) => match open(descriptor) {
                Ok(content) => writer.add_blob(&digest, descriptor.size, content)?,
                // Whether it may be missing is for `finish` to say.
                Err(Error::ForeignLayer { .. } | Error::BlobMissing { .. }) => {}
                Err(error) => return Err(error),
            },
            (None, None) => {}
        }
    }
    writer.finish(images)
}
