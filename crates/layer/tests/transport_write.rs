//! Writing transport folders: what is where, what comes back to the caller, what is refused.

mod folder;

use std::fs;

use folder::{directory, entry, file, lay_out, link, roots, stream, time, whiteout, windows};
use layerstone_layer::transport::{
    BadName, Error, Outcome, Placement, TransportWriter, UtilityVm, WriteOptions,
};
use layerstone_layer::{Entry, EntryKind, Finding, LayerPath, Metadata};
use layerstone_nt::reparse::{ReparsePoint, TargetKind};
use tempfile::tempdir;

fn hcs(items: &[folder::Item]) -> (tempfile::TempDir, Outcome) {
    let root = tempdir().unwrap();
    let outcome = lay_out(root.path(), WriteOptions::hcs(), items).unwrap();
    (root, outcome)
}

fn error(items: &[folder::Item]) -> Error {
    lay_out(tempdir().unwrap().path(), WriteOptions::hcs(), items).unwrap_err()
}

fn junction(attributes: u32) -> layerstone_nt::WindowsMetadata {
    let point = ReparsePoint::from_target(&"C:\\t".into(), TargetKind::MountPoint);
    layerstone_nt::WindowsMetadata { reparse: Some(point), ..windows(attributes) }
}

#[test]
fn an_empty_layer_has_what_hcs_wants_and_says_which_hives_are_missing() {
    let (root, outcome) = hcs(&[]);
    let read = |name: &str| fs::read(root.path().join(name)).unwrap();
    assert_eq!(read("Files.$wcidirs$"), [0x10, 0, 0, 0]);
    assert_eq!(read("Hives.$wcidirs$"), [0x10, 0x20, 0, 0]);
    assert_eq!(read("tombstones.txt"), b"\xEF\xBB\xBFVersion 1.0\n");
    assert!(root.path().join("Files").is_dir() && root.path().join("Hives").is_dir());
    assert_eq!(outcome.missing_hives.len(), 5);
    assert_eq!(outcome.report.count(Finding::ImplicitDirectory), 2);
}

#[test]
fn hives_that_came_are_not_missing_in_whatever_case() {
    let root = tempdir().unwrap();
    let mut writer = TransportWriter::create(root.path(), WriteOptions::hcs()).unwrap();
    writer.entry(&file("Hives/SYSTEM_DELTA", b"").0).unwrap();
    assert_eq!(
        writer.missing_hives(),
        ["DefaultUser_Delta", "Sam_Delta", "Security_Delta", "Software_Delta"]
    );
}

