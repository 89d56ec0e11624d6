//! PAX records to metadata and back.

use layerstone_nt::tar::{EntryKind, Note, TarFacts, WindowsMetadata, WindowsRecords};
use layerstone_nt::{
    BasicInfo, Ea, Error, FileAttributes, FileTime, ReparseData, ReparsePoint, ReparseTag, UnixTime,
};

const MTIME: UnixTime = UnixTime::from_seconds(1_577_836_800);
const MTIME_TICKS: FileTime = FileTime(132_223_104_000_000_000);

fn facts(kind: EntryKind) -> TarFacts<'static> {
    TarFacts { kind, linkname: b"target", mtime: MTIME, atime: Some(MTIME), ctime: Some(MTIME) }
}

fn try_read(records: &[(&str, &str)], facts: &TarFacts<'_>) -> Result<WindowsRecords, Error> {
    WindowsRecords::parse(records.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())), facts)
}

fn read(records: &[(&str, &str)], kind: EntryKind) -> WindowsRecords {
    try_read(records, &facts(kind)).unwrap()
}

#[test]
fn an_entry_without_records_gets_microsofts_defaults() {
    let file = read(&[], EntryKind::File);
    let all = BasicInfo {
        creation: MTIME_TICKS,
        last_access: MTIME_TICKS,
        last_write: MTIME_TICKS,
        change: MTIME_TICKS,
        attributes: FileAttributes::NONE,
    };
    assert_eq!(file.metadata, WindowsMetadata { basic: all, ..WindowsMetadata::default() });
    assert_eq!(file.notes, []);
    let directory = read(&[], EntryKind::Directory);
    assert_eq!(directory.metadata.basic.attributes, FileAttributes::DIRECTORY);
}

#[test]
fn an_absent_time_stays_absent_and_is_told() {
    let facts = TarFacts { mtime: MTIME, ..TarFacts::default() };
    let read = try_read(&[("ctime", "1577836800.5")], &facts).unwrap();
    assert_eq!(read.metadata.basic.last_access, FileTime::NOT_SET);
    assert_eq!(read.metadata.basic.change, FileTime(MTIME_TICKS.0 + 5_000_000));
    assert_eq!(read.notes, [Note::TimeAbsent { key: "atime" }]);
}

#[test]
fn times_that_no_filetime_holds_are_told_and_not_set() {
    let read = read(&[("atime", "-99999999999"), ("mtime", "1.00000005")], EntryKind::File);
    assert_eq!(read.metadata.basic.last_access, FileTime::NOT_SET);
    assert_eq!(read.metadata.basic.last_write.to_pax().unwrap(), "1");
    assert_eq!(read.notes.len(), 2);
    assert!(matches!(read.notes[0], Note::TimeRounded { key: "mtime" }));
    assert!(matches!(read.notes[1], Note::TimeOutOfRange { key: "atime", .. }));
}

#[test]
fn the_nonsense_of_a_zero_filetime_reads_as_not_set() {
    let wrapped = "6802270473.709551616";
    let read = read(&[("LIBARCHIVE.creationtime", wrapped), ("mtime", wrapped)], EntryKind::File);
    assert_eq!(read.metadata.basic.creation, FileTime::NOT_SET);
    assert_eq!(
        read.notes,
        [Note::TimeWrapped { key: "mtime" }, Note::TimeWrapped { key: "LIBARCHIVE.creationtime" }]
    );
    let records = read.metadata.to_records().unwrap();
    let keys: Vec<&str> = records.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["MSWINDOWS.fileattr", "atime", "ctime"]);
}

#[test]
fn the_raw_descriptor_wins_over_sddl() {
    let both = [("MSWINDOWS.sd", "not even SDDL"), ("MSWINDOWS.rawsd", "AQAEgAAAAAAAAAAAAAAAAAAAAAA=")];
    let read = read(&both, EntryKind::File);
    assert_eq!(read.metadata.security_descriptor.unwrap()[..4], [1, 0, 4, 0x80]);
    assert_eq!(read.notes, [Note::SddlIgnored]);
}

#[test]
fn sddl_gives_the_same_bytes_as_the_raw_form() {
    let sddl = read(&[("MSWINDOWS.sd", "O:BUG:BU")], EntryKind::File);
    let raw = "AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAhAgAAAQIAAAAAAAUgAAAAIQIAAA==";
    assert_eq!(sddl, read(&[("MSWINDOWS.rawsd", raw)], EntryKind::File));
}

#[test]
fn a_descriptor_that_windows_would_refuse_is_kept_and_told() {
    let read = read(&[("MSWINDOWS.rawsd", "AAAA")], EntryKind::File);
    assert_eq!(read.metadata.security_descriptor, Some(vec![0; 3]));
    assert!(matches!(read.notes[..], [Note::InvalidSecurityDescriptor(Error::Truncated { .. })]));
}

