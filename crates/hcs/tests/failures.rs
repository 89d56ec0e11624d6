//! What becomes of codes, memory, retries and threads.
#![cfg(windows)]

mod standin;

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use layerstone_hcs::{
    BaseOs, Build, Error, ErrorKind, FilterType, Guid, HResult, LayerChain, OsLayerOptions, Retry,
};
use standin::Standin;

const LAYER: &str = r"C:\layers\new";

#[test]
fn a_negative_code_is_an_error_with_the_function_the_layer_and_the_code() {
    let Some(standin) = Standin::new("a_negative_code_is_an_error_with_the_function_the_layer_and_the_code")
    else {
        return;
    };
    let storage = standin.storage();
    for (code, kind) in [
        (0x8007_0005, ErrorKind::AccessDenied),
        (0xC007_0003, ErrorKind::NotFound),
        (0x8037_0112, ErrorKind::InvalidLayer),
        (0xC037_0112, ErrorKind::InvalidLayer),
        (0xC000_0420, ErrorKind::InUse),
        (0x8007_FFFF, ErrorKind::Other),
    ] {
        let standin_code = HResult(code);
        standin.fail("HcsImportLayer", 0, code);
        let error =
            storage.import_layer(Path::new(LAYER), Path::new(r"C:\source"), &LayerChain::base()).unwrap_err();
        let Error::Call { function, subject, code } = &error else { panic!("{error}") };
        assert_eq!((*function, subject.as_path(), *code), ("HcsImportLayer", Path::new(LAYER), standin_code));
        assert_eq!(error.kind(), kind);
        assert_eq!(standin.functions(), ["HcsImportLayer"], "it was tried again");
        standin.reset();
    }
}

#[test]
fn s_false_is_a_success() {
    let Some(standin) = Standin::new("s_false_is_a_success") else { return };
    standin.fail("HcsImportLayer", 0, 1);
    standin.storage().import_layer(Path::new(LAYER), Path::new(r"C:\source"), &LayerChain::base()).unwrap();
}

#[test]
fn a_mount_path_is_copied_and_freed() {
    let Some(standin) = Standin::new("a_mount_path_is_copied_and_freed") else { return };
    let (storage, file) = (standin.storage(), tempfile::tempfile().unwrap());
    for _ in 0..100 {
        let path = storage.layer_vhd_mount_path(&file).unwrap();
        assert_eq!(path, Path::new(r"\\?\Volume{00000000-0000-0000-0000-000000000000}"));
    }
    assert_eq!(standin.live_allocations(), 0);
}

#[test]
fn a_mount_path_that_is_null_or_empty_is_an_empty_path() {
    let Some(standin) = Standin::new("a_mount_path_that_is_null_or_empty_is_an_empty_path") else { return };
    let (storage, file) = (standin.storage(), tempfile::tempfile().unwrap());
    for kind in [1, 2] {
        standin.mount_path(kind);
        assert_eq!(storage.layer_vhd_mount_path(&file).unwrap(), PathBuf::new());
        assert_eq!(standin.live_allocations(), 0);
    }
}

#[test]
fn a_mount_path_that_is_no_utf_16_is_kept_and_freed() {
    let Some(standin) = Standin::new("a_mount_path_that_is_no_utf_16_is_kept_and_freed") else { return };
    let (storage, file) = (standin.storage(), tempfile::tempfile().unwrap());
    standin.mount_path(3);
    let path = storage.layer_vhd_mount_path(&file).unwrap();
    let expected =
        OsStr::new(r"\\?\Volume{00000000-0000-0000-0000-000000000000}").encode_wide().chain([0xD800]);
    assert!(path.as_os_str().encode_wide().eq(expected), "{path:?}");
    assert_eq!(standin.live_allocations(), 0);
}

#[test]
fn a_failed_mount_path_is_an_error_that_names_the_handle() {
    let Some(standin) = Standin::new("a_failed_mount_path_is_an_error_that_names_the_handle") else { return };
    standin.fail("HcsGetLayerVhdMountPath", 0, 0x8007_0490);
    let file = tempfile::tempfile().unwrap();
    let error = standin.storage().layer_vhd_mount_path(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("handle 0x"), "{error}");
    assert_eq!(standin.live_allocations(), 0);
}

#[test]
fn a_filter_that_is_in_use_is_detached_a_little_later() {
    let Some(standin) = Standin::new("a_filter_that_is_in_use_is_detached_a_little_later") else { return };
    let storage = standin.storage();
    for nth in [1, 2] {
        standin.fail("HcsDetachLayerStorageFilter", nth, 0x801F_0010);
        standin.fail("HcsDetachOverlayFilter", nth, 0x801F_0010);
    }
    storage.detach_layer_storage_filter(Path::new(LAYER)).unwrap();
    assert_eq!(standin.functions(), ["HcsDetachLayerStorageFilter"; 3]);
    storage.detach_overlay_filter(Path::new(LAYER), FilterType::UnionFs).unwrap();
    assert_eq!(standin.functions(), ["HcsDetachOverlayFilter"; 3]);
}

