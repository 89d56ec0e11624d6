//! Access of virtual machines to files.
#![cfg(windows)]

use std::fs;

use layerstone_hcs::{ErrorKind, VmAccess, grant_vm_group_access};

#[test]
fn a_file_that_virtual_machines_may_use_stays_usable_for_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blank.vhdx");
    fs::write(&path, "disk").unwrap();
    for access in [VmAccess::Read, VmAccess::ReadWrite, VmAccess::Read] {
        grant_vm_group_access(&path, access).unwrap();
        fs::write(&path, "disk again").unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "disk again");
    let error = grant_vm_group_access(&dir.path().join("none"), VmAccess::Read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
