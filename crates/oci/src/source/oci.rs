//! Images of an OCI layout, whether it is a directory or inside an archive.

use std::io::Read;

use crate::layout::read_small;
use crate::limits::{
    MAX_CONFIG_SIZE, MAX_INDEX_DEPTH, MAX_INDEX_MANIFESTS, MAX_INDEX_SIZE, MAX_MANIFEST_SIZE,
};
use crate::source::tarfile::TarFile;
use crate::source::{Candidate, Content, ResolvedImage, SourceImage, SourceLayer, sniff};
use crate::{
    CONTAINERD_NAME_ANNOTATION, Compression, Descriptor, DiffId, Digest, Error, ImageConfig, Index, Layout,
    Manifest, MediaKind, Platform, Result, VerifyError,
};

/// Where blobs are.
pub(super) trait Blobs {
    fn place(&self) -> String;
    fn size(&self, digest: &Digest) -> Result<Option<u64>>;
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>>;
}

impl Blobs for Layout {
    fn place(&self) -> String {
        self.root().display().to_string()
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.blob_size(digest)
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.open_blob(digest)?))
    }
}

impl Blobs for TarFile {
    fn place(&self) -> String {
        TarFile::place(self).to_owned()
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.find(&blob_name(digest))?.map(|span| span.size))
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>> {
        let missing = || Error::BlobMissing { digest: *digest, place: Blobs::place(self) };
        let span = self.find(&blob_name(digest))?.ok_or_else(missing)?;
        Ok(Box::new(TarFile::open(self, span)))
    }
}

/// Where a layout has a blob.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The images of an `index.json`.
///
/// Entries of the same name are one image, as are unnamed entries that each state a platform: some tools list the
/// platforms of an image in `index.json` itself, without an index below it.
pub(super) fn images(blobs: &dyn Blobs, index: &Index) -> Result<Vec<SourceImage>> {
    let mut images: Vec<(bool, SourceImage)> = Vec::new();
    let mut walk = Walk { blobs, seen: 0 };
    for entry in &index.manifests {
        let mut candidates = Vec::new();
        walk.collect(entry, 0, &mut candidates)?;
        if candidates.is_empty() {
            continue;
        }
        let names = names(entry);
        let joins = !names.is_empty() || entry.platform.is_some();
        match images.iter_mut().find(|(joined, image)| joins && *joined && image.names == names) {
            Some((_, image)) => image.candidates.append(&mut candidates),
            None => images.push((joins, SourceImage { names, descriptor: entry.clone(), candidates })),
        }
    }
    Ok(images.into_iter().map(|(_, image)| image).collect())
}

/// The names of an entry. Docker and containerd put the full name in an annotation of their own, and then only the tag in
/// the standard one; a tag by itself is no name.
fn names(entry: &Descriptor) -> Vec<String> {
    let full = entry.annotations.get(CONTAINERD_NAME_ANNOTATION).filter(|name| !name.is_empty());
    match (entry.ref_name().filter(|name| !name.is_empty()), full) {
        (Some(name), Some(full)) if full.ends_with(&format!(":{name}")) => vec![full.clone()],
        (Some(name), Some(full)) if crate::name::full_name(name) != *full => {
            vec![name.to_owned(), full.clone()]
        }
        (Some(name), _) => vec![name.to_owned()],
        (None, Some(full)) => vec![full.clone()],
        (None, None) => Vec::new(),
    }
}

struct Walk<'a> {
    blobs: &'a dyn Blobs,
    seen: usize,
}

