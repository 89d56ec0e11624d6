//! The orders of calls as the DLLs of Windows get them, over a DLL that stands in for them.
#![cfg(windows)]

#[path = "../../hcs/tests/standin/mod.rs"]
mod standin;

use std::fs;
use std::path::Path;

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::storage::{
    BaseOptions, Error, Hcs, ImportArchiveOptions, LayerStorage as _, ScratchDisk, ScratchLayer,
    ScratchOptions, import_archive, process_base_layer,
};
use serde_json::Value;
use standin::Standin;

/// The functions of a scratch on an empty disk, from nothing to its mount.
const CREATE: [&str; 7] = [
    "CreateVirtualDisk",
    "OpenVirtualDisk",
    "HcsFormatWritableLayerVhd",
    "AttachVirtualDisk",
    "HcsGetLayerVhdMountPath",
    "HcsInitializeWritableLayer",
    "HcsAttachLayerStorageFilter",
];

fn empty() -> ScratchOptions {
    ScratchOptions { disk: ScratchDisk::Empty, ..ScratchOptions::default() }
}

#[test]
fn a_scratch_is_made_detached_attached_and_destroyed_by_the_functions_in_their_order() {
    const TEST: &str = "a_scratch_is_made_detached_attached_and_destroyed_by_the_functions_in_their_order";
    let Some(standin) = Standin::new(TEST) else { return };
    let (storage, vm, disks) = (standin.storage(), standin.vmcompute(), standin.virtdisk());
    let hcs = Hcs::with(&storage, &vm, &disks);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("layer")).unwrap();
    fs::create_dir(path("base")).unwrap();
    let chain = hcs.chain(&[path("layer"), path("base")]).unwrap();
    assert_eq!(standin.functions(), ["NameToGuid", "NameToGuid"]);

    let scratch = ScratchLayer::create(&hcs, &path("scratch"), &chain, &empty()).unwrap();
    let calls = standin.calls();
    assert_eq!(calls.iter().map(|call| call.function.as_str()).collect::<Vec<_>>(), CREATE);
    let mount = scratch.mount_path();
    let mount = mount.to_str().unwrap();
    assert!(mount.starts_with(r"\\?\Volume{") && mount.ends_with('\\'), "{mount}");
    // What the volume is called is what the last two calls get.
    for call in &calls[5..] {
        assert!(call.arguments.iter().any(|(_, value)| value == mount), "{call:?}");
        let document: Vec<_> = call.arguments.iter().filter_map(|(_, value)| value.as_str()).collect();
        let document = document.iter().find(|text| text.starts_with('{')).unwrap();
        let document: Value = serde_json::from_str(document).unwrap();
        let layers: Vec<_> =
            document["Layers"].as_array().unwrap().iter().map(|layer| &layer["Path"]).collect();
        assert_eq!(layers, [path("layer").to_str().unwrap(), path("base").to_str().unwrap()]);
    }

    let detached = scratch.detach().unwrap();
    assert_eq!(standin.functions(), ["HcsDetachLayerStorageFilter", "OpenVirtualDisk", "DetachVirtualDisk"]);
    drop(detached.attach(&hcs).unwrap());
    assert_eq!(
        standin.functions(),
        [
            "OpenVirtualDisk",
            "AttachVirtualDisk",
            "HcsGetLayerVhdMountPath",
            "HcsAttachLayerStorageFilter",
            "HcsDetachLayerStorageFilter",
            "OpenVirtualDisk",
            "DetachVirtualDisk"
        ]
    );
    let scratch = ScratchLayer::open(&hcs, &path("scratch"), &chain).unwrap();
    // The stand-in says that it destroyed the folder and does nothing, as Windows has done; this is noticed.
    let error = scratch.destroy().unwrap_err();
    assert!(error.to_string().contains("still there"), "{error}");
    assert_eq!(standin.functions().last().unwrap(), "HcsDestroyLayer");
}

