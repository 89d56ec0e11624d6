//! Processes of this host, random numbers and keys: what the standard library does not have.
//!
//! The calls of Windows are here and nowhere else in the crate.

#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, FILETIME, HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation, WAIT_OBJECT_0,
    WAIT_TIMEOUT,
};
use windows_sys::Win32::Security::Cryptography::{BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, GetProcessTimes, INFINITE, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, TerminateProcess,
    WaitForSingleObject,
};

use crate::error::{IoContext as _, Result};
use crate::model::Identity;

fn ok(done: i32) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// When a process was started: 100 ns since 1601.
///
/// # Safety
/// `process` is an open handle of a process, or the pseudo handle of this one.
unsafe fn start_time(process: HANDLE) -> io::Result<u64> {
    let mut times = [FILETIME::default(); 4];
    let [start, end, kernel, user] = &mut times;
    // SAFETY: so says the caller; four places for the answers.
    ok(unsafe { GetProcessTimes(process, start, end, kernel, user) })?;
    Ok(u64::from(start.dwHighDateTime) << 32 | u64::from(start.dwLowDateTime))
}

fn identity(pid: u32, start_time: u64) -> Identity {
    Identity { pid: pid.cast_signed(), start_time, boot: String::new() }
}

/// This process.
pub(super) fn identify_self() -> Result<Identity> {
    // SAFETY: the pseudo handle of this process is always open.
    let started = unsafe { start_time(GetCurrentProcess()) }.doing("look at", "this process")?;
    Ok(identity(std::process::id(), started))
}

fn open_number(pid: u32) -> io::Result<Option<OwnedHandle>> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE | PROCESS_TERMINATE;
    // SAFETY: not to be inherited; any number may be asked for.
    let handle = unsafe { OpenProcess(access, 0, pid) };
    if handle.is_null() {
        let error = io::Error::last_os_error();
        let absent = error.raw_os_error() == Some(ERROR_INVALID_PARAMETER.cast_signed());
        return if absent { Ok(None) } else { Err(error) };
    }
    // SAFETY: it was just opened, and nobody else knows it.
    Ok(Some(unsafe { OwnedHandle::from_raw_handle(handle) }))
}

/// The process of that number in a container, as it is noted down. One that cannot be looked at, or has ended, has no start time: the
/// service knows it by its number.
pub(super) fn identify(pid: u32) -> Identity {
    let process = open_number(pid).ok().flatten();
    // SAFETY: it is open.
    let started = process.and_then(|process| unsafe { start_time(process.as_raw_handle()) }.ok());
    identity(pid, started.unwrap_or_default())
}

/// A process that was noted down, when it still runs. One whose number is another's now counts as gone.
pub(super) fn open(process: &Identity) -> Result<Option<OwnedHandle>> {
    let name = || process.pid.to_string();
    let Some(handle) = open_number(process.pid.cast_unsigned()).doing("open process", name())? else {
        return Ok(None);
    };
    // SAFETY: it is open.
    let started = unsafe { start_time(handle.as_raw_handle()) }.doing("look at process", name())?;
    Ok((started == process.start_time && !wait(&handle, Some(Duration::ZERO))?).then_some(handle))
}

/// Waits for the end of a process. False when it goes on after `timeout`.
pub(super) fn wait(process: &OwnedHandle, timeout: Option<Duration>) -> Result<bool> {
    let milliseconds = timeout
        .map_or(INFINITE, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(INFINITE).min(INFINITE - 1));
    // SAFETY: the handle is open.
    match unsafe { WaitForSingleObject(process.as_raw_handle(), milliseconds) } {
        WAIT_OBJECT_0 => Ok(true),
        WAIT_TIMEOUT => Ok(false),
        _ => Err(io::Error::last_os_error()).doing("wait for", "a process"),
    }
}

/// The exit code of a process that has ended.
pub(super) fn exit_code(process: &OwnedHandle) -> Result<u32> {
    let mut code = 0;
    // SAFETY: the handle is open, and there is a place for the answer.
    ok(unsafe { GetExitCodeProcess(process.as_raw_handle(), &raw mut code) })
        .doing("ask for the exit code of", "a process")?;
    Ok(code)
}

/// Ends a process.
pub(super) fn kill(process: &OwnedHandle) -> Result<()> {
    // SAFETY: the handle is open.
    ok(unsafe { TerminateProcess(process.as_raw_handle(), 1) }).doing("end", "a process")
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: no algorithm, as the flag wants it; the buffer has as many bytes as is said.
    let status = unsafe {
        BCryptGenRandom(
            std::ptr::null_mut(),
            bytes.as_mut_ptr(),
            u32::try_from(N).unwrap_or(0),
            BCRYPT_USE_SYSTEM_PREFERRED_RNG,
        )
    };
    if status < 0 {
        return Err(io::Error::from_raw_os_error(status)).doing("read", "random numbers");
    }
    Ok(bytes)
}

/// Keeps the caller's standard streams from processes that are started: a shim that had them would keep a pipe open that its client's
/// caller waits for the end of.
pub(super) fn keep_streams() {
    for handle in [io::stdin().as_raw_handle(), io::stdout().as_raw_handle(), io::stderr().as_raw_handle()] {
        if !handle.is_null() {
            // SAFETY: a handle of this process, or one that the system refuses. Of no harm when it fails: then it is inherited.
            unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
        }
    }
}

/// How often a key that ends programs was pressed, of each kind.
static PRESSED: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

/// A key that ends programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Ctrl-C
    Interrupt,
    /// Ctrl-Break
    Break,
}

unsafe extern "system" fn pressed(event: u32) -> i32 {
    let kind = match event {
        CTRL_C_EVENT => 0,
        CTRL_BREAK_EVENT => 1,
        // The console is closed, say: the client ends, and the container goes on.
        _ => return 0,
    };
    PRESSED[kind].fetch_add(1, Ordering::Relaxed);
    1
}

/// From now on such keys are counted, and do not end this process.
pub(super) fn take_keys() -> Result<()> {
    // SAFETY: the function only counts, and lives as long as the program.
    ok(unsafe { SetConsoleCtrlHandler(Some(pressed), 1) }).doing("take the keys of", "the console")
}

/// A key that was pressed since the last time.
pub(super) fn next_key() -> Option<Key> {
    let taken = |count: &AtomicU32| {
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
    };
    let [interrupt, brk] = &PRESSED;
    match () {
        () if taken(interrupt) => Some(Key::Interrupt),
        () if taken(brk) => Some(Key::Break),
        () => None,
    }
}
