//! Names of images in registries, as people type them.
//!
//! ```text
//! [registry[:port]/]repository[:tag][@digest]
//!
//! alpine                      docker.io/library/alpine:latest
//! ghcr.io/org/app:1           ghcr.io/org/app:1
//! localhost:5000/app@sha256:… the manifest with that digest
//! ```
//!
//! The first part is a registry when it has a dot, a colon or a capital letter, or is `localhost`: the rule of Docker's
//! [reference grammar](https://github.com/distribution/reference/blob/main/normalize.go). Everything else belongs to
//! [docker.io](Reference::DOCKER_HUB), whose images without a namespace are those of `library`.

use std::fmt;
use std::str::FromStr;

use layerstone_oci::Digest;

use crate::error::{Error, Result};
use crate::limits::{MAX_NAME, MAX_TAG};

/// An image in a registry: which registry, which repository, which manifest of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A reference as it was typed: with a registry, or short.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Parts<'a> {
    pub(crate) registry: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) tag: Option<&'a str>,
    pub(crate) digest: Option<Digest>,
}

impl Reference {
    /// The registry of names without one.
    pub const DOCKER_HUB: &'static str = "docker.io";
    /// The tag of names without tag and digest.
    pub const DEFAULT_TAG: &'static str = "latest";

    /// Parses a reference; a short name is one of docker.io.
    ///
    /// # Errors
    /// [`Error::InvalidReference`], with the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = Parts::parse(text)?;
        Self::of(&parts, parts.registry.unwrap_or(Self::DOCKER_HUB), parts.path, text)
    }

    /// The same with another registry and repository path.
    pub(crate) fn of(parts: &Parts<'_>, registry: &str, path: &str, text: &str) -> Result<Self> {
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => Self::DOCKER_HUB,
            other => other,
        };
        let library = registry == Self::DOCKER_HUB && !path.contains('/');
        let repository = if library { format!("library/{path}") } else { path.to_owned() };
        let invalid = |reason| Err(invalid(text, reason));
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return invalid("registry and repository are longer than 255 characters");
        }
        let tag = match (parts.tag, parts.digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some(Self::DEFAULT_TAG.to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest: parts.digest })
    }

    /// The registry's host, with the port if one was given: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository: `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/alpine`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What a registry is asked for: the digest, or else the tag.
    pub fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => Self::DEFAULT_TAG.to_owned(),
        }
    }

    /// The same repository, another manifest of it.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl<'a> Parts<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self> {
        let fail = |reason| Err(invalid(text, reason));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => match Digest::parse(digest) {
                Ok(digest) => (rest, Some(digest)),
                Err(_) => return fail("what follows the @ is not a digest (sha256:...)"),
            },
            None => (text, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_registry(first) => (Some(first), rest),
            _ => (None, rest),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.is_empty() {
            return fail("it has no repository");
        }
        if let Some(registry) = registry
            && !is_host(registry)
        {
            return fail("the registry is not a host name with an optional port");
        }
        if digest.is_none() && registry.is_none() && path.len() == 64 && path.bytes().all(is_lower_hex) {
            return fail("64 hexadecimal digits are an image id, not a name");
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return fail("the repository has capital letters");
        }
        if !path.split('/').all(is_component) {
            return fail("the repository is not lower-case words, joined by /, '.', '_', '__' or dashes");
        }
        if path.len() > MAX_NAME {
            return fail("registry and repository are longer than 255 characters");
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return fail("the tag is not 1 to 128 letters, digits, '_', '.' or '-', the first no '.' or '-'");
        }
        Ok(Self { registry, path, tag, digest })
    }
}

fn invalid(text: &str, reason: &'static str) -> Error {
    Error::InvalidReference { text: text.chars().take(300).collect(), reason }
}

/// Whether the part before the first slash names a registry.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// A DNS name, an IPv4 address or an IPv6 address in brackets, with an optional port.
pub(crate) fn is_host(text: &str) -> bool {
    let port_is_right = |port: &str| {
        !port.is_empty()
            && port.len() <= 5
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        let port = after.strip_prefix(':');
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (after.is_empty() || port.is_some_and(port_is_right));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_')
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
    };
    name.split('.').all(label) && port.is_none_or(port_is_right)
}

/// Lower-case letters and digits, with single separators between: a dot, one or two underscores, or dashes.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_right = |b: Option<&u8>| b.is_some_and(|b| alphanumeric(*b));
    if !ends_right(bytes.first()) || !ends_right(bytes.last()) {
        return false;
    }
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.into_iter().all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}
