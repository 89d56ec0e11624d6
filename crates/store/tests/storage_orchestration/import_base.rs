//! Base layers from their archive.

use std::fs;

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_layer::Finding;
use layerstone_store::storage::{Error, ImportArchiveOptions, Imported, LayerStorage as _, import_archive};

use crate::fake::Fake;
use crate::import_layer::{at, cause, mtime, same_file};
use crate::layer_tar::{LayerTar, THEN};
use crate::{code_of_call, failed_step, fails_at_every_call, with_causes};

const CONFIG: &str = "Files/Windows/System32/config";

fn import(fake: &Fake, archive: &[u8]) -> Result<Imported, Error> {
    import_archive(fake, &fake.path("base"), archive, &LayerChain::base(), &ImportArchiveOptions::default())
}

/// That an archive is refused, and leaves nothing.
#[track_caller]
fn refused(archive: LayerTar) -> Error {
    let fake = Fake::windows();
    let error = import(&fake, &archive.finish()).unwrap_err();
    assert_eq!(fake.tree(""), [""; 0], "{error}");
    error
}

#[test]
fn a_base_layer_is_written_in_the_order_of_its_archive_and_then_set_up() {
    let fake = Fake::windows();
    let imported = import(&fake, &LayerTar::base().finish()).unwrap();
    assert!(!imported.utility_vm);
    let config = format!("base/{CONFIG}");
    let mut expected = Vec::new();
    for directory in ["Files", "Files/Windows", "Files/Windows/System32", CONFIG] {
        expected.push(format!("create base/{directory} directory"));
        expected.push(format!("close base/{directory}"));
    }
    for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"] {
        expected.push(format!("create {config}/{hive} file"));
        expected.push(format!("data {config}/{hive} {} bytes", hive.len()));
        expected.push(format!("close {config}/{hive}"));
    }
    for directory in [CONFIG, "Files/Windows/System32", "Files/Windows", "Files"] {
        expected.push(format!("set_basic_info base/{directory}"));
    }
    expected.extend(crate::base::CONTAINER.map(str::to_owned));
    assert_eq!(fake.calls(), expected);
    assert_eq!(fs::read_to_string(fake.path(&config).join("SAM")).unwrap(), "SAM");
    assert!(!fake.tree("base").iter().any(|path| path.contains("layerstone")));
    assert_eq!(fake.in_use(), [""; 0]);
}

#[test]
fn times_of_directories_are_those_of_the_archive_after_all_that_was_put_into_them() {
    let fake = Fake::windows();
    let archive = LayerTar::base()
        .dir_of("Files/d", 1_500_000_000)
        .dir_of("Files/d/e", 1_400_000_000)
        .file("Files/d/e/f", "f")
        .link("Files/d/g", "Files/d/e/f");
    import(&fake, &archive.finish()).unwrap();
    assert_eq!(mtime(&fake, "base/Files/d"), at(1_500_000_000));
    assert_eq!(mtime(&fake, "base/Files/d/e"), at(1_400_000_000));
    assert_eq!(mtime(&fake, "base/Files/d/e/f"), at(THEN));
    assert_eq!(mtime(&fake, "base/Files"), at(THEN));
}

#[test]
fn hard_links_are_made_at_once_and_lead_to_files_that_came_before() {
    let fake = Fake::windows();
    let archive = LayerTar::base()
        .file("Files/a", "a")
        .link("Files/b", "Files/A")
        .link("Files/c", "Files/b")
        .boot_directories()
        .file("UtilityVM/Files/EFI/Microsoft/Boot/BCD", "boot")
        .link("UtilityVM/Files/d", "Files/a");
    let imported = import(&fake, &archive.finish()).unwrap();
    assert_eq!(imported.hard_links, 3);
    for link in ["Files/b", "Files/c", "UtilityVM/Files/d"] {
        assert!(same_file(&fake, "base/Files/a", &format!("base/{link}")), "{link}");
    }

    let error = refused(LayerTar::base().link("Files/b", "Files/a").file("Files/a", "a"));
    assert!(matches!(cause(&error), Error::MissingLinkTarget { .. }), "{error:?}");
    assert!(with_causes(&error).contains("`Files/b` a name of `Files/a`"), "{}", with_causes(&error));
    assert!(matches!(
        cause(&refused(LayerTar::base().link("Files/b", "Files/Windows"))),
        Error::Entry { .. }
    ));
}

#[test]
fn a_hard_link_that_is_none_is_an_error() {
    let fake = Fake::windows();
    fake.copy_links();
    let archive = LayerTar::base().link("Files/b", &format!("{CONFIG}/SAM"));
    let error = import(&fake, &archive.finish()).unwrap_err();
    assert!(matches!(cause(&error), Error::NotLinked { .. }), "{error:?}");
    assert_eq!(fake.tree(""), [""; 0]);
}

