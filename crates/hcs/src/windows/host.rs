//! What this host can do: for a report before anything goes wrong, and after.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_NO_MORE_ITEMS, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{
    GetDiskFreeSpaceExW, GetVolumeInformationW, GetVolumePathNameW,
};
use windows_sys::Win32::Storage::InstallableFileSystems as flt;
use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;
use windows_sys::core::HRESULT;

use super::dll::{Library, entries, last_error, present};
use super::privilege;
use super::wide::{WideString, until_nul};
use crate::error::{Error, Result};
use crate::filters::{self, FilterDriver};
use crate::functions::{Build, Function};
use crate::hresult::HResult;
pub use privilege::State as PrivilegeState;

/// The build of the Windows that runs, whatever the program's manifest says (`RtlGetVersion`).
pub fn build() -> Build {
    let mut version =
        OSVERSIONINFOW { dwOSVersionInfoSize: size_of::<OSVERSIONINFOW>() as u32, ..Default::default() };
    // SAFETY: the structure has the size that it says. The function always succeeds.
    unsafe { RtlGetVersion(&raw mut version) };
    Build(version.dwBuildNumber)
}

/// A function, and whether this host has it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Probe {
    /// Which function, of which DLL, since which build.
    pub function: &'static Function,
    /// Why it cannot be called; `None` when it can.
    pub missing: Option<HResult>,
}

impl Probe {
    /// Whether it can be called.
    pub fn is_present(&self) -> bool {
        self.missing.is_none()
    }
}

/// Which of the functions that this crate calls the DLLs of this Windows have, in the order of
/// [`functions::all`](crate::functions::all). Loads the DLLs, calls nothing.
pub fn probe() -> Vec<Probe> {
    present().into_iter().map(|(function, missing)| Probe { function, missing }).collect()
}

/// Which privileges the process holds.
///
/// # Errors
/// [`Error::Call`] when its token cannot be read.
pub fn privileges() -> Result<Vec<PrivilegeState>> {
    privilege::of_process()
}

/// Whether the process runs with an administrator's full token ("Run as administrator"). Import, formatting and
/// attaching filters need that, whatever privileges are held.
///
/// # Errors
/// [`Error::Call`] when its token cannot be read.
pub fn is_elevated() -> Result<bool> {
    privilege::is_elevated()
}

/// The volume under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Volume {
    /// Where it is mounted: `C:\`.
    pub root: PathBuf,
    /// The name of its file system: `NTFS`, `ReFS`.
    pub file_system: String,
    /// What is free for this account, in bytes.
    pub free: u64,
    /// Its size for this account, in bytes.
    pub size: u64,
    /// What it can do (`FILE_SUPPORTS_…`, as `GetVolumeInformationW` returns them).
    pub flags: u32,
}

impl Volume {
    /// Layers of directories need NTFS: the storage filter does not work on ReFS, nor on anything else.
    pub fn holds_layers(&self) -> bool {
        self.file_system.eq_ignore_ascii_case("NTFS")
    }
}

/// The volume under a path, which need not exist: the nearest folder above it that does is looked at.
///
/// # Errors
/// [`Error::Nul`]; [`Error::Call`] when the volume cannot be asked.
pub fn volume(path: &Path) -> Result<Volume> {
    let wide = WideString::from_path(path)?;
    let failed = |function| Error::Call { function, subject: path.to_owned(), code: last_error() };
    let mut root = vec![0_u16; 32_768];
    // SAFETY: the path is NUL-terminated; the buffer has as many units as is said, and the function ends what it writes
    // with NUL.
    if unsafe { GetVolumePathNameW(wide.as_ptr(), root.as_mut_ptr(), 32_768) } == 0 {
        return Err(failed("GetVolumePathNameW"));
    }
    let mut name = [0_u16; 261];
    let mut flags = 0_u32;
    // SAFETY: the root is NUL-terminated (above); the buffer for the file system's name has 261 units; what is not
    // asked for is null.
    let done = unsafe {
        GetVolumeInformationW(
            root.as_ptr(),
            null_mut(),
            0,
            null_mut(),
            null_mut(),
            &raw mut flags,
            name.as_mut_ptr(),
            261,
        )
    };
    if done == 0 {
        return Err(failed("GetVolumeInformationW"));
    }
    let (mut free, mut size) = (0_u64, 0_u64);
    // SAFETY: the root is NUL-terminated; the first two are places for the answers, the third is not asked for.
    if unsafe { GetDiskFreeSpaceExW(root.as_ptr(), &raw mut free, &raw mut size, null_mut()) } == 0 {
        return Err(failed("GetDiskFreeSpaceExW"));
    }
    Ok(Volume {
        root: until_nul(&root).into(),
        file_system: until_nul(&name).to_string_lossy().into_owned(),
        free,
        size,
        flags,
    })
}

