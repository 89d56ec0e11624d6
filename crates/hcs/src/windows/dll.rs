//! DLLs that are loaded when they are needed, and functions that may not be there.
//!
//! A DLL is never unloaded: the addresses of its functions are kept for as long as the process lives.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use windows_sys::Win32::Foundation::{FARPROC, GetLastError, HMODULE};
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LOAD_WITH_ALTERED_SEARCH_PATH, LoadLibraryExW,
};

use super::privilege::Needs;
use super::wide::WideString;
use crate::error::{Error, Result};
use crate::functions::{self, Function};
use crate::hresult::HResult;

/// The code of the thread's last error.
pub(super) fn last_error() -> HResult {
    // SAFETY: reads a value of the thread; no preconditions.
    HResult::from_win32(unsafe { GetLastError() })
}

/// A loaded DLL.
#[derive(Debug, Clone, Copy)]
struct Module(HMODULE);

// SAFETY: a module's handle is its base address, which belongs to the process and not to a thread; the module is never
// unloaded, and the functions that take the handle may be called from any thread.
unsafe impl Send for Module {}
// SAFETY: as above; the handle is only ever read.
unsafe impl Sync for Module {}

/// A DLL, loaded when its first function is wanted. Failure is not remembered: the feature may be installed meanwhile.
#[derive(Debug)]
pub(super) struct Library {
    path: PathBuf,
    flags: u32,
    module: OnceLock<Module>,
}

impl Library {
    /// A DLL of Windows. It is looked for in System32 only, never in the program's or the current folder, where anybody
    /// might have put one of that name.
    pub(super) fn system(name: &str) -> Self {
        Library { path: name.into(), flags: LOAD_LIBRARY_SEARCH_SYSTEM32, module: OnceLock::new() }
    }

    /// A DLL whose absolute path is known. What it needs itself is looked for beside it first.
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Library { path: path.into(), flags: LOAD_WITH_ALTERED_SEARCH_PATH, module: OnceLock::new() }
    }

    /// The same DLL, not loaded yet.
    pub(super) fn again(&self) -> Self {
        Library { path: self.path.clone(), flags: self.flags, module: OnceLock::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn module(&self) -> Result<Module, HResult> {
        if let Some(module) = self.module.get() {
            return Ok(*module);
        }
        let path = WideString::from_path(&self.path).map_err(|_| HResult::from_win32(123))?;
        // SAFETY: the path is NUL-terminated and outlives the call; the second argument is reserved and null. Loading
        // runs the DLL's initialisation, which is code of Windows, or of the DLL that the caller named.
        let module = unsafe { LoadLibraryExW(path.as_ptr(), std::ptr::null_mut(), self.flags) };
        if module.is_null() {
            return Err(last_error());
        }
        // Of two threads that come here at once both have loaded it; that only counts a reference more.
        Ok(*self.module.get_or_init(|| Module(module)))
    }

    /// The address of a function.
    pub(super) fn address(&self, function: &Function) -> Result<FARPROC, HResult> {
        let module = self.module()?;
        let mut name = Vec::with_capacity(function.name.len() + 1);
        name.extend_from_slice(function.name.as_bytes());
        name.push(0);
        // SAFETY: the module stays loaded, and the name is NUL-terminated and outlives the call.
        let address = unsafe { GetProcAddress(module.0, name.as_ptr()) };
        if address.is_none() { Err(last_error()) } else { Ok(address) }
    }
}

/// A function of a DLL that may not be there. `F` is the type of its pointer.
pub(super) struct Entry<F> {
    function: &'static Function,
    address: OnceLock<F>,
}

impl<F: Copy> Entry<F> {
    /// The entry of a function of the tables of [`functions`].
    ///
    /// # Safety
    /// `F` is an `unsafe extern "system" fn` type, and the parameters and the result are those of the function of that
    /// name.
    pub(super) unsafe fn new(function: &'static Function) -> Self {
        const { assert!(size_of::<F>() == size_of::<FARPROC>()) };
        Entry { function, address: OnceLock::new() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.function.name
    }

    /// The function, or the error that names it and the build of Windows that has it.
    pub(super) fn get(&self, library: &Library) -> Result<F> {
        if let Some(address) = self.address.get() {
            return Ok(*address);
        }
        let address = library.address(self.function).map_err(|code| Error::Unavailable {
            library: library.path().to_owned(),
            function: self.function.name,
            since: self.function.since,
            code,
        })?;
        // SAFETY: `address` is not null, so both are pointers to a function, of the same size (asserted in `new`); that
        // the function has the type `F` is what the caller of `new` promised.
        let address = unsafe { std::mem::transmute_copy::<FARPROC, F>(&address) };
        Ok(*self.address.get_or_init(|| address))
    }

    /// Makes a call that returns an HRESULT, with the privileges that it needs.
    pub(super) fn call(
        &self,
        library: &Library,
        needs: Needs,
        subject: &Path,
        call: impl FnOnce(F) -> i32,
    ) -> Result<()> {
        let function = self.get(library)?;
        let privileges = needs.take()?;
        let start = Instant::now();
        let code = HResult(call(function).cast_unsigned());
        let elapsed = start.elapsed();
        drop(privileges);
        tracing::debug!(function = self.name(), subject = %subject.display(), ?code, ?elapsed, "called");
        check(self.name(), subject, code)
    }

    /// Makes a call that returns a code of Win32.
    pub(super) fn call_win32(
        &self,
        library: &Library,
        needs: Needs,
        subject: &Path,
        call: impl FnOnce(F) -> u32,
    ) -> Result<()> {
        self.call(library, needs, subject, |function| HResult::from_win32(call(function)).0.cast_signed())
    }
}

impl<F> fmt::Debug for Entry<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name)
    }
}

/// Turns a negative HRESULT into an error.
pub(super) fn check(function: &'static str, subject: &Path, code: HResult) -> Result<()> {
    if code.is_success() { Ok(()) } else { Err(Error::Call { function, subject: subject.to_owned(), code }) }
}

/// The table of a DLL's functions: a struct with an [`Entry`] for each, and its constructor.
///
/// Whoever writes a table vouches for the types, which is what [`Entry::new`] wants.
macro_rules! entries {
    ($(#[$meta:meta])* $visibility:vis struct $table:ident of $functions:path { $($field:ident: $type:ty = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        $visibility struct $table { $($visibility $field: $crate::windows::dll::Entry<$type>,)* }

        impl $table {
            $visibility fn new() -> Self {
                $table {
                    $($field: {
                        const FUNCTION: &$crate::functions::Function =
                            $crate::windows::dll::known(&$functions, $name);
                        // SAFETY: the table above says that the function of this name has this type.
                        unsafe { $crate::windows::dll::Entry::new(FUNCTION) }
                    },)*
                }
            }
        }
    };
}
pub(super) use entries;

/// The function of this name; a name that is not in the table does not compile.
pub(super) const fn known(table: &'static [Function], name: &str) -> &'static Function {
    let mut index = 0;
    while index < table.len() {
        if same(table[index].name.as_bytes(), name.as_bytes()) {
            return &table[index];
        }
        index += 1;
    }
    panic!("no such function in the table")
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Which functions of all the tables this host has.
pub(super) fn present() -> Vec<(&'static Function, Option<HResult>)> {
    let mut library: Option<(&'static str, Library)> = None;
    functions::all()
        .map(|function| {
            if library.as_ref().is_none_or(|(name, _)| *name != function.library) {
                library = Some((function.library, Library::system(function.library)));
            }
            let missing = library.as_ref().and_then(|(_, library)| library.address(function).err());
            (function, missing)
        })
        .collect()
}
