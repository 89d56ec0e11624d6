//! Several calls that are made together or not at all.
//!
//! Each step that leaves something behind says how that is undone. When a later one fails, what was done is undone in
//! reverse order; an undo that fails does not keep the others from being tried, and is reported beside the first error.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use layerstone_hcs::{ErrorKind, HResult};

use super::error::{Error, Result, UndoFailure};

/// How often a call is made in all that comes before a device is ready, and how long to wait in between: what hcsshim does.
const READY: (u32, Duration) = (5, Duration::from_millis(100));
/// `ERROR_FLT_DO_NOT_DETACH`: a filter asks to be detached later. The storage has waited for that by itself.
const DO_NOT_DETACH: HResult = HResult(0x801F_0010);

/// Makes a call, and again for a moment where the system says that it is too early.
pub(super) fn patiently<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let (tries, wait) = READY;
    for _ in 1..tries {
        match call() {
            Err(error) if error.kind() == ErrorKind::NotReady && error.hresult() != DO_NOT_DETACH => {
                sleep(wait);
            }
            other => return other,
        }
    }
    call()
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