type FindFirstFn =
    unsafe extern "system" fn(i32, *mut core::ffi::c_void, u32, *mut u32, *mut HANDLE) -> HRESULT;
type FindNextFn = unsafe extern "system" fn(HANDLE, i32, *mut core::ffi::c_void, u32, *mut u32) -> HRESULT;
type FindCloseFn = unsafe extern "system" fn(HANDLE) -> HRESULT;

// Looked at by the compiler alone; see computestorage.rs.
const _: FindFirstFn = flt::FilterFindFirst;
const _: FindNextFn = flt::FilterFindNext;
const _: FindCloseFn = flt::FilterFindClose;

const FLTLIB: [Function; 3] = [
    Function { library: "fltlib.dll", name: "FilterFindFirst", since: Some(Build::WINDOWS_7), page: None },
    Function { library: "fltlib.dll", name: "FilterFindNext", since: Some(Build::WINDOWS_7), page: None },
    Function { library: "fltlib.dll", name: "FilterFindClose", since: Some(Build::WINDOWS_7), page: None },
];

entries! {
    struct Entries of FLTLIB {
        first: FindFirstFn = "FilterFindFirst",
        next: FindNextFn = "FilterFindNext",
        close: FindCloseFn = "FilterFindClose",
    }
}

/// The largest buffer for one filter, in bytes.
const LARGEST_ENTRY: usize = 64 * 1024;

/// The file-system filter drivers that are loaded, as `fltmc filters` lists them. A driver of another product among
/// them is a frequent cause of failures that nothing else explains.
///
/// Needs an elevated process.
///
/// # Errors
/// [`Error::Call`], among them access denied; [`Error::Unavailable`].
pub fn filter_drivers() -> Result<Vec<FilterDriver>> {
    let library = Library::system("fltlib.dll");
    let entries = Entries::new();
    let (first, next, close) =
        (entries.first.get(&library)?, entries.next.get(&library)?, entries.close.get(&library)?);
    let mut found = Vec::new();
    let mut search: Option<HANDLE> = None;
    let result = loop {
        let step = one_filter(|buffer, size, returned| match search {
            None => {
                let mut handle: HANDLE = null_mut();
                // SAFETY: the function has this type; the buffer has the size that is said; the others are places for
                // answers.
                let code = unsafe {
                    first(flt::FilterAggregateStandardInformation, buffer, size, returned, &raw mut handle)
                };
                if code >= 0 {
                    search = Some(handle);
                }
                code
            }
            // SAFETY: as above, and the search was begun by `first` and is not closed.
            Some(handle) => unsafe {
                next(handle, flt::FilterAggregateStandardInformation, buffer, size, returned)
            },
        });
        match step {
            Ok(bytes) => found.extend(filters::parse(&bytes, OsString::from_wide)),
            Err(code) if code == HResult::from_win32(ERROR_NO_MORE_ITEMS) => break Ok(()),
            Err(code) => break Err(code),
        }
    };
    if let Some(handle) = search {
        // SAFETY: the search was begun by `first`, and is closed here alone.
        unsafe { close(handle) };
    }
    result.map(|()| found).map_err(|code| Error::Call {
        function: "FilterFindFirst",
        subject: "the list of filter drivers".into(),
        code,
    })
}

/// Asks for one filter, with a larger buffer when the first is too small.
fn one_filter(
    mut ask: impl FnMut(*mut core::ffi::c_void, u32, *mut u32) -> HRESULT,
) -> Result<Vec<u8>, HResult> {
    let mut size = 1024;
    loop {
        // Of u64 for its alignment: the entries are made of u32.
        let mut buffer = vec![0_u64; size / 8];
        let mut returned = 0_u32;
        let code = HResult(ask(buffer.as_mut_ptr().cast(), size as u32, &raw mut returned).cast_unsigned());
        if code.is_success() {
            let mut bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
            bytes.truncate(returned as usize);
            return Ok(bytes);
        }
        if code != HResult::from_win32(ERROR_INSUFFICIENT_BUFFER) || size >= LARGEST_ENTRY {
            return Err(code);
        }
        size *= 4;
    }
}
