//! Processes of a container: processes of this host.
//!
//! Paths of the container mean the files of its layers where there are such; otherwise the host's own. So a test can put a program
//! into a layer, and can use those that Windows has.

use std::io;
use std::os::windows::io::{
    AsHandle as _, AsRawHandle as _, FromRawHandle as _, IntoRawHandle as _, OwnedHandle,
};
use std::os::windows::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::json;
use windows_sys::Win32::Foundation::{FILETIME, STILL_ACTIVE, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    PROCESS_TERMINATE, TerminateProcess, WaitForSingleObject,
};

use super::document::{ProcessParameters, Signal};
use super::system::{ENDED, ProcessRecord, Record, State, System};
use super::{Failure, Started, Success};
use crate::code::Code;
use crate::engine;

/// The exit code of a program that does not listen to signals (`STATUS_CONTROL_C_EXIT`).
const CONTROL_C_EXIT: u32 = 0xC000_013A;
/// A variable of a process that is to live on in spite of signals.
const IGNORES_SIGNALS: &str = "STANDIN_IGNORES_SIGNALS";
/// `ERROR_DIRECTORY`
const NOT_A_DIRECTORY: Code = Code::win32(267);

/// A client's hold on a process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    system: Arc<System>,
    handle: OwnedHandle,
}

/// Starts one.
pub(crate) fn start(
    system: &Arc<System>,
    parameters: &ProcessParameters,
) -> Result<(Process, Started), Failure> {
    let record = system.record()?;
    System::must_be(&record, State::Running)?;
    let (program, rest) = first_word(&parameters.command_line);
    let image = Path::new(&program);
    let mut command = Command::new(inside(&record, image).unwrap_or_else(|| image.to_owned()));
    command.raw_arg(rest).envs(&parameters.environment);
    if !parameters.working_directory.as_os_str().is_empty() {
        let wanted = &parameters.working_directory;
        let directory = inside(&record, wanted).unwrap_or_else(|| wanted.clone());
        if !directory.is_dir() {
            return Err(Failure::new(NOT_A_DIRECTORY, format!("there is no directory {}", wanted.display())));
        }
        command.current_dir(directory);
    }
    let piped = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
    command.stdin(piped(parameters.create_std_in_pipe));
    // A console has one stream, which is a pipe that was not opened for overlapped I/O.
    let mut console = None;
    if parameters.emulate_console && parameters.create_std_out_pipe {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        console = Some(OwnedHandle::from(reader));
    } else {
        command.stdout(piped(parameters.create_std_out_pipe)).stderr(piped(parameters.create_std_err_pipe));
    }
    let mut child = command
        .spawn()
        .map_err(|error| Failure::new(Code::from(error), format!("cannot start {program}")))?;
    // The command has the other ends of a console's pipe.
    drop(command);
    let handle = child.as_handle().try_clone_to_owned()?;
    // SAFETY: an open handle of the process.
    let adopted = unsafe { system.adopt(handle.as_raw_handle()) };
    let pid = child.id();
    let noted = adopted.and_then(|()| start_time(&handle)).and_then(|started| {
        system.change(|record| {
            // It may have been ended meanwhile.
            System::must_be(record, State::Running)?;
            record.processes.push(ProcessRecord {
                pid,
                started,
                image: image.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                ignores_signals: parameters.environment.contains_key(IGNORES_SIGNALS),
            });
            Ok(())
        })
    });
    if let Err(failure) = noted {
        let _ = child.kill();
        return Err(failure);
    }
    let pipes = [
        raw(child.stdin.take().map(OwnedHandle::from)),
        raw(console.or_else(|| child.stdout.take().map(OwnedHandle::from))),
        raw(child.stderr.take().map(OwnedHandle::from)),
    ];
    Ok((Process { pid, system: Arc::clone(system), handle }, Started { pid, pipes }))
}

/// A handle that becomes the client's, as a number.
fn raw(handle: Option<OwnedHandle>) -> usize {
    handle.map_or(0, |handle| handle.into_raw_handle().expose_provenance())
}

/// The program of a command line, and what follows it.
fn first_word(line: &str) -> (String, &str) {
    let (word, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => line.split_at(line.find([' ', '\t']).unwrap_or(line.len())),
    };
    (word.to_owned(), rest.trim_start())
}

/// Where a path of the container is, when one of its layers has it: the nearest parent first.
fn inside(record: &Record, path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() {
        return None;
    }
    let below: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let roots = record.layers.iter().map(|layer| layer.path.join("Files"));
    roots
        .chain(engine::current().changes(&record.volume))
        .map(|root| root.join(&below))
        .find(|path| path.exists())
}

