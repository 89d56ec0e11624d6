//! What the shim does while a program runs: output to the log and to the client, input to the program, requests.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use super::output::{Pipes, Read};
use crate::error::{Error, IoContext as _, Result};
use crate::linux::container::Container;
use crate::linux::frame::{Answer, Conn, Kind, Request, json};
use crate::linux::process;
use crate::linux::runtime::{Runtime, RuntimeStatus, raw};
use crate::log::{self, Stream};
use crate::model::{Exit, Status};
use crate::signal;

/// When so much waits for a client that does not read, the program has to wait too.
const FULL: usize = 1 << 20;
/// How long the pipes of a container whose first process has ended may stay open.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// The same for another process: what it has left running in the container has its pipes too.
const LAST_OUTPUT_OF_EXEC: Duration = Duration::from_millis(200);
/// The most clients at once.
const MAX_PEERS: usize = 64;

/// A client.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) conn: Conn,
    /// Has the output, and the input.
    pub(super) attached: bool,
    /// Wants to know how it ended.
    pub(super) waiting: bool,
}

/// A program that runs.
pub(super) struct Events<'a> {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) pipes: Pipes,
    pub(super) peers: Vec<Peer>,
    pub(super) listener: Option<UnixListener>,
    pub(super) log: Option<log::Writer>,
    pub(super) runtime: &'a mut dyn Runtime,
    /// The container, when the program is its first.
    pub(super) container: Option<&'a mut Container>,
}

/// What a poll is about.
#[derive(Debug, Clone, Copy)]
enum Source {
    Process,
    Listener,
    Peer(usize),
    Output(usize),
    Input,
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
            let left = ended.as_ref().map(|(_, deadline)| deadline.saturating_duration_since(Instant::now()));
            for source in self.wait(ended.is_some(), left)? {
                match source {
                    Source::Process => {
                        let patience =
                            if self.container.is_some() { LAST_OUTPUT } else { LAST_OUTPUT_OF_EXEC };
                        ended = Some((self.reap()?, Instant::now() + patience));
                    }
                    Source::Listener => self.accept(),
                    Source::Peer(at) => self.serve(at),
                    Source::Output(at) => self.take_output(at),
                    Source::Input => self.feed(),
                }
            }
            self.pipes.outputs.retain(|output| !output.ended);
            self.drop_closed();
            reap_others(self.pid);
        }
    }

    /// What has something to say. After the end, only output is waited for.
    fn wait(&self, ended: bool, left: Option<Duration>) -> Result<Vec<Source>> {
        let mut watched: Vec<(Source, PollFd<'_>)> = Vec::new();
        let mut watch = |source, fd, flags| watched.push((source, PollFd::from_borrowed_fd(fd, flags)));
        if !ended {
            watch(Source::Process, self.pidfd.as_fd(), PollFlags::IN);
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| self.peers.len() < MAX_PEERS) {
            watch(Source::Listener, listener.as_fd(), PollFlags::IN);
        }
        let mut is_full = false;
        for (at, peer) in self.peers.iter().enumerate() {
            is_full |= peer.attached && peer.conn.pending() > FULL;
            let wants = if peer.conn.pending() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            watch(Source::Peer(at), peer.conn.fd(), wants);
        }
        if !is_full || ended {
            for (at, output) in self.pipes.outputs.iter().enumerate() {
                watch(Source::Output(at), output.fd(), PollFlags::IN);
            }
        }
        if let Some(input) = self.pipes.input.as_ref().filter(|input| input.is_waiting()) {
            watch(Source::Input, input.fd(), PollFlags::OUT);
        }
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
    fn reap(&mut self) -> Result<Exit> {
        let status = loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
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
        Ok(Exit {
            code: u8::try_from(code).unwrap_or(u8::MAX),
            signal,
            oom_killed: false,
            error: None,
            finished: crate::linux::now(),
        })
    }

    fn accept(&mut self) {
        let Some((stream, _)) = self.listener.as_ref().and_then(|listener| listener.accept().ok()) else {
            return;
        };
        if let Ok(conn) = Conn::new(stream) {
            self.peers.push(Peer { conn, attached: false, waiting: false });
        }
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
                for peer in self.peers.iter_mut().filter(|peer| peer.attached) {
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
    fn feed(&mut self) {
        let Some(input) = &mut self.pipes.input else { return };
        let (taken, open) = input.flush();
        let finished = !open || (input.ended && !input.is_waiting());
        // A terminal stays: its size can still be set, and its end is not said by closing it.
        if finished && self.pipes.terminal.is_none() {
            self.pipes.input = None;
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.attached) {
            for _ in 0..taken {
                peer.conn.send(Kind::StdinTaken, &[]);
            }
        }
    }

    fn end_input(&mut self) {
        if let Some(input) = &mut self.pipes.input {
            input.ended = true;
        }
        self.feed();
    }

    /// Takes what a client has to say.
    fn serve(&mut self, at: usize) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        peer.conn.flush();
        peer.conn.fill();
        loop {
            let Some(peer) = self.peers.get_mut(at) else { return };
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
                        let error = self.answer(request).err().map(|error| error.in_one_line());
                        if let Some(peer) = self.peers.get_mut(at) {
                            peer.conn.send_json(Kind::Answer, &Answer { error });
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
            Request::Resize(size) => self.pipes.resize(size),
            Request::Kill { signal } => self.kill(signal),
            Request::Pause => self.freeze(true),
            Request::Resume => self.freeze(false),
        }
    }

    fn kill(&mut self, number: i32) -> Result<()> {
        let is_paused = self.container.as_ref().is_some_and(|c| c.state.status == Status::Paused);
        if is_paused && number == signal::KILL {
            // What is frozen by cgroup version 1 does not even die.
            self.freeze(false)?;
        }
        match raw::send_signal(&self.pidfd, number) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            sent => sent.doing("send a signal to", "the container's process"),
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
        if pause {
            self.runtime.pause()?
        } else {
            self.runtime.resume()?
        }
        let found = self.runtime.state()?;
        if found != wanted {
            let said = format!("the container is {found:?} after that");
            return Err(Error::Runtime { runtime: container.config.runtime.to_string(), doing, said });
        }
        container.state.status = to;
        container.write_state()
    }

    fn drop_closed(&mut self) {
        let lost_input = self.peers.iter().any(|peer| peer.attached && peer.conn.closed);
        self.peers.retain(|peer| !peer.conn.closed);
        // Nobody else gives the program input, so it need not wait for more. A terminal may be attached to again.
        if lost_input && self.pipes.terminal.is_none() {
            self.end_input();
        }
    }
}

/// Takes the ends of processes that have become this one's children, but for the one that is looked after.
pub(super) fn reap_others(but: Pid) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Some(pid) = waitid(Id::All, peek).ok().and_then(|status| status.pid()) {
        let Some(pid) = Pid::from_raw(pid.as_raw()).filter(|pid| *pid != but) else { return };
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
