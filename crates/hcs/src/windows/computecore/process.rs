//! A process of a compute system.

use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::HANDLE;

use super::ffi::{OnObjectFn, Raw};
use super::operation::Operation;
use super::pipe::{PipeReader, PipeWriter};
use super::system::INTERVAL;
use super::{ComputeCore, parse};
use crate::compute::{
    ConsoleSize, ProcessHandle, ProcessModifyRequest, ProcessSignal, ProcessStatus, SignalProcessOptions,
};
use crate::error::Result;
use crate::schema::Document;
use crate::windows::dll::Entry;
use crate::windows::privilege::Needs;

/// A process that has just been started.
#[derive(Debug)]
pub struct StartedProcess {
    /// The process.
    pub process: Process,
    /// Its pipes.
    pub stdio: Stdio,
}

/// The pipes of a process: those that its [`ProcessParameters`](crate::compute::ProcessParameters) asked for.
#[derive(Debug, Default)]
pub struct Stdio {
    /// To its standard input. Dropping it is not enough for the process to read the end of its input: see [`Process::close_stdin`].
    pub stdin: Option<PipeWriter>,
    /// From its standard output.
    pub stdout: Option<PipeReader>,
    /// From its standard error.
    pub stderr: Option<PipeReader>,
}

impl Stdio {
    /// # Safety
    /// Each handle is null, or on a pipe and ours alone.
    pub(super) unsafe fn of_raw(stdin: HANDLE, stdout: HANDLE, stderr: HANDLE) -> Self {
        // SAFETY: passed on.
        unsafe {
            Stdio {
                stdin: PipeWriter::of_raw(stdin),
                stdout: PipeReader::of_raw(stdout),
                stderr: PipeReader::of_raw(stderr),
            }
        }
    }
}

/// A handle on a process of a compute system. Dropping it closes it; the process goes on.
#[derive(Debug)]
pub struct Process {
    core: ComputeCore,
    /// The system, and the number in it: for errors.
    subject: PathBuf,
    system: String,
    pid: u32,
    handle: NonNull<core::ffi::c_void>,
}

// SAFETY: as for `System`.
unsafe impl Send for Process {}
// SAFETY: as for `System`.
unsafe impl Sync for Process {}

impl Process {
    pub(super) fn of_raw(core: &ComputeCore, system: &str, handle: Raw) -> Option<Self> {
        NonNull::new(handle).map(|handle| Process {
            core: core.clone(),
            subject: PathBuf::from(system),
            system: system.to_owned(),
            pid: 0,
            handle,
        })
    }

    pub(super) fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
        self.subject = PathBuf::from(format!("process {pid} of {}", self.system));
    }

    /// Its number. Of a container that shares the host's kernel it is the host's number for it as well.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn subject(&self) -> &Path {
        &self.subject
    }

    fn perform(&self, entry: &Entry<OnObjectFn>, document: Option<&dyn Document>) -> Result<String> {
        self.core.perform(entry, self.subject(), self.handle.as_ptr(), document)
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn status(&self) -> Result<ProcessStatus> {
        let entry = &self.core.entries().process_properties;
        parse(entry.name(), self.subject(), &self.perform(entry, None)?)
    }

    /// Its pipes once more. Those that [`System::create_process`](super::System::create_process) gave stay open.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn stdio(&self) -> Result<Stdio> {
        let entry = &self.core.entries().process_info;
        let operation = Operation::new(&self.core, entry.name(), self.subject())?;
        entry.call(self.core.library(), Needs::NOTHING, self.subject(), |function| {
            // SAFETY: the function has this type; the process and the operation are open.
            unsafe { function(self.handle.as_ptr(), operation.raw()) }
        })?;
        let information = operation.wait_for_process()?;
        // SAFETY: each is null or a handle on a pipe that the service has made for us, and nobody else closes it.
        Ok(unsafe { Stdio::of_raw(information.StdInput, information.StdOutput, information.StdError) })
    }

    /// Waits for its end; `None` when it goes on after `timeout`. Without one it waits for ever.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<ProcessStatus>> {
        let entry = &self.core.entries().wait_process;
        if self.core.waits(entry) {
            let result = self.core.wait_exit(entry, self.subject(), self.handle.as_ptr(), timeout)?;
            return match result {
                None => Ok(None),
                Some(text) if text.is_empty() => self.status().map(Some),
                Some(text) => parse(entry.name(), self.subject(), &text).map(Some),
            };
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let status = self.status()?;
            if status.exited {
                return Ok(Some(status));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Tells it something. A program that does not listen is ended by most of the signals.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when it has ended; those of all methods of [`ComputeCore`].
    pub fn signal(&self, signal: ProcessSignal) -> Result<()> {
        self.perform(&self.core.entries().signal_process, Some(&SignalProcessOptions { signal })).map(drop)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when it has ended; those of all methods of [`ComputeCore`].
    pub fn terminate(&self) -> Result<()> {
        self.perform(&self.core.entries().terminate_process, None).map(drop)
    }

    /// Ends its standard input: closes the pipe, and lets the service close its end.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn close_stdin(&self, pipe: PipeWriter) -> Result<()> {
        drop(pipe);
        let request = ProcessModifyRequest::close(ProcessHandle::StdIn);
        self.perform(&self.core.entries().modify_process, Some(&request)).map(drop)
    }

    /// Changes the size of its console.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn resize(&self, size: ConsoleSize) -> Result<()> {
        let request = ProcessModifyRequest::resize(size);
        self.perform(&self.core.entries().modify_process, Some(&request)).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(close) = self.core.entries().close_process.get(self.core.library()) {
            // SAFETY: the function has this type; the handle is open, and is closed here alone.
            unsafe { close(self.handle.as_ptr()) };
        }
    }
}
