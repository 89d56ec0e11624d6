//! The first process of a container with `--init`: it waits for whatever becomes its child, and passes signals on to the program.
//!
//! With the built-in runtime it is a copy of the shim that stays where otherwise the program would have been executed: with the
//! container's user, capabilities and filter, no descriptors but the first three, and nothing to do. The program is its child. So
//! nothing of the host is mounted for it, and the image need not have a program for it.
//!
//! What other runtimes get is a program of the host's that does the same.

use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, Pid};
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::credentials::Failed;
use super::raw;
use crate::error::EXIT_FAILED;

/// After standard input, output and error.
const FIRST_OTHER: u32 = 3;

/// Which of the two processes this is.
pub(super) enum Role {
    /// The one that executes the program.
    Program,
    /// The first one: its exit code.
    Ended(i32),
}

/// Splits the process. The second one returns at once; the first one closes all descriptors but the first three, and returns when the
/// program has ended.
pub(super) fn split() -> Result<Role, Failed> {
    let failed = |step: &'static str| move |errno: Errno| (step, errno.desc().to_owned());
    // Whatever comes from now on waits until it is asked for.
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None).map_err(failed("block signals"))?;
    match raw::fork().map_err(failed("make a process for the program"))? {
        ForkResult::Child => {
            own_group().map_err(failed("make a group of processes for the program"))?;
            Ok(Role::Program)
        }
        ForkResult::Parent { child } => Ok(Role::Ended(look_after(child))),
    }
}

/// The program gets a group of its own, and with that the terminal: keys that are signals go to the group that has it, and are not
/// meant for the first process, which would pass them on a second time.
fn own_group() -> nix::Result<()> {
    nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    let own = rustix::process::getpid();
    match rustix::termios::tcsetpgrp(std::io::stdin().as_fd(), own) {
        // It has no terminal, or that is another session's.
        Ok(()) | Err(rustix::io::Errno::NOTTY | rustix::io::Errno::PERM) => Ok(()),
        Err(errno) => Err(Errno::from_raw(errno.raw_os_error())),
    }
}

/// Waits until the program has ended. Its exit code, or 128 and the number of the signal that ended it.
fn look_after(program: Pid) -> i32 {
    let _ = rustix::thread::set_name(c"layerstone-init");
    // Nobody in the container may look into what this process still has of the shim's memory.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    close_all();
    loop {
        match raw::next_signal() {
            Ok(number) if number == Signal::SIGCHLD as i32 => {
                if let Some(code) = collect(program) {
                    return code;
                }
            }
            Ok(number) => raw::pass_on(program, number),
            Err(Errno::EINTR) => {}
            Err(_) => return only_collect(program),
        }
    }
}

/// Closes everything but the first three descriptors. A filter of the user's may not know the call that does that at once.
fn close_all() {
    if raw::close_from(FIRST_OTHER).is_ok() {
        return;
    }
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number >= FIRST_OTHER) {
        let _ = nix::unistd::close(number as i32);
    }
}

/// Waits for every child that has ended. The program's exit code, if it was among them.
fn collect(program: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == program.as_raw() => code = Some(code_of(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return code,
        }
    }
}

/// What is left to do where a filter of the user's lets this process take no signals.
fn only_collect(program: Pid) -> i32 {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == program.as_raw() => return code_of(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return EXIT_FAILED.into(),
        }
    }
}

fn code_of(status: WaitStatus) -> i32 {
    let by_signal = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(by_signal).unwrap_or(EXIT_FAILED.into())
}
