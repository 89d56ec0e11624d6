//! Virtual disks: parameters, handles, and formatting by build.
#![cfg(windows)]

mod standin;

use std::os::windows::io::AsHandle;
use std::path::Path;

use layerstone_hcs::virtdisk::{AttachFlags, BLOCK_SIZE, CreateDisk};
use layerstone_hcs::{Build, Error, ErrorKind, HResult};
use serde_json::{Value, json};
use standin::Standin;

const GIB: u64 = 1 << 30;

#[test]
fn a_disk_is_made_with_parameters_of_version_2() {
    let Some(standin) = Standin::new("a_disk_is_made_with_parameters_of_version_2") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blank-base.vhdx");
    let disk = standin.virtdisk().create(&path, &CreateDisk::dynamic(20 * GIB)).unwrap();
    assert_eq!(disk.path(), path);
    disk.close().unwrap();
    let call = standin.call();
    assert_eq!(call.function, "CreateVirtualDisk");
    assert_eq!(call.argument("path"), path.to_str().unwrap());
    assert_eq!(
        call.argument("virtualStorageType"),
        &json!({"deviceId": 3, "vendorId": "ec984aec-a0f9-47e9-901f-71415a66345b"})
    );
    assert_eq!(call.argument("virtualDiskAccessMask"), 0);
    assert_eq!(call.argument("flags"), 0);
    let parameters = call.argument("parameters");
    assert_eq!(parameters["version"], 2);
    assert_eq!(parameters["maximumSize"], 20 * GIB);
    assert_eq!(parameters["blockSizeInBytes"], BLOCK_SIZE);
    assert_eq!(parameters["parentPath"], Value::Null);
}

#[test]
fn a_differencing_disk_names_its_parent_and_has_its_size() {
    let Some(standin) = Standin::new("a_differencing_disk_names_its_parent_and_has_its_size") else { return };
    let (virtdisk, directory) = (standin.virtdisk(), tempfile::tempdir().unwrap());
    let (base, blank) = (directory.path().join("blank-base.vhdx"), directory.path().join("blank.vhdx"));
    virtdisk.create(&base, &CreateDisk::dynamic(20 * GIB)).unwrap().close().unwrap();
    standin.calls();
    virtdisk.create(&blank, &CreateDisk::differencing(&base)).unwrap().close().unwrap();
    let call = standin.call();
    let parameters = call.argument("parameters");
    assert_eq!(parameters["parentPath"], base.to_str().unwrap());
    assert_eq!((&parameters["maximumSize"], &parameters["version"]), (&json!(0), &json!(2)));

    let error =
        virtdisk.create(&blank, &CreateDisk { size: GIB, ..CreateDisk::differencing(&base) }).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    assert_eq!(standin.calls(), []);
}

#[test]
fn a_disk_is_opened_attached_found_and_detached() {
    let Some(standin) = Standin::new("a_disk_is_opened_attached_found_and_detached") else { return };
    let (virtdisk, directory) = (standin.virtdisk(), tempfile::tempdir().unwrap());
    let path = directory.path().join("sandbox.vhdx");
    virtdisk.create(&path, &CreateDisk::dynamic(GIB)).unwrap().close().unwrap();
    standin.calls();

    let disk = virtdisk.open(&path).unwrap();
    let call = standin.call();
    assert_eq!(call.function, "OpenVirtualDisk");
    assert_eq!(call.argument("virtualDiskAccessMask"), 0);
    assert_eq!(call.argument("virtualStorageType")["deviceId"], 0);
    assert_eq!(call.argument("parameters")["version"], 2);
    assert_eq!(call.argument("parameters")["readOnly"], false);

    let error = disk.physical_path().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    standin.calls();

    disk.attach(AttachFlags::NO_DRIVE_LETTER | AttachFlags::PERMANENT_LIFETIME).unwrap();
    let call = standin.call();
    assert_eq!((call.argument("flags"), call.argument("virtualDiskHandle")), (&json!(6), &json!("non-null")));

    let device = disk.physical_path().unwrap();
    assert!(device.to_str().unwrap().starts_with(r"\\.\PhysicalDrive"), "{device:?}");
    standin.calls();

    let volume = standin.storage().layer_vhd_mount_path(&disk).unwrap();
    assert!(volume.to_str().unwrap().starts_with(r"\\?\Volume{"), "{volume:?}");
    assert_eq!(standin.live_allocations(), 0);
    disk.detach().unwrap();
    disk.close().unwrap();
}

