//! Image manifests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::null_as_default;
use crate::limits::{MAX_LAYERS, MAX_MANIFEST_SIZE};
use crate::{Descriptor, Digest, Error, MediaKind, MediaType, Result};

/// An image manifest, in OCI's form or Docker's
/// ([image-spec, manifest.md](https://github.com/opencontainers/image-spec/blob/main/manifest.md)): the bytes as they
/// came, which its digest is of, and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    bytes: Vec<u8>,
    media_type: MediaType,
    fields: Fields,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    #[serde(default, deserialize_with = "null_as_default")]
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    /// Only there to refuse documents that are an index at the same time.
    #[serde(default, skip_serializing)]
    manifests: Option<Value>,
}

impl Manifest {
    /// Parses a manifest. A document that could also be read as an index is refused, as the specification asks
    /// (CVE-2021-41190).
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let what = || format!("manifest {}", Digest::of(&bytes));
        if bytes.len() as u64 > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge { what: what(), size: bytes.len() as u64, limit: MAX_MANIFEST_SIZE });
        }
        let fields: Fields = serde_json::from_slice(&bytes).map_err(Error::json(what()))?;
        if fields.schema_version != 2 {
            return Err(Error::malformed(what(), "schemaVersion is not 2"));
        }
        if fields.manifests.is_some() {
            return Err(Error::malformed(
                what(),
                "it has `manifests` beside `config`: it would be an index as well",
            ));
        }
        if fields.layers.len() > MAX_LAYERS {
            return Err(Error::TooMany { what: what(), things: "layers", limit: MAX_LAYERS });
        }
        let media_type = match &fields.media_type {
            Some(stated) if !stated.as_str().is_empty() => stated.clone(),
            // OCI lets the field be absent; Docker does not, but its configuration tells.
            _ if fields.config.media_type.is_docker() => MediaType::new(MediaType::DOCKER_MANIFEST),
            _ => MediaType::new(MediaType::OCI_MANIFEST),
        };
        if media_type.kind() != MediaKind::Manifest {
            let found = media_type.as_str().to_owned();
            return Err(Error::MediaType { what: what(), expected: "an image manifest", found });
        }
        Ok(Self { bytes, media_type, fields })
    }

    /// An OCI manifest of these parts. The same parts always give the same bytes.
    pub fn build(
        config: Descriptor,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
    ) -> Result<Self> {
        let fields = Fields {
            schema_version: 2,
            media_type: Some(MediaType::new(MediaType::OCI_MANIFEST)),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations,
            manifests: None,
        };
        Self::parse(serde_json::to_vec(&fields).map_err(Error::json("new manifest"))?)
    }

    /// The document, byte for byte.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Its media type: what it says, or what its parts imply.
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// A descriptor for it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(self.media_type.clone(), &self.bytes)
    }

    /// The configuration.
    pub const fn config(&self) -> &Descriptor {
        &self.fields.config
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Descriptor] {
        &self.fields.layers
    }

    /// Annotations.
    pub const fn annotations(&self) -> &BTreeMap<String, String> {
        &self.fields.annotations
    }

    /// `artifactType`, which images do not have.
    pub fn artifact_type(&self) -> Option<&str> {
        self.fields.artifact_type.as_deref()
    }

    /// `subject`: what a signature or an attestation is about.
    pub const fn subject(&self) -> Option<&Descriptor> {
        self.fields.subject.as_ref()
    }

    /// Whether its configuration is an image's, so not a signature's or another artifact's.
    pub fn is_image(&self) -> bool {
        self.fields.config.kind() == MediaKind::Config
    }
}
