//! Looking for damage. Nothing is changed here.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use layerstone_oci::{
    Algorithm, ChainId, Descriptor, Digest, Error as OciError, ImageConfig, Index, Layout, Manifest,
    MediaKind, VerifyingReader, limits,
};

use super::problem::computed_chain;
use super::{Document, FsckOptions, FsckProgress, FsckStep, LayerDamage, Problem};
use crate::error::{Error, IoContext, Result};
use crate::layer::{DESCRIPTION, Description, FORMAT, IMAGE, SPLIT, StoredLayer};
use crate::leftovers::is_temporary;
use crate::reach::{document_kind, image_name};
use crate::root::{DIRECTORIES, Store, read_dir_or_empty, read_json};
use crate::scratch::check_name;
use crate::verify::{chain_of, metadata_digest};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Depth {
    /// Whether everything is there and fits together.
    Structure,
    /// The digests of blobs and of metadata too.
    Digests,
    /// The content of layers too.
    Content,
}

impl Depth {
    pub(super) fn asked(options: FsckOptions) -> Self {
        if options.verify_content { Depth::Content } else { Depth::Digests }
    }
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    /// The sound images: name, manifest, layers.
    pub(super) images: Vec<Image>,
    pub(super) layers: usize,
    pub(super) blobs: usize,
    /// Documents that are known to be damaged.
    damaged: HashSet<Digest>,
}

/// An image whose documents are sound.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) manifest: Digest,
    pub(super) chain_ids: Vec<ChainId>,
}

/// Where in the index a document was met.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    image: &'a str,
    entry: Digest,
    depth: usize,
}

pub(super) fn scan(store: &Store, depth: Depth, progress: FsckProgress<'_>) -> Result<Found> {
    let mut scan = Scan { store, depth, progress, found: Found::default() };
    scan.frame();
    scan.images()?;
    scan.blobs()?;
    scan.layers()?;
    scan.missing_layers()?;
    scan.scratches()?;
    Ok(scan.found)
}

struct Scan<'a> {
    store: &'a Store,
    depth: Depth,
    progress: FsckProgress<'a>,
    found: Found,
}