/// Opens a process of a system by its number.
pub(crate) fn open(system: &Arc<System>, pid: u32) -> Result<Process, Failure> {
    let known = system.record()?.processes.iter().any(|process| process.pid == pid);
    let handle = if known { handle_of(pid) } else { None };
    let handle = handle
        .ok_or_else(|| Failure::new(Code::NOT_FOUND, format!("there is no process {pid} in the system")))?;
    Ok(Process { pid, system: Arc::clone(system), handle })
}

fn handle_of(pid: u32) -> Option<OwnedHandle> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE | PROCESS_TERMINATE;
    // SAFETY: not to be inherited; any number may be asked for.
    let handle = unsafe { OpenProcess(access, 0, pid) };
    // SAFETY: it was just opened, and nobody else knows it.
    (!handle.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// When a process was started: 100 ns since 1601.
fn start_time(handle: &OwnedHandle) -> Result<u64, Failure> {
    let mut times = [FILETIME::default(); 4];
    let [start, end, kernel, user] = &mut times;
    // SAFETY: an open process, and four places for the answers.
    if unsafe { GetProcessTimes(handle.as_raw_handle(), start, end, kernel, user) } == 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(u64::from(start.dwHighDateTime) << 32 | u64::from(start.dwLowDateTime))
}

/// Ends a process that a client has left when it died, and no other that has its number now.
pub(crate) fn end_left_over(process: &ProcessRecord) {
    if let Some(handle) = handle_of(process.pid)
        && start_time(&handle).is_ok_and(|started| started == process.started)
    {
        // SAFETY: an open process. Should it have ended meanwhile, that is what was wanted.
        unsafe { TerminateProcess(handle.as_raw_handle(), ENDED) };
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    handle_of(pid).is_some_and(|handle| exit_code(&handle).is_ok_and(|code| code.is_none()))
}

/// The exit code; `None` while it runs.
fn exit_code(handle: &OwnedHandle) -> Result<Option<u32>, Failure> {
    let mut code = 0;
    // SAFETY: an open process, and a place for the answer.
    if unsafe { GetExitCodeProcess(handle.as_raw_handle(), &raw mut code) } == 0 {
        return Err(io::Error::last_os_error().into());
    }
    if code != STILL_ACTIVE.cast_unsigned() {
        return Ok(Some(code));
    }
    // A program may end with that number, too.
    // SAFETY: an open process; no waiting.
    let over = unsafe { WaitForSingleObject(handle.as_raw_handle(), 0) } == WAIT_OBJECT_0;
    Ok(over.then_some(code))
}

impl Process {
    /// The document `ProcessStatus`.
    pub(crate) fn status(&self) -> Result<String, Failure> {
        Ok(match exit_code(&self.handle)? {
            None => json!({ "ProcessId": self.pid }),
            Some(code) => json!({ "ProcessId": self.pid, "Exited": true, "ExitCode": code }),
        }
        .to_string())
    }

    pub(crate) fn info(&self) -> Success {
        // Its pipes were given away when it was started.
        Success { document: None, process: Some(Started { pid: self.pid, pipes: [0; 3] }) }
    }

    /// Waits for its end.
    pub(crate) fn wait(&self, milliseconds: u32) -> Result<String, Failure> {
        // SAFETY: an open process.
        match unsafe { WaitForSingleObject(self.handle.as_raw_handle(), milliseconds) } {
            WAIT_OBJECT_0 => self.status(),
            WAIT_TIMEOUT => Err(Code::OPERATION_TIMEOUT.into()),
            _ => Err(io::Error::last_os_error().into()),
        }
    }

    pub(crate) fn must_run(&self) -> Result<(), Failure> {
        match exit_code(&self.handle)? {
            None => Ok(()),
            Some(_) => Err(Failure::new(Code::PROCESS_ALREADY_STOPPED, "the process has ended")),
        }
    }

    fn end(&self, code: u32) -> Result<(), Failure> {
        self.must_run()?;
        // SAFETY: an open process.
        if unsafe { TerminateProcess(self.handle.as_raw_handle(), code) } == 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(())
    }

    pub(crate) fn terminate(&self) -> Result<(), Failure> {
        self.end(ENDED)
    }

    /// A program that does not listen is ended, whichever signal it is.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        self.must_run()?;
        let record = self.system.record()?;
        let ignores =
            record.processes.iter().any(|process| process.pid == self.pid && process.ignores_signals);
        match signal {
            _ if ignores => Ok(()),
            Signal::CtrlC
            | Signal::CtrlBreak
            | Signal::CtrlClose
            | Signal::CtrlLogOff
            | Signal::CtrlShutdown => self.end(CONTROL_C_EXIT),
        }
    }
}
