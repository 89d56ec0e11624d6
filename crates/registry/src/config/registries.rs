//! `registries.conf`: which registries there are, where they really lie, and which are not to be used
//! ([containers-registries.conf(5)](https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md),
//! version 2).
//!
//! ```toml
//! unqualified-search-registries = ["registry.example.com", "docker.io"]
//!
//! [[registry]]
//! prefix = "docker.io/library"        # or "*.example.com"; what references begin with
//! location = "mirror.example.com/hub" # what is put in its place
//! insecure = false
//! blocked = false
//! [[registry.mirror]]                 # asked first, in this order
//! location = "10.0.0.2:5000/hub"
//! insecure = true
//! pull-from-mirror = "digest-only"    # or "tag-only", "all"
//!
//! [aliases]
//! "fedora" = "registry.fedoraproject.org/fedora"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Paths, read_bounded};
use crate::error::{Error, Result};
use crate::reference::{Parts, Reference};

/// All that the configuration says about registries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    search: Option<Vec<String>>,
    tables: BTreeMap<String, Table>,
    aliases: BTreeMap<String, String>,
}

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<Table>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Only there to refuse version 1.
    registries: Option<toml::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    prefix: Option<String>,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFromMirror,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// A place where a repository is: the registry itself, or a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host, with the port if there is one.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Whether its certificate is not checked, and it may be spoken to in the clear.
    pub insecure: bool,
    /// Whether it is a mirror.
    pub mirror: bool,
}

impl Registries {
    /// Reads the files. Those that do not exist say nothing.
    ///
    /// # Errors
    /// When a file cannot be read, is no TOML, or is of version 1.
    pub fn load(paths: &Paths) -> Result<Self> {
        let mut registries = Self::default();
        for path in &paths.registries {
            if registries.read(path)? {
                break;
            }
        }
        for directory in &paths.registries_dirs {
            for path in drop_ins(directory)? {
                registries.read(&path)?;
            }
        }
        Ok(registries)
    }

