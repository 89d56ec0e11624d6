//! Windows layers as tools on Linux write them, each with what is peculiar to it: read with the meaning intended, and counted.
//!
//! The archives are made here in the form that the tools' sources give them; layers that the tools made themselves are compared in
//! `converted.rs`.

mod common;
#[path = "common/layers.rs"]
mod layers;

use common::{Block, archive, padded, pax};
use layers::{Layer, Seen, entries, walk};
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader};
use layerstone_layer::{Entry, EntryKind, Finding, Os, Report};
use layerstone_nt::{FileAttributes, FileTime};

/// `O:BUG:BU`, which makes a file one that everybody may run.
const USERS: &[u8] = b"AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAhAgAAAQIAAAAAAAUgAAAAIQIAAA==";

fn directory(name: &str, mode: &str) -> Vec<u8> {
    Block::new(name, b'5', 0).set(100, mode.as_bytes()).sum()
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    [Block::new(name, b'0', data.len() as u64).sum(), padded(data)].concat()
}

fn link(name: &str, typeflag: u8, target: &str) -> Vec<u8> {
    Block::new(name, typeflag, 0).set(157, target.as_bytes()).sum()
}

fn read(pieces: &[Vec<u8>]) -> (Layer, Vec<Seen>) {
    let layer = Layer::read(&archive(pieces), Os::Windows);
    let seen = walk(&[&layer], "", Os::Windows);
    (layer, seen)
}

fn paths(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.path.as_str()).collect()
}

#[test]
fn ko_gives_only_files_a_descriptor_and_no_directory_of_its_data_an_entry() {
    let sd = || pax(b'x', &[("MSWINDOWS.rawsd", USERS)]);
    let (layer, seen) = read(&[
        directory("Hives", "0000555\0"),
        directory("Files", "0000555\0"),
        directory("Files/ko-app", "0000555\0"),
        sd(),
        file("Files/ko-app/app.exe", b"MZ"),
        sd(),
        file("Files/var/run/ko/data.txt", b"data"),
    ]);
    assert_eq!(
        paths(&seen),
        [
            "/Files",
            "/Files/ko-app",
            "/Files/ko-app/app.exe",
            "/Files/var",
            "/Files/var/run",
            "/Files/var/run/ko",
            "/Files/var/run/ko/data.txt",
            "/Hives"
        ]
    );
    assert_eq!(layer.report.count(Finding::ImplicitDirectory), 3);
    let part = seen[2].node.meta.windows.as_ref().unwrap();
    assert_eq!(part.security_descriptor.as_ref().map(Vec::len), Some(52));
    assert_eq!(part.basic.attributes, FileAttributes::NONE);
    assert!(layer.report.iter().all(|(finding, _)| finding.is_benign()), "{:?}", layer.report);
}

#[test]
fn the_net_sdk_ends_directories_with_a_slash_and_puts_hives_last() {
    let sd = |mtime: &[u8]| pax(b'x', &[("mtime", mtime), ("MSWINDOWS.rawsd", USERS)]);
    let (layer, seen) = read(&[
        sd(b"1700000000.1234567"),
        directory("Files/", "0000755\0"),
        sd(b"1700000000.1234567"),
        directory("Files/app/", "0000755\0"),
        sd(b"1700000000.1234567"),
        file("Files/app/app.dll", b"MZ"),
        sd(b"1700000000.1234567"),
        directory("Hives/", "0000755\0"),
    ]);
    assert_eq!(paths(&seen), ["/Files", "/Files/app", "/Files/app/app.dll", "/Hives"]);
    assert_eq!(layer.report.count(Finding::TrailingSlash), 3);
    let basic = seen[2].node.meta.windows.as_ref().unwrap().basic;
    assert_eq!(basic.last_write, FileTime(133_444_736_001_234_567));
    assert_eq!(basic.creation, basic.last_write);
    assert!(layer.report.iter().all(|(finding, _)| finding.is_benign()), "{:?}", layer.report);
}

#[test]
fn a_tool_on_windows_that_writes_backslashes_means_separators() {
    let (layer, seen) = read(&[
        directory("Files", "0000755\0"),
        file(r"Files/app\sub\x.txt", b"x"),
        link(r"Files\app\y.txt", b'1', r"Files\app\sub\x.txt"),
        file(r"Files\app\.wh.gone", b""),
    ]);
    assert_eq!(
        paths(&seen),
        ["/Files", "/Files/app", "/Files/app/sub", "/Files/app/sub/x.txt", "/Files/app/y.txt"]
    );
    assert_eq!(seen[4].first, "/Files/app/sub/x.txt");
    // Three names and a target.
    assert_eq!(layer.report.count(Finding::BackslashName), 4);
    let removed: Vec<_> = walk_kinds(&archive(&[file(r"Files\app\.wh.gone", b"")]));
    assert_eq!(removed, [("Files/app/gone".to_owned(), "whiteout")]);
    // On Linux a backslash is a letter.
    let linux = Layer::read(&archive(&[file(r"a\b", b"")]), Os::Linux);
    assert_eq!(paths(&walk(&[&linux], "", Os::Linux)), [r"/a\b"]);
}

fn walk_kinds(archive: &[u8]) -> Vec<(String, &'static str)> {
    entries(archive, Os::Windows)
        .0
        .iter()
        .map(|(entry, _)| (entry.path.to_string(), entry.kind.name()))
        .collect()
}