#[test]
fn base64_is_taken_as_go_takes_it() {
    let value = |text: &str| {
        try_read(&[("MSWINDOWS.xattr.A", text)], &facts(EntryKind::File))
            .map(|read| read.metadata.eas[0].value.clone())
    };
    assert_eq!(value("YmFy"), Ok(b"bar".to_vec()));
    assert_eq!(value("Ym\r\nFy\n"), Ok(b"bar".to_vec()));
    assert_eq!(value("YR=="), Ok(b"a".to_vec()));
    assert_eq!(value(""), Ok(vec![]));
    assert!(value("YQ").is_err());
    assert!(value("YQ=").is_err());
    let Err(Error::Record { key, .. }) = value("Y-_Y") else { panic!("URL-safe base64 is another alphabet") };
    assert_eq!(key, "MSWINDOWS.xattr.A");
}

#[test]
fn attributes_are_decimal_digits_only() {
    for text in ["", "0x20", "+32", "-1", "4294967296", "32 ", "3_2", "٣"] {
        assert!(try_read(&[("MSWINDOWS.fileattr", text)], &facts(EntryKind::File)).is_err(), "{text:?}");
    }
    let largest = read(&[("MSWINDOWS.fileattr", "0004294967295")], EntryKind::Symlink);
    assert_eq!(largest.metadata.basic.attributes.0, u32::MAX);
}

#[test]
fn a_mount_point_counts_by_being_there() {
    for value in ["1", "0", ""] {
        let read = read(&[("MSWINDOWS.mountpoint", value)], EntryKind::Symlink);
        assert_eq!(read.metadata.reparse.unwrap().tag, ReparseTag::MOUNT_POINT, "{value:?}");
    }
    let file = read(&[("MSWINDOWS.mountpoint", "1")], EntryKind::File);
    assert_eq!((file.metadata.reparse, &file.notes[..]), (None, &[Note::MountPointIgnored][..]));
}

#[test]
fn slashes_of_a_link_name_become_backslashes() {
    let facts =
        TarFacts { kind: EntryKind::Symlink, linkname: b"/etc/x", mtime: MTIME, ..TarFacts::default() };
    let link = try_read(&[], &facts).unwrap().metadata;
    assert_eq!(link.tar_link_name().unwrap(), br"\etc\x");
    assert!(matches!(link.reparse.unwrap().data, ReparseData::Symlink { flags: 1, .. }));
}

#[test]
fn a_link_name_too_long_for_a_reparse_point_is_an_error() {
    let long = vec![b'a'; 9000];
    let facts = TarFacts { kind: EntryKind::Symlink, linkname: &long, ..TarFacts::default() };
    assert!(matches!(try_read(&[], &facts), Err(Error::Record { .. })));
}

#[test]
fn a_link_name_keeps_lone_surrogates_and_replaces_other_bytes() {
    let with = |linkname: &'static [u8]| {
        let read = try_read(&[], &TarFacts { linkname, ..facts(EntryKind::Symlink) }).unwrap();
        (read.metadata.tar_link_name().unwrap(), read.notes)
    };
    assert_eq!(with(b"a\xED\xA0\x80"), (b"a\xED\xA0\x80".to_vec(), vec![]));
    assert_eq!(with(b"a\xFF"), ("a\u{FFFD}".as_bytes().to_vec(), vec![Note::LinkNameNotUtf8]));
}

#[test]
fn of_records_with_one_key_the_last_counts() {
    let read = read(
        &[
            ("MSWINDOWS.xattr.B", "YQ=="),
            ("MSWINDOWS.xattr.A", "Yg=="),
            ("MSWINDOWS.xattr.B", "Yw=="),
            ("MSWINDOWS.fileattr", "1"),
            ("MSWINDOWS.fileattr", "2"),
        ],
        EntryKind::File,
    );
    assert_eq!(read.metadata.eas, [Ea::new("B", "c"), Ea::new("A", "b")]);
    assert_eq!(read.metadata.basic.attributes, FileAttributes::HIDDEN);
}

#[test]
fn attributes_that_contradict_the_entry_are_told() {
    let notes = |attributes: &str, kind| read(&[("MSWINDOWS.fileattr", attributes)], kind).notes;
    assert_eq!(notes("32", EntryKind::Directory), [Note::DirectoryBitMissing]);
    assert_eq!(notes("16", EntryKind::File), [Note::DirectoryBitUnexpected]);
    assert_eq!(notes("32", EntryKind::Symlink), [Note::ReparseBitMissing]);
    assert_eq!(notes("1056", EntryKind::File), [Note::ReparseBitUnexpected]);
    assert_eq!(notes("1040", EntryKind::Symlink), []);
    assert_eq!(notes("1056", EntryKind::HardLink), []);
}

