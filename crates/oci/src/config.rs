//! Image configurations: kept as they are, read through typed accessors, changed in place.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::json::{get, spelling};
use crate::limits::{MAX_CONFIG_SIZE, MAX_LAYERS};
use crate::{ChainId, Descriptor, DiffId, Digest, Error, MediaType, Platform, Result, chain_ids};

/// An image configuration
/// ([image-spec, config.md](https://github.com/opencontainers/image-spec/blob/main/config.md)).
///
/// Real configurations carry keys of many tools and, now and then, keys in another case (`rootfS`), which the Go programs
/// read without noticing. So the document is kept as it came, bytes and all, and read the way Go reads it; a change
/// touches only what it must, and leaves every other key in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    bytes: Vec<u8>,
    raw: Map<String, Value>,
    diff_ids: Vec<DiffId>,
}

/// One entry of an image's history
/// ([image-spec, config.md, "history"](https://github.com/opencontainers/image-spec/blob/main/config.md#properties)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// How the health of a container of an image is looked at, as docker's `HEALTHCHECK` writes it
/// ([image-spec, config.md, "Healthcheck"](https://github.com/opencontainers/image-spec/blob/main/config.md#properties)). What is
/// absent or 0 is left to whoever runs the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `Test`: nothing, `["NONE"]`, `["CMD", program, ...]`, or `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    /// `Interval`: nanoseconds between two checks.
    pub interval_ns: Option<u64>,
    /// `Timeout`: nanoseconds that a check may take.
    pub timeout_ns: Option<u64>,
    /// `StartPeriod`: nanoseconds after the start in which failures do not count.
    pub start_period_ns: Option<u64>,
    /// `Retries`: how many failures in a row make a container unhealthy.
    pub retries: Option<u32>,
}

