//! Progress on standard error: one line that changes on a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::text;

const REDRAW: Duration = Duration::from_millis(120);
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows how far a piece of work is. Used from several threads.
pub(crate) struct Bar {
    what: String,
    enabled: bool,
    terminal: bool,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    total: u64,
    /// Bytes done, by part.
    parts: Vec<u64>,
    last: Instant,
    drawn: bool,
}

impl Bar {
    /// `total` bytes in all; 0 when that is not known.
    pub(crate) fn new(what: impl Into<String>, total: u64, parts: usize, enabled: bool) -> Self {
        let now = Instant::now();
        Bar {
            what: what.into(),
            enabled,
            terminal: std::io::stderr().is_terminal(),
            started: now,
            state: Mutex::new(State { total, parts: vec![0; parts.max(1)], last: now, drawn: false }),
        }
    }

    /// Part `index` has done `bytes` so far.
    pub(crate) fn set(&self, index: usize, bytes: u64) {
        if !self.enabled {
            return;
        }
        let Ok(mut state) = self.state.lock() else { return };
        if let Some(part) = state.parts.get_mut(index) {
            *part = bytes;
        }
        let every = if self.terminal { REDRAW } else { LINE_EVERY };
        if state.last.elapsed() >= every {
            state.last = Instant::now();
            state.drawn = true;
            self.draw(&state);
        }
    }

    fn draw(&self, state: &State) {
        let done: u64 = state.parts.iter().sum();
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = done as f64 / seconds;
        let mut line = format!("{}: {}", self.what, text::size(done));
        if state.total > 0 {
            line.push_str(&format!(" of {}", text::size(state.total)));
        }
        line.push_str(&format!(", {}/s", text::size(rate as u64)));
        if state.total > done && rate > 1.0 {
            line.push_str(&format!(", {:.0} s left", (state.total - done) as f64 / rate));
        }
        let mut stderr = std::io::stderr().lock();
        let _ = if self.terminal { write!(stderr, "\r\x1b[K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.terminal && self.state.lock().is_ok_and(|state| state.drawn) {
            eprint!("\r\x1b[K");
        }
    }
}
