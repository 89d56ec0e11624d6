//! Exporting: an image leaves the store as an OCI layout or an archive.
//!
//! Blobs that the store keeps go out as they are. Every other layer's archive is written again from what is stored,
//! proven by its DiffID as it passes, and compressed; then the manifest is a new one. The configuration, and with it what
//! the image is, never changes.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use layerstone_oci::compress::Encoder;
use layerstone_oci::{
    ArchiveFormat, ArchiveImage, ChainId, Compression, Descriptor, DiffId, Digest, Layout, Manifest,
    MediaKind, MediaType, Sha256Hasher, VerifyingReader, durable, write_archive,
};

use crate::commit::oci_layer;
use crate::error::{Error, IoContext, Result};
use crate::image::StoredImage;
use crate::root::{SharedLock, Staging, Store, sync_directory};
use crate::verify::chain_of;

/// Bytes compressed at once.
const CHUNK: usize = 512 << 10;

/// Where an image goes.
pub enum ExportDest<'a> {
    /// An OCI image layout: a directory that does not exist yet or is empty, and appears as a whole; or one that is a
    /// layout already, to which the image is added.
    OciLayout(PathBuf),
    /// An archive. Nothing is written before every layer has been proven and compressed.
    Archive(Box<dyn Write + 'a>, ArchiveFormat),
}

impl fmt::Debug for ExportDest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportDest::OciLayout(path) => f.debug_tuple("OciLayout").field(path).finish(),
            ExportDest::Archive(_, format) => f.debug_tuple("Archive").field(format).finish_non_exhaustive(),
        }
    }
}

/// How to export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// How layers are compressed that the store keeps no blob of.
    pub compression: Compression,
    /// The compression's level; its usual one by default.
    pub level: Option<i32>,
    /// How many threads compress; one for each processor by default.
    pub threads: Option<NonZeroUsize>,
    /// Compress layers anew, too, whose kept blob is compressed in another way.
    pub recompress: bool,
    /// Leave layers that may not be distributed as their descriptors are, also where their blobs are not kept: for a
    /// destination that does not want them.
    pub leave_nondistributable: bool,
    /// The name to give the image; its own by default.
    pub name: Option<String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        ExportOptions {
            compression: Compression::Gzip,
            level: None,
            threads: None,
            recompress: false,
            leave_nondistributable: false,
            name: None,
        }
    }
}

/// One layer of an exported image.
#[derive(Debug, Clone)]
pub struct ExportedLayer {
    /// Its blob.
    pub descriptor: Descriptor,
    /// True when the blob is the one that the store keeps.
    pub kept: bool,
}

/// What was exported.
#[derive(Debug, Clone)]
pub struct ExportOutcome {
    /// Digest of the manifest: the image's own when every layer is described as it was.
    pub manifest: Digest,
    /// The layers, base first.
    pub layers: Vec<ExportedLayer>,
}

impl ExportOutcome {
    /// How many layers were written from kept blobs.
    pub fn kept(&self) -> usize {
        self.layers.iter().filter(|layer| layer.kept).count()
    }

    /// How many layers were made from what is stored.
    pub fn recompressed(&self) -> usize {
        self.layers.len() - self.kept()
    }
}

impl Store {
    /// Exports an image. Exporting it again in the same way gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a layer is not what it was when it was imported; and when the store or the destination fails.
    /// A new layout is not there then.
    pub fn export(
        &self,
        image: &StoredImage,
        dest: ExportDest<'_>,
        options: &ExportOptions,
    ) -> Result<ExportOutcome> {
        let _shared = self.lock_shared()?;
        let export = Export { store: self, image, options };
        match dest {
            ExportDest::OciLayout(path) => export.to_layout(&path),
            ExportDest::Archive(output, format) => export.to_archive(output, format),
        }
    }
}

/// An image that is ready to leave: its documents, and its layers as blobs. What was made anew goes when this is dropped; what
/// the store keeps must not be collected meanwhile, which the lock in it sees to.
#[derive(Debug)]
pub struct Prepared {
    /// The manifest.
    pub manifest: Manifest,
    /// The layers, base first.
    pub layers: Vec<ExportedLayer>,
    config: Vec<u8>,
    store: Layout,
    staged: Layout,
    _staging: Staging,
    _shared: SharedLock,
}