#[test]
fn a_disk_is_closed_when_it_is_dropped() {
    let Some(standin) = Standin::new("a_disk_is_closed_when_it_is_dropped") else { return };
    let (virtdisk, directory) = (standin.virtdisk(), tempfile::tempdir().unwrap());
    let path = directory.path().join("sandbox.vhdx");
    let disk = virtdisk.create(&path, &CreateDisk::dynamic(GIB)).unwrap();
    // Open for writing: nobody else may.
    assert!(std::fs::OpenOptions::new().write(true).open(&path).is_err());
    drop(disk);
    assert!(std::fs::OpenOptions::new().write(true).open(&path).is_ok());
}

#[test]
fn a_disk_that_somebody_scans_is_opened_a_little_later() {
    let Some(standin) = Standin::new("a_disk_that_somebody_scans_is_opened_a_little_later") else { return };
    let (virtdisk, directory) = (standin.virtdisk(), tempfile::tempdir().unwrap());
    let path = directory.path().join("sandbox.vhdx");
    virtdisk.create(&path, &CreateDisk::dynamic(GIB)).unwrap().close().unwrap();
    standin.calls();
    standin.fail("OpenVirtualDisk", 1, 0x8007_0020);
    standin.fail("AttachVirtualDisk", 1, 0x8007_0020);
    let disk = virtdisk.open(&path).unwrap();
    disk.attach(AttachFlags::NONE).unwrap();
    let expected = ["OpenVirtualDisk", "OpenVirtualDisk", "AttachVirtualDisk", "AttachVirtualDisk"];
    assert_eq!(standin.functions(), expected);
    standin.fail("AttachVirtualDisk", 0, 0x8007_0522);
    assert_eq!(disk.attach(AttachFlags::NONE).unwrap_err().kind(), ErrorKind::PrivilegeNotHeld);
}

#[test]
fn codes_of_virtual_disks_are_known() {
    let Some(standin) = Standin::new("codes_of_virtual_disks_are_known") else { return };
    for (code, kind) in [
        (0xC03A_000D, ErrorKind::NotFound),
        (0xC03A_001A, ErrorKind::Unsupported),
        (0x8007_0070, ErrorKind::NoSpace),
    ] {
        standin.fail("CreateVirtualDisk", 0, code);
        let error =
            standin.virtdisk().create(Path::new(r"C:\x.vhdx"), &CreateDisk::dynamic(GIB)).unwrap_err();
        assert_eq!((error.code(), error.kind()), (Some(HResult(code)), kind));
        standin.reset();
    }
}

#[test]
fn a_new_disk_is_formatted_through_its_own_handle() {
    let Some(standin) = Standin::new("a_new_disk_is_formatted_through_its_own_handle") else { return };
    let (storage, directory) = (standin.storage(), tempfile::tempdir().unwrap());
    let path = directory.path().join("blank-base.vhdx");
    let disk = standin.virtdisk().create(&path, &CreateDisk::dynamic(GIB)).unwrap();
    standin.calls();
    storage.with_build(Build::WINDOWS_10_1903).format_writable_layer_vhd(&disk).unwrap();
    assert_eq!(standin.functions(), ["HcsFormatWritableLayerVhd"]);
    // A second time is refused, as Windows does.
    let error = standin.storage().format_writable_layer_vhd(&disk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("blank-base.vhdx"), "{error}");
    assert!(standin.storage().format_writable_layer_vhd_handle(disk.as_handle()).is_err());
}

#[test]
fn windows_server_2019_formats_through_the_disks_device() {
    let Some(standin) = Standin::new("windows_server_2019_formats_through_the_disks_device") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blank-base.vhdx");
    let disk = standin.virtdisk().create(&path, &CreateDisk::dynamic(GIB)).unwrap();
    standin.calls();
    // The stand-in has no devices: the one that it names cannot be opened. It is looked for, and the disk is detached.
    let old = standin.storage().with_build(Build::SERVER_2019);
    let error = old.format_writable_layer_vhd(&disk).unwrap_err();
    let Error::Call { function, subject, .. } = &error else { panic!("{error}") };
    assert_eq!(*function, "CreateFileW");
    assert!(subject.to_str().unwrap().starts_with(r"\\.\PhysicalDrive"), "{error}");
    assert_eq!(standin.functions(), ["AttachVirtualDisk", "GetVirtualDiskPhysicalPath", "DetachVirtualDisk"]);
}

#[test]
fn a_nul_is_refused_before_anything_is_called() {
    let Some(standin) = Standin::new("a_nul_is_refused_before_anything_is_called") else { return };
    let (virtdisk, bad) = (standin.virtdisk(), Path::new("C:\\a\0b"));
    for result in [
        virtdisk.open(bad),
        virtdisk.create(bad, &CreateDisk::dynamic(GIB)),
        virtdisk.create(Path::new(r"C:\x.vhdx"), &CreateDisk::differencing(bad)),
    ] {
        assert!(matches!(result.unwrap_err(), Error::Nul(path) if path == bad));
    }
    assert_eq!(standin.calls(), []);
}
