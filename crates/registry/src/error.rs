//! What can go wrong with a registry: what was being done, where, what was answered, and what helps.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use layerstone_oci::{Digest, VerifyError};

use crate::http::Url;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a registry, its configuration or its credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is no reference.
    #[error("`{text}` is not an image reference: {reason}")]
    InvalidReference {
        /// The text, cut when it is long.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The configuration forbids the registry.
    #[error("`{reference}` is blocked by registries.conf (prefix `{prefix}`)")]
    Blocked {
        /// What was asked for.
        reference: String,
        /// The prefix of the table that blocks it.
        prefix: String,
    },
    /// A configuration, credentials or certificate file cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A configuration or credentials file is not what it should be.
    #[error("{} is not valid: {reason}", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A credential helper failed.
    #[error("credential helper `{program}` cannot {doing} the credentials of {registry}: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// `get`, `store` or `erase`, in words.
        doing: &'static str,
        /// For which registry.
        registry: String,
        /// What it said, or why it did not run.
        reason: String,
    },
    /// There are no credentials to forget.
    #[error("not logged in to {0}")]
    NotLoggedIn(String),
    /// No connection, or one that broke.
    #[error("cannot {doing}: no answer from {place}")]
    Connection {
        /// What was being done.
        doing: String,
        /// The host.
        place: String,
        /// What the system, or TLS, said.
        source: Box<TransportError>,
    },
    /// A registry refused.
    #[error("cannot {doing}: {place} answers {status}{}", said(messages))]
    Refused {
        /// What was being done.
        doing: String,
        /// The host.
        place: String,
        /// The status of the answer.
        status: Status,
        /// What the registry said.
        messages: Vec<Message>,
        /// Whether credentials were sent.
        authenticated: bool,
    },
    /// A registry asks for patience for longer than anybody has.
    #[error("cannot {doing}: {place} asks to wait for {} seconds", wait.as_secs())]
    Wait {
        /// What was being done.
        doing: String,
        /// The host.
        place: String,
        /// For how long.
        wait: Duration,
    },
    /// A registry's answer breaks a rule of its protocol.
    #[error("cannot {doing}: the answer of {place} is wrong: {reason}")]
    Protocol {
        /// What was being done.
        doing: String,
        /// The host.
        place: String,
        /// Which rule.
        reason: String,
    },
    /// A document from a registry is larger than is read.
    #[error("cannot {doing}: the answer of {place} has more than {limit} bytes")]
    TooLarge {
        /// What was being done.
        doing: String,
        /// The host.
        place: String,
        /// The limit.
        limit: u64,
    },
    /// Content is not what its digest promises.
    #[error("{what} from {place}")]
    Verify {
        /// Which document.
        what: String,
        /// The host.
        place: String,
        /// How it differs.
        source: VerifyError,
    },
    /// An image from before 2016.
    #[error(
        "`{reference}` is published in Docker's manifest schema 1 only, which has no digests of uncompressed layers and is not read"
    )]
    Schema1 {
        /// Which image.
        reference: String,
    },
    /// What a reference stands for is no image.
    #[error("`{reference}` is no image: its {what} is of type `{found}`")]
    NotAnImage {
        /// What was asked for.
        reference: String,
        /// What is of that type.
        what: &'static str,
        /// The type.
        found: String,
    },
    /// An image is not there for a platform.
    #[error("`{reference}` has no image for {wanted}; there are {}", list(available))]
    NoMatchingPlatform {
        /// What was asked for.
        reference: String,
        /// For which platform.
        wanted: String,
        /// The platforms that there are.
        available: Vec<String>,
    },
    /// A mirror and the registry, or several search registries, all failed.
    #[error("cannot {doing} from any of {} places", attempts.len())]
    AllFailed {
        /// What was being done.
        doing: String,
        /// Why each of them failed.
        attempts: Vec<Error>,
    },
    /// A blob's connections break again and again.
    #[error(
        "cannot fetch blob {digest}: gave up at byte {offset} of {size} after {attempts} attempts without progress"
    )]
    BlobBroken {
        /// Which blob.
        digest: Digest,
        /// Bytes that arrived.
        offset: u64,
        /// Bytes that there are.
        size: u64,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        source: Box<Error>,
    },
    /// A layer that may not be distributed has no place to be fetched from, or is not sent.
    #[error("layer {digest} may not be distributed, and its manifest names no address to fetch it from")]
    NoForeignSource {
        /// Which layer.
        digest: Digest,
    },
    /// The local side of a push failed.
    #[error("cannot read blob {digest} to push it")]
    ReadBlob {
        /// Which blob.
        digest: Digest,
        /// What went wrong.
        source: io::Error,
    },
    /// A document is wrong.
    #[error(transparent)]
    Oci(#[from] layerstone_oci::Error),
    /// A thread ended without a word.
    #[error("a worker thread ended unexpectedly while {0}")]
    Worker(&'static str),
}

/// The status code of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.0 {
            400 => "bad request",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not found",
            405 => "method not allowed",
            413 => "too large",
            416 => "range not satisfiable",
            429 => "too many requests",
            500 => "internal server error",
            502 => "bad gateway",
            503 => "service unavailable",
            504 => "gateway timeout",
            _ => return write!(f, "{}", self.0),
        };
        write!(f, "{} ({reason})", self.0)
    }
}

