//! Random Windows layers with everything that an entry can have: all kinds of reparse points, flags of extended attributes, streams,
//! holes, hard links, whiteouts, lone surrogates, times from 1601 to the end.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::collections::HashSet;

use layerstone_layer::tar::Segment;
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata};
use layerstone_nt::reparse::{LxSpecial, NameUnit, TargetKind, View, Wof};
use layerstone_nt::{
    BasicInfo, Ea, FileAttributes, FileTime, ReparseData, ReparsePoint, ReparseTag, WideString,
    WindowsMetadata,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

/// An entry and its stored bytes.
pub(crate) type Item = (Entry, Vec<u8>);

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => "[a-d]{1,3}".prop_map(String::into_bytes),
        2 => "[a-z ü日😀._-]{1,12}".prop_map(String::into_bytes),
        1 => "[a-c]{120,200}".prop_map(String::into_bytes),
        // Wine keeps names as UTF-8, and has no lone surrogate.
        1 => (0xD800..0xE000_u16).prop_map(|unit| match cfg!(windows) {
            true => b"plain".to_vec(),
            false => WideString::from_units([0x78, unit]).to_wtf8(),
        }),
    ]
    .prop_filter("names of a relative directory or a whiteout", |name| !name.starts_with(b"."))
}

/// A time from 1601 to the largest; 0 is "not set".
fn filetime() -> impl Strategy<Value = FileTime> {
    prop_oneof![
        3 => 1..=i64::MAX,
        2 => 116_444_736_000_000_000 - 1_000_000..116_444_736_000_000_000 + 1_000_000_i64,
        1 => Just(1),
        1 => Just(i64::MAX),
        1 => Just(0),
    ]
    .prop_filter("what Microsoft's writer makes of 0", |ticks| !FileTime(*ticks).to_unix().is_wrapped_zero())
    .prop_map(FileTime)
}

fn point() -> impl Strategy<Value = ReparsePoint> {
    let targets = prop::sample::select(vec![
        r"..\a",
        r"C:\Windows",
        r"\\server\share\x",
        r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\",
        r"\rooted",
        "C:relative",
        "",
        r"\\?\C:\long",
    ]);
    let kinds = prop::sample::select(vec![TargetKind::Symlink, TargetKind::MountPoint]);
    let link = (targets, kinds).prop_filter("an entry has a target", |(target, _)| !target.is_empty());
    let link = link.prop_map(|(target, kind)| ReparsePoint::from_target(&target.into(), kind));
    // As PowerShell makes them: the substitute name only.
    let unnamed = prop::sample::select(vec![r"\??\C:\x", r"\??\UNC\s\h", r"\??\GLOBALROOT\Device\x"])
        .prop_map(|name| ReparsePoint {
            tag: ReparseTag::MOUNT_POINT,
            data: ReparseData::MountPoint { substitute: name.into(), print: WideString::default() },
        });
    let view = prop::sample::select(vec![
        View::LxSymlink { target: b"../x".to_vec() },
        View::LxSpecial(LxSpecial::Socket),
        View::LxSpecial(LxSpecial::BlockDevice),
        View::Wci { is_directory: false, layer: [7; 16], name: r"a\b".into(), unit: NameUnit::Bytes },
        View::Wci { is_directory: true, layer: [8; 16], name: "d".into(), unit: NameUnit::Characters },
        View::Wof(Wof::File { version: 1, algorithm: 2, flags: None }),
        View::AppExecLink { version: 3, strings: vec!["p".into(), "e".into(), r"C:\a.exe".into()] },
        View::Cloud { tag: ReparseTag::CLOUD_5, flags: 0x8000, length: 9, data: b"FeRp".to_vec() },
    ]);
    let raw = (
        vec(any::<u8>(), 0..40),
        prop::sample::select(vec![ReparseTag::DEDUP, ReparseTag::WCI_TOMBSTONE, ReparseTag(0x8000_7FFF)]),
    )
        .prop_map(|(data, tag)| ReparsePoint { tag, data: ReparseData::Raw(data) });
    let foreign = (any::<[u8; 16]>(), vec(any::<u8>(), 0..9)).prop_map(|(guid, data)| ReparsePoint {
        tag: ReparseTag(0x0000_1234),
        data: ReparseData::ThirdParty { guid, data },
    });
    prop_oneof![
        6 => link,
        1 => unnamed,
        2 => view.prop_map(|view| view.to_point().unwrap()),
        1 => raw,
        1 => foreign,
    ]
}

