//! Memory that a call has allocated for us.

use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::LocalFree;

use super::wide::until_nul;
use crate::error::{Error, Result};

/// The longest path of Windows, in UTF-16 units, with its NUL. No path that a call returns is read further than this.
const LONGEST: usize = 32_768;

/// The longest document that is taken, in UTF-16 units: far more than a list of all processes of a large host.
const LONGEST_DOCUMENT: usize = 16 << 20;

/// A string that a call has allocated. It is freed when this is dropped, on every path out of the caller.
///
/// `HcsGetLayerVhdMountPath` documents `LocalFree`; hcsshim frees the same string with `CoTaskMemFree`. Both end in the
/// process heap.
#[derive(Debug)]
pub(super) struct LocalString(*mut u16);

impl LocalString {
    /// What a call fills in.
    pub(super) const fn empty() -> Self {
        LocalString(std::ptr::null_mut())
    }

    /// Where the call puts the string.
    ///
    /// # Safety
    /// What is written there is null, or a NUL-terminated string that was allocated with `LocalAlloc` and belongs to
    /// us; and it is written at most once.
    pub(super) unsafe fn as_out(&mut self) -> *mut *mut u16 {
        &raw mut self.0
    }

    /// A copy, as a path. Null is an empty path; ill-formed UTF-16 stays what it is.
    pub(super) fn to_path(&self, function: &'static str, subject: &Path) -> Result<PathBuf> {
        Ok(until_nul(&self.units(LONGEST, function, subject)?).into())
    }

    /// A copy, as a document. Null is an empty one; what is ill-formed in it becomes U+FFFD.
    pub(super) fn to_document(&self, function: &'static str, subject: &Path) -> Result<String> {
        Ok(String::from_utf16_lossy(&self.units(LONGEST_DOCUMENT, function, subject)?))
    }

    /// What is before the NUL.
    fn units(&self, longest: usize, function: &'static str, subject: &Path) -> Result<Vec<u16>> {
        let mut units = Vec::new();
        if self.0.is_null() {
            return Ok(units);
        }
        for index in 0..longest {
            // SAFETY: the string is NUL-terminated (contract of `as_out`), and every unit before this one was no NUL,
            // so this one is within its memory.
            let unit = unsafe { self.0.add(index).read() };
            if unit == 0 {
                return Ok(units);
            }
            units.push(unit);
        }
        Err(Error::Answer {
            function,
            subject: subject.to_owned(),
            reason: "it returned a string that has no end",
        })
    }
}

impl Drop for LocalString {
    fn drop(&mut self) {
        if self.0.is_null() {
            return;
        }
        // SAFETY: the memory is `LocalAlloc`'s and ours (contract of `as_out`), and is freed here alone: `self` is not
        // `Copy` and does not give the pointer away.
        let left = unsafe { LocalFree(self.0.cast()) };
        if !left.is_null() {
            tracing::error!(code = ?super::dll::last_error(), "cannot free a string of the service; its memory is lost");
        }
    }
}
