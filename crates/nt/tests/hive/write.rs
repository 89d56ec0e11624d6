//! Hives that this crate writes.

use std::sync::Arc;

use layerstone_nt::hive::{
    Error, Hive, HiveWriter, KeyFlags, KeyTree, Layer, LayerSemantics, NameProblem, SEGMENT, SystemHive,
    ValueTree, ValueType, Version,
};
use layerstone_nt::name::upcase;
use layerstone_nt::{FileTime, WideString, sddl};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{hives, sample};

const VERSIONS: [Version; 4] = [Version::V1_3, Version::V1_4, Version::V1_5, Version::V1_6];

fn folded(name: &WideString) -> Vec<u16> {
    name.units().iter().map(|&unit| upcase(unit)).collect()
}

fn descriptor(text: &str) -> Arc<[u8]> {
    sddl::parse(text).unwrap().to_bytes().unwrap().into()
}

/// The tree as a reader finds it: sorted, and with the descriptor that keys without one get.
fn expected(mut tree: KeyTree) -> KeyTree {
    tree.security.get_or_insert_with(|| descriptor(HiveWriter::DEFAULT_SECURITY));
    tree.subkeys.sort_by_key(|key| folded(&key.name));
    tree.subkeys = tree.subkeys.into_iter().map(expected).collect();
    tree
}

/// Writes, checks, and reads again.
fn round_trip(version: Version, tree: &KeyTree) -> KeyTree {
    let bytes = HiveWriter::new(version).write(tree).unwrap();
    assert!(bytes.len().is_multiple_of(4096));
    let hive = Hive::open(bytes).unwrap();
    let check = hive.check();
    assert!(check.is_clean(), "{:#?}", check.problems);
    assert_eq!((check.lost_cells, hive.base().version), (0, version));
    KeyTree::read(&hive).unwrap()
}

#[test]
fn every_sample_written_again_has_the_same_tree() {
    const TEST: &str = "every_sample_written_again_has_the_same_tree";
    for (name, ..) in hives() {
        let Some(bytes) = sample(TEST, name) else { return };
        let hive = Hive::open(&bytes).unwrap();
        let tree = KeyTree::read(&hive).unwrap();
        assert!(round_trip(hive.base().version, &tree) == tree, "{name}");
        assert!(round_trip(Version::V1_6, &tree) == tree, "{name}");
    }
}

#[test]
fn an_empty_delta_is_8192_bytes_of_version_1_6_as_the_offline_registry_library_makes_it() {
    let bytes = HiveWriter::empty_delta().unwrap();
    assert_eq!(bytes.len(), 8192);
    assert_eq!(&bytes[176..184], b"OfRg\x01\0\0\0");
    let hive = Hive::open(&bytes).unwrap();
    let check = hive.check();
    assert!(check.is_clean() && !hive.base().is_dirty());
    assert_eq!((check.keys, check.values, hive.base().version), (1, 0, Version::V1_6));
    let root = hive.root().unwrap();
    assert_eq!(root.layer(), Layer::default());
    assert_eq!(
        sddl::format(&root.security_descriptor().unwrap()).unwrap(),
        HiveWriter::DEFAULT_SECURITY,
        "the descriptor is the one that the library writes"
    );
    assert_eq!(HiveWriter::empty_delta().unwrap(), bytes, "nothing in it changes");
    assert_eq!(SystemHive::ALL.len(), 5);

    let base = HiveWriter::empty_base().unwrap();
    let hive = Hive::open(&base).unwrap();
    assert!(hive.check().is_clean());
    assert_eq!((base.len(), hive.base().version, hive.base().written_offline), (8192, Version::V1_5, None));
}

/// Root and first bin of a hive that Microsoft made with the library, against ours of the same tree.
#[test]
fn the_descriptor_of_a_new_root_is_that_of_the_offline_registry_library() {
    const TEST: &str = "the_descriptor_of_a_new_root_is_that_of_the_offline_registry_library";
    let Some(bytes) = sample(TEST, "openvmm/imc.hiv") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let root = hive.root().unwrap().security_descriptor().unwrap();
    assert_eq!(sddl::format(&root).unwrap(), HiveWriter::DEFAULT_SECURITY);
}

