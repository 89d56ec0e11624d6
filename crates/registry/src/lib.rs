//! Registries: where images come from and go to, over the
//! [OCI distribution protocol](https://github.com/opencontainers/distribution-spec/blob/main/spec.md) and Docker's before it.
//!
//! # A pull, and a push
//!
//! ```text
//! GET  /v2/<name>/manifests/<tag|digest>       manifest or index          401 ─► token service ─► again
//! GET  /v2/<name>/blobs/<digest>               configuration, layers      307 ─► storage, without credentials
//!
//! HEAD /v2/<name>/blobs/<digest>               is it there?
//! POST /v2/<name>/blobs/uploads/?mount=&from=  is it in another repository of yours?
//! POST, PATCH ..., PUT ?digest=                then take it
//! PUT  /v2/<name>/manifests/<tag>              last, when all that it names is there
//! ```
//!
//! # What is in here
//!
//! - [`Reference`]: names as people type them.
//! - [`Client`]: one for a program. [`Client::resolve`] turns a name into a [`Pull`]: an image's documents, proven, and its
//!   layers as readers that go on where a broken connection ended. [`Client::push`] is the way back.
//! - [`Registries`], [`Keyring`], [`Paths`]: the configuration and credentials that podman and docker have on this machine.
//! - [`limits`]: how much of anything a registry may make a client read, wait for or repeat.
//!
//! Blocking calls, threads of the caller: whoever unpacks layers has threads already, and each of them reads its own.
//!
//! What is received is not trusted. Documents are bounded and checked against their digest before they are parsed; a blob's
//! reader gives what the registry sent, and the digest is checked by whoever reads
//! ([`VerifyingReader`](layerstone_oci::VerifyingReader)). Credentials go to the registry that they are for and to the token
//! service that it names, over TLS, and nowhere else.

#![forbid(unsafe_code)]

mod auth;
mod client;
mod config;
mod error;
mod http;
pub mod limits;
mod pull;
mod push;
mod reference;

pub use auth::{Challenge, Credentials, Keyring, parse_challenges};
pub use client::{BlobSource, Client, ClientOptions, Document, Event, Referrer, RemoteBlob, Uploaded};
pub use config::{Endpoint, Paths, Registries};
pub use error::{Error, Message, Refusal, Result, Status, TransportError};
pub use http::{Patience, Scheme, Url, parse_retry_after};
pub use pull::{Content, Pull, Select};
pub use push::{PushOptions, PushOutcome, PushProgress};
pub use reference::Reference;

/// Parsers of what registries send, for those who test them with anything.
pub mod parse {
    pub use crate::auth::parse_challenges;
    pub use crate::client::{ContentRange, parse_content_range, parse_next_link, parse_upload_range};
    pub use crate::http::parse_retry_after;
}
