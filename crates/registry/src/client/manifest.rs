//! Manifests, indexes and other documents that fit in memory.

use std::io::Read as _;

use layerstone_oci::limits::MAX_MANIFEST_SIZE;
use layerstone_oci::{Descriptor, Digest, MediaKind, MediaType, VerifyError, VerifyingReader};
use serde::Deserialize;
use ureq::http::Method;

use super::{RemoteBlob, Repository, Request, Source};
use crate::error::{Error, Result};

/// What is understood, the likeliest first. Schema 1 is not asked for, but told when it comes.
const ACCEPTED: [&str; 4] =
    [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST, MediaType::DOCKER_LIST, MediaType::DOCKER_MANIFEST];

/// A manifest or an index as a registry gave it, proven by its digest where that was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What it says it is; or else, what the registry says.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
}

impl Document {
    /// A descriptor for it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest, self.bytes.len() as u64)
    }

    /// Whether it is an index, so a list of manifests.
    pub fn is_index(&self) -> bool {
        self.media_type.kind() == MediaKind::Index
    }
}

impl Repository {
    /// Fetches a manifest or an index, by tag or digest.
    pub(crate) fn manifest(&self, wanted: &str) -> Result<Document> {
        let doing = format!("fetch the manifest {}", self.named(wanted));
        let request = Request::new(Method::GET, self.path(&format!("manifests/{wanted}")))
            .header("accept", ACCEPTED.join(", "));
        let answer = self.send(&doing, &self.scope_of("pull", &[]), request, &[200])?;
        let url = answer.url.clone();
        let content_type = answer.header("content-type").unwrap_or_default().to_owned();
        let stated = answer.header("docker-content-digest").and_then(|text| Digest::parse(text).ok());
        let bytes = answer.read_body(&doing, MAX_MANIFEST_SIZE)?;
        let digest = Digest::of(&bytes);
        let expected = match Digest::parse(wanted) {
            Ok(expected) => Some(expected),
            // What the registry says of it has to be true, too, where it is a digest that is computed here.
            Err(_) => stated.filter(|stated| stated.algorithm() == digest.algorithm()),
        };
        if let Some(expected) = expected
            && expected != digest
        {
            let source = VerifyError::Mismatch { expected, found: digest };
            let (what, place) = (format!("the manifest {wanted} of {}", self.name()), url.host().to_owned());
            return Err(Error::Verify { what, place, source });
        }
        let media_type = media_type(&bytes, &content_type);
        if media_type.as_str().starts_with("application/vnd.docker.distribution.manifest.v1+") {
            return Err(Error::Schema1 { reference: format!("{}/{}", self.host(), self.name()) });
        }
        if media_type.as_str().is_empty() {
            return Err(Error::protocol(&doing, &url, "it is no manifest: it is not JSON with a media type"));
        }
        Ok(Document { bytes, media_type, digest })
    }

    /// Fetches a blob that fits in memory, and proves it.
    pub(crate) fn small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let doing = format!("fetch blob {} of {}/{}", descriptor.digest, self.host(), self.name());
        if descriptor.size > limit {
            return Err(Error::TooLarge { doing, place: self.host().to_owned(), limit });
        }
        let reader = RemoteBlob::new(vec![Source::Repository(self.clone())], descriptor, 0);
        let mut reader = VerifyingReader::new(reader, descriptor.digest, Some(descriptor.size))?;
        let mut bytes = Vec::new();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(match error.downcast::<Error>() {
                Ok(own) => own,
                Err(error) => match error.downcast::<VerifyError>() {
                    Ok(source) => Error::Verify {
                        what: format!("blob {} of {}", descriptor.digest, self.name()),
                        place: self.host().to_owned(),
                        source,
                    },
                    Err(error) => {
                        let place = self.host().to_owned();
                        Error::Connection { doing, place, source: Box::new(error.into()) }
                    }
                },
            }),
        }
    }
}

/// What a document is: what it says, or else what its parts or the `Content-Type` say. Empty when it is no JSON object.
fn media_type(bytes: &[u8], content_type: &str) -> MediaType {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        schema_version: u64,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        fs_layers: Option<serde::de::IgnoredAny>,
    }
    let Ok(shape) = serde_json::from_slice::<Shape>(bytes) else { return MediaType::new("") };
    if shape.schema_version == 1 && shape.fs_layers.is_some() {
        return MediaType::new("application/vnd.docker.distribution.manifest.v1+json");
    }
    if let Some(stated) = shape.media_type.filter(|stated| !stated.is_empty()) {
        return MediaType::new(stated);
    }
    let given = MediaType::new(content_type.split(';').next().unwrap_or_default().trim());
    match given.kind() {
        MediaKind::Index | MediaKind::Manifest => given,
        _ if shape.manifests.is_some() => MediaType::new(MediaType::OCI_INDEX),
        _ => MediaType::new(MediaType::OCI_MANIFEST),
    }
}
