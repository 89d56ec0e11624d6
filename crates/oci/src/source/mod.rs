//! Images from outside: a layout directory, an OCI archive, a docker archive, compressed or not, from a file or a pipe.

mod docker;
mod oci;
mod remote;
mod section;
mod spool;
mod tarfile;

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use crate::name::full_name;
use crate::{
    Compression, Descriptor, DiffId, Digest, Error, ImageConfig, Index, Layout, Manifest, Platform, Result,
    VerifyingReader, limits, sniff_compression,
};
use docker::Item;
use tarfile::{Span, TarFile};

pub(crate) use oci::blob_name;

/// How sources are opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Where a pipe or an inflated archive is kept while it is read. The file there has no name, and is gone with the
    /// source.
    pub spool_dir: PathBuf,
    /// Most bytes that are kept there: an archive that inflates to more is refused.
    pub spool_limit: u64,
}

impl SourceOptions {
    /// Spooling to `spool_dir`, as much as fits there.
    pub fn new(spool_dir: impl Into<PathBuf>) -> Self {
        Self { spool_dir: spool_dir.into(), spool_limit: u64::MAX }
    }
}

/// Opens the images at `path`: what they are in is told by content. Spools to `spool_dir`, if need be.
pub fn open_source(path: &Path, spool_dir: &Path) -> Result<ImageSource> {
    ImageSource::open(path, &SourceOptions::new(spool_dir))
}

/// Images in any of the forms that they travel in. Layers can be read by several threads at once.
pub struct ImageSource {
    origin: Origin,
    images: Vec<SourceImage>,
}

enum Origin {
    Layout(Layout),
    OciArchive(TarFile),
    DockerArchive(TarFile, Vec<Item>),
}

/// What images are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceFormat {
    /// A directory that is an OCI image layout.
    OciLayout,
    /// A tar of an OCI image layout.
    OciArchive,
    /// What `docker save` writes.
    DockerArchive,
}

/// An image of a source: its names, and its variants for different platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    /// Its names, the one that a user would give first. Unnamed images have none.
    pub names: Vec<String>,
    /// The entry of `index.json`; for docker archives the configuration's descriptor.
    pub descriptor: Descriptor,
    /// Its variants. Attestations and other things that are not images are left out.
    pub candidates: Vec<Candidate>,
}

/// One variant of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The manifest; for docker archives, which have none, the configuration.
    pub descriptor: Descriptor,
    /// Its platform, from the index or else from the configuration; `None` if neither could be read.
    pub platform: Option<Platform>,
    /// Whether its manifest is in this source: an index often lists platforms that were not saved with it.
    pub present: bool,
}

/// An image for one platform, ready to be imported.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The image's names.
    pub names: Vec<String>,
    /// Its platform: what the index states, and what it leaves out from the configuration.
    pub platform: Platform,
    /// Its manifest; for docker archives an OCI manifest made for it, the same each time.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: ImageConfig,
    /// The configuration's descriptor.
    pub config_descriptor: Descriptor,
    /// Its layers, lowest first: as many as the configuration has DiffIDs.
    pub layers: Vec<SourceLayer>,
}

/// A layer of a resolved image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of its uncompressed tar, as the configuration states it.
    pub diff_id: DiffId,
    /// How it really is compressed: told by its first bytes, whatever the media type says. Of a layer that is not here,
    /// what the media type says.
    pub compression: Compression,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Blob,
    Entry(Span),
    Absent,
}

impl SourceLayer {
    /// Whether its content is in the source. Base layers of Windows often are not: see [`Descriptor::urls`].
    pub fn is_present(&self) -> bool {
        self.content != Content::Absent
    }
}

