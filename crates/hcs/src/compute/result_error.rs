//! What the service says of a failure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hresult::HResult;

/// The document `ResultError`: the result of an operation that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResultError {
    /// The HRESULT, as the signed number that JSON has.
    #[serde(skip_serializing_if = "is_default")]
    pub error: i32,
    /// In words, often of the system's language.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_message: String,
    /// What happened on the way, the failure of a component each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_events: Vec<ErrorEvent>,
}

/// An entry of [`ResultError::error_events`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ErrorEvent {
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Which component told it, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The GUID of the event's provider.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// Its number there.
    #[serde(skip_serializing_if = "is_default")]
    pub event_id: u16,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ResultError {
    /// Reads a result. A text that is no such document is a message as it is, so that nothing that the service has said is lost;
    /// `None` when it has said nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        // A list would be read as the fields in their order.
        let read = text.starts_with('{').then(|| serde_json::from_str::<ResultError>(text));
        Some(match read {
            Some(Ok(details)) if details != ResultError::default() => details,
            _ => ResultError { error_message: text.to_owned(), ..Default::default() },
        })
    }

    /// The code that the document names.
    pub fn code(&self) -> Option<HResult> {
        (self.error != 0).then(|| HResult(self.error.cast_unsigned()))
    }
}

/// The message, and those of the events that say something else.
impl fmt::Display for ResultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said: Vec<&str> = Vec::new();
        let events = self.error_events.iter().map(|event| event.message.as_str());
        for message in std::iter::once(self.error_message.as_str()).chain(events) {
            let message = message.trim();
            if !message.is_empty() && !said.iter().any(|other| other.contains(message)) {
                said.push(message);
            }
        }
        match (said.as_slice(), self.code()) {
            ([], Some(code)) => write!(f, "{code}"),
            (said, _) => f.write_str(&said.join("; ")),
        }
    }
}
