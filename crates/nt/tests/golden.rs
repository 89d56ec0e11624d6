//! Comparison with the recorded answers of Microsoft's go-winio (`golden/backuptar.json`).
//!
//! A vector concerns this crate in its metadata (times, attributes, descriptor, EAs, reparse point) and in its backup stream,
//! which is read and written whole. What a vector says of names and order belongs to the crate that reads tars.

mod support;

use layerstone_nt::backup::{self, BackupReader, BackupWriter, Contents, DataLayout, StreamHeader};
use layerstone_nt::reparse::TargetKind;
use layerstone_nt::tar::{EntryKind, TarFacts, WindowsMetadata, WindowsRecords};
use layerstone_nt::{BasicInfo, Ea, FileAttributes, FileTime, ReparsePoint, UnixTime, WideString, ea, sddl};
use serde_json::Value;
use std::io::Cursor;
use support::{TarEntry, bytes, int, text, vectors};

/// Where our answer differs on purpose: case, part, why.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("times: zero FILETIME", "records", "FILETIME 0 is left out; theirs wraps to the year 2185"),
    ("back: times: zero FILETIME", "times", "the wrapped zero reads as 0, which it was; theirs reads 2185"),
    ("*", "absent time", "an absent atime or ctime stays not set; theirs becomes the year 1754"),
    ("sparse: no ranges", "sparse", "sparse blocks are read from any source; theirs fails where it can seek"),
    (
        "alternate stream with $DATA suffix",
        "stream name",
        "theirs adds a second type to the name, which Windows does not take",
    ),
    ("*", "alternate streams", "alternate streams are kept; theirs loses those that no data stream precedes"),
];

/// FILETIME of Go's zero time after its trip through 64-bit nanoseconds.
const GO_ZERO_TIME: i64 = 48_491_090_211_286_549;

#[derive(Debug, PartialEq)]
enum Outcome {
    Agreed,
    Deviated(Vec<&'static str>),
    NotApplicable(&'static str),
}

fn deviation(case: &str, part: &str) -> &'static str {
    DEVIATIONS
        .iter()
        .find(|(name, known, _)| *known == part && (*name == case || *name == "*"))
        .map(|(.., reason)| *reason)
        .unwrap_or_else(|| panic!("{case}: {part} differs, and no deviation is on record"))
}

fn outcome(deviations: Vec<&'static str>) -> Outcome {
    if deviations.is_empty() { Outcome::Agreed } else { Outcome::Deviated(deviations) }
}

/// File information and backup stream, as the vectors hold them. Sources that can seek and those that cannot give the same.
fn read(file: &Value) -> backup::Result<(WindowsMetadata, Contents)> {
    let stream = bytes(&file["stream"]);
    let contents = Contents::scan(&mut BackupReader::new(stream.as_slice()));
    let seeking = Contents::scan(&mut BackupReader::seekable(Cursor::new(&stream)));
    assert_eq!(contents.as_ref().ok(), seeking.as_ref().ok());
    let mut contents = contents?;
    let basic = BasicInfo {
        creation: FileTime(int(&file["creation"])),
        last_access: FileTime(int(&file["access"])),
        last_write: FileTime(int(&file["write"])),
        change: FileTime(int(&file["change"])),
        attributes: FileAttributes(u32::try_from(int(&file["attr"])).unwrap()),
    };
    let mut metadata = WindowsMetadata { basic, ..WindowsMetadata::default() };
    contents.move_metadata(&mut metadata);
    Ok((metadata, contents))
}

/// As [`read`], where the size of the file is known as well.
fn read_sized(file: &Value) -> backup::Result<(WindowsMetadata, Contents)> {
    let (metadata, contents) = read(file)?;
    if let Some(data) = &contents.data {
        data.expect_size(u64::try_from(int(&file["size"])).unwrap())?;
    }
    Ok((metadata, contents))
}

/// The bytes of a file or stream, holes filled.
fn content(stream: &[u8], layout: &DataLayout) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(layout.size).unwrap()];
    for placed in &layout.extents {
        let (at, len) = (placed.extent.offset as usize, placed.extent.len as usize);
        out[at..at + len].copy_from_slice(&stream[placed.position as usize..][..len]);
    }
    out
}

