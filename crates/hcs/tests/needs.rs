//! Calls have the privileges that they need, on their thread, for as long as they run.
#![cfg(windows)]

mod standin;
mod token;

use std::path::Path;
use std::time::{Duration, Instant};

use layerstone_hcs::virtdisk::{AttachFlags, CreateDisk};
use layerstone_hcs::{BaseOs, Error, LayerChain, OsLayerOptions, Privilege};
use standin::Standin;
use token::{REMOVED, enabled_on, impersonate, revert, token_id};

const LAYER: &str = r"C:\layers\new";

/// What a thread has enabled while it is in a call that takes a while; empty when it has no token of its own.
fn during(standin: &Standin, function: &str, call: impl FnOnce() + Send + 'static) -> Vec<Privilege> {
    standin.delay(function, 1000);
    let thread = std::thread::spawn(move || {
        assert_eq!(token_id(), None);
        call();
        // Given back before the call returns.
        assert_eq!(token_id(), None);
    });
    let start = Instant::now();
    while standin.most_at_once(function) == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{function} is not called");
        std::thread::sleep(Duration::from_millis(1));
    }
    let enabled = Privilege::ALL
        .into_iter()
        .filter(|privilege| enabled_on(&thread, *privilege) == Some(true))
        .collect();
    assert!(!thread.is_finished(), "looked too late");
    thread.join().unwrap();
    enabled
}

#[test]
fn writing_a_layer_has_backup_restore_and_security() {
    let Some(standin) = Standin::new("writing_a_layer_has_backup_restore_and_security") else { return };
    let write = [Privilege::Backup, Privilege::Restore, Privilege::Security];
    let storage = standin.storage();
    let enabled = during(&standin, "HcsImportLayer", move || {
        storage.import_layer(Path::new(LAYER), Path::new(r"C:\source"), &LayerChain::base()).unwrap();
    });
    assert_eq!(enabled, write);
    let storage = standin.storage();
    let enabled = during(&standin, "HcsSetupBaseOSLayer", move || {
        storage.setup_base_os_layer(Path::new(LAYER), BaseOs::Container, &OsLayerOptions::default()).unwrap();
    });
    assert_eq!(enabled, write);
}

#[test]
fn attaching_a_disk_has_manage_volume() {
    let Some(standin) = Standin::new("attaching_a_disk_has_manage_volume") else { return };
    let vmcompute = standin.vmcompute();
    let enabled = during(&standin, "ActivateLayer", move || {
        vmcompute.activate_layer(Path::new(LAYER)).unwrap();
    });
    assert_eq!(enabled, [Privilege::ManageVolume]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.vhdx");
    let disk = standin.virtdisk().create(&path, &CreateDisk::dynamic(1 << 30)).unwrap();
    let enabled = during(&standin, "AttachVirtualDisk", move || disk.attach(AttachFlags::NONE).unwrap());
    assert_eq!(enabled, [Privilege::ManageVolume]);
}

#[test]
fn a_call_that_needs_none_has_none() {
    let Some(standin) = Standin::new("a_call_that_needs_none_has_none") else { return };
    let storage = standin.storage();
    let enabled = during(&standin, "HcsAttachLayerStorageFilter", move || {
        storage.attach_layer_storage_filter(Path::new(LAYER), &LayerChain::base()).unwrap();
    });
    assert_eq!(enabled, []);
}

#[test]
fn a_call_that_fails_gives_them_back_too() {
    let Some(standin) = Standin::new("a_call_that_fails_gives_them_back_too") else { return };
    standin.fail("HcsImportLayer", 0, 0x8007_0005);
    let storage = standin.storage();
    storage.import_layer(Path::new(LAYER), Path::new(r"C:\source"), &LayerChain::base()).unwrap_err();
    assert_eq!(token_id(), None);
}

#[test]
fn without_a_privilege_nothing_is_called_and_it_is_named() {
    let Some(standin) = Standin::new("without_a_privilege_nothing_is_called_and_it_is_named") else { return };
    let (storage, vmcompute) = (standin.storage(), standin.vmcompute());
    impersonate(Privilege::Restore, REMOVED);
    let error =
        storage.import_layer(Path::new(LAYER), Path::new(r"C:\source"), &LayerChain::base()).unwrap_err();
    assert!(matches!(error, Error::Privilege { privilege: Privilege::Restore }), "{error}");
    assert_eq!(standin.calls(), []);
    // What an account may do with its own layers goes on without.
    storage.destroy_layer(Path::new(LAYER)).unwrap();
    assert_eq!(standin.functions(), ["HcsDestroyLayer"]);
    revert();

    impersonate(Privilege::ManageVolume, REMOVED);
    let error = vmcompute.activate_layer(Path::new(LAYER)).unwrap_err();
    assert!(matches!(error, Error::Privilege { privilege: Privilege::ManageVolume }), "{error}");
    assert_eq!(standin.calls(), []);
    revert();
}
