//! The caller's terminal.

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::frame::Size;

/// The size of the caller's terminal; `None` when it has none.
pub(super) fn size() -> Option<Size> {
    let sizes = [tcgetwinsize(io::stdout()), tcgetwinsize(io::stdin()), tcgetwinsize(io::stderr())];
    sizes
        .into_iter()
        .flatten()
        .find(|size| size.ws_row > 0)
        .map(|size| Size { rows: size.ws_row, columns: size.ws_col })
}

/// The caller's terminal passes every key on as it is, until this is dropped.
#[derive(Debug)]
pub(super) struct Raw(Termios);

impl Raw {
    /// `None` when standard input is no terminal.
    pub(super) fn set() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// The keys that let go of a container: ctrl-p, ctrl-q.
const DETACH: [u8; 2] = [0x10, 0x11];

/// Looks for them in what is typed.
#[derive(Debug, Default)]
pub(super) struct DetachKeys {
    /// The first one was typed last.
    armed: bool,
}

impl DetachKeys {
    /// What is to be sent, and whether the keys were typed.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for &key in typed {
            if self.armed {
                self.armed = false;
                if key == DETACH[1] {
                    return (out, true);
                }
                out.push(DETACH[0]);
            }
            if key == DETACH[0] {
                self.armed = true;
            } else {
                out.push(key);
            }
        }
        (out, false)
    }
}
