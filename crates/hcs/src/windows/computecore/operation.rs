//! Operations: what a call has begun, until there is a result.

use std::path::{Path, PathBuf};
use std::ptr::null;

use windows_sys::Win32::System::HostComputeSystem::HCS_PROCESS_INFORMATION;

use super::ffi::Raw;
use super::{ComputeCore, OPERATION_TIMEOUT, milliseconds};
use crate::compute::ResultError;
use crate::error::{Error, Result};
use crate::hresult::HResult;
use crate::windows::dll::{check, last_error};
use crate::windows::memory::LocalString;

/// An operation. It is closed when this is dropped; the service goes on with what it was asked for.
pub(super) struct Operation<'a> {
    core: &'a ComputeCore,
    handle: Raw,
    /// What begins it, and on what: for errors.
    function: &'static str,
    subject: PathBuf,
}

impl<'a> Operation<'a> {
    /// One that nothing has been begun with.
    pub(super) fn new(core: &'a ComputeCore, function: &'static str, subject: &Path) -> Result<Self> {
        let create = core.entries().create_operation.get(core.library())?;
        // The others are needed on every way out.
        core.entries().close_operation.get(core.library())?;
        // SAFETY: the function has this type; no context, and nothing to be called back.
        let handle = unsafe { create(null(), None) };
        if handle.is_null() {
            let function = "HcsCreateOperation";
            return Err(Error::Call { function, subject: subject.to_owned(), code: last_error() });
        }
        Ok(Operation { core, handle, function, subject: subject.to_owned() })
    }

    pub(super) fn raw(&self) -> Raw {
        self.handle
    }

    /// Waits for the result: a document, or nothing.
    pub(super) fn wait(self) -> Result<String> {
        let wait = self.core.entries().wait_operation.get(self.core.library())?;
        let timeout = milliseconds(Some(self.core.inner.settings.patience));
        let mut result = LocalString::empty();
        // SAFETY: the function has this type; the operation is open; the result is a string of `LocalAlloc` that is the caller's, on
        // failure as well, and is written once.
        let code = unsafe { wait(self.handle, timeout, result.as_out()) };
        self.ended(HResult(code.cast_unsigned()), &result)
    }

    /// The same for an operation whose result is a process.
    pub(super) fn wait_for_process(self) -> Result<HCS_PROCESS_INFORMATION> {
        let entry = &self.core.entries().wait_operation_with_process;
        let wait = entry.get(self.core.library())?;
        let timeout = milliseconds(Some(self.core.inner.settings.patience));
        let mut result = LocalString::empty();
        let mut information = HCS_PROCESS_INFORMATION::default();
        // SAFETY: as above; the information is a place for the structure.
        let code = unsafe { wait(self.handle, timeout, &raw mut information, result.as_out()) };
        self.ended(HResult(code.cast_unsigned()), &result)?;
        Ok(information)
    }

    fn ended(&self, code: HResult, result: &LocalString) -> Result<String> {
        let document = result.to_document(self.function, &self.subject);
        if code.is_success() {
            return document;
        }
        if code.canonical() == OPERATION_TIMEOUT {
            self.cancel();
        }
        // Of a failure the code is worth more than a document that cannot be read.
        match document.ok().as_deref().and_then(ResultError::parse) {
            Some(details) => Err(Error::Operation {
                function: self.function,
                subject: self.subject.clone(),
                code,
                details: Box::new(details),
            }),
            None => check(self.function, &self.subject, code).map(|()| String::new()),
        }
    }

    /// Nobody waits for it any more.
    fn cancel(&self) {
        if let Ok(cancel) = self.core.entries().cancel_operation.get(self.core.library()) {
            // SAFETY: the function has this type; the operation is open.
            let code = HResult(unsafe { cancel(self.handle) }.cast_unsigned());
            tracing::debug!(function = self.function, ?code, "cancelled what took too long");
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Ok(close) = self.core.entries().close_operation.get(self.core.library()) {
            // SAFETY: the function has this type; the operation is open, and is closed here alone.
            unsafe { close(self.handle) };
        }
    }
}
