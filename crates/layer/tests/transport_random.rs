//! Any layer that a folder can hold reads back as it was written, and survives a tar on the way.

mod folder;

use std::collections::BTreeMap;

use folder::{Item, entry, lay_out, read_back, time};
use layerstone_layer::tar::{Segment, TarReader, TarWriter};
use layerstone_layer::transport::{
    ReadOptions, TransportReader, TransportWriter, WriteOptions, copy_from_tar, copy_to_tar,
};
use layerstone_layer::{Entry, EntryKind, Finding, LayerPath, Metadata};
use layerstone_nt::reparse::{ReparsePoint, TargetKind};
use layerstone_nt::{BasicInfo, Ea, FileAttributes, FileTime, WideString, WindowsMetadata};
use proptest::prelude::*;

/// What there is to say about a name.
#[derive(Debug, Clone)]
struct Thing {
    what: What,
    part: WindowsMetadata,
    streams: Vec<(WideString, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum What {
    Directory(Vec<(Vec<u8>, Thing)>),
    File(Vec<u8>, Option<Vec<Segment>>),
    Link(String, bool),
    Removed,
}

fn part() -> impl Strategy<Value = WindowsMetadata> {
    let ticks = 0..10_000_000_000_000_i64;
    let ea = ("[A-Z]{1,5}", prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(n, v)| Ea::new(n, v));
    (
        [ticks.clone(), ticks.clone(), ticks],
        prop::sample::select(vec![0u32, 0x1, 0x20, 0x27, 0x2020, 0x80]),
        prop::option::of(prop::collection::vec(any::<u8>(), 1..60)),
        prop::collection::vec(ea, 0..3),
    )
        .prop_map(|([creation, access, write], attributes, security_descriptor, mut eas)| {
            // A tar has them by name, each once.
            eas.sort_by(|a, b| a.name.cmp(&b.name));
            eas.dedup_by(|a, b| a.name == b.name);
            WindowsMetadata {
                basic: BasicInfo {
                    creation: time(creation),
                    last_access: time(access),
                    last_write: time(write),
                    change: FileTime::NOT_SET,
                    attributes: FileAttributes(attributes),
                },
                security_descriptor,
                eas,
                reparse: None,
            }
        })
}

fn segments(size: usize) -> impl Strategy<Value = Option<Vec<Segment>>> {
    prop::option::of(prop::collection::btree_set(0..=size as u64, 0..7)).prop_map(|cuts| {
        let cuts: Vec<u64> = cuts?.into_iter().collect();
        Some(cuts.chunks_exact(2).map(|pair| Segment { offset: pair[0], len: pair[1] - pair[0] }).collect())
    })
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c]{1,3}".prop_map(String::into_bytes),
        "[a-z ü日😀._-]{1,12}".prop_map(String::into_bytes),
        // A lone surrogate, as NTFS allows it. Wine keeps names as UTF-8, and cannot.
        (0xD800..0xDC00u16).prop_map(|unit| match cfg!(windows) {
            true => b"plain".to_vec(),
            false => WideString::from_units([0x78, unit]).to_wtf8(),
        }),
    ]
    .prop_filter("a directory itself", |name| !matches!(name.as_slice(), b"." | b".."))
}

fn thing() -> impl Strategy<Value = Thing> {
    let bytes = prop::collection::vec(any::<u8>(), 0..120);
    let file = bytes.prop_flat_map(|bytes| (segments(bytes.len()), Just(bytes)));
    let leaf = prop_oneof![
        4 => file.prop_map(|(segments, bytes)| What::File(bytes, segments)),
        1 => ("(C:|\\\\|)[a-z]{1,5}", any::<bool>()).prop_map(|(target, is_directory)| What::Link(target, is_directory)),
        1 => Just(What::Removed),
    ];
    let wide = "[a-z ü😀]{1,6}".prop_map(|name| WideString::from(name.as_str()));
    let streams = prop::collection::vec((wide, prop::collection::vec(any::<u8>(), 0..40)), 0..3);
    let leaf =
        (leaf, part(), streams.clone()).prop_map(|(what, part, streams)| Thing { what, part, streams });
    leaf.prop_recursive(3, 24, 5, move |inner| {
        (prop::collection::vec((name(), inner), 0..5), part(), streams.clone())
            .prop_map(|(children, part, streams)| Thing { what: What::Directory(children), part, streams })
    })
}

/// The things as entries, in the order in which a folder is read.
fn flatten(path: &LayerPath, thing: &Thing, out: &mut Vec<Item>) {
    let mut part = thing.part.clone();
    let mut bytes = Vec::new();
    let kind = match &thing.what {
        What::Directory(_) => {
            part.basic.attributes |= FileAttributes::DIRECTORY;
            EntryKind::Directory
        }
        What::File(data, segments) => {
            let whole = [Segment { offset: 0, len: data.len() as u64 }];
            for segment in segments.as_deref().unwrap_or(&whole) {
                bytes.extend_from_slice(&data[segment.offset as usize..][..segment.len as usize]);
            }
            EntryKind::File { size: data.len() as u64, segments: segments.clone() }
        }
        What::Link(target, is_directory) => {
            part.basic.attributes |= FileAttributes::REPARSE_POINT;
            if *is_directory {
                part.basic.attributes |= FileAttributes::DIRECTORY;
            }
            part.reparse = Some(ReparsePoint::from_target(&target.as_str().into(), TargetKind::Symlink));
            EntryKind::Symlink { target: target.clone().into_bytes() }
        }
        What::Removed => {
            let (kind, meta) = (EntryKind::Whiteout, Metadata::default());
            return out.push((Entry { path: path.clone(), kind, meta }, bytes));
        }
    };
    let basic = part.basic;
    out.push((Entry { path: path.clone(), ..entry("", kind, part) }, bytes));
    for (name, data) in &thing.streams {
        let kind = EntryKind::Stream { name: name.to_wtf8(), size: data.len() as u64 };
        let part = WindowsMetadata { basic, ..WindowsMetadata::default() };
        out.push((Entry { path: path.clone(), ..entry("", kind, part) }, data.clone()));
    }
    let What::Directory(children) = &thing.what else { return };
    // Names that NTFS takes for the same cannot both be there.
    let mut named = BTreeMap::new();
    for (name, child) in children {
        let folded = layerstone_nt::name::fold(name);
        if !named.values().any(|(_, _, other)| *other == folded) {
            named.insert(name.clone(), (name, child, folded));
        }
    }
    let is_removed = |child: &Thing| matches!(child.what, What::Removed);
    let children = named.into_values().map(|(name, child, _)| (name, child));
    let (removed, there): (Vec<_>, Vec<_>) = children.partition(|(_, child)| is_removed(child));
    for (name, child) in removed.into_iter().chain(there) {
        // What is removed stands in a list of text.
        if !is_removed(child) || std::str::from_utf8(path.join(name).as_bytes()).is_ok() {
            flatten(&path.join(name), child, out);
        }
    }
}

