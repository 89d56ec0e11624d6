//! Health checks, made by a shim beside everything else that it does.
//!
//! A check is what `exec` is: another shim executes the program in the container, and talks to this one as to a client. So
//! it needs no thread here, and one that hangs holds nobody up.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{IoContext as _, Result};
use crate::health::MAX_OUTPUT;
use crate::linux::agent::Agent;
use crate::linux::container::Container;
use crate::linux::frame::{Conn, Exec, Failure, Kind, Request, json};
use crate::linux::{now, process};
use crate::model::{Exit, HealthLook};
use crate::options::HealthCheck;
use crate::spec::Process;

/// How long a check's shim has to end after its program was killed, or the container has ended.
const GRACE: Duration = Duration::from_secs(5);

/// The checks of a program that runs.
pub(super) struct Checks<'a> {
    agent: &'a Agent,
    /// As it was when the program was started.
    container: Container,
    pub(super) check: HealthCheck,
    process: Process,
    /// When the program was started.
    began: Instant,
    /// When the next check is due, unless one is being made.
    next: Option<Instant>,
    current: Option<Current>,
    /// The shim of the last one, which has said everything and ends now.
    leaving: Option<OwnedFd>,
    /// Since when the container is frozen: time stands still for it.
    frozen: Option<Instant>,
}

/// A check that is being made.
struct Current {
    conn: Conn,
    shim: OwnedFd,
    start: String,
    deadline: Instant,
    timed_out: bool,
    /// The container was frozen before the program was started.
    held_up: bool,
    started: bool,
    output: Vec<u8>,
}

impl Current {
    fn look(&self, exit_code: Option<u8>, why: Option<String>) -> HealthLook {
        let output = why.unwrap_or_else(|| String::from_utf8_lossy(&self.output).into_owned());
        HealthLook { start: self.start.clone(), end: now(), exit_code, output }
    }
}

impl<'a> Checks<'a> {
    /// Those of `container`, whose program is started now. The first one is made at once, as podman does.
    pub(super) fn new(
        agent: &'a Agent,
        container: &Container,
        check: &HealthCheck,
        process: Process,
    ) -> Self {
        let began = Instant::now();
        Checks {
            agent,
            container: container.clone(),
            check: check.clone(),
            process,
            began,
            next: (check.interval_ns > 0).then_some(began),
            current: None,
            leaving: None,
            frozen: None,
        }
    }

    /// Failures do not count yet.
    pub(super) fn in_start_period(&self) -> bool {
        self.began.elapsed() < Duration::from_nanos(self.check.start_period_ns)
    }

    /// When there is something to do without anybody having said something.
    pub(super) fn alarm(&self) -> Option<Instant> {
        match (&self.frozen, &self.current) {
            (Some(_), _) => None,
            (None, Some(current)) => Some(current.deadline),
            (None, None) => self.next,
        }
    }