#[test]
fn patience_ends_and_the_last_code_is_told() {
    let Some(standin) = Standin::new("patience_ends_and_the_last_code_is_told") else { return };
    let retry = Retry { attempts: 3, delay: Duration::from_millis(30) };
    let storage = standin.storage().with_retry(Retry::NEVER, retry);
    standin.fail("HcsDetachLayerStorageFilter", 0, 0x801F_0010);
    let start = Instant::now();
    let error = storage.detach_layer_storage_filter(Path::new(LAYER)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(60));
    assert_eq!((error.code(), error.kind()), (Some(HResult::DO_NOT_DETACH), ErrorKind::InUse));
    assert_eq!(standin.functions(), ["HcsDetachLayerStorageFilter"; 3]);
}

#[test]
fn a_sharing_violation_is_waited_out_when_a_layer_is_destroyed() {
    let Some(standin) = Standin::new("a_sharing_violation_is_waited_out_when_a_layer_is_destroyed") else {
        return;
    };
    standin.fail("HcsDestroyLayer", 1, 0x8007_0020);
    standin.storage().destroy_layer(Path::new(LAYER)).unwrap();
    assert_eq!(standin.functions(), ["HcsDestroyLayer"; 2]);
}

#[test]
fn a_layer_that_is_still_there_was_not_destroyed() {
    let Some(standin) = Standin::new("a_layer_that_is_still_there_was_not_destroyed") else { return };
    let directory = tempfile::tempdir().unwrap();
    // The function deletes the folder, or says so and leaves it; a stand-in that deletes has to be kept from it.
    let layer = directory.path().join("layer");
    std::fs::create_dir(&layer).unwrap();
    let held = std::fs::File::create(layer.join("held")).unwrap();
    standin.fail("HcsDestroyLayer", 0, 0);
    let error = standin.storage().destroy_layer(&layer).unwrap_err();
    drop(held);
    let Error::StillThere { function, path } = &error else { panic!("{error}") };
    assert_eq!((*function, path), ("HcsDestroyLayer", &layer));
    assert_eq!(error.kind(), ErrorKind::InUse);

    standin.fail("DestroyLayer", 0, 0);
    let error = standin.vmcompute().destroy_layer(&layer).unwrap_err();
    assert!(matches!(error, Error::StillThere { function: "DestroyLayer", .. }), "{error}");
}

#[test]
fn a_base_volume_is_not_set_up_by_a_windows_that_is_too_old() {
    let Some(standin) = Standin::new("a_base_volume_is_not_set_up_by_a_windows_that_is_too_old") else {
        return;
    };
    let (layer, volume) = (Path::new(LAYER), Path::new(r"\\?\Volume{x}\"));
    let old = standin.storage().with_build(Build(17763));
    let error = old.setup_base_os_volume(layer, volume, &OsLayerOptions::default()).unwrap_err();
    let Error::Build { function, needed, found } = &error else { panic!("{error}") };
    assert_eq!((*function, needed.0, found.0), ("HcsSetupBaseOSVolume", 19645, 17763));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(standin.calls(), []);

    let first = standin.storage().with_build(Build(19645));
    first.setup_base_os_volume(layer, volume, &OsLayerOptions::default()).unwrap();
    assert_eq!(standin.functions(), ["HcsSetupBaseOSVolume"]);
    // The other setup is older.
    old.setup_base_os_layer(layer, BaseOs::Container, &OsLayerOptions::default()).unwrap();
}

#[test]
fn many_threads_call_at_once() {
    let Some(standin) = Standin::new("many_threads_call_at_once") else { return };
    let storage = standin.storage();
    standin.delay("HcsAttachLayerStorageFilter", 20);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let storage = &storage;
            scope.spawn(move || {
                let mut chain = LayerChain::base();
                chain.push(Guid::from_u128(thread), format!(r"C:\layers\{thread}"));
                for _ in 0..5 {
                    let scratch = PathBuf::from(format!(r"C:\scratch\{thread}"));
                    storage.attach_layer_storage_filter(&scratch, &chain).unwrap();
                }
            });
        }
    });
    let calls = standin.calls();
    assert_eq!(calls.len(), 40);
    for call in &calls {
        // No call has another's strings.
        let path = call.argument("layerPath").as_str().unwrap();
        let thread = path.rsplit('\\').next().unwrap();
        let data = call.argument("layerData").as_str().unwrap();
        assert!(data.contains(&format!(r"C:\\layers\\{thread}")), "{path} {data}");
    }
    assert!(standin.most_at_once("HcsAttachLayerStorageFilter") > 1);
}
