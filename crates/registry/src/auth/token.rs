//! From a challenge to what goes into the `Authorization` header
//! ([token specification](https://distribution.github.io/distribution/spec/auth/token/),
//! [with OAuth 2](https://distribution.github.io/distribution/spec/auth/oauth/)).
//!
//! ```text
//! GET /v2/app/manifests/1 ─► 401, Bearer realm=R,service=S,scope=repository:app:pull
//! GET R?service=S&scope=repository:app:pull      with name and password, if there are any; or
//! POST R grant_type=refresh_token&...            with an identity token
//!     ─► {"token": T, "expires_in": 300}
//! GET /v2/app/manifests/1    Authorization: Bearer T
//! ```
//!
//! Tokens are kept for their scope until they expire, or until the registry does not take them any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::Method;

use super::{Challenge, Credentials, Keyring, parse_challenges};
use crate::error::{Error, Message, Result, Status};
use crate::http::{Answer, Call, Connections, Content, Scheme, Url, encode, is_loopback, is_passing};
use crate::limits::{MAX_ERROR_BODY, MAX_TOKEN_RESPONSE, MIN_TOKEN_LIFE};

/// What a token is for: a registry and what may be done there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// What credentials are filed under.
    pub(crate) registry: String,
    /// The repository, for credentials of a part of a registry.
    pub(crate) repository: String,
    /// `repository:app:pull,push` and the like, sorted.
    pub(crate) scopes: Vec<String>,
}

/// The value of an `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Authorization(String);

impl Authorization {
    pub(crate) fn header(&self) -> &str {
        &self.0
    }
}

/// Gets and keeps authorizations. Shared by threads.
#[derive(Debug)]
pub(crate) struct Authorizer {
    keyring: Keyring,
    /// What the caller gave, whatever the files say.
    given: Option<Credentials>,
    connections: Arc<Connections>,
    kept: Mutex<HashMap<(String, Scope), Kept>>,
}

#[derive(Debug, Clone)]
struct Kept {
    value: Authorization,
    until: Option<Instant>,
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization(..)")
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

impl Authorizer {
    pub(crate) fn new(keyring: Keyring, given: Option<Credentials>, connections: Arc<Connections>) -> Self {
        Self { keyring, given, connections, kept: Mutex::default() }
    }

    /// What was good for this before, at this host.
    pub(crate) fn kept(&self, host: &str, scope: &Scope) -> Option<Authorization> {
        let mut kept = self.lock();
        let key = (host.to_owned(), scope.clone());
        let found = kept.get(&key)?;
        if found.until.is_some_and(|until| until <= Instant::now()) {
            kept.remove(&key);
            return None;
        }
        Some(found.value.clone())
    }

    /// Forgets it, if it is still this one: another thread may have a new one already.
    pub(crate) fn forget(&self, host: &str, scope: &Scope, value: &Authorization) {
        let mut kept = self.lock();
        let key = (host.to_owned(), scope.clone());
        if kept.get(&key).is_some_and(|found| found.value == *value) {
            kept.remove(&key);
        }
    }

    /// The credentials for a scope.
    pub(crate) fn credentials(&self, scope: &Scope) -> Result<Option<Credentials>> {
        match &self.given {
            Some(given) => Ok(Some(given.clone())),
            None => self.keyring.find(&scope.registry, &scope.repository),
        }
    }

