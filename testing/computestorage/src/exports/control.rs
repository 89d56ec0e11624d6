//! The stand-in's own functions, by which a test in the same process steers it. `README.md` lists them.

use std::ffi::{CStr, c_char};
use std::time::Duration;

use crate::code::Code;
use crate::compute::handles;
use crate::fault::{self, MountPath};
use crate::{engine, memory, record};

/// The name of a function; empty when it is none.
///
/// # Safety
/// `name` is null or a string that ends with a NUL.
unsafe fn name(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    // SAFETY: so says the caller.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// Copies the lines of all calls since the last time into `buffer` and forgets them; gives their length in bytes. When `length`
/// is less than that, or `buffer` is null, nothing is copied and nothing forgotten.
#[unsafe(no_mangle)]
unsafe extern "system" fn StandinTakeCalls(buffer: *mut u8, length: usize) -> usize {
    let lines = record::lines();
    if buffer.is_null() || length < lines.len() {
        return lines.len();
    }
    // SAFETY: the test has said that there is room for `length` bytes, and these are not more.
    unsafe { buffer.copy_from_nonoverlapping(lines.as_ptr(), lines.len()) };
    record::forget();
    lines.len()
}

/// Lets the `nth` call of a function from now on fail, counted since the start or the last reset; each one when `nth` is 0.
#[unsafe(no_mangle)]
unsafe extern "system" fn StandinFail(function: *const c_char, nth: u32, code: u32) {
    // SAFETY: a string that ends with a NUL.
    fault::fail(unsafe { name(function) }, nth, Code(code));
}

/// Lets each call of a function take so long.
#[unsafe(no_mangle)]
unsafe extern "system" fn StandinDelay(function: *const c_char, milliseconds: u32) {
    // SAFETY: a string that ends with a NUL.
    fault::delay(unsafe { name(function) }, Duration::from_millis(milliseconds.into()));
}

/// How many calls of a function were being made at the same moment, at most.
#[unsafe(no_mangle)]
unsafe extern "system" fn StandinMostAtOnce(function: *const c_char) -> u32 {
    // SAFETY: a string that ends with a NUL.
    fault::most_at_once(&unsafe { name(function) })
}

/// What `HcsGetLayerVhdMountPath` gives: 0 the path, 1 a null pointer, 2 an empty string, 3 a string that is not UTF-16. Gives 0
/// when there is no such kind.
#[unsafe(no_mangle)]
extern "system" fn StandinMountPath(kind: u32) -> u32 {
    let kind = match kind {
        0 => MountPath::Right,
        1 => MountPath::Null,
        2 => MountPath::Empty,
        3 => MountPath::NotUtf16,
        _ => return 0,
    };
    fault::set_mount_path(kind);
    1
}

/// Chooses what calls do: 1 they only answer, 2 they work on the portable layer storage, 3 they make real files, 0 what the environment
/// says. Gives 0 when
/// there is no such engine.
#[unsafe(no_mangle)]
extern "system" fn StandinEngine(engine: u32) -> u32 {
    if engine > 3 {
        return 0;
    }
    engine::choose(engine);
    1
}

/// How many strings the client has been given and not freed.
#[unsafe(no_mangle)]
extern "system" fn StandinLiveAllocations() -> usize {
    memory::live()
}

/// How many operations, systems and processes the client has not closed.
#[unsafe(no_mangle)]
extern "system" fn StandinLiveHandles() -> usize {
    handles::live()
}

/// Forgets all calls, counts, failures, delays and the engine; what the environment says holds again.
#[unsafe(no_mangle)]
extern "system" fn StandinReset() {
    record::forget();
    fault::reset();
    engine::choose(0);
}
