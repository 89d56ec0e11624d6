//! One error type for the crate: what was being done, on which file or blob, and what is wrong.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Compression, DiffId, Digest};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with an image, a layout or an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused or failed an operation on a file.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done, as in "cannot {doing} {path}".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// Reading or writing a stream failed: an archive, a blob, standard input.
    #[error("cannot {doing} {what}: {source}")]
    Stream {
        /// What was being done, as in "cannot {doing} {what}".
        doing: &'static str,
        /// The blob, archive entry or stream.
        what: String,
        /// What went wrong. A [`VerifyError`] or [`DecodeError`] may be inside.
        source: io::Error,
    },

    /// A string is not a digest.
    #[error("`{text}` is not a digest: {reason}")]
    InvalidDigest {
        /// The string, cut when it is long.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The digest is well formed, but its algorithm is not computed here.
    #[error("cannot verify {digest}: only sha256 digests are computed")]
    UnsupportedAlgorithm {
        /// The digest.
        digest: Digest,
    },

    /// Content does not have the digest or size that its descriptor states.
    #[error("{what}: {source}")]
    Verify {
        /// The blob or file.
        what: String,
        /// How it differs.
        source: Box<VerifyError>,
    },

    /// A string is not a platform.
    #[error("`{text}` is not a platform: {reason}; write os/architecture[/variant][:os.version]")]
    InvalidPlatform {
        /// The string.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A string is not a version of Windows.
    #[error("`{text}` is not a version of Windows: {reason}; expected major.minor.build[.revision]")]
    InvalidWindowsVersion {
        /// The string, cut when it is long.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A document is not JSON, or not of the shape that its specification gives.
    #[error("{what} is not valid: {source}")]
    Json {
        /// The document.
        what: String,
        /// Where and why.
        source: serde_json::Error,
    },

    /// A document is JSON but breaks a rule of its specification.
    #[error("{what} is not valid: {reason}")]
    Malformed {
        /// The document.
        what: String,
        /// The rule that it breaks.
        reason: &'static str,
    },

    /// Something has another media type than its place asks for.
    #[error("{what} has media type `{found}`, expected {expected}")]
    MediaType {
        /// The document or blob.
        what: String,
        /// What was expected.
        expected: &'static str,
        /// What it says it is.
        found: String,
    },

    /// A document is larger than is ever read into memory.
    #[error("{what} is {size} bytes; at most {limit} are read")]
    TooLarge {
        /// The document.
        what: String,
        /// Its size.
        size: u64,
        /// The limit, see [`crate::limits`].
        limit: u64,
    },

    /// There are more of something than is ever kept.
    #[error("{what} has more than {limit} {things}")]
    TooMany {
        /// Where.
        what: String,
        /// What there are too many of.
        things: &'static str,
        /// The limit, see [`crate::limits`].
        limit: usize,
    },

    /// A blob that is referred to is not there.
    #[error("blob {digest} is missing from {place}")]
    BlobMissing {
        /// The blob.
        digest: Digest,
        /// The layout or archive.
        place: String,
    },

    /// A layer that may not be distributed is not in the archive, and has to be fetched from where its owner keeps it.
    #[error("layer {digest} is not in {place}: it is a foreign layer, to be fetched from {}", urls.join(", "))]
    ForeignLayer {
        /// The layer's blob.
        digest: Digest,
        /// The layout or archive.
        place: String,
        /// Where its owner offers it.
        urls: Vec<String>,
    },

    /// A directory is not an OCI image layout, or one of another version.
    #[error("{} is not an OCI image layout: {reason}", path.display())]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },

    /// A file is neither an OCI archive nor a docker archive.
    #[error("{place} is not an image archive: it is no tar, or has neither a layout nor manifest.json")]
    NotAnImage {
        /// The file or stream.
        place: String,
    },

    /// There are no images at all.
    #[error("{place} has no images")]
    NoImages {
        /// The layout or archive.
        place: String,
    },

    /// A tar file is broken.
    #[error("{place}: broken tar at offset {offset}: {reason}")]
    Tar {
        /// The archive.
        place: String,
        /// Where in the (inflated) archive.
        offset: u64,
        /// What is broken.
        reason: &'static str,
    },

    /// A docker archive's `manifest.json` names a file that the archive does not have.
    #[error("{place} has no entry `{name}`, which its manifest.json names")]
    EntryMissing {
        /// The archive.
        place: String,
        /// The entry.
        name: String,
    },

    /// Links in a docker archive lead in a circle, or too far.
    #[error("{place}: the links from entry `{name}` do not end at a file")]
    LinkLoop {
        /// The archive.
        place: String,
        /// The entry at which following began.
        name: String,
    },

    /// An image has another number of layers than its configuration has DiffIDs.
    #[error("{what} has {layers} layers, but its configuration lists {diff_ids} DiffIDs")]
    LayerCount {
        /// The image.
        what: String,
        /// Layers in the manifest.
        layers: usize,
        /// `rootfs.diff_ids` in the configuration.
        diff_ids: usize,
    },

    /// An uncompressed layer's digest must be its DiffID, and is not.
    #[error("layer {digest} is not compressed, yet its DiffID is given as {diff_id}")]
    DiffIdMismatch {
        /// The layer's blob.
        digest: Digest,
        /// What the configuration says.
        diff_id: Box<DiffId>,
    },

    /// No image of that name.
    #[error("{place} has no image `{name}`; it has {}", list(available))]
    ImageNotFound {
        /// The layout or archive.
        place: String,
        /// What was asked for.
        name: String,
        /// The names there are.
        available: Vec<String>,
    },

    /// No name was given, and there are several images.
    #[error("{place} has several images, name one of {}", list(available))]
    SeveralImages {
        /// The layout or archive.
        place: String,
        /// The names there are.
        available: Vec<String>,
    },

    /// An image has no variant for the platform.
    #[error("no image for platform {wanted} in {place}; available: {}", list(available))]
    NoMatchingPlatform {
        /// The image.
        place: String,
        /// What was asked for.
        wanted: String,
        /// The platforms there are.
        available: Vec<String>,
    },

    /// A name cannot stand in an index.
    #[error("`{name}` cannot name an image: {reason}")]
    InvalidName {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },

    /// An archive was finished without a blob that one of its images needs.
    #[error("image {image} needs blob {digest}, which was not added to the archive")]
    BlobNotAdded {
        /// The image's manifest.
        image: Box<Digest>,
        /// The blob.
        digest: Digest,
    },

    /// An input inflates to more than the caller allows to be spooled to disk.
    #[error("{what} inflates to more than {limit} bytes")]
    SpoolLimit {
        /// The input.
        what: String,
        /// The caller's limit.
        limit: u64,
    },
}

impl Error {
    /// For `map_err`: an operation on a file failed.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// For `map_err`: reading or writing a stream failed.
    pub(crate) fn stream(doing: &'static str, what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Stream { doing, what, source }
    }

    /// For `map_err`: a document is not what it should be.
    pub(crate) fn json(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |source| Self::Json { what, source }
    }

    /// A document breaks a rule.
    pub(crate) fn malformed(what: impl Into<String>, reason: &'static str) -> Self {
        Self::Malformed { what: what.into(), reason }
    }
}

/// How content differs from what its descriptor states. [`VerifyingReader`](crate::VerifyingReader) wraps it in an
/// [`io::Error`] of kind `InvalidData`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The content ended early.
    #[error("too short: {found} bytes of {expected} for {digest}")]
    TooShort {
        /// The stated digest.
        digest: Digest,
        /// The stated size.
        expected: u64,
        /// The size found.
        found: u64,
    },
    /// The content goes on after its stated size.
    #[error("too long: more than the stated {expected} bytes for {digest}")]
    TooLong {
        /// The stated digest.
        digest: Digest,
        /// The stated size.
        expected: u64,
    },
    /// The content has another digest.
    #[error("wrong content: expected {expected}, found {found}")]
    Mismatch {
        /// The stated digest.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
}

/// Why a compressed stream cannot be inflated. Readers wrap it in an [`io::Error`]: `UnexpectedEof` when truncated,
/// `InvalidData` when corrupt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The compressed stream ends in the middle.
    #[error("{compression} stream is truncated: it ends at offset {offset}")]
    Truncated {
        /// The format.
        compression: Compression,
        /// Compressed bytes that there were.
        offset: u64,
    },
    /// The compressed stream is damaged, or something else follows it.
    #[error("{compression} stream is corrupt near offset {offset}: {reason}")]
    Corrupt {
        /// The format.
        compression: Compression,
        /// Compressed bytes that were read so far; the damage is at or somewhat before.
        offset: u64,
        /// What the decoder said.
        reason: String,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [head @ .., last] if !head.is_empty() => format!("{} and {last}", head.join(", ")),
        _ => names.concat(),
    }
}
