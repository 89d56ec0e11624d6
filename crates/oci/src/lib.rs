//! OCI and Docker images: their types, layouts and archives.
//!
//! # What an image is
//!
//! ```text
//! name ─► index ─► manifest ─► config      platform, DiffIDs, history, what to run
//!          one        └──────► layers      tars, compressed, lowest first
//!          entry for each platform
//! ```
//!
//! Each arrow is a [`Descriptor`]: media type, [`Digest`], size. Each document is a blob named by its digest, so
//! whoever holds a descriptor can prove what he reads: nothing in this crate hands out a document without having done so,
//! and [`VerifyingReader`] does it for streams.
//!
//! A layer has three digests. The blob's, which the manifest states, changes with the compression. The [`DiffId`], of
//! the uncompressed tar, is in the configuration, and is what a layer *is*. The [`ChainId`] names a stack of layers, by
//! hashing together the DiffIDs from the lowest up ([`chain_ids`]).
//!
//! # Where images are
//!
//! - [`Layout`]: a directory that other tools (skopeo, umoci, buildx) read and write as well. Files appear whole or not at
//!   all; `index.json` changes under a lock, so processes can share it.
//! - [`ImageSource`]: whatever a user brings: a layout directory, an OCI archive, a docker archive of any age, compressed
//!   or not, or a pipe. [`ImageSource::resolve`] picks an image for a [`Platform`] and gives its manifest, configuration
//!   and layers; layers are then read by any number of threads.
//! - [`windows_version`]: which Windows image runs on which host.
//! - [`ArchiveWriter`] and [`write_archive`]: the way out, with the same bytes each time.
//! - [`compress`]: the encoders for that, parallel and deterministic, and the decoders for the way in.
//!
//! # Reading as Go does, refusing what is broken
//!
//! Most images are made by Go programs, which find JSON keys in any case, write `null` for empty lists, and keep unknown
//! keys only sometimes. [`ImageConfig`] is read with the same leniency, and kept byte for byte; [`Descriptor`],
//! [`Platform`] and [`Index`] keep the fields they do not know. What is broken is refused with an [`Error`] that names
//! the document: digests that are not digests, documents of two kinds at once, other numbers of layers than DiffIDs,
//! sizes above [`limits`].
//!
//! ```
//! use layerstone_oci::{Descriptor, HistoryEntry, ImageConfig, Layout, Manifest, MediaType, Platform};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let layout = Layout::create(dir.path().join("images"))?;
//!
//! let tar = vec![0; 1024];
//! let layer = Descriptor::new(MediaType::OCI_LAYER, layout.put_blob_bytes(&tar)?, 1024);
//! let history = HistoryEntry { created_by: Some("example".into()), ..HistoryEntry::default() };
//! let config = ImageConfig::new(&Platform::parse("windows/amd64:10.0.20348.473")?)
//!     .append_layer(&layer.digest.into(), history)?;
//! layout.put_blob_bytes(config.bytes())?;
//! let manifest = Manifest::build(config.descriptor(), vec![layer], Default::default())?;
//! layout.put_blob_bytes(manifest.bytes())?;
//! layout.set_image("example:1", &manifest.descriptor())?;
//!
//! let source = layerstone_oci::open_source(layout.root(), dir.path())?;
//! let image = source.resolve(Some("example:1"), None)?;
//! assert_eq!(image.platform.to_string(), "windows/amd64:10.0.20348.473");
//! assert_eq!(image.layers.len(), 1);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod archive;
pub mod compress;
mod config;
mod descriptor;
mod digest;
pub mod durable;
mod error;
mod hash;
mod index;
mod json;
pub mod layout;
pub mod limits;
mod manifest;
mod media;
mod name;
mod platform;
mod source;
mod sys;
pub mod windows_version;

pub use archive::{ArchiveFormat, ArchiveImage, ArchiveWriter, write_archive};
pub use config::{Healthcheck, HistoryEntry, ImageConfig};
pub use descriptor::{CONTAINERD_NAME_ANNOTATION, Descriptor, REF_NAME_ANNOTATION};
pub use digest::{Algorithm, ChainId, DiffId, Digest, chain_ids};
pub use error::{DecodeError, Error, Result, VerifyError};
pub use hash::{Sha256Hasher, Sha256Reader, Sha256Writer, VerifyingReader};
pub use index::Index;
pub use layout::{BlobWriter, Layout, NamedImage};
pub use manifest::Manifest;
pub use media::{Compression, MediaKind, MediaType, sniff_compression};
pub use name::full_name;
pub use platform::Platform;
pub use source::{
    Candidate, ImageSource, ResolvedImage, SourceFormat, SourceImage, SourceLayer, SourceOptions, open_source,
};
pub use windows_version::WindowsVersion;