impl Scan<'_> {
    fn problem(&mut self, problem: Problem) {
        self.found.problems.push(problem);
    }

    /// The files and directories that every store has.
    fn frame(&mut self) {
        let root = self.store.root();
        if let Err(error) = Layout::open(root) {
            let reason = match error {
                OciError::NotALayout { reason, .. } => reason,
                error => error.to_string(),
            };
            self.problem(Problem::LayoutFile { reason });
        }
        let blobs = root.join("blobs").join("sha256");
        for path in DIRECTORIES.iter().map(|name| root.join(name)).chain([blobs]) {
            if !path.is_dir() {
                self.problem(Problem::MissingDirectory { path });
            }
        }
    }

    fn images(&mut self) -> Result<()> {
        let index = match self.store.layout().index() {
            Ok(index) => index,
            Err(error) if refused(&error) => return Err(error.into()),
            Err(error) => {
                self.problem(Problem::Index { reason: error.to_string() });
                return Ok(());
            }
        };
        for entry in &index.manifests {
            let image = image_name(entry);
            let place = Place { image: &image, entry: entry.digest, depth: 0 };
            self.document(entry, place)?;
        }
        Ok(())
    }

    /// A manifest, or an index of manifests.
    fn document(&mut self, descriptor: &Descriptor, place: Place<'_>) -> Result<()> {
        let digest = descriptor.digest;
        let nested = place.depth > 0;
        // An index may list platforms that were never imported.
        if nested && !self.store.layout().has_blob(&digest)? {
            return Ok(());
        }
        let kind = match document_kind(self.store, descriptor) {
            Ok(kind) => kind,
            Err(error) => return self.broken(place, Document::Manifest, digest, digest, error),
        };
        let document = if kind == MediaKind::Index { Document::Index } else { Document::Manifest };
        let result = match kind {
            MediaKind::Index => self.index(descriptor, place),
            MediaKind::Manifest => self.manifest(descriptor, place),
            _ => return Ok(()),
        };
        match result {
            Err(Error::Oci(error)) => self.broken(place, document, digest, digest, error),
            result => result,
        }
    }

    fn index(&mut self, descriptor: &Descriptor, place: Place<'_>) -> Result<()> {
        let bytes = self.store.layout().read_small_blob(descriptor, limits::MAX_INDEX_SIZE)?;
        let index = Index::parse(&bytes, "it")?;
        if place.depth >= limits::MAX_INDEX_DEPTH {
            let reason = "indexes are nested more than four deep";
            return Err(OciError::Malformed { what: "it".into(), reason }.into());
        }
        for entry in &index.manifests {
            self.document(entry, Place { depth: place.depth + 1, ..place })?;
        }
        Ok(())
    }

    fn manifest(&mut self, descriptor: &Descriptor, place: Place<'_>) -> Result<()> {
        let bytes = self.store.layout().read_small_blob(descriptor, limits::MAX_MANIFEST_SIZE)?;
        let manifest = Manifest::parse(bytes)?;
        if !manifest.is_image() {
            return Ok(());
        }
        let config = self
            .store
            .layout()
            .read_small_blob(manifest.config(), limits::MAX_CONFIG_SIZE)
            .and_then(ImageConfig::parse);
        match config {
            Ok(config) => self.found.images.push(Image {
                name: place.image.to_owned(),
                manifest: descriptor.digest,
                chain_ids: config.chain_ids(),
            }),
            Err(error) => {
                self.broken(place, Document::Config, manifest.config().digest, descriptor.digest, error)?;
            }
        }
        Ok(())
    }

    fn broken(
        &mut self,
        place: Place<'_>,
        document: Document,
        digest: Digest,
        manifest: Digest,
        error: OciError,
    ) -> Result<()> {
        if refused(&error) {
            return Err(error.into());
        }
        let (image, entry) = (place.image.to_owned(), place.entry);
        let problem = match error {
            OciError::BlobMissing { .. } => {
                Problem::MissingDocument { image, entry, manifest, document, digest }
            }
            OciError::UnsupportedAlgorithm { digest } => Problem::Unverifiable { image, digest },
            error => {
                self.found.damaged.insert(digest);
                let reason = error.to_string();
                Problem::DamagedDocument { image, entry, manifest, document, digest, reason }
            }
        };
        self.problem(problem);
        Ok(())
    }

    fn blobs(&mut self) -> Result<()> {
        let blobs = self.store.root().join("blobs");
        for entry in sorted(&blobs)? {
            let name = entry.file_name();
            let algorithm = [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|a| name == a.name());
            let Some(algorithm) = algorithm else {
                self.problem(Problem::Foreign { path: entry.path() });
                continue;
            };
            for entry in sorted(&entry.path())? {
                self.blob(algorithm, &entry)?;
            }
        }
        Ok(())
    }

    fn blob(&mut self, algorithm: Algorithm, entry: &fs::DirEntry) -> Result<()> {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let is_file = entry.file_type().doing("look at", &path)?.is_file();
        if is_file && is_temporary(name) {
            return Ok(());
        }
        let digest = match Digest::parse(&format!("{}:{name}", algorithm.name())) {
            Ok(digest) if is_file => digest,
            _ => {
                self.problem(Problem::Foreign { path });
                return Ok(());
            }
        };
        self.found.blobs += 1;
        if self.depth < Depth::Digests
            || algorithm != Algorithm::Sha256
            || self.found.damaged.contains(&digest)
        {
            return Ok(());
        }
        let file = self.store.layout().open_blob(&digest)?;
        let size = file.metadata().doing("look at", &path)?.len();
        (self.progress)(FsckStep::Blob { digest: &digest, size });
        let result = VerifyingReader::new(file, digest, None)?.verify_to_end();
        if let Err(error) = result {
            self.problem(Problem::DamagedBlob { digest, reason: error.to_string() });
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<()> {
        let entries = sorted(&self.store.layers_root())?;
        let of = entries.len();
        for (done, entry) in entries.into_iter().enumerate() {
            let path = entry.path();
            let name = entry.file_name();
            let is_dir = entry.file_type().doing("look at", &path)?.is_dir();
            match Digest::parse(&format!("sha256:{}", name.to_str().unwrap_or_default())) {
                Ok(digest) if is_dir => {
                    let chain = ChainId(digest);
                    (self.progress)(FsckStep::Layer { chain: &chain, done, of });
                    self.found.layers += 1;
                    self.layer(chain, &path)?;
                }
                _ => self.problem(Problem::Foreign { path }),
            }
        }
        Ok(())
    }

    fn layer(&mut self, chain: ChainId, path: &Path) -> Result<()> {
        let description: Description = match read_json(&path.join(DESCRIPTION)) {
            Ok(description) => description,
            Err(error) => {
                let damage = classify(error, DESCRIPTION, |reason| LayerDamage::Description { reason })?;
                self.problem(Problem::DamagedLayer { chain, damage: vec![damage] });
                return Ok(());
            }
        };
        if description.format > FORMAT {
            self.problem(Problem::NewerLayer { chain, version: description.format });
            return Ok(());
        }
        let mut damage = Vec::new();
        let computed = computed_chain(description.parent.as_ref(), &description.diff_id);
        if description.chain_id != computed {
            damage.push(LayerDamage::Identity { states: description.chain_id, computed });
        } else if description.chain_id != chain {
            damage.push(LayerDamage::WrongName { states: description.chain_id });
        }
        self.files(&description, path, &mut damage)?;
        if !damage.is_empty() {
            self.problem(Problem::DamagedLayer { chain, damage });
        }
        if let Some(parent) = description.parent
            && computed == chain
            && !self.store.has_layer(&parent)?
        {
            self.problem(Problem::MissingParent { chain, parent });
        }
        Ok(())
    }

    /// The image and the split stream of a layer.
    fn files(&self, description: &Description, path: &Path, damage: &mut Vec<LayerDamage>) -> Result<()> {
        for name in [IMAGE, SPLIT] {
            if !path.join(name).is_file() {
                damage.push(LayerDamage::MissingFile { name });
            }
        }
        if damage.iter().any(|damage| matches!(damage, LayerDamage::MissingFile { .. })) {
            return Ok(());
        }
        let image = path.join(IMAGE);
        let found = fs::metadata(&image).doing("look at", &image)?.len();
        let expected = description.image_size;
        if found != expected {
            damage.push(LayerDamage::Size { name: IMAGE, expected, found });
        }
        let broken_image = |reason| LayerDamage::Image { reason };
        let layer = match StoredLayer::open(path) {
            Ok(layer) => layer,
            Err(error) => {
                damage.push(classify(error, IMAGE, broken_image)?);
                return Ok(());
            }
        };
        let checked = layer.image().check();
        let sound = checked.is_ok();
        if let Err(source) = checked {
            damage.push(classify(Error::Image { chain: *layer.chain_id(), source }, IMAGE, broken_image)?);
        }
        match layer.split() {
            Ok(split) if split.archive_length() == description.archive_size => {}
            Ok(split) => damage.push(LayerDamage::Size {
                name: SPLIT,
                expected: description.archive_size,
                found: split.archive_length(),
            }),
            Err(error) => damage.push(classify(error, SPLIT, |reason| LayerDamage::Split { reason })?),
        }
        if self.depth == Depth::Content && damage.is_empty() {
            let verified = layer.verify(&|bytes| (self.progress)(FsckStep::Bytes { bytes }))?;
            damage.extend(verified.damage.into_iter().map(LayerDamage::Content));
        } else if self.depth >= Depth::Digests && sound && found == expected {
            let digest = metadata_digest(layer.image().input(), description.metadata_offset, expected);
            match digest {
                Ok(digest) if digest == description.metadata_digest => {}
                Ok(_) => damage.push(LayerDamage::Metadata),
                Err(error) => damage.push(LayerDamage::Image { reason: error.to_string() }),
            }
        }
        Ok(())
    }

    fn missing(&self, chain_ids: &[ChainId]) -> Result<Vec<ChainId>> {
        let mut missing = Vec::new();
        for chain in chain_ids {
            if !self.store.has_layer(chain)? {
                missing.push(*chain);
            }
        }
        Ok(missing)
    }

    fn missing_layers(&mut self) -> Result<()> {
        for at in 0..self.found.images.len() {
            let image = &self.found.images[at];
            let layers = self.missing(&image.chain_ids)?;
            if !layers.is_empty() {
                let (image, manifest) = (image.name.clone(), image.manifest);
                self.problem(Problem::MissingLayers { image, manifest, layers });
            }
        }
        Ok(())
    }

    fn scratches(&mut self) -> Result<()> {
        for entry in sorted(&self.store.scratch_root())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if check_name(&name).is_err() || !entry.path().is_dir() {
                self.problem(Problem::Foreign { path: entry.path() });
                continue;
            }
            let scratch = match self.store.scratch(&name) {
                Ok(scratch) => scratch,
                // Removed meanwhile.
                Err(_) if !entry.path().exists() => continue,
                Err(Error::Io { source, doing, path })
                    if source.kind() == io::ErrorKind::PermissionDenied =>
                {
                    return Err(Error::Io { source, doing, path });
                }
                Err(error) => {
                    self.problem(Problem::DamagedScratch { name, reason: chain_of(&error) });
                    continue;
                }
            };
            let description = scratch.description();
            let image = description.image.clone();
            let layers = self.missing(&description.chain_ids)?;
            if !layers.is_empty() {
                self.problem(Problem::ScratchLayers { name: name.clone(), image: image.clone(), layers });
            }
            if !self.store.layout().has_blob(&description.manifest)? {
                self.problem(Problem::ScratchManifest { name, image, digest: description.manifest });
            }
        }
        Ok(())
    }
}

/// Whether the system refused to let us read: that says nothing about what is there.
fn refused(error: &OciError) -> bool {
    let (OciError::File { source, .. } | OciError::Stream { source, .. }) = error else { return false };
    source.kind() == io::ErrorKind::PermissionDenied
}

/// What an error says about a layer's file.
fn classify(
    error: Error,
    name: &'static str,
    damaged: impl FnOnce(String) -> LayerDamage,
) -> Result<LayerDamage> {
    match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Ok(LayerDamage::MissingFile { name })
        }
        Error::Io { ref source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Err(error),
        error => Ok(damaged(chain_of(&error))),
    }
}

/// The entries of a directory by name; none when it does not exist.
fn sorted(path: &Path) -> Result<Vec<fs::DirEntry>> {
    let mut entries = read_dir_or_empty(path)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}
