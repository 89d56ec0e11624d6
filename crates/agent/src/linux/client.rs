//! The client's side: what is asked of a shim, and the streams of an attached program.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::container::Container;
use super::frame::{Answer, CHUNK, Conn, Failure, Kind, Request, STDIN_WINDOW, json};
use super::runtime::short_path;
use super::terminal::{self, DetachKeys, Raw};
use super::{process, shim};
use crate::error::{Error, IoContext as _, Result};
use crate::model::{Exit, HealthLook};

/// How long a shim may take to answer, or to tidy up after its container was killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The most of a shim's own log that is shown.
const MAX_SAID: usize = 2000;

/// A conversation with a shim.
#[derive(Debug)]
pub struct Client {
    name: String,
    shim_log: std::path::PathBuf,
    pub(super) conn: Conn,
    /// The shim, when it was started by this process.
    pub(super) child: Option<Child>,
    /// A descriptor of it. The socket alone does not tell its end: what it was about to start has it too.
    shim: Option<OwnedFd>,
    /// How much its log held before.
    said_before: u64,
}

/// How an attached client wants its streams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attached {
    /// Standard input is sent.
    pub interactive: bool,
    /// The program has a terminal: keys are passed on as they are, and ctrl-p ctrl-q lets go.
    pub tty: bool,
}

/// How an attached client ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The program has ended.
    Exit(Exit),
    /// The user has let go of it; it goes on.
    Detached,
}

impl Client {
    pub(super) fn of_child(container: &Container, conn: Conn, child: Child) -> Self {
        Client {
            name: container.config.name.clone(),
            shim_log: container.shim_log(),
            said_before: std::fs::metadata(container.shim_log()).map_or(0, |metadata| metadata.len()),
            conn,
            shim: pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok(),
            child: Some(child),
        }
    }

    /// Talks to the shim of a container that runs.
    ///
    /// # Errors
    /// When it has none.
    pub fn connect(container: &Container) -> Result<Self> {
        let path = container.control();
        let directory = shim::open_directory(&container.run_directory)?;
        let stream = UnixStream::connect(short_path(&directory, "control")).doing("connect to", &path)?;
        Ok(Client {
            name: container.config.name.clone(),
            shim_log: container.shim_log(),
            said_before: u64::MAX,
            conn: Conn::new(stream).doing("connect to", path)?,
            child: None,
            shim: None,
        })
    }

    /// Waits until the program runs.
    pub(super) fn started(&mut self) -> Result<()> {
        match self.receive(None)? {
            (Kind::Started, _) => Ok(()),
            (Kind::Failed, payload) => Err(self.failed(&payload)),
            (kind, payload) => Err(unexpected(kind, &payload)),
        }
    }

