//! Access of virtual machines to files of the host.

use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, GENERIC_READ, GENERIC_WRITE, HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSidToSidW, EXPLICIT_ACCESS_W, GRANT_ACCESS, GetNamedSecurityInfoW, NO_MULTIPLE_TRUSTEE,
    SE_FILE_OBJECT, SetEntriesInAclW, SetNamedSecurityInfoW, TRUSTEE_IS_SID, TRUSTEE_IS_WELL_KNOWN_GROUP,
    TRUSTEE_W,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, NO_INHERITANCE, PSECURITY_DESCRIPTOR, PSID,
};

use super::dll::last_error;
use super::wide::WideString;
use crate::error::{Error, Result};
use crate::hresult::HResult;

/// `NT VIRTUAL MACHINE\Virtual Machines`: every virtual machine of the host.
const VIRTUAL_MACHINES: &str = "S-1-5-83-0";

/// What the virtual machines of this host may do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmAccess {
    /// Read it: disks that others are made from.
    Read,
    /// Read and write it: the disk of a scratch.
    ReadWrite,
}

/// Something of Windows that `LocalFree` frees.
struct Local<T>(*mut T);

impl<T> Drop for Local<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is null or came from a function that says that LocalFree frees it; it is freed once.
        unsafe { LocalFree(self.0 as HLOCAL) };
    }
}

/// Lets every virtual machine of this host read a file, or write it too. Who else may do what stays as it is.
///
/// # Errors
/// [`Error::Call`]; [`Error::Nul`].
pub fn grant_vm_group_access(path: &Path, access: VmAccess) -> Result<()> {
    let name = WideString::from_path(path)?;
    let failed = |function, code| Error::Call { function, subject: path.to_owned(), code };
    let status = |function, status: u32| match status {
        ERROR_SUCCESS => Ok(()),
        code => Err(failed(function, HResult::from_win32(code))),
    };

    let text: Vec<u16> = VIRTUAL_MACHINES.encode_utf16().chain([0]).collect();
    let mut sid = Local::<core::ffi::c_void>(null_mut());
    // SAFETY: the text ends with a NUL; `sid` is a place for the answer, which LocalFree frees.
    if unsafe { ConvertStringSidToSidW(text.as_ptr(), (&raw mut sid.0).cast::<PSID>()) } == 0 {
        return Err(failed("ConvertStringSidToSid", last_error()));
    }

    let mut dacl: *mut ACL = null_mut();
    let mut descriptor = Local::<core::ffi::c_void>(null_mut());
    // SAFETY: the name ends with a NUL; the places for owner, group and SACL may be null because they are not asked for; `dacl`
    // will point into the descriptor, which LocalFree frees at the end of this function.
    let read = unsafe {
        GetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            &raw mut dacl,
            null_mut(),
            (&raw mut descriptor.0).cast::<PSECURITY_DESCRIPTOR>(),
        )
    };
    status("GetNamedSecurityInfo", read)?;

    let rights = match access {
        VmAccess::Read => GENERIC_READ,
        VmAccess::ReadWrite => GENERIC_READ | GENERIC_WRITE,
    };
    let entry = EXPLICIT_ACCESS_W {
        grfAccessPermissions: rights,
        grfAccessMode: GRANT_ACCESS,
        grfInheritance: NO_INHERITANCE,
        Trustee: TRUSTEE_W {
            pMultipleTrustee: null_mut(),
            MultipleTrusteeOperation: NO_MULTIPLE_TRUSTEE,
            TrusteeForm: TRUSTEE_IS_SID,
            TrusteeType: TRUSTEE_IS_WELL_KNOWN_GROUP,
            ptstrName: sid.0.cast(),
        },
    };
    let mut changed = Local::<ACL>(null_mut());
    // SAFETY: there is one entry; its trustee is a SID that lives until the end of this function, as does the old list; `changed` is
    // a place for the answer, which LocalFree frees.
    let merged = unsafe { SetEntriesInAclW(1, &raw const entry, dacl, &raw mut changed.0) };
    status("SetEntriesInAcl", merged)?;

    // SAFETY: the name ends with a NUL and is only read; the list is valid until the end of this function; the parts that are
    // not set may be null.
    let set = unsafe {
        SetNamedSecurityInfoW(
            name.as_ptr().cast_mut(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            changed.0,
            null(),
        )
    };
    status("SetNamedSecurityInfo", set)
}
