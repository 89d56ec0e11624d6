//! Damaged hives: what can be read of them, and what is said of the rest.

use layerstone_nt::hive::{
    Check, Error, Hive, HiveError, HiveWriter, KeyTree, Merged, ProblemKind, ValueTree, ValueType, Version,
};

use crate::support::{hives, sample};

#[test]
fn of_the_hives_that_windows_wrote_the_only_thing_wrong_is_that_some_are_dirty() {
    const TEST: &str = "of_the_hives_that_windows_wrote_the_only_thing_wrong_is_that_some_are_dirty";
    for (name, keys, values) in hives() {
        let Some(bytes) = sample(TEST, name) else { return };
        let check = Hive::open(&bytes).unwrap().check();
        assert_eq!((check.keys, check.values), (keys, values), "{name}");
        let others = |check: &Check| {
            check.problems.iter().any(|problem| !matches!(problem.kind, ProblemKind::Dirty { .. }))
        };
        assert!(!others(&check), "{name}: {:#?}", check.problems);
        // Each cell in use was found by following the references of others.
        assert_eq!(check.lost_cells, 0, "{name}");
    }
}

/// The first words of each kind of problem, counted.
fn kinds(check: &Check) -> Vec<(String, usize)> {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for problem in &check.problems {
        let text = format!("{:?}", problem.kind);
        let name = text.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
        match kinds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => kinds.push((name, 1)),
        }
    }
    kinds
}

#[test]
fn damaged_samples_are_read_as_far_as_they_go_and_the_damage_is_named() {
    const TEST: &str = "damaged_samples_are_read_as_far_as_they_go_and_the_damage_is_named";
    type Kinds = &'static [(&'static str, usize)];
    // Keys and values that are read, and what is wrong.
    let table: [(&str, u64, u64, Kinds); 2] = [
        // regipy reads as many keys and values.
        ("ericz/SAMBadHBinHeader.gz", 68, 73, &[("BinSignature", 1), ("NotACell", 35)]),
        // One of 100 subkeys is listed with a cell that is none.
        (
            "plaso/corrupt_sub_key_list.hiv",
            100,
            99,
            &[("NotACell", 1), ("Unreadable", 1), ("SecurityCount", 1)],
        ),
    ];
    for (name, keys, values, expected) in table {
        let Some(bytes) = sample(TEST, name) else { return };
        let check = Hive::open(&bytes).unwrap().check();
        assert_eq!((check.keys, check.values), (keys, values), "{name}");
        let expected: Vec<_> = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(kinds(&check), expected, "{name}: {:#?}", check.problems);
    }
    let Some(bytes) = sample(TEST, "ericz/NotAHive") else { return };
    assert_eq!(Hive::open(&bytes).unwrap_err(), Error::NotAHive { found: b"MZ\x90\0".to_vec() });
}

/// Pages of this hive are zero or of another place. hivex refuses it.
#[cfg(unix)]
#[test]
fn of_a_hive_with_lost_pages_what_is_whole_is_read() {
    const TEST: &str = "of_a_hive_with_lost_pages_what_is_whole_is_read";
    let Some(bytes) = sample(TEST, "regipy/corrupted_system_hive.xz") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let (read, failed): (Vec<_>, Vec<_>) = hive.walk().partition(Result::is_ok);
    assert_eq!((read.len(), failed.len()), (1687, 128));
    let check = hive.check();
    assert_eq!((check.keys, check.values), (1687, 5625));
    assert!(check.problems.iter().any(|problem| matches!(problem.kind, ProblemKind::BinSignature { .. })));
    assert!(check.problems.iter().any(|problem| matches!(problem.kind, ProblemKind::Unreadable(_))));
}

/// A hive with two keys below the root, values of each kind of storage.
fn small() -> Vec<u8> {
    let mut root = KeyTree::root("ROOT");
    for name in ["Alpha", "Beta"] {
        let mut key = KeyTree::new(name);
        key.values.push(ValueTree::dword("number", 7));
        key.values.push(ValueTree::text("text", ValueType::Sz, "some text"));
        key.values.push(ValueTree::new("long", ValueType::Binary, vec![7; 20_000]));
        root.subkeys.push(key);
    }
    HiveWriter::new(Version::V1_5).write(&root).unwrap()
}

fn cell_of(bytes: &[u8], path: &str) -> usize {
    Hive::open(bytes).unwrap().key(path).unwrap().unwrap().cell() as usize + 4096 + 4
}

#[test]
fn each_kind_of_damage_is_named_where_it_is() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 14] = [
        ("Checksum", |bytes| bytes[200] ^= 1),
        ("Missing", |bytes| bytes.truncate(bytes.len() - 4096)),
        ("BinSignature", |bytes| bytes[4096] = 0),
        ("BinOffset", |bytes| bytes[4100] ^= 0x10),
        ("BinSize", |bytes| bytes[4104] ^= 0x10),
        ("CellSize", |bytes| bytes[4128] ^= 0x03),
        ("Parent", |bytes| {
            let at = cell_of(bytes, "Beta");
            bytes[at + 16] ^= 8;
        }),
        ("SubkeyCount", |bytes| {
            let at = cell_of(bytes, "");
            bytes[at + 20] += 1;
        }),
        ("Hash", |bytes| {
            let at = cell_of(bytes, "Beta");
            // The list has the hash of the name that was.
            bytes[at + 76] = b'C';
        }),
        ("Order", |bytes| {
            let at = cell_of(bytes, "Alpha");
            bytes[at + 76] = b'Z';
        }),
        ("Volatile", |bytes| {
            let at = cell_of(bytes, "Alpha");
            bytes[at + 2] |= 1;
        }),
        ("SecurityCount", |bytes| {
            let at = cell_of(bytes, "");
            let security = u32::from_le_bytes(bytes[at + 44..at + 48].try_into().unwrap()) as usize;
            bytes[security + 4096 + 4 + 12] += 1;
        }),
        ("SecurityRing", |bytes| {
            let at = cell_of(bytes, "");
            let security = u32::from_le_bytes(bytes[at + 44..at + 48].try_into().unwrap()) as usize;
            bytes[security + 4096 + 4 + 4] ^= 8;
        }),
        ("Shared", |bytes| {
            let (first, second) = (cell_of(bytes, "Alpha"), cell_of(bytes, "Beta"));
            bytes.copy_within(first + 40..first + 44, second + 40);
        }),
    ];
    assert!(Hive::open(small()).unwrap().check().is_clean());
    for (kind, damage) in cases {
        let mut bytes = small();
        damage(&mut bytes);
        let check = Hive::open(&bytes).unwrap().check();
        assert!(kinds(&check).iter().any(|(name, _)| name == kind), "{kind}: {:#?}", check.problems);
    }
}

