//! Giving a filter to the kernel.

// The system call takes a pointer.
#![allow(unsafe_code)]

use std::io;

use super::Program;

/// Filters this thread's system calls from now on, and those of what it starts and executes.
///
/// # Errors
/// When the kernel refuses: without `CAP_SYS_ADMIN` executing must not give privileges.
pub fn install(program: &Program) -> io::Result<()> {
    let filters: Vec<libc::sock_filter> = program
        .instructions
        .iter()
        .map(|one| libc::sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k })
        .collect();
    let len = u16::try_from(filters.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program_argument = libc::sock_fprog { len, filter: filters.as_ptr().cast_mut() };
    // SAFETY: the program and the instructions that it points to live until the call returns; the kernel copies and checks
    // them, and writes to neither.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            program.flags,
            std::ptr::from_ref(&program_argument),
        )
    };
    match result {
        0 => Ok(()),
        // With TSYNC, the thread that could not be synchronised.
        n if n > 0 => Err(io::Error::from(io::ErrorKind::ResourceBusy)),
        _ => Err(io::Error::last_os_error()),
    }
}
