//! Reading transport folders: the order, what must be there, what cannot be there.

mod common;
mod folder;

use std::fs;
use std::io::Read as _;
use std::path::Path;

use folder::{Item, directory, file, lay_out, paths, read_back, roots, stream, whiteout};
use layerstone_layer::tar::{Segment, TarWriter};
use layerstone_layer::transport::{
    Error, ReadOptions, TombstoneProblem, TransportReader, WriteOptions, copy_to_tar, find_ignoring_case,
};
use layerstone_layer::{EntryKind, Finding};
use layerstone_nt::backup::{self, BackupWriter, StreamId};
use tempfile::{TempDir, tempdir};

const HIVES: [&str; 5] =
    ["DefaultUser_Delta", "Sam_Delta", "Security_Delta", "Software_Delta", "System_Delta"];

/// A folder with everything that an exported layer has, and these entries.
fn folder(items: Vec<Item>) -> TempDir {
    let root = tempdir().unwrap();
    let hives = HIVES.iter().map(|name| file(&format!("Hives/{name}"), b"hive"));
    let items: Vec<_> = roots().into_iter().chain(hives).chain(items).collect();
    lay_out(root.path(), WriteOptions::hcs(), &items).unwrap();
    root
}

fn strict(root: &Path) -> Result<Vec<Item>, Error> {
    read_back(root, ReadOptions::strict()).map(|(items, _)| items)
}

/// A blob with these bytes behind its attribute word.
fn blob(stream: &[u8]) -> Vec<u8> {
    [&[0x20, 0, 0, 0], stream].concat()
}

#[test]
fn directories_come_with_their_streams_then_what_was_removed_then_what_is_in_them() {
    let root = folder(vec![
        file("Files/z", b"z"),
        whiteout("Files/d/y"),
        directory("Files/d"),
        stream("Files/d", "s", b"on a directory"),
        file("Files/d/x", b"x"),
        stream("Files/d/x", "one", b"1"),
        stream("Files/d/x", "two", b"22"),
        whiteout("Files/d/x2"),
        file("Files/d-", b""),
        whiteout("Files/nowhere/gone"),
    ]);
    let hives = HIVES.map(|name| format!("Hives/{name}"));
    let mut want: Vec<String> = [
        "Files",
        "Files/d",
        "Files/d:s",
        "Files/d/y (whiteout)",
        "Files/d/x2 (whiteout)",
        "Files/d/x",
        "Files/d/x:one",
        "Files/d/x:two",
        "Files/d-",
        "Files/z",
        "Hives",
    ]
    .map(str::to_owned)
    .to_vec();
    want.extend(hives);
    // hcsshim's reader would lose this one.
    want.push("Files/nowhere/gone (whiteout)".to_owned());
    assert_eq!(paths(&strict(root.path()).unwrap()), want);
}