#[test]
fn a_key_below_itself_ends_a_walk_with_an_error() {
    let mut bytes = small();
    let root = Hive::open(&bytes).unwrap().root().unwrap().cell();
    let list = {
        let at = cell_of(&bytes, "");
        u32::from_le_bytes(bytes[at + 28..at + 32].try_into().unwrap()) as usize + 4096 + 4
    };
    // The first subkey of the root is the root.
    bytes[list + 4..list + 8].copy_from_slice(&root.to_le_bytes());
    let hive = Hive::open(&bytes).unwrap();
    let walked: Vec<_> = hive.walk().collect();
    assert_eq!(walked.len(), 3);
    assert!(matches!(walked[1], Err(Error::KeyShared { .. })), "{:?}", walked[1]);
    assert_eq!(walked[2].as_ref().unwrap().name().to_string(), "Beta");
    assert!(hive.check().problems.iter().any(|problem| matches!(problem.kind, ProblemKind::Shared { .. })));
    // Who goes down by himself stops at the deepest level there can be.
    let mut key = hive.root().unwrap();
    let error = loop {
        match key.subkeys().next().unwrap() {
            Ok(below) => key = below,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::TooDeep { limit: 512, .. }), "{error}");
}

#[test]
fn other_versions_and_logs_are_refused() {
    let good = small();
    let change = |position: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[position] = value;
        Hive::open(bytes).unwrap_err()
    };
    assert_eq!(change(24, 7), Error::UnsupportedVersion { major: 1, minor: 7 });
    assert_eq!(change(24, 2), Error::UnsupportedVersion { major: 1, minor: 2 });
    assert_eq!(change(20, 2), Error::UnsupportedVersion { major: 2, minor: 5 });
    assert_eq!(change(28, 6), Error::NotPrimary { found: 6 });
    assert!(matches!(Hive::open(&good[..511]), Err(Error::TooShort { needed: 512, .. })));
    assert!(matches!(Hive::open(&good[..4095]), Err(Error::TooShort { needed: 4096, .. })));
    assert!(matches!(Hive::open(&b""[..]), Err(Error::NotAHive { .. })));
}

#[test]
fn a_name_that_is_listed_again_and_again_ends_the_list_of_a_merged_key() {
    let mut root = KeyTree::root("ROOT");
    root.subkeys = (0..400).map(|n| KeyTree::new(format!("{n}").as_str())).collect();
    root.subkeys.push(KeyTree::new("€".repeat(256).as_str()));
    let mut bytes = HiveWriter::new(Version::V1_5).write(&root).unwrap();
    let long = Hive::open(&bytes).unwrap().key(&"€".repeat(256)).unwrap().unwrap().cell();
    let at = cell_of(&bytes, "");
    let list = u32::from_le_bytes(bytes[at + 28..at + 32].try_into().unwrap()) as usize + 4096 + 4;
    for n in 0..401 {
        bytes[list + 4 + 8 * n..][..4].copy_from_slice(&long.to_le_bytes());
    }
    let hive = Hive::open(&bytes).unwrap();
    assert!(401 * 512 > bytes.len());
    let merged = Merged::new([&hive]).unwrap();
    let (subkeys, errors) = merged.root().unwrap().unwrap().subkeys();
    assert_eq!(subkeys.len(), 1);
    assert!(matches!(
        errors[..],
        [HiveError { hive: 0, error: Error::TooMany { what: "bytes of names", .. } }]
    ));
    // A walk has the key once, and says so for each other time.
    assert_eq!(hive.walk().filter(Result::is_ok).count(), 2);
    assert_eq!(hive.walk().count(), 402);
}

#[test]
fn the_length_of_a_class_that_is_not_there_counts_for_nothing() {
    let mut bytes = HiveWriter::new(Version::V1_5).write(&KeyTree::root("ROOT")).unwrap();
    // The record of the root key is behind the size of its cell; its class's length is at 74, and it has no cell for it.
    let root = 4096 + u32::from_le_bytes(bytes[36..40].try_into().unwrap()) as usize + 4;
    assert_eq!(bytes[root + 48..root + 52], [0xFF; 4]);
    bytes[root + 74..root + 76].copy_from_slice(&u16::MAX.to_le_bytes());
    let hive = Hive::open(&bytes).unwrap();
    assert_eq!(hive.root().unwrap().class(), Ok(None));
    assert_eq!((hive.check().keys, hive.walk().filter(Result::is_ok).count()), (1, 1));
}