    /// What a check that is being made says something on; after that, what tells that its shim can be collected.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match (&self.current, &self.leaving) {
            (Some(current), _) => Some(current.conn.fd()),
            (None, leaving) => leaving.as_ref().map(OwnedFd::as_fd),
        }
    }

    /// Does what is due. What came of a check, if that has come to its end.
    pub(super) fn tick(&mut self) -> Option<HealthLook> {
        let now = Instant::now();
        if self.alarm().is_none_or(|alarm| alarm > now) {
            return None;
        }
        let timeout = Duration::from_nanos(self.check.timeout_ns);
        let Some(current) = &mut self.current else {
            return self.begin().err().map(|error| {
                // The next one may succeed.
                self.rest();
                let (start, end) = (crate::linux::now(), crate::linux::now());
                HealthLook { start, end, exit_code: None, output: error.in_one_line() }
            });
        };
        if !current.timed_out {
            current.timed_out = true;
            current.deadline = now + GRACE;
            current.conn.send_json(Kind::Request, &Request::KillGroup);
            return None;
        }
        // Not even its shim ends.
        let _ = process::kill(&current.shim);
        self.finish(None, Some(too_long(timeout)))
    }

    /// Begins a check, unless one is being made.
    pub(super) fn begin(&mut self) -> Result<()> {
        if self.current.is_some() {
            return Ok(());
        }
        let exec = Exec { process: self.process.clone(), interactive: false };
        let (conn, child) = self.agent.spawn_shim(&self.container, true, None, Some(exec))?;
        // It is collected with whatever else this process inherits.
        let shim =
            pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).doing("watch", "a check's shim")?;
        let timeout = Duration::from_nanos(self.check.timeout_ns);
        self.current = Some(Current {
            conn,
            shim,
            start: now(),
            deadline: Instant::now() + timeout,
            timed_out: false,
            held_up: false,
            started: false,
            output: Vec::new(),
        });
        Ok(())
    }

    /// Takes what a check that is being made says. What came of it, if that was the end.
    pub(super) fn hear(&mut self) -> Option<HealthLook> {
        let Some(current) = &mut self.current else {
            self.leaving = None;
            return None;
        };
        current.conn.flush();
        current.conn.fill();
        loop {
            let current = self.current.as_mut()?;
            let timed_out = current.timed_out.then(|| too_long(Duration::from_nanos(self.check.timeout_ns)));
            match current.conn.next() {
                Ok(Some((Kind::Stdout | Kind::Stderr, data))) => {
                    let room = MAX_OUTPUT.saturating_sub(current.output.len()).min(data.len());
                    current.output.extend(&data[..room]);
                }
                Ok(Some((Kind::Exit, payload))) => {
                    return match (json::<Exit>(&payload), timed_out) {
                        (_, Some(why)) => self.finish(None, Some(why)),
                        (Ok(exit), None) => self.finish(Some(exit.code), None),
                        (Err(error), None) => self.finish(None, Some(error.in_one_line())),
                    };
                }
                Ok(Some((Kind::Failed, _))) if current.held_up => {
                    // It found the container frozen, which says nothing about its health.
                    self.leaving = self.current.take().map(|current| current.shim);
                    self.next = Some(Instant::now());
                    return None;
                }
                Ok(Some((Kind::Failed, payload))) => {
                    let said = json::<Failure>(&payload).map(|failure| failure.message);
                    return self.finish(None, Some(said.unwrap_or_else(|error| error.in_one_line())));
                }
                Ok(Some((Kind::Started, _))) => current.started = true,
                Ok(Some(_)) => {}
                Ok(None) if current.conn.closed => {
                    let why = timed_out.unwrap_or_else(|| "its shim has ended without a word".to_owned());
                    return self.finish(None, Some(why));
                }
                Ok(None) => return None,
                Err(error) => return self.finish(None, Some(error.in_one_line())),
            }
        }
    }

    fn finish(&mut self, exit_code: Option<u8>, why: Option<String>) -> Option<HealthLook> {
        let current = self.current.take()?;
        self.rest();
        let look = current.look(exit_code, why);
        self.leaving = Some(current.shim);
        Some(look)
    }

    /// Until the next one.
    fn rest(&mut self) {
        self.next = (self.check.interval_ns > 0)
            .then(|| Instant::now().checked_add(Duration::from_nanos(self.check.interval_ns)))
            .flatten();
    }

    /// The container is frozen: no check begins, and none takes too long.
    pub(super) fn freeze(&mut self) {
        self.frozen = Some(Instant::now());
        if let Some(current) = &mut self.current {
            current.held_up = !current.started;
        }
    }

    /// It goes on.
    pub(super) fn thaw(&mut self) {
        let Some(since) = self.frozen.take() else { return };
        let passed = since.elapsed();
        self.next = self.next.map(|next| next + passed);
        if let Some(current) = &mut self.current {
            current.deadline += passed;
        }
    }

    /// The container has ended, or is about to: no more checks.
    pub(super) fn end(&mut self) {
        self.next = None;
        let Some(current) = self.current.take() else { return };
        // Its program is dead already; the shim notices, and nobody listens.
        drop(current.conn);
        if !matches!(process::wait(&current.shim, Some(GRACE)), Ok(true)) {
            let _ = process::kill(&current.shim);
            let _ = process::wait(&current.shim, Some(GRACE));
        }
    }

    /// No check begins by itself any more; one that is being made goes on.
    pub(super) fn cease(&mut self) {
        self.next = None;
        self.check.interval_ns = 0;
    }
}

fn too_long(timeout: Duration) -> String {
    format!("it took longer than {timeout:?} and was killed")
}
