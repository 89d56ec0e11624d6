//! Random archives: nothing panics, no byte is lost, and what the writer writes the reader reads.

mod common;

use common::{Archive, read};
use layerstone_layer::tar::TarWriter;
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata, Os, Report, UnixTime, Xattr};
use layerstone_nt::ea::Ea;
use layerstone_nt::reparse::{ReparsePoint, TargetKind};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::wide::WideString;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z]{1,8}".prop_map(String::into_bytes),
        1 => "[a-zA-Z0-9 é=%\n]{1,60}".prop_map(String::into_bytes),
        1 => vec(1u8..=255, 1..=255).prop_map(|mut name| {
            name.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'_');
            name
        }),
    ]
    .prop_map(|name| {
        let name = if name.starts_with(b".") { [b"x", &name[1..]].concat() } else { name };
        name[..name.len().min(255)].to_vec()
    })
}

fn path() -> impl Strategy<Value = LayerPath> {
    vec(name(), 1..6).prop_map(|names| names.iter().fold(LayerPath::root(), |path, name| path.join(name)))
}

fn time() -> impl Strategy<Value = UnixTime> {
    let seconds = prop_oneof![0..=4_000_000_000i64, -5_000_000_000..0i64, (1i64 << 33)..(1i64 << 40)];
    (seconds, prop_oneof![Just(0), 0u32..1_000_000_000]).prop_map(|(s, n)| UnixTime::new(s, n).unwrap())
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let name = prop_oneof!["user\\.[a-z=%. é]{1,20}", "trusted\\.[a-z]{1,5}", "security\\.[a-z]{1,5}"];
    btree_map(name, vec(any::<u8>(), 0..300), 0..3).prop_map(|found| {
        found.into_iter().map(|(name, value)| Xattr { name: name.into_bytes(), value }).collect()
    })
}

fn meta() -> impl Strategy<Value = Metadata> {
    (0u16..0o10000, any::<u32>(), any::<u32>(), time(), xattrs())
        .prop_map(|(mode, uid, gid, mtime, xattrs)| Metadata { mode, uid, gid, mtime, xattrs, windows: None })
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), path())
        .prop_map(|(absolute, path)| [if absolute { &b"/"[..] } else { b"../" }, path.as_bytes()].concat())
}

fn device() -> impl Strategy<Value = (u32, u32)> {
    (0u32..4096, 0u32..1 << 20)
}

fn linux_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(EntryKind::Directory),
        (0u64..3000).prop_map(|size| EntryKind::File { size, segments: None }),
        path().prop_map(|target| EntryKind::HardLink { target }),
        target().prop_map(|target| EntryKind::Symlink { target }),
        device().prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        device().prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
        Just(EntryKind::Fifo),
        Just(EntryKind::Whiteout),
        Just(EntryKind::Opaque),
    ];
    (path(), kind, meta()).prop_map(|(path, kind, mut meta)| {
        match &kind {
            EntryKind::Whiteout | EntryKind::Opaque => meta = Metadata::default(),
            EntryKind::HardLink { .. } => meta.xattrs.clear(),
            _ => {}
        }
        let long = |path: &LayerPath| {
            path.components()
                .map(|c| LayerPath::root().join(&c[..c.len().min(240)]))
                .fold(LayerPath::root(), |path, name| path.join(name.as_bytes()))
        };
        Entry { path: long(&path), kind, meta }
    })
}

/// A time that FILETIME holds and a tar can tell from "not set".
fn filetime() -> impl Strategy<Value = FileTime> {
    (1i64..1 << 60).prop_map(FileTime)
}

