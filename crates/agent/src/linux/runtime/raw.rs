//! What has no safe form.

// Dispositions of signals, descriptors by number, signals by number.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use nix::sys::signal::SigSet;

/// The last real-time signal.
const LAST_SIGNAL: i32 = 64;

/// Blocks no signal, and gives each its default disposition: what this process, or whoever started it, ignores would stay
/// ignored in the program that is executed. Rust programs ignore broken pipes, for one.
pub(super) fn reset_signals() -> nix::Result<()> {
    for number in 1..=LAST_SIGNAL {
        // SAFETY: the default disposition runs no code of this process. Signals that cannot be changed stay as they are.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    SigSet::empty().thread_set_mask()
}

/// A second descriptor of what has this number, in a process that was copied from the one which has opened it. It is closed
/// when a program is executed.
pub(super) fn duplicate(number: RawFd) -> std::io::Result<File> {
    // SAFETY: the number is only used for this call, which refuses one that is not open; it is not closed by this.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?.into())
}

/// Sends a signal by its number, real-time ones included.
pub(in crate::linux) fn send_signal(process: &OwnedFd, number: i32) -> std::io::Result<()> {
    // SAFETY: the call takes no memory of this process: no information comes with the signal, and there are no flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Copies this process, which has one thread.
pub(super) fn fork() -> nix::Result<nix::unistd::ForkResult> {
    // SAFETY: there is no other thread that could hold a lock at this moment, so the copy may do whatever this process may.
    unsafe { nix::unistd::fork() }
}

/// Closes all descriptors from this number on. Nothing that has one of them may be used, or dropped, after that.
pub(super) fn close_from(first: std::ffi::c_uint) -> nix::Result<()> {
    // SAFETY: the call takes no memory. What has the descriptors is never used again: the caller only waits, and then ends.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, std::ffi::c_uint::MAX, 0) };
    nix::errno::Errno::result(result).map(drop)
}

/// Waits for a signal that is blocked. Its number.
pub(super) fn next_signal() -> nix::Result<i32> {
    let all = SigSet::all();
    // SAFETY: the set is a whole one, and no information is asked for.
    let number = unsafe { libc::sigwaitinfo(all.as_ref(), std::ptr::null_mut()) };
    nix::errno::Errno::result(number)
}

/// Sends a signal to a child that was not waited for. One that does not take it is none of the caller's business.
pub(super) fn pass_on(child: nix::unistd::Pid, number: i32) {
    // SAFETY: the call takes no memory.
    unsafe { libc::kill(child.as_raw(), number) };
}

/// Ends this process at once: nothing is flushed, nothing of the program that it is a copy of is called.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: the call does not return.
    unsafe { libc::_exit(code) }
}
