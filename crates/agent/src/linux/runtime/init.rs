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

use super::credentials::Failed;
use super::raw;

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
    raw::close_from(3);
    loop {
        match raw::next_signal() {
            Some(number) if number == Signal::SIGCHLD as i32 => {
                if let Some(code) = collect(program) {
                    return code;
                }
            }
            Some(number) => raw::pass_on(program, number),
            None => {}
        }
    }
}

/// Waits for every child that has ended. The program's exit code, if it was among them.
fn collect(program: Pid) -> Option<i32> {
    use rustix::process::{WaitOptions, wait};
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == program.as_raw() => {
                let by_signal = status.terminating_signal().map(|signal| 128 + signal);
                code = status.exit_status().or(by_signal).or(code);
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return code,
        }
    }
}
