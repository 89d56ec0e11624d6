//! Base layers.

use std::fs;
use std::path::Path;

use layerstone_hcs::ErrorKind;
use layerstone_store::storage::{BaseLayer, BaseOptions, Error, process_base_layer};

use crate::fake::{ACCESS_DENIED, Fake};
use crate::{failed_step, fails_at_every_call};

const CONFIG: &str = "Files/Windows/System32/config";
const BOOT: &str = "UtilityVM/Files/EFI/Microsoft/Boot";

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A storage with the files of a base layer.
fn base() -> Fake {
    let fake = Fake::windows();
    for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"] {
        write(&fake.path(&format!("base/{CONFIG}/{hive}")), hive);
    }
    fake
}

fn base_with_vm() -> Fake {
    let fake = base();
    write(&fake.path(&format!("base/{BOOT}/BCD")), "boot");
    fake
}

fn process(fake: &Fake) -> Result<BaseLayer, Error> {
    process_base_layer(fake, &fake.path("base"), &BaseOptions::default())
}

pub(crate) const CONTAINER: [&str; 8] = [
    "create_disk base/blank-base.vhdx empty 21474836480",
    "format_writable_layer_vhd base/blank-base.vhdx",
    "close_disk base/blank-base.vhdx",
    "setup_base_os_layer base Container",
    "create_disk base/blank.vhdx on base/blank-base.vhdx",
    "close_disk base/blank.vhdx",
    "grant_vm_group_access base/blank-base.vhdx",
    "grant_vm_group_access base/blank.vhdx",
];

const VM: [&str; 9] = [
    "create_disk base/UtilityVM/SystemTemplateBase.vhdx empty 21474836480",
    "attach_disk base/UtilityVM/SystemTemplateBase.vhdx",
    "setup_base_os_layer base/UtilityVM Vm on base/UtilityVM/SystemTemplateBase.vhdx",
    "detach_disk base/UtilityVM/SystemTemplateBase.vhdx",
    "close_disk base/UtilityVM/SystemTemplateBase.vhdx",
    "create_disk base/UtilityVM/SystemTemplate.vhdx on base/UtilityVM/SystemTemplateBase.vhdx",
    "close_disk base/UtilityVM/SystemTemplate.vhdx",
    "grant_vm_group_access base/UtilityVM/SystemTemplateBase.vhdx",
    "grant_vm_group_access base/UtilityVM/SystemTemplate.vhdx",
];

/// What the setup for containers makes in the layer's folder.
const MADE: [&str; 9] = [
    "Hives/",
    "Hives/DefaultUser_Base",
    "Hives/Sam_Base",
    "Hives/Security_Base",
    "Hives/Software_Base",
    "Hives/System_Base",
    "blank-base.vhdx",
    "blank.vhdx",
    "layout",
];

/// What the setup for utility VMs makes.
const TEMPLATES: [&str; 2] = ["UtilityVM/SystemTemplate.vhdx", "UtilityVM/SystemTemplateBase.vhdx"];

fn besides_files(fake: &Fake) -> Vec<String> {
    let tree = fake.tree("base");
    tree.into_iter().filter(|path| !path.contains("Files/") && path != "UtilityVM/").collect()
}

#[test]
fn a_base_layer_gets_its_hives_and_blank_disks_in_the_documented_order() {
    let fake = base();
    assert_eq!(process(&fake).unwrap(), BaseLayer { utility_vm: false });
    assert_eq!(fake.calls(), CONTAINER);
    assert_eq!(besides_files(&fake), MADE);
    assert_eq!(fake.in_use(), [""; 0]);
}

