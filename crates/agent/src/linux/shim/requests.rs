//! What clients ask of a shim, and signals to its program.

use rustix::process::{Signal, kill_process_group};

use super::events::{Events, complain};
use crate::error::{Error, IoContext as _, Result};
use crate::linux::frame::{Answer, Kind, Request, json};
use crate::linux::runtime::{RuntimeStatus, raw};
use crate::model::Status;
use crate::signal;

impl Events<'_> {
    /// Takes what a client has to say.
    pub(super) fn serve(&mut self, at: usize) {
        let Some(peer) = self.clients.peers.get_mut(at) else { return };
        peer.conn.flush();
        peer.conn.fill();
        loop {
            let Some(peer) = self.clients.peers.get_mut(at) else { return };
            match peer.conn.next() {
                Ok(Some((Kind::Stdin, data))) if peer.attached => {
                    match &mut self.pipes.input {
                        Some(input) => input.add(&data),
                        // The program does not read any more.
                        None => peer.conn.send(Kind::StdinTaken, &[]),
                    }
                    self.feed();
                }
                Ok(Some((Kind::StdinEnd, _))) if peer.attached => self.end_input(),
                Ok(Some((Kind::Request, payload))) => match json(&payload) {
                    Ok(Request::Wait) => peer.waiting = true,
                    Ok(request) => {
                        let outcome = self.answer(request);
                        let Some(peer) = self.clients.peers.get_mut(at) else { return };
                        match (request, outcome) {
                            // Its answer is what is seen.
                            (Request::Check, Ok(())) => peer.looking = true,
                            (_, outcome) => {
                                let error = outcome.err().map(|error| error.in_one_line());
                                peer.conn.send_json(Kind::Answer, &Answer { error });
                            }
                        }
                    }
                    Err(_) => peer.conn.closed = true,
                },
                Ok(None) => return,
                Ok(Some(_)) | Err(_) => {
                    peer.conn.closed = true;
                    return;
                }
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Wait => Ok(()),
            Request::Resize(size) => {
                self.clients.size = Some(size);
                self.pipes.resize(size)
            }
            Request::Kill { signal } => {
                if self.asks_for_the_end(signal) {
                    self.want_stop();
                } else if let (None, Some(container)) = (&self.program, &self.container) {
                    return Err(container.state_error("send a signal to"));
                }
                self.kill(signal)
            }
            Request::KillGroup => self.kill_group(),
            Request::Stop => self.stop(),
            Request::Pause => self.freeze(true),
            Request::Resume => self.freeze(false),
            Request::Check => self.check_now(),
        }
    }

    /// Signals after which nobody wants the program started again.
    fn asks_for_the_end(&self, number: i32) -> bool {
        self.container.as_ref().is_some_and(|container| {
            [signal::KILL, signal::TERM, signal::INT, container.config.stop_signal].contains(&number)
        })
    }

    /// Notes that the container is not to be started again by itself, for whoever looks at it if this process dies, too.
    fn want_stop(&mut self) {
        if let Some(container) = self.container.as_mut().filter(|container| !container.state.stop_wanted) {
            container.state.stop_wanted = true;
            complain(container.write_state());
        }
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.want_stop();
        let Some(container) = &self.container else { return Ok(()) };
        let number = container.config.stop_signal;
        if container.state.status == Status::Paused {
            self.freeze(false)?;
        }
        self.kill(number)
    }

    pub(super) fn kill(&mut self, number: i32) -> Result<()> {
        let is_paused = self.container.as_ref().is_some_and(|c| c.state.status == Status::Paused);
        if is_paused && number == signal::KILL {
            // What is frozen by cgroup version 1 does not even die.
            self.freeze(false)?;
        }
        let Some((_, pidfd)) = &self.program else { return Ok(()) };
        match raw::send_signal(pidfd, number) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            sent => sent.doing("send a signal to", "the container's process"),
        }
    }

    /// Runtimes give a process that they execute a session, and so a group, of its own. Until it was waited for, its number is
    /// nobody else's.
    fn kill_group(&mut self) -> Result<()> {
        if let (Some((pid, _)), None) = (&self.program, &self.container) {
            let _ = kill_process_group(*pid, Signal::KILL);
        }
        self.kill(signal::KILL)
    }

    fn check_now(&mut self) -> Result<()> {
        let Some(container) = &self.container else { return Ok(()) };
        if container.state.status != Status::Running || self.program.is_none() {
            return Err(container.state_error("check the health of"));
        }
        match &mut self.checks {
            Some(checks) => checks.begin(),
            None => Err(Error::NoHealthCheck(container.config.name.clone())),
        }
    }

    fn freeze(&mut self, pause: bool) -> Result<()> {
        let doing = if pause { "pause" } else { "unpause" };
        let Some(container) = &mut self.container else { return Ok(()) };
        let (from, to, wanted) = if pause {
            (Status::Running, Status::Paused, RuntimeStatus::Paused)
        } else {
            (Status::Paused, Status::Running, RuntimeStatus::Running)
        };
        if container.state.status != from {
            return Err(container.state_error(doing));
        }
        let Some(runtime) = &mut self.runtime else { return Err(container.state_error(doing)) };
        if pause {
            runtime.pause()?
        } else {
            runtime.resume()?
        }
        let found = runtime.state()?;
        if found != wanted {
            let said = format!("the container is {found:?} after that");
            return Err(Error::Runtime { runtime: container.config.runtime.to_string(), doing, said });
        }
        match &mut self.checks {
            Some(checks) if pause => checks.freeze(),
            Some(checks) => checks.thaw(),
            None => {}
        }
        container.state.status = to;
        container.write_state()
    }
}
