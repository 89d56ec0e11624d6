//! The DLL that stands in for Windows's own, and how a test steers it.
//!
//! The package `layerstone-standin` builds it. It is looked for where cargo puts it, or where `LAYERSTONE_STANDIN` says.
#![allow(unsafe_code, dead_code, reason = "each test program uses a part of it")]

use std::ffi::CString;
use std::os::windows::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use layerstone_hcs::compute::ComputeCore;
use layerstone_hcs::virtdisk::VirtDisk;
use layerstone_hcs::{Build, ComputeStorage, Retry, VmCompute};
use serde_json::Value;
use windows_sys::Win32::Foundation::FARPROC;
use windows_sys::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW};

/// Many calls and no waiting.
pub(crate) const QUICK: Retry = Retry { attempts: 4, delay: Duration::from_millis(1) };

/// What it records and how it fails belongs to the process, so one test at a time has it.
static TURN: Mutex<()> = Mutex::new(());

type TakeCalls = unsafe extern "system" fn(*mut u8, usize) -> usize;
type Fail = unsafe extern "system" fn(*const i8, u32, u32);
type Delay = unsafe extern "system" fn(*const i8, u32);
type MostAtOnce = unsafe extern "system" fn(*const i8) -> u32;
type MountPath = unsafe extern "system" fn(u32) -> u32;
type LiveAllocations = unsafe extern "system" fn() -> usize;
type Reset = unsafe extern "system" fn();

#[derive(Debug)]
pub(crate) struct Standin {
    path: PathBuf,
    module: usize,
    _turn: MutexGuard<'static, ()>,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) arguments: Vec<(String, Value)>,
    pub(crate) thread: u64,
}

impl Call {
    /// The value of an argument.
    #[track_caller]
    pub(crate) fn argument(&self, name: &str) -> &Value {
        let argument = self.arguments.iter().find(|(argument, _)| argument == name);
        &argument.unwrap_or_else(|| panic!("{} has no {name}: {:?}", self.function, self.arguments)).1
    }
}