#[test]
fn a_base_layer_with_a_utility_vm_gets_its_system_disks_too() {
    let fake = base_with_vm();
    let options = BaseOptions { scratch_size: 1 << 30, utility_vm_size: 2 << 30, ..BaseOptions::default() };
    let layer = process_base_layer(&fake, &fake.path("base"), &options).unwrap();
    assert!(layer.utility_vm);
    let mut expected: Vec<_> = CONTAINER.into_iter().chain(VM).map(str::to_owned).collect();
    expected[0] = expected[0].replace("21474836480", "1073741824");
    expected[CONTAINER.len()] = expected[CONTAINER.len()].replace("21474836480", "2147483648");
    assert_eq!(fake.calls(), expected);
    assert_eq!(besides_files(&fake), [&MADE[..6], &TEMPLATES, &MADE[6..]].concat());
    assert_eq!(fs::read_to_string(fake.path(&format!("base/{BOOT}/BCD"))).unwrap(), "boot edited");
    assert_eq!(fake.in_use(), [""; 0]);
}

#[test]
fn what_an_earlier_setup_made_is_replaced_whatever_its_case() {
    let fake = base_with_vm();
    process(&fake).unwrap();
    for (old, new) in [
        ("Hives", "HIVES"),
        ("layout", "Layout"),
        ("blank.vhdx", "Blank.vhdx"),
        ("blank-base.vhdx", "BLANK-BASE.VHDX"),
        ("UtilityVM/SystemTemplate.vhdx", "UtilityVM/systemtemplate.vhdx"),
    ] {
        fs::rename(fake.path("base").join(old), fake.path("base").join(new)).unwrap();
    }
    fake.calls();
    process(&fake).unwrap();
    assert_eq!(fake.calls().len(), CONTAINER.len() + VM.len());
    assert_eq!(besides_files(&fake), [&MADE[..6], &TEMPLATES, &MADE[6..]].concat());
    // Hard links to the registry files went, the files themselves did not.
    assert_eq!(fs::read_to_string(fake.path(&format!("base/{CONFIG}/SAM"))).unwrap(), "SAM");
}

