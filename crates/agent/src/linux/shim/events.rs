//! What the shim does while a program runs, and while it waits to start it again: output to the log and to the clients, input
//! to the program, requests, health checks.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use super::checks::Checks;
use super::clients::Clients;
use super::output::{Pipes, Read};
use crate::error::{Error, IoContext as _, Result};
use crate::linux::container::Container;
use crate::linux::frame::Kind;
use crate::linux::process;
use crate::linux::runtime::Runtime;
use crate::log::{self, Stream};
use crate::model::{Exit, Health, HealthLook};
use crate::options::OnUnhealthy;
use crate::signal;

/// When so much waits for a client that does not read, the program has to wait too.
const FULL: usize = 1 << 20;
/// How long the pipes of a container whose first process has ended may stay open.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// The same for another process: what it has left running in the container has its pipes too.
const LAST_OUTPUT_OF_EXEC: Duration = Duration::from_millis(200);

/// A program that runs, or the wait for the next one.
pub(super) struct Events<'a> {
    /// Its process; nothing when it has ended.
    pub(super) program: Option<(Pid, OwnedFd)>,
    pub(super) pipes: Pipes,
    pub(super) clients: &'a mut Clients,
    pub(super) log: Option<log::Writer>,
    pub(super) runtime: Option<&'a mut dyn Runtime>,
    /// The container, when the program is its first.
    pub(super) container: Option<&'a mut Container>,
    pub(super) checks: Option<Checks<'a>>,
    /// What has come of it besides its exit code.
    pub(super) fate: Fate,
}

/// What the shim has done to a program, or will.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Why it was killed.
    why: Option<String>,
    /// It is to be started again, whatever the policy is.
    pub(super) restart_wanted: bool,
    /// When it is killed, if it has not stopped by then.
    kill_at: Option<Instant>,
}

/// What a poll is about.
#[derive(Debug, Clone, Copy)]
enum Source {
    Process,
    Listener,
    Peer(usize),
    Output(usize),
    Input,
    Check,
}

/// A descriptor of a child, which nobody else can take the number of before it was waited for.
pub(super) fn watch(pid: i32) -> Result<(Pid, OwnedFd)> {
    let pid = Pid::from_raw(pid).ok_or_else(|| Error::Invalid {
        what: "the number of a process",
        value: pid.to_string(),
        expected: "positive".to_owned(),
    })?;
    Ok((pid, pidfd_open(pid, PidfdFlags::empty()).doing("watch", "the container's process")?))
}

