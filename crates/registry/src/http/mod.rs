//! HTTP underneath: connections, certificates, proxies. Nothing here knows what a registry is.

mod proxy;
mod retry;
mod tls;
mod url;

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderMap, Method, Request};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::error::{Error, Result, TransportError};
use proxy::Proxies;
pub use retry::{Patience, parse_retry_after};
pub(crate) use retry::{is_passing, may_pass};
use tls::Trust;
pub use url::{Scheme, Url};
pub(crate) use url::{encode, is_loopback};

/// Bytes that are read from a connection at once.
const READ_BUFFER: usize = 128 << 10;
/// Bytes that are written at once.
const WRITE_BUFFER: usize = 128 << 10;
/// Largest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Idle connections that are kept for each host.
const IDLE: usize = 8;
/// How long a registry may take to say what it thinks of an upload: many hash or copy it first.
const UPLOAD_ANSWER: Duration = Duration::from_secs(600);

/// Makes and keeps connections. Each host has its own certificates.
pub(crate) struct Connections {
    trust: Trust,
    proxies: Proxies,
    patience: Patience,
    agents: Mutex<HashMap<(String, Scheme, bool), Agent>>,
}

/// One request to one address.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: Option<Content>,
    /// Do not check the host's certificate.
    pub(crate) insecure: bool,
}

/// What is sent with a request.
pub(crate) struct Content {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) size: u64,
}

impl Content {
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, reader: Box::new(std::io::Cursor::new(bytes.to_vec())) }
    }
}

/// An answer, its body not yet read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) url: Url,
}

impl Answer {
    /// A header, if it is there once and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, which may have at most `limit` bytes.
    pub(crate) fn read_body(self, doing: &str, limit: u64) -> Result<Vec<u8>> {
        let place = self.url.host().to_owned();
        let mut bytes = Vec::new();
        let read = self.body.into_reader().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::Connection {
            doing: doing.to_owned(),
            place: place.clone(),
            source: Box::new(error.into()),
        })?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { doing: doing.to_owned(), place, limit });
        }
        Ok(bytes)
    }
}

impl Connections {
    pub(crate) fn new(
        ca_certificates: Vec<PathBuf>,
        certificate_dirs: Vec<PathBuf>,
        patience: Patience,
    ) -> Self {
        Self {
            trust: Trust::new(ca_certificates, certificate_dirs),
            proxies: Proxies::from_environment(),
            patience,
            agents: Mutex::default(),
        }
    }

    pub(crate) const fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Makes one request. Any answer is an answer, redirects and refusals too.
    pub(crate) fn call(&self, call: Call<'_>, doing: &str) -> Result<Answer> {
        let agent = self.agent(call.url, call.insecure)?;
        let failed = |source: TransportError| Error::Connection {
            doing: doing.to_owned(),
            place: call.url.host().to_owned(),
            source: Box::new(source),
        };
        let mut request = Request::builder().method(call.method.clone()).uri(call.url.to_string());
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let result = match call.body {
            Some(content) => {
                let request = request
                    .header("content-length", content.size.to_string())
                    .body(SendBody::from_owned_reader(content.reader));
                let request = request.map_err(|error| failed(TransportError::Http(error.to_string())))?;
                let patient = agent
                    .configure_request(request)
                    .timeout_per_read(Some(UPLOAD_ANSWER))
                    .timeout_recv_response(Some(UPLOAD_ANSWER));
                agent.run(patient.build())
            }
            None => match request.body(()) {
                Ok(request) => agent.run(request),
                Err(error) => return Err(failed(TransportError::Http(error.to_string()))),
            },
        };
        let response = result.map_err(|error| failed(error.into()))?;
        let (parts, body) = response.into_parts();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, url: call.url.clone() })
    }

    fn agent(&self, url: &Url, insecure: bool) -> Result<Agent> {
        let key = (url.host().to_owned(), url.scheme(), insecure);
        if let Some(agent) = self.lock().get(&key) {
            return Ok(agent.clone());
        }
        let proxy = match self.proxies.proxy_for(url) {
            Some(text) => Some(Proxy::new(text).map_err(|error| Error::Connection {
                doing: format!("use the proxy `{}`", without_password(text)),
                place: url.host().to_owned(),
                source: Box::new(error.into()),
            })?),
            None => None,
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("layerstone/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .proxy(proxy)
            .max_response_header_size(MAX_HEAD)
            .input_buffer_size(READ_BUFFER)
            .output_buffer_size(WRITE_BUFFER)
            .max_idle_connections(4 * IDLE)
            .max_idle_connections_per_host(IDLE)
            .timeout_resolve(Some(self.patience.answer))
            .timeout_connect(Some(self.patience.answer))
            .timeout_per_read(Some(self.patience.stall))
            .timeout_per_write(Some(self.patience.stall))
            .timeout_recv_response(Some(self.patience.answer));
        if url.scheme() == Scheme::Https {
            config = config.tls_config(self.trust.tls_config(url.host(), insecure)?);
        }
        let agent = Agent::new_with_config(config.build());
        Ok(self.lock().entry(key).or_insert(agent).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Scheme, bool), Agent>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// A proxy's address as it can be shown.
fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}{}", &text[..scheme + 3], &text[at + 1..]),
        (None, Some(at)) => text[at + 1..].to_owned(),
        _ => text.to_owned(),
    }
}
