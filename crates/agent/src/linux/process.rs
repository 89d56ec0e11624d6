//! Processes of the host, told from those that had the same number before.
//!
//! A number by itself says little: it is given away again, and after a reboot stands for anything. So what is kept is the
//! number, the start time and the boot; and what is acted on is a descriptor of the process (`pidfd_open(2)`), which never
//! means another one.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{IoContext as _, Result};
use crate::model::Identity;

/// Changes with every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Names this boot.
pub(crate) fn boot() -> Result<String> {
    Ok(fs::read_to_string(BOOT_ID).doing("read", BOOT_ID)?.trim().to_owned())
}

/// What `/proc/PID/stat` says.
struct Stat {
    state: u8,
    start_time: u64,
}

fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = match fs::read_to_string(&path) {
        // A process that ends meanwhile cannot be read.
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            return Ok(None);
        }
        read => read.doing("read", path)?,
    };
    // The name, in parentheses, may hold anything, parentheses included; the fields after it are counted from 3.
    let Some((_, rest)) = text.rsplit_once(')') else { return Ok(None) };
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next().and_then(|field| field.bytes().next());
    let start_time = fields.nth(18).and_then(|field| field.parse().ok());
    Ok(state.zip(start_time).map(|(state, start_time)| Stat { state, start_time }))
}

/// What identifies a process that runs now; `None` when there is none of this number.
pub(crate) fn identify(pid: i32) -> Result<Option<Identity>> {
    let boot = boot()?;
    Ok(stat(pid)?.map(|stat| Identity { pid, start_time: stat.start_time, boot }))
}

/// What identifies this process.
pub(crate) fn identify_self() -> Result<Identity> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    identify(pid)?.ok_or_else(|| crate::error::Error::Unsupported {
        doing: "look at its own processes",
        missing: "/proc has to be mounted".to_owned(),
    })
}

/// A descriptor of the process, if it still runs: not ended, not a zombie, not of another boot, not another one.
pub(crate) fn open(identity: &Identity) -> Result<Option<OwnedFd>> {
    if identity.boot != boot()? {
        return Ok(None);
    }
    let Some(pid) = Pid::from_raw(identity.pid) else { return Ok(None) };
    // Opened first: what is compared after that is the process that was opened, or one that has taken its number since
    // it ended, and then the start time differs.
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
    match stat(identity.pid)? {
        Some(stat) if stat.start_time == identity.start_time && !matches!(stat.state, b'Z' | b'X') => {
            Ok(Some(descriptor))
        }
        _ => Ok(None),
    }
}

/// True while the process runs.
pub(crate) fn is_alive(identity: &Identity) -> Result<bool> {
    Ok(open(identity)?.is_some())
}

/// Waits until the process has ended; false when that takes longer than `patience`.
pub(crate) fn wait(descriptor: &OwnedFd, patience: Option<Duration>) -> Result<bool> {
    let deadline = patience.map(|patience| std::time::Instant::now() + patience);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        let timeout = left.map(timespec);
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing("wait for", "a process"),
        }
    }
}

/// Kills a process. One that has ended is fine.
pub(crate) fn kill(descriptor: &OwnedFd) -> Result<()> {
    match pidfd_send_signal(descriptor, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno).doing("kill", "a process"),
    }
}

/// A duration as `poll(2)` takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