/// One entry of `errors` in a registry's answer
/// ([distribution-spec, "Error codes"](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes)).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Message {
    /// `MANIFEST_UNKNOWN`, `DENIED`, ...
    #[serde(default)]
    pub code: String,
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// Why an exchange with a host did not come to an answer, or broke in the middle of one.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The system: no connection, a broken one, a name that does not resolve, a time limit.
    #[error("{0}")]
    Io(io::Error),
    /// The host's certificate or its TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// Nothing came for too long.
    #[error("no data for {} seconds", .0.as_secs_f32())]
    Stalled(Duration),
    /// So little came that it would never end.
    #[error("only {bytes} bytes in {} seconds", window.as_secs_f32())]
    Slow {
        /// Bytes that came.
        bytes: u64,
        /// In that time.
        window: Duration,
    },
    /// The answer was no HTTP, or broke its rules.
    #[error("{0}")]
    Http(String),
}

/// What a refusal means, whatever the registry calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows who asks, or the password is wrong.
    Unauthorized,
    /// Who asks may not.
    Forbidden,
    /// There is no such repository, manifest or blob; or nobody may know of it.
    NotFound,
    /// Too many requests.
    RateLimited,
    /// Anything else.
    Other,
}

impl Error {
    /// What kind of refusal this is, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { status, .. } => Some(match status.0 {
                401 => Refusal::Unauthorized,
                403 => Refusal::Forbidden,
                404 => Refusal::NotFound,
                429 => Refusal::RateLimited,
                _ => Refusal::Other,
            }),
            Self::Wait { .. } => Some(Refusal::RateLimited),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { place, authenticated, .. } => match self.refusal()? {
                Refusal::Unauthorized if *authenticated => {
                    Some(format!("the credentials for {place} are wrong or have expired: `layerstone login {place}`"))
                }
                Refusal::Unauthorized => {
                    Some(format!("the image is private, or does not exist: log in with `layerstone login {place}`"))
                }
                Refusal::Forbidden if *authenticated => {
                    Some("the account that is logged in may not do that: ask the repository's owner".into())
                }
                Refusal::Forbidden => Some(format!("`layerstone login {place}` first")),
                Refusal::NotFound if *authenticated => Some("check the spelling of repository and tag".into()),
                Refusal::NotFound => Some(format!(
                    "check the spelling of repository and tag; a private repository needs `layerstone login {place}`"
                )),
                Refusal::RateLimited => Some(format!(
                    "{place} limits how much is pulled: wait, log in with `layerstone login {place}`, or use a mirror (registries.conf)"
                )),
                Refusal::Other => None,
            },
            Self::Wait { place, .. } => {
                Some(format!("try again later; `layerstone login {place}` often raises the limit"))
            }
            Self::Connection { place, source, .. } => Some(match &**source {
                TransportError::Tls(_) => format!(
                    "put the authority's certificate into /etc/containers/certs.d/{place}/ca.crt or give it with --ca-cert; a registry without TLS needs --plain-http"
                ),
                _ => "check the name of the registry, the network and the proxy variables (HTTPS_PROXY, NO_PROXY)".into(),
            }),
            Self::NoMatchingPlatform { .. } => Some("choose one with --platform, or take all with --all-platforms".into()),
            Self::Blocked { .. } => Some("registries.conf says `blocked = true`: that is a decision of this machine's administrator".into()),
            Self::NotLoggedIn(_) => Some("`layerstone login REGISTRY` logs in".into()),
            Self::Schema1 { .. } => Some("push the image again with a tool of this decade".into()),
            Self::Verify { .. } => Some("the registry or something on the way has changed the content; nothing of it was stored".into()),
            Self::BlobBroken { source, .. } => source
                .hint()
                .or_else(|| Some("pull again: layers that were finished are not fetched again; with --keep-blobs a layer goes on where it broke off".into())),
            Self::AllFailed { attempts, .. } => attempts.last().and_then(Self::hint),
            _ => None,
        }
    }

    /// As an [`io::Error`], for readers.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Connection { .. } | Self::BlobBroken { .. } => io::ErrorKind::ConnectionAborted,
            Self::Verify { .. } | Self::Protocol { .. } => io::ErrorKind::InvalidData,
            _ => match self.refusal() {
                Some(Refusal::NotFound) => io::ErrorKind::NotFound,
                // Not the system's "permission denied": that has other causes and hints.
                _ => io::ErrorKind::Other,
            },
        };
        io::Error::new(kind, self)
    }

    /// The error inside an [`io::Error`] that a reader of this crate gave.
    pub fn of_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref::<Self>()
    }

    pub(crate) fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn protocol(doing: &str, url: &Url, reason: impl Into<String>) -> Self {
        Self::Protocol { doing: doing.to_owned(), place: url.host().to_owned(), reason: reason.into() }
    }
}