#[test]
fn a_base_layer_cannot_remove_anything() {
    for archive in [
        LayerTar::base().whiteout("Files/gone"),
        LayerTar::base().whiteout(&format!("{CONFIG}/SAM")),
        LayerTar::base().file("Files/.wh..wh..opq", ""),
        LayerTar::base().boot_directories().whiteout("UtilityVM/Files/gone"),
    ] {
        let error = refused(archive);
        assert_eq!(error.kind(), ErrorKind::InvalidLayer);
        assert!(with_causes(&error).contains("a base layer cannot remove anything"), "{error}");
    }
}

#[test]
fn names_that_windows_takes_for_the_same_are_refused_and_directories_may_come_twice() {
    for archive in [
        LayerTar::base().file("Files/a", "1").file("Files/A", "2"),
        LayerTar::base().file("Files/a", "1").dir("Files/a"),
        LayerTar::base().dir("Files/a").file("Files/a", "1"),
        LayerTar::base().file("Files/\u{e4}", "1").file("Files/\u{c4}", "2"),
    ] {
        assert!(matches!(cause(&refused(archive)), Error::Entry { .. }));
    }
    let fake = Fake::windows();
    let archive = LayerTar::base().dir("Files/d").file("Files/d/f", "f").dir_of("files/D", 1_500_000_000);
    let imported = import(&fake, &archive.finish()).unwrap();
    assert_eq!(imported.report.count(Finding::Duplicate), 1);
    assert_eq!(mtime(&fake, "base/Files/d"), at(1_500_000_000));
    assert!(fake.path("base/Files/d/f").is_file());
}

#[test]
fn directories_without_an_entry_are_made_and_counted() {
    let fake = Fake::windows();
    let archive = LayerTar::base().file("Files/x/y/z", "z").dir_of("Files/x", 1_500_000_000);
    let imported = import(&fake, &archive.finish()).unwrap();
    assert_eq!(imported.report.count(Finding::ImplicitDirectory), 2);
    assert_eq!(imported.report.count(Finding::Duplicate), 0);
    assert_eq!(fs::read_to_string(fake.path("base/Files/x/y/z")).unwrap(), "z");
    assert_eq!(mtime(&fake, "base/Files/x"), at(1_500_000_000));
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link_of_the_archive() {
    let fake = Fake::windows();
    fs::create_dir(fake.path("elsewhere")).unwrap();
    let elsewhere = fake.path("elsewhere");
    for archive in [
        LayerTar::base().symlink("Files/out", elsewhere.to_str().unwrap()).file("Files/out/f", "f"),
        LayerTar::base().symlink("Files/out", "../../elsewhere").dir("Files/out/d"),
        LayerTar::base().symlink("Files/out", "../../elsewhere").link("Files/out/l", "Files/a"),
        LayerTar::base().file("Files/a", "a").file("Files/a/f", "f"),
    ] {
        let error = import(&fake, &archive.finish()).unwrap_err();
        assert_eq!(
            error.kind(),
            if with_causes(&error).contains("a name of") {
                ErrorKind::NotFound
            } else {
                ErrorKind::InvalidLayer
            }
        );
        assert_eq!(fake.tree(""), ["elsewhere/"]);
    }
    import(&fake, &LayerTar::base().symlink("Files/out", "../../elsewhere").finish()).unwrap();
    assert_eq!(fs::read_link(fake.path("base/Files/out")).unwrap().to_str(), Some("../../elsewhere"));
}

#[test]
fn names_that_no_windows_file_can_have_are_refused() {
    for name in ["Files/a:b", "Files/a\\b:c"] {
        assert!(matches!(cause(&refused(LayerTar::base().file(name, "x"))), Error::Entry { .. }), "{name}");
    }
}

#[test]
fn a_backslash_separates_names_and_leads_out_of_nothing() {
    let fake = Fake::windows();
    let archive = LayerTar::base().file("Files/a\\b", "x").file("Files\\..\\..\\Files\\c", "y");
    let imported = import(&fake, &archive.finish()).unwrap();
    assert_eq!(imported.report.count(Finding::BackslashName), 2);
    assert_eq!(fs::read(fake.path("base/Files/a/b")).unwrap(), b"x");
    assert_eq!(fs::read(fake.path("base/Files/c")).unwrap(), b"y");
}

#[test]
fn what_cannot_be_kept_is_counted() {
    let fake = Fake::windows();
    let imported = import(&fake, &LayerTar::base().fifo("Files/pipe").file("other", "x").finish()).unwrap();
    assert_eq!(imported.report.count(Finding::UnsupportedType), 1);
    assert_eq!(imported.report.count(Finding::OutsideWindowsRoots), 1);
}

#[test]
fn the_boot_configuration_is_copied_before_the_setup_edits_it() {
    let fake = Fake::windows();
    let boot = "UtilityVM/Files/EFI/Microsoft/Boot";
    let archive = LayerTar::base()
        .boot_directories()
        .file(&format!("{boot}/BCD"), "boot")
        .file(&format!("{boot}/BCD.LOG"), "log")
        .file(&format!("{boot}/bcd.LOG1"), "log1")
        .file(&format!("{boot}/BCD.LOG2"), "");
    let imported = import(&fake, &archive.finish()).unwrap();
    assert!(imported.utility_vm);
    assert_eq!(fs::read_to_string(fake.path("base").join(boot).join("BCD")).unwrap(), "boot edited");
    for (copy, content) in
        [("bcd.bak", "boot"), ("bcd.log.bak", "log"), ("bcd.log1.bak", "log1"), ("bcd.log2.bak", "")]
    {
        assert_eq!(fs::read_to_string(fake.path("base").join(copy)).unwrap(), content, "{copy}");
    }
}

#[test]
fn a_base_layer_that_imgutil_made_is_imported() {
    const TEST: &str = "a_base_layer_that_imgutil_made_is_imported";
    let Some(sample) = layerstone_testing::sample(TEST, "layers/converted/imgutil-windows-baselayer.tar")
    else {
        return;
    };
    let Some(boot) = layerstone_testing::sample(TEST, "layers/converted/imgutil-BCD") else { return };
    let fake = Fake::windows();
    let imported = import(&fake, &fs::read(sample).unwrap()).unwrap();
    assert!(imported.utility_vm);
    assert_eq!(fs::read(fake.path("base/bcd.bak")).unwrap(), fs::read(boot).unwrap());
    for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"] {
        assert_eq!(fs::metadata(fake.path(&format!("base/{CONFIG}/{hive}"))).unwrap().len(), 0);
    }
}