#[test]
fn jib_writes_no_windows_layout_and_its_files_stay_outside() {
    // Nothing is moved below Files: Windows would not show these files either.
    let (layer, seen) = read(&[
        directory("app/", "0000755\0"),
        directory("app/classes/", "0000755\0"),
        file("app/classes/A.class", b"\xCA\xFE"),
    ]);
    assert_eq!(paths(&seen), ["/app", "/app/classes", "/app/classes/A.class"]);
    assert_eq!(layer.report.count(Finding::OutsideWindowsRoots), 3);
    assert_eq!(layer.report.count(Finding::TrailingSlash), 2);
}

fn one(pieces: &[Vec<u8>]) -> (Entry, Report) {
    let (mut found, report) = entries(&archive(pieces), Os::Windows);
    assert_eq!(found.len(), 1);
    (found.remove(0).0, report)
}

#[test]
fn buildkit_puts_files_before_hard_link_targets_that_are_absolute() {
    let (entry, report) = one(&[link("Files/app/hard.exe", b'1', "Files//app/hello.exe")]);
    let EntryKind::HardLink { target } = entry.kind else { panic!() };
    assert_eq!(target.to_string(), "Files/app/hello.exe");
    assert_eq!((report.count(Finding::PrefixedLinkTarget), report.count(Finding::UnprefixedLink)), (1, 0));
}

#[test]
fn buildkit_prints_nanoseconds_without_zeroes() {
    let records: [(&str, &[u8]); 2] =
        [("LIBARCHIVE.creationtime", b"1700000000.5000000"), ("mtime", b"1700000000.005")];
    let (entry, report) = one(&[pax(b'x', &records), file("Files/a", b"")]);
    let basic = entry.meta.windows.unwrap().basic;
    assert_eq!(basic.creation, basic.last_write);
    assert_eq!(basic.creation.to_pax().unwrap(), "1700000000.005");
    assert_eq!(report.count(Finding::UnpaddedTime), 1);
}

#[test]
fn a_symlink_to_files_is_taken_at_its_word_unless_buildkit_wrote_it() {
    let target = |records: &[(&str, &[u8])], target: &str| {
        let header = if records.is_empty() { Vec::new() } else { pax(b'x', records) };
        let (entry, report) = one(&[header, link("Files/app/l", b'2', target)]);
        let EntryKind::Symlink { target } = entry.kind else { panic!() };
        (String::from_utf8(target).unwrap(), report.count(Finding::PrefixedLinkTarget))
    };
    let created: (&str, &[u8]) = ("LIBARCHIVE.creationtime", b"1700000000");
    let attributes: (&str, &[u8]) = ("MSWINDOWS.fileattr", b"1056");
    // go-containerregistry and imgutil; Microsoft; BuildKit.
    assert_eq!(target(&[("MSWINDOWS.rawsd", USERS)], "Files/x"), ("Files/x".into(), 0));
    assert_eq!(target(&[created, attributes], "Files/x"), ("Files/x".into(), 0));
    assert_eq!(target(&[created], "Files/x"), ("x".into(), 1));
    assert_eq!(target(&[created], "Files/../x"), ("../x".into(), 1));
    assert_eq!(target(&[created], r"Files/C:\x"), (r"C:\x".into(), 1));
    // An absolute one has two slashes, which nobody means.
    assert_eq!(target(&[], "Files//x"), ("/x".into(), 1));
    assert_eq!(target(&[created], "Files/"), ("Files/".into(), 0));
    assert_eq!(target(&[created], "Filesystem/x"), ("Filesystem/x".into(), 0));
}

#[test]
fn doubled_directories_are_one_and_the_last_metadata_count() {
    let (layer, seen) = read(&[
        directory("Files", "0000555\0"),
        directory("Files/d", "0000555\0"),
        file("Files/d/a", b"a"),
        directory("Files/d", "0000700\0"),
        directory("FILES/D", "0000711\0"),
    ]);
    assert_eq!(paths(&seen), ["/Files", "/Files/d", "/Files/d/a"]);
    assert_eq!(seen[1].node.meta.mode, 0o711);
    assert_eq!(layer.report.count(Finding::Duplicate), 2);
}

#[test]
fn an_entry_that_is_a_windows_layer_file_keeps_its_stream_through_a_backslash() {
    let found = walk_kinds(&archive(&[file(r"Files\a.txt", b"x"), file(r"Files\a.txt:s", b"y")]));
    assert_eq!(
        found,
        [("Files/a.txt".to_owned(), "file"), ("Files/a.txt".to_owned(), "alternate data stream")]
    );
}

#[test]
fn findings_do_not_depend_on_how_the_archive_is_cut() {
    let bytes = archive(&[directory("Files/", "0000000\0"), file(r"Files\a", b"x")]);
    for size in common::BUFFERS {
        let mut reader = TarReader::new(std::io::BufReader::with_capacity(size, bytes.as_slice()));
        let (mut mapper, mut report) = (Mapper::new(Os::Windows), Report::default());
        loop {
            match reader.next_event().unwrap() {
                Event::Member(member) => drop(mapper.entry(&member, &mut report).unwrap()),
                Event::End => break,
                _ => {}
            }
        }
        assert_eq!((report.count(Finding::TrailingSlash), report.count(Finding::BackslashName)), (1, 1));
    }
}
