//! Requests: their path, query and body.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;

use super::answer::Problem;

/// The most bytes of a body.
const MAX_BODY: usize = 4 << 20;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked for, besides the method.
#[derive(Debug)]
pub(super) struct Asked {
    /// The container in the path.
    pub(super) id: String,
    query: BTreeMap<String, String>,
    body: Bytes,
}

impl Asked {
    /// Reads the body, and the query, in which only `known` keys may be.
    pub(super) async fn read(
        id: String,
        known: &[&str],
        request: Request<Incoming>,
    ) -> Result<Self, Problem> {
        let mut query = BTreeMap::new();
        for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            if !known.contains(&key) {
                let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
                return Err(Problem::bad(format!("there is no parameter `{key}` here; known: {known}")));
            }
            let value =
                decode(value).ok_or_else(|| Problem::bad(format!("the value of `{key}` is no text")))?;
            query.insert(key.to_owned(), value);
        }
        let too_large = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("the body of a request has at most {MAX_BODY} bytes"),
            )
        };
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Err(_) => {
                let message = format!("the body took longer than {} s", BODY_TIMEOUT.as_secs());
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", message));
            }
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
            Ok(Err(error)) => return Err(Problem::bad(format!("the body cannot be read: {error}"))),
            Ok(Ok(body)) => body.to_bytes(),
        };
        Ok(Asked { id, query, body })
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::bad(format!("the body is not what it should be: {error}")))
            .map_err(|problem| problem.hinting("GET /v1/openapi.json describes it"))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Problem> {
        Ok(self.number::<bool>(key, "true or false")?.unwrap_or(false))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }

    /// A value of the query.
    pub(super) fn number<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &String| {
            text.parse().map_err(|_| Problem::bad(format!("`{key}` is {expected}, and not `{text}`")))
        };
        self.query.get(key).map(parse).transpose()
    }

    /// A moment: RFC 3339, seconds since 1970, or how long ago.
    pub(super) fn moment(&self, key: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let ago =
            || text.parse::<SignedDuration>().ok().and_then(|ago| Timestamp::now().checked_sub(ago).ok());
        let seconds = || text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let moment = text.parse::<Timestamp>().ok().or_else(seconds).or_else(ago);
        moment.map(Some).ok_or_else(|| {
            Problem::bad(format!(
                "`{key}` is a time (RFC 3339, seconds since 1970, or a duration like 10m), and not `{text}`"
            ))
        })
    }
}

/// Takes percent signs away. `None` when what is left is no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let coded = || {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            let fine = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            fine.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        };
        match first {
            b'%' => {
                bytes.push(coded()?);
                rest = &after[2..];
            }
            b'+' => {
                bytes.push(b' ');
                rest = after;
            }
            other => {
                bytes.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}
