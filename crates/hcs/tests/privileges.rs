//! Privileges on a thread, asked of Windows itself.
#![cfg(windows)]

mod token;

use layerstone_hcs::{Error, ErrorKind, Privilege, host, privilege};
use token::{REMOVED, enabled, held, impersonate, revert, token_id};

#[test]
fn privileges_are_enabled_on_the_thread_and_given_back() {
    if !held("privileges_are_enabled_on_the_thread_and_given_back") {
        return;
    }
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
    if !held("another_thread_does_not_get_them") {
        return;
    }
    let _guard = privilege::enable(&[Privilege::Backup]).unwrap();
    std::thread::spawn(|| assert_eq!(token_id(), None)).join().unwrap();
    assert_eq!(enabled(Privilege::Backup), Some(true));
}

#[test]
fn guards_nest() {
    if !held("guards_nest") {
        return;
    }
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
    if !held("guards_that_are_dropped_out_of_order_give_everything_back_in_the_end") {
        return;
    }
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
    if !held("a_panic_gives_them_back") {
        return;
    }
    let panicked = std::panic::catch_unwind(|| {
        let _guard = privilege::enable(&[Privilege::Backup]).unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.is_err());
    assert_eq!(token_id(), None);
}

#[test]
fn a_thread_that_impersonates_gets_the_very_token_back_unchanged() {
    if !held("a_thread_that_impersonates_gets_the_very_token_back_unchanged") {
        return;
    }
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
    if !held("a_privilege_that_is_not_held_is_named_and_nothing_is_enabled") {
        return;
    }
    impersonate(Privilege::Security, REMOVED);
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
    if !held("many_threads_do_not_disturb_each_other") {
        return;
    }
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
    if !held("privileges_of_the_process_stay") {
        return;
    }
    privilege::enable_for_process(&[Privilege::ManageVolume]).unwrap();
    let states = host::privileges().unwrap();
    assert_eq!(states.len(), Privilege::ALL.len());
    let state = states.iter().find(|state| state.privilege == Privilege::ManageVolume).unwrap();
    assert!(state.held && state.enabled, "{state:?}");
    assert_eq!(token_id(), None);
}
