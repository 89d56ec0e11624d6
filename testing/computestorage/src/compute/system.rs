//! Systems: what is known of one is in a file, so that several processes agree about it, as they do with a service.
//!
//! ```text
//! %TEMP%\layerstone-standin\systems\
//!   lock              held while one of the files is read and changed
//!   <uuid>.json       a system, named by the version 5 UUID of its id
//! ```
//!
//! Each hold on a system is a handle on an event of its name, which is there for as long as anybody holds it. (Its job is not told
//! from that: it lives on with the last of its processes.) A file without an event is left over from a client that died.

use std::fs::{self, File};
use std::io;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::SYNCHRONIZE;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{CreateEventW, OpenEventW};

use super::document::{ComputeSystem, Layer, SystemQuery};
use super::{Failure, Success};
use crate::code::Code;
use crate::engine;

/// Systems get file names of this name space.
const SYSTEMS: Uuid = Uuid::from_u128(0x1f6b_27c3_9d60_4e55_8a37_6c61_7965_7273);
/// The exit code of what is ended by force. What the service has there is not published.
pub(crate) const ENDED: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Created,
    Running,
    Stopped,
}

/// What is known of a system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    owner: String,
    pub(crate) state: State,
    pub(crate) volume: PathBuf,
    pub(crate) layers: Vec<Layer>,
    pub(crate) processes: Vec<ProcessRecord>,
}

/// A process that was started in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) pid: u32,
    /// Tells it from a later one with the same number.
    pub(crate) started: u64,
    pub(crate) image: String,
    /// A test wants one that does not listen.
    pub(crate) ignores_signals: bool,
}

/// A client's hold on a system.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) id: String,
    /// Shows that it is there. Taken when it is closed.
    presence: Option<OwnedHandle>,
    job: OwnedHandle,
}

fn directory() -> PathBuf {
    std::env::temp_dir().join("layerstone-standin").join("systems")
}

fn name(id: &str) -> Uuid {
    Uuid::new_v5(&SYSTEMS, id.as_bytes())
}

fn path(id: &str) -> PathBuf {
    directory().join(format!("{}.json", name(id)))
}

fn object_name(kind: &str, id: &str) -> Vec<u16> {
    format!("layerstone-standin-{kind}-{}", name(id)).encode_utf16().chain([0]).collect()
}

/// Keeps all others from the files.
fn lock() -> Result<File, Failure> {
    fs::create_dir_all(directory())?;
    let file = File::options().create(true).truncate(false).write(true).open(directory().join("lock"))?;
    file.lock()?;
    Ok(file)
}

fn load(id: &str) -> Result<Record, Failure> {
    match fs::read(path(id)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| Code::UNEXPECTED.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Code::SYSTEM_NOT_FOUND.into()),
        Err(error) => Err(error.into()),
    }
}

fn store(record: &Record) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(record).map_err(|_| Code::UNEXPECTED)?;
    Ok(fs::write(path(&record.id), bytes)?)
}