impl ImageConfig {
    /// Parses a configuration. It must be a JSON object whose DiffIDs are digests; nothing else is required.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let what = || format!("image configuration {}", Digest::of(&bytes));
        if bytes.len() as u64 > MAX_CONFIG_SIZE {
            return Err(Error::TooLarge { what: what(), size: bytes.len() as u64, limit: MAX_CONFIG_SIZE });
        }
        let raw: Map<String, Value> = serde_json::from_slice(&bytes).map_err(Error::json(what()))?;
        let diff_ids = read_diff_ids(&raw, &what)?;
        Ok(Self { bytes, raw, diff_ids })
    }

    /// A configuration without layers, for an image made from nothing.
    pub fn new(platform: &Platform) -> Self {
        let mut raw = Map::new();
        raw.insert("architecture".to_owned(), json!(platform.architecture));
        raw.insert("os".to_owned(), json!(platform.os));
        let optional = [("os.version", &platform.os_version), ("variant", &platform.variant)];
        for (key, value) in optional {
            if let Some(value) = value {
                raw.insert(key.to_owned(), json!(value));
            }
        }
        if !platform.os_features.is_empty() {
            raw.insert("os.features".to_owned(), json!(platform.os_features));
        }
        raw.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": []}));
        Self { bytes: Value::Object(raw.clone()).to_string().into_bytes(), raw, diff_ids: Vec::new() }
    }

    /// The document, byte for byte.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The document as JSON, every key in its place.
    pub const fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }

    /// The digest of the document, which is Docker's image ID.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// A descriptor for it, in OCI's media type.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(MediaType::OCI_CONFIG, &self.bytes)
    }

    /// `rootfs.diff_ids`, lowest layer first.
    pub fn diff_ids(&self) -> &[DiffId] {
        &self.diff_ids
    }

    /// The ChainIDs of those layers.
    pub fn chain_ids(&self) -> Vec<ChainId> {
        chain_ids(&self.diff_ids)
    }

    /// `os`; empty if absent.
    pub fn os(&self) -> &str {
        self.text("os").unwrap_or_default()
    }

    /// `architecture`; empty if absent.
    pub fn architecture(&self) -> &str {
        self.text("architecture").unwrap_or_default()
    }

    /// `variant`.
    pub fn variant(&self) -> Option<&str> {
        self.text("variant")
    }

    /// `os.version`.
    pub fn os_version(&self) -> Option<&str> {
        self.text("os.version")
    }

    /// `os.features`.
    pub fn os_features(&self) -> Vec<String> {
        strings(get(&self.raw, "os.features")).unwrap_or_default()
    }

    /// The platform that the image is for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os().to_owned(),
            architecture: self.architecture().to_owned(),
            variant: self.variant().filter(|v| !v.is_empty()).map(str::to_owned),
            os_version: self.os_version().filter(|v| !v.is_empty()).map(str::to_owned),
            os_features: self.os_features(),
            extra: Map::new(),
        }
    }

    /// `created`, as written.
    pub fn created(&self) -> Option<&str> {
        self.text("created")
    }

    /// `author`.
    pub fn author(&self) -> Option<&str> {
        self.text("author")
    }

    /// `history`. Entries that are not objects are read as empty.
    pub fn history(&self) -> Vec<HistoryEntry> {
        let entries = get(&self.raw, "history").and_then(Value::as_array);
        entries.into_iter().flatten().map(read_history).collect()
    }

    /// `config.Entrypoint`; `None` when absent or null.
    pub fn entrypoint(&self) -> Option<Vec<String>> {
        strings(self.execution("Entrypoint"))
    }

    /// `config.Cmd`; `None` when absent or null.
    pub fn cmd(&self) -> Option<Vec<String>> {
        strings(self.execution("Cmd"))
    }

    /// `config.Env`, each `NAME=value`.
    pub fn env(&self) -> Vec<String> {
        strings(self.execution("Env")).unwrap_or_default()
    }

    /// `config.User`; `None` when absent or empty.
    pub fn user(&self) -> Option<&str> {
        self.execution_text("User")
    }

    /// `config.WorkingDir`; `None` when absent or empty.
    pub fn working_dir(&self) -> Option<&str> {
        self.execution_text("WorkingDir")
    }

    /// `config.StopSignal`; `None` when absent or empty.
    pub fn stop_signal(&self) -> Option<&str> {
        self.execution_text("StopSignal")
    }

    /// `config.ArgsEscaped`: Windows images whose command is one line that must not be escaped again.
    pub fn args_escaped(&self) -> bool {
        self.execution("ArgsEscaped").and_then(Value::as_bool).unwrap_or(false)
    }

    /// `config.Labels`.
    pub fn labels(&self) -> Vec<(String, String)> {
        let labels = self.execution("Labels").and_then(Value::as_object);
        let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        labels.into_iter().flatten().filter_map(pair).collect()
    }

    /// `config.Healthcheck`; `None` when absent or null.
    pub fn healthcheck(&self) -> Option<Healthcheck> {
        let check = self.execution("Healthcheck")?.as_object()?;
        let number = |key| get(check, key).and_then(Value::as_u64).filter(|number| *number > 0);
        Some(Healthcheck {
            test: strings(get(check, "Test")).unwrap_or_default(),
            interval_ns: number("Interval"),
            timeout_ns: number("Timeout"),
            start_period_ns: number("StartPeriod"),
            retries: number("Retries").and_then(|retries| u32::try_from(retries).ok()),
        })
    }

    /// The names in `config.Volumes`.
    pub fn volumes(&self) -> Vec<String> {
        self.execution_keys("Volumes")
    }

    /// The names in `config.ExposedPorts`: `80/tcp`.
    pub fn exposed_ports(&self) -> Vec<String> {
        self.execution_keys("ExposedPorts")
    }

    /// The configuration of a new image: this one with one more layer on top.
    ///
    /// Adds the DiffID and the history entry, and sets `created` to the entry's; everything else stays. If this image has
    /// fewer history entries than layers, empty ones are put in first, because several tools refuse an image whose history
    /// does not account for each layer. The same arguments always give the same bytes.
    pub fn append_layer(&self, diff_id: &DiffId, entry: HistoryEntry) -> Result<Self> {
        let what = || format!("image configuration {}", self.digest());
        let mut raw = self.raw.clone();

        let rootfs = slot(&mut raw, "rootfs", || json!({"type": "layers"}));
        let rootfs =
            rootfs.as_object_mut().ok_or_else(|| Error::malformed(what(), "rootfs is not an object"))?;
        let ids = slot(rootfs, "diff_ids", || json!([]));
        let ids =
            ids.as_array_mut().ok_or_else(|| Error::malformed(what(), "rootfs.diff_ids is not a list"))?;
        ids.push(json!(diff_id));

        let history = slot(&mut raw, "history", || json!([]));
        let history =
            history.as_array_mut().ok_or_else(|| Error::malformed(what(), "history is not a list"))?;
        let accounted = history.iter().filter(|entry| !read_history(entry).empty_layer).count();
        history.extend((accounted..self.diff_ids.len()).map(|_| json!({})));
        history.push(json!(entry));
        Self::finish(raw, entry)
    }

    /// The configuration of a new image with the same layers: one more history entry, which is marked as having none, and
    /// its time.
    pub fn append_history(&self, entry: HistoryEntry) -> Result<Self> {
        let what = || format!("image configuration {}", self.digest());
        let entry = HistoryEntry { empty_layer: true, ..entry };
        let mut raw = self.raw.clone();
        let history = slot(&mut raw, "history", || json!([]));
        let history =
            history.as_array_mut().ok_or_else(|| Error::malformed(what(), "history is not a list"))?;
        history.push(json!(entry));
        Self::finish(raw, entry)
    }

    fn finish(mut raw: Map<String, Value>, newest: HistoryEntry) -> Result<Self> {
        if let Some(created) = newest.created {
            *slot(&mut raw, "created", || Value::Null) = json!(created);
        }
        Self::parse(Value::Object(raw).to_string().into_bytes())
    }

    fn text(&self, key: &str) -> Option<&str> {
        get(&self.raw, key)?.as_str()
    }

    fn execution(&self, key: &str) -> Option<&Value> {
        get(get(&self.raw, "config")?.as_object()?, key)
    }

    fn execution_text(&self, key: &str) -> Option<&str> {
        self.execution(key)?.as_str().filter(|text| !text.is_empty())
    }

    fn execution_keys(&self, key: &str) -> Vec<String> {
        let object = self.execution(key).and_then(Value::as_object);
        object.into_iter().flat_map(|object| object.keys().cloned()).collect()
    }
}

