//! Virtual disks. Where scratches are folders, each of these operations says that it is not supported, and does nothing.

use layerstone_hcs::{ErrorKind, LayerChain, OsLayerOptions};
use layerstone_store::storage::{BaseOs, LayerStorage as _, NewDisk, ScratchForm};

use crate::{Bench, BenchExt as _, assert_refused, base_content};

const EMPTY: NewDisk = NewDisk::Empty { size: 20 << 30 };

fn has_disks(bench: &impl Bench) -> bool {
    bench.storage().scratch_form() == ScratchForm::Disk
}

/// Without disks: none is made, and the operation says so.
fn unsupported(bench: &impl Bench) {
    let path = bench.path("disk.vhdx");
    assert_refused(bench.storage().create_disk(&path, &EMPTY), ErrorKind::Unsupported);
    assert!(!path.exists());
}

/// A disk is made, closed, and opened again.
pub fn is_made_and_opened(bench: &impl Bench) {
    let (storage, path) = (bench.storage(), bench.path("disk.vhdx"));
    if !has_disks(bench) {
        assert_refused(storage.create_disk(&path, &EMPTY), ErrorKind::Unsupported);
        assert_refused(storage.open_disk(&path), ErrorKind::Unsupported);
        assert!(!path.exists());
        return;
    }
    storage.close_disk(storage.create_disk(&path, &EMPTY).expect("it is new")).expect("it can be closed");
    storage.close_disk(storage.open_disk(&path).expect("it is there")).expect("it can be closed");
    bench.assert_nothing_held();
}

/// A disk that is there is not made anew.
pub fn refuses_to_replace_a_file(bench: &impl Bench) {
    if has_disks(bench) {
        std::fs::write(bench.path("disk.vhdx"), "precious").expect("it is new");
        let result = bench.storage().create_disk(&bench.path("disk.vhdx"), &EMPTY);
        assert_refused(result, ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(bench.path("disk.vhdx")).expect("it is there"), b"precious");
    } else {
        unsupported(bench);
    }
}

/// A disk that stores what differs needs the other one.
pub fn refuses_a_missing_parent_disk(bench: &impl Bench) {
    let disk = NewDisk::Differencing { parent: bench.path("nowhere.vhdx") };
    let kind = if has_disks(bench) { ErrorKind::NotFound } else { ErrorKind::Unsupported };
    assert_refused(bench.storage().create_disk(&bench.path("disk.vhdx"), &disk), kind);
    assert!(!bench.path("disk.vhdx").exists());
}

/// A disk that is not there cannot be opened.
pub fn refuses_to_open_a_missing_disk(bench: &impl Bench) {
    let kind = if has_disks(bench) { ErrorKind::NotFound } else { ErrorKind::Unsupported };
    assert_refused(bench.storage().open_disk(&bench.path("nowhere.vhdx")), kind);
}

/// Formatted once; a second time would lose what is on it.
pub fn refuses_to_be_formatted_twice(bench: &impl Bench) {
    if has_disks(bench) {
        let storage = bench.storage();
        let disk = storage.create_disk(&bench.path("disk.vhdx"), &EMPTY).expect("it is new");
        storage.format_writable_layer_vhd(&disk).expect("it is empty");
        assert_refused(storage.format_writable_layer_vhd(&disk), ErrorKind::InvalidArgument);
        storage.close_disk(disk).expect("it can be closed");
        bench.assert_nothing_held();
    } else {
        unsupported(bench);
    }
}

/// A volume has a path while its disk is attached.
pub fn has_a_mount_path_while_it_is_attached(bench: &impl Bench) {
    if has_disks(bench) {
        let storage = bench.storage();
        let disk = storage.create_disk(&bench.path("disk.vhdx"), &EMPTY).expect("it is new");
        storage.format_writable_layer_vhd(&disk).expect("it is empty");
        assert_refused(storage.layer_vhd_mount_path(&disk), ErrorKind::NotFound);
        storage.attach_disk(&disk).expect("it is not attached");
        let path = storage.layer_vhd_mount_path(&disk).expect("it is attached");
        let path = path.to_str().expect("a volume's path is ASCII").to_owned();
        assert!(path.starts_with(r"\\?\Volume{") && path.ends_with('}'), "{path}");
        storage.detach_disk(&disk).expect("it is attached");
        assert_refused(storage.detach_disk(&disk), ErrorKind::NotFound);
        storage.close_disk(disk).expect("it can be closed");
        bench.assert_nothing_held();
    } else {
        unsupported(bench);
    }
}

/// Attached once at a time.
pub fn refuses_to_be_attached_twice(bench: &impl Bench) {
    if has_disks(bench) {
        let storage = bench.storage();
        let disk = storage.create_disk(&bench.path("disk.vhdx"), &EMPTY).expect("it is new");
        storage.attach_disk(&disk).expect("it is not attached");
        assert_refused(storage.attach_disk(&disk), ErrorKind::InUse);
        storage.detach_disk(&disk).expect("it is attached");
        storage.close_disk(disk).expect("it can be closed");
    } else {
        unsupported(bench);
    }
}

/// A base layer is set up for containers, once.
pub fn a_base_layer_is_set_up_once(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let options = OsLayerOptions::default();
    let set_up = || bench.storage().setup_base_os_layer(&base.path, BaseOs::Container, &options);
    if !has_disks(bench) {
        assert_refused(set_up(), ErrorKind::Unsupported);
        return;
    }
    // What the import has made of the registry is in the way of what the set-up makes.
    assert_refused(set_up(), ErrorKind::AlreadyExists);
    std::fs::remove_dir_all(base.path.join("Hives")).expect("the import has made it");
    set_up().expect("there is neither Hives nor Layout");
    assert_refused(set_up(), ErrorKind::AlreadyExists);
}

/// Where there are no disks, volumes of base layers cannot be set up either.
pub fn a_base_volume_is_refused_where_there_are_no_disks(bench: &impl Bench) {
    if !has_disks(bench) {
        let volume = std::path::Path::new(r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\");
        let result =
            bench.storage().setup_base_os_volume(&bench.path("base"), volume, &OsLayerOptions::default());
        assert_refused(result, ErrorKind::Unsupported);
        assert_refused(bench.storage().expand_scratch(&bench.path("scratch"), 1), ErrorKind::Unsupported);
        assert_refused(bench.storage().grant_vm_group_access(&bench.path("disk")), ErrorKind::Unsupported);
    }
}
