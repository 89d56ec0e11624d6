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

/// Names this boot.
pub(crate) fn boot() -> Result<String> {
    // Linux tells boots apart.
    Ok(layerstone_store::attach::boot()?.unwrap_or_default())
}

/// What `/proc/PID/stat` says.
struct Stat {
    start_time: u64,
    /// It has ended, or will never execute anything of its own any more.
    over: bool,
}

/// `PF_EXITING` (`include/linux/sched.h`).
const EXITING: u64 = 4;
/// `SIGKILL` in a set of signals.
const KILLED: u64 = 1 << 8;

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
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let (Some(state), Some(start_time)) = (fields.first(), number(22)) else { return Ok(None) };
    // A signal that kills is not delivered at once: what it was sent to counts as ended from then on.
    let dying = number(9).is_some_and(|flags| flags & EXITING != 0)
        || number(31).is_some_and(|pending| pending & KILLED != 0);
    Ok(Some(Stat { start_time, over: dying || matches!(*state, "Z" | "X") }))
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
        Some(stat) if stat.start_time == identity.start_time && !stat.over => Ok(Some(descriptor)),
        _ => Ok(None),
    }
}

/// True while the process runs.
pub(crate) fn is_alive(identity: &Identity) -> Result<bool> {
    Ok(open(identity)?.is_some())
}

/// Waits until a process that counts as ended really has: until then it may be in the middle of a system call.
pub(crate) fn settle(identity: &Identity) -> Result<()> {
    let Some(pid) = Pid::from_raw(identity.pid).filter(|_| boot().is_ok_and(|boot| boot == identity.boot))
    else {
        return Ok(());
    };
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    if stat(identity.pid)?.is_some_and(|stat| stat.start_time == identity.start_time) {
        wait(&descriptor, Some(SETTLING))?;
    }
    Ok(())
}

/// How long a process that was killed may take to go.
const SETTLING: Duration = Duration::from_secs(10);

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

/// The variable that a shim has, and with it whatever it starts to set a container up; no program of a container has it.
pub(crate) const MARK: &str = "LAYERSTONE_SHIM";

/// Kills every process that works for the container `id`, and waits until it has ended: what a shim that was killed had begun
/// would otherwise go on, and make again what is being taken away.
pub(crate) fn kill_helpers(id: &str) -> Result<()> {
    let mark = format!("{MARK}={id}");
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let deadline = std::time::Instant::now() + SETTLING;
    loop {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").doing("list", "/proc")? {
            let entry = entry.doing("list", "/proc")?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(pid) = number.filter(|number| *number != own).and_then(Pid::from_raw) else { continue };
            let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            // Read after it was opened, so it is this process's. Of one that has ended it is empty.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                found.push(descriptor);
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        for descriptor in &found {
            kill(descriptor)?;
        }
        for descriptor in &found {
            if !wait(descriptor, Some(deadline.saturating_duration_since(std::time::Instant::now())))? {
                let what = "the end of a shim's helpers".to_owned();
                return Err(crate::error::Error::Timeout { what, seconds: SETTLING.as_secs() });
            }
        }
    }
}

/// A duration as `poll(2)` takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