fn metadata() -> impl Strategy<Value = WindowsMetadata> {
    let ea = (vec(any::<u8>(), 0..20), prop::sample::select(vec![0, 0, 0, Ea::NEED_EA]));
    let descriptor = prop_oneof![
        Just(None),
        prop::sample::select(vec![
            layerstone_nt::security::BUILDKIT_FILE,
            layerstone_nt::security::OWNER_USERS,
            layerstone_nt::security::NULL_DACL,
        ])
        .prop_map(|text| Some(layerstone_nt::sddl::parse(text).unwrap().to_bytes().unwrap())),
        vec(any::<u8>(), 1..60).prop_map(Some),
    ];
    let attributes = prop::sample::select(vec![0_u32, 0x1, 0x20, 0x27, 0x2020, 0x80, 0x4_0000]);
    (
        [filetime(), filetime(), filetime(), filetime()],
        attributes,
        descriptor,
        btree_map("[A-Z$]{1,12}", ea, 0..3),
    )
        .prop_map(
            |([creation, last_access, last_write, change], attributes, security_descriptor, eas)| {
                WindowsMetadata {
                    basic: BasicInfo {
                        creation,
                        last_access,
                        last_write,
                        change,
                        attributes: FileAttributes(attributes),
                    },
                    security_descriptor,
                    eas: eas
                        .into_iter()
                        .map(|(name, (value, flags))| Ea { flags, name: name.into_bytes(), value })
                        .collect(),
                    reparse: None,
                }
            },
        )
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    File(Vec<u8>, Option<Vec<Segment>>),
    Point(ReparsePoint, bool),
    /// A link to an earlier file, by its place among them.
    HardLink(prop::sample::Index),
    Removed,
}

fn what() -> impl Strategy<Value = What> {
    let file = vec(any::<u8>(), 0..700).prop_flat_map(|bytes| {
        let cuts = prop_oneof![2 => Just(None), 1 => btree_set(0..=bytes.len() as u64, 0..7).prop_map(Some)];
        (Just(bytes), cuts)
    });
    let file = file.prop_map(|(bytes, cuts)| {
        let cuts: Option<Vec<u64>> = cuts.map(|cuts| cuts.into_iter().collect());
        let segments = cuts.map(|cuts| {
            cuts.chunks_exact(2).map(|pair| Segment { offset: pair[0], len: pair[1] - pair[0] }).collect()
        });
        What::File(bytes, segments)
    });
    prop_oneof![
        3 => Just(What::Directory),
        4 => file,
        2 => (point(), any::<bool>()).prop_map(|(point, directory)| What::Point(point, directory)),
        1 => any::<prop::sample::Index>().prop_map(What::HardLink),
        1 => Just(What::Removed),
    ]
}

/// A Windows layer: `Files`, and in it whatever there is, parents first, no name twice.
pub(crate) fn layer() -> impl Strategy<Value = Vec<Item>> {
    let streams = vec(("[a-z ü😀]{1,6}", vec(any::<u8>(), 0..40)), 0..3);
    let entry = (any::<prop::sample::Index>(), name(), what(), metadata(), streams);
    (metadata(), vec(entry, 0..12)).prop_map(|(root, entries)| {
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        let mut directories = vec![LayerPath::from("Files")];
        let mut files: Vec<LayerPath> = Vec::new();
        push(&mut out, LayerPath::from("Files"), &What::Directory, root, &files);
        for (parent, name, what, part, streams) in entries {
            let parent = directories[parent.index(directories.len())].clone();
            let path = parent.join(&name);
            let is_new = seen.insert(layerstone_nt::name::fold(path.as_bytes()));
            if !is_new
                || path.as_bytes().len() > 2000
                || (matches!(what, What::HardLink(_)) && files.is_empty())
            {
                continue;
            }
            // What is removed stands in a list of text.
            if matches!(what, What::Removed) && std::str::from_utf8(path.as_bytes()).is_err() {
                continue;
            }
            match what {
                What::Directory => directories.push(path.clone()),
                What::File(..) => files.push(path.clone()),
                _ => {}
            }
            let has_streams = matches!(what, What::Directory | What::File(..));
            let basic = push(&mut out, path.clone(), &what, part, &files);
            let mut names = HashSet::new();
            for (name, data) in streams {
                if has_streams && names.insert(layerstone_nt::name::fold(name.as_bytes())) {
                    let kind = EntryKind::Stream { name: name.into_bytes(), size: data.len() as u64 };
                    let windows = Some(Box::new(WindowsMetadata { basic, ..WindowsMetadata::default() }));
                    let meta = Metadata {
                        mode: 0o644,
                        mtime: basic.last_write.to_unix(),
                        windows,
                        ..Metadata::default()
                    };
                    out.push((Entry { path: path.clone(), kind, meta }, data));
                }
            }
        }
        out
    })
}

