//! Whether a program that has ended is started again, and when.

use std::time::Duration;

use crate::options::RestartPolicy;

/// Before the first time.
const FIRST: Duration = Duration::from_millis(100);
/// It doubles up to this.
const LONGEST: Duration = Duration::from_secs(60);
/// A program that ran so long did run: the next wait is short again.
const FINE: Duration = Duration::from_secs(10);

/// How a program ended, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Its exit code.
    pub(super) code: u8,
    /// How long it ran.
    pub(super) ran: Duration,
    /// How often it was started again before.
    pub(super) restarts: u32,
    /// Somebody asked for its end.
    pub(super) stop_wanted: bool,
    /// It was ended in order to be started again.
    pub(super) restart_wanted: bool,
}

/// What is remembered from one end to the next.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    wait: Duration,
}

impl Restarts {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Restarts { policy, wait: FIRST }
    }

    /// How long to wait before it is started again; `None` when it is not.
    pub(super) fn after(&mut self, ended: Ended) -> Option<Duration> {
        let by_policy = match self.policy {
            RestartPolicy::No => false,
            // No end is written as 0 as well, as in podman.
            RestartPolicy::OnFailure { max } => {
                ended.code != 0 && max.is_none_or(|max| max == 0 || ended.restarts < max)
            }
            RestartPolicy::Always => true,
        };
        if ended.stop_wanted || !(by_policy || ended.restart_wanted) {
            return None;
        }
        if ended.ran >= FINE {
            self.wait = FIRST;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Ended = Ended {
        code: 1,
        ran: Duration::from_secs(1),
        restarts: 0,
        stop_wanted: false,
        restart_wanted: false,
    };

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut restarts = Restarts::new(RestartPolicy::Always);
        let waits: Vec<u128> = (0..12).map(|_| restarts.after(QUICK).unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        let long = Ended { ran: FINE, ..QUICK };
        assert_eq!(restarts.after(long), Some(FIRST));
        assert_eq!(restarts.after(QUICK), Some(FIRST * 2));
    }

    #[test]
    fn a_policy_says_which_ends_are_followed_by_a_start() {
        let after = |policy, ended| Restarts::new(policy).after(ended).is_some();
        let fine = Ended { code: 0, ..QUICK };
        let failures = RestartPolicy::OnFailure { max: None };
        let two = RestartPolicy::OnFailure { max: Some(2) };
        assert!(!after(RestartPolicy::No, QUICK));
        assert!(after(failures, QUICK) && !after(failures, fine));
        assert!(after(RestartPolicy::Always, QUICK) && after(RestartPolicy::Always, fine));
        assert!(after(two, Ended { restarts: 1, ..QUICK }));
        assert!(!after(two, Ended { restarts: 2, ..QUICK }));
        assert!(after(RestartPolicy::OnFailure { max: Some(0) }, Ended { restarts: 9, ..QUICK }));
    }

    #[test]
    fn who_asks_for_the_end_gets_it_and_who_asks_for_a_restart_too() {
        let stopped = Ended { stop_wanted: true, ..QUICK };
        assert_eq!(Restarts::new(RestartPolicy::Always).after(stopped), None);
        let demanded = Ended { restart_wanted: true, ..QUICK };
        assert_eq!(Restarts::new(RestartPolicy::No).after(demanded), Some(FIRST));
        assert_eq!(Restarts::new(RestartPolicy::No).after(Ended { stop_wanted: true, ..demanded }), None);
    }
}