impl Standin {
    /// The stand-in for one test, or `None` after having said that there is none.
    #[track_caller]
    pub(crate) fn new(test: &str) -> Option<Self> {
        let path = match std::env::var_os("LAYERSTONE_STANDIN") {
            Some(path) => PathBuf::from(path),
            // Two levels above this program, which is in `deps`.
            None => {
                let program = std::env::current_exe().unwrap();
                program.ancestors().nth(2).unwrap().join("layerstone_standin.dll")
            }
        };
        if !path.exists() {
            layerstone_testing::skip(
                test,
                format_args!(
                    "there is no {}: build the package layerstone-standin for this target, or name its DLL in \
                     LAYERSTONE_STANDIN",
                    path.display()
                ),
            );
            return None;
        }
        // Most calls enable privileges first.
        if layerstone_hcs::host::privileges().unwrap().iter().any(|state| !state.held) {
            layerstone_testing::skip(
                test,
                "the process is not elevated, and lacks privileges that the calls enable",
            );
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let wide: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
        // SAFETY: the path ends with NUL; the DLL is the project's own.
        let module = unsafe { LoadLibraryW(wide.as_ptr()) };
        assert!(!module.is_null(), "cannot load {}: {}", path.display(), std::io::Error::last_os_error());
        let standin = Standin { path, module: module.expose_provenance(), _turn: turn };
        standin.reset();
        Some(standin)
    }

    fn function(&self, name: &str) -> FARPROC {
        let name = CString::new(name).unwrap();
        // SAFETY: the module is loaded for good; the name ends with NUL.
        let address = unsafe {
            GetProcAddress(std::ptr::with_exposed_provenance_mut(self.module), name.as_ptr().cast())
        };
        assert!(address.is_some(), "the stand-in has no {name:?}");
        address
    }

    pub(crate) fn storage(&self) -> ComputeStorage {
        ComputeStorage::load(&self.path).with_build(Build(20348)).with_retry(QUICK, QUICK)
    }

    pub(crate) fn vmcompute(&self) -> VmCompute {
        VmCompute::load(&self.path).with_retry(QUICK)
    }

    pub(crate) fn computecore(&self) -> ComputeCore {
        ComputeCore::load(&self.path).with_build(Build::SERVER_2022).with_patience(Duration::from_secs(60))
    }

    /// How many operations, systems and processes were not closed.
    pub(crate) fn live_handles(&self) -> usize {
        // SAFETY: the function's type, as its source declares it.
        unsafe { std::mem::transmute::<FARPROC, LiveAllocations>(self.function("StandinLiveHandles"))() }
    }

    pub(crate) fn virtdisk(&self) -> VirtDisk {
        VirtDisk::load(&self.path)
    }

    /// All calls since the last time.
    #[track_caller]
    pub(crate) fn calls(&self) -> Vec<Call> {
        // SAFETY: the function's type, as its source declares it.
        let take: TakeCalls = unsafe { std::mem::transmute(self.function("StandinTakeCalls").unwrap()) };
        // SAFETY: without a buffer it says how long the text is.
        let length = unsafe { take(std::ptr::null_mut(), 0) };
        let mut text = vec![0; length];
        // SAFETY: the buffer has as many bytes as is said.
        assert_eq!(unsafe { take(text.as_mut_ptr(), length) }, length);
        let lines = String::from_utf8(text).unwrap();
        lines.lines().map(parse).collect()
    }

    /// The only call since the last time.
    #[track_caller]
    pub(crate) fn call(&self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    /// The names of the functions that were called since the last time.
    #[track_caller]
    pub(crate) fn functions(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.function).collect()
    }

    /// Lets the `nth` call of a function fail, or each when that is 0.
    pub(crate) fn fail(&self, function: &str, nth: u32, code: u32) {
        let name = CString::new(function).unwrap();
        // SAFETY: the function's type, as its source declares it; the name ends with NUL.
        unsafe {
            std::mem::transmute::<FARPROC, Fail>(self.function("StandinFail"))(name.as_ptr(), nth, code)
        };
    }

    /// Lets each call of a function take so long.
    pub(crate) fn delay(&self, function: &str, milliseconds: u32) {
        let name = CString::new(function).unwrap();
        // SAFETY: as above.
        unsafe {
            std::mem::transmute::<FARPROC, Delay>(self.function("StandinDelay"))(name.as_ptr(), milliseconds);
        }
    }

    /// How many calls of a function were being made at the same moment, at most.
    pub(crate) fn most_at_once(&self, function: &str) -> u32 {
        let name = CString::new(function).unwrap();
        // SAFETY: as above.
        unsafe {
            std::mem::transmute::<FARPROC, MostAtOnce>(self.function("StandinMostAtOnce"))(name.as_ptr())
        }
    }

    /// What is in the place of a mount path: 0 the right one, 1 null, 2 an empty string, 3 ill-formed UTF-16.
    pub(crate) fn mount_path(&self, kind: u32) {
        // SAFETY: the function's type, as its source declares it.
        let done =
            unsafe { std::mem::transmute::<FARPROC, MountPath>(self.function("StandinMountPath"))(kind) };
        assert_eq!(done, 1);
    }

    /// What calls do: 1 they only answer, 2 what the portable storage does.
    pub(crate) fn engine(&self, engine: u32) {
        // SAFETY: as above; the type is that of `MountPath`.
        let done =
            unsafe { std::mem::transmute::<FARPROC, MountPath>(self.function("StandinEngine"))(engine) };
        assert_eq!(done, 1);
    }

    /// How many strings were given away and not freed.
    pub(crate) fn live_allocations(&self) -> usize {
        // SAFETY: as above.
        unsafe { std::mem::transmute::<FARPROC, LiveAllocations>(self.function("StandinLiveAllocations"))() }
    }

    /// Nothing fails any more; calls and counts are forgotten too.
    pub(crate) fn reset(&self) {
        // SAFETY: as above.
        unsafe { std::mem::transmute::<FARPROC, Reset>(self.function("StandinReset"))() };
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.reset();
    }
}

fn parse(line: &str) -> Call {
    let call: Value = serde_json::from_str(line).unwrap();
    let arguments = call["arguments"].as_array().unwrap();
    Call {
        function: call["function"].as_str().unwrap().to_owned(),
        arguments: arguments
            .iter()
            .map(|argument| (argument["name"].as_str().unwrap().to_owned(), argument["value"].clone()))
            .collect(),
        thread: call["thread"].as_u64().unwrap(),
    }
}