#[test]
fn unknown_records_of_microsofts_name_space_are_told() {
    let read = read(&[("MSWINDOWS.new", "x"), ("SCHILY.xattr.user.x", "y"), ("path", "z")], EntryKind::File);
    assert_eq!(read.notes, [Note::UnknownRecord { key: "MSWINDOWS.new".into() }]);
}

#[test]
fn a_file_whose_name_ends_in_a_slash_is_a_directory() {
    assert_eq!(EntryKind::new(b'0', b"d/"), EntryKind::Directory);
    assert_eq!(EntryKind::new(0, b"f"), EntryKind::File);
    assert_eq!(EntryKind::new(b'2', b"l/"), EntryKind::Symlink);
    assert_eq!(EntryKind::new(b'3', b"c"), EntryKind::Other);
}

#[test]
fn a_header_holds_whole_seconds_up_to_eleven_octal_digits() {
    let records = |seconds| {
        let last_write = FileTime::from_unix(UnixTime::from_seconds(seconds)).unwrap();
        let basic = BasicInfo { last_write, ..BasicInfo::default() };
        WindowsMetadata { basic, ..WindowsMetadata::default() }.to_time_records()
    };
    assert_eq!(records(0), []);
    assert_eq!(records((1 << 33) - 1), []);
    assert_eq!(records(1 << 33), [("mtime".to_owned(), "8589934592".to_owned())]);
    assert_eq!(records(-1), [("mtime".to_owned(), "-1".to_owned())]);
}

#[test]
fn what_a_tar_cannot_hold_is_an_error_or_told() {
    let wof = ReparsePoint { tag: ReparseTag::WOF, data: ReparseData::Raw(vec![1]) };
    let metadata = WindowsMetadata { reparse: Some(wof), ..WindowsMetadata::default() };
    assert!(matches!(metadata.to_records(), Err(Error::NotRepresentable { .. })));
    for name in [&b"a=b"[..], b"a\0b", b"\xFF"] {
        let metadata = WindowsMetadata { eas: vec![Ea::new(name, "")], ..WindowsMetadata::default() };
        assert!(matches!(metadata.to_records(), Err(Error::NotRepresentable { .. })), "{name:?}");
    }
    let needed = Ea { flags: Ea::NEED_EA, ..Ea::new("A", "") };
    let metadata = WindowsMetadata { eas: vec![needed], ..WindowsMetadata::default() };
    assert_eq!(metadata.tar_losses(), [Note::EaFlagsLost { name: "A".into(), flags: 0x80 }]);
}

#[test]
fn attributes_that_ntfs_would_not_take_are_kept_and_told() {
    let read = read(&[("MSWINDOWS.xattr.", "YQ==")], EntryKind::File);
    assert_eq!(read.metadata.eas, [Ea::new("", "a")]);
    assert!(matches!(read.notes[..], [Note::EasOverNtfs(Error::Malformed { .. })]), "{:?}", read.notes);
    let name = format!("MSWINDOWS.xattr.{}", "A".repeat(255));
    let read = try_read(&[(&name, "YQ==")], &facts(EntryKind::File)).unwrap();
    assert!(matches!(read.notes[..], [Note::EasOverNtfs(Error::TooLong { limit: 254, found: 255, .. })]));
}

#[test]
fn a_creation_time_without_the_zeroes_of_its_fraction_is_the_modification_time() {
    let creation = |creation: &str, mtime: &str| {
        let read = read(&[("LIBARCHIVE.creationtime", creation), ("mtime", mtime)], EntryKind::File);
        let told = read.notes.contains(&Note::TimeUnpadded { key: "LIBARCHIVE.creationtime" });
        (read.metadata.basic.creation.to_pax().unwrap(), told)
    };
    // 5,000,000 ns and 700 ns, as BuildKit prints them.
    assert_eq!(creation("1700000000.5000000", "1700000000.005"), ("1700000000.005".into(), true));
    assert_eq!(creation("1700000000.700", "1700000000.0000007"), ("1700000000.0000007".into(), true));
    assert_eq!(creation("-2.500000000", "-1.5"), ("-1.5".into(), true));
    // The same second and another fraction: it stands.
    assert_eq!(creation("1700000000.5", "1700000000.005"), ("1700000000.5".into(), false));
    // Nine digits, or zero: nothing is missing.
    assert_eq!(creation("1700000000.500000000", "1700000000.5"), ("1700000000.5".into(), false));
    assert_eq!(creation("1700000000.0", "1700000000"), ("1700000000".into(), false));
}
