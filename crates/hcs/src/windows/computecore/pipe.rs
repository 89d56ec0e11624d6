//! The pipes of a process.
//!
//! The service opens them for overlapped I/O. Such a handle must be read with an `OVERLAPPED` that has an event of its own: without
//! one, the system may say that a read is over that is not. The same call works on a handle that was opened otherwise, too.

use std::io::{self, Read, Write};
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::ptr::null;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_IO_PENDING, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED,
    GetLastError, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::CreateEventW;

/// One end of a pipe.
#[derive(Debug)]
struct End(OwnedHandle);

impl End {
    /// # Safety
    /// `handle` is null, `INVALID_HANDLE_VALUE`, or open and ours alone.
    unsafe fn of_raw(handle: HANDLE) -> Option<Self> {
        if handle.is_null() || handle == INVALID_HANDLE_VALUE {
            return None;
        }
        // SAFETY: so says the caller.
        Some(End(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Begins a transfer, waits for its end, and says how many bytes it moved.
    fn transfer(&self, begin: impl FnOnce(HANDLE, *mut OVERLAPPED) -> i32) -> io::Result<usize> {
        // SAFETY: an event without a name, reset by hand as overlapped I/O wants it; nothing is passed in.
        let event = unsafe { CreateEventW(null(), 1, 0, null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and nobody else knows it.
        let event = unsafe { OwnedHandle::from_raw_handle(event) };
        let mut overlapped = OVERLAPPED { hEvent: event.as_raw_handle(), ..OVERLAPPED::default() };
        let handle = self.0.as_raw_handle();
        if begin(handle, &raw mut overlapped) == 0 {
            // SAFETY: reads a value of the thread.
            let code = unsafe { GetLastError() };
            if code != ERROR_IO_PENDING {
                return Err(io::Error::from_raw_os_error(code.cast_signed()));
            }
        }
        let mut moved = 0;
        // SAFETY: the handle and the structure are those of the transfer that was begun, and it is waited for: neither the structure nor
        // the buffer is used by the system after this.
        if unsafe { GetOverlappedResult(handle, &raw const overlapped, &raw mut moved, 1) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(moved as usize)
    }
}

/// What a process prints. Its end is the end of the last process that has the pipe.
#[derive(Debug)]
pub struct PipeReader(End);

impl PipeReader {
    /// # Safety
    /// As [`End::of_raw`].
    pub(super) unsafe fn of_raw(handle: HANDLE) -> Option<Self> {
        // SAFETY: passed on.
        unsafe { End::of_raw(handle) }.map(PipeReader)
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        loop {
            let read = self.0.transfer(|handle, overlapped| {
                // SAFETY: the handle is open; the buffer has at least as many bytes as is said, and is borrowed until the transfer is
                // over.
                unsafe { ReadFile(handle, buffer.as_mut_ptr(), length, std::ptr::null_mut(), overlapped) }
            });
            match read {
                // Somebody has written nothing, which is no end of a pipe.
                Ok(0) => {}
                Err(error) if is_end(&error) => return Ok(0),
                other => return other,
            }
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    let codes = [ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_PIPE_NOT_CONNECTED];
    error.raw_os_error().is_some_and(|code| codes.contains(&code.cast_unsigned()))
}

/// What a process reads.
#[derive(Debug)]
pub struct PipeWriter(End);

impl PipeWriter {
    /// # Safety
    /// As [`End::of_raw`].
    pub(super) unsafe fn of_raw(handle: HANDLE) -> Option<Self> {
        // SAFETY: passed on.
        unsafe { End::of_raw(handle) }.map(PipeWriter)
    }
}

impl Write for PipeWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let written = self.0.transfer(|handle, overlapped| {
            // SAFETY: the handle is open; the buffer has at least as many bytes as is said, and is borrowed until the transfer is over.
            unsafe { WriteFile(handle, buffer.as_ptr(), length, std::ptr::null_mut(), overlapped) }
        });
        written.map_err(|error| match error.raw_os_error().map(i32::cast_unsigned) {
            // Whoever read has gone.
            Some(ERROR_NO_DATA | ERROR_PIPE_NOT_CONNECTED) => io::ErrorKind::BrokenPipe.into(),
            _ => error,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