fn to_tar(vector: &Value) -> Outcome {
    let case = text(&vector["case"]);
    let headers = vector["headers"].as_array().unwrap();
    let files = vector["files"].as_array().unwrap();
    let mut deviations = Vec::new();
    if headers.is_empty() {
        // An error of theirs is one of ours too, in the stream or in what a tar cannot hold.
        assert_ne!(text(&vector["error"]), "", "{case}");
        if let Ok((metadata, _)) = read_sized(&files[0])
            && metadata.to_records().is_ok()
        {
            return Outcome::Deviated(vec![deviation(&case, "sparse")]);
        }
        return Outcome::Agreed;
    }
    let mut used = 0;
    for file in files.iter().filter(|file| file["deleted"].as_bool() != Some(true)) {
        let (metadata, contents) = read_sized(file).unwrap_or_else(|error| panic!("{case}: {error}"));
        let stream = bytes(&file["stream"]);
        let name = text(&file["name"]).replace('\\', "/");
        let header = headers.iter().find(|header| text(&header["name"]) == name).unwrap();
        compare_header(&case, header, &metadata, &contents, &mut deviations);
        if text(&header["typeflag"]) != "1" {
            let data = contents.data.clone().unwrap_or_default();
            assert_eq!(content(&stream, &data), bytes(&header["data"]), "{case}: data");
            assert_eq!(data.size, u64::try_from(int(&header["size"])).unwrap(), "{case}: size");
        }
        used += 1;
        // The entries of alternate data streams that follow have times and mode of the file, and nothing else.
        let prefix = format!("{name}:");
        let theirs: Vec<_> =
            headers.iter().filter(|header| text(&header["name"]).starts_with(&prefix)).collect();
        if theirs.is_empty() && !contents.alternates.is_empty() {
            deviations.push(deviation(&case, "alternate streams"));
            continue;
        }
        assert_eq!(theirs.len(), contents.alternates.len(), "{case}: alternate streams");
        for (header, alternate) in theirs.iter().zip(&contents.alternates) {
            assert_eq!(text(&header["name"]), format!("{prefix}{}", alternate.name), "{case}");
            assert_eq!(content(&stream, &alternate.data), bytes(&header["data"]), "{case}");
            assert_eq!(pax(header), metadata.to_time_records(), "{case}: records of {}", header["name"]);
            let mode = metadata.tar_mode(contents.data.is_some());
            assert_eq!(int(&header["mode"]), i64::from(mode), "{case}: mode");
            used += 1;
        }
    }
    let whiteouts = headers.iter().filter(|header| text(&header["name"]).contains(".wh.")).count();
    assert_eq!(used + whiteouts, headers.len(), "{case}: every header is looked at");
    outcome(deviations)
}

/// The records of a header without those of names.
fn pax(header: &Value) -> Vec<(String, String)> {
    let mut records: Vec<_> = header["pax"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "path" | "linkpath"))
        .map(|(key, value)| (key.clone(), text(value)))
        .collect();
    records.sort();
    records
}

fn compare_header(
    case: &str,
    header: &Value,
    metadata: &WindowsMetadata,
    contents: &Contents,
    deviations: &mut Vec<&'static str>,
) {
    let mut records = metadata.to_records().unwrap_or_else(|error| panic!("{case}: {error}"));
    let is_hard_link = text(&header["typeflag"]) == "1";
    if is_hard_link {
        // A link repeats the basic information only.
        records
            .retain(|(key, _)| !key.starts_with("MSWINDOWS.rawsd") && !key.starts_with("MSWINDOWS.xattr."));
    } else {
        let kind = metadata.entry_kind().typeflag().unwrap();
        assert_eq!(text(&header["typeflag"]), char::from(kind).to_string(), "{case}: typeflag");
        assert_eq!(
            int(&header["mode"]),
            i64::from(metadata.tar_mode(contents.data.is_some())),
            "{case}: mode"
        );
        let target = metadata.tar_link_name().unwrap_or_default();
        assert_eq!(header["linkname"].as_str().unwrap_or_default().as_bytes(), target, "{case}: link name");
    }
    if pax(header) != records {
        deviations.push(deviation(case, "records"));
        let known = ["LIBARCHIVE.creationtime", "atime", "ctime", "mtime"];
        let rest = |mut records: Vec<(String, String)>| {
            records.retain(|(key, _)| !known.contains(&key.as_str()));
            records
        };
        assert_eq!(rest(pax(header)), rest(records), "{case}: records other than times");
    }
}

