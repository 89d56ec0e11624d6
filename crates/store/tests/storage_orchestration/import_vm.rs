//! Layers that touch the utility VM of their parents.

use std::fs;

use layerstone_hcs::ErrorKind;
use layerstone_nt::{BasicInfo, FileTime, UnixTime};
use layerstone_store::storage::{Error, InPlaceWriter as _, PlainFiles};

use crate::failed_step;
use crate::fake::Fake;
use crate::import_layer::{at, cause, import, mtime, only_parents, parents, read, same_file};
use crate::layer_tar::LayerTar;

const BOOT: &str = "UtilityVM/Files/EFI/Microsoft/Boot";

/// Parents of which the base has a utility VM.
fn with_vm() -> Fake {
    let fake = parents();
    for (path, content) in [
        (format!("{BOOT}/BCD"), "boot"),
        (format!("{BOOT}/BCD.LOG"), "log"),
        (format!("{BOOT}/bootmgfw.efi"), "manager"),
        ("UtilityVM/Files/Windows/kernel".to_owned(), "kernel"),
        ("UtilityVM/Files/Windows/old/a".to_owned(), "a"),
        ("UtilityVM/Files/Windows/old/b".to_owned(), "b"),
        ("UtilityVM/SystemTemplate.vhdx".to_owned(), "disk"),
    ] {
        let path = fake.path(&format!("base/{path}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for (path, seconds) in [("Windows", 1_300_000_000), ("Windows/old", 1_200_000_000)] {
        let folder = fake.path(&format!("base/UtilityVM/Files/{path}"));
        let last_write = FileTime::from_unix(UnixTime::from_seconds(seconds)).unwrap();
        let basic = BasicInfo { last_write, ..BasicInfo::default() };
        PlainFiles::default().set_basic_info(&folder, &basic).unwrap();
    }
    fake
}

const COPIED: [&str; 4] =
    ["Windows/kernel", "Windows/old/a", "Windows/old/b", "EFI/Microsoft/Boot/bootmgfw.efi"];

#[test]
fn a_layer_that_touches_the_utility_vm_gets_a_copy_whose_files_are_links_but_for_the_boot_configuration() {
    let fake = with_vm();
    let imported = import(&fake, LayerTar::layer().dir("UtilityVM")).unwrap();
    assert!(imported.utility_vm);
    for file in COPIED {
        let (copy, original) =
            (format!("layer/UtilityVM/Files/{file}"), format!("base/UtilityVM/Files/{file}"));
        assert!(same_file(&fake, &copy, &original), "{file}");
    }
    for file in ["BCD", "BCD.LOG"] {
        assert!(!same_file(&fake, &format!("layer/{BOOT}/{file}"), &format!("base/{BOOT}/{file}")), "{file}");
    }
    // The setup edited the copy, and the parent's is as it was.
    assert_eq!(read(&fake, &format!("layer/{BOOT}/BCD")), "boot edited");
    assert_eq!(read(&fake, &format!("base/{BOOT}/BCD")), "boot");
    assert_eq!(read(&fake, "base/UtilityVM/SystemTemplate.vhdx"), "disk");
    assert_eq!(mtime(&fake, "layer/UtilityVM/Files/Windows"), at(1_300_000_000));
    assert_eq!(mtime(&fake, "layer/UtilityVM/Files/Windows/old"), at(1_200_000_000));
    let made: Vec<_> = fake.tree("layer/UtilityVM").into_iter().filter(|path| !path.contains('/')).collect();
    assert_eq!(made, ["SystemTemplate.vhdx", "SystemTemplateBase.vhdx"]);
    // The layer itself had no boot configuration.
    assert!(!fake.path("layer/bcd.bak").exists());
    assert_eq!(fake.in_use(), [""; 0]);
}

#[test]
fn the_calls_for_a_utility_vm_come_in_the_documented_order() {
    let fake = with_vm();
    fs::remove_dir_all(fake.path("base/UtilityVM/Files/Windows")).unwrap();
    import(&fake, LayerTar::layer().boot_directories().file(&format!("{BOOT}/BCD"), "new")).unwrap();
    let calls = fake.calls();
    let position = |start: &str| {
        let found = calls.iter().position(|call| call.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {calls:#?}"))
    };
    let order = [
        "copy STAGING/UtilityVM of base/UtilityVM",
        "copy STAGING/UtilityVM/Files of",
        &format!("copy STAGING/{BOOT}/BCD of"),
        "describe STAGING/UtilityVM",
        &format!("remove STAGING/{BOOT}/BCD"),
        &format!("create STAGING/{BOOT}/BCD file"),
        "import_layer",
        "rename layer/UtilityVM from STAGING/UtilityVM",
        "rename layer/bcd.bak from STAGING/bcd.bak",
        "set_basic_info layer/Files",
        "set_basic_info layer/UtilityVM/Files/EFI",
        "create_disk layer/UtilityVM/SystemTemplateBase.vhdx empty",
        "attach_disk",
        "setup_base_os_layer layer/UtilityVM Vm on",
        "detach_disk",
        "close_disk",
        "create_disk layer/UtilityVM/SystemTemplate.vhdx on",
        "grant_vm_group_access",
    ];
    let positions: Vec<_> = order.iter().map(|start| position(start)).collect();
    assert!(positions.is_sorted(), "{positions:?} {calls:#?}");
}

#[test]
fn entries_replace_what_was_copied_and_never_write_into_the_parents_files() {
    let fake = with_vm();
    let archive = LayerTar::layer()
        .boot_directories()
        .file(&format!("{BOOT}/BCD"), "new boot")
        .dir_of("UtilityVM/Files/windows", 1_100_000_000)
        .file("UtilityVM/Files/Windows/Kernel", "new kernel")
        .file("UtilityVM/Files/Windows/old", "a file now")
        .dir("UtilityVM/Files/Windows/new")
        .file("UtilityVM/Files/Windows/new/x", "x")
        .file("UtilityVM/Files/Windows/new/x", "x again");
    import(&fake, archive).unwrap();
    for (path, content) in [
        ("layer/bcd.bak", "new boot"),
        ("base/UtilityVM/Files/EFI/Microsoft/Boot/BCD", "boot"),
        ("layer/UtilityVM/Files/EFI/Microsoft/Boot/BCD", "new boot edited"),
        ("layer/UtilityVM/Files/Windows/kernel", "new kernel"),
        ("base/UtilityVM/Files/Windows/kernel", "kernel"),
        ("layer/UtilityVM/Files/Windows/old", "a file now"),
        ("base/UtilityVM/Files/Windows/old/a", "a"),
        ("layer/UtilityVM/Files/Windows/new/x", "x again"),
    ] {
        assert_eq!(read(&fake, path), content, "{path}");
    }
    assert_eq!(mtime(&fake, "layer/UtilityVM/Files/Windows"), at(1_100_000_000));
}

#[test]
fn whiteouts_remove_from_the_copy_what_the_layer_does_not_have_itself() {
    let fake = with_vm();
    let archive = LayerTar::layer()
        .boot_directories()
        .whiteout("UtilityVM/Files/Windows/KERNEL")
        .file("UtilityVM/Files/Windows/old/c", "c")
        .whiteout("UtilityVM/Files/Windows/old");
    import(&fake, archive).unwrap();
    let left: Vec<_> =
        fake.tree("layer/UtilityVM/Files").into_iter().filter(|path| path.starts_with("Windows")).collect();
    assert_eq!(left, ["Windows/", "Windows/old/", "Windows/old/c"]);
    assert_eq!(read(&fake, "base/UtilityVM/Files/Windows/old/a"), "a");

    let fake = with_vm();
    let archive = LayerTar::layer().file("UtilityVM/Files/Windows/.wh..wh..opq", "");
    import(&fake, archive.file("UtilityVM/Files/Windows/old/a", "new a")).unwrap();
    let left: Vec<_> =
        fake.tree("layer/UtilityVM/Files").into_iter().filter(|path| path.starts_with("Windows/")).collect();
    assert_eq!(left, ["Windows/", "Windows/old/", "Windows/old/a"]);
    assert_eq!(read(&fake, "base/UtilityVM/Files/Windows/kernel"), "kernel");
}

#[test]
fn a_whiteout_of_what_the_utility_vm_does_not_have_is_refused() {
    let fake = with_vm();
    let before = fake.tree("");
    let error =
        import(&fake, LayerTar::layer().dir("UtilityVM").whiteout("UtilityVM/Files/nothing")).unwrap_err();
    assert!(matches!(cause(&error), Error::Entry { .. }), "{error:?}");
    assert_eq!((failed_step(&error).0, error.kind()), ("stage the archive", ErrorKind::InvalidLayer));
    only_parents(&fake, &before, "refused");
}

#[test]
fn links_in_the_utility_vm_lead_to_files_of_it_of_the_layer_and_of_parents() {
    let fake = with_vm();
    let archive = LayerTar::layer()
        .boot_directories()
        .link("UtilityVM/Files/to-vm", "UtilityVM/Files/Windows/kernel")
        .link("UtilityVM/Files/to-link", "UtilityVM/Files/to-own")
        .link("UtilityVM/Files/to-own", "Files/own")
        .link("UtilityVM/Files/to-parent", "Files/keep")
        .link("UtilityVM/Files/Windows/old/a", "Files/own")
        .file("Files/own", "own");
    let imported = import(&fake, archive).unwrap();
    assert_eq!(imported.hard_links, 5);
    for (link, target) in [
        ("to-vm", "base/UtilityVM/Files/Windows/kernel"),
        ("to-link", "layer/Files/own"),
        ("to-own", "layer/Files/own"),
        ("to-parent", "base/Files/keep"),
        ("Windows/old/a", "layer/Files/own"),
    ] {
        assert!(same_file(&fake, &format!("layer/UtilityVM/Files/{link}"), target), "{link}");
    }
    assert_eq!(read(&fake, "base/UtilityVM/Files/Windows/old/a"), "a");
    assert_eq!(mtime(&fake, "layer/UtilityVM/Files/Windows/old"), at(1_200_000_000));
}

#[test]
fn the_nearest_parent_that_has_a_utility_vm_is_copied() {
    let fake = with_vm();
    for (path, content) in [(format!("{BOOT}/BCD"), "middle boot"), ("UtilityVM/Files/x".to_owned(), "x")] {
        let path = fake.path(&format!("middle/{path}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    import(&fake, LayerTar::layer().dir("UtilityVM")).unwrap();
    assert_eq!(read(&fake, &format!("layer/{BOOT}/BCD")), "middle boot edited");
    assert!(!fake.path("layer/UtilityVM/Files/Windows").exists());
}

#[test]
fn a_layer_may_begin_a_utility_vm_and_needs_all_that_it_takes() {
    let fake = parents();
    import(&fake, LayerTar::layer().boot_directories().file(&format!("{BOOT}/BCD"), "new")).unwrap();
    assert_eq!(read(&fake, &format!("layer/{BOOT}/BCD")), "new edited");

    let fake = parents();
    let before = fake.tree("");
    let error = import(&fake, LayerTar::layer().boot_directories()).unwrap_err();
    assert_eq!((failed_step(&error).0, error.kind()), ("set up the utility VM", ErrorKind::NotFound));
    only_parents(&fake, &before, "no boot configuration");
}

#[cfg(unix)]
#[test]
fn links_of_a_parents_utility_vm_are_copied_and_not_followed() {
    use std::os::unix::fs::symlink;

    let fake = with_vm();
    fs::create_dir(fake.path("elsewhere")).unwrap();
    fs::write(fake.path("elsewhere/secret"), "secret").unwrap();
    symlink(fake.path("elsewhere"), fake.path("base/UtilityVM/Files/out")).unwrap();
    import(&fake, LayerTar::layer().dir("UtilityVM")).unwrap();
    assert_eq!(fs::read_link(fake.path("layer/UtilityVM/Files/out")).unwrap(), fake.path("elsewhere"));

    fs::remove_dir_all(fake.path("layer")).unwrap();
    let before = fake.tree("");
    for archive in [
        LayerTar::layer().file("UtilityVM/Files/out/new", "x"),
        LayerTar::layer().dir("UtilityVM").link("UtilityVM/Files/l", "UtilityVM/Files/out/secret"),
        LayerTar::layer().dir("UtilityVM").link("UtilityVM/Files/out/l", "Files/keep"),
    ] {
        import(&fake, archive).unwrap_err();
        only_parents(&fake, &before, "through a link");
        assert_eq!(fake.tree("elsewhere"), ["secret"]);
    }
}

#[test]
fn entries_of_the_utility_vm_outside_of_its_files_are_refused() {
    let fake = with_vm();
    let before = fake.tree("");
    let error = import(&fake, LayerTar::layer().file("UtilityVM/other", "x")).unwrap_err();
    assert_eq!((failed_step(&error).0, error.kind()), ("stage the archive", ErrorKind::InvalidLayer));
    only_parents(&fake, &before, "refused");
}
