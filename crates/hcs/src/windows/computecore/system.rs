//! A compute system.

use std::path::Path;
use std::ptr::{NonNull, null};
use std::time::{Duration, Instant};

use windows_sys::Win32::System::HostComputeSystem::HCS_PROCESS_INFORMATION;

use super::ffi::Raw;
use super::operation::Operation;
use super::process::{Process, StartedProcess, Stdio};
use super::{ComputeCore, GENERIC_ALL, no_handle, parse};
use crate::compute::{
    ProcessParameters, Properties, PropertyQuery, PropertyType, SystemExitStatus, SystemState,
};
use crate::error::Result;
use crate::windows::dll::Entry;
use crate::windows::privilege::Needs;
use crate::windows::wide::WideString;

/// How often properties are asked for where a wait cannot be left to the service.
pub(super) const INTERVAL: Duration = Duration::from_millis(50);

/// A handle on a compute system. Dropping it closes it; a system that was so made ends with the last handle on it.
#[derive(Debug)]
pub struct System {
    core: ComputeCore,
    id: String,
    handle: NonNull<core::ffi::c_void>,
}

// SAFETY: the handle is a reference that the service counts; its functions may be called from any thread, which is how hcsshim's
// goroutines use it.
unsafe impl Send for System {}
// SAFETY: as above; several calls on one handle at the same time take turns in the service.
unsafe impl Sync for System {}

impl System {
    pub(super) fn of_raw(core: &ComputeCore, id: &str, handle: Raw) -> Option<Self> {
        NonNull::new(handle).map(|handle| System { core: core.clone(), id: id.to_owned(), handle })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn subject(&self) -> &Path {
        Path::new(&self.id)
    }

    fn perform(&self, entry: &Entry<super::ffi::OnObjectFn>) -> Result<()> {
        self.core.perform(entry, self.subject(), self.handle.as_ptr(), None).map(drop)
    }

    /// Starts it: from then on it can have processes.
    ///
    /// # Errors
    /// Among others [`ErrorKind::InUse`](crate::ErrorKind::InUse) when it was started already; those of all methods of [`ComputeCore`].
    pub fn start(&self) -> Result<()> {
        self.perform(&self.core.entries().start_system)
    }

    /// Asks it to end, as a Windows that is shut down: programs are told. It may go on for as long as they take.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn shut_down(&self) -> Result<()> {
        self.perform(&self.core.entries().shut_down_system)
    }

    /// Ends it with everything in it.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn terminate(&self) -> Result<()> {
        self.perform(&self.core.entries().terminate_system)
    }

    /// Freezes its processes. Containers that share the host's kernel cannot do that.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn pause(&self) -> Result<()> {
        self.perform(&self.core.entries().pause_system)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn resume(&self) -> Result<()> {
        self.perform(&self.core.entries().resume_system)
    }

    /// What the service knows of it: the basics, and what is asked for.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn properties(&self, wanted: &[PropertyType]) -> Result<Properties> {
        let entry = &self.core.entries().system_properties;
        let query = PropertyQuery { property_types: wanted.to_vec() };
        let result = self.core.perform(entry, self.subject(), self.handle.as_ptr(), Some(&query))?;
        parse(entry.name(), self.subject(), &result)
    }

    /// Waits for its end; `None` when it goes on after `timeout`. Without one it waits for ever.
    ///
    /// # Errors
    /// Those of all methods of [`ComputeCore`].
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<SystemExitStatus>> {
        let entry = &self.core.entries().wait_system;
        if self.core.waits(entry) {
            let result = self.core.wait_exit(entry, self.subject(), self.handle.as_ptr(), timeout)?;
            return result.map(|text| parse(entry.name(), self.subject(), &text)).transpose();
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let properties = self.properties(&[])?;
            if properties.state() == SystemState::Stopped {
                return Ok(Some(SystemExitStatus { status: 0, exit_type: properties.exit_type }));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Starts a process in it, and gives the pipes that were asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when the program or its directory is not there; those of all methods of
    /// [`ComputeCore`].
    pub fn create_process(&self, parameters: &ProcessParameters) -> Result<StartedProcess> {
        let document = WideString::from_document(parameters)?;
        let entry = &self.core.entries().create_process;
        let operation = Operation::new(&self.core, entry.name(), self.subject())?;
        let mut handle: Raw = std::ptr::null_mut();
        let begun = entry.call(self.core.library(), Needs::NOTHING, self.subject(), |function| {
            // SAFETY: the function has this type; the system and the operation are open; the document is NUL-terminated and outlives the
            // call; no security descriptor, which is reserved; `handle` is a place for the answer.
            unsafe {
                function(self.handle.as_ptr(), document.as_ptr(), operation.raw(), null(), &raw mut handle)
            }
        });
        // A handle that was given is closed, whatever becomes of the operation.
        let process = Process::of_raw(&self.core, &self.id, handle);
        begun?;
        let information = operation.wait_for_process()?;
        let stdio = stdio(&information);
        let mut process = process.ok_or_else(|| no_handle(entry.name(), self.subject()))?;
        process.set_pid(information.ProcessId);
        Ok(StartedProcess { process, stdio })
    }

    /// Opens a process of it by its number.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is none; those of all methods of [`ComputeCore`].
    pub fn open_process(&self, pid: u32) -> Result<Process> {
        let entry = &self.core.entries().open_process;
        let mut handle: Raw = std::ptr::null_mut();
        entry.call(self.core.library(), Needs::NOTHING, self.subject(), |function| {
            // SAFETY: the function has this type; the system is open; `handle` is a place for the answer.
            unsafe { function(self.handle.as_ptr(), pid, GENERIC_ALL, &raw mut handle) }
        })?;
        let mut process = Process::of_raw(&self.core, &self.id, handle)
            .ok_or_else(|| no_handle(entry.name(), self.subject()))?;
        process.set_pid(pid);
        Ok(process)
    }
}

/// The pipes, which are ours from now on.
fn stdio(information: &HCS_PROCESS_INFORMATION) -> Stdio {
    // SAFETY: each is null or a handle on a pipe that the service has made for us, and nobody else closes it.
    unsafe { Stdio::of_raw(information.StdInput, information.StdOutput, information.StdError) }
}

impl Drop for System {
    fn drop(&mut self) {
        if let Ok(close) = self.core.entries().close_system.get(self.core.library()) {
            // SAFETY: the function has this type; the handle is open, and is closed here alone.
            unsafe { close(self.handle.as_ptr()) };
        }
    }
}
