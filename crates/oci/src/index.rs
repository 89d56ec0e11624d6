//! Image indexes, `index.json` of a layout included.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::null_as_default;
use crate::limits::{MAX_INDEX_MANIFESTS, MAX_INDEX_SIZE};
use crate::{Descriptor, Digest, Error, MediaKind, MediaType, Result};

/// An image index, or Docker's manifest list
/// ([image-spec, image-index.md](https://github.com/opencontainers/image-spec/blob/main/image-index.md)).
///
/// Fields that this type does not know are kept and written again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u64,
    /// Its media type, which a layout's `index.json` often lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The manifests, and nested indexes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Every other field, in its order.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::new(MediaType::OCI_INDEX)),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }
}

impl Index {
    /// An OCI index without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses an index. A document that could also be read as a manifest is refused, as the specification asks
    /// (CVE-2021-41190).
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        if bytes.len() as u64 > MAX_INDEX_SIZE {
            return Err(Error::TooLarge {
                what: what.to_owned(),
                size: bytes.len() as u64,
                limit: MAX_INDEX_SIZE,
            });
        }
        let index: Self = serde_json::from_slice(bytes).map_err(Error::json(what))?;
        if index.schema_version != 2 {
            return Err(Error::malformed(what, "schemaVersion is not 2"));
        }
        if index.extra.contains_key("config") || index.extra.contains_key("layers") {
            return Err(Error::malformed(
                what,
                "it has `config` or `layers`: it would be a manifest as well",
            ));
        }
        if let Some(stated) =
            index.media_type.as_ref().filter(|m| !m.as_str().is_empty() && m.kind() != MediaKind::Index)
        {
            let found = stated.as_str().to_owned();
            return Err(Error::MediaType { what: what.to_owned(), expected: "an image index", found });
        }
        if index.manifests.len() > MAX_INDEX_MANIFESTS {
            return Err(Error::TooMany {
                what: what.to_owned(),
                things: "manifests",
                limit: MAX_INDEX_MANIFESTS,
            });
        }
        Ok(index)
    }

    /// The document: the same index always gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(Error::json("new index"))
    }

    /// A descriptor for it, as [`to_bytes`](Self::to_bytes) writes it.
    pub fn descriptor(&self) -> Result<Descriptor> {
        let bytes = self.to_bytes()?;
        let media_type = self.media_type.clone().unwrap_or_else(|| MediaType::new(MediaType::OCI_INDEX));
        Ok(Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64))
    }

    /// The entry whose annotation `org.opencontainers.image.ref.name` is `name`; the first if there are several.
    pub fn find(&self, name: &str) -> Option<&Descriptor> {
        self.manifests.iter().find(|entry| entry.ref_name() == Some(name))
    }

    /// Makes `name` stand for `descriptor`, and for nothing else any more.
    pub fn set(&mut self, name: &str, mut descriptor: Descriptor) {
        descriptor.annotations.insert(crate::REF_NAME_ANNOTATION.to_owned(), name.to_owned());
        let at = self.manifests.iter().position(|entry| entry.ref_name() == Some(name));
        self.remove(name);
        // A renewed image keeps its place, so that lists stay in order.
        let at = at.unwrap_or(self.manifests.len());
        self.manifests.insert(at, descriptor);
    }

    /// Removes every entry of that name, and says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|entry| entry.ref_name() != Some(name));
        self.manifests.len() != before
    }
}