fn small() -> Vec<u8> {
    LayerTar::base()
        .boot_directories()
        .file("UtilityVM/Files/EFI/Microsoft/Boot/BCD", "boot")
        .link("Files/b", &format!("{CONFIG}/SAM"))
        .finish()
}

#[test]
fn a_base_layer_that_cannot_be_imported_leaves_nothing_whichever_call_fails() {
    let archive = small();
    let fake = Fake::windows();
    import(&fake, &archive).unwrap();
    let calls = fake.calls();
    let steps: Vec<_> = calls
        .iter()
        .map(|call| match call.split(' ').next().unwrap() {
            "set_basic_info" => "set the times of directories",
            "create" | "data" | "close" | "hard_link" => "write the layer's files",
            _ => "set up the base layer",
        })
        .collect();
    assert!(steps.len() > 50, "{calls:?}");
    fails_at_every_call(
        &steps,
        Fake::windows,
        |fake| import(fake, &archive).map(drop),
        |fake, what| assert_eq!(fake.tree(""), [""; 0], "{what}"),
    );
}

#[test]
fn an_archive_that_ends_early_leaves_nothing() {
    let archive = small();
    let fake = Fake::windows();
    let mut refused = 0;
    for end in (0..archive.len() - 1024).step_by(173) {
        match import(&fake, &archive[..end]) {
            Err(_) => refused += 1,
            // It ends between two entries, which only its digest could tell; that it has no end marker is counted.
            Ok(imported) => {
                assert_eq!(imported.report.count(Finding::NoEndMarker), 1);
                fake.destroy_layer(&fake.path("base")).unwrap();
            }
        }
        assert_eq!(fake.tree(""), [""; 0], "{end}");
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn a_folder_that_was_empty_is_empty_again_and_a_full_one_is_refused() {
    let fake = Fake::windows();
    fs::create_dir(fake.path("base")).unwrap();
    import(&fake, &LayerTar::base().whiteout("Files/x").finish()).unwrap_err();
    assert_eq!(fake.tree(""), ["base/"]);
    import(&fake, &small()).unwrap();
    let before = fake.tree("");
    fake.calls();
    let error = import(&fake, &small()).unwrap_err();
    assert_eq!((failed_step(&error).0, error.kind()), ("make the folder", ErrorKind::AlreadyExists));
    assert_eq!((fake.tree(""), fake.calls()), (before, vec![]));
}

#[test]
fn a_layer_that_cannot_be_removed_again_is_reported_with_what_failed_first() {
    let fake = Fake::windows();
    fake.fail_function("destroy_layer", 1, code_of_call(7));
    let error = import(&fake, &LayerTar::base().whiteout("Files/x").finish()).unwrap_err();
    let (step, _, undo) = failed_step(&error);
    assert_eq!((step, undo), ("write the layer's files", vec![("remove the layer", code_of_call(7))]));
}

#[test]
fn packed_storage_takes_the_archive_as_it_is() {
    let fake = Fake::folders();
    import(&fake, b"an archive").unwrap();
    assert_eq!(fake.calls(), ["import_archive base over []"]);
    assert_eq!(fs::read(fake.path("base/packed")).unwrap(), b"an archive");
}
