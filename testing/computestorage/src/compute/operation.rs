//! Operations: what was begun by a call and is done by another thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Failure, Started, Success};
use crate::code::Code;

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Fresh,
    Running,
    Done(Result<Success, Failure>),
}

#[derive(Debug, Default)]
pub(crate) struct Operation {
    stage: Mutex<Stage>,
    changed: Condvar,
}

impl Operation {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins it: the call returns, and a thread does the work.
    pub(crate) fn begin(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<Success, Failure> + Send + 'static,
    ) -> Result<(), Code> {
        {
            let mut stage = self.stage();
            match *stage {
                Stage::Fresh => *stage = Stage::Running,
                _ => return Err(Code::OPERATION_ALREADY_STARTED),
            }
        }
        let operation = Arc::clone(self);
        std::thread::spawn(move || {
            let result =
                catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Code::UNEXPECTED.into()));
            *operation.stage() = Stage::Done(result);
            operation.changed.notify_all();
        });
        Ok(())
    }

    /// Waits for its end: a document and a process, or a failure with its document.
    pub(crate) fn wait(
        &self,
        milliseconds: u32,
    ) -> Result<(Option<String>, Option<Started>), (Code, Option<String>)> {
        let limit = (milliseconds != u32::MAX).then(|| Duration::from_millis(milliseconds.into()));
        let start = Instant::now();
        let mut stage = self.stage();
        loop {
            match &*stage {
                Stage::Fresh => return Err((Code::OPERATION_NOT_STARTED, None)),
                Stage::Done(Ok(success)) => return Ok((success.document.clone(), success.process)),
                Stage::Done(Err(failure)) => return Err((failure.code, Some(failure.document()))),
                Stage::Running => {}
            }
            let left = match limit.map(|limit| limit.checked_sub(start.elapsed())) {
                None => Duration::from_secs(3600),
                Some(Some(left)) if !left.is_zero() => left,
                Some(_) => return Err((Code::OPERATION_TIMEOUT, None)),
            };
            stage = self.changed.wait_timeout(stage, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