/// Reads the entry that a recorded file came from, and compares what the crate makes of it.
fn compare_file(
    case: &str,
    file: &Value,
    (entry, following): (&TarEntry, &[TarEntry]),
    deviations: &mut Vec<&'static str>,
) {
    let facts = TarFacts {
        kind: entry.kind(),
        linkname: &entry.linkname,
        mtime: UnixTime::from_seconds(entry.mtime),
        atime: None,
        ctime: None,
    };
    let records = entry.records.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let read = WindowsRecords::parse(records, &facts).unwrap_or_else(|error| panic!("{case}: {error}"));
    // Theirs writes a backup stream as far as the tar goes.
    let stream = bytes(&file["stream"]);
    let is_cut = stream.len() < 20 + entry.data.len() || int(&file["size"]) > entry.data.len() as i64;
    if is_cut && entry.kind() == EntryKind::File {
        assert!(Contents::scan(&mut BackupReader::new(stream.as_slice())).is_err(), "{case}: truncated");
        return;
    }
    let (theirs, _) = match self::read(file) {
        Ok(read) => read,
        Err(backup::Error::AlternateName { .. }) => return deviations.push(deviation(case, "stream name")),
        Err(error) => panic!("{case}: {error}"),
    };
    let ours = &read.metadata;
    let mut differ = |part| {
        let reason = deviation(case, part);
        if !deviations.contains(&reason) {
            deviations.push(reason);
        }
    };
    let times = |basic: &BasicInfo| [basic.creation, basic.last_access, basic.last_write, basic.change];
    for (ours, theirs) in times(&ours.basic).into_iter().zip(times(&theirs.basic)) {
        match (ours, theirs) {
            (ours, theirs) if ours == theirs => {}
            (FileTime::NOT_SET, FileTime(GO_ZERO_TIME)) => differ("absent time"),
            (FileTime::NOT_SET, _) => differ("times"),
            _ => panic!("{case}: {ours:?} is not {theirs:?}"),
        }
    }
    assert_eq!(ours.basic.attributes, theirs.basic.attributes, "{case}: attributes");
    assert_eq!(ours.security_descriptor, theirs.security_descriptor, "{case}: descriptor");
    // Theirs come in the random order of a Go map.
    let sorted = |eas: &[Ea]| {
        let mut eas = eas.to_vec();
        eas.sort_by(|a, b| a.name.cmp(&b.name));
        eas
    };
    assert_eq!(sorted(&ours.eas), sorted(&theirs.eas), "{case}: EAs");
    assert_eq!(ours.reparse, theirs.reparse, "{case}: reparse point");
    let mut written = ours.clone();
    written.eas = theirs.eas;
    assert_eq!(write(&written, entry, following), stream, "{case}: backup stream");
}

/// The backup stream of an entry: metadata, data, and the alternate streams that follow in the tar.
fn write(metadata: &WindowsMetadata, entry: &TarEntry, following: &[TarEntry]) -> Vec<u8> {
    let mut writer = BackupWriter::new(Vec::new());
    writer.metadata(metadata).unwrap();
    if entry.kind() == EntryKind::File {
        writer.begin_data(entry.data.len() as u64, None).unwrap();
        writer.data(&entry.data).unwrap();
    }
    for alternate in following {
        let name = alternate.name.strip_prefix(entry.name.as_slice()).and_then(|n| n.strip_prefix(b":"));
        let Some(name) = name.filter(|_| alternate.kind() == EntryKind::File) else { break };
        let name = WideString::from_wtf8(name).unwrap();
        writer.begin(&StreamHeader::alternate(&name, alternate.data.len() as u64)).unwrap();
        writer.data(&alternate.data).unwrap();
    }
    writer.finish().unwrap()
}

fn from_tar(vector: &Value) -> Outcome {
    let case = text(&vector["case"]);
    let entries = TarEntry::read_all(&bytes(&vector["tar"]));
    let files = vector["files"].as_array().unwrap();
    let mut deviations = Vec::new();
    if files.is_empty() {
        let entry = &entries[0];
        let records = entry.records.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        let facts = TarFacts { kind: entry.kind(), linkname: &entry.linkname, ..TarFacts::default() };
        let error = WindowsRecords::parse(records, &facts).expect_err(&case);
        assert!(!text(&vector["error"]).is_empty(), "{case}: they take it, we say {error}");
        return Outcome::Agreed;
    }
    for file in files {
        let name = text(&file["name"]);
        let at = entries
            .iter()
            .position(|entry| String::from_utf8_lossy(&entry.name) == name)
            .unwrap_or_else(|| panic!("{case}: no entry {name}"));
        compare_file(&case, file, (&entries[at], &entries[at + 1..]), &mut deviations);
    }
    outcome(deviations)
}