#[test]
fn whichever_function_fails_the_disk_is_detached_and_no_folder_stays() {
    const TEST: &str = "whichever_function_fails_the_disk_is_detached_and_no_folder_stays";
    let Some(standin) = Standin::new(TEST) else { return };
    let (storage, vm, disks) = (standin.storage(), standin.vmcompute(), standin.virtdisk());
    let hcs = Hcs::with(&storage, &vm, &disks);
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    let chain = hcs.chain(&[base]).unwrap();
    for (index, function) in CREATE.into_iter().enumerate() {
        standin.calls();
        standin.fail(function, 1, 0x8007_0005);
        let error = ScratchLayer::create(&hcs, &dir.path().join("scratch"), &chain, &empty()).unwrap_err();
        assert_eq!(error.hresult().0, 0x8007_0005, "{function}: {error:?}");
        let called = standin.functions();
        assert_eq!(called[..=index], CREATE[..=index], "{function}");
        let undone = if index > 3 { vec!["DetachVirtualDisk"] } else { vec![] };
        let undone_calls: Vec<_> =
            called[index + 1..].iter().filter(|call| *call != "OpenVirtualDisk").collect();
        assert_eq!(undone_calls, undone, "{function}");
        assert!(!dir.path().join("scratch").exists(), "{function}");
        standin.reset();
    }
}

fn write(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn a_base_layer_is_set_up_by_the_functions_in_their_order() {
    const TEST: &str = "a_base_layer_is_set_up_by_the_functions_in_their_order";
    let Some(standin) = Standin::new(TEST) else { return };
    let (storage, vm, disks) = (standin.storage(), standin.vmcompute(), standin.virtdisk());
    let hcs = Hcs::with(&storage, &vm, &disks);
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    for hive in layerstone_store::storage::CONFIG_HIVES {
        write(&base.join(r"Files\Windows\System32\config").join(hive));
    }
    write(&base.join(r"UtilityVM\Files\EFI\Microsoft\Boot\BCD"));
    let made = process_base_layer(&hcs, &base, &BaseOptions::default()).unwrap();
    assert!(made.utility_vm);
    assert_eq!(
        standin.functions(),
        [
            "CreateVirtualDisk",
            "HcsFormatWritableLayerVhd",
            "HcsSetupBaseOSLayer",
            "CreateVirtualDisk",
            "CreateVirtualDisk",
            "AttachVirtualDisk",
            "HcsSetupBaseOSLayer",
            "DetachVirtualDisk",
            "CreateVirtualDisk",
        ]
    );
    for disk in ["blank-base.vhdx", "blank.vhdx"] {
        assert!(base.join(disk).is_file(), "{disk}");
    }
    for disk in ["SystemTemplateBase.vhdx", "SystemTemplate.vhdx"] {
        assert!(base.join("UtilityVM").join(disk).is_file(), "{disk}");
    }
}

#[test]
fn files_that_cannot_be_restored_as_a_backup_make_the_import_fail_by_name() {
    const TEST: &str = "files_that_cannot_be_restored_as_a_backup_make_the_import_fail_by_name";
    let Some(standin) = Standin::new(TEST) else { return };
    let (storage, vm, disks) = (standin.storage(), standin.vmcompute(), standin.virtdisk());
    let hcs = Hcs::with(&storage, &vm, &disks);
    let dir = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    for hive in layerstone_store::storage::CONFIG_HIVES {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("Files/Windows/System32/config/{hive}"), &b"x"[..]).unwrap();
    }
    let archive = tar.into_inner().unwrap();
    let layer = dir.path().join("base");
    let imported = import_archive(
        &hcs,
        &layer,
        archive.as_slice(),
        &LayerChain::base(),
        &ImportArchiveOptions::default(),
    );
    match imported {
        // Windows.
        Ok(_) => assert_eq!(fs::read(layer.join(r"Files\Windows\System32\config\SAM")).unwrap(), b"x"),
        // Wine has no `BackupWrite`.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            let Error::Step { step, undo, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*step, "write the layer's files");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.starts_with("BackupWrite on ") && cause.contains("ERROR_NOT_SUPPORTED"), "{cause}");
            // The stand-in destroys nothing, which is noticed.
            assert_eq!(undo.iter().map(|failure| failure.step).collect::<Vec<_>>(), ["remove the layer"]);
        }
    }
}
