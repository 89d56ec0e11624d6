//! Random trees.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::{Item, Kind, Model};

/// Each case is a whole image, so there are few of them unless `PROPTEST_CASES` says otherwise.
pub(crate) fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

#[derive(Debug, Clone)]
struct Seed {
    item: Item,
    parent: prop::sample::Index,
    names: Vec<Vec<u8>>,
}

pub(crate) fn models() -> impl Strategy<Value = Model> {
    (items(), vec(seeds(), 0..60)).prop_map(|(root, seeds)| {
        let mut model = Model::new();
        model.0[0] = Item { kind: Kind::Dir(BTreeMap::new()), ..root };
        model.0[0].xattrs.retain(|name, _| name.starts_with(b"user") || name.starts_with(b"trusted"));
        let mut dirs = vec![0];
        for seed in seeds {
            let dir = dirs[seed.parent.index(dirs.len())];
            let index = model.0.len();
            let is_dir = matches!(seed.item.kind, Kind::Dir(_));
            model.0.push(seed.item);
            if is_dir {
                dirs.push(index);
            }
            // A directory has one name; a node that gets none is a nameless one.
            let names = if is_dir { &seed.names[..1] } else { &seed.names[..] };
            for name in names {
                let Kind::Dir(entries) = &mut model.0[dir].kind else { unreachable!() };
                entries.entry(name.clone()).or_insert(index);
            }
        }
        model
    })
}

fn seeds() -> impl Strategy<Value = Seed> {
    (items(), any::<prop::sample::Index>(), vec(names(), 1..4)).prop_map(|(item, parent, mut names)| {
        names.sort();
        names.dedup();
        Seed { item, parent, names }
    })
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'!'), Just(b'.'), Just(b'a'), any::<u8>()]
        .prop_map(|b| if b == 0 || b == b'/' { b'_' } else { b });
    prop_oneof![4 => vec(byte.clone(), 1..12), 1 => vec(byte, 200..=255)]
        .prop_filter("reserved", |name| name != b"." && name != b"..")
}

fn items() -> impl Strategy<Value = Item> {
    let times = prop_oneof![
        3 => Just((1_700_000_000, 5)),
        1 => (any::<i32>().prop_map(i64::from), 0..1_000_000_000u32),
        1 => (-200_000_000_000i64..200_000_000_000, 0..1_000_000_000u32),
    ];
    let ids = || prop_oneof![Just(0), Just(1000), 0..u32::MAX];
    (0..0o10000u16, ids(), ids(), times, kinds(), vec(xattrs(), 0..5)).prop_map(
        |(perm, uid, gid, mtime, kind, xattrs)| {
            let mut item = Item { perm, uid, gid, mtime, xattrs: xattrs.into_iter().collect(), kind };
            if !matches!(item.kind, Kind::Dir(_)) {
                item.xattrs.remove(&b"system.posix_acl_default"[..]);
            }
            if matches!(item.kind, Kind::Symlink(_)) {
                item.xattrs.remove(&b"system.posix_acl_access"[..]);
            }
            item
        },
    )
}

fn kinds() -> impl Strategy<Value = Kind> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..100),
        (0..40_000usize, any::<u8>()).prop_map(|(len, seed)| pattern(len, seed)),
        (0..6usize, 0..3usize, any::<u8>()).prop_map(|(blocks, past, seed)| pattern(
            (blocks * 4096 + past * 2047).saturating_sub(past % 2),
            seed
        )),
    ];
    let pieces = vec((0..200_000u64, 1..9_000usize, any::<u8>()), 0..6);
    let sparse = (pieces, 0..3_000_000u64).prop_map(|(list, past)| {
        let mut at = 0;
        let pieces: Vec<_> = list
            .into_iter()
            .map(|(gap, len, seed)| {
                let start = at + gap;
                at = start + len as u64;
                (start, pattern(len, seed))
            })
            .collect();
        Kind::Sparse { size: at + past, pieces }
    });
    let target = prop_oneof![3 => 1..60usize, 1 => 1..=4095usize]
        .prop_map(|len| Kind::Symlink(pattern(len, 3).into_iter().map(|b| b | 1).collect()));
    prop_oneof![
        3 => Just(Kind::Dir(BTreeMap::new())),
        6 => bytes.prop_map(Kind::File),
        2 => sparse,
        2 => target,
        1 => (0..=0xFFFu32, 0..=0xF_FFFFu32).prop_map(|(major, minor)| Kind::Char(major, minor)),
        1 => (0..=0xFFFu32, 0..=0xF_FFFFu32).prop_map(|(major, minor)| Kind::Block(major, minor)),
        1 => prop_oneof![Just(Kind::Fifo), Just(Kind::Socket)],
    ]
}

fn xattrs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name =
        (prop_oneof![Just("user."), Just("trusted."), Just("security.x")], "[a-z]{1,3}|[a-z]{100,200}")
            .prop_map(|(prefix, rest)| format!("{prefix}{rest}").into_bytes());
    let value = prop_oneof![
        4 => (0..3usize).prop_map(|n| vec![b'v'; n * 30]),
        4 => vec(any::<u8>(), 0..60),
        1 => (0..=65_535usize, any::<u8>()).prop_map(|(len, seed)| pattern(len, seed)),
    ];
    let acl = prop_oneof![Just(&b"system.posix_acl_access"[..]), Just(&b"system.posix_acl_default"[..])]
        .prop_map(|name| (name.to_vec(), acl()));
    prop_oneof![8 => (name, value), 1 => acl]
}

/// The smallest ACL that the kernel takes: owner, group, others.
pub(crate) fn acl() -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, perm) in [(1u16, 6u16), (4, 4), (0x20, 4)] {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&perm.to_le_bytes());
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    }
    bytes
}

/// Bytes without a short period.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}