fn oci_import(vector: &Value) -> Outcome {
    let case = text(&vector["case"]);
    let entries = TarEntry::read_all(&bytes(&vector["tar"]));
    let added: Vec<&Value> =
        vector["files"].as_array().unwrap().iter().filter(|file| text(&file["call"]) == "Add").collect();
    if added.is_empty() {
        return Outcome::NotApplicable("whiteouts only: compared where tars are read");
    }
    let mut deviations = Vec::new();
    for file in added {
        let name = text(&file["name"]);
        let at = entries
            .iter()
            .position(|entry| String::from_utf8_lossy(&entry.name).replace('/', "\\") == name)
            .unwrap_or_else(|| panic!("{case}: no entry {name}"));
        compare_file(&case, file, (&entries[at], &entries[at + 1..]), &mut deviations);
    }
    outcome(deviations)
}

fn encode_reparse(vector: &Value) -> Outcome {
    let target = text(&vector["target"]);
    let kind = match vector["mount"].as_bool().unwrap() {
        true => TargetKind::MountPoint,
        false => TargetKind::Symlink,
    };
    let point = ReparsePoint::from_target(&WideString::from(&*target), kind);
    let encoded = bytes(&vector["data"]);
    assert_eq!(point.encode().unwrap(), encoded, "{target}");
    assert_eq!(ReparsePoint::parse(&encoded).unwrap(), point, "{target}");
    assert_eq!(point.target().unwrap().to_string(), text(&vector["decoded_target"]));
    Outcome::Agreed
}

fn encode_ea(vector: &Value) -> Outcome {
    let list: Vec<Ea> = vector["eas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ea| Ea {
            flags: u8::try_from(int(&ea["flags"])).unwrap(),
            name: text(&ea["name"]).into_bytes(),
            value: bytes(&ea["value"]),
        })
        .collect();
    assert_eq!(ea::encode_list(&list).unwrap(), bytes(&vector["data"]));
    assert_eq!(ea::parse_list(&bytes(&vector["data"])).unwrap(), list);
    Outcome::Agreed
}

fn sddl_to_sd(vector: &Value) -> Outcome {
    let text = text(&vector["sddl"]);
    let sd = sddl::parse(&text).unwrap();
    assert_eq!(sd.to_bytes().unwrap(), bytes(&vector["data"]), "{text}");
    assert_eq!(sddl::format(&sd).unwrap(), text);
    Outcome::Agreed
}

#[test]
fn every_recorded_answer_is_met_or_the_difference_is_on_record() {
    let (mut agreed, mut deviated, mut skipped) = (0, Vec::new(), Vec::new());
    for vector in vectors() {
        let case = text(&vector["case"]);
        let outcome = match vector["op"].as_str().unwrap() {
            "to_tar" | "oci_export" => to_tar(&vector),
            "from_tar" => from_tar(&vector),
            "oci_import" => oci_import(&vector),
            "encode_reparse" => encode_reparse(&vector),
            "encode_ea" => encode_ea(&vector),
            "sddl_to_sd" => sddl_to_sd(&vector),
            other => panic!("unknown operation {other}"),
        };
        match outcome {
            Outcome::Agreed => agreed += 1,
            Outcome::Deviated(reasons) => {
                deviated.push(format!("| {} | {case} | {} |", text(&vector["op"]), reasons.join("; ")));
            }
            Outcome::NotApplicable(reason) => {
                skipped.push(format!("| {} | {case} | {reason} |", text(&vector["op"])));
            }
        }
    }
    let found = format!(
        "{agreed} answers the same, {} not, {} that say nothing of metadata:\n\n| operation | vector | ours |\n| --- | --- | --- |\n{}",
        deviated.len(),
        skipped.len(),
        [deviated, skipped].concat().join("\n")
    );
    layerstone_testing::documented("deviations.md", "metadata", &found);
}
