//! The files in which podman and docker keep credentials
//! ([containers-auth.json(5)](https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md)).
//!
//! ```json
//! {
//!   "auths": {
//!     "docker.io":            { "auth": "<base64 of name:password>" },
//!     "quay.io/organisation": { "auth": "..." },
//!     "example.azurecr.io":   { "identitytoken": "..." }
//!   },
//!   "credHelpers": { "gcr.io": "gcloud" },
//!   "credsStore": "desktop"
//! }
//! ```
//!
//! The file belongs to other programs as well: what is not understood is kept, in its order.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value};

use super::Credentials;
use crate::config::read_bounded;
use crate::error::{Error, Result};
use crate::reference::Reference;

/// One file.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    root: Map<String, Value>,
}

impl AuthFile {
    /// Reads a file; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(Error::File { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Self::empty(path)));
        }
        let root = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Config { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Some(Self { path: path.to_owned(), root }))
    }

    pub(super) fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), root: Map::new() }
    }

    /// The helper for a registry.
    pub(super) fn helper_of(&self, registry: &str) -> Option<&str> {
        let helpers = self.root.get("credHelpers")?.as_object()?;
        let (_, program) = helpers.iter().find(|(key, _)| normal(key) == registry)?;
        program.as_str().filter(|program| !program.is_empty())
    }

    /// The helper for all registries.
    pub(super) fn store(&self) -> Option<&str> {
        self.root.get("credsStore")?.as_str().filter(|program| !program.is_empty())
    }

    /// The most special entry that has credentials.
    pub(super) fn entry(&self, registry: &str, repository: &str) -> Result<Option<Credentials>> {
        let Some(auths) = self.root.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let mut key = format!("{registry}/{repository}");
        while key.len() > registry.len() {
            if let Some(found) = auths.get(&key) {
                return self.credentials(&key, found);
            }
            key.truncate(key.rfind('/').unwrap_or(registry.len()));
        }
        let exact = auths.get_key_value(registry);
        // Docker's own keys are addresses: `https://index.docker.io/v1/`.
        let found = exact.or_else(|| auths.iter().find(|(key, _)| !is_part(key) && normal(key) == registry));
        match found {
            Some((key, value)) => self.credentials(key, value),
            None => Ok(None),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.root
            .get("auths")
            .and_then(Value::as_object)
            .is_some_and(|auths| matching(auths, key).next().is_some())
    }

    pub(super) fn set(&mut self, key: &str, credentials: &Credentials) {
        self.remove(key);
        let mut entry = Map::new();
        match credentials {
            Credentials::Password { username, password } => {
                entry.insert("auth".into(), STANDARD.encode(format!("{username}:{password}")).into());
            }
            Credentials::IdentityToken(token) => {
                entry.insert("identitytoken".into(), token.clone().into());
            }
            Credentials::RegistryToken(token) => {
                entry.insert("registrytoken".into(), token.clone().into());
            }
        }
        let auths = self.root.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.to_owned(), Value::Object(entry));
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        let Some(auths) = self.root.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let gone: Vec<String> = matching(auths, key).map(str::to_owned).collect();
        gone.iter().for_each(|key| drop(auths.shift_remove(key)));
        !gone.is_empty()
    }

    pub(super) fn remove_all(&mut self) {
        self.root.insert("auths".into(), Value::Object(Map::new()));
    }

    /// Writes the file so that it is either the old one or the new one, readable by its owner only.
    pub(super) fn write(&self) -> Result<()> {
        // Some keep it in another place and link to it.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(Error::file("create", directory))?;
        let mut bytes = serde_json::to_vec_pretty(&self.root)
            .map_err(|error| Error::Config { path: path.clone(), reason: error.to_string() })?;
        bytes.push(b'\n');
        // `tempfile` makes files with mode 0600.
        let mut file =
            tempfile::NamedTempFile::new_in(directory).map_err(Error::file("create a file in", directory))?;
        let written = file.write_all(&bytes).and_then(|()| file.as_file().sync_all());
        written.map_err(Error::file("write", &path))?;
        file.persist(&path).map_err(|error| Error::file("write", &path)(error.error))?;
        Ok(())
    }

    fn credentials(&self, key: &str, value: &Value) -> Result<Option<Credentials>> {
        let invalid = |reason: &str| Error::Config {
            path: self.path.clone(),
            reason: format!("the entry `{key}`: {reason}"),
        };
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credentials::IdentityToken(token.to_owned())));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Credentials::RegistryToken(token.to_owned())));
        }
        if let Some(auth) = text("auth") {
            let decoded = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth));
            let decoded = decoded.map_err(|_| invalid("`auth` is not base64"))?;
            let decoded = String::from_utf8(decoded).map_err(|_| invalid("`auth` is not UTF-8"))?;
            let (username, password) =
                decoded.split_once(':').ok_or_else(|| invalid("`auth` is not name:password"))?;
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credentials::Password { username: username.to_owned(), password }));
        }
        match (text("username"), text("password")) {
            (Some(username), Some(password)) => {
                Ok(Some(Credentials::Password { username: username.into(), password: password.into() }))
            }
            // Docker leaves an empty entry for each registry whose credentials a helper has.
            _ => Ok(None),
        }
    }
}

/// The keys that stand for `key`.
fn matching<'a>(auths: &'a Map<String, Value>, key: &'a str) -> impl Iterator<Item = &'a str> {
    let whole_registry = !key.contains('/');
    auths
        .keys()
        .map(String::as_str)
        .filter(move |own| *own == key || whole_registry && !is_part(own) && normal(own) == key)
}

/// Whether a key is one of a part of a registry, and not an address as Docker writes them.
fn is_part(key: &str) -> bool {
    !key.contains("://") && key.contains('/') && !key.ends_with("/v1/") && !key.ends_with("/v2/")
}

/// The registry that a key stands for.
fn normal(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match bare.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => Reference::DOCKER_HUB,
        host => host,
    }
}
