//! tmp
#![forbid(unsafe_code)]
mod config;
mod descriptor;
mod digest;
mod error;
mod hash;
mod index;
mod json;
pub mod layout;
pub mod limits;
mod manifest;
mod media;
mod platform;
mod sys;
pub use config::{HistoryEntry, ImageConfig};
pub use descriptor::{CONTAINERD_NAME_ANNOTATION, Descriptor, REF_NAME_ANNOTATION};
pub use digest::{Algorithm, ChainId, DiffId, Digest, chain_ids};
pub use error::{DecodeError, Error, Result, VerifyError};
pub use hash::{Sha256Hasher, Sha256Reader, Sha256Writer, VerifyingReader};
pub use index::Index;
pub use layout::{BlobWriter, Layout, NamedImage};
pub use manifest::Manifest;
pub use media::{Compression, MediaKind, MediaType, sniff_compression};
pub use platform::Platform;