#[test]
fn long_lists_of_subkeys_are_found_in_every_version() {
    let mut root = KeyTree::root("ROOT");
    root.subkeys = (0..2500).rev().map(|n| KeyTree::new(format!("key {n:04}").as_str())).collect();
    for version in VERSIONS {
        let bytes = HiveWriter::new(version).write(&root).unwrap();
        let hive = Hive::open(&bytes).unwrap();
        assert_eq!(hive.root().unwrap().subkeys().count(), 2500);
        for name in ["key 0000", "KEY 0499", "key 0500", "key 2499"] {
            assert!(hive.key(name).unwrap().is_some(), "{version} {name}");
        }
        assert!(hive.key("key 2500").unwrap().is_none());
        let signature =
            |text: &[u8; 2]| bytes.windows(8).filter(|cell| cell[4..6] == *text && cell[3] == 0xFF).count();
        let lists = if version.has_hashes() { (5, 0, 1) } else { (0, 5, 1) };
        assert_eq!((signature(b"lh"), signature(b"li"), signature(b"ri")), lists, "{version}");
        assert!(hive.check().is_clean());
    }
}

#[test]
fn data_is_kept_at_every_size_where_its_storage_changes() {
    let sizes = [0, 1, 3, 4, 5, 8, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 2 * SEGMENT + 1, 1 << 20];
    let mut root = KeyTree::root("ROOT");
    for size in sizes {
        let data: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        root.values.push(ValueTree::new(format!("{size}").as_str(), ValueType::Binary, data));
    }
    for version in VERSIONS {
        assert!(round_trip(version, &root) == expected(root.clone()), "{version}");
    }
    let hive = HiveWriter::new(Version::V1_4).write(&root).unwrap();
    assert_eq!(Hive::open(hive).unwrap().check().big_values, 4);
    let hive = HiveWriter::new(Version::V1_3).write(&root).unwrap();
    assert_eq!(Hive::open(hive).unwrap().check().big_values, 0);
}

#[test]
fn descriptors_are_shared_and_count_their_keys() {
    let mut root = KeyTree::root("ROOT");
    let other = descriptor("O:SYG:SYD:(A;;KA;;;SY)");
    for n in 0..10 {
        let mut key = KeyTree::new(format!("{n}").as_str());
        key.security = (n % 2 == 1).then(|| other.clone());
        root.subkeys.push(key);
    }
    let bytes = HiveWriter::new(Version::V1_5).write(&root).unwrap();
    let check = Hive::open(&bytes).unwrap().check();
    // The check compares the counts in the cells with the keys.
    assert!(check.is_clean());
    assert_eq!(check.security_descriptors, 2);
}