    pub(super) fn failed(&mut self, payload: &[u8]) -> Error {
        self.reap();
        match json::<Failure>(payload) {
            Ok(failure) => Error::Shim { code: failure.code, message: failure.message },
            Err(error) => error,
        }
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    /// When the shim is gone, or the system refuses.
    pub fn kill(&mut self, signal: i32) -> Result<()> {
        self.ask(Request::Kill { signal })
    }

    /// Asks the container to stop, with its stop signal. It is not started again by itself then; one that only waits for that
    /// ends at once.
    ///
    /// # Errors
    /// When the shim is gone, or the system refuses.
    pub fn stop(&mut self) -> Result<()> {
        self.ask(Request::Stop)
    }

    /// Looks at the container's health now, and waits for what comes of it. It counts as one of the looks that are made by
    /// themselves do.
    ///
    /// # Errors
    /// When it has no health check, or does not run.
    pub fn check(&mut self) -> Result<HealthLook> {
        self.conn.send_json(Kind::Request, &Request::Check);
        match self.receive(None)? {
            (Kind::Look, payload) => json(&payload),
            (Kind::Answer, payload) => {
                let message = json::<Answer>(&payload)?.error.unwrap_or_default();
                Err(Error::Shim { code: crate::error::EXIT_FAILED, message })
            }
            (kind, payload) => Err(unexpected(kind, &payload)),
        }
    }

    /// Freezes all processes of the container.
    ///
    /// # Errors
    /// When it does not run, or the runtime fails.
    pub fn pause(&mut self) -> Result<()> {
        self.ask(Request::Pause)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When it is not paused, or the runtime fails.
    pub fn resume(&mut self) -> Result<()> {
        self.ask(Request::Resume)
    }

    fn ask(&mut self, request: Request) -> Result<()> {
        self.conn.send_json(Kind::Request, &request);
        match self.receive(Some(PATIENCE))? {
            (Kind::Answer, payload) => match json::<Answer>(&payload)?.error {
                None => Ok(()),
                Some(message) => Err(Error::Shim { code: crate::error::EXIT_FAILED, message }),
            },
            (kind, payload) => Err(unexpected(kind, &payload)),
        }
    }

    /// Waits until the container has ended and everything of it is tidied up.
    ///
    /// # Errors
    /// When the shim dies meanwhile.
    pub fn wait(&mut self) -> Result<Exit> {
        self.conn.send_json(Kind::Request, &Request::Wait);
        match self.receive(None)? {
            (Kind::Exit, payload) => json(&payload),
            (Kind::Failed, payload) => Err(self.failed(&payload)),
            (kind, payload) => Err(unexpected(kind, &payload)),
        }
    }

    /// The next frame.
    fn receive(&mut self, patience: Option<Duration>) -> Result<(Kind, Vec<u8>)> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            if let Some(frame) = self.conn.next()? {
                return Ok(frame);
            }
            if self.conn.closed {
                return Err(self.died());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let what = format!("an answer of the shim of container `{}`", self.name);
                return Err(Error::Timeout { what, seconds: PATIENCE.as_secs() });
            }
            self.conn.flush();
            let mut fds = self.conversation();
            match poll(&mut fds, left.map(process::timespec).as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno).doing("wait for", "the shim"),
            }
            let (said, gone) = heard(&fds);
            self.take(said, gone);
        }
    }

    /// What to wait for: the socket, and the shim's end.
    pub(super) fn conversation(&self) -> Vec<PollFd<'_>> {
        let wants = if self.conn.pending() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = vec![PollFd::from_borrowed_fd(self.conn.fd(), wants)];
        fds.extend(self.shim.as_ref().map(|shim| PollFd::new(shim, PollFlags::IN)));
        fds
    }

    /// Reads what the shim has said. One that is gone says no more than what is there.
    pub(super) fn take(&mut self, said: bool, gone: bool) {
        if said {
            self.conn.fill();
        } else if gone {
            self.conn.closed = true;
        }
    }

    /// The shim has closed its end without a word.
    pub(super) fn died(&mut self) -> Error {
        self.reap();
        let said = std::fs::read(&self.shim_log).unwrap_or_default();
        let from = usize::try_from(self.said_before).unwrap_or(usize::MAX).min(said.len());
        let new = &said[from..];
        let tail = &new[new.len().saturating_sub(MAX_SAID)..];
        Error::ShimDied { name: self.name.clone(), said: String::from_utf8_lossy(tail).trim().to_owned() }
    }

    /// The container has ended; its shim may still be busy with removing what it has written, which nobody has to wait for.
    pub(super) fn reap_later(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Without it, it stays a zombie until this process ends.
            let _ = std::thread::Builder::new().spawn(move || child.wait());
        }
    }

    pub(super) fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// Connects the caller's streams with the program's until that has ended: output to standard output and error, input from
    /// standard input, signals of the caller to the program.
    ///
    /// # Errors
    /// When the shim dies, or standard output is closed; the program goes on in the second case.
    pub fn attach(mut self, attached: Attached, signals: &Signals) -> Result<Ended> {
        let raw = if attached.tty { Raw::set() } else { None };
        let mut keys = raw.as_ref().map(|_| DetachKeys::default());
        let mut input = attached.interactive;
        let mut under_way = 0;
        let ended = loop {
            while let Some((kind, payload)) = self.conn.next()? {
                match kind {
                    Kind::Stdout => write_out(&mut io::stdout().lock(), &payload, &self.name)?,
                    Kind::Stderr => write_out(&mut io::stderr().lock(), &payload, &self.name)?,
                    Kind::StdinTaken => under_way = usize::saturating_sub(under_way, 1),
                    Kind::Exit => {
                        self.reap_later();
                        return Ok(Ended::Exit(json(&payload)?));
                    }
                    Kind::Failed => return Err(self.failed(&payload)),
                    Kind::Answer | Kind::Started => {}
                    other => return Err(unexpected(other, &payload)),
                }
            }
            if self.conn.closed {
                break Err(self.died());
            }
            let (said, gone, typed, signalled) =
                self.poll_attached(input && under_way < STDIN_WINDOW, signals)?;
            if signalled {
                self.forward(signals, attached.tty)?;
            }
            if typed {
                let mut buffer = [0; CHUNK];
                match rustix::io::read(io::stdin(), &mut buffer) {
                    Ok(0) => {
                        input = false;
                        self.conn.send(Kind::StdinEnd, &[]);
                    }
                    Ok(read) => {
                        let (data, detach) = match &mut keys {
                            Some(keys) => keys.filter(&buffer[..read]),
                            None => (buffer[..read].to_vec(), false),
                        };
                        if !data.is_empty() {
                            under_way += 1;
                            self.conn.send(Kind::Stdin, &data);
                        }
                        if detach {
                            break Ok(Ended::Detached);
                        }
                    }
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    // A terminal that is gone.
                    Err(_) => {
                        input = false;
                        self.conn.send(Kind::StdinEnd, &[]);
                    }
                }
            }
            self.conn.flush();
            self.take(said, gone);
        };
        drop(raw);
        ended
    }

    fn poll_attached(&self, input: bool, signals: &Signals) -> Result<(bool, bool, bool, bool)> {
        let stdin = io::stdin();
        let mut fds = self.conversation();
        let others = fds.len();
        fds.push(PollFd::from_borrowed_fd(signals.0.as_fd(), PollFlags::IN));
        if input {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok((false, false, false, false)),
            Err(errno) => return Err(errno).doing("wait for", "the shim"),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (said, gone) = heard(&fds[..others]);
        Ok((said, gone, ready(others + 1), ready(others)))
    }

    /// Passes the caller's signals on.
    fn forward(&mut self, signals: &Signals, tty: bool) -> Result<()> {
        while let Some(number) = signals.next()? {
            let request = if number == Signal::SIGWINCH as i32 {
                match terminal::size().filter(|_| tty) {
                    Some(size) => Request::Resize(size),
                    None => continue,
                }
            } else {
                Request::Kill { signal: number }
            };
            self.conn.send_json(Kind::Request, &request);
        }
        Ok(())
    }
}

