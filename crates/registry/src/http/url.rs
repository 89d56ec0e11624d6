//! Addresses: as much of RFC 3986 as registries use.

use std::fmt;

use crate::reference::is_host;

/// The longest address that is taken from an answer. Signed addresses of object stores have one or two kilobytes.
const MAX_URL: usize = 16 << 10;

/// An absolute `http` or `https` address without user, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    host: String,
    /// Begins with a slash; with the query.
    path: String,
}

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Url {
    /// A path on a host. The path begins with a slash.
    pub(crate) fn new(scheme: Scheme, host: &str, path: &str) -> Self {
        Self { scheme, host: host.to_owned(), path: path.to_owned() }
    }

    /// Parses an absolute address; `None` when it is none, or has a user in it.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_URL || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = if let Some(rest) = strip_prefix_ignoring_case(text, "https://") {
            (Scheme::Https, rest)
        } else {
            (Scheme::Http, strip_prefix_ignoring_case(text, "http://")?)
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        is_host(host).then(|| Self { scheme, host: host.to_ascii_lowercase(), path })
    }

    /// What `reference`, in an answer of this address, stands for: an absolute address, one without scheme, an absolute
    /// path, or a relative one.
    pub fn join(&self, reference: &str) -> Option<Self> {
        if reference.len() > MAX_URL || !reference.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        // RFC 3986, 5.2.2: dots are resolved whatever the reference begins with.
        let resolved = |text: &str| Self::parse(text).map(|url| Self { path: remove_dots(&url.path), ..url });
        if reference.contains("://") && !reference.starts_with(['/', '?', '.']) {
            return resolved(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return resolved(&format!("{}{rest}", self.scheme.prefix()));
        }
        let reference = reference.split('#').next().unwrap_or_default();
        let own = self.path.split('?').next().unwrap_or_default();
        let path = match reference.as_bytes().first() {
            None => self.path.clone(),
            Some(b'/') => reference.to_owned(),
            Some(b'?') => format!("{own}{reference}"),
            Some(_) => {
                let directory = &own[..own.rfind('/').map_or(0, |at| at + 1)];
                format!("{directory}{reference}")
            }
        };
        Some(Self { path: remove_dots(&path), ..self.clone() })
    }

    /// The host, with the port if there is one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without port.
    pub(crate) fn host_name(&self) -> &str {
        host_name(&self.host)
    }

    /// How the host is spoken to.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The path and the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same with one more parameter in the query.
    #[must_use]
    pub(crate) fn with_query(&self, name: &str, value: &str) -> Self {
        let joint = match self.path.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        let mut path = format!("{}{joint}{name}=", self.path);
        encode(value, &mut path);
        Self { path, ..self.clone() }
    }

    /// Whether the other address is the same host, port and scheme: where credentials may go.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.host_name().eq_ignore_ascii_case(other.host_name())
            && self.port() == other.port()
    }

    fn port(&self) -> u16 {
        let after = &self.host[self.host_name().len()..];
        after.strip_prefix(':').and_then(|port| port.parse().ok()).unwrap_or(self.scheme.port())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.scheme.prefix(), self.host, self.path)
    }
}

/// A host without its port; IPv6 addresses keep their brackets.
pub(crate) fn host_name(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether a host, with or without port, is this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = host_name(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Appends `text` as a value of a query: all but the unreserved characters (RFC 3986, 2.3), `:` and `/` as `%XX`.
pub(crate) fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// RFC 3986, 5.2.4.
fn remove_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut parts: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for part in path.split('/').skip(1) {
        ends_in_directory = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut out = format!("/{}", parts.join("/"));
    if ends_in_directory && !out.ends_with('/') {
        out.push('/');
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    out
}
