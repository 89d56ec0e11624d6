//! Tokens of threads, asked of Windows without the code under test.
#![allow(unsafe_code, dead_code, reason = "each test program uses a part of it")]

use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;
use std::thread::JoinHandle;

use layerstone_hcs::Privilege;
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, LUID};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, GetTokenInformation, ImpersonateSelf, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW,
    RevertToSelf, SE_PRIVILEGE_ENABLED, SecurityImpersonation, TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES,
    TOKEN_QUERY, TokenPrivileges, TokenStatistics,
};
use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken};

/// Takes a privilege out of a token, for [`impersonate`].
pub(crate) const REMOVED: u32 = windows_sys::Win32::Security::SE_PRIVILEGE_REMOVED;

/// The thread's own token, asked of Windows and not of the code under test.
fn thread_token() -> Option<HANDLE> {
    // SAFETY: a pseudo handle is always open.
    unsafe { token_of(GetCurrentThread()) }
}

/// The token of a thread.
///
/// # Safety
/// `thread` is an open handle.
unsafe fn token_of(thread: HANDLE) -> Option<HANDLE> {
    let mut token = null_mut();
    // SAFETY: an open handle, and a place for the answer.
    let done = unsafe { OpenThreadToken(thread, TOKEN_QUERY | TOKEN_ADJUST_PRIVILEGES, 1, &raw mut token) };
    (done != 0).then_some(token)
}

fn luid(privilege: Privilege) -> LUID {
    let name: Vec<u16> = privilege.name().encode_utf16().chain([0]).collect();
    let mut luid = LUID::default();
    // SAFETY: the name ends with NUL, and `luid` is a place for the answer.
    assert_ne!(unsafe { LookupPrivilegeValueW(std::ptr::null(), name.as_ptr(), &raw mut luid) }, 0);
    luid
}

/// Whether a privilege is enabled on this thread; `None` when the thread has no token of its own.
pub(crate) fn enabled(privilege: Privilege) -> Option<bool> {
    in_token(thread_token()?, privilege)
}

/// The same for another thread.
pub(crate) fn enabled_on<T>(thread: &JoinHandle<T>, privilege: Privilege) -> Option<bool> {
    // SAFETY: the handle is open for as long as it is borrowed.
    in_token(unsafe { token_of(thread.as_raw_handle()) }?, privilege)
}

/// Asks a token, and closes it.
fn in_token(token: HANDLE, privilege: Privilege) -> Option<bool> {
    let mut buffer = vec![0_u64; 512];
    let mut length = 0;
    // SAFETY: the token is open for queries; the buffer has as many bytes as is said.
    let done = unsafe {
        GetTokenInformation(token, TokenPrivileges, buffer.as_mut_ptr().cast(), 4096, &raw mut length)
    };
    // SAFETY: opened above.
    unsafe { CloseHandle(token) };
    assert_ne!(done, 0);
    let privileges = buffer.as_ptr().cast::<TOKEN_PRIVILEGES>();
    // SAFETY: filled in by the call, which succeeded; as many entries as it says follow.
    let entries = unsafe {
        let count = (*privileges).PrivilegeCount as usize;
        std::slice::from_raw_parts((&raw const (*privileges).Privileges).cast::<LUID_AND_ATTRIBUTES>(), count)
    };
    let wanted = luid(privilege);
    let found = entries
        .iter()
        .find(|entry| (entry.Luid.LowPart, entry.Luid.HighPart) == (wanted.LowPart, wanted.HighPart));
    Some(found.is_some_and(|entry| entry.Attributes & SE_PRIVILEGE_ENABLED != 0))
}

/// Which token the thread has: its identifier.
pub(crate) fn token_id() -> Option<u64> {
    let token = thread_token()?;
    let mut statistics = [0_u32; 16];
    let mut length = 0;
    // SAFETY: the token is open for queries; TOKEN_STATISTICS has 56 bytes, of which the first 8 are the token's
    // identifier.
    let done = unsafe {
        GetTokenInformation(token, TokenStatistics, statistics.as_mut_ptr().cast(), 64, &raw mut length)
    };
    // SAFETY: opened above.
    unsafe { CloseHandle(token) };
    assert_ne!(done, 0);
    Some(u64::from(statistics[0]) | u64::from(statistics[1]) << 32)
}

/// Gives the thread a token of its own, in which a privilege has these attributes.
pub(crate) fn impersonate(privilege: Privilege, attributes: u32) {
    // SAFETY: no preconditions.
    assert_ne!(unsafe { ImpersonateSelf(SecurityImpersonation) }, 0);
    let token = thread_token().unwrap();
    let new = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES { Luid: luid(privilege), Attributes: attributes }],
    };
    // SAFETY: the token is open for it; one privilege is given, as is said.
    let done = unsafe { AdjustTokenPrivileges(token, 0, &raw const new, 0, null_mut(), null_mut()) };
    // SAFETY: opened above.
    unsafe { CloseHandle(token) };
    assert_ne!(done, 0);
}

pub(crate) fn revert() {
    // SAFETY: no preconditions.
    assert_ne!(unsafe { RevertToSelf() }, 0);
}

/// Whether the process holds what the tests enable; says so when it does not. Wine always does.
#[track_caller]
pub(crate) fn held(test: &str) -> bool {
    let missing: Vec<_> = layerstone_hcs::host::privileges()
        .unwrap()
        .into_iter()
        .filter(|state| !state.held)
        .map(|state| state.privilege.name())
        .collect();
    if !missing.is_empty() {
        layerstone_testing::skip(
            test,
            format_args!("the process is not elevated, and lacks {}", missing.join(", ")),
        );
    }
    missing.is_empty()
}
