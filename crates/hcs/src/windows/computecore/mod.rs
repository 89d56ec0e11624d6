//! computecore.dll: compute systems and their processes.
//!
//! ```text
//! ComputeCore ──► System ──► Process       each a handle of the service, closed when it is dropped
//!      │             │          │
//!      └─────────────┴──────────┴──► Operation: begun by a call, waited for, closed
//! ```

mod ffi;
mod operation;
mod pipe;
mod process;
mod system;

use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::null;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use self::ffi::{Entries, OnObjectFn, Raw};
use self::operation::Operation;
pub use self::pipe::{PipeReader, PipeWriter};
pub use self::process::{Process, StartedProcess, Stdio};
pub use self::system::System;
use super::dll::{Entry, Library, check};
use super::host;
use super::memory::LocalString;
use super::privilege::Needs;
use super::wide::WideString;
use crate::compute::{ComputeSystem, Properties, SystemQuery};
use crate::error::{Error, Result};
use crate::functions::Build;
use crate::hresult::HResult;
use crate::schema::Document;

/// `GENERIC_ALL`: whoever opens a system or a process may do everything with it.
const GENERIC_ALL: u32 = 0x1000_0000;

/// The service's word for "not within the time that was given".
const OPERATION_TIMEOUT: HResult = HResult(0x8037_0118);

/// Compute systems of this Windows: computecore.dll.
///
/// Every method begins an operation of the service and waits for its result, for at most [`ComputeCore::with_patience`]. What the service
/// has said of a failure is in the error.
///
/// A copy is the same DLL once more. Any thread may call, also on the same system or process at the same time.
///
/// # Errors
/// Common to all methods: [`Error::Operation`] with what the service said, [`Error::Call`] when it said nothing but a code;
/// [`Error::Unavailable`] when this Windows has no such function; [`Error::Answer`] for a result that is no document of the kind that was
/// expected; [`Error::NulInDocument`] and [`Error::Nul`].
#[derive(Debug, Clone)]
pub struct ComputeCore {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Settings {
    patience: Duration,
    build: Option<Build>,
}

struct Inner {
    library: Library,
    entries: Entries,
    settings: Settings,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("computecore")
            .field("library", &self.library)
            .field("settings", &self.settings)
            .finish()
    }
}

static SYSTEM: LazyLock<ComputeCore> =
    LazyLock::new(|| ComputeCore::new(|| Library::system("computecore.dll"), ComputeCore::SETTINGS));

/// How long an operation may take: hcsshim's four minutes.
const PATIENCE: Duration = Duration::from_secs(240);

impl ComputeCore {
    const SETTINGS: Settings = Settings { patience: PATIENCE, build: None };

    fn new(library: impl FnOnce() -> Library, settings: Settings) -> Self {
        ComputeCore { inner: Arc::new(Inner { library: library(), entries: Entries::new(), settings }) }
    }

