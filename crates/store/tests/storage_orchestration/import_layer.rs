//! Layers with parents from their archive.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use layerstone_hcs::ErrorKind;
use layerstone_layer::Finding;
use layerstone_nt::hive::{Hive, Version};
use layerstone_store::storage::{Error, ImportArchiveOptions, Imported, import_archive};

use crate::fake::{ACCESS_DENIED, Fake};
use crate::layer_tar::{LayerTar, THEN};
use crate::{code_of_call, failed_step, fails_at_every_call, with_causes};

/// A storage with a base layer and a layer over it, in which there is a little of everything.
pub(crate) fn parents() -> Fake {
    let fake = Fake::windows();
    for (path, content) in [
        ("base/Files/keep", "base keep"),
        ("base/Files/gone", "base gone"),
        ("base/Files/d/one", "base one"),
        ("base/Files/d/two", "base two"),
        ("base/Files/d/deep/three", "base three"),
        ("base/Files/both", "base both"),
        ("middle/Files/both", "middle both"),
        ("middle/Files/middle", "middle"),
    ] {
        let path = fake.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fake
}

pub(crate) fn import(fake: &Fake, archive: LayerTar) -> Result<Imported, Error> {
    import_with(fake, &archive.finish(), &ImportArchiveOptions::default())
}

fn import_with(fake: &Fake, archive: &[u8], options: &ImportArchiveOptions) -> Result<Imported, Error> {
    import_archive(fake, &fake.path("layer"), archive, &fake.parents(&["middle", "base"]), options)
}

pub(crate) fn cause(error: &Error) -> &Error {
    let Error::Step { source, .. } = error else { panic!("not a step: {error:?}") };
    source
}

pub(crate) fn read(fake: &Fake, path: &str) -> String {
    fs::read_to_string(fake.path(path)).unwrap_or_else(|error| format!("{path}: {error}"))
}

/// Whether two paths are names of one file: what is written to the one is in the other.
pub(crate) fn same_file(fake: &Fake, one: &str, other: &str) -> bool {
    let before = fs::read(fake.path(other)).unwrap();
    if fs::read(fake.path(one)).unwrap() != before {
        return false;
    }
    fs::write(fake.path(one), "written to one name").unwrap();
    let same = read(fake, other) == "written to one name";
    fs::write(fake.path(one), before).unwrap();
    same
}

pub(crate) fn mtime(fake: &Fake, path: &str) -> SystemTime {
    fs::symlink_metadata(fake.path(path)).unwrap().modified().unwrap()
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Nothing is beside the parents, and they are as they were.
pub(crate) fn only_parents(fake: &Fake, before: &[String], what: &str) {
    assert_eq!(fake.tree(""), before, "{what}");
}

#[test]
fn a_layer_is_staged_imported_and_then_completed_in_the_documented_order() {
    let fake = parents();
    let archive = LayerTar::layer()
        .dir_of("Files/d", 1_500_000_000)
        .file("Files/d/new", "new")
        .whiteout("Files/d/one")
        .link("Files/link", "Files/keep")
        .link("Files/d/own", "Files/d/new");
    let imported = import(&fake, archive).unwrap();
    assert_eq!(imported.hard_links, 2);
    assert_eq!(imported.left_behind, None);
    assert_eq!(
        fake.calls(),
        [
            "import_layer layer from STAGING/transport over [middle, base]",
            "remove layer/Files/d/one",
            "hard_link layer/Files/link to base/Files/keep",
            "hard_link layer/Files/d/own to layer/Files/d/new",
            "set_basic_info layer/Files/d",
            "set_basic_info layer/Hives",
            "set_basic_info layer/Files",
        ]
    );
    assert!(same_file(&fake, "layer/Files/link", "base/Files/keep"));
    assert!(same_file(&fake, "layer/Files/d/own", "layer/Files/d/new"));
    assert_eq!(read(&fake, "layer/Files/d/two"), "placeholder");
    assert!(!fake.path("layer/Files/d/one").exists());
    assert_eq!((mtime(&fake, "layer/Files/d"), mtime(&fake, "layer/Files")), (at(1_500_000_000), at(THEN)));
    assert!(!fake.tree("").iter().any(|path| path.starts_with('.')), "the staging folder is gone");
}

#[test]
fn removed_paths_are_gone_with_all_that_the_parents_have_there() {
    let fake = parents();
    let archive = LayerTar::layer().dir("Files/d").whiteout("Files/d/deep").whiteout("Files/GONE");
    import(&fake, archive.whiteout("Files/not/there")).unwrap();
    assert_eq!(fake.tree("layer/Files"), ["both", "d/", "d/one", "d/two", "keep", "middle"]);
}

#[test]
fn a_path_that_is_both_removed_and_added_survives_and_nothing_of_the_parents_shows_in_it() {
    for reversed in [false, true] {
        let fake = parents();
        let mut archive = LayerTar::layer();
        let add = |tar: LayerTar| {
            tar.dir("Files/d").file("Files/d/one", "new one").dir("Files/d/deep").file("Files/keep", "new")
        };
        let remove = |tar: LayerTar| tar.whiteout("Files/d").whiteout("Files/keep");
        archive = if reversed { remove(add(archive)) } else { add(remove(archive)) };
        import(&fake, archive).unwrap();
        let expected = ["both", "d/", "d/deep/", "d/one", "gone", "keep", "middle"];
        assert_eq!(fake.tree("layer/Files"), expected, "{reversed}");
        assert_eq!(read(&fake, "layer/Files/d/one"), "new one");
        assert_eq!(read(&fake, "layer/Files/keep"), "new");
    }
}

#[test]
fn an_opaque_marker_hides_all_of_the_parents_wherever_it_stands() {
    for first in [false, true] {
        let fake = parents();
        let mut archive = LayerTar::layer().dir("Files/d");
        if first {
            archive = archive.file("Files/d/.wh..wh..opq", "");
        }
        archive = archive.file("Files/d/two", "new two").link("Files/d/linked", "Files/keep");
        if !first {
            archive = archive.file("Files/d/.wh..wh..opq", "");
        }
        import(&fake, archive).unwrap();
        assert_eq!(fake.tree("layer/Files/d"), ["linked", "two"]);
        assert_eq!(read(&fake, "layer/Files/d/two"), "new two");
    }
}

#[test]
fn hard_links_lead_to_this_layer_or_to_the_nearest_parent_that_has_the_target() {
    let fake = parents();
    let archive = LayerTar::layer()
        .link("Files/early", "Files/later")
        .link("Files/chained", "Files/EARLY")
        .file("Files/later", "later")
        .link("Files/nearest", "Files/both")
        .link("Files/far", "files/D/One")
        .link("Files/gone", "Files/keep")
        .link("Files/unprefixed", "keep");
    let imported = import(&fake, archive).unwrap();
    assert_eq!(imported.hard_links, 6);
    assert_eq!(imported.report.count(Finding::UnprefixedLink), 1);
    for (link, target) in [
        ("early", "layer/Files/later"),
        ("chained", "layer/Files/later"),
        ("nearest", "middle/Files/both"),
        ("far", "base/Files/d/one"),
        // It replaces what the import has put there.
        ("gone", "base/Files/keep"),
        ("unprefixed", "base/Files/keep"),
    ] {
        assert!(same_file(&fake, &format!("layer/Files/{link}"), target), "{link}");
    }
}

#[test]
fn a_link_to_its_own_name_is_the_parents_file() {
    let fake = parents();
    import(&fake, LayerTar::layer().link("Files/keep", "Files/keep")).unwrap();
    assert!(same_file(&fake, "layer/Files/keep", "base/Files/keep"));
}

#[test]
fn a_link_without_a_target_anywhere_names_both_paths_and_leaves_nothing() {
    let fake = parents();
    let before = fake.tree("");
    for archive in [
        LayerTar::layer().link("Files/link", "Files/nowhere"),
        LayerTar::layer().link("Files/link", "Files/keep/below"),
        // A circle.
        LayerTar::layer().link("Files/link", "Files/other").link("Files/other", "Files/link"),
    ] {
        let error = import(&fake, archive).unwrap_err();
        assert_eq!((failed_step(&error).0, error.kind()), ("make the hard links", ErrorKind::NotFound));
        let Error::MissingLinkTarget { name, target, .. } = cause(&error) else { panic!("{error:?}") };
        let text = with_causes(&error);
        assert!(text.contains(&format!("`{name}`")) && text.contains(&format!("`{target}`")), "{text}");
        only_parents(&fake, &before, "no target");
    }
}

#[test]
fn links_to_directories_and_into_directories_that_are_not_there_are_refused() {
    let fake = parents();
    let before = fake.tree("");
    for archive in [
        LayerTar::layer().link("Files/link", "Files/d"),
        LayerTar::layer().dir("Files/own").link("Files/link", "Files/own"),
        LayerTar::layer().link("Files/none/link", "Files/keep"),
        LayerTar::layer().dir("Files/own").link("Files/own", "Files/keep"),
    ] {
        let error = import(&fake, archive).unwrap_err();
        assert!(matches!(cause(&error), Error::Entry { .. }), "{error:?}");
        only_parents(&fake, &before, "refused");
    }
    for (name, target) in [("Hives/x", "Files/keep"), ("Files/x", "Hives/System_Delta"), ("x", "Files/keep")]
    {
        let error = import(&fake, LayerTar::layer().link(name, target)).unwrap_err();
        assert_eq!((failed_step(&error).0, error.kind()), ("stage the archive", ErrorKind::InvalidLayer));
        only_parents(&fake, &before, "refused");
    }
}

#[cfg(unix)]
#[test]
fn no_link_is_followed_in_parents_or_in_the_layer() {
    use std::os::unix::fs::symlink;

    let fake = parents();
    fs::create_dir(fake.path("elsewhere")).unwrap();
    fs::write(fake.path("elsewhere/secret"), "secret").unwrap();
    symlink(fake.path("elsewhere"), fake.path("middle/Files/out")).unwrap();
    let before = fake.tree("");
    let error = import(&fake, LayerTar::layer().link("Files/link", "Files/out/secret")).unwrap_err();
    assert!(matches!(cause(&error), Error::MissingLinkTarget { .. }), "{error:?}");
    only_parents(&fake, &before, "through a link of a parent");

    // What lies behind a link of a parent is looked for in the next one.
    fs::create_dir_all(fake.path("base/Files/out")).unwrap();
    fs::write(fake.path("base/Files/out/secret"), "base").unwrap();
    import(&fake, LayerTar::layer().link("Files/link", "Files/out/secret")).unwrap();
    assert!(same_file(&fake, "layer/Files/link", "base/Files/out/secret"));
    assert_eq!(read(&fake, "elsewhere/secret"), "secret");

    // A link may itself be the target.
    let fake = parents();
    import(&fake, LayerTar::layer().symlink("Files/s", "nowhere").link("Files/t", "Files/s")).unwrap();
    assert_eq!(fs::read_link(fake.path("layer/Files/t")).unwrap().to_str(), Some("nowhere"));
}

#[test]
fn a_hard_link_that_is_a_copy_is_an_error() {
    let fake = parents();
    let before = fake.tree("");
    fake.copy_links();
    let error = import(&fake, LayerTar::layer().link("Files/link", "Files/keep")).unwrap_err();
    assert!(matches!(cause(&error), Error::NotLinked { .. }), "{error:?}");
    only_parents(&fake, &before, "copied");
}

#[test]
fn delta_hives_that_the_archive_lacks_are_empty_ones_and_counted() {
    const MISSING: [&str; 4] = ["DefaultUser_Delta", "Security_Delta", "Software_Delta", "System_Delta"];
    let archive = LayerTar::new().dir("Files").dir("Hives").file("Hives/Sam_Delta", "sam").finish();
    let fake = parents();
    let imported = import_with(&fake, &archive, &ImportArchiveOptions::default()).unwrap();
    assert_eq!(read(&fake, "layer/Hives/Sam_Delta"), "sam");
    for name in MISSING {
        let bytes = fs::read(fake.path(&format!("layer/Hives/{name}"))).unwrap();
        let hive = Hive::open(&bytes).unwrap();
        let check = hive.check();
        assert!(check.is_clean(), "{:?}", check.problems);
        assert_eq!((bytes.len(), hive.base().version, check.keys, check.values), (8192, Version::V1_6, 1, 0));
    }
    assert_eq!(imported.report.count(Finding::EmptyHive), 4);
    assert!(Finding::EmptyHive.is_benign());

    // Another file may be given for that.
    let fake = parents();
    let options =
        ImportArchiveOptions { empty_hive: Some(b"empty".to_vec()), ..ImportArchiveOptions::default() };
    let imported = import_with(&fake, &archive, &options).unwrap();
    assert_eq!(read(&fake, "layer/Hives/Sam_Delta"), "sam");
    for name in MISSING {
        assert_eq!(read(&fake, &format!("layer/Hives/{name}")), "empty");
    }
    assert_eq!(imported.report.count(Finding::EmptyHive), 4);

    // An archive with all five needs none.
    let fake = parents();
    let imported = import(&fake, LayerTar::layer()).unwrap();
    assert_eq!(imported.report.count(Finding::EmptyHive), 0);
}

#[test]
fn the_later_times_of_a_directory_stand() {
    let fake = parents();
    let archive =
        LayerTar::layer().dir_of("Files/d", 1).file("Files/d/x", "x").dir_of("Files/D", 1_400_000_000);
    import(&fake, archive).unwrap();
    assert_eq!(mtime(&fake, "layer/Files/d"), at(1_400_000_000));
}

fn everything() -> Vec<u8> {
    LayerTar::layer()
        .dir("Files/d")
        .file("Files/d/new", "new")
        .whiteout("Files/d/one")
        .file("Files/d/deep/.wh..wh..opq", "")
        .dir("Files/d/deep")
        .link("Files/keep", "Files/keep")
        .link("Files/own", "Files/d/new")
        .boot_directories()
        .file("UtilityVM/Files/EFI/Microsoft/Boot/BCD", "boot")
        .link("UtilityVM/Files/linked", "Files/keep")
        .finish()
}

#[test]
fn a_layer_that_cannot_be_imported_leaves_nothing_whichever_call_fails() {
    let archive = everything();
    let run = |fake: &Fake| import_with(fake, &archive, &ImportArchiveOptions::default()).map(drop);
    let fake = parents();
    let before = fake.tree("");
    run(&fake).unwrap();
    let calls = fake.calls();
    let mut imported = false;
    let steps: Vec<_> = calls
        .iter()
        .map(|call| {
            imported |= call.starts_with("import_layer");
            match call.split(' ').next().unwrap() {
                _ if !imported => "stage the archive",
                "import_layer" => "import the staged layer",
                "hard_link" => "make the hard links",
                "remove" if call.ends_with("keep") => "make the hard links",
                "remove" => "remove what the layer removes",
                "rename" if call.contains("bcd.bak") => "keep copies of the boot configuration",
                "rename" => "put the utility VM into the layer",
                "set_basic_info" => "set the times of directories",
                _ => "set up the utility VM",
            }
        })
        .collect();
    assert!(steps.len() > 30, "{calls:?}");
    fails_at_every_call(&steps, parents, run, |fake, what| only_parents(fake, &before, what));
}

#[test]
fn an_archive_that_ends_early_leaves_nothing() {
    let archive = everything();
    let fake = parents();
    let before = fake.tree("");
    let mut refused = 0;
    for end in (0..archive.len() - 1024).step_by(211) {
        match import_with(&fake, &archive[..end], &ImportArchiveOptions::default()) {
            Err(_) => refused += 1,
            Ok(imported) => {
                assert_eq!(imported.report.count(Finding::NoEndMarker), 1);
                fs::remove_dir_all(fake.path("layer")).unwrap();
            }
        }
        only_parents(&fake, &before, &format!("{end} bytes"));
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn a_layer_that_cannot_be_removed_again_is_reported_with_what_failed_first() {
    let fake = parents();
    fake.fail_function("hard_link", 1, ACCESS_DENIED);
    fake.fail_function("destroy_layer", 1, code_of_call(9));
    let error = import(&fake, LayerTar::layer().link("Files/link", "Files/keep")).unwrap_err();
    let (step, _, undo) = failed_step(&error);
    assert_eq!((step, error.hresult()), ("make the hard links", ACCESS_DENIED));
    assert_eq!(undo, [("remove the layer", code_of_call(9))]);
    assert!(
        !fake.tree("").iter().any(|path| path.starts_with('.')),
        "the staging folder is gone all the same"
    );
}

#[test]
fn a_folder_that_was_empty_is_empty_again_and_a_full_one_is_refused() {
    let fake = parents();
    fs::create_dir(fake.path("layer")).unwrap();
    let before = fake.tree("");
    import(&fake, LayerTar::layer().link("Files/link", "Files/nowhere")).unwrap_err();
    only_parents(&fake, &before, "empty before");
    import(&fake, LayerTar::layer()).unwrap();
    let before = fake.tree("");
    let error = import(&fake, LayerTar::layer()).unwrap_err();
    assert_eq!((failed_step(&error).0, error.kind()), ("look at the folder", ErrorKind::AlreadyExists));
    only_parents(&fake, &before, "full before");
}

#[test]
fn layers_are_imported_at_the_same_time() {
    let fake = parents();
    let archive = everything();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (fake, archive) = (&fake, &archive);
            scope.spawn(move || {
                let layer = fake.path(&format!("layer-{number}"));
                let chain = fake.parents(&["middle", "base"]);
                import_archive(fake, &layer, archive.as_slice(), &chain, &ImportArchiveOptions::default())
                    .unwrap();
            });
        }
    });
    for number in 0..8 {
        assert!(same_file(&fake, &format!("layer-{number}/Files/keep"), "base/Files/keep"));
    }
    assert!(!fake.tree("").iter().any(|path| path.starts_with('.')));
}

#[test]
fn of_two_imports_into_one_folder_one_succeeds_and_the_other_leaves_it_alone() {
    let base = LayerTar::base().finish();
    let layer = everything();
    for empty in [false, true] {
        for (archive, parents_of) in [(&base, &[][..]), (&layer, &["middle", "base"])] {
            let fake = parents();
            if empty {
                fs::create_dir(fake.path("layer")).unwrap();
            }
            let run = || {
                let (layer, chain) = (fake.path("layer"), fake.parents(parents_of));
                import_archive(&fake, &layer, archive.as_slice(), &chain, &ImportArchiveOptions::default())
            };
            let results: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            assert_eq!((won.len(), lost.len()), (1, 3), "{empty} {lost:?}");
            for error in lost {
                assert_eq!(error.unwrap_err().kind(), ErrorKind::AlreadyExists);
            }
            let tree = fake.tree("layer");
            assert!(tree.contains(&"Files/".to_owned()), "{tree:?}");
            assert!(!tree.iter().any(|path| path.contains("layerstone")), "{tree:?}");
            assert!(!fake.tree("").iter().any(|path| path.starts_with('.')));
        }
    }
}

/// Layers that other tools have made on Linux, compared with what GNU tar makes of them.
#[cfg(unix)]
#[test]
fn layers_of_other_tools_have_the_files_that_gnu_tar_unpacks() {
    const TEST: &str = "layers_of_other_tools_have_the_files_that_gnu_tar_unpacks";
    for name in ["buildkit-windows-input", "imgutil-windows-input", "ggcr-windows-input"] {
        let Some(sample) = layerstone_testing::sample(TEST, &format!("layers/converted/{name}.tar.gz"))
        else {
            return;
        };
        let Some(mut tar) = layerstone_testing::tool(TEST, "tar") else { return };
        let mut archive = Vec::new();
        let blob = fs::File::open(&sample).unwrap();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(blob), &mut archive).unwrap();

        let fake = parents();
        fs::create_dir(fake.path("unpacked")).unwrap();
        tar.args(["-x", "-f"]).arg(&sample).arg("-C").arg(fake.path("unpacked"));
        // Links without the prefix `Files/` lead nowhere for tar; those that it made are compared.
        tar.args(["--no-same-owner", "--exclude=.wh.*"]).output().unwrap();
        for directory in fake.tree("unpacked") {
            if directory.ends_with('/') {
                let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                fs::set_permissions(fake.path(&format!("unpacked/{directory}")), open).unwrap();
            }
        }

        let imported = import_with(&fake, &archive, &ImportArchiveOptions::default()).unwrap();
        assert_eq!(imported.report.count(Finding::EmptyHive), 5, "{name}: these tools make no hives");
        let expected: Vec<_> = fake.tree("unpacked/Files");
        let unprefixed = imported.report.count(Finding::UnprefixedLink);
        let found: Vec<_> = fake
            .tree("layer/Files")
            .into_iter()
            .filter(|path| {
                path.ends_with('/') || read(&fake, &format!("layer/Files/{path}")) != "placeholder"
            })
            .collect();
        let more: Vec<_> = found.iter().filter(|path| !expected.contains(path)).collect();
        assert!(expected.iter().all(|path| found.contains(path)), "{name}: {expected:?} {found:?}");
        let from_parents = ["d/", "d/deep/"].map(str::to_owned);
        let more: Vec<_> = more.into_iter().filter(|path| !from_parents.contains(path)).collect();
        assert_eq!(more.len() as u64, unprefixed, "{name}: {more:?}");
        let (mut files, mut prefixed) = (0, 0);
        for path in &expected {
            let (one, other) =
                (fake.path(&format!("unpacked/Files/{path}")), fake.path(&format!("layer/Files/{path}")));
            let (stat, imported) =
                (fs::symlink_metadata(&one).unwrap(), fs::symlink_metadata(&other).unwrap());
            assert_eq!(stat.file_type(), imported.file_type(), "{name}: {path}");
            if stat.is_file() {
                assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap(), "{name}: {path}");
                files += 1;
            } else if stat.is_symlink() {
                // In a reparse point the target has backslashes.
                let target = fs::read_link(other).unwrap().to_str().unwrap().replace('\\', "/");
                // Tar has what BuildKit wrote, which has a `Files/` too many.
                let mut one = fs::read_link(one).unwrap().to_str().unwrap().to_owned();
                if one != target {
                    one = one.strip_prefix("Files/").unwrap().to_owned();
                    prefixed += 1;
                }
                assert_eq!(one, target, "{name}: {path}");
            } else if stat.modified().unwrap() + Duration::from_secs(60) < SystemTime::now() {
                // Directories without an entry have the time of their making.
                assert_eq!(stat.modified().unwrap(), imported.modified().unwrap(), "{name}: {path}");
            }
        }
        assert!(files >= 2, "{name}: {expected:?}");
        assert_eq!(prefixed, imported.report.count(Finding::PrefixedLinkTarget), "{name}");
    }
}