fn push(
    out: &mut Vec<Item>,
    path: LayerPath,
    what: &What,
    mut part: WindowsMetadata,
    files: &[LayerPath],
) -> BasicInfo {
    let mut bytes = Vec::new();
    let attributes = &mut part.basic.attributes;
    let kind = match what {
        What::Directory => {
            *attributes |= FileAttributes::DIRECTORY;
            EntryKind::Directory
        }
        What::File(data, segments) => {
            let whole = [Segment { offset: 0, len: data.len() as u64 }];
            for segment in segments.as_deref().unwrap_or(&whole) {
                bytes.extend_from_slice(&data[segment.offset as usize..][..segment.len as usize]);
            }
            EntryKind::File { size: data.len() as u64, segments: segments.clone() }
        }
        What::Point(point, is_directory) => {
            *attributes |= FileAttributes::REPARSE_POINT;
            if *is_directory {
                *attributes |= FileAttributes::DIRECTORY;
            }
            part.reparse = Some(point.clone());
            match (point.target(), is_directory) {
                (Some(target), _) => EntryKind::Symlink { target: target.to_wtf8() },
                (None, true) => EntryKind::Directory,
                (None, false) => EntryKind::File { size: 0, segments: None },
            }
        }
        What::HardLink(at) => EntryKind::HardLink { target: files[at.index(files.len())].clone() },
        What::Removed => {
            out.push((Entry { path, kind: EntryKind::Whiteout, meta: Metadata::default() }, bytes));
            return part.basic;
        }
    };
    if let EntryKind::HardLink { .. } = kind {
        // Of a link an archive has times and attributes.
        part = WindowsMetadata { basic: part.basic, ..WindowsMetadata::default() };
    }
    let basic = part.basic;
    let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    let mtime = basic.last_write.to_unix();
    let meta = Metadata { mode, mtime, windows: Some(Box::new(part)), ..Metadata::default() };
    out.push((Entry { path, kind, meta }, bytes));
    basic
}

/// Whether a layer tar has a form for an entry: of reparse points it has links only.
pub(crate) fn fits_tar(entry: &Entry) -> bool {
    let part = entry.meta.windows.as_ref();
    part.and_then(|part| part.reparse.as_ref()).is_none_or(|point| point.target_kind().is_some())
}

/// The entry as an archive gives it back, and how many things of it the archive does not say.
pub(crate) fn through_tar((entry, bytes): &Item) -> (Item, u64) {
    let (mut entry, mut bytes, mut losses) = (entry.clone(), bytes.clone(), 0);
    if let EntryKind::File { size, segments: segments @ Some(_) } = &mut entry.kind {
        let mut whole = vec![0; *size as usize];
        let mut rest = bytes.as_slice();
        for segment in segments.take().into_iter().flatten() {
            let (now, later) = rest.split_at(segment.len as usize);
            whole[segment.offset as usize..][..now.len()].copy_from_slice(now);
            rest = later;
        }
        bytes = whole;
        losses += 1;
    }
    match &entry.kind {
        // A stream has nothing of its own.
        EntryKind::Stream { .. } => {
            entry.meta = Metadata::default();
            return ((entry, bytes), 0);
        }
        EntryKind::Whiteout => return ((entry, bytes), 0),
        _ => {}
    }
    let Some(part) = &mut entry.meta.windows else { return ((entry, bytes), losses) };
    for ea in &mut part.eas {
        losses += u64::from(ea.flags != 0);
        ea.flags = 0;
    }
    if !part.basic.creation.is_set() && part.basic.last_write.is_set() {
        part.basic.creation = part.basic.last_write;
        losses += 1;
    }
    if let Some(point) = &mut part.reparse
        && let (Some(target), Some(kind)) = (point.target(), point.target_kind())
    {
        let again = ReparsePoint::from_target(&target, kind);
        losses += u64::from(again != *point);
        *point = again;
    }
    ((entry, bytes), losses)
}
