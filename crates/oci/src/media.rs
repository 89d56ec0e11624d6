//! Media types: what a descriptor says its content is, in OCI's names and in Docker's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// What a media type stands for, OCI's and Docker's names for the same thing being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// An image manifest.
    Manifest,
    /// An image index, or Docker's manifest list.
    Index,
    /// An image configuration.
    Config,
    /// A layer.
    Layer {
        /// How the tar is compressed.
        compression: Compression,
        /// Whether it may not be distributed: OCI's "nondistributable", Docker's "foreign".
        nondistributable: bool,
    },
    /// Anything else: artifacts, signatures, encrypted layers, Docker's schema 1.
    Other,
}

/// A media type, as it is written
/// ([image-spec, media-types.md](https://github.com/opencontainers/image-spec/blob/main/media-types.md),
/// [Docker's "Image Manifest V 2, Schema 2"](https://distribution.github.io/distribution/spec/manifest-v2-2/#media-types)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &'static str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &'static str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// OCI layer that may not be distributed, uncompressed.
    pub const OCI_NONDIST_LAYER: &'static str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// OCI layer that may not be distributed, gzip.
    pub const OCI_NONDIST_LAYER_GZIP: &'static str =
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    /// OCI layer that may not be distributed, zstd.
    pub const OCI_NONDIST_LAYER_ZSTD: &'static str =
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image configuration.
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &'static str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &'static str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, zstd: in no specification, but written by some tools.
    pub const DOCKER_LAYER_ZSTD: &'static str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Docker layer that may not be distributed, uncompressed.
    pub const DOCKER_FOREIGN_LAYER: &'static str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    /// Docker layer that may not be distributed, gzip.
    pub const DOCKER_FOREIGN_LAYER_GZIP: &'static str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    /// Docker layer that may not be distributed, zstd: in no specification either.
    pub const DOCKER_FOREIGN_LAYER_ZSTD: &'static str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd";

    /// A media type as written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// OCI's media type for a layer.
    pub fn oci_layer(compression: Compression, nondistributable: bool) -> Self {
        Self::new(match (compression, nondistributable) {
            (Compression::None, false) => Self::OCI_LAYER,
            (Compression::Gzip, false) => Self::OCI_LAYER_GZIP,
            (Compression::Zstd, false) => Self::OCI_LAYER_ZSTD,
            (Compression::None, true) => Self::OCI_NONDIST_LAYER,
            (Compression::Gzip, true) => Self::OCI_NONDIST_LAYER_GZIP,
            (Compression::Zstd, true) => Self::OCI_NONDIST_LAYER_ZSTD,
        })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it stands for. Parameters after a `;` do not matter.
    pub fn kind(&self) -> MediaKind {
        let layer = |compression, nondistributable| MediaKind::Layer { compression, nondistributable };
        match self.0.split(';').next().unwrap_or_default().trim() {
            Self::OCI_MANIFEST | Self::DOCKER_MANIFEST => MediaKind::Manifest,
            Self::OCI_INDEX | Self::DOCKER_LIST => MediaKind::Index,
            Self::OCI_CONFIG | Self::DOCKER_CONFIG => MediaKind::Config,
            Self::OCI_LAYER | Self::DOCKER_LAYER => layer(Compression::None, false),
            Self::OCI_LAYER_GZIP | Self::DOCKER_LAYER_GZIP => layer(Compression::Gzip, false),
            Self::OCI_LAYER_ZSTD | Self::DOCKER_LAYER_ZSTD => layer(Compression::Zstd, false),
            Self::OCI_NONDIST_LAYER | Self::DOCKER_FOREIGN_LAYER => layer(Compression::None, true),
            Self::OCI_NONDIST_LAYER_GZIP | Self::DOCKER_FOREIGN_LAYER_GZIP => layer(Compression::Gzip, true),
            Self::OCI_NONDIST_LAYER_ZSTD | Self::DOCKER_FOREIGN_LAYER_ZSTD => layer(Compression::Zstd, true),
            _ => MediaKind::Other,
        }
    }

    /// Whether this is one of Docker's names.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with("application/vnd.docker.")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// How a stream that begins with `start` is compressed, by its magic number: media types are sometimes wrong. Six
/// bytes are enough.
///
/// A zstd stream may begin with a skippable frame (RFC 8878, 3.1.2); no tar does, because its first bytes are a name.
pub fn sniff_compression(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}
