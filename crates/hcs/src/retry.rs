//! How often a call is made again.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::hresult::HResult;

/// How often a call that failed for a passing reason is made in all, and how long to wait in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Calls in all; 0 and 1 both mean a single one.
    pub attempts: u32,
    /// The pause before the next.
    pub delay: Duration,
}

impl Retry {
    /// What hcsshim gives `ActivateLayer` and `PrepareLayer`: 5 calls, 100 ms apart.
    pub const TRANSIENT: Self = Retry { attempts: 5, delay: Duration::from_millis(100) };
    /// For a filter that is busy just after a container has ended: 10 calls, 1 s apart.
    pub const DETACH: Self = Retry { attempts: 10, delay: Duration::from_secs(1) };
    /// One call.
    pub const NEVER: Self = Retry { attempts: 1, delay: Duration::ZERO };

    /// Calls `call` until it succeeds, fails with a code that is not in `codes`, or has been called often enough. The
    /// last error is the one that is returned.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn run<T>(self, codes: &[HResult], mut call: impl FnMut() -> Result<T>) -> Result<T> {
        let mut attempt = 1;
        loop {
            let error = match call() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let again = matches!(&error, Error::Call { code, .. } if codes.contains(&code.canonical()));
            if !again || attempt >= self.attempts {
                return Err(error);
            }
            tracing::debug!(%error, attempt, of = self.attempts, delay = ?self.delay, "trying again");
            std::thread::sleep(self.delay);
            attempt += 1;
        }
    }
}