    /// Adds what one document says; it wins over what was said before. `path` is what it is called in errors.
    ///
    /// # Errors
    /// When it is no TOML, of version 1, or a table has neither prefix nor location.
    pub fn add(&mut self, text: &str, path: &Path) -> Result<()> {
        let invalid = |reason: String| Error::Config { path: path.to_owned(), reason };
        let document: Document =
            toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().into()))?;
        if document.registries.is_some() {
            return Err(invalid(
                "it is of version 1 (`[registries.search]`): write `unqualified-search-registries` and `[[registry]]`".into(),
            ));
        }
        if let Some(search) = document.unqualified_search_registries {
            self.search = Some(search);
        }
        for table in document.registry {
            let prefix = match (&table.prefix, table.location.as_str()) {
                (Some(prefix), _) if !prefix.is_empty() => prefix.clone(),
                (_, "") => return Err(invalid("a [[registry]] has neither prefix nor location".into())),
                (_, location) => location.to_owned(),
            };
            if prefix.starts_with("*.") && !table.location.is_empty() {
                return Err(invalid(format!(
                    "the prefix `{prefix}` has a wildcard, so it can have no location"
                )));
            }
            self.tables.insert(prefix.trim_end_matches('/').to_owned(), table);
        }
        for (name, target) in document.aliases {
            // An empty target takes an alias of an earlier file away.
            if target.is_empty() {
                self.aliases.remove(&name)
            } else {
                self.aliases.insert(name, target)
            };
        }
        Ok(())
    }

    /// What a name as it was typed may stand for, the likeliest first: a short name is an alias, or else looked for in each of
    /// the search registries, or in docker.io when none are configured.
    ///
    /// # Errors
    /// [`Error::InvalidReference`].
    pub fn candidates(&self, text: &str) -> Result<Vec<Reference>> {
        let parts = Parts::parse(text)?;
        if let Some(registry) = parts.registry {
            return Ok(vec![Reference::of(&parts, registry, parts.path, text)?]);
        }
        if let Some(target) = self.aliases.get(parts.path) {
            let aliased = Parts::parse(target)?;
            let registry = aliased.registry.unwrap_or(Reference::DOCKER_HUB);
            return Ok(vec![Reference::of(&parts, registry, aliased.path, text)?]);
        }
        match self.search.as_deref() {
            None | Some([]) => Ok(vec![Reference::of(&parts, Reference::DOCKER_HUB, parts.path, text)?]),
            Some(search) => {
                search.iter().map(|registry| Reference::of(&parts, registry, parts.path, text)).collect()
            }
        }
    }

    /// Where a reference is to be pulled from: mirrors first, the registry itself last.
    ///
    /// # Errors
    /// [`Error::Blocked`].
    pub fn pull_endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let Some((prefix, table)) = self.table(reference)? else { return Ok(vec![own(reference)]) };
        let by_digest = reference.digest().is_some();
        let mut endpoints = Vec::new();
        for mirror in &table.mirror {
            let taken = match mirror.pull_from_mirror {
                PullFromMirror::All => by_digest || !table.mirror_by_digest_only,
                PullFromMirror::DigestOnly => by_digest,
                PullFromMirror::TagOnly => !by_digest,
            };
            if taken {
                endpoints.push(rewritten(reference, prefix, &mirror.location, mirror.insecure, true));
            }
        }
        endpoints.push(self.own_endpoint(reference, prefix, table));
        Ok(endpoints)
    }

    /// Where a reference is to be pushed to: the registry itself, never a mirror.
    ///
    /// # Errors
    /// [`Error::Blocked`].
    pub fn push_endpoint(&self, reference: &Reference) -> Result<Endpoint> {
        Ok(match self.table(reference)? {
            Some((prefix, table)) => self.own_endpoint(reference, prefix, table),
            None => own(reference),
        })
    }

    fn own_endpoint(&self, reference: &Reference, prefix: &str, table: &Table) -> Endpoint {
        match table.location.as_str() {
            "" => Endpoint { insecure: table.insecure, ..own(reference) },
            location => rewritten(reference, prefix, location, table.insecure, false),
        }
    }

    /// The table with the longest prefix.
    fn table(&self, reference: &Reference) -> Result<Option<(&str, &Table)>> {
        let name = reference.name();
        let matching = self.tables.iter().filter(|(prefix, _)| matches(prefix, reference.registry(), &name));
        let Some((prefix, table)) = matching.max_by_key(|(prefix, _)| prefix.len()) else { return Ok(None) };
        if table.blocked {
            return Err(Error::Blocked { reference: reference.to_string(), prefix: prefix.clone() });
        }
        Ok(Some((prefix, table)))
    }

    fn read(&mut self, path: &Path) -> Result<bool> {
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Config { path: path.to_owned(), reason: "it is not UTF-8".into() })?;
        self.add(&text, path)?;
        Ok(true)
    }
}

fn own(reference: &Reference) -> Endpoint {
    Endpoint {
        host: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
        insecure: false,
        mirror: false,
    }
}

/// A prefix ends where a name's part ends.
fn matches(prefix: &str, registry: &str, name: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = registry.split(':').next().unwrap_or_default();
        return domain.starts_with('.') && (host.ends_with(domain) || registry.ends_with(domain));
    }
    match name.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn rewritten(reference: &Reference, prefix: &str, location: &str, insecure: bool, mirror: bool) -> Endpoint {
    let name = reference.name();
    // A wildcard stands for the whole registry.
    let prefix = if prefix.starts_with('*') { reference.registry() } else { prefix };
    let rest = name.strip_prefix(prefix).unwrap_or_default();
    let place = format!("{}{rest}", location.trim_end_matches('/'));
    let (host, repository) = place.split_once('/').unwrap_or((&place, ""));
    Endpoint { host: host.to_owned(), repository: repository.to_owned(), insecure, mirror }
}

/// The `*.conf` files of a directory, by name.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("list", directory)(error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(Error::file("list", directory))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    paths.sort();
    Ok(paths)
}
