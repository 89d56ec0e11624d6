//! What has happened to containers.
//!
//! Nobody reports it: containers are changed by their shims, by the command line, by this program and by others. So it is told
//! from the difference between two looks at their files ([`diff`]). What begins and ends between two looks may be missed, such as a
//! container that lived for a millisecond; the looks follow each change at once, so that is rare.
//!
//! Events are kept in a ring, each with an id that only grows. Who asks for those after an id gets them, and is told when some of
//! them are gone already.

mod derive;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

pub use derive::{Seen, diff};

/// How many events are kept.
pub const KEPT: usize = 4096;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A container was made.
    Create,
    /// Its program was started.
    Start,
    /// Its program was started again by its restart policy.
    Restart,
    /// Its program has ended.
    Die,
    /// It ran out of memory.
    Oom,
    /// Somebody asked for its end, and it has ended.
    Stop,
    /// It was frozen.
    Pause,
    /// It goes on.
    Unpause,
    /// Its health has changed.
    Health,
    /// It was removed.
    Remove,
    /// A step to bring a wanted container into its state has failed.
    Error,
    /// The file of wanted containers was read, and counts.
    SpecReload,
    /// It cannot be read; the one before still counts.
    SpecError,
    /// Events after the id that was asked for are not kept any more. Only to who asked.
    Lost,
}

/// Which container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Of {
    /// Its id; empty where it has none yet.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Grows with each event, also over restarts of the agent.
    pub id: u64,
    /// When it was noticed.
    pub time: Timestamp,
    /// What.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// To which container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Of>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// What ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What its health is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<layerstone_agent::model::HealthStatus>,
    /// More in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An event that has no id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What.
    pub kind: Kind,
    /// To which container.
    pub container: Option<Of>,
    /// How it ended.
    pub exit_code: Option<u8>,
    /// What ended it.
    pub signal: Option<i32>,
    /// What its health is.
    pub health: Option<layerstone_agent::model::HealthStatus>,
    /// More in words.
    pub message: Option<String>,
}

impl News {
    /// Of a kind, and nothing more.
    pub fn new(kind: Kind, container: Option<Of>) -> Self {
        News { kind, container, exit_code: None, signal: None, health: None, message: None }
    }

    /// With words.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

/// The last events.
#[derive(Debug)]
pub struct Ring {
    kept: Mutex<VecDeque<Event>>,
    /// The id of the newest event.
    newest: watch::Sender<u64>,
}

impl Default for Ring {
    fn default() -> Self {
        // Ids of a later process are larger than those of an earlier one, as long as that had less than an event a microsecond.
        let first = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        Ring { kept: Mutex::default(), newest: watch::Sender::new(first) }
    }
}

impl Ring {
    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<Event>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, and gives back what it has become.
    pub fn add(&self, news: News) -> Event {
        let mut kept = self.kept();
        let id = *self.newest.borrow() + 1;
        let News { kind, container, exit_code, signal, health, message } = news;
        let event = Event { id, time: Timestamp::now(), kind, container, exit_code, signal, health, message };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        drop(kept);
        self.newest.send_replace(id);
        event
    }

    /// The id of the newest event.
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Tells when there are newer ones.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Those after `id`, at most `most`; of 0, all that are kept. When some of them are gone, the first says so.
    pub fn after(&self, id: u64, most: usize) -> Vec<Event> {
        let kept = self.kept();
        let oldest = kept.front().map_or(self.newest() + 1, |event| event.id);
        let mut events = Vec::new();
        if id > 0 && id.saturating_add(1) < oldest {
            events.push(Event {
                id: oldest - 1,
                time: Timestamp::now(),
                kind: Kind::Lost,
                container: None,
                exit_code: None,
                signal: None,
                health: None,
                message: Some(format!("events up to {} are not kept any more", oldest - 1)),
            });
        }
        let from = kept.partition_point(|event| event.id <= id);
        events.extend(kept.iter().skip(from).take(most).cloned());
        events
    }
}

#[cfg(test)]
mod tests;