impl Prepared {
    /// Opens the configuration or a layer.
    ///
    /// # Errors
    /// When it is not there: of a layer that was left where it is, for one.
    pub fn open(&self, digest: &Digest) -> Result<Box<dyn ReadSeek>> {
        if *digest == self.manifest.config().digest {
            return Ok(Box::new(io::Cursor::new(self.config.clone())));
        }
        let place = if self.staged.has_blob(digest)? { &self.staged } else { &self.store };
        Ok(Box::new(place.open_blob(digest)?))
    }
}

/// What can be read from any of its bytes on.
pub trait ReadSeek: Read + io::Seek + Send {}

impl<T: Read + io::Seek + Send> ReadSeek for T {}

impl Store {
    /// Makes an image ready to be sent somewhere: each layer is proven and compressed that the store keeps no blob of.
    ///
    /// # Errors
    /// As [`export`](Self::export).
    pub fn prepare(&self, image: &StoredImage, options: &ExportOptions) -> Result<Prepared> {
        let shared = self.lock_shared()?;
        let staging = self.stage()?;
        let staged = Layout::create(staging.path().join("layout"))?;
        let export = Export { store: self, image, options };
        let layers = export.layers(&staged)?;
        let manifest = export.manifest(&layers)?;
        let config = image.config.bytes().to_vec();
        let store = self.layout().clone();
        Ok(Prepared { manifest, layers, config, store, staged, _staging: staging, _shared: shared })
    }
}

struct Export<'a> {
    store: &'a Store,
    image: &'a StoredImage,
    options: &'a ExportOptions,
}

