//! What the supervisor, its jobs and the API have in common.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use layerstone_agent::{Agent, Container};
use rustix::event::{EventfdFlags, eventfd};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use crate::error::{IoContext as _, Result};
use crate::events::{Event, News, Ring};
use crate::metrics::Metrics;
use crate::plan::Phase;

/// Takes a line of the agent's own log.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// How an agent is to work.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The file of wanted containers; without one there is only the API.
    pub spec: Option<PathBuf>,
    /// The containers of the file are stopped when the agent is asked to end.
    pub stop_on_exit: bool,
}

/// How everything was at the last look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) containers: Vec<Container>,
    /// The ids of containers that cannot be read, and why.
    pub(crate) failed: Vec<(String, String)>,
    pub(crate) spec: Option<SpecStatus>,
}

/// How far the file's containers are.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SpecStatus {
    pub(crate) project: String,
    pub(crate) file: PathBuf,
    /// When what counts was read.
    pub(crate) loaded: Timestamp,
    /// Why what is in the file now does not count.
    pub(crate) error: Option<String>,
    pub(crate) containers: BTreeMap<String, Phase>,
}

/// How an agent is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The containers go on.
    Leave,
    /// The containers of the file are stopped first.
    Stop,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) name: String,
    pub(crate) result: Result<(), String>,
}

/// What the supervisor was asked for, and what its jobs have to tell it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) reload: Vec<oneshot::Sender<Result<usize, String>>>,
    pub(crate) end: Option<End>,
    pub(crate) done: Vec<Done>,
}

pub(crate) struct Shared {
    pub(crate) agent: Agent,
    pub(crate) ring: Ring,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) metrics: Metrics,
    pub(crate) settings: Settings,
    control: Mutex<Control>,
    waker: OwnedFd,
    children: Mutex<Vec<Child>>,
    log: Log,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A lock that a panic elsewhere does not take away: what it guards is never left half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(agent: Agent, settings: Settings, log: Log) -> Result<Arc<Self>> {
        let waker =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).doing("create", "an eventfd")?;
        Ok(Arc::new(Shared {
            agent,
            ring: Ring::default(),
            snapshot: watch::Sender::default(),
            metrics: Metrics::default(),
            settings,
            control: Mutex::default(),
            waker,
            children: Mutex::default(),
            log,
        }))
    }

    pub(crate) fn log(&self, line: &str) {
        (self.log)(line);
    }

    pub(crate) fn waker(&self) -> &OwnedFd {
        &self.waker
    }

    /// Has the supervisor look again.
    pub(crate) fn wake(&self) {
        // It can only fail when it was woken 2^64 times without having looked.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        locked(&self.control)
    }

    /// Has the supervisor read its file again. The answer is how many containers it wants.
    pub(crate) fn reload(&self) -> oneshot::Receiver<Result<usize, String>> {
        let (answer, receiver) = oneshot::channel();
        self.control().reload.push(answer);
        self.wake();
        receiver
    }

    /// Has the supervisor end. Asked a second time, it does not wait for containers any more.
    pub(crate) fn end(&self, end: End) {
        let mut control = self.control();
        control.end = Some(if control.end.is_some() { End::Leave } else { end });
        drop(control);
        self.wake();
    }

    /// Takes a shim that this process has started, to wait for its end.
    pub(crate) fn adopt(&self, child: Option<Child>) {
        locked(&self.children).extend(child);
    }

    /// Lets go of the shims that have ended.
    pub(crate) fn reap(&self) {
        locked(&self.children).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Tells an event to everybody who listens, and to the log.
    pub(crate) fn tell(&self, news: News) -> Event {
        let event = self.ring.add(news);
        self.metrics.count(&event);
        self.log(&line(&event));
        event
    }
}

/// An event as a line of the log.
fn line(event: &Event) -> String {
    let kind = serde_json::to_value(event.kind).ok();
    let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or("event").to_owned();
    let mut line = match &event.container {
        Some(of) if of.id.is_empty() => format!("{}: {kind}", of.name),
        Some(of) => format!("{} ({}): {kind}", of.name, layerstone_agent::model::short(&of.id)),
        None => kind,
    };
    if let Some(code) = event.exit_code {
        line.push_str(&format!(", exit code {code}"));
    }
    if let Some(health) = event.health.and_then(|health| serde_json::to_value(health).ok()) {
        line.push_str(&format!(", {}", health.as_str().unwrap_or_default()));
    }
    if let Some(message) = &event.message {
        line.push_str(&format!(": {message}"));
    }
    line
}
