//! `logs`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use layerstone_agent::log::{Reader, Record, Stream};
use layerstone_agent::model::Status;
use layerstone_agent::{Agent, Container};

use crate::args::container::Logs;
use crate::cmd::{App, stdout_failed};
use crate::error::{Error, Result};

/// How often a log that is followed is looked at again.
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn run(app: &App, args: &Logs) -> Result<()> {
    let agent = super::shared::agent(app)?;
    let container = agent.find(&args.container)?;
    let since = args.since.as_deref().map(since).transpose()?;
    let wanted = |record: &Record| since.is_none_or(|since| record.time >= since);
    let mut reader = Reader::open(container.log_directory())?;
    let mut printer = Printer { json: app.json, timestamps: args.timestamps, line_open: false };

    match args.tail {
        None => {
            while let Some(record) = reader.next_record()? {
                if wanted(&record) {
                    printer.print(&record)?;
                }
            }
        }
        Some(lines) => {
            for record in last_lines(&mut reader, lines, wanted)? {
                printer.print(&record)?;
            }
        }
    }
    if args.follow { follow(&agent, container, &mut reader, &mut printer, wanted) } else { Ok(()) }
}

/// Goes on until the container has ended.
fn follow(
    agent: &Agent,
    mut container: Container,
    reader: &mut Reader,
    printer: &mut Printer,
    wanted: impl Fn(&Record) -> bool,
) -> Result<()> {
    let mut drain = || -> Result<()> {
        while let Some(record) = reader.next_record()? {
            if wanted(&record) {
                printer.print(&record)?;
            }
        }
        Ok(())
    };
    loop {
        // Looked at before the log is: what was written before the end is read after it.
        let over = container.state().status == Status::Stopped;
        drain()?;
        if over {
            return Ok(());
        }
        std::thread::sleep(INTERVAL);
        container = match agent.find(&container.config().id) {
            Ok(container) => container,
            // It has removed itself, and its log, of which this still has the rest.
            Err(layerstone_agent::Error::NoContainer(_)) => return drain(),
            Err(error) => return Err(error.into()),
        };
    }
}

/// The records of the last lines. A line may consist of several.
fn last_lines(
    reader: &mut Reader,
    lines: usize,
    wanted: impl Fn(&Record) -> bool,
) -> Result<VecDeque<Record>> {
    let ends_line = |record: &Record| record.data().last() == Some(&b'\n');
    let mut kept: VecDeque<Record> = VecDeque::new();
    let mut whole = 0;
    while let Some(record) = reader.next_record()? {
        if !wanted(&record) {
            continue;
        }
        whole += usize::from(ends_line(&record));
        kept.push_back(record);
        // The last one may be a line that is not finished; it counts.
        let open = usize::from(kept.back().is_some_and(|record| !ends_line(record)));
        while whole + open > lines {
            let Some(first) = kept.pop_front() else { break };
            whole -= usize::from(ends_line(&first));
            if kept.is_empty() {
                break;
            }
        }
    }
    Ok(kept)
}

struct Printer {
    json: bool,
    timestamps: bool,
    /// The last record was only the beginning of a line.
    line_open: bool,
}

impl Printer {
    fn print(&mut self, record: &Record) -> Result<()> {
        if self.json {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, record)?;
            return writeln!(out).map_err(stdout_failed);
        }
        let data = record.data();
        let stamp =
            if self.timestamps && !self.line_open { format!("{} ", record.time) } else { String::new() };
        self.line_open = data.last() != Some(&b'\n');
        let write = |out: &mut dyn Write| {
            out.write_all(stamp.as_bytes())?;
            out.write_all(&data)?;
            out.flush()
        };
        match record.stream {
            Stream::Stdout => write(&mut io::stdout().lock()).map_err(stdout_failed),
            Stream::Stderr => write(&mut io::stderr().lock()).map_err(|source| Error::Io {
                doing: "write to",
                path: "standard error".into(),
                source,
            }),
        }
    }
}

/// A moment: RFC 3339, seconds since 1970, or how long ago.
fn since(text: &str) -> Result<Timestamp> {
    let ago = || text.parse::<SignedDuration>().ok().and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    let seconds = || text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    text.parse::<Timestamp>().ok().or_else(seconds).or_else(ago).ok_or_else(|| {
        Error::Usage(format!(
            "`{text}` is no time: RFC 3339, seconds since 1970, or a duration like 10m or 1h30m"
        ))
    })
}
