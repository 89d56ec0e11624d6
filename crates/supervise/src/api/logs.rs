//! Streams of records: a container's log, and events.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use layerstone_agent::log::{Reader, Record};
use layerstone_agent::model::Status;
use layerstone_agent::{Container, Error as AgentError};
use tokio::sync::mpsc;

use super::Api;
use super::answer::{Answer, Piece, Problem, line, lines};
use super::containers::blocking;
use super::request::Asked;
use crate::shared::Shared;

/// How often a log that is followed is looked at again.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many bytes are read before they are sent.
const BATCH: usize = 64 << 10;
/// How many records are looked at for that.
const LOOKED_AT: usize = 1024;
/// The most lines that `tail` can ask for.
const MAX_TAIL: usize = 100_000;
/// How many events are sent at once.
const EVENTS: usize = 256;

/// A log that is being read.
struct Log {
    reader: Reader,
    since: Option<Timestamp>,
}

impl Log {
    fn next(&mut self) -> Result<Option<Record>, AgentError> {
        while let Some(record) = self.reader.next_record()? {
            if self.since.is_none_or(|since| record.time >= since) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The next records, as lines; nothing when all were read. It may be an empty text where none of those that were looked at was
    /// wanted.
    fn batch(&mut self) -> Result<Option<Vec<u8>>, AgentError> {
        let mut bytes = Vec::new();
        for looked_at in 0..LOOKED_AT {
            let Some(record) = self.reader.next_record()? else {
                return Ok((looked_at > 0).then_some(bytes));
            };
            if self.since.is_none_or(|since| record.time >= since) {
                line(&mut bytes, &record);
            }
            if bytes.len() >= BATCH {
                break;
            }
        }
        Ok(Some(bytes))
    }

    /// Reads to the end; the last lines of it. A line may consist of several records.
    fn tail(&mut self, wanted: usize) -> Result<Vec<u8>, AgentError> {
        let ends_line = |record: &Record| record.data().last() == Some(&b'\n');
        let mut kept: VecDeque<Record> = VecDeque::new();
        let mut whole = 0;
        while let Some(record) = self.next()? {
            whole += usize::from(ends_line(&record));
            let open = usize::from(!ends_line(&record));
            kept.push_back(record);
            while whole + open > wanted {
                let Some(first) = kept.pop_front() else { break };
                whole -= usize::from(ends_line(&first));
                if kept.is_empty() {
                    break;
                }
            }
        }
        let mut bytes = Vec::new();
        kept.iter().for_each(|record| line(&mut bytes, record));
        Ok(bytes)
    }
}

pub(super) async fn logs(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let follow = asked.flag("follow")?;
    let since = asked.moment("since")?;
    let tail = asked.number::<usize>("tail", "a number of lines")?;
    if tail.is_some_and(|tail| tail > MAX_TAIL) {
        return Err(Problem::bad(format!("`tail` is at most {MAX_TAIL}")));
    }
    let (mut log, first, id) = blocking(api, move |shared| {
        let container = shared.agent.find(&asked.id)?;
        let mut log = Log { reader: Reader::open(container.log_directory())?, since };
        let first = tail.map(|tail| log.tail(tail)).transpose()?;
        Ok((log, first.unwrap_or_default(), container.config().id.clone()))
    })
    .await?;
    let (sender, answer) = lines();
    let shared = Arc::clone(&api.shared);
    tokio::spawn(async move {
        if !first.is_empty() && sender.send(Ok(first.into())).await.is_err() {
            return;
        }
        loop {
            // Looked at before the log is: what was written before the end is read after it.
            let over = !follow || is_over(&shared, &id).await;
            if !drain(&shared, &mut log, &sender).await || over {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                // The client may go away while nothing is written.
                () = sender.closed() => return,
            }
        }
    });
    Ok(answer)
}

/// Whether a container prints no more. What the supervisor saw last may be too old to say so by itself.
async fn is_over(shared: &Arc<Shared>, id: &str) -> bool {
    let runs = |containers: &[Container]| {
        let container = containers.iter().find(|container| container.config().id == id);
        container.is_some_and(|container| container.state().status != Status::Stopped)
    };
    if runs(&shared.snapshot.borrow().containers) {
        return false;
    }
    let (shared, id) = (Arc::clone(shared), id.to_owned());
    let found = tokio::task::spawn_blocking(move || shared.agent.find(&id)).await;
    !matches!(found, Ok(Ok(container)) if container.state().status != Status::Stopped)
}

/// Sends what is there, as fast as it is read. False when that makes no sense any more.
async fn drain(shared: &Shared, log: &mut Log, sender: &mpsc::Sender<Piece>) -> bool {
    loop {
        let Ok(permit) = sender.reserve().await else { return false };
        // At most a batch is read in this thread; waiting for another one would take longer.
        match log.batch() {
            Ok(None) => return true,
            Ok(Some(bytes)) if bytes.is_empty() => {}
            Ok(Some(bytes)) => permit.send(Ok(bytes.into())),
            // What was sent so far is right. That it is not everything is seen from how the answer ends.
            Err(error) => {
                let message = error.in_one_line();
                shared.log(&format!("a log cannot be read on: {message}"));
                permit.send(Err(io::Error::other(message)));
                return false;
            }
        }
        tokio::task::yield_now().await;
    }
}

pub(super) fn events(api: &Api, asked: &Asked) -> Result<Answer, Problem> {
    let since = asked.number::<u64>("since", "the id of an event")?;
    let follow = asked.number::<bool>("follow", "true or false")?.unwrap_or(true);
    let ring_newest = api.shared.ring.newest();
    let mut last = since.unwrap_or(if follow { ring_newest } else { 0 });
    let (sender, answer) = lines();
    let mut newest = api.shared.ring.subscribe();
    let shared = Arc::clone(&api.shared);
    tokio::spawn(async move {
        loop {
            newest.borrow_and_update();
            loop {
                let events = shared.ring.after(last, EVENTS);
                let Some(newest) = events.last() else { break };
                last = newest.id;
                let mut bytes = Vec::new();
                events.iter().for_each(|event| line(&mut bytes, event));
                if sender.send(Ok(bytes.into())).await.is_err() {
                    return;
                }
            }
            if !follow {
                return;
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    Ok(answer)
}