#[test]
fn a_folder_with_something_in_it_is_refused() {
    let root = tempdir().unwrap();
    fs::write(root.path().join("x"), b"").unwrap();
    let error = TransportWriter::create(root.path(), WriteOptions::hcs()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
    // One that is not there is made.
    TransportWriter::create(&root.path().join("new"), WriteOptions::hcs()).unwrap();
    let error = TransportWriter::create(&root.path().join("a/b"), WriteOptions::hcs()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn removed_paths_are_in_tombstones_txt_or_left_to_the_caller() {
    let items =
        [roots(), vec![whiteout("Files/d/gone"), whiteout("Files/ü"), whiteout("Files/D/GONE")]].concat();
    let (root, outcome) = hcs(&items);
    let text = fs::read_to_string(root.path().join("tombstones.txt")).unwrap();
    assert_eq!(text, "\u{feff}Version 1.0\n\\d\\gone\n\\ü\n");
    assert_eq!(outcome.tombstones, [LayerPath::from("Files/d/gone"), LayerPath::from("Files/ü")]);

    let root = tempdir().unwrap();
    let outcome = lay_out(root.path(), WriteOptions::hcsshim(), &items).unwrap();
    assert!(!root.path().join("tombstones.txt").exists());
    assert_eq!(outcome.tombstones.len(), 2);
}

#[test]
fn what_is_removed_and_added_stays() {
    let items = [
        roots(),
        vec![whiteout("Files/a"), file("Files/A", b""), directory("Files/d"), whiteout("Files/d")],
        vec![whiteout("Files/l"), link("Files/l", "Files/a"), whiteout("Files/b")],
    ]
    .concat();
    let (root, outcome) = hcs(&items);
    assert_eq!(outcome.tombstones, [LayerPath::from("Files/b")]);
    assert_eq!(outcome.opaque, [LayerPath::from("Files/d")]);
    assert_eq!(outcome.report.count(Finding::RemovedAndAdded), 3);
    let text = fs::read_to_string(root.path().join("tombstones.txt")).unwrap();
    assert_eq!(text, "\u{feff}Version 1.0\n\\b\n");
}

#[test]
fn an_opaque_marker_is_left_to_the_caller() {
    let opaque =
        Entry { path: LayerPath::from("Files/d"), kind: EntryKind::Opaque, meta: Metadata::default() };
    let root = tempdir().unwrap();
    let mut writer = TransportWriter::create(root.path(), WriteOptions::hcs()).unwrap();
    assert_eq!(writer.entry(&opaque).unwrap(), Placement::Deferred);
    let outcome = writer.finish().unwrap();
    assert_eq!(outcome.opaque, [LayerPath::from("Files/d")]);
    assert_eq!(outcome.report.count(Finding::OpaqueNotStaged), 1);
}

#[test]
fn removals_that_no_list_can_hold_are_errors() {
    for path in ["Files", "Hives/x", "UtilityVM/Files/x", "x", "UtilityVM", "Files/a\nb", "Files/a\r"] {
        let error = error(&[whiteout(path)]);
        let refused = cfg!(windows) && path.contains(['\n', '\r']) && matches!(error, Error::Name { .. });
        let misplaced = matches!(error, Error::Misplaced { kind: "whiteout", .. });
        assert!(misplaced || refused, "{path}: {error}");
    }
    let lone = LayerPath::normalise(b"Files/\xED\xA0\x80").unwrap().0;
    let lone = Entry { path: lone, kind: EntryKind::Whiteout, meta: Metadata::default() };
    assert!(matches!(error(&[(lone, vec![])]), Error::Misplaced { .. }));
    assert!(matches!(error(&[whiteout("Files/a\\b")]), Error::Name { problem: BadName::Backslash, .. }));
}

#[test]
fn hard_links_come_back_in_order_with_where_their_target_is() {
    let items = [
        roots(),
        vec![link("Files/early", "Files/a"), file("Files/A", b"x")],
        vec![link("Files/to-link", "Files/early"), link("Files/to-parent", "Files/elsewhere")],
    ]
    .concat();
    let (root, outcome) = hcs(&items);
    let links: Vec<_> = outcome
        .hard_links
        .iter()
        .map(|link| (link.name.to_string(), link.target.to_string(), link.target_in_layer))
        .collect();
    let link = |name: &str, target: &str, here| (format!("Files/{name}"), format!("Files/{target}"), here);
    let want =
        [link("early", "a", true), link("to-link", "early", true), link("to-parent", "elsewhere", false)];
    assert_eq!(links, want);
    assert!(!root.path().join("Files/early").exists());
}

#[test]
fn hard_links_outside_of_the_file_trees_are_errors() {
    for (name, target) in [
        ("Hives/a", "Files/a"),
        ("Files/a", "Hives/a"),
        ("Files", "Files/a"),
        ("UtilityVM/a", "Files/a"),
        ("UtilityVM/Files", "Files/a"),
        ("a", "Files/a"),
    ] {
        let error = error(&[link(name, target)]);
        assert!(matches!(error, Error::Misplaced { kind: "hard link", .. }), "{name}: {error}");
    }
}

#[test]
fn a_directory_that_is_a_reparse_point_is_made_at_the_end() {
    let root = tempdir().unwrap();
    let mut writer = TransportWriter::create(root.path(), WriteOptions::hcs()).unwrap();
    let target = EntryKind::Symlink { target: b"C:\\t".to_vec() };
    writer.entry(&entry("Files/j", target.clone(), junction(0x410))).unwrap();
    assert!(root.path().join("Files/j.$wcidirs$").is_file());
    assert!(!root.path().join("Files/j").exists());
    // Nothing is written through it meanwhile, whatever its case.
    let error = writer.entry(&file("Files/J/x", b"").0).unwrap_err();
    assert!(matches!(error, Error::BelowNonDirectory { what: "reparse point", .. }), "{error}");
    writer.finish().unwrap();
    assert_eq!(fs::read_dir(root.path().join("Files/j")).unwrap().count(), 0);

    // On a file the same point is a blob of a file.
    let (root, _) = hcs(&[(entry("Files/l", target, junction(0x420)), vec![])]);
    let blob = fs::read(root.path().join("Files/l")).unwrap();
    assert_eq!(blob[..8], [0x20, 4, 0, 0, 8, 0, 0, 0]);
}

#[test]
fn a_link_without_windows_metadata_becomes_a_reparse_point() {
    let meta = Metadata::default();
    let kind = EntryKind::Symlink { target: b"a/b".to_vec() };
    let (root, _) = hcs(&[(Entry { path: LayerPath::from("Files/l"), kind, meta }, vec![])]);
    let blob = fs::read(root.path().join("Files/l")).unwrap();
    let point = ReparsePoint::from_target(&"a\\b".into(), TargetKind::Symlink).encode().unwrap();
    assert!(blob.ends_with(&point));
}

#[test]
fn names_are_compared_as_ntfs_compares_them() {
    let twice = [roots(), vec![file("Files/a", b""), file("Files/A", b"")]].concat();
    assert!(matches!(error(&twice), Error::Duplicate { .. }));
    for (first, second) in
        [(file("Files/a", b""), directory("Files/a")), (directory("Files/a"), file("Files/a", b""))]
    {
        assert!(matches!(error(&[roots(), vec![first, second]].concat()), Error::Duplicate { .. }));
    }
    let below = [roots(), vec![file("Files/a", b""), file("Files/A/b", b"")]].concat();
    assert!(matches!(error(&below), Error::BelowNonDirectory { what: "file", .. }));

    let items = [directory("FILES"), directory("files/Dir"), file("Files/DIR/x", b"")];
    let (root, outcome) = hcs(&items);
    assert!(root.path().join("Files/Dir/x").is_file());
    assert_eq!(fs::read_dir(root.path().join("Files")).unwrap().count(), 2);
    assert_eq!(outcome.report.count(Finding::Duplicate), 0);
}

#[test]
fn a_directory_that_comes_again_keeps_what_is_in_it_and_gets_the_last_description() {
    let again = entry("Files/d", EntryKind::Directory, windows(0x12));
    let items = [roots(), vec![directory("Files/d"), file("Files/d/x", b""), (again, vec![])]].concat();
    let (root, outcome) = hcs(&items);
    assert_eq!(fs::read(root.path().join("Files/d.$wcidirs$")).unwrap(), [0x12, 0, 0, 0]);
    assert!(root.path().join("Files/d/x").is_file());
    assert_eq!(outcome.report.count(Finding::Duplicate), 1);
}

#[test]
fn missing_parents_are_made_and_counted_and_can_still_be_described() {
    let described = entry("Files/a", EntryKind::Directory, windows(0x16));
    let (root, outcome) = hcs(&[file("Files/a/b/c", b""), (described, vec![]), file("Hives/x/y", b"")]);
    assert_eq!(fs::read(root.path().join("Files/a.$wcidirs$")).unwrap(), [0x16, 0, 0, 0]);
    assert_eq!(fs::read(root.path().join("Files/a/b.$wcidirs$")).unwrap(), [0x10, 0, 0, 0]);
    assert!(!root.path().join("Hives/x.$wcidirs$").exists());
    assert_eq!(outcome.report.count(Finding::ImplicitDirectory), 5);
    assert_eq!(outcome.report.count(Finding::Duplicate), 0);
}

#[test]
fn names_that_the_folder_needs_itself_are_errors() {
    for (path, problem) in [
        ("Files/d.$wcidirs$", BadName::Reserved),
        ("Files/d.$WCIDirs$/x", BadName::Reserved),
        ("Files.$wcidirs$", BadName::Reserved),
        ("Tombstones.TXT", BadName::Tombstones),
        ("Files/a\\b", BadName::Backslash),
    ] {
        match error(&[file(path, b"")]) {
            Error::Name { problem: found, .. } => assert_eq!(found, problem, "{path}"),
            error => panic!("{path}: {error}"),
        }
    }
    assert!(hcs(&[file("Files/tombstones.txt", b"")]).0.path().join("Files/tombstones.txt").exists());
    let long = format!("Files/{}", "x".repeat(250));
    if cfg!(not(windows)) {
        let error = error(&[directory(&long)]);
        assert!(matches!(error, Error::Name { problem: BadName::SidecarTooLong(260), .. }), "{error}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_errors_also_where_the_caller_would_use_them() {
    let options = WriteOptions::hcsshim();
    let bad = |item: &folder::Item| {
        let error = lay_out(tempdir().unwrap().path(), options, std::slice::from_ref(item)).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{}: {error}", item.0.path);
    };
    bad(&file("Files/../../x", b""));
    bad(&file("../x", b""));
    bad(&file("Files/./x", b""));
    // `\` is a name's end on Windows, where what is handed back or deferred is used.
    bad(&file("UtilityVM/Files/..\\..\\x", b""));
    bad(&whiteout("UtilityVM/Files/..\\x"));
    bad(&link("Files/a", "Files/..\\..\\x"));
    bad(&link("Files/..\\x", "Files/a"));
    bad(&link("UtilityVM/Files/a", "UtilityVM/Files/b\\c"));
}

#[test]
fn names_that_windows_refuses_are_told() {
    // A trailing dot and device names can be on NTFS; a colon cannot.
    let (_, outcome) = hcs(&[file("Files/a.", b""), file("Files/nul.txt", b"")]);
    assert_eq!(outcome.report.count(Finding::WindowsName), 2);
    if cfg!(windows) {
        for name in ["a:b", "a*", "\u{1}"] {
            let error = error(&[file(&format!("Files/{name}"), b"")]);
            assert!(matches!(error, Error::Name { problem: BadName::Windows(_), .. }), "{error}");
        }
    } else {
        let (_, outcome) = hcs(&[file("Files/a:b", b""), file("Files/a*/b", b"")]);
        assert_eq!(outcome.report.count(Finding::WindowsName), 2);
    }
}

#[test]
fn paths_over_the_old_limit_of_windows_are_written_and_read() {
    let deep = format!("Files/{}/f", ["directory"; 60].join("/"));
    let (root, _) = hcs(&[roots(), vec![file(&deep, b"deep")]].concat());
    let options = layerstone_layer::transport::ReadOptions::lenient();
    let (items, _) = folder::read_back(root.path(), options).unwrap();
    let (_, bytes) = items.iter().find(|(entry, _)| entry.path == LayerPath::from(deep.as_str())).unwrap();
    assert_eq!(bytes, b"deep");
}

#[test]
fn streams_go_into_the_blob_of_their_file_only() {
    let items =
        [roots(), vec![file("Files/a", b"x"), stream("Files/a", "s", b"abc"), stream("Files/a", "t", b"")]];
    let (root, outcome) = hcs(&items.concat());
    assert_eq!(fs::read(root.path().join("Files/a")).unwrap().len(), 4 + 21 + 39 + 36);
    assert_eq!(outcome.counts.streams, 2);
    let orphans = [
        vec![stream("Files/a", "s", b"")],
        vec![file("Files/a", b""), file("Files/b", b""), stream("Files/a", "s", b"")],
        vec![link("Files/a", "Files/b"), stream("Files/a", "s", b"")],
    ];
    for items in orphans {
        assert!(matches!(error(&items), Error::OrphanStream { .. }));
    }
    // A hive is a plain file, which has none; the bytes are taken all the same.
    let (root, outcome) =
        hcs(&[file("Hives/x", b"hive"), stream("Hives/x", "s", b"abc"), file("Hives/y", b"")]);
    assert_eq!(fs::read(root.path().join("Hives/x")).unwrap(), b"hive");
    assert_eq!(outcome.report.count(Finding::StreamLeftOut), 1);
}

#[test]
fn too_few_and_too_many_bytes_are_errors() {
    for path in ["Files/a", "Hives/a"] {
        let (announced, _) = file(path, b"12345");
        let too_few = [(announced.clone(), b"1234".to_vec()), file("Files/b", b"")];
        assert!(matches!(error(&too_few), Error::Backup { .. } | Error::Size { .. }), "{path}");
        assert!(matches!(error(&too_few[..1]), Error::Backup { .. } | Error::Size { .. }), "{path}");
        let too_many = [(announced, b"123456".to_vec())];
        assert!(matches!(error(&too_many), Error::Backup { .. } | Error::Size { .. }), "{path}");
    }
    let (entry, _) = directory("Files/d");
    assert!(matches!(error(&[(entry, b"x".to_vec())]), Error::Backup { .. }));
    assert!(matches!(error(&[(whiteout("Files/w").0, b"x".to_vec())]), Error::UnexpectedData { .. }));
}

#[test]
fn what_no_folder_holds_is_an_error_or_counted() {
    let device = (entry("Files/null", EntryKind::Fifo, windows(0)), vec![]);
    let (root, outcome) = hcs(&[device]);
    assert!(!root.path().join("Files/null").exists());
    assert_eq!(outcome.report.count(Finding::UnsupportedType), 1);
    assert!(matches!(error(&[file("Files", b"")]), Error::Misplaced { .. }));
    assert!(matches!(error(&[file("Hives", b"")]), Error::Misplaced { .. }));
    let link = EntryKind::Symlink { target: b"x".to_vec() };
    assert!(matches!(
        error(&[(entry("Hives/l", link.clone(), junction(0x420)), vec![])]),
        Error::Misplaced { .. }
    ));
    assert!(matches!(error(&[(entry("Files", link, junction(0x410)), vec![])]), Error::Misplaced { .. }));
    let (_, outcome) = hcs(&[(entry("Hives/x", EntryKind::Directory, windows(0x12)), vec![])]);
    assert_eq!(outcome.report.count(Finding::HiveMetadata), 1);
}

#[test]
fn the_utility_vm_is_staged_or_handed_back() {
    let items = [
        roots(),
        vec![directory("UtilityVM"), directory("UtilityVM/Files"), file("UtilityVM/Files/a", b"new")],
        vec![file("Files/b", b"")],
    ]
    .concat();
    let (root, outcome) = hcs(&items);
    assert!(root.path().join("UtilityVM/Files.$wcidirs$").is_file());
    assert_eq!(fs::read(root.path().join("UtilityVM/Files/a")).unwrap().len(), 4 + 20 + 3);
    assert!(outcome.utility_vm.is_empty());
    // In UtilityVM a file may come again.
    let again = [items.clone(), vec![file("UtilityVM/Files/A", b"newer")]].concat();
    let (root, outcome) = hcs(&again);
    assert_eq!(fs::read(root.path().join("UtilityVM/Files/a")).unwrap().len(), 4 + 20 + 5);
    assert_eq!(outcome.report.count(Finding::Duplicate), 1);

    let options = WriteOptions { utility_vm: UtilityVm::HandedBack, ..WriteOptions::hcs() };
    let root = tempdir().unwrap();
    let mut handed = items.clone();
    handed.extend([
        stream("UtilityVM/Files/a", "s", b""),
        link("UtilityVM/Files/l", "Files/b"),
        whiteout("UtilityVM/Files/x"),
    ]);
    // A stream follows its file.
    handed.swap(5, 6);
    let outcome = lay_out(root.path(), options, &handed).unwrap();
    assert!(!root.path().join("UtilityVM").exists());
    let back: Vec<_> = outcome.utility_vm.iter().map(|entry| entry.path.to_string()).collect();
    let a = "UtilityVM/Files/a";
    let want = ["UtilityVM", "UtilityVM/Files", a, a, "UtilityVM/Files/l", "UtilityVM/Files/x"];
    assert_eq!(back, want);
    let mut writer = TransportWriter::create(tempdir().unwrap().path(), options).unwrap();
    writer.entry(&items[4].0).unwrap();
    assert!(matches!(writer.data(b"new").unwrap_err(), Error::UnexpectedData { .. }));

    assert!(matches!(error(&[directory("UtilityVM"), file("UtilityVM/x", b"")]), Error::Misplaced { .. }));
    assert!(matches!(error(&[file("UtilityVM/Files", b"")]), Error::Misplaced { .. }));
}

#[test]
fn a_blob_has_the_times_of_what_it_describes() {
    let mut part = windows(0x20);
    part.basic.last_write = time(1_234_567);
    part.basic.last_access = time(7_654_321);
    let item = (entry("Files/a", EntryKind::File { size: 0, segments: None }, part), vec![]);
    let (root, outcome) = hcs(&[item]);
    let found = fs::metadata(root.path().join("Files/a")).unwrap();
    let ticks = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64 / 100 + 116_444_736_000_000_000
    };
    assert_eq!(ticks(found.modified().unwrap()), time(1_234_567).0);
    assert_eq!(ticks(found.accessed().unwrap()), time(7_654_321).0);
    // The creation time is another one, which only Windows can hold.
    assert_eq!(outcome.report.count(Finding::TimesNotSet), u64::from(cfg!(not(windows))));

    let told = |_: &fs::File, _: &layerstone_nt::BasicInfo| Err(std::io::ErrorKind::Unsupported.into());
    let options = WriteOptions { set_times: Some(told), ..WriteOptions::hcs() };
    let error = lay_out(tempdir().unwrap().path(), options, &[file("Files/a", b"")]).unwrap_err();
    assert!(matches!(error, Error::Io { doing: "set the times of", .. }), "{error}");
}

#[test]
fn attributes_say_what_is_a_directory() {
    let items = [
        (entry("Files/d", EntryKind::Directory, windows(0x20)), vec![]),
        (entry("Files/f", EntryKind::File { size: 0, segments: None }, windows(0x31)), vec![]),
    ];
    let (root, outcome) = hcs(&items);
    assert_eq!(fs::read(root.path().join("Files/d.$wcidirs$")).unwrap(), [0x30, 0, 0, 0]);
    assert_eq!(fs::read(root.path().join("Files/f")).unwrap()[..4], [0x21, 0, 0, 0]);
    assert_eq!(outcome.report.count(Finding::WindowsDeviation), 2);
    assert_eq!(outcome.directories.len(), 1);
}