impl Walk<'_> {
    fn collect(&mut self, entry: &Descriptor, depth: usize, candidates: &mut Vec<Candidate>) -> Result<()> {
        self.seen += 1;
        if self.seen > MAX_INDEX_MANIFESTS {
            let (what, limit) = (self.blobs.place(), MAX_INDEX_MANIFESTS);
            return Err(Error::TooMany { what, things: "manifests", limit });
        }
        if entry.is_attestation() {
            return Ok(());
        }
        let present = self.blobs.size(&entry.digest)?.is_some();
        match entry.kind() {
            MediaKind::Index if present => {
                if depth == MAX_INDEX_DEPTH {
                    let what = format!("index {}", entry.digest);
                    return Err(Error::malformed(what, "indexes are nested more than four deep"));
                }
                let bytes = read_small(entry, MAX_INDEX_SIZE, || self.blobs.open(&entry.digest))?;
                let index = Index::parse(&bytes, &format!("index {}", entry.digest))?;
                index.manifests.iter().try_for_each(|below| self.collect(below, depth + 1, candidates))
            }
            MediaKind::Index | MediaKind::Manifest => {
                let stated = entry.platform.as_ref().filter(|platform| !platform.os.is_empty());
                let platform = match stated {
                    Some(stated) if !present || says_all(stated) => Some(stated.clone()),
                    None if !present => None,
                    // What cannot be read is listed as the index has it; resolving it says what is wrong.
                    _ => match read_manifest(self.blobs, entry) {
                        Ok(manifest) if !manifest.is_image() => return Ok(()),
                        Ok(manifest) => match read_config(self.blobs, &manifest) {
                            Ok(config) => Some(completed(stated, &config)),
                            Err(_) => stated.cloned(),
                        },
                        Err(_) => stated.cloned(),
                    },
                };
                candidates.push(Candidate { descriptor: entry.clone(), platform, present });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether an index entry says all that choosing needs: for Windows that is the version as well.
fn says_all(platform: &Platform) -> bool {
    platform.os != "windows" || platform.os_version.is_some()
}

/// What the index states, and what it leaves out from the configuration.
pub(super) fn completed(stated: Option<&Platform>, config: &ImageConfig) -> Platform {
    let own = config.platform();
    let Some(stated) = stated else { return own };
    let mut platform = stated.clone();
    platform.variant = platform.variant.or(own.variant);
    platform.os_version = platform.os_version.or(own.os_version);
    if platform.os_features.is_empty() {
        platform.os_features = own.os_features;
    }
    platform
}

fn read_manifest(blobs: &dyn Blobs, descriptor: &Descriptor) -> Result<Manifest> {
    Manifest::parse(read_small(descriptor, MAX_MANIFEST_SIZE, || blobs.open(&descriptor.digest))?)
}

fn read_config(blobs: &dyn Blobs, manifest: &Manifest) -> Result<ImageConfig> {
    let descriptor = manifest.config();
    ImageConfig::parse(read_small(descriptor, MAX_CONFIG_SIZE, || blobs.open(&descriptor.digest))?)
}

/// Reads a candidate's manifest and configuration, and looks at each layer's first bytes.
pub(super) fn resolve(blobs: &dyn Blobs, names: &[String], candidate: &Candidate) -> Result<ResolvedImage> {
    let manifest = read_manifest(blobs, &candidate.descriptor)?;
    let what = || format!("image {}", candidate.descriptor.digest);
    if !manifest.is_image() {
        let found = manifest.config().media_type.as_str().to_owned();
        return Err(Error::MediaType { what: what(), expected: "an image configuration", found });
    }
    let config = read_config(blobs, &manifest)?;
    let (layers, diff_ids) = (manifest.layers().len(), config.diff_ids().len());
    if layers != diff_ids {
        return Err(Error::LayerCount { what: what(), layers, diff_ids });
    }
    let pairs = manifest.layers().iter().zip(config.diff_ids());
    let layers =
        pairs.map(|(descriptor, diff_id)| layer(blobs, descriptor, diff_id)).collect::<Result<_>>()?;
    let platform = completed(candidate.platform.as_ref(), &config);
    let names = names.to_vec();
    Ok(ResolvedImage {
        names,
        platform,
        config_descriptor: manifest.config().clone(),
        manifest,
        config,
        layers,
    })
}

fn layer(blobs: &dyn Blobs, descriptor: &Descriptor, diff_id: &DiffId) -> Result<SourceLayer> {
    let MediaKind::Layer { compression: stated, .. } = descriptor.kind() else {
        let (what, found) =
            (format!("layer {}", descriptor.digest), descriptor.media_type.as_str().to_owned());
        return Err(Error::MediaType { what, expected: "a layer", found });
    };
    let (compression, content) = match blobs.size(&descriptor.digest)? {
        None => (stated, Content::Absent),
        Some(found) if found != descriptor.size => {
            let (digest, expected) = (descriptor.digest, descriptor.size);
            let source = match found < expected {
                true => VerifyError::TooShort { digest, expected, found },
                false => VerifyError::TooLong { digest, expected },
            };
            return Err(Error::Verify {
                what: format!("layer {digest} in {}", blobs.place()),
                source: Box::new(source),
            });
        }
        Some(_) => {
            let mut start = blobs.open(&descriptor.digest)?;
            (sniff(&mut start, &format!("layer {}", descriptor.digest))?, Content::Blob)
        }
    };
    if compression == Compression::None && descriptor.digest != diff_id.0 {
        return Err(Error::DiffIdMismatch { digest: descriptor.digest, diff_id: Box::new(*diff_id) });
    }
    Ok(SourceLayer { descriptor: descriptor.clone(), diff_id: *diff_id, compression, content })
}