    /// Answers the challenges of an answer with status 401. `None` when there is no way to. `insecure` says that the
    /// certificate of the registry, and so of its own token service, is not checked.
    pub(crate) fn answer(
        &self,
        refused: &Answer,
        scope: &Scope,
        insecure: bool,
        doing: &str,
    ) -> Result<Option<Authorization>> {
        let url = &refused.url;
        let headers =
            refused.headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = headers.flat_map(parse_challenges).collect();
        let credentials = self.credentials(scope)?;
        let mut until = None;
        let value = if let Some(Credentials::RegistryToken(token)) = &credentials {
            bearer(token)
        } else if let Some(challenge) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            let (value, life) = self.token(url, challenge, scope, credentials.as_ref(), insecure, doing)?;
            // A little early, so that it does not expire on its way.
            until = Some(Instant::now() + life - life / 10);
            value
        } else if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            let Some(Credentials::Password { username, password }) = &credentials else { return Ok(None) };
            basic(username, password)
        } else {
            return Ok(None);
        };
        let Some(value) = value else {
            return Err(Error::protocol(doing, url, "its token has characters that no header can have"));
        };
        let kept = Kept { value: value.clone(), until };
        self.lock().insert((url.host().to_owned(), scope.clone()), kept);
        Ok(Some(value))
    }

    fn token(
        &self,
        registry: &Url,
        challenge: &Challenge,
        scope: &Scope,
        credentials: Option<&Credentials>,
        insecure: bool,
        doing: &str,
    ) -> Result<(Option<Authorization>, Duration)> {
        let wrong = |reason: &str| Error::protocol(doing, registry, reason);
        let realm = challenge.parameter("realm").and_then(Url::parse);
        let realm = realm.ok_or_else(|| wrong("its Bearer challenge has no realm that is an address"))?;
        // Who listens on the way to the registry must not learn passwords by changing the realm.
        if realm.scheme() == Scheme::Http && registry.scheme() == Scheme::Https && !is_loopback(realm.host())
        {
            return Err(wrong("it sends to a token service without TLS"));
        }
        let mut scopes: Vec<&str> =
            challenge.parameter("scope").unwrap_or_default().split_ascii_whitespace().collect();
        for own in &scope.scopes {
            if !scopes.iter().any(|asked| covers(asked, own)) {
                scopes.push(own);
            }
        }
        let insecure = insecure && realm.host_name() == registry.host_name();
        let service = challenge.parameter("service");
        let doing = format!("{doing} (get a token)");
        let answer = match credentials {
            Some(Credentials::IdentityToken(token)) => {
                let mut form = String::from("grant_type=refresh_token&client_id=layerstone");
                let mut add = |name: &str, value: &str| {
                    form.push('&');
                    form.push_str(name);
                    form.push('=');
                    encode(value, &mut form);
                };
                add("service", service.unwrap_or_default());
                add("scope", &scopes.join(" "));
                add("refresh_token", token);
                let headers = [("content-type", "application/x-www-form-urlencoded".to_owned())];
                self.ask(&realm, Method::POST, &headers, Some(form.as_bytes()), insecure, &doing)?
            }
            other => {
                let mut url = realm.clone();
                if let Some(service) = service {
                    url = url.with_query("service", service);
                }
                for scope in scopes {
                    url = url.with_query("scope", scope);
                }
                let mut headers = Vec::new();
                if let Some(Credentials::Password { username, password }) = other {
                    url = url.with_query("account", username);
                    let Some(value) = basic(username, password) else {
                        return Err(wrong("name or password have characters that no header can have"));
                    };
                    headers.push(("authorization", value.0));
                }
                self.ask(&url, Method::GET, &headers, None, insecure, &doing)?
            }
        };
        let realm = answer.url.clone();
        let bytes = answer.read_body(&doing, MAX_TOKEN_RESPONSE)?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|error| Error::protocol(&doing, &realm, format!("it is no token: {error}")))?;
        let token = answer.token.filter(|t| !t.is_empty()).or(answer.access_token).filter(|t| !t.is_empty());
        let token = token.ok_or_else(|| Error::protocol(&doing, &realm, "it has no token"))?;
        // Seconds; a year is for ever, and so is what is no number.
        let seconds = answer.expires_in.filter(|s| s.is_finite()).unwrap_or(0.0).clamp(0.0, 31_536_000.0);
        Ok((bearer(&token), Duration::from_secs_f64(seconds).max(MIN_TOKEN_LIFE)))
    }

    /// Asks a token service, again when it is not well.
    fn ask(
        &self,
        url: &Url,
        method: Method,
        headers: &[(&'static str, String)],
        body: Option<&[u8]>,
        insecure: bool,
        doing: &str,
    ) -> Result<Answer> {
        let patience = self.connections.patience();
        let mut attempt = 1;
        loop {
            let content = body.map(Content::of_bytes);
            let call = Call { method: method.clone(), url, headers, body: content, insecure };
            let result = self.connections.call(call, doing);
            let again = match &result {
                Ok(answer) => is_passing(answer.status),
                Err(Error::Connection { source, .. }) => crate::http::may_pass(source),
                Err(_) => false,
            };
            if again && attempt < patience.attempts {
                std::thread::sleep(patience.pause(attempt));
                attempt += 1;
                continue;
            }
            let answer = result?;
            if answer.status == 200 {
                return Ok(answer);
            }
            let (status, place) = (Status(answer.status), answer.url.host().to_owned());
            let authenticated = body.is_some() || !headers.is_empty();
            let messages = refusal_messages(answer);
            return Err(Error::Refused { doing: doing.to_owned(), place, status, messages, authenticated });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Scope), Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a refusing answer says, in the forms that registries and token services use.
pub(crate) fn refusal_messages(answer: Answer) -> Vec<Message> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Message>,
        #[serde(default)]
        details: Option<String>,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        error_description: Option<String>,
    }
    let Ok(bytes) = answer.read_body("read an error", MAX_ERROR_BODY) else { return Vec::new() };
    match serde_json::from_slice::<Body>(&bytes) {
        Ok(body) if !body.errors.is_empty() => body.errors,
        Ok(body) => body
            .details
            .or(body.message)
            .or(body.error_description)
            .map(|message| Message { code: String::new(), message })
            .into_iter()
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// Whether a scope, as a registry asked for it, allows what another one says.
fn covers(asked: &str, own: &str) -> bool {
    match (asked.rsplit_once(':'), own.rsplit_once(':')) {
        (Some((asked, actions)), Some((own, wanted))) => {
            asked == own
                && wanted.split(',').all(|action| actions.split(',').any(|a| a == action || a == "*"))
        }
        _ => asked == own,
    }
}

fn bearer(token: &str) -> Option<Authorization> {
    token.bytes().all(|b| b.is_ascii_graphic()).then(|| Authorization(format!("Bearer {token}")))
}

fn basic(username: &str, password: &str) -> Option<Authorization> {
    Some(Authorization(format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))))
}
