//! Several calls that are made together or not at all.
//!
//! Each step that leaves something behind says how that is undone. When a later one fails, what was done is undone in
//! reverse order; an undo that fails does not keep the others from being tried, and is reported beside the first error.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use layerstone_hcs::{ErrorKind, HResult};

use super::error::{Error, Result, UndoFailure};

/// How long a call is repeated that a device is not ready for.
const READY: Patience = Patience { tries: 5, wait: Duration::from_millis(100) };
/// How long a filter is asked to detach: right after a container has ended, its files are still being closed.
const DETACH: Patience = Patience { tries: 100, wait: Duration::from_millis(100) };
/// `ERROR_NOT_READY` and `ERROR_DEVICE_NOT_CONNECTED`: the disk has not arrived yet.
const NOT_READY: HResult = HResult::from_win32(21);
const NOT_CONNECTED: HResult = HResult::from_win32(1167);
/// `ERROR_FLT_DO_NOT_DETACH`: the filter asks to be detached later.
const DO_NOT_DETACH: HResult = HResult(0x801F_0010);

#[derive(Clone, Copy)]
struct Patience {
    tries: u32,
    wait: Duration,
}

/// Makes a call, and again for a moment where Windows says that it is too early.
pub(super) fn patiently<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tried = 0;
    loop {
        let error = match call() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        tried += 1;
        let patience = match (error.kind(), error.hresult()) {
            (_, DO_NOT_DETACH) => DETACH,
            (ErrorKind::NotReady, _) | (_, NOT_READY | NOT_CONNECTED) => READY,
            _ => return Err(error),
        };
        if tried >= patience.tries {
            return Err(error);
        }
        sleep(patience.wait);
    }
}

/// A step that failed; it becomes [`Error::Step`] when what was done before is undone.
pub(super) struct Failed {
    step: &'static str,
    source: Error,
}

struct Undo<'p, C> {
    step: &'static str,
    act: Box<dyn FnOnce(&mut C) -> Result<()> + 'p>,
}

/// The steps that were made, and what they share: an open disk, for one.
pub(super) struct Steps<'p, C> {
    path: &'p Path,
    context: C,
    undo: Vec<Undo<'p, C>>,
}

impl<'p, C> Steps<'p, C> {
    /// Makes the steps of `act` for `path`. When one fails, or panics, those before it are undone.
    pub(super) fn run<T>(
        path: &'p Path,
        context: C,
        act: impl FnOnce(&mut Self) -> Result<T, Failed>,
    ) -> Result<T> {
        let mut steps = Steps { path, context, undo: Vec::new() };
        let made = act(&mut steps);
        match made {
            Ok(value) => {
                steps.undo.clear();
                Ok(value)
            }
            Err(Failed { step, source }) => Err(Error::Step {
                step,
                path: path.to_path_buf(),
                source: Box::new(source),
                undo: steps.unwind(),
            }),
        }
    }

    /// Makes a step. What a step does only in part it undoes itself.
    pub(super) fn step<T>(
        &mut self,
        step: &'static str,
        act: impl FnOnce(&mut C) -> Result<T>,
    ) -> Result<T, Failed> {
        tracing::debug!(layer = %self.path.display(), "{step}");
        act(&mut self.context).map_err(|source| Failed { step, source })
    }

    /// Says how the last step is undone.
    pub(super) fn undo(&mut self, step: &'static str, act: impl FnOnce(&mut C) -> Result<()> + 'p) {
        self.undo.push(Undo { step, act: Box::new(act) });
    }

    fn unwind(&mut self) -> Vec<UndoFailure> {
        let mut failures = Vec::new();
        while let Some(Undo { step, act }) = self.undo.pop() {
            tracing::debug!(layer = %self.path.display(), "{step}, since a later step failed");
            if let Err(error) = act(&mut self.context) {
                failures.push(UndoFailure { step, error: Box::new(error) });
            }
        }
        failures
    }
}

impl<C> Drop for Steps<'_, C> {
    /// Steps are left here only by a panic.
    fn drop(&mut self) {
        for failure in self.unwind() {
            tracing::warn!(layer = %self.path.display(), error = %failure.error, "cannot {}", failure.step);
        }
    }
}