    /// The DLL of this Windows, from System32 and nowhere else. It is loaded at the first call; that it is missing is an error of that
    /// call.
    pub fn system() -> &'static Self {
        &SYSTEM
    }

    /// Another DLL with the same functions, by its absolute path: for tests.
    pub fn load(path: impl Into<PathBuf>) -> Self {
        Self::new(|| Library::at(path), Self::SETTINGS)
    }

    /// The same with another limit for how long an operation may take.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        let settings = Settings { patience, ..self.inner.settings.clone() };
        self.with_settings(settings)
    }

    /// The same on a Windows of another build than the one that runs: for tests of what depends on it.
    #[must_use]
    pub fn with_build(self, build: Build) -> Self {
        let settings = Settings { build: Some(build), ..self.inner.settings.clone() };
        self.with_settings(settings)
    }

    fn with_settings(self, settings: Settings) -> Self {
        let library = &self.inner.library;
        Self::new(|| library.again(), settings)
    }

    fn entries(&self) -> &Entries {
        &self.inner.entries
    }

    fn library(&self) -> &Library {
        &self.inner.library
    }

    /// Whether this Windows waits for the end of systems and processes in one call. Where the DLL has no such function, their properties
    /// are asked for again and again.
    fn waits<F: Copy>(&self, entry: &Entry<F>) -> bool {
        let build = self.inner.settings.build.unwrap_or_else(host::build);
        build >= Build::SERVER_2022 && entry.get(self.library()).is_ok()
    }

    /// Whether this Windows can have compute systems: for whoever wants to know before anything is made.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn available(&self) -> Result<()> {
        self.entries().create_system.get(self.library()).map(drop)
    }

    /// Makes a compute system. It does not run yet.
    ///
    /// Its id is a name that no other system of this host has.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) when the id is taken;
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a document that the service does not understand; those of
    /// all methods.
    pub fn create_system(&self, id: &str, document: &ComputeSystem) -> Result<System> {
        self.create_system_raw(id, document)
    }

    /// [`ComputeCore::create_system`] with any document.
    ///
    /// # Errors
    /// As there.
    pub fn create_system_raw(&self, id: &str, document: &(impl Document + ?Sized)) -> Result<System> {
        let subject = Path::new(id);
        let wide = WideString::from_path(subject)?;
        let document = WideString::from_document(document)?;
        let entry = &self.entries().create_system;
        let operation = Operation::new(self, entry.name(), subject)?;
        let mut handle: Raw = std::ptr::null_mut();
        let begun = entry.call(self.library(), Needs::NOTHING, subject, |function| {
            // SAFETY: the function has this type; the strings are NUL-terminated and outlive the call; the operation is open; no
            // security descriptor, which is reserved; `handle` is a place for the answer.
            unsafe { function(wide.as_ptr(), document.as_ptr(), operation.raw(), null(), &raw mut handle) }
        });
        // A handle that was given is closed, whatever becomes of the operation.
        let system = System::of_raw(self, id, handle);
        begun?;
        operation.wait()?;
        system.ok_or_else(|| no_handle(entry.name(), subject))
    }

    /// Opens a compute system that exists.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is none of that id; those of all methods.
    pub fn open_system(&self, id: &str) -> Result<System> {
        let subject = Path::new(id);
        let wide = WideString::from_path(subject)?;
        let entry = &self.entries().open_system;
        let mut handle: Raw = std::ptr::null_mut();
        entry.call(self.library(), Needs::NOTHING, subject, |function| {
            // SAFETY: the function has this type; the string is NUL-terminated and outlives the call; `handle` is a place for the
            // answer.
            unsafe { function(wide.as_ptr(), GENERIC_ALL, &raw mut handle) }
        })?;
        System::of_raw(self, id, handle).ok_or_else(|| no_handle(entry.name(), subject))
    }

    /// The compute systems that a query fits.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn enumerate(&self, query: &SystemQuery) -> Result<Vec<Properties>> {
        let subject = Path::new("compute systems");
        let query = WideString::from_document(query)?;
        let entry = &self.entries().enumerate;
        let operation = Operation::new(self, entry.name(), subject)?;
        entry.call(self.library(), Needs::NOTHING, subject, |function| {
            // SAFETY: the function has this type; the string is NUL-terminated and outlives the call; the operation is open.
            unsafe { function(query.as_ptr(), operation.raw()) }
        })?;
        let result = operation.wait()?;
        if result.is_empty() { Ok(Vec::new()) } else { parse(entry.name(), subject, &result) }
    }

    /// Makes a call of a system or a process, with a document or none, and waits for its result.
    fn perform(
        &self,
        entry: &Entry<OnObjectFn>,
        subject: &Path,
        object: Raw,
        document: Option<&dyn Document>,
    ) -> Result<String> {
        let document = document.map(WideString::from_document).transpose()?;
        let operation = Operation::new(self, entry.name(), subject)?;
        entry.call(self.library(), Needs::NOTHING, subject, |function| {
            let document = document.as_ref().map_or(null(), WideString::as_ptr);
            // SAFETY: the function has this type; the object's owner lends it, so it is open; the operation is open; the document is
            // null or NUL-terminated, and outlives the call.
            unsafe { function(object, operation.raw(), document) }
        })?;
        operation.wait()
    }

    /// Waits for the end of a system or a process in one call. `None` when it goes on after `timeout`.
    fn wait_exit(
        &self,
        entry: &Entry<ffi::WaitFn>,
        subject: &Path,
        object: Raw,
        timeout: Option<Duration>,
    ) -> Result<Option<String>> {
        let function = entry.get(self.library())?;
        let mut result = LocalString::empty();
        // SAFETY: the function has this type; the object's owner lends it, so it is open; the result is a string of `LocalAlloc` that is
        // the caller's.
        let code =
            HResult(unsafe { function(object, milliseconds(timeout), result.as_out()) }.cast_unsigned());
        if is_timeout(code) {
            return Ok(None);
        }
        check(entry.name(), subject, code)?;
        result.to_document(entry.name(), subject).map(Some)
    }
}

/// `HcsWaitFor...` documents one code; the others are those with which waits of Windows end.
fn is_timeout(code: HResult) -> bool {
    const WAIT_TIMEOUT: u32 = 258;
    const ERROR_TIMEOUT: u32 = 1460;
    code.canonical() == OPERATION_TIMEOUT
        || [HResult::from_win32(WAIT_TIMEOUT), HResult::from_win32(ERROR_TIMEOUT), HResult(WAIT_TIMEOUT)]
            .contains(&code)
}

/// As the service takes it: `INFINITE` is all bits.
fn milliseconds(timeout: Option<Duration>) -> u32 {
    match timeout {
        None => u32::MAX,
        // What is left of a millisecond is waited for, too.
        Some(timeout) => {
            u32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(u32::MAX).min(u32::MAX - 1)
        }
    }
}

/// Reads a result.
fn parse<T: serde::de::DeserializeOwned>(
    function: &'static str,
    subject: &Path,
    document: &str,
) -> Result<T> {
    serde_json::from_str(document).map_err(|error| {
        tracing::debug!(function, %error, document, "cannot read a result");
        Error::Answer {
            function,
            subject: subject.to_owned(),
            reason: "its result is not the document that was expected",
        }
    })
}

fn no_handle(function: &'static str, subject: &Path) -> Error {
    Error::Answer { function, subject: subject.to_owned(), reason: "it succeeded without a handle" }
}