impl ImageSource {
    /// Opens the images at `path`: a directory that is a layout, or a file that is an archive of either kind. A compressed
    /// file, or one that cannot be read at random, is first spooled.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::file("open", path))?;
        if metadata.is_dir() {
            let layout = Layout::open(path)?;
            let images = oci::images(&layout, &layout.index()?)?;
            return Ok(Self { origin: Origin::Layout(layout), images });
        }
        let place = path.display().to_string();
        let mut file = File::open(path).map_err(Error::file("open", path))?;
        if metadata.is_file() {
            let compression = sniff(&mut file, &place)?;
            file.rewind().map_err(Error::file("read", path))?;
            if compression == Compression::None {
                return Self::from_archive(file, place);
            }
        }
        Self::from_reader(&mut file, &place, options)
    }

    /// Reads an archive, compressed or not, from a stream such as standard input; `what` is what it is called in errors.
    /// The whole stream is spooled first.
    pub fn from_reader(reader: &mut (dyn Read + Send), what: &str, options: &SourceOptions) -> Result<Self> {
        let file = spool::spool(reader, what, &options.spool_dir, options.spool_limit)?;
        Self::from_archive(file, what.to_owned())
    }

    fn from_archive(file: File, place: String) -> Result<Self> {
        let tar = TarFile::index(file, place)?;
        let is_docker = tar.contains(docker::MANIFEST);
        if tar.contains("oci-layout") && tar.contains("index.json") {
            let content = tar.read_small("oci-layout", 4096)?;
            let not_a_layout = |reason| Error::NotALayout { path: tar.place().into(), reason };
            crate::layout::check_layout_file(&content).map_err(not_a_layout)?;
            let what = format!("index.json of {}", tar.place());
            let index = Index::parse(&tar.read_small("index.json", limits::MAX_INDEX_SIZE)?, &what)?;
            let images = oci::images(&tar, &index)?;
            // An archive can be both. The index says more, unless it is a stub without images, as some writers leave it.
            if !is_docker || images.iter().any(SourceImage::is_present) {
                return Ok(Self { origin: Origin::OciArchive(tar), images });
            }
        }
        if !is_docker {
            return Err(Error::NotAnImage { place: tar.place().to_owned() });
        }
        let items = docker::read_items(&tar)?;
        let images = docker::images(&tar, &items)?;
        Ok(Self { origin: Origin::DockerArchive(tar, items), images })
    }

    /// What the images are in.
    pub const fn format(&self) -> SourceFormat {
        match &self.origin {
            Origin::Layout(_) => SourceFormat::OciLayout,
            Origin::OciArchive(_) => SourceFormat::OciArchive,
            Origin::DockerArchive(..) => SourceFormat::DockerArchive,
        }
    }

    /// What the source is called in errors.
    pub fn place(&self) -> String {
        match &self.origin {
            Origin::Layout(layout) => layout.root().display().to_string(),
            Origin::OciArchive(tar) | Origin::DockerArchive(tar, _) => tar.place().to_owned(),
        }
    }

    /// The images, in the order of the source.
    pub fn images(&self) -> &[SourceImage] {
        &self.images
    }

    /// The image of that name, for that platform.
    ///
    /// A name is matched as it is written, or else as Docker completes it (`alpine` is `docker.io/library/alpine:latest`),
    /// or else as a digest. Without a name there must be one image only. Without a platform it is
    /// [`Platform::host_default`]; an image that has a single variant is then taken whatever it is for.
    pub fn resolve(&self, name: Option<&str>, platform: Option<&Platform>) -> Result<ResolvedImage> {
        let at = self.select(name)?;
        let candidate = self.choose(&self.images[at], name, platform)?;
        self.resolve_candidate(at, candidate)
    }

    /// The image of that name, for each platform that is in this source.
    pub fn resolve_all_platforms(&self, name: Option<&str>) -> Result<Vec<ResolvedImage>> {
        let at = self.select(name)?;
        let image = &self.images[at];
        if !image.is_present() {
            // Says which manifest is missing.
            return Ok(vec![self.resolve(name, None)?]);
        }
        let present = image.candidates.iter().filter(|candidate| candidate.present);
        present.map(|candidate| self.resolve_candidate(at, candidate)).collect()
    }

    /// A layer's bytes as they are stored, compressed or not. Reading fails at the end unless digest and size are right,
    /// so a caller need not hash the blob again.
    pub fn open_layer(&self, layer: &SourceLayer) -> Result<Box<dyn Read + Send>> {
        let (digest, size) = (layer.descriptor.digest, layer.descriptor.size);
        Ok(Box::new(VerifyingReader::new(self.open_layer_unverified(layer)?, digest, Some(size))?))
    }

    /// The same without verification, for callers that compute the blob's digest themselves.
    pub fn open_layer_unverified(&self, layer: &SourceLayer) -> Result<Box<dyn Read + Send>> {
        let digest = layer.descriptor.digest;
        match (&layer.content, &self.origin) {
            (Content::Absent, _) if !layer.descriptor.urls.is_empty() => {
                Err(Error::ForeignLayer { digest, place: self.place(), urls: layer.descriptor.urls.clone() })
            }
            (Content::Absent, _) => Err(Error::BlobMissing { digest, place: self.place() }),
            (Content::Entry(span), Origin::OciArchive(tar) | Origin::DockerArchive(tar, _)) => {
                Ok(Box::new(tar.open(*span)))
            }
            (_, Origin::Layout(layout)) => Ok(Box::new(layout.open_blob(&digest)?)),
            (Content::Blob, Origin::OciArchive(tar) | Origin::DockerArchive(tar, _)) => {
                oci::Blobs::open(tar, &digest)
            }
        }
    }

    fn select(&self, name: Option<&str>) -> Result<usize> {
        let available = || self.images.iter().map(SourceImage::label).collect();
        let Some(name) = name else {
            return match self.images.len() {
                0 => Err(Error::NoImages { place: self.place() }),
                1 => Ok(0),
                _ => Err(Error::SeveralImages { place: self.place(), available: available() }),
            };
        };
        let position = |test: &dyn Fn(&SourceImage) -> bool| self.images.iter().position(test);
        let full = full_name(name);
        position(&|image| image.names.iter().any(|n| n == name))
            .or_else(|| position(&|image| image.names.iter().any(|n| full_name(n) == full)))
            .or_else(|| {
                let digest = Digest::parse(name).ok()?;
                position(&|image| image.has_digest(&digest))
            })
            .ok_or_else(|| Error::ImageNotFound {
                place: self.place(),
                name: name.to_owned(),
                available: available(),
            })
    }

    fn choose<'a>(
        &self,
        image: &'a SourceImage,
        name: Option<&str>,
        platform: Option<&Platform>,
    ) -> Result<&'a Candidate> {
        let mut present: Vec<&Candidate> =
            image.candidates.iter().filter(|candidate| candidate.present).collect();
        // A digest may name one variant of an image.
        let digest = name.and_then(|name| Digest::parse(name).ok());
        if let Some(digest) =
            digest.filter(|digest| image.candidates.iter().any(|c| c.descriptor.digest == *digest))
        {
            present.retain(|candidate| candidate.descriptor.digest == digest);
        }
        let place = || format!("{} of {}", image.label(), self.place());
        if present.is_empty() {
            let digest =
                image.candidates.first().map_or(image.descriptor.digest, |missing| missing.descriptor.digest);
            return Err(Error::BlobMissing { digest, place: place() });
        }
        if let [only] = present[..] {
            // Without a platform of its own the manifest or configuration is unreadable, which resolving reports.
            if platform.is_none() || only.platform.is_none() {
                return Ok(only);
            }
        }
        let wanted = platform.cloned().unwrap_or_else(Platform::host_default);
        let known: Vec<(&Candidate, &Platform)> =
            present.iter().filter_map(|candidate| Some((*candidate, candidate.platform.as_ref()?))).collect();
        match wanted.choose(known.iter().map(|(_, platform)| *platform)) {
            Some(at) => Ok(known[at].0),
            None => {
                let available = image.candidates.iter().map(Candidate::label).collect();
                Err(Error::NoMatchingPlatform { place: place(), wanted: wanted.to_string(), available })
            }
        }
    }

    fn resolve_candidate(&self, at: usize, candidate: &Candidate) -> Result<ResolvedImage> {
        let names = &self.images[at].names;
        match &self.origin {
            Origin::Layout(layout) => oci::resolve(layout, names, candidate),
            Origin::OciArchive(tar) => oci::resolve(tar, names, candidate),
            Origin::DockerArchive(tar, items) => docker::resolve(tar, &items[at]),
        }
    }
}

impl SourceImage {
    /// Whether any variant of it is in the source.
    pub fn is_present(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.present)
    }

    /// Its first name, or else its digest.
    pub fn label(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.descriptor.digest.to_string())
    }

    fn has_digest(&self, digest: &Digest) -> bool {
        self.descriptor.digest == *digest || self.candidates.iter().any(|c| c.descriptor.digest == *digest)
    }
}

impl Candidate {
    fn label(&self) -> String {
        let platform =
            self.platform.as_ref().map_or_else(|| "of unknown platform".to_owned(), Platform::to_string);
        if self.present { platform } else { format!("{platform} (not included)") }
    }
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ImageSource");
        debug.field("format", &self.format()).field("place", &self.place()).field("images", &self.images);
        debug.finish_non_exhaustive()
    }
}

/// How a stream is compressed, by its first bytes, which are consumed.
fn sniff(stream: &mut dyn Read, what: &str) -> Result<Compression> {
    let mut start = Vec::with_capacity(spool::MAGIC);
    stream.take(spool::MAGIC as u64).read_to_end(&mut start).map_err(Error::stream("read", what))?;
    Ok(sniff_compression(&start))
}