/// A layer: the things in `Files`, and hives.
fn layer() -> impl Strategy<Value = Vec<Item>> {
    let hives = prop::collection::btree_map(
        "(System|[A-Z][a-z]{1,3})_Delta",
        prop::collection::vec(any::<u8>(), 0..60),
        0..4,
    );
    (prop::collection::vec((name(), thing()), 0..6), part(), part(), part(), hives).prop_map(
        |(children, files, hives_part, hive, hives)| {
            let mut out = Vec::new();
            let files = Thing { what: What::Directory(children), part: files, streams: Vec::new() };
            flatten(&LayerPath::from("Files"), &files, &mut out);
            let root = Thing { what: What::Directory(Vec::new()), part: hives_part, streams: Vec::new() };
            flatten(&LayerPath::from("Hives"), &root, &mut out);
            for (name, data) in hives {
                let basic = BasicInfo { attributes: FileAttributes::ARCHIVE, ..hive.basic };
                let part = WindowsMetadata { basic, ..WindowsMetadata::default() };
                let kind = EntryKind::File { size: data.len() as u64, segments: None };
                out.push((entry(&format!("Hives/{name}"), kind, part), data));
            }
            out
        },
    )
}

/// What a host keeps of the times: the creation time is lost but on Windows, and of hives all but the last write.
fn as_kept(items: &[Item]) -> Vec<Item> {
    let mut items = items.to_vec();
    let of_delta = items.iter().find(|(entry, _)| entry.path.as_bytes() == b"Hives/System_Delta");
    let of_delta = of_delta.map(|(entry, _)| entry.meta.clone());
    for (entry, _) in &mut items {
        // Their own are those of the import.
        if let (b"Files" | b"Hives", Some(delta)) = (entry.path.as_bytes(), &of_delta)
            && let (Some(part), Some(delta_part)) = (&mut entry.meta.windows, &delta.windows)
        {
            part.basic.last_write = delta_part.basic.last_write;
            part.basic.last_access = delta_part.basic.last_write;
            entry.meta.mtime = delta.mtime;
        }
        let Some(part) = &mut entry.meta.windows else { continue };
        part.basic.creation = part.basic.last_write;
        if entry.path.components().count() > 1 && entry.path.as_bytes().starts_with(b"Hives/") {
            part.basic.last_access = part.basic.last_write;
        }
        // Wine does not keep it, whatever Windows does.
        if cfg!(windows) {
            part.basic.creation = FileTime::NOT_SET;
        }
        if let EntryKind::File { segments: Some(segments), .. } = &mut entry.kind {
            segments.retain(|segment| segment.len > 0);
        }
    }
    items
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if cfg!(windows) { 16 } else { 192 })
    })]

    #[test]
    fn what_is_written_is_read_back(items in layer()) {
        let root = tempfile::tempdir().unwrap();
        let outcome = lay_out(root.path(), WriteOptions::hcs(), &items).unwrap();
        prop_assert!(outcome.hard_links.is_empty());
        let (read, report) = read_back(root.path(), ReadOptions { require_hives: false, ..ReadOptions::strict() }).unwrap();
        prop_assert_eq!(as_kept(&read), as_kept(&items));
        // The descriptors are any bytes, and some names only NTFS takes.
        let expected = |finding| matches!(finding, Finding::WindowsDeviation | Finding::WindowsName);
        prop_assert!(report.iter().all(|(finding, _)| expected(finding)), "{:?}", report);
    }

    #[test]
    fn a_tar_of_a_folder_makes_the_same_folder(items in layer()) {
        // A tar has no holes, and of a stream no time; with a colon in no name, nothing can be taken for a stream.
        let root = tempfile::tempdir().unwrap();
        lay_out(root.path(), WriteOptions::hcs(), &items).unwrap();
        let options = ReadOptions { require_hives: false, ..ReadOptions::strict() };
        let tar = |root: &std::path::Path| {
            let mut tar = TarWriter::new(Vec::new());
            copy_to_tar(&mut TransportReader::open(root, options).unwrap(), &mut tar).unwrap();
            tar.finish().unwrap()
        };
        let archive = tar(root.path());
        let again = tempfile::tempdir().unwrap();
        let writer = TransportWriter::create(again.path(), WriteOptions::hcs()).unwrap();
        copy_from_tar(&mut TarReader::new(archive.as_slice()), writer).unwrap();
        prop_assert!(tar(again.path()) == archive, "the second archive differs");
    }
}
