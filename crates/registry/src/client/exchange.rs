//! One request and its answer, with all that lies between.
//!
//! Every request goes through [`Repository::send`]:
//!
//! ```text
//! request ─► 401 ─► authorise, again (twice at most)
//!        ├─► 3xx ─► follow; credentials stay behind when the host changes
//!        ├─► 429, 5xx, no connection ─► wait (Retry-After, or twice as long each time), again (a few times)
//!        └─► answer, or an error that says what was being done
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ureq::http::Method;

use super::{Client, Event};
use crate::auth::{Authorization, Scope};
use crate::config::Endpoint;
use crate::error::{Error, Result, Status, TransportError};
use crate::http::{
    Answer, Call, Content, Patience, Scheme, Url, is_loopback, is_passing, may_pass, parse_retry_after,
};
use crate::limits::{MAX_AUTHORIZATIONS, MAX_REDIRECTS};
use crate::reference::Reference;

/// A repository at one place.
#[derive(Clone)]
pub(crate) struct Repository {
    client: Client,
    endpoint: Endpoint,
    /// What its credentials are filed under.
    registry: String,
    /// How the place is spoken to, once that is known.
    spoken: Arc<Mutex<Option<(Scheme, bool)>>>,
}

/// A request to a repository.
pub(crate) struct Request<'a> {
    method: Method,
    target: Target<'a>,
    headers: Vec<(&'static str, String)>,
    /// Makes the body, again for each attempt.
    body: Option<&'a dyn Fn() -> Result<Content>>,
    /// Whether it may be made again when nobody knows whether it was done.
    repeatable: bool,
}

enum Target<'a> {
    /// A path of the place.
    Path(String),
    /// An address that the place gave.
    Url(&'a Url),
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, target: Target::Path(path.into()), headers: Vec::new(), body: None, repeatable: true }
    }

    pub(crate) fn to(method: Method, url: &'a Url) -> Self {
        Self { method, target: Target::Url(url), headers: Vec::new(), body: None, repeatable: true }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: &'a dyn Fn() -> Result<Content>) -> Self {
        self.body = Some(body);
        self
    }

    /// For requests that somebody else makes again, from another point.
    pub(crate) fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }
}

impl Repository {
    pub(super) fn new(client: &Client, endpoint: Endpoint, registry: &str) -> Self {
        let registry = registry.to_owned();
        Self { client: client.clone(), endpoint, registry, spoken: Arc::default() }
    }

    /// The host.
    pub(crate) fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// A manifest's name as people write it: `host/name:tag` or `host/name@digest`.
    pub(crate) fn named(&self, wanted: &str) -> String {
        let separator = if wanted.contains(':') { '@' } else { ':' };
        format!("{}/{}{separator}{wanted}", self.host(), self.name())
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The repository's name there.
    pub(crate) fn name(&self) -> &str {
        &self.endpoint.repository
    }

    pub(crate) fn patience(&self) -> &Patience {
        self.client.shared.connections.patience()
    }

    /// A scope for these actions in this repository; and for reading others.
    pub(crate) fn scope_of(&self, actions: &str, also_read: &[String]) -> Scope {
        let mut scopes = vec![format!("repository:{}:{actions}", self.endpoint.repository)];
        scopes.extend(also_read.iter().map(|name| format!("repository:{name}:pull")));
        self.scope(&scopes)
    }

    pub(super) fn scope(&self, scopes: &[String]) -> Scope {
        Scope {
            registry: self.registry.clone(),
            repository: self.endpoint.repository.clone(),
            scopes: scopes.to_vec(),
        }
    }

    /// A path below this repository.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.endpoint.repository)
    }

    /// Makes a request until there is an answer with one of the statuses `wanted`.
    pub(crate) fn send(
        &self,
        doing: &str,
        scope: &Scope,
        request: Request<'_>,
        wanted: &[u16],
    ) -> Result<Answer> {
        let mut attempt = 1;
        loop {
            let failure = match self.send_once(doing, scope, &request) {
                Ok(answer) if wanted.contains(&answer.status) => return Ok(answer),
                Ok(answer) => Failure::Answer(answer),
                Err(error) => Failure::Error(error),
            };
            let (reason, asked) = match &failure {
                Failure::Answer(answer) => {
                    let asked =
                        answer.header("retry-after").and_then(|v| parse_retry_after(v, SystemTime::now()));
                    if let (Some(Err(wait)), true) = (asked, is_passing(answer.status)) {
                        let (doing, place) = (doing.to_owned(), answer.url.host().to_owned());
                        return Err(Error::Wait { doing, place, wait });
                    }
                    let again = is_passing(answer.status);
                    (again.then(|| Status(answer.status).to_string()), asked.and_then(Result::ok))
                }
                Failure::Error(Error::Connection { source, .. }) if may_pass(source) => {
                    (Some(source.to_string()), None)
                }
                Failure::Error(_) => (None, None),
            };
            match reason {
                Some(reason) if request.repeatable && attempt < self.patience().attempts => {
                    let pause = self.patience().pause(attempt).max(asked.unwrap_or_default());
                    let (doing, place) = (doing.to_owned(), self.host().to_owned());
                    self.client.tell(Event::Retry { doing, place, reason, pause });
                    std::thread::sleep(pause);
                    attempt += 1;
                }
                _ => return Err(failure.into_error(doing, self.authenticated(scope))),
            }
        }
    }