/// Takes hold of a system that somebody holds; `None` when there is none.
fn open_presence(id: &str) -> Option<OwnedHandle> {
    let name = object_name("system", id);
    // SAFETY: not to be inherited; the name ends with NUL.
    let handle = unsafe { OpenEventW(SYNCHRONIZE, 0, name.as_ptr()) };
    // SAFETY: it was just opened, and nobody else knows it.
    (!handle.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Takes hold of a new system.
fn make_presence(id: &str) -> Result<OwnedHandle, Failure> {
    let name = object_name("system", id);
    // SAFETY: no security attributes, so that children do not inherit it; the name ends with NUL.
    let handle = unsafe { CreateEventW(std::ptr::null(), 1, 0, name.as_ptr()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: it was just made, and nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// The job of that name, made when there is none. It ends its processes with its last handle.
fn job(id: &str) -> Result<OwnedHandle, Failure> {
    let name = object_name("job", id);
    // SAFETY: as above.
    let handle = unsafe { CreateJobObjectW(std::ptr::null(), name.as_ptr()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: it was just made or opened, and nobody else knows it.
    let job = unsafe { OwnedHandle::from_raw_handle(handle) };
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    // SAFETY: an open job, and the structure of that class with its size.
    let done = unsafe {
        SetInformationJobObject(
            job.as_raw_handle(),
            JobObjectExtendedLimitInformation,
            (&raw const limits).cast(),
            size_of_val(&limits) as u32,
        )
    };
    if done == 0 { Err(io::Error::last_os_error().into()) } else { Ok(job) }
}

/// Makes a system; the work of `HcsCreateComputeSystem` that is done before it returns.
pub(crate) fn create(id: &str, document: &ComputeSystem) -> Result<System, Failure> {
    let _lock = lock()?;
    if open_presence(id).is_some() {
        return Err(Failure::new(Code::SYSTEM_ALREADY_EXISTS, format!("there is a system `{id}`")));
    }
    let (presence, job) = (make_presence(id)?, job(id)?);
    let storage = &document.container.storage;
    store(&Record {
        id: id.to_owned(),
        owner: document.owner.clone(),
        state: State::Created,
        volume: storage.path.clone(),
        layers: storage.layers.clone(),
        processes: Vec::new(),
    })?;
    Ok(System { id: id.to_owned(), presence: Some(presence), job })
}

/// Opens a system that some client holds.
pub(crate) fn open(id: &str) -> Result<System, Failure> {
    let _lock = lock()?;
    let not_there = || Failure::new(Code::SYSTEM_NOT_FOUND, format!("there is no system `{id}`"));
    let Some(presence) = open_presence(id) else {
        clear(id);
        return Err(not_there());
    };
    load(id)?;
    let job = job(id)?;
    Ok(System { id: id.to_owned(), presence: Some(presence), job })
}

/// What a client that died has left: the service would have ended its processes then. (Under Wine a job does not notice when the last
/// process that has it open dies.)
fn clear(id: &str) {
    if let Ok(record) = load(id) {
        for process in &record.processes {
            super::process::end_left_over(process);
        }
        let _ = fs::remove_file(path(id));
    }
}

/// The systems that there are, as `Properties`.
pub(crate) fn list(query: &SystemQuery) -> Result<Success, Failure> {
    let _lock = lock()?;
    let mut found = Vec::new();
    for entry in fs::read_dir(directory())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        // What cannot be read a client has left that died while it wrote, or that was of another version.
        let Ok(record) = serde_json::from_slice::<Record>(&fs::read(&path)?) else {
            fs::remove_file(path)?;
            continue;
        };
        let fits = |wanted: &[String], is: &String| wanted.is_empty() || wanted.contains(is);
        if open_presence(&record.id).is_none() {
            clear(&record.id);
        } else if fits(&query.ids, &record.id) && fits(&query.owners, &record.owner) {
            found.push(record.properties(&[]));
        }
    }
    Success::document(&found)
}

impl Record {
    fn properties(&self, wanted: &[String]) -> Value {
        let mut properties = json!({
            "Id": self.id,
            "SystemType": "Container",
            "Owner": self.owner,
            "RuntimeOsType": "Windows",
            "State": self.state,
        });
        if self.state == State::Stopped {
            properties["Stopped"] = json!(true);
            properties["ExitType"] = json!("ForcedExit");
        }
        if wanted.iter().any(|name| name == "ProcessList") {
            let told =
                |process: &ProcessRecord| json!({ "ProcessId": process.pid, "ImageName": process.image });
            let alive = self.processes.iter().filter(|process| super::process::is_alive(process.pid));
            properties["ProcessList"] = alive.map(told).collect();
        }
        if wanted.iter().any(|name| name == "Statistics") {
            properties["Statistics"] =
                json!({ "Uptime100ns": 1, "Memory": { "MemoryUsageCommitBytes": 4096 } });
        }
        properties
    }
}

impl System {
    /// What is known of it now.
    pub(crate) fn record(&self) -> Result<Record, Failure> {
        let _lock = lock()?;
        load(&self.id)
    }

    /// Changes what is known of it, unless `change` refuses.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Record) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _lock = lock()?;
        let mut record = load(&self.id)?;
        let result = change(&mut record)?;
        store(&record)?;
        Ok(result)
    }

    /// It is, or the failure that says in which state it is instead.
    pub(crate) fn must_be(record: &Record, state: State) -> Result<(), Failure> {
        if record.state == state {
            return Ok(());
        }
        Err(Failure::new(Code::INVALID_STATE, format!("the system is {:?}, not {state:?}", record.state)))
    }

    /// Starts it, when its storage is as the service wants it.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        let record = self.record()?;
        Self::must_be(&record, State::Created)?;
        engine::current()
            .container_storage(&record.volume, &record.layers)
            .map_err(|code| Failure::new(code, "the storage of the container is not ready"))?;
        self.change(|record| {
            Self::must_be(record, State::Created)?;
            record.state = State::Running;
            Ok(())
        })
    }

    /// Ends everything in it.
    pub(crate) fn terminate(&self) -> Result<(), Failure> {
        self.change(|record| {
            if record.state == State::Stopped {
                return Err(Failure::new(Code::SYSTEM_ALREADY_STOPPED, "the system has stopped"));
            }
            record.state = State::Stopped;
            Ok(())
        })?;
        // SAFETY: an open job.
        if unsafe { TerminateJobObject(self.job.as_raw_handle(), ENDED) } == 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(())
    }

    /// What it tells of itself.
    pub(crate) fn properties(&self, wanted: &[String]) -> Result<Success, Failure> {
        Success::document(&self.record()?.properties(wanted))
    }

    /// Makes a process one of its own.
    ///
    /// # Safety
    /// `process` is an open handle of a process.
    pub(crate) unsafe fn adopt(&self, process: HANDLE) -> Result<(), Failure> {
        // SAFETY: both are open.
        if unsafe { AssignProcessToJobObject(self.job.as_raw_handle(), process) } == 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(())
    }
}

impl Drop for System {
    /// The file goes with the last handle of all processes. Whoever finds one without a job knows better anyway.
    fn drop(&mut self) {
        let lock = lock();
        drop(self.presence.take());
        if lock.is_ok() && open_presence(&self.id).is_none() {
            let _ = fs::remove_file(path(&self.id));
        }
    }
}