impl From<ureq::Error> for TransportError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Io(error) => Self::from(error),
            ureq::Error::Rustls(error) => Self::Tls(error.to_string()),
            ureq::Error::Tls(reason) => Self::Tls(reason.to_owned()),
            ureq::Error::HostNotFound => {
                Self::Io(io::Error::new(io::ErrorKind::NotFound, "the name does not resolve to an address"))
            }
            ureq::Error::Timeout(which) => {
                Self::Io(io::Error::new(io::ErrorKind::TimedOut, format!("time limit reached ({which})")))
            }
            other => Self::Http(other.to_string()),
        }
    }
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls.to_string());
        }
        match error.downcast::<ureq::Error>() {
            // Not again through `ureq::Error::Io`, which would never end.
            Ok(ureq::Error::Io(inner)) => Self::Io(inner),
            Ok(other) => Self::from(other),
            Err(error) => Self::Io(error),
        }
    }
}

fn said(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages.iter().take(3) {
        let words: String = message.message.chars().filter(|c| !c.is_control()).take(300).collect();
        let code: String = message.code.chars().filter(|c| !c.is_control()).take(60).collect();
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.push_str(&match (code.is_empty(), words.is_empty()) {
            (false, false) => format!("{words} ({code})"),
            (false, true) => code,
            _ => words,
        });
    }
    text
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [head @ .., last] if !head.is_empty() => format!("{} and {last}", head.join(", ")),
        _ => names.concat(),
    }
}