    /// One attempt: authorised, redirected.
    fn send_once(&self, doing: &str, scope: &Scope, request: &Request<'_>) -> Result<Answer> {
        let (scheme, insecure) = self.spoken(doing)?;
        let base = Url::new(scheme, self.api_host(), "/");
        let first = match &request.target {
            Target::Path(path) => Url::new(scheme, self.api_host(), path),
            Target::Url(url) => (*url).clone(),
        };
        let mut url = first.clone();
        let (mut redirects, mut authorizations) = (0, 0);
        loop {
            // Credentials are for the registry, and for nobody that it sends us to.
            let own = url.same_origin(&base);
            let authorizer = &self.client.shared.authorizer;
            let authorization = if own { authorizer.kept(url.host(), scope) } else { None };
            let mut headers = request.headers.clone();
            if let Some(value) = &authorization {
                headers.push(("authorization", value.header().to_owned()));
            }
            let body = request.body.map(|body| body()).transpose()?;
            let call = Call {
                method: request.method.clone(),
                url: &url,
                headers: &headers,
                body,
                insecure: insecure && own,
            };
            let answer = self.client.shared.connections.call(call, doing)?;
            match answer.status {
                401 if own && authorizations < MAX_AUTHORIZATIONS => {
                    authorizations += 1;
                    if let Some(refused) = &authorization {
                        authorizer.forget(url.host(), scope, refused);
                    }
                    match self.authorize(&answer, scope, insecure, authorization.as_ref(), doing)? {
                        Some(_) => {}
                        None => return Ok(answer),
                    }
                }
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    if redirects > MAX_REDIRECTS {
                        return Err(Error::protocol(
                            doing,
                            &url,
                            format!("more than {MAX_REDIRECTS} redirects"),
                        ));
                    }
                    let next = answer.header("location").and_then(|location| url.join(location));
                    let next = next
                        .ok_or_else(|| Error::protocol(doing, &url, "a redirect without a place to go to"))?;
                    if url.scheme() == Scheme::Https && next.scheme() == Scheme::Http {
                        return Err(Error::protocol(
                            doing,
                            &url,
                            format!("a redirect out of TLS, to {}", next.host()),
                        ));
                    }
                    url = next;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Basic credentials that were refused are not tried again; a token may have expired.
    fn authorize(
        &self,
        answer: &Answer,
        scope: &Scope,
        insecure: bool,
        refused: Option<&Authorization>,
        doing: &str,
    ) -> Result<Option<Authorization>> {
        let authorizer = &self.client.shared.authorizer;
        // Another thread may have got a new one while this one was refused.
        if let Some(newer) = authorizer.kept(answer.url.host(), scope) {
            return Ok(Some(newer));
        }
        let fresh = authorizer.answer(answer, scope, insecure, doing)?;
        Ok(fresh.filter(|fresh| refused != Some(fresh)))
    }

    fn authenticated(&self, scope: &Scope) -> bool {
        self.client.shared.authorizer.credentials(scope).is_ok_and(|found| found.is_some())
    }

    /// docker.io is a name, not a host with a registry.
    fn api_host(&self) -> &str {
        match self.endpoint.host.as_str() {
            Reference::DOCKER_HUB => "registry-1.docker.io",
            host => host,
        }
    }

    /// The place's address for a path of it.
    pub(crate) fn url(&self, path: &str, doing: &str) -> Result<Url> {
        let (scheme, _) = self.spoken(doing)?;
        Ok(Url::new(scheme, self.api_host(), path))
    }

    /// How to speak to the place. Where both are allowed TLS is tried first, and given up only for a host that does not
    /// speak it.
    fn spoken(&self, doing: &str) -> Result<(Scheme, bool)> {
        let options = &self.client.shared.options;
        let insecure = self.endpoint.insecure || options.insecure_skip_tls_verify;
        if options.plain_http {
            return Ok((Scheme::Http, insecure));
        }
        if !is_loopback(self.host()) && !self.endpoint.insecure {
            return Ok((Scheme::Https, insecure));
        }
        let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = *spoken {
            return Ok(known);
        }
        let url = Url::new(Scheme::Https, self.api_host(), "/v2/");
        let call = Call { method: Method::GET, url: &url, headers: &[], body: None, insecure };
        let scheme = match self.client.shared.connections.call(call, doing) {
            Err(Error::Connection { source, .. }) if !speaks_tls(&source) => Scheme::Http,
            _ => Scheme::Https,
        };
        *spoken = Some((scheme, insecure));
        Ok((scheme, insecure))
    }
}

/// Whether a failed handshake came from a host that does speak TLS.
fn speaks_tls(error: &TransportError) -> bool {
    match error {
        TransportError::Tls(reason) => {
            // What is no TLS record at all, in the words of rustls.
            !(reason.contains("corrupt message") || reason.contains("InvalidContentType"))
        }
        TransportError::Io(error) => !matches!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof
                | std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::ConnectionAborted
        ),
        TransportError::Stalled(_) | TransportError::Slow { .. } | TransportError::Http(_) => false,
    }
}

enum Failure {
    Answer(Answer),
    Error(Error),
}

impl Failure {
    fn into_error(self, doing: &str, authenticated: bool) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Answer(answer) => {
                let (doing, place, status) =
                    (doing.to_owned(), answer.url.host().to_owned(), Status(answer.status));
                let messages = crate::auth::refusal_messages(answer);
                Error::Refused { doing, place, status, messages, authenticated }
            }
        }
    }
}
