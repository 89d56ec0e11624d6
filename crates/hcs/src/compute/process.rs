//! The documents of processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::container::{is_false, is_zero};
use crate::hresult::HResult;

/// The document `ProcessParameters`: a process that is to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessParameters {
    /// Program and arguments, quoted: see [`command_line`](super::command_line).
    pub command_line: String,
    /// Who it runs as: `ContainerUser`, `ContainerAdministrator`, or an account of the image. Left out: the service's choice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Where it starts, in the container. Left out: `C:\`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
    /// Variables besides those that the container's registry sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// It has a console, and everything that it prints comes through standard output.
    #[serde(skip_serializing_if = "is_false")]
    pub emulate_console: bool,
    /// There is a pipe for its standard input.
    #[serde(skip_serializing_if = "is_false")]
    pub create_std_in_pipe: bool,
    /// There is a pipe for its standard output.
    #[serde(skip_serializing_if = "is_false")]
    pub create_std_out_pipe: bool,
    /// There is a pipe for its standard error. Of no effect with a console.
    #[serde(skip_serializing_if = "is_false")]
    pub create_std_err_pipe: bool,
    /// The size of its console: height, width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u16; 2]>,
}

/// A signal of a console program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProcessSignal {
    /// `CTRL_C_EVENT`
    CtrlC,
    /// `CTRL_BREAK_EVENT`
    CtrlBreak,
    /// `CTRL_CLOSE_EVENT`
    CtrlClose,
    /// `CTRL_LOGOFF_EVENT`
    CtrlLogOff,
    /// `CTRL_SHUTDOWN_EVENT`: what asks a program to end.
    CtrlShutdown,
}

/// The document `SignalProcessOptions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SignalProcessOptions {
    /// Which signal.
    pub signal: ProcessSignal,
}

/// The document `ProcessModifyRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessModifyRequest {
    /// What is to be changed.
    pub operation: ModifyOperation,
    /// The new size of the console, for [`ModifyOperation::ConsoleSize`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub console_size: Option<ConsoleSize>,
    /// Which pipe, for [`ModifyOperation::CloseHandle`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub close_handle: Option<CloseHandle>,
}

impl ProcessModifyRequest {
    /// Ends a stream of the process: it reads the end of its input, say.
    pub const fn close(handle: ProcessHandle) -> Self {
        ProcessModifyRequest {
            operation: ModifyOperation::CloseHandle,
            console_size: None,
            close_handle: Some(CloseHandle { handle }),
        }
    }

    /// Changes the size of its console.
    pub const fn resize(size: ConsoleSize) -> Self {
        ProcessModifyRequest {
            operation: ModifyOperation::ConsoleSize,
            console_size: Some(size),
            close_handle: None,
        }
    }
}

/// What a [`ProcessModifyRequest`] changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModifyOperation {
    /// The size of the console.
    ConsoleSize,
    /// A pipe is closed.
    CloseHandle,
}

/// The size of a console, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Which pipe is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CloseHandle {
    /// The stream.
    pub handle: ProcessHandle,
}

/// A stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessHandle {
    /// Standard input.
    StdIn,
    /// Standard output.
    StdOut,
    /// Standard error.
    StdErr,
    /// All three.
    All,
}

/// The document `ProcessStatus`: whether a process has ended, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessStatus {
    /// Its number.
    #[serde(skip_serializing_if = "is_zero")]
    pub process_id: u32,
    /// It has ended.
    #[serde(skip_serializing_if = "is_false")]
    pub exited: bool,
    /// Its exit code, when it has ended and the last wait succeeded.
    #[serde(skip_serializing_if = "is_zero")]
    pub exit_code: u32,
    /// The HRESULT of the service's wait for it, as a signed number.
    #[serde(skip_serializing_if = "is_zero_signed")]
    pub last_wait_result: i32,
}

fn is_zero_signed(value: &i32) -> bool {
    *value == 0
}

impl ProcessStatus {
    /// The exit code of a process that has ended.
    ///
    /// # Errors
    /// The code with which the service failed to wait for it: then nobody knows its exit code.
    pub fn code(&self) -> Option<Result<u32, HResult>> {
        let waited = HResult(self.last_wait_result.cast_unsigned());
        self.exited.then(|| if waited.is_success() { Ok(self.exit_code) } else { Err(waited) })
    }
}
