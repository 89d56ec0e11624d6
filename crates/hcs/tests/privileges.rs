//! Privileges on a thread, asked of Windows itself.
#![cfg(windows)]
// What is compared with is asked of Windows without the code under test.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use layerstone_hcs::{Error, ErrorKind, Privilege, host, privilege};
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, LUID};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, GetTokenInformation, ImpersonateSelf, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW,
    RevertToSelf, SE_PRIVILEGE_ENABLED, SE_PRIVILEGE_REMOVED, SecurityImpersonation, TOKEN_ADJUST_PRIVILEGES,
    TOKEN_PRIVILEGES, TOKEN_QUERY, TokenPrivileges, TokenStatistics,
};
use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken};

/// The thread's own token, asked of Windows and not of the code under test.
fn thread_token() -> Option<HANDLE> {
    let mut token = null_mut();
    // SAFETY: a pseudo handle, and a place for the answer.
    let done = unsafe {
        OpenThreadToken(GetCurrentThread(), TOKEN_QUERY | TOKEN_ADJUST_PRIVILEGES, 1, &raw mut token)
    };
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
fn enabled(privilege: Privilege) -> Option<bool> {
    let token = thread_token()?;
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
fn token_id() -> Option<u64> {
    let token = thread_token()?;
    let mut statistics = [0_u32; 16];
    let mut length = 0;
    // SAFETY: the token is open for queries; TOKEN_STATISTICS has 56 bytes, of which the first 8 are the token's identifier.
    let done = unsafe {
        GetTokenInformation(token, TokenStatistics, statistics.as_mut_ptr().cast(), 64, &raw mut length)
    };
    // SAFETY: opened above.
    unsafe { CloseHandle(token) };
    assert_ne!(done, 0);
    Some(u64::from(statistics[0]) | u64::from(statistics[1]) << 32)
}

/// Gives the thread a token of its own, in which a privilege has these attributes.
fn impersonate(privilege: Privilege, attributes: u32) {
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

fn revert() {
    // SAFETY: no preconditions.
    assert_ne!(unsafe { RevertToSelf() }, 0);
}

#[test]
fn privileges_are_enabled_on_the_thread_and_given_back() {
    assert_eq!(token_id(), None, "the thread has a token before the test");
    let guard = privilege::enable(&[Privilege::Backup, Privilege::Restore]).unwrap();
    assert_eq!(guard.privileges(), [Privilege::Backup, Privilege::Restore]);
    assert_eq!(enabled(Privilege::Backup), Some(true));
    assert_eq!(enabled(Privilege::Restore), Some(true));
    drop(guard);
    assert_eq!(token_id(), None);
}

#[test]
fn another_thread_does_not_get_them() {
    let _guard = privilege::enable(&[Privilege::Backup]).unwrap();
    std::thread::spawn(|| assert_eq!(token_id(), None)).join().unwrap();
    assert_eq!(enabled(Privilege::Backup), Some(true));
}

#[test]
fn guards_nest() {
    let outer = privilege::enable(&[Privilege::Backup]).unwrap();
    let of_outer = token_id();
    {
        let _inner = privilege::enable(&[Privilege::ManageVolume]).unwrap();
        assert_eq!((enabled(Privilege::Backup), enabled(Privilege::ManageVolume)), (Some(true), Some(true)));
        assert_ne!(token_id(), of_outer);
    }
    assert_eq!(token_id(), of_outer);
    drop(outer);
    assert_eq!(token_id(), None);
}

#[test]
fn guards_that_are_dropped_out_of_order_give_everything_back_in_the_end() {
    let first = privilege::enable(&[Privilege::Backup]).unwrap();
    let second = privilege::enable(&[Privilege::Restore]).unwrap();
    let third = privilege::enable(&[Privilege::ManageVolume]).unwrap();
    drop(second);
    assert_eq!(enabled(Privilege::ManageVolume), Some(true));
    drop(first);
    assert_eq!(enabled(Privilege::ManageVolume), Some(true));
    drop(third);
    assert_eq!(token_id(), None);
}

#[test]
fn a_panic_gives_them_back() {
    let panicked = std::panic::catch_unwind(|| {
        let _guard = privilege::enable(&[Privilege::Backup]).unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.is_err());
    assert_eq!(token_id(), None);
}

#[test]
fn a_thread_that_impersonates_gets_the_very_token_back_unchanged() {
    impersonate(Privilege::Backup, 0);
    let before = token_id();
    assert_eq!(enabled(Privilege::Backup), Some(false));
    let guard = privilege::enable(&[Privilege::Backup]).unwrap();
    assert_eq!(enabled(Privilege::Backup), Some(true));
    drop(guard);
    assert_eq!((token_id(), enabled(Privilege::Backup)), (before, Some(false)));
    revert();
}

#[test]
fn a_privilege_that_is_not_held_is_named_and_nothing_is_enabled() {
    impersonate(Privilege::Security, SE_PRIVILEGE_REMOVED);
    let before = token_id();
    let error = privilege::enable(&[Privilege::Backup, Privilege::Security]).unwrap_err();
    assert!(matches!(error, Error::Privilege { privilege: Privilege::Security }), "{error}");
    assert_eq!(error.kind(), ErrorKind::PrivilegeNotHeld);
    assert_eq!(token_id(), before);

    // What can be done without is left out.
    let guard = privilege::enable_held(&[Privilege::Security, Privilege::Backup]).unwrap();
    assert_eq!(guard.privileges(), [Privilege::Backup]);
    assert_eq!(enabled(Privilege::Backup), Some(true));
    drop(guard);
    assert_eq!(token_id(), before);
    revert();
}

#[test]
fn many_threads_do_not_disturb_each_other() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let guard = privilege::enable(&[Privilege::Backup, Privilege::Restore]).unwrap();
                    assert_eq!(enabled(Privilege::Restore), Some(true));
                    drop(guard);
                    assert_eq!(token_id(), None);
                }
            });
        }
    });
}

#[test]
fn privileges_of_the_process_stay() {
    privilege::enable_for_process(&[Privilege::ManageVolume]).unwrap();
    let states = host::privileges().unwrap();
    assert_eq!(states.len(), Privilege::ALL.len());
    let state = states.iter().find(|state| state.privilege == Privilege::ManageVolume).unwrap();
    assert!(state.held && state.enabled, "{state:?}");
    assert_eq!(token_id(), None);
}
