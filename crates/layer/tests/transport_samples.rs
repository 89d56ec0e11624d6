//! Real layers through a transport folder and back into a tar, compared entry by entry; what differs is on record.

mod common;

use std::collections::BTreeMap;

use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader, TarWriter};
use layerstone_layer::transport::{
    Outcome, ReadOptions, TransportReader, TransportWriter, WriteOptions, copy_from_tar, copy_to_tar,
};
use layerstone_layer::{Entry, EntryKind, Finding, Os, Report};
use layerstone_nt::FileTime;

/// Entries by path (and stream), with their bytes. Of a directory that comes twice the last one counts.
fn entries(archive: &[u8]) -> BTreeMap<String, (Entry, Vec<u8>)> {
    let mut reader = TarReader::new(archive);
    let mut mapper = Mapper::new(Os::Windows);
    let mut report = Report::default();
    let mut found = BTreeMap::new();
    let mut current = String::new();
    loop {
        match reader.next_event().unwrap() {
            Event::Raw(_) => {}
            Event::Member(member) => {
                let entry = mapper.entry(&member, &mut report).unwrap().unwrap();
                current = match &entry.kind {
                    EntryKind::Stream { name, .. } => {
                        format!("{}:{}", entry.path, String::from_utf8_lossy(name))
                    }
                    EntryKind::Opaque => format!("{}/ (opaque)", entry.path),
                    _ => entry.path.to_string(),
                };
                found.insert(current.clone(), (entry, Vec::new()));
            }
            Event::Data(bytes) => {
                found.get_mut(&current).unwrap().1.extend_from_slice(bytes);
            }
            Event::End => return found,
        }
    }
}

/// The layers of the samples: archives with `Files` in them, and those within an image archive.
fn windows_layers() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for (name, archive) in common::samples() {
        let read = common::read(&archive);
        let is_layer =
            |read: &common::Archive| read.members.iter().any(|(m, _)| m.name.starts_with(b"Files"));
        if is_layer(&read) {
            found.push((name, archive));
            continue;
        }
        for (member, bytes) in read.members {
            if member.name.ends_with(b".tar") && !bytes.is_empty() && is_layer(&common::read(&bytes)) {
                found.push((format!("{name}!{}", String::from_utf8_lossy(&member.name)), bytes));
            }
        }
    }
    found
}

#[test]
fn every_sample_layer_survives_a_transport_folder() {
    const TEST: &str = "every_sample_layer_survives_a_transport_folder";
    let layers = windows_layers();
    if layers.is_empty() {
        return common::skip(TEST, "no Windows layers among the samples");
    }
    let (mut compared, mut differences) = (0, BTreeMap::<&str, usize>::new());
    for (name, archive) in layers {
        let root = tempfile::tempdir().unwrap();
        let writer = TransportWriter::create(root.path(), WriteOptions::hcs()).unwrap();
        let outcome = copy_from_tar(&mut TarReader::new(archive.as_slice()), writer)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let options = ReadOptions { require_hives: false, ..ReadOptions::strict() };
        let mut tar = TarWriter::new(Vec::new());
        copy_to_tar(&mut TransportReader::open(root.path(), options).unwrap(), &mut tar)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let back = tar.finish().unwrap();
        compared += compare(&name, entries(&archive), entries(&back), &outcome, &mut differences);
    }
    println!("{compared} entries compared; differences: {differences:#?}");
    assert!(compared > 50);
}

/// Compares what went in with what came out; how many entries were compared.
fn compare(
    layer: &str,
    before: BTreeMap<String, (Entry, Vec<u8>)>,
    mut after: BTreeMap<String, (Entry, Vec<u8>)>,
    outcome: &Outcome,
    differences: &mut BTreeMap<&'static str, usize>,
) -> usize {
    let mut count = |what| *differences.entry(what).or_insert(0) += 1;
    let mut compared = 0;
    for (name, (before, bytes)) in before {
        compared += 1;
        match before.kind {
            EntryKind::HardLink { .. } => {
                assert!(outcome.hard_links.iter().any(|link| link.name == before.path), "{layer}: {name}");
                count("hard link: in the outcome");
                continue;
            }
            EntryKind::Opaque => {
                assert!(outcome.opaque.contains(&before.path), "{layer}: {name}");
                count("opaque marker: in the outcome");
                continue;
            }
            _ => {}
        }
        let (after, after_bytes) = after.remove(&name).unwrap_or_else(|| panic!("{layer}: {name} is gone"));
        assert_eq!(bytes, after_bytes, "{layer}: {name}");
        match (&before.kind, &after.kind) {
            (EntryKind::Symlink { target: one }, EntryKind::Symlink { target: other }) => {
                // Of the archive's target the separators are the reparse point's now.
                let slashes: Vec<u8> = other.iter().map(|&b| if b == b'\\' { b'/' } else { b }).collect();
                if one != other {
                    count("link target: backslashes");
                }
                assert!(one == other || *one == slashes, "{layer}: {name}");
            }
            (one, other) => assert_eq!(one, other, "{layer}: {name}"),
        }
        let (Some(one), Some(other)) = (before.meta.windows, after.meta.windows) else {
            assert!(matches!(before.kind, EntryKind::Whiteout | EntryKind::Stream { .. }), "{layer}: {name}");
            continue;
        };
        assert_eq!(one.security_descriptor, other.security_descriptor, "{layer}: {name}");
        assert_eq!((&one.eas, &one.reparse), (&other.eas, &other.reparse), "{layer}: {name}");
        if one.basic.attributes != other.basic.attributes {
            // Links: the folder's readers go by the kind. Hives: plain files of the host.
            assert!(
                name.starts_with("Hives"),
                "{layer}: {name}: {} {}",
                one.basic.attributes,
                other.basic.attributes
            );
            count("attributes of a hive");
        }
        assert_eq!(one.basic.last_write, other.basic.last_write, "{layer}: {name}");
        if one.basic.creation != other.basic.creation {
            assert_eq!(other.basic.creation, one.basic.last_write, "{layer}: {name}");
            count("creation time: the last write");
        }
        if one.basic.change != other.basic.change {
            assert_eq!(other.basic.change, FileTime::NOT_SET, "{layer}: {name}");
            count("change time: not set");
        }
        if one.basic.last_access != other.basic.last_access {
            // A host has one in any case.
            assert_eq!(one.basic.last_access, FileTime::NOT_SET, "{layer}: {name}");
            assert_eq!(other.basic.last_access, one.basic.last_write, "{layer}: {name}");
            count("access time: was not set, is the last write");
        }
        if before.meta.mode != after.meta.mode || (before.meta.uid, before.meta.gid) != (0, 0) {
            count("POSIX mode and owner: Windows has none");
        }
    }
    for name in after.keys() {
        let implicit = outcome.report.count(Finding::ImplicitDirectory);
        assert!(implicit > 0, "{layer}: {name} came from nowhere");
        count("directory without an entry: made");
    }
    compared
}
