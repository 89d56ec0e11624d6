//! Executing the program, as the last thing that the shim's code does in a container.
//!
//! Whether a program can be executed, the kernel says when it is asked to: nothing is looked at beforehand, so there is nothing
//! to be wrong about. What it says goes through a pipe to the shim. That has the close-on-exec flag, so its end without a
//! message means that the program runs; a mark comes first, because a process that dies before it gets here also ends the pipe.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::init::{self, Role};
use super::raw;
use crate::env::DEFAULT_PATH;
use crate::error::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Error, IoContext as _, Result};
use crate::spec::{ConsoleSize, Process};

/// Says that the program is executed next.
const MARK: u8 = b'!';
/// The most bytes of a message.
const MAX_MESSAGE: u64 = 16 << 10;

/// Executes a program with its credentials.
#[derive(Debug, Clone)]
pub(super) struct ProgramExecutor {
    credentials: Credentials,
    args: Vec<String>,
    env: Vec<String>,
    /// The shim's pipe. Its number is the same in the container's process, which is a copy of the shim.
    report: i32,
    /// The first process of a container dies with its shim.
    with_shim: bool,
    /// This process stays, and a child of it executes the program.
    init: bool,
    /// Of the terminal.
    size: Option<ConsoleSize>,
}

/// What a process is in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The first one.
    First,
    /// The second one: the first one only looks after it.
    BelowInit,
    /// One that is executed in it later.
    Later,
}

/// What could not be done.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// Executing itself, and the kernel's answer; otherwise one of the steps before.
    errno: Option<i32>,
    step: String,
    why: String,
}

/// The shim's end of the pipe.
#[derive(Debug)]
pub(super) struct Outcome {
    read: File,
    /// Open until the container's process has its copy.
    write: Option<OwnedFd>,
    program: String,
}

impl ProgramExecutor {
    /// An executor, and where it tells what came of it.
    pub(super) fn new(process: &Process, credentials: Credentials, place: Place) -> Result<(Self, Outcome)> {
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing("create", "a pipe")?;
        let executor = ProgramExecutor {
            credentials,
            args: process.args.clone(),
            env: process.env.clone(),
            report: write.as_fd().as_raw_fd(),
            with_shim: place != Place::Later,
            init: place == Place::BelowInit,
            size: process.console_size.filter(|_| process.terminal),
        };
        let program = process.args.first().cloned().unwrap_or_default();
        Ok((executor, Outcome { read: read.into(), write: Some(write), program }))
    }

    /// Only returns when it fails.
    fn run(&self, report: &mut File) -> Report {
        let step = |(step, why): (&str, String)| Report { errno: None, step: step.to_owned(), why };
        if let Some(size) = self.size {
            let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal of a wrong size is no reason not to run.
            let _ = tcsetwinsize(std::io::stdin(), size);
        }
        if let Err(failed) = self.credentials.assume() {
            return step(failed);
        }
        if self.with_shim
            && let Err(error) =
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        {
            return step(("follow its shim", error.to_string()));
        }
        let _ = report.write_all(&[MARK]);
        if self.init {
            // The pipe's end says that the program runs: only the program's process may have it.
            match init::split() {
                Ok(Role::Program) => {}
                Ok(Role::Ended(code)) => raw::exit(code),
                Err(failed) => return step(failed),
            }
        }
        if let Err(error) = raw::reset_signals() {
            return step(("reset the signals", error.to_string()));
        }
        let errno = self.execute();
        Report { errno: Some(errno as i32), step: "execute".to_owned(), why: errno.desc().to_owned() }
    }

    /// Only returns when it fails. A name without a slash is looked for in `PATH`, as execvp(3) does, but a file that the kernel
    /// cannot execute is not given to a shell.
    fn execute(&self) -> Errno {
        let strings = |list: &[String]| -> Option<Vec<CString>> {
            list.iter().map(|word| CString::new(word.as_bytes()).ok()).collect()
        };
        let (Some(args), Some(env)) = (strings(&self.args), strings(&self.env)) else { return Errno::EINVAL };
        let Some(program) = self.args.first().filter(|program| !program.is_empty()) else {
            return Errno::ENOENT;
        };
        if program.contains('/') {
            return nix::unistd::execve(&args[0], &args, &env).err().unwrap_or(Errno::UnknownErrno);
        }
        let path =
            self.env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let mut denied = false;
        for directory in path.split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            let Ok(candidate) = CString::new(format!("{directory}/{program}")) else { continue };
            match nix::unistd::execve(&candidate, &args, &env) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => {}
                Err(Errno::EACCES) => denied = true,
                Err(errno) => return errno,
                Ok(_) => {}
            }
        }
        if denied { Errno::EACCES } else { Errno::ENOENT }
    }
}

impl Executor for ProgramExecutor {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let mut pipe =
            raw::duplicate(self.report).map_err(|error| ExecutorError::Other(error.to_string()))?;
        let report = self.run(&mut pipe);
        let _ = pipe.write_all(&serde_json::to_vec(&report).unwrap_or_default());
        Err(ExecutorError::Other(format!("cannot {}: {}", report.step, report.why)))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The environment is given to `execve`; the process's own one does not matter.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

impl Outcome {
    /// The container's process has been made and has its copy of the pipe.
    pub(super) fn handed_over(&mut self) {
        self.write = None;
    }

    /// Waits until the program runs, or it is clear that it never will.
    pub(super) fn wait(mut self) -> Result<()> {
        self.write = None;
        let mut message = Vec::new();
        (&mut self.read).take(MAX_MESSAGE).read_to_end(&mut message).doing("read", "the executor's pipe")?;
        let text = message.strip_prefix(&[MARK]).unwrap_or(&message);
        if text.is_empty() {
            if message.is_empty() {
                return Err(failed("execute the program", "its process ended before that".to_owned()));
            }
            return Ok(());
        }
        let report: Report = serde_json::from_slice(text)
            .map_err(|source| Error::Json { path: "the executor's report".into(), source })?;
        match report.errno {
            Some(errno) => Err(Error::Program {
                code: match Errno::from_raw(errno) {
                    Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG => EXIT_NOT_FOUND,
                    _ => EXIT_NOT_EXECUTABLE,
                },
                program: self.program.clone(),
                why: match Errno::from_raw(errno) {
                    Errno::ENOENT if self.program.contains('/') => {
                        "there is no such file, or not the interpreter that it names".to_owned()
                    }
                    Errno::ENOENT => "it is in no directory of PATH".to_owned(),
                    Errno::ENOEXEC => "it is no program for this machine (exec format error)".to_owned(),
                    _ => report.why,
                },
            }),
            None => Err(failed("set up the process", format!("cannot {}: {}", report.step, report.why))),
        }
    }
}

fn failed(doing: &'static str, said: String) -> Error {
    Error::Runtime { runtime: "youki".to_owned(), doing, said }
}