fn read_diff_ids(raw: &Map<String, Value>, what: &dyn Fn() -> String) -> Result<Vec<DiffId>> {
    let Some(rootfs) = get(raw, "rootfs") else { return Ok(Vec::new()) };
    let rootfs = rootfs.as_object().ok_or_else(|| Error::malformed(what(), "rootfs is not an object"))?;
    if get(rootfs, "type").is_some_and(|kind| kind != "layers") {
        return Err(Error::malformed(what(), "rootfs.type is not `layers`"));
    }
    let Some(ids) = get(rootfs, "diff_ids") else { return Ok(Vec::new()) };
    let ids = ids.as_array().ok_or_else(|| Error::malformed(what(), "rootfs.diff_ids is not a list"))?;
    if ids.len() > MAX_LAYERS {
        return Err(Error::TooMany { what: what(), things: "DiffIDs", limit: MAX_LAYERS });
    }
    let parse = |id: &Value| {
        let text = id.as_str().ok_or_else(|| Error::malformed(what(), "a DiffID is not a string"))?;
        Digest::parse(text).map(DiffId)
    };
    ids.iter().map(parse).collect()
}

fn read_history(entry: &Value) -> HistoryEntry {
    let empty = Map::new();
    let object = entry.as_object().unwrap_or(&empty);
    let text = |key| get(object, key).and_then(Value::as_str).map(str::to_owned);
    HistoryEntry {
        created: text("created"),
        created_by: text("created_by"),
        author: text("author"),
        comment: text("comment"),
        empty_layer: get(object, "empty_layer").and_then(Value::as_bool).unwrap_or(false),
    }
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::Array(items) => {
            Some(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        }
        // Docker takes a lone string for a list of one in these places.
        Value::String(item) => Some(vec![item.clone()]),
        _ => None,
    }
}

/// The place of `key`, in whatever case it is spelled; a missing or null value becomes `default`.
fn slot<'a>(object: &'a mut Map<String, Value>, key: &str, default: impl FnOnce() -> Value) -> &'a mut Value {
    let key = spelling(object, key).unwrap_or(key).to_owned();
    let value = object.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = default();
    }
    value
}
