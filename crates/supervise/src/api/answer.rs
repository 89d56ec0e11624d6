//! Answers: JSON, streams of it, and what went wrong.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use layerstone_agent::Error as AgentError;
use layerstone_store::Error as StoreError;
use serde::Serialize;
use tokio::sync::mpsc;

/// Records, one a line.
pub(super) const LINES: &str = "application/x-ndjson";
/// How many pieces of a stream wait for its client.
const AHEAD: usize = 4;

/// A piece of a stream; or why there will be no more, which the client sees as an answer that breaks off.
pub(super) type Piece = io::Result<Bytes>;

/// What is sent: something whole, or pieces as they come.
#[derive(Debug)]
pub(crate) enum Content {
    Whole(Option<Bytes>),
    Pieces(mpsc::Receiver<Piece>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Content::Pieces(_) => SizeHint::default(),
        }
    }
}

/// An answer.
pub(super) type Answer = Response<Content>;

fn answer(status: StatusCode, kind: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A text of some kind.
pub(super) fn text(kind: &'static str, text: impl Into<Bytes>) -> Answer {
    answer(StatusCode::OK, kind, Content::Whole(Some(text.into())))
}

/// Something as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<Answer, Problem> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| Problem::internal(error.to_string()))?;
    bytes.push(b'\n');
    Ok(answer(status, "application/json", Content::Whole(Some(bytes.into()))))
}

/// Nothing but that it is done.
pub(super) fn nothing() -> Answer {
    let mut answer = Response::new(Content::Whole(None));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// Records as they come, and where to send them.
pub(super) fn lines() -> (mpsc::Sender<Piece>, Answer) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (sender, answer(StatusCode::OK, LINES, Content::Pieces(receiver)))
}

/// A record as a line.
pub(super) fn line(into: &mut Vec<u8>, record: &impl Serialize) {
    // Our own types always have a JSON form.
    if serde_json::to_writer(&mut *into, record).is_ok() {
        into.push(b'\n');
    }
}

/// What went wrong.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Problem {
    #[serde(skip)]
    pub(super) status: StatusCode,
    /// One word for programs.
    code: &'static str,
    /// One sentence for people.
    message: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Problem { status, code, message: message.into(), hint: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
    }

    #[must_use]
    pub(super) fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn answer(&self) -> Answer {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        answer(self.status, "application/problem+json", Content::Whole(Some(bytes.into())))
    }
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        let (status, code) = match &error {
            AgentError::NoContainer(_) => (StatusCode::NOT_FOUND, "no_container"),
            AgentError::Store(StoreError::NoImage(_)) => (StatusCode::NOT_FOUND, "no_image"),
            AgentError::Ambiguous { .. } => (StatusCode::BAD_REQUEST, "ambiguous"),
            AgentError::Store(StoreError::Ambiguous { .. }) => (StatusCode::BAD_REQUEST, "ambiguous"),
            AgentError::NameTaken { .. } => (StatusCode::CONFLICT, "name_taken"),
            AgentError::State { .. } => (StatusCode::CONFLICT, "wrong_state"),
            AgentError::Invalid { .. }
            | AgentError::NoUser { .. }
            | AgentError::NoCommand(_)
            | AgentError::ForeignImage { .. }
            | AgentError::Seccomp(_) => (StatusCode::BAD_REQUEST, "invalid"),
            AgentError::Program { .. } | AgentError::Shim { code: 126 | 127, .. } => {
                (StatusCode::BAD_REQUEST, "cannot_execute")
            }
            AgentError::Unsupported { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "unsupported"),
            AgentError::Timeout { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "timeout"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        let problem = Problem::new(status, code, error.in_one_line());
        match code {
            "no_container" => problem.hinting("GET /v1/containers lists what is there"),
            "no_image" => {
                problem.hinting("`layerstone pull` or `layerstone import` brings it into the store")
            }
            "name_taken" => problem.hinting("choose another name, or remove that container"),
            "unsupported" => problem.hinting("`layerstone doctor` shows what this host can do"),
            _ => problem,
        }
    }
}
