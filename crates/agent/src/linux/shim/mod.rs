//! The shim: the process that looks after one container.
//!
//! ```text
//! layerstone run ──socket──► layerstone shim          one thread, own session, from a sealed memory file
//!     (may die)                 │  ├─ control socket   kill, stop, pause, resume, check, wait
//!                               │  ├─ log.jsonl        everything that the container prints
//!                               │  └─ exit.json        how it ended
//!                               └─► first process      its child; dies with it
//!
//! layerstone exec ──socket──► layerstone shim ─► another process of the container
//! ```
//!
//! Where a restart policy or a health check wants it, it starts the program again and again, and between two times waits, with
//! everything in place.
//!
//! It starts the container, because whoever does that with libcontainer must have one thread and is changed for good by it;
//! it is the parent of the first process, because somebody has to learn how that ends; and it has the other ends of its
//! pipes, because the client may go away. It has no other duty, needs no client once it has begun, and takes away what
//! it has set up: when it has ended, nothing of the container is left but its files in the store.

mod checks;
mod clients;
mod events;
mod output;
mod requests;
mod restart;
mod rootfs;
mod setup;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use layerstone_store::Store;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::agent::Agent;
use super::frame::{Conn, Failure, Kind, Start, json};
use crate::error::{Error, IoContext as _, Result};

/// How long a client may take to say what the shim is for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the hidden verb `shim` does. Standard input is the client's socket; standard error goes to the container's `shim.log`.
/// Must be called where the process has one thread.
pub fn shim_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} shim: {}", super::now(), error.in_one_line());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // Otherwise it would be called after the number of the memory file.
    let _ = rustix::thread::set_name(c"layerstone-shim");
    let mut conn = take_socket()?;
    // Signals of the client's terminal, and its end, are not for this process.
    match rustix::process::setsid() {
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(errno) => return Err(errno).doing("start a session for", "the shim"),
    }
    // An attached client blocks what it passes on, and this process has inherited that.
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(std::io::Error::from)
        .doing("unblock the signals of", "the shim")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .doing("become the reaper in", "the shim")?;
    rustix::process::chdir("/").doing("change to", "/")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));

    let start: Start = json(&first_frame(&mut conn)?)?;
    let failed = |error: &Error| Failure { code: error.exit_code(), message: error.in_one_line() };
    let prepared = Store::open(&start.root)
        .map_err(Error::from)
        .and_then(|store| Agent::open(store.with_runtime_dir(&start.runtime_dir)));
    let agent = match prepared {
        Ok(agent) => agent,
        Err(error) => {
            conn.send_json(Kind::Failed, &failed(&error));
            return Err(error);
        }
    };
    match &start.exec {
        None => setup::run_container(&agent, &start, conn),
        Some(exec) => setup::exec(&agent, &start, exec, conn),
    }
}

/// Takes the socket away from standard input, which the container's processes would see.
fn take_socket() -> Result<Conn> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 10).doing("take", "the client's socket")?;
    let null =
        openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).doing("open", "/dev/null")?;
    rustix::stdio::dup2_stdin(&null).doing("redirect", "standard input")?;
    Conn::new(UnixStream::from(socket)).doing("take", "the client's socket")
}

fn first_frame(conn: &mut Conn) -> Result<Vec<u8>> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match conn.next()? {
            Some((Kind::Start, payload)) => return Ok(payload),
            Some((kind, payload)) => {
                return Err(Error::Protocol {
                    kind: kind as u8,
                    size: u32::try_from(payload.len()).unwrap_or(u32::MAX),
                });
            }
            None if conn.closed => {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof))
                    .doing("read", "the client's request");
            }
            None => {}
        }
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = super::process::timespec(left);
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(conn.fd(), rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(0) => {
                return Err(Error::Timeout {
                    what: "the client's request".to_owned(),
                    seconds: PATIENCE.as_secs(),
                });
            }
            Ok(_) => conn.fill(),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing("wait for", "the client's request"),
        }
    }
}

/// A directory, for what is named below it.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing("open", path)
}