impl Events<'_> {
    /// Looks after the program until it has ended and everything that it wrote was read.
    pub(super) fn run(&mut self) -> Result<Exit> {
        let mut ended: Option<(Exit, Instant)> = None;
        loop {
            if let Some((exit, deadline)) = &ended
                && (self.pipes.outputs.is_empty() || Instant::now() >= *deadline)
            {
                let exit = exit.clone();
                self.finish_log();
                return Ok(exit);
            }
            let deadline = ended.as_ref().map(|(_, deadline)| *deadline);
            if let Some(exit) = self.turn(deadline)? {
                let patience = if self.container.is_some() { LAST_OUTPUT } else { LAST_OUTPUT_OF_EXEC };
                ended = Some((exit, Instant::now() + patience));
                if let Some(mut checks) = self.checks.take() {
                    checks.end();
                    self.clients.tell_no_look();
                }
            }
        }
    }

    /// Serves the clients while no program runs: until `deadline`, or until somebody asks for the container's end.
    pub(super) fn idle(&mut self, deadline: Instant) -> Result<()> {
        while Instant::now() < deadline && !self.is_stop_wanted() {
            self.turn(Some(deadline))?;
        }
        Ok(())
    }

    fn is_stop_wanted(&self) -> bool {
        self.container.as_ref().is_some_and(|container| container.state.stop_wanted)
    }

    /// Waits until there is something to do, at most until `deadline`, and does it. How the program has ended, if it has.
    fn turn(&mut self, deadline: Option<Instant>) -> Result<Option<Exit>> {
        let mut exit = None;
        for source in self.wait(deadline)? {
            match source {
                Source::Process => exit = self.reap()?,
                Source::Listener => self.clients.accept(),
                Source::Peer(at) => self.serve(at),
                Source::Output(at) => self.take_output(at),
                Source::Input => self.feed(),
                Source::Check => {
                    let look = self.checks.as_mut().and_then(Checks::hear);
                    self.take_look(look);
                }
            }
        }
        let look = self.checks.as_mut().and_then(Checks::tick);
        self.take_look(look);
        if self.fate.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.fate.kill_at = None;
            complain(self.kill(signal::KILL));
        }
        self.pipes.outputs.retain(|output| !output.ended);
        // Nobody else gives the program input, so it need not wait for more. A terminal may be attached to again.
        if self.clients.drop_closed() && self.pipes.terminal.is_none() {
            self.end_input();
        }
        reap_others(self.program.as_ref().map(|(pid, _)| *pid));
        Ok(exit)
    }

    /// What has something to say. After the end, output is taken even if a client does not read.
    fn wait(&self, deadline: Option<Instant>) -> Result<Vec<Source>> {
        let mut watched: Vec<(Source, PollFd<'_>)> = Vec::new();
        let mut watch = |source, fd, flags| watched.push((source, PollFd::from_borrowed_fd(fd, flags)));
        if let Some((_, pidfd)) = &self.program {
            watch(Source::Process, pidfd.as_fd(), PollFlags::IN);
        }
        if let Some(listener) = self.clients.listener() {
            watch(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        let mut is_full = false;
        for (at, peer) in self.clients.peers.iter().enumerate() {
            is_full |= peer.attached && peer.conn.pending() > FULL;
            let wants = if peer.conn.pending() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            watch(Source::Peer(at), peer.conn.fd(), wants);
        }
        if !is_full || self.program.is_none() {
            for (at, output) in self.pipes.outputs.iter().enumerate() {
                watch(Source::Output(at), output.fd(), PollFlags::IN);
            }
        }
        if let Some(input) = self.pipes.input.as_ref().filter(|input| input.is_waiting()) {
            watch(Source::Input, input.fd(), PollFlags::OUT);
        }
        if let Some(fd) = self.checks.as_ref().and_then(Checks::fd) {
            watch(Source::Check, fd, PollFlags::IN);
        }
        let alarm = self.checks.as_ref().and_then(Checks::alarm);
        let soonest = [deadline, alarm, self.fate.kill_at].into_iter().flatten().min();
        let left = soonest.map(|at| at.saturating_duration_since(Instant::now()));
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = watched.into_iter().unzip();
        let timeout = left.map(process::timespec);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing("wait for", "the container"),
        }
        let ready = sources.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(source, _)| source).collect())
    }

    /// Takes the end of the program.
    fn reap(&mut self) -> Result<Option<Exit>> {
        let Some((pid, _)) = self.program.take() else { return Ok(None) };
        let status = loop {
            match waitpid(Some(pid), WaitOptions::empty()) {
                Ok(status) => break status,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno).doing("wait for", "the container's process"),
            }
        };
        let status = status.map(|(_, status)| status);
        let signal = status.and_then(|status| status.terminating_signal());
        let code = match (status.and_then(|status| status.exit_status()), signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => i32::from(u8::MAX),
        };
        Ok(Some(Exit {
            code: u8::try_from(code).unwrap_or(u8::MAX),
            signal,
            oom_killed: false,
            error: self.fate.why.take(),
            finished: crate::linux::now(),
        }))
    }

    fn take_output(&mut self, at: usize) {
        let Some(output) = self.pipes.outputs.get_mut(at) else { return };
        let stream = output.stream;
        match output.read() {
            Read::Nothing => {}
            Read::End => output.ended = true,
            Read::Data(data) => {
                if let Some(log) = &mut self.log
                    && let Err(error) = log.write(stream, &data)
                {
                    // The container goes on: a full disk is no reason to end it. The shim's own log says what is missing.
                    eprintln!(
                        "{} {} bytes were not logged: {}",
                        crate::linux::now(),
                        data.len(),
                        error.in_one_line()
                    );
                }
                let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
                for peer in self.clients.attached() {
                    peer.conn.send(kind, &data);
                }
            }
        }
    }

    fn finish_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Err(error) = log.end(stream) {
                eprintln!("{} the end was not logged: {}", crate::linux::now(), error.in_one_line());
            }
        }
    }

    /// Gives the program its input.
    pub(super) fn feed(&mut self) {
        let Some(input) = &mut self.pipes.input else { return };
        let (taken, open) = input.flush();
        let finished = !open || (input.ended && !input.is_waiting());
        // A terminal stays: its size can still be set, and its end is not said by closing it.
        if finished && self.pipes.terminal.is_none() {
            self.pipes.input = None;
        }
        for peer in self.clients.attached() {
            for _ in 0..taken {
                peer.conn.send(Kind::StdinTaken, &[]);
            }
        }
    }

    pub(super) fn end_input(&mut self) {
        self.clients.input_over = true;
        if let Some(input) = &mut self.pipes.input {
            input.ended = true;
        }
        self.feed();
    }

    /// Notes what was seen, and does what is to be done when that is too bad.
    fn take_look(&mut self, look: Option<HealthLook>) {
        // What is executed in a container dies with it, which says nothing about its health.
        let Some(look) = look.filter(|look| look.exit_code == Some(0) || self.is_alive()) else { return };
        let (Some(checks), Some(container)) = (&mut self.checks, &mut self.container) else { return };
        self.clients.tell_look(&look);
        let in_start_period = checks.in_start_period();
        let health = container.state.health.get_or_insert_with(|| Health::starting(None));
        let became_unhealthy = health.note(look, checks.check.retries, in_start_period);
        let streak = health.failing_streak;
        complain(container.write_state());
        let action = checks.check.on_unhealthy;
        if !became_unhealthy || action == OnUnhealthy::None {
            return;
        }
        checks.cease();
        self.fate.why = Some(format!("it was unhealthy: {streak} checks in a row have failed"));
        let patience = Duration::from_secs(container.config.stop_timeout.into());
        complain(match action {
            OnUnhealthy::None => Ok(()),
            OnUnhealthy::Kill => self.kill(signal::KILL),
            OnUnhealthy::Restart => {
                self.fate.restart_wanted = true;
                self.kill(signal::KILL)
            }
            OnUnhealthy::Stop => {
                self.fate.kill_at = Instant::now().checked_add(patience);
                self.stop()
            }
        });
    }

    /// The program runs, and is not about to end.
    fn is_alive(&self) -> bool {
        let init = self.container.as_ref().and_then(|container| container.state.init.as_ref());
        self.program.is_some() && init.is_none_or(|init| process::is_alive(init).unwrap_or(true))
    }
}

/// The container goes on, whatever this is: it is written to the shim's own log.
pub(super) fn complain(outcome: Result<()>) {
    if let Err(error) = outcome {
        eprintln!("{} {}", crate::linux::now(), error.in_one_line());
    }
}

/// Takes the ends of processes that have become this one's children, but for the one that is looked after.
pub(super) fn reap_others(but: Option<Pid>) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(pid) = waitid(Id::All, peek).ok().and_then(|status| status.pid()) {
        let Some(pid) = Pid::from_raw(pid.as_raw()).filter(|pid| Some(*pid) != but) else { return };
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