#[test]
fn names_that_windows_would_not_take_are_refused() {
    let problem = |name: &str| {
        let mut root = KeyTree::root("ROOT");
        root.subkeys.push(KeyTree::new(name));
        match HiveWriter::new(Version::V1_5).write(&root) {
            Err(Error::Name { reason, .. }) => Some(reason),
            Ok(_) => None,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(problem(""), Some(NameProblem::Empty));
    assert_eq!(problem(r"a\b"), Some(NameProblem::Backslash));
    assert_eq!(problem(&"x".repeat(256)), None);
    assert_eq!(problem(&"x".repeat(257)), Some(NameProblem::TooLong { units: 257, limit: 256 }));
    assert_eq!(problem("a/b"), None);

    let mut root = KeyTree::root("ROOT");
    root.values = vec![ValueTree::dword("é", 1), ValueTree::dword("É", 2)];
    let error = HiveWriter::new(Version::V1_5).write(&root).unwrap_err();
    assert_eq!(error, Error::Name { what: "value", name: "É".into(), reason: NameProblem::Duplicate });
    root.values = vec![ValueTree::dword("v".repeat(16384).as_str(), 1)];
    assert!(matches!(HiveWriter::new(Version::V1_5).write(&root), Err(Error::Name { .. })));
}

#[test]
fn versions_without_layered_keys_refuse_their_marks() {
    let mut marked = KeyTree::root("ROOT");
    marked.layer.semantics = LayerSemantics::SupersedeTree;
    let mut tombstone = KeyTree::root("ROOT");
    tombstone.values.push(ValueTree::tombstone("v"));
    for tree in [marked, tombstone] {
        for version in VERSIONS {
            let written = HiveWriter::new(version).write(&tree);
            let refused = matches!(written, Err(Error::LayeredVersion { .. }));
            assert_eq!(refused, version < Version::V1_5, "{version}");
        }
    }
}

#[test]
fn a_symbolic_link_names_its_target() {
    let mut root = KeyTree::root("ROOT");
    let mut link = KeyTree::new("CurrentControlSet");
    link.flags = KeyFlags::SYMLINK;
    let target: Vec<u8> =
        r"\Registry\Machine\System\ControlSet001".encode_utf16().flat_map(u16::to_le_bytes).collect();
    link.values.push(ValueTree::new("SymbolicLinkValue", ValueType::Link, target));
    root.subkeys.push(link);
    let hive = Hive::open(HiveWriter::new(Version::V1_5).write(&root).unwrap()).unwrap();
    let link = hive.key("currentcontrolset").unwrap().unwrap();
    assert_eq!(link.symlink_target().unwrap(), Some(r"\Registry\Machine\System\ControlSet001".into()));
    assert_eq!(hive.root().unwrap().symlink_target().unwrap(), None);
}

#[test]
fn a_predefined_handle_is_kept_and_is_no_count_of_values() {
    let mut root = KeyTree::root("ROOT");
    let mut key = KeyTree::new("009");
    key.flags = KeyFlags::PREDEFINED_HANDLE;
    key.predefined_handle = 0x8000_0050;
    root.subkeys.push(key);
    let tree = round_trip(Version::V1_5, &root);
    assert_eq!(tree.subkeys[0].predefined_handle, 0x8000_0050);
    assert_eq!(tree, expected(root));
}

fn name(longest: usize) -> impl Strategy<Value = WideString> {
    let unit = prop_oneof![
        5 => select((0x20..0x7F).filter(|&unit| unit != u16::from(b'\\')).collect::<Vec<_>>()),
        2 => 0xA0..0x100_u16,
        1 => any::<u16>().prop_filter("a backslash", |&unit| unit != u16::from(b'\\')),
    ];
    vec(unit, 1..longest).prop_map(WideString::from_units)
}

fn value(layered: bool) -> impl Strategy<Value = ValueTree> {
    let data = prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        1 => (SEGMENT - 2..2 * SEGMENT + 2, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
    ];
    let kind = prop_oneof![0..12_u32, any::<u32>()].prop_map(ValueType::from_number);
    let name = prop_oneof![4 => name(30), 1 => Just(WideString::default())];
    (name, kind, data, prop::bool::weighted(0.1)).prop_map(move |(name, kind, data, tombstone)| {
        if tombstone && layered { ValueTree::tombstone(name) } else { ValueTree::new(name, kind, data) }
    })
}

fn tree(layered: bool) -> impl Strategy<Value = KeyTree> {
    let node = move || {
        let flags = select(&[0, 0x08, 0x10, 0x80][..]);
        let facts = (any::<i64>(), flags, any::<u16>(), 0..4_u8, 0..4_u8, any::<bool>());
        (name(20), option::of(name(10)), facts, option::of(vec(any::<u8>(), 0..2)), vec(value(layered), 0..6))
            .prop_map(
                move |(
                    name,
                    class,
                    (time, flags, virtualization, access, semantics, inherit),
                    sacl,
                    values,
                )| {
                    let mut key = KeyTree::new(name);
                    key.class = class;
                    key.last_written = FileTime(time);
                    key.flags = KeyFlags(flags);
                    key.virtualization = virtualization;
                    key.access_bits = access;
                    if layered {
                        key.layer = Layer {
                            semantics: [
                                LayerSemantics::Merge,
                                LayerSemantics::Tombstone,
                                LayerSemantics::SupersedeLocal,
                                LayerSemantics::SupersedeTree,
                            ][usize::from(semantics)],
                            inherit_class: inherit,
                        };
                    }
                    key.security =
                        sacl.map(|bytes| descriptor(&format!("O:SYG:SYD:(A;;{:#x};;;SY)", 1 + bytes.len())));
                    for value in values {
                        if !key.values.iter().any(|other| folded(&other.name) == folded(&value.name)) {
                            key.values.push(value);
                        }
                    }
                    key
                },
            )
    };
    node().prop_recursive(5, 60, 8, move |below| {
        (node(), vec(below, 0..8)).prop_map(|(mut key, subkeys)| {
            for subkey in subkeys {
                if !key.subkeys.iter().any(|other| folded(&other.name) == folded(&subkey.name)) {
                    key.subkeys.push(subkey);
                }
            }
            key
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(windows) { 32 } else { 256 }))]

    #[test]
    fn what_is_written_is_read_again(plain in tree(false), layered in tree(true), version in select(&VERSIONS[..])) {
        prop_assert_eq!(round_trip(version, &plain), expected(plain));
        prop_assert_eq!(round_trip(Version::V1_6, &layered), expected(layered));
    }

    #[test]
    fn a_damaged_hive_is_read_as_far_as_it_goes(
        tree in tree(true),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = HiveWriter::new(Version::V1_6).write(&tree).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(hive) = Hive::open(&bytes) {
            let check = hive.check();
            let walked: Vec<_> = hive.walk().collect();
            prop_assert!(walked.len() <= bytes.len());
            // What the walk could not read, the check names.
            prop_assert!(walked.iter().all(Result::is_ok) || !check.is_clean());
            prop_assert!(!check.is_clean() || KeyTree::read(&hive).is_ok());
        }
    }
}
