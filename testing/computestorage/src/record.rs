//! What was called, with which arguments: one line of JSON a call.
//!
//! ```json
//! {"function":"HcsDestroyLayer","arguments":[{"name":"layerPath","value":"C:\\layer"}],"result":"0x00000000","thread":32}
//! ```
//!
//! | argument | value |
//! | --- | --- |
//! | string | the text; `{"utf16":[...]}` when it is no valid UTF-16; `null` for a null pointer |
//! | handle | `"null"` or `"non-null"` |
//! | anything else | a number, or an object with the names of the C structure's fields |
//!
//! The lines are kept until a test takes them, and added to the file that `STANDIN_LOG` names.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::windows::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::GetCurrentThreadId;
use windows_sys::core::PCWSTR;

use crate::code::Code;
use crate::fault;

/// The lines that nobody has taken yet.
static CALLS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn calls() -> MutexGuard<'static, Vec<String>> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A string argument, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(Vec<u16>);

impl Text {
    /// Reads up to the NUL; `None` for a null pointer.
    ///
    /// # Safety
    /// `pointer` is null or points to UTF-16 units that end with a NUL and do not change during the call.
    pub(crate) unsafe fn read(pointer: PCWSTR) -> Option<Self> {
        if pointer.is_null() {
            return None;
        }
        let mut length = 0;
        // SAFETY: up to the NUL everything can be read, says the caller.
        while unsafe { *pointer.add(length) } != 0 {
            length += 1;
        }
        // SAFETY: these units were just read.
        Some(Text(unsafe { std::slice::from_raw_parts(pointer, length) }.to_vec()))
    }

    pub(crate) fn units(&self) -> &[u16] {
        &self.0
    }

    /// A path may be anything.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(OsString::from_wide(&self.0))
    }

    /// A document is text.
    pub(crate) fn document(&self) -> Result<String, Code> {
        String::from_utf16(&self.0).map_err(|_| Code::INVALID_JSON)
    }

    pub(crate) fn value(&self) -> Value {
        match String::from_utf16(&self.0) {
            Ok(text) => Value::String(text),
            Err(_) => json!({ "utf16": self.0 }),
        }
    }
}

/// A call while it lasts.
#[derive(Debug)]
pub(crate) struct Call {
    function: &'static str,
    arguments: Vec<Value>,
}

impl Call {
    pub(crate) fn new(function: &'static str) -> Self {
        Call { function, arguments: Vec::new() }
    }

    pub(crate) fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.arguments.push(json!({ "name": name, "value": value.into() }));
    }

    /// Notes a string argument.
    ///
    /// # Safety
    /// As [`Text::read`].
    pub(crate) unsafe fn text(&mut self, name: &str, pointer: PCWSTR) -> Option<Text> {
        // SAFETY: passed on.
        let text = unsafe { Text::read(pointer) };
        self.value(name, text.as_ref().map_or(Value::Null, Text::value));
        text
    }

    pub(crate) fn handle(&mut self, name: &str, handle: HANDLE) {
        self.value(name, if handle.is_null() { "null" } else { "non-null" });
    }

    /// All arguments have been noted: what is done from here on may fail because a test wants it.
    pub(crate) fn begin(&self) -> Result<(), Code> {
        fault::strike(self.function)
    }

    /// Notes the result.
    pub(crate) fn end(self, result: Code) {
        // SAFETY: asks for nothing but a number.
        let thread = unsafe { GetCurrentThreadId() };
        let line = json!({
            "function": self.function,
            "arguments": self.arguments,
            "result": format!("{:#010x}", result.0),
            "thread": thread,
        })
        .to_string();
        let mut calls = calls();
        if let Some(path) = std::env::var_os("STANDIN_LOG").filter(|path| !path.is_empty()) {
            let written = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
            if let Err(error) = written {
                eprintln!("layerstone-standin: cannot write to STANDIN_LOG={}: {error}", path.display());
            }
        }
        calls.push(line);
    }
}

/// All lines so far, each with a line feed at its end.
pub(crate) fn lines() -> String {
    calls().iter().flat_map(|line| [line, "\n"]).collect()
}

pub(crate) fn forget() {
    calls().clear();
}