#[test]
fn what_must_be_there_is_named_when_it_is_missing() {
    let without = |names: &[&str], what: &str| {
        let root = folder(vec![directory("Files/d")]);
        for name in names {
            let path = root.path().join(name);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        match strict(root.path()) {
            Err(Error::Missing { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{names:?}: {other:?}"),
        }
        read_back(root.path(), ReadOptions::lenient())
    };
    assert!(without(&["Files"], "Files").is_err());
    without(&["Hives"], "Hives").unwrap();
    without(&["tombstones.txt"], "tombstones.txt").unwrap();
    for hive in HIVES {
        without(&[&format!("Hives/{hive}")], &format!("Hives/{hive}")).unwrap();
    }
    for sidecar in ["Files.$wcidirs$", "Files/d.$wcidirs$"] {
        let (items, report) = without(&[sidecar], sidecar).unwrap();
        assert_eq!(report.count(Finding::ImplicitDirectory), 1);
        assert_eq!(items[1].0.meta.windows.as_ref().unwrap().basic.attributes.0, 0x10);
    }
    let root = tempdir().unwrap();
    fs::write(root.path().join("Files"), b"").unwrap();
    assert!(matches!(TransportReader::open(root.path(), ReadOptions::lenient()), Err(Error::Blob { .. })));
    assert!(matches!(
        TransportReader::open(&root.path().join("nowhere"), ReadOptions::lenient()),
        Err(Error::Io { .. })
    ));
}

#[test]
fn a_malformed_list_of_removed_paths_is_an_error_with_its_line() {
    let root = folder(vec![]);
    fs::write(root.path().join("tombstones.txt"), "\u{feff}Version 1.0\n\\a\n\n").unwrap();
    let error = strict(root.path()).unwrap_err();
    assert!(matches!(error, Error::Tombstones { line: 3, problem: TombstoneProblem::Empty }), "{error}");
}

#[test]
fn names_of_the_format_are_found_in_any_case() {
    if cfg!(windows) {
        return;
    }
    let root = folder(vec![directory("Files/d"), whiteout("Files/D/gone")]);
    let to = |from: &str, to: &str| fs::rename(root.path().join(from), root.path().join(to)).unwrap();
    to("Files.$wcidirs$", "FILES.$WCIDIRS$");
    to("Files/d.$wcidirs$", "Files/D.$Wcidirs$");
    to("Files", "files");
    to("Hives/System_Delta", "Hives/SYSTEM_DELTA");
    to("Hives", "HIVES");
    to("tombstones.txt", "Tombstones.TXT");
    let items = strict(root.path()).unwrap();
    let want = [
        "Files",
        "Files/d",
        "Files/D/gone (whiteout)",
        "Hives",
        "Hives/DefaultUser_Delta",
        "Hives/SYSTEM_DELTA",
    ];
    assert_eq!(paths(&items)[..6], want);

    fs::create_dir(root.path().join("FILES")).unwrap();
    assert!(matches!(strict(root.path()).unwrap_err(), Error::Ambiguous { .. }));
    assert_eq!(find_ignoring_case(root.path(), "hives").unwrap(), Some(root.path().join("HIVES")));
    assert_eq!(find_ignoring_case(root.path(), "layout").unwrap(), None);
    assert!(find_ignoring_case(root.path(), "Files").is_err());
    assert_eq!(find_ignoring_case(root.path(), "FILES").unwrap(), Some(root.path().join("FILES")));
}

#[test]
fn blobs_with_several_names_are_hard_links() {
    let root = folder(vec![file("Files/a", b"once"), directory("Files/d")]);
    fs::hard_link(root.path().join("Files/a"), root.path().join("Files/d/b")).unwrap();
    fs::hard_link(root.path().join("Files/a"), root.path().join("Files/A2")).unwrap();
    let items = strict(root.path()).unwrap();
    assert_eq!(
        paths(&items)[..5],
        ["Files", "Files/A2", "Files/a => Files/A2", "Files/d", "Files/d/b => Files/A2"]
    );
    assert_eq!(items[1].1, b"once");
}

#[cfg(unix)]
#[test]
fn links_and_devices_of_the_host_are_errors() {
    use std::os::unix::fs::symlink;
    type Make = fn(&Path) -> std::io::Result<()>;
    let makes: [(&str, Make); 5] = [
        ("Files/l", |path| symlink("/etc/passwd", path)),
        ("Hives/l", |path| symlink("System_Delta", path)),
        ("UtilityVM", |path| symlink("/", path)),
        ("Files/d.$wcidirs$", |path| {
            fs::create_dir(path.with_file_name("d"))?;
            symlink("../Files.$wcidirs$", path)
        }),
        ("Files/s", |path| std::os::unix::net::UnixListener::bind(path).map(drop)),
    ];
    for (name, make) in makes {
        let root = folder(vec![]);
        make(&root.path().join(name)).unwrap();
        assert!(matches!(strict(root.path()).unwrap_err(), Error::Special { .. }), "{name}");
    }
    let root = folder(vec![]);
    fs::rename(root.path().join("Files"), root.path().join("elsewhere")).unwrap();
    symlink("elsewhere", root.path().join("Files")).unwrap();
    assert!(strict(root.path()).is_err());
    fs::remove_file(root.path().join("tombstones.txt")).unwrap();
    symlink("/etc/passwd", root.path().join("tombstones.txt")).unwrap();
    assert!(strict(root.path()).is_err());
}

#[test]
fn a_blob_that_is_none_is_an_error() {
    let refused = |name: &str, bytes: &[u8]| {
        let root = folder(vec![directory("Files/d")]);
        fs::write(root.path().join(name), bytes).unwrap();
        strict(root.path()).unwrap_err()
    };
    for length in 0..4 {
        assert!(matches!(refused("Files/a", &vec![0; length]), Error::Blob { .. }), "{length}");
    }
    assert!(matches!(
        refused("Files/a", &blob(&[1, 0, 0])),
        Error::Backup { source: backup::Error::Truncated { .. }, .. }
    ));
    let mut writer = BackupWriter::new(Vec::new());
    writer.stream(StreamId::GHOSTED_EXTENTS, b"x").unwrap();
    let unknown = blob(&writer.finish().unwrap());
    for name in ["Files/a", "Files/d.$wcidirs$", "Files.$wcidirs$", "Hives.$wcidirs$"] {
        let error = refused(name, &unknown);
        assert!(matches!(error, Error::Backup { source: backup::Error::UnknownStream { .. }, .. }), "{name}");
    }
    let mut writer = BackupWriter::new(Vec::new());
    writer.stream(StreamId::DATA, b"x").unwrap();
    let data = writer.finish().unwrap();
    assert!(matches!(refused("Files/d.$wcidirs$", &blob(&data)), Error::Blob { .. }));
    let mut writer = BackupWriter::new(Vec::new());
    let target =
        layerstone_nt::ReparsePoint::from_target(&"x".into(), layerstone_nt::reparse::TargetKind::Symlink);
    writer.stream(StreamId::REPARSE, &target.encode().unwrap()).unwrap();
    writer.stream(StreamId::DATA, b"x").unwrap();
    let link = blob(&writer.finish().unwrap());
    assert!(matches!(refused("Files/a", &link), Error::Blob { reason: "a link has data", .. }));
    // A directory that is a link, with something in it.
    let root = folder(vec![directory("Files/d"), file("Files/d/x", b"")]);
    fs::write(root.path().join("Files/d.$wcidirs$"), &link[..link.len() - 21]).unwrap();
    assert!(matches!(strict(root.path()).unwrap_err(), Error::Blob { .. }));
}

#[test]
fn what_is_left_out_is_counted() {
    let root = folder(vec![directory("Files/$RECYCLE.BIN"), file("Files/$RECYCLE.BIN/x", b"")]);
    fs::write(root.path().join("Files/none.$wcidirs$"), blob(&[])).unwrap();
    fs::write(root.path().join("Hives/x.$wcidirs$"), blob(&[])).unwrap();
    let mut writer = BackupWriter::new(Vec::new());
    writer.stream(StreamId::OBJECT_ID, &[1; 64]).unwrap();
    fs::write(root.path().join("Files/a"), blob(&writer.finish().unwrap())).unwrap();
    fs::write(root.path().join("other"), b"plain").unwrap();
    let (items, report) = read_back(root.path(), ReadOptions::strict()).unwrap();
    assert_eq!(paths(&items)[..3], ["Files", "Files/a", "Hives"]);
    assert_eq!(items.last().unwrap().1, b"plain");
    assert_eq!(report.count(Finding::RecycleBin), 1);
    assert_eq!(report.count(Finding::OrphanSidecar), 2);
    assert_eq!(report.count(Finding::BackupStreamLeftOut), 1);
    assert_eq!(report.count(Finding::OutsideWindowsRoots), 1);
    // An object id alone: an empty file, as older systems wrote them.
    assert_eq!(items[1].0.kind, EntryKind::File { size: 0, segments: None });
}

#[test]
fn the_utility_vm_is_plain_unless_it_is_described() {
    let vm = vec![directory("UtilityVM"), directory("UtilityVM/Files"), file("UtilityVM/Files/a", b"boot")];
    let root = folder(vm);
    let contents = |root: &Path| strict(root).unwrap().last().unwrap().1.clone();
    assert_eq!(contents(root.path()), b"boot");
    fs::remove_file(root.path().join("UtilityVM/Files.$wcidirs$")).unwrap();
    assert_eq!(contents(root.path()).len(), 4 + 20 + 4);
}

#[test]
fn bytes_that_are_not_read_are_passed_over() {
    let root =
        folder(vec![file("Files/a", &[7; 5000]), stream("Files/a", "s", b"abc"), file("Files/b", b"b")]);
    let mut reader = TransportReader::open(root.path(), ReadOptions::strict()).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut bytes = Vec::new();
        if entry.path.as_bytes() == b"Files/b" || matches!(entry.kind, EntryKind::Stream { .. }) {
            reader.read_to_end(&mut bytes).unwrap();
            found.push(bytes);
        } else {
            let _ = reader.read_data(&mut [0; 100]).unwrap();
        }
    }
    assert_eq!(found, [b"abc".to_vec(), b"b".to_vec()]);
}

#[test]
fn a_tar_gets_the_zeroes_of_holes_and_what_it_cannot_hold_is_told() {
    let mut part = folder::windows(0x220);
    part.eas = vec![layerstone_nt::Ea { flags: 0x80, name: b"A".to_vec(), value: b"v".to_vec() }];
    let segments = Some(vec![Segment { offset: 70_000, len: 2 }, Segment { offset: 70_003, len: 1 }]);
    let sparse = folder::entry("Files/s", EntryKind::File { size: 140_000, segments }, part);
    let root = folder(vec![(sparse, b"abc".to_vec()), file("Files/z", b"z")]);
    let mut reader = TransportReader::open(root.path(), ReadOptions::strict()).unwrap();
    let mut tar = TarWriter::new(Vec::new());
    let report = copy_to_tar(&mut reader, &mut tar).unwrap();
    // The flags, and the holes.
    assert_eq!(report.count(Finding::NotInTar), 2);
    let archive = common::read(&tar.finish().unwrap());
    let (_, bytes) = archive.member("Files/s");
    let mut want = vec![0; 140_000];
    want[70_000..70_004].copy_from_slice(b"ab\0c");
    assert!(*bytes == want);
    assert_eq!(archive.member("Files/z").1, b"z");
}

#[test]
fn a_file_that_becomes_shorter_meanwhile_is_an_error() {
    let root = folder(vec![file("Files/a", &[7; 50_000])]);
    let mut reader = TransportReader::open(root.path(), ReadOptions::strict()).unwrap();
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.path.as_bytes() == b"Files/a" {
            fs::write(root.path().join("Files/a"), b"short").unwrap();
            let error = reader.read_data(&mut [0; 100]).unwrap_err();
            assert!(matches!(error, Error::Blob { .. }), "{error}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn reading_leaves_the_folder_as_it_is() {
    use std::os::unix::fs::MetadataExt as _;
    let root = folder(vec![file("Files/a", b"x")]);
    let path = root.path().join("Files/a");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::open(&path).unwrap().set_times(fs::FileTimes::new().set_accessed(old)).unwrap();
    let first = strict(root.path()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().atime(), 1_000_000);
    assert_eq!(strict(root.path()).unwrap(), first);
}

#[test]
fn a_base_layers_folder_gives_its_files_and_its_utility_vm_and_nothing_beside_them() {
    let root = tempdir().unwrap();
    let put = |path: &str, bytes: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put("Files/Windows/System32/config/SYSTEM", "regf");
    put("Files/Windows/b.txt", "b");
    put("Files/$Recycle.Bin/x", "x");
    put("Hives/System_Base", "regf");
    put("UtilityVM/Files/EFI/Microsoft/Boot/BCD", "regf");
    put("UtilityVM/SystemTemplate.vhdx", "disk");
    for beside in ["blank.vhdx", "blank-base.vhdx", "Layout", "bcd.bak", "bcd.log1.bak", "tombstones.txt"] {
        put(beside, "beside");
    }
    put("unknown", "?");
    fs::hard_link(root.path().join("Files/Windows/b.txt"), root.path().join("UtilityVM/Files/b.txt"))
        .unwrap();
    let mut reader = TransportReader::open(root.path(), ReadOptions::base_layer()).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut bytes = String::new();
        reader.read_to_string(&mut bytes).unwrap();
        let basic = entry.meta.windows.as_ref().unwrap().basic;
        assert_eq!(basic.attributes.is_directory(), entry.kind == EntryKind::Directory, "{}", entry.path);
        found.push(match &entry.kind {
            EntryKind::HardLink { target } => format!("{} = {target}", entry.path),
            EntryKind::Directory => format!("{}/", entry.path),
            _ => format!("{}: {bytes}", entry.path),
        });
    }
    let want = [
        "Files/",
        "Files/Windows/",
        "Files/Windows/System32/",
        "Files/Windows/System32/config/",
        "Files/Windows/System32/config/SYSTEM: regf",
        "Files/Windows/b.txt: b",
        "UtilityVM/",
        "UtilityVM/Files/",
        "UtilityVM/Files/EFI/",
        "UtilityVM/Files/EFI/Microsoft/",
        "UtilityVM/Files/EFI/Microsoft/Boot/",
        "UtilityVM/Files/EFI/Microsoft/Boot/BCD: regf",
        "UtilityVM/Files/b.txt = Files/Windows/b.txt",
    ];
    assert_eq!(found, want);
    let report = reader.into_report();
    assert_eq!((report.count(Finding::RecycleBin), report.count(Finding::OutsideWindowsRoots)), (1, 1));

    // A utility VM without files is none.
    fs::remove_dir_all(root.path().join("UtilityVM/Files")).unwrap();
    let (items, _) = read_back(root.path(), ReadOptions::base_layer()).unwrap();
    assert!(items.iter().all(|(entry, _)| entry.path.as_bytes().starts_with(b"Files")));
    fs::remove_dir_all(root.path().join("Files")).unwrap();
    assert!(matches!(
        TransportReader::open(root.path(), ReadOptions::base_layer()),
        Err(Error::Missing { .. })
    ));
}