#[test]
fn a_base_layer_without_one_of_its_registry_files_is_refused_by_name_before_anything_changes() {
    for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"] {
        let fake = base();
        process(&fake).unwrap();
        fake.calls();
        let before = fake.tree("base").into_iter().filter(|path| !path.ends_with(hive)).collect::<Vec<_>>();
        fs::remove_file(fake.path(&format!("base/{CONFIG}/{hive}"))).unwrap();
        let error = process(&fake).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(hive), "{error}");
        assert_eq!(fake.calls(), [""; 0]);
        assert_eq!(fake.tree("base"), before);
    }
    let fake = base();
    fs::remove_file(fake.path(&format!("base/{CONFIG}/SAM"))).unwrap();
    fs::create_dir(fake.path(&format!("base/{CONFIG}/SAM"))).unwrap();
    assert_eq!(process(&fake).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn registry_files_are_found_in_any_case() {
    let fake = base();
    fs::rename(fake.path("base/Files/Windows"), fake.path("base/Files/WINDOWS")).unwrap();
    fs::rename(
        fake.path("base/Files/WINDOWS/System32/config/SAM"),
        fake.path("base/Files/WINDOWS/System32/config/sam"),
    )
    .unwrap();
    process(&fake).unwrap();
}

#[test]
fn a_folder_for_a_utility_vm_without_files_is_of_no_account() {
    let fake = base();
    fs::create_dir(fake.path("base/UtilityVM")).unwrap();
    assert_eq!(process(&fake).unwrap(), BaseLayer { utility_vm: false });
    assert_eq!(fake.calls(), CONTAINER);
}

#[test]
fn a_utility_vm_needs_its_boot_configuration_as_a_file() {
    let fake = base_with_vm();
    fs::remove_file(fake.path(&format!("base/{BOOT}/BCD"))).unwrap();
    let error = process(&fake).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }) && error.to_string().contains("BCD"), "{error}");
    fs::create_dir(fake.path(&format!("base/{BOOT}/BCD"))).unwrap();
    assert_eq!(process(&fake).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(fake.calls(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn nothing_is_set_up_through_a_link() {
    use std::os::unix::fs::symlink;

    let fake = base_with_vm();
    fs::rename(fake.path("base/UtilityVM"), fake.path("elsewhere")).unwrap();
    symlink(fake.path("elsewhere"), fake.path("base/UtilityVM")).unwrap();
    assert_eq!(process(&fake).unwrap_err().kind(), ErrorKind::InvalidArgument);
    fs::remove_file(fake.path("base/UtilityVM")).unwrap();

    fs::rename(fake.path("base/Files/Windows"), fake.path("elsewhere/Windows")).unwrap();
    symlink(fake.path("elsewhere/Windows"), fake.path("base/Files/Windows")).unwrap();
    assert_eq!(process(&fake).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fake.calls(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_an_old_result_is_removed_and_not_followed() {
    use std::os::unix::fs::symlink;

    let fake = base();
    write(&fake.path("elsewhere/kept"), "kept");
    symlink(fake.path("elsewhere"), fake.path("base/Hives")).unwrap();
    symlink(fake.path("elsewhere/kept"), fake.path("base/layout")).unwrap();
    process(&fake).unwrap();
    assert_eq!(fs::read_to_string(fake.path("elsewhere/kept")).unwrap(), "kept");
    assert_eq!(besides_files(&fake), MADE);
}

#[test]
fn a_setup_that_fails_leaves_only_the_layers_own_files_whichever_call_fails() {
    let steps = [
        "create the disk",
        "format the disk",
        "close the disk",
        "set up the base layer for containers",
        "create the differencing disk",
        "close the differencing disk",
        "let virtual machines read the disk",
        "let virtual machines read the differencing disk",
    ];
    let check = |fake: &Fake, what: &str| assert_eq!(besides_files(fake), [""; 0], "{what}");
    fails_at_every_call(&steps, base, |fake| process(fake).map(drop), check);
}

#[test]
fn a_utility_vm_that_cannot_be_set_up_leaves_the_half_for_containers() {
    let steps = [
        "create the disk",
        "attach the disk",
        "set up the base layer for utility VMs",
        "detach the disk",
        "close the disk",
        "create the differencing disk",
        "close the differencing disk",
        "let virtual machines read the disk",
        "let virtual machines read the differencing disk",
    ];
    for (number, step) in steps.iter().enumerate() {
        let fake = base_with_vm();
        fake.fail_call(CONTAINER.len() + number, ACCESS_DENIED);
        let error = process(&fake).unwrap_err();
        let (failed, path, undo) = failed_step(&error);
        assert_eq!((failed, error.hresult()), (*step, ACCESS_DENIED));
        assert_eq!((path, undo), (fake.path("base/UtilityVM").as_path(), vec![]), "{step}");
        assert_eq!(fake.in_use(), [""; 0], "{step}");
        assert_eq!(besides_files(&fake), MADE, "{step}");
    }
}

#[test]
fn a_disk_that_cannot_be_detached_after_a_failed_setup_is_reported_with_it() {
    let fake = base_with_vm();
    fake.fail_call(CONTAINER.len() + 2, ACCESS_DENIED);
    fake.fail_function("detach_disk", 1, ACCESS_DENIED);
    let error = process(&fake).unwrap_err();
    let (step, _, undo) = failed_step(&error);
    assert_eq!(step, "set up the base layer for utility VMs");
    assert_eq!(undo, [("detach the disk", ACCESS_DENIED)]);
    assert_eq!(fake.in_use(), ["attached base/UtilityVM/SystemTemplateBase.vhdx"]);
}

#[test]
fn packed_base_layers_need_no_setup() {
    let fake = Fake::folders();
    fs::create_dir(fake.path("base")).unwrap();
    assert_eq!(process(&fake).unwrap(), BaseLayer { utility_vm: false });
    assert_eq!(fake.calls(), [""; 0]);
}
