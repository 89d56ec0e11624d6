//! Descriptors: how one document points at another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::null_as_default;
use crate::{Digest, MediaKind, MediaType, Platform};

/// The annotation that names an image in a layout's `index.json`
/// ([image-spec, annotations.md](https://github.com/opencontainers/image-spec/blob/main/annotations.md)).
pub const REF_NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// The annotation in which containerd and Docker keep an image's full name, `docker.io/library/alpine:3`.
pub const CONTAINERD_NAME_ANNOTATION: &str = "io.containerd.image.name";

/// BuildKit's annotation on manifests that are statements about another manifest, not images.
const REFERENCE_TYPE_ANNOTATION: &str = "vnd.docker.reference.type";

/// A pointer to content: what it is, its digest and its size
/// ([image-spec, descriptor.md](https://github.com/opencontainers/image-spec/blob/main/descriptor.md)).
///
/// Fields that this type does not know are kept in [`extra`](Self::extra) and written again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is. Absent in some old layouts, then empty.
    #[serde(default = "no_media_type")]
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where else it can be fetched from: base layers of Windows have these.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// In an index: the platform that the manifest is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Every other field, in its order.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn no_media_type() -> MediaType {
    MediaType::new("")
}

impl Descriptor {
    /// A descriptor of content with this digest and size.
    pub fn new(media_type: impl Into<MediaType>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            extra: Map::new(),
        }
    }

    /// A descriptor of these very bytes.
    pub fn of(media_type: impl Into<MediaType>, content: &[u8]) -> Self {
        Self::new(media_type, Digest::of(content), content.len() as u64)
    }

    /// The same, for a platform.
    #[must_use]
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// What the media type stands for.
    pub fn kind(&self) -> MediaKind {
        self.media_type.kind()
    }

    /// The image name in a layout's `index.json`: annotation `org.opencontainers.image.ref.name`.
    pub fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME_ANNOTATION).map(String::as_str)
    }

    /// Whether this is a statement about an image (provenance, SBOM) that BuildKit stored beside it: marked by its
    /// annotation, or by the platform `unknown/unknown`.
    pub fn is_attestation(&self) -> bool {
        self.annotations.contains_key(REFERENCE_TYPE_ANNOTATION)
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }
}
