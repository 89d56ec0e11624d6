//! Progress of several layers at once, and in total: a few lines that change on a terminal, a line every few seconds elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::text;

const REDRAW: Duration = Duration::from_millis(120);
const LINE_EVERY: Duration = Duration::from_secs(3);
/// How often programs are told about one layer.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Most layers that are shown at once; the total counts all.
const SHOWN: usize = 8;

/// Shows how far the layers of an image are. Used from several threads.
pub(crate) struct LayerBars {
    what: String,
    enabled: bool,
    terminal: bool,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    layers: Vec<Layer>,
    drawn: Instant,
    /// Lines on the terminal that are ours.
    lines: usize,
}

struct Layer {
    label: String,
    size: u64,
    bytes: u64,
    told: Instant,
    started: Option<Instant>,
    /// Nothing more will come. `Some(false)`: it was there before.
    done: Option<bool>,
}

impl LayerBars {
    /// Layers by label and size.
    pub(crate) fn new(what: String, layers: Vec<(String, u64)>, enabled: bool) -> Self {
        let now = Instant::now();
        let layer = |(label, size)| Layer { label, size, bytes: 0, told: now, started: None, done: None };
        let layers = layers.into_iter().map(layer).collect();
        Self {
            what,
            enabled,
            terminal: std::io::stderr().is_terminal(),
            started: now,
            state: Mutex::new(State { layers, drawn: now, lines: 0 }),
        }
    }

    /// A layer begins.
    pub(crate) fn start(&self, at: usize) {
        self.change(at, |layer| layer.started = Some(Instant::now()));
    }

    /// The same, if it has not begun.
    pub(crate) fn start_once(&self, at: usize) {
        self.change(at, |layer| layer.started = layer.started.or_else(|| Some(Instant::now())));
    }

    /// So many bytes of a layer are there. Says whether it is time to tell a program about it.
    pub(crate) fn set(&self, at: usize, bytes: u64) -> bool {
        let mut due = false;
        self.change(at, |layer| {
            due = bytes > layer.bytes && layer.told.elapsed() >= TELL_EVERY;
            layer.bytes = bytes;
            if due {
                layer.told = Instant::now();
            }
        });
        due
    }

    /// A layer is there; `fetched` says that it was not before.
    pub(crate) fn done(&self, at: usize, fetched: bool) {
        self.change(at, |layer| {
            layer.done = Some(fetched);
            layer.bytes = layer.size;
        });
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Layer)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(layer) = state.layers.get_mut(at) else { return };
        change(layer);
        let every = if self.terminal { REDRAW } else { LINE_EVERY };
        if self.enabled && state.drawn.elapsed() >= every {
            state.drawn = Instant::now();
            self.draw(&mut state);
        }
    }

    fn draw(&self, state: &mut State) {
        let mut lines = Vec::new();
        if self.terminal {
            let running = state.layers.iter().filter(|layer| layer.done.is_none());
            for layer in running.filter_map(|layer| Some((layer, layer.started?))).take(SHOWN) {
                let (layer, started) = layer;
                lines.push(format!("  {}  {}", layer.label, how_far(layer.bytes, layer.size, started)));
            }
        }
        // What was there before was not fetched, and is no part of the rate.
        let counted = state.layers.iter().filter(|layer| layer.done != Some(false));
        let (done, total) =
            counted.fold((0, 0), |(done, total), layer| (done + layer.bytes, total + layer.size));
        lines.push(format!("{}: {}", self.what, how_far(done, total, self.started)));
        let mut stderr = std::io::stderr().lock();
        let _ = if self.terminal {
            let up = if state.lines > 0 { format!("\x1b[{}A", state.lines) } else { String::new() };
            write!(stderr, "{up}\r\x1b[J{}\n", lines.join("\n"))
        } else {
            writeln!(stderr, "{}", lines.join("\n"))
        };
        let _ = stderr.flush();
        state.lines = lines.len();
    }
}

/// Bytes of bytes, rate, time left.
fn how_far(done: u64, total: u64, started: Instant) -> String {
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let mut line = format!("{} of {}, {}/s", text::size(done), text::size(total), text::size(rate as u64));
    if total > done && rate > 1.0 {
        line.push_str(&format!(", {:.0} s left", (total - done) as f64 / rate));
    }
    line
}

impl Drop for LayerBars {
    fn drop(&mut self) {
        let lines = self.state.lock().map_or(0, |state| state.lines);
        if self.terminal && lines > 0 {
            eprint!("\x1b[{lines}A\r\x1b[J");
        }
    }
}
