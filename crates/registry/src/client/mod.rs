//! A client of registries: who to ask, how, and what to do when the answer is no.

mod blob;
mod exchange;
mod manifest;
mod referrers;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::Method;

use crate::auth::{Authorizer, Credentials, Keyring};
use crate::config::{Endpoint, Paths, Registries};
use crate::error::{Error, Result};
use crate::http::{Connections, Patience};
use crate::reference::{Reference, is_host};
pub(crate) use blob::Source;
pub use blob::{ContentRange, RemoteBlob, parse_content_range};
pub(crate) use exchange::{Repository, Request};
pub use manifest::Document;
pub use referrers::{Referrer, parse_next_link};
pub(crate) use upload::Upload;
pub use upload::{BlobSource, Uploaded, parse_upload_range};

/// How to speak to registries.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// The configuration and credentials files.
    pub paths: Paths,
    /// These credentials instead of those in the files.
    pub credentials: Option<Credentials>,
    /// Speak HTTP without TLS.
    pub plain_http: bool,
    /// Do not check certificates.
    pub insecure_skip_tls_verify: bool,
    /// Authorities to trust, beside the system's.
    pub ca_certificates: Vec<PathBuf>,
    /// Time limits and numbers of attempts.
    pub patience: Patience,
}

/// What a client would like people to know while it works. Heard from several threads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Something failed and is tried again after a pause.
    Retry {
        /// What is being done.
        doing: String,
        /// The host.
        place: String,
        /// Why.
        reason: String,
        /// The pause.
        pause: Duration,
    },
    /// A place did not do; the next one is asked.
    Next {
        /// The host that did not do.
        place: String,
        /// Why.
        reason: String,
    },
}

type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// A client of registries. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    options: ClientOptions,
    registries: Registries,
    keyring: Keyring,
    authorizer: Authorizer,
    connections: Arc<Connections>,
    listener: Option<Listener>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with the configuration that `options` says.
    ///
    /// # Errors
    /// When a configuration file is damaged.
    pub fn new(options: ClientOptions) -> Result<Self> {
        Self::with_listener(options, None)
    }

    /// The same, with somebody who hears what is tried again.
    ///
    /// # Errors
    /// When a configuration file is damaged.
    pub fn with_listener(options: ClientOptions, listener: Option<Listener>) -> Result<Self> {
        let registries = Registries::load(&options.paths)?;
        let keyring = Keyring::new(options.paths.clone());
        let connections = Arc::new(Connections::new(
            options.ca_certificates.clone(),
            options.paths.certificate_dirs.clone(),
            options.patience.clone(),
        ));
        let authorizer =
            Authorizer::new(keyring.clone(), options.credentials.clone(), Arc::clone(&connections));
        Ok(Self {
            shared: Arc::new(Shared { options, registries, keyring, authorizer, connections, listener }),
        })
    }

    /// What `registries.conf` says.
    pub fn registries(&self) -> &Registries {
        &self.shared.registries
    }

    /// The credentials of this user.
    pub fn keyring(&self) -> &Keyring {
        &self.shared.keyring
    }

    /// Asks a registry whether it takes these credentials, the client's own or those on file: what `login` does first.
    ///
    /// # Errors
    /// [`Error::Refused`] when it does not; and when it does not answer.
    pub fn check_login(&self, key: &str) -> Result<()> {
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        if !is_host(host) {
            return Err(Error::InvalidReference {
                text: key.to_owned(),
                reason: "it is not the host of a registry",
            });
        }
        let endpoint =
            Endpoint { host: host.into(), repository: path.into(), insecure: false, mirror: false };
        let repository = Repository::new(self, endpoint, host);
        let doing = format!("log in to {host}");
        let scope = repository.scope(&[]);
        let answer = repository.send(&doing, &scope, Request::new(Method::GET, "/v2/"), &[200])?;
        drop(answer);
        Ok(())
    }

    pub(crate) fn tell(&self, event: Event) {
        if let Some(listener) = &self.shared.listener {
            listener(event);
        }
    }

    /// The places that a reference may be pulled from.
    pub(crate) fn pull_places(&self, reference: &Reference) -> Result<Vec<Repository>> {
        let endpoints = self.shared.registries.pull_endpoints(reference)?;
        endpoints.into_iter().map(|endpoint| self.place(endpoint)).collect()
    }

    /// The place that a reference is pushed to.
    pub(crate) fn push_place(&self, reference: &Reference) -> Result<Repository> {
        self.place(self.shared.registries.push_endpoint(reference)?)
    }

    fn place(&self, endpoint: Endpoint) -> Result<Repository> {
        // What a file has made of it has to be a name as well.
        let name = format!("{}/{}", endpoint.host, endpoint.repository);
        if !is_host(&endpoint.host) || Reference::parse(&format!("{name}:x")).is_err() {
            return Err(Error::InvalidReference {
                text: name,
                reason: "registries.conf has made it of a reference",
            });
        }
        // Credentials are for the host that is really spoken to.
        let credentials_of = endpoint.host.clone();
        Ok(Repository::new(self, endpoint, &credentials_of))
    }
}