fn windows_entry() -> impl Strategy<Value = Vec<(Entry, u64)>> {
    let basic = (filetime(), filetime(), filetime(), filetime(), any::<u32>());
    let eas = btree_map("[A-Z]{1,12}", vec(any::<u8>(), 0..40), 0..3);
    let descriptor = proptest::option::of(vec(any::<u8>(), 1..200));
    let streams = btree_map("[a-zA-Z. ]{1,20}", 0u64..600, 0..3);
    (vec("[a-zA-Z0-9]{1,12}", 1..4), basic, descriptor, eas, 0..4, streams).prop_map(
        |(names, (creation, last_access, last_write, change, bits), descriptor, eas, kind, streams)| {
            let names = names.iter().map(String::as_bytes);
            let path = names.fold(LayerPath::from("Files"), |path, name| path.join(name));
            // The type bits must fit the entry.
            let type_bits = FileAttributes::DIRECTORY.0 | FileAttributes::REPARSE_POINT.0;
            let (kind, type_attributes, reparse) = match kind {
                0 => (EntryKind::Directory, FileAttributes::DIRECTORY.0, None),
                1 | 2 => {
                    let target = WideString::from_wtf8(b"\\??\\C:\\Users").unwrap();
                    let as_what = if kind == 1 { TargetKind::MountPoint } else { TargetKind::Symlink };
                    let point = ReparsePoint::from_target(&target, as_what);
                    let target = point.target().unwrap().to_wtf8();
                    (EntryKind::Symlink { target }, FileAttributes::REPARSE_POINT.0, Some(point))
                }
                _ => (EntryKind::File { size: u64::from(bits % 700), segments: None }, 0, None),
            };
            let is_link = matches!(kind, EntryKind::Symlink { .. });
            let attributes = FileAttributes(bits & !type_bits | type_attributes);
            let windows = WindowsMetadata {
                basic: BasicInfo { creation, last_access, last_write, change, attributes },
                security_descriptor: descriptor,
                eas: eas.into_iter().map(|(name, value)| Ea::new(name, value)).collect(),
                reparse,
            };
            let size = if let EntryKind::File { size, .. } = kind { size } else { 0 };
            // What a reader makes of the empty permission bits of Windows.
            let mode = if matches!(kind, EntryKind::Directory) { 0o755 } else { 0o644 };
            let meta = Metadata {
                mode,
                mtime: last_write.to_unix(),
                windows: Some(Box::new(windows)),
                ..Metadata::default()
            };
            let mut out = vec![(Entry { path: path.clone(), kind, meta }, size)];
            if !is_link {
                out.extend(streams.into_iter().map(|(name, size)| {
                    let kind = EntryKind::Stream { name: name.into_bytes(), size };
                    (Entry { path: path.clone(), kind, meta: Metadata::default() }, size)
                }));
            }
            out
        },
    )
}

fn write(entries: &[(Entry, u64)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, size) in entries {
        writer.entry(entry).unwrap();
        writer.data(&vec![b'x'; *size as usize]).unwrap();
    }
    writer.finish().unwrap()
}

fn read_back(bytes: &[u8], os: Os) -> Vec<Entry> {
    let (mut mapper, mut report) = (Mapper::new(os), Report::default());
    read(bytes).members.iter().map(|(m, _)| mapper.entry(m, &mut report).unwrap().unwrap()).collect()
}

/// Reads whatever it is; there must be no panic, and nothing that was not in the input.
fn read_any(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut archive = Archive::default();
    let result = archive.read(bytes, 512);
    prop_assert!(bytes.starts_with(&archive.bytes));
    if result.is_ok() {
        prop_assert_eq!(archive.bytes.len(), bytes.len());
    }
    for os in [Os::Linux, Os::Windows] {
        let (mut mapper, mut report) = (Mapper::new(os), Report::default());
        let mut tree = layerstone_layer::tree::LayerTree::new(os);
        for (member, payload) in &archive.members {
            let Ok(Some(entry)) = mapper.entry(member, &mut report) else { continue };
            let has_bytes = matches!(entry.kind, EntryKind::File { .. } | EntryKind::Stream { .. });
            tree.insert(entry, has_bytes.then_some(payload.len()), &mut report);
        }
        tree.pending_links();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn linux_entries_come_back_as_they_were_written(entries in vec(linux_entry(), 0..8)) {
        let with_sizes: Vec<_> = entries
            .iter()
            .map(|entry| (entry.clone(), if let EntryKind::File { size, .. } = entry.kind { size } else { 0 }))
            .collect();
        prop_assert_eq!(read_back(&write(&with_sizes), Os::Linux), entries);
    }

    #[test]
    fn windows_entries_come_back_as_they_were_written(entries in vec(windows_entry(), 0..5)) {
        let entries = entries.concat();
        let read = read_back(&write(&entries), Os::Windows);
        let entries: Vec<_> = entries.into_iter().map(|(entry, _)| entry).collect();
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..4096)) {
        read_any(&bytes)?;
    }

    #[test]
    fn damaged_archives_never_panic_and_never_lose_bytes(
        entries in vec(linux_entry(), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        fix_checksums in any::<bool>(),
    ) {
        let with_sizes: Vec<_> = entries
            .iter()
            .map(|entry| (entry.clone(), if let EntryKind::File { size, .. } = entry.kind { size } else { 0 }))
            .collect();
        let mut bytes = write(&with_sizes);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if fix_checksums {
            // Without this most damage would stop at the checksum.
            for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        read_any(&bytes)?;
    }
}