/// Whether the shim has said something, and whether it is gone.
pub(super) fn heard(fds: &[PollFd<'_>]) -> (bool, bool) {
    let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
    (ready(0), ready(1))
}

pub(super) fn unexpected(kind: Kind, payload: &[u8]) -> Error {
    Error::Protocol { kind: kind as u8, size: u32::try_from(payload.len()).unwrap_or(u32::MAX) }
}

fn write_out(out: &mut impl io::Write, data: &[u8], name: &str) -> Result<()> {
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Error::OutputClosed { name: name.to_owned() })
        }
        written => written.doing("write to", "standard output"),
    }
}

/// The caller's signals, which a program that is attached gets instead.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// Those that are passed on.
const FORWARDED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGPWR,
];

impl Signals {
    /// Takes them from now on: call it before the program is started, so that none is lost.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take() -> Result<Self> {
        let mut set = SigSet::empty();
        FORWARDED.into_iter().for_each(|signal| set.add(signal));
        let failed = |errno: nix::errno::Errno| Error::Io {
            doing: "take",
            path: "signals".into(),
            source: errno.into(),
        };
        set.thread_block().map_err(failed)?;
        let signals =
            SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)?;
        Ok(Signals(signals))
    }

    fn next(&self) -> Result<Option<i32>> {
        match self.0.read_signal() {
            Ok(info) => Ok(info.and_then(|info| i32::try_from(info.ssi_signo).ok())),
            Err(nix::errno::Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(Error::Io { doing: "take", path: "signals".into(), source: errno.into() }),
        }
    }
}