impl Export<'_> {
    fn to_layout(&self, path: &Path) -> Result<ExportOutcome> {
        if path.join("oci-layout").try_exists().doing("look for", path)? {
            return self.fill(&Layout::open(path)?);
        }
        match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => return Err(Error::NotEmpty(path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing("list", path),
        }
        // Beside its place, so that one rename puts it there.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let staged = tempfile::Builder::new()
            .prefix(".layerstone-export-")
            .tempdir_in(parent)
            .doing("create a directory in", parent)?;
        let layout = staged.path().join("layout");
        let outcome = self.fill(&Layout::create(&layout)?)?;
        if cfg!(windows) && path.is_dir() {
            // There a rename replaces no directory, not even the empty one that this is.
            fs::remove_dir(path).doing("replace", path)?;
        }
        durable::rename(&layout, path).doing("move into place", path)?;
        sync_directory(parent)?;
        Ok(outcome)
    }

    /// Puts the image into a layout: blobs, manifest, and the name last.
    fn fill(&self, layout: &Layout) -> Result<ExportOutcome> {
        let layers = self.layers(layout)?;
        for layer in layers.iter().filter(|layer| layer.kept) {
            self.copy_kept(&layer.descriptor, layout)?;
        }
        layout.put_blob_bytes(self.image.config.bytes())?;
        let manifest = self.manifest(&layers)?;
        layout.put_blob_bytes(manifest.bytes())?;
        let descriptor = manifest.descriptor().with_platform(self.image.config.platform());
        match self.name() {
            Some(name) => layout.set_image(name, &descriptor)?,
            None => layout.update_index(|index| {
                if !index.manifests.contains(&descriptor) {
                    index.manifests.push(descriptor);
                }
                Ok::<_, Error>(())
            })?,
        }
        Ok(ExportOutcome { manifest: manifest.digest(), layers })
    }

    fn to_archive(&self, output: Box<dyn Write + '_>, format: ArchiveFormat) -> Result<ExportOutcome> {
        let staging = self.store.stage()?;
        let staged = Layout::create(staging.path().join("layout"))?;
        let layers = self.layers(&staged)?;
        let manifest = self.manifest(&layers)?;
        let config = self.image.manifest.config();
        let image = ArchiveImage {
            manifest: manifest.clone(),
            platform: Some(self.image.config.platform()),
            names: self.name().map(str::to_owned).into_iter().collect(),
        };
        write_archive(output, format, &[image], |descriptor| {
            if descriptor.digest == config.digest {
                return Ok(Box::new(self.image.config.bytes()) as Box<dyn Read + '_>);
            }
            let place = if staged.has_blob(&descriptor.digest)? { &staged } else { self.store.layout() };
            Ok(Box::new(place.open_blob(&descriptor.digest)?))
        })?;
        Ok(ExportOutcome { manifest: manifest.digest(), layers })
    }

    /// The name for the image; `None` for one that only has a digest.
    fn name(&self) -> Option<&str> {
        match &self.options.name {
            Some(name) => Some(name),
            None if Digest::parse(&self.image.name).is_ok() => None,
            None => Some(&self.image.name),
        }
    }

    /// The layers as they will be; those that are made anew are in `layout` then.
    fn layers(&self, layout: &Layout) -> Result<Vec<ExportedLayer>> {
        let mut made: HashMap<DiffId, Descriptor> = HashMap::new();
        let mut layers = Vec::new();
        let chain_ids = self.image.chain_ids();
        let parts = self.image.manifest.layers().iter().zip(self.image.config.diff_ids()).zip(&chain_ids);
        for ((descriptor, diff_id), chain) in parts {
            let left = self.options.leave_nondistributable
                && matches!(descriptor.kind(), MediaKind::Layer { nondistributable: true, .. });
            if left || self.is_kept(descriptor)? {
                layers.push(ExportedLayer { descriptor: descriptor.clone(), kept: true });
                continue;
            }
            let new = match made.get(diff_id) {
                Some(new) => new.clone(),
                None => self.make(chain, diff_id, layout)?,
            };
            made.insert(*diff_id, new.clone());
            let same = new.digest == descriptor.digest && new.size == descriptor.size;
            let descriptor = if same { descriptor.clone() } else { new };
            layers.push(ExportedLayer { descriptor, kept: false });
        }
        if layers.len() != self.image.manifest.layers().len() {
            let place = format!("the configuration of `{}`", self.image.name);
            return Err(Error::LayerCount { place });
        }
        Ok(layers)
    }

    fn is_kept(&self, descriptor: &Descriptor) -> Result<bool> {
        let other_compression = matches!(descriptor.kind(),
            MediaKind::Layer { compression, .. } if compression != self.options.compression);
        let wanted = !(self.options.recompress && other_compression);
        Ok(wanted && self.store.layout().has_blob(&descriptor.digest)?)
    }

    /// Writes a layer's archive again, compressed, as a blob of `layout`.
    fn make(&self, chain: &ChainId, diff_id: &DiffId, layout: &Layout) -> Result<Descriptor> {
        let ExportOptions { compression, level, threads, .. } = *self.options;
        let damaged = |what| Error::Damaged { chain: *chain, what };
        let mut archive = self.store.layer(chain)?.archive_reader();
        let doing = "compress a layer into";
        let blob = layout.blob_writer()?;
        let mut encoder = Encoder::new(compression, level, threads, blob).doing(doing, layout.root())?;
        let mut hasher = Sha256Hasher::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match archive.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    encoder.write_all(&buffer[..n]).doing(doing, layout.root())?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(match error.downcast::<Error>() {
                        Ok(error @ Error::Damaged { .. }) => error,
                        Ok(error) => damaged(chain_of(&error)),
                        Err(error) => damaged(chain_of(&error)),
                    });
                }
            }
        }
        let actual = DiffId(hasher.finish());
        if actual != *diff_id {
            return Err(damaged(format!("the archive that comes out is {actual}, not {diff_id}")));
        }
        let (digest, size) = encoder.finish().doing(doing, layout.root())?.commit()?;
        // Layers that may not be distributed are known by where they lie, and this blob lies nowhere else.
        Ok(Descriptor::new(MediaType::oci_layer(compression, false), digest, size))
    }

    fn copy_kept(&self, descriptor: &Descriptor, layout: &Layout) -> Result<()> {
        if layout.has_blob(&descriptor.digest)? {
            return Ok(());
        }
        let mut reader: VerifyingReader<_> = self.store.layout().blob_reader(descriptor)?;
        let mut writer = layout.blob_writer()?;
        io::copy(&mut reader, &mut writer).doing("copy a blob into", layout.root())?;
        Ok(writer.commit_as(&descriptor.digest, Some(descriptor.size))?)
    }

    fn manifest(&self, layers: &[ExportedLayer]) -> Result<Manifest> {
        let manifest = &self.image.manifest;
        if layers.iter().map(|layer| &layer.descriptor).eq(manifest.layers()) {
            return Ok(manifest.clone());
        }
        let layers = layers.iter().map(|layer| oci_layer(&layer.descriptor)).collect();
        Ok(Manifest::build(self.image.config.descriptor(), layers, manifest.annotations().clone())?)
    }
}
