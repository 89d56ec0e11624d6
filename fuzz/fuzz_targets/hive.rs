//! Registry hives: whatever the bytes, nothing panics, loops or takes memory that they did not pay for; what is read whole
//! and written again reads the same.
//!
//! The first byte says what the rest is: a hive, a hive and its logs (three pieces of lengths given in front), or a stack of
//! hives (likewise).

#![no_main]

use layerstone_fuzz::{Bound, bounded};
use layerstone_nt::hive::{Hive, HiveWriter, KeyTree, Merged, Version, recover};
use libfuzzer_sys::fuzz_target;

/// A hive that is read whole, written, and read again: cells of a few bytes become owned keys and values.
const BOUND: Bound = Bound { per_byte: 64, constant: 4 << 20 };

fuzz_target!(|data: &[u8]| bounded(data.len(), BOUND, || run(data)));

fn run(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => one(data),
        1 => {
            let [primary, log1, log2] = pieces(data);
            let Ok(recovered) = recover(primary, &[log1, log2]) else { return };
            assert!(recovered.bytes.len() <= primary.len().max(4096) + log1.len() + log2.len());
            one(&recovered.bytes);
        }
        _ => {
            let hives: Vec<_> = pieces(data).into_iter().filter_map(|piece| Hive::open(piece).ok()).collect();
            stack(&hives);
        }
    }
}

/// Three pieces: two little-endian lengths, and what is left.
fn pieces(data: &[u8]) -> [&[u8]; 3] {
    let Some((lengths, rest)) = data.split_first_chunk::<4>() else { return [data, &[], &[]] };
    let length = |n: usize| usize::from(u16::from_le_bytes([lengths[n], lengths[n + 1]]));
    let (first, rest) = rest.split_at(length(0).min(rest.len()));
    let (second, third) = rest.split_at(length(2).min(rest.len()));
    [first, second, third]
}

fn one(bytes: &[u8]) {
    let Ok(hive) = Hive::open(bytes) else { return };
    let check = hive.check();
    let (mut keys, mut failed) = (0_u64, false);
    let mut walk = hive.walk();
    while let Some(key) = walk.next() {
        let Ok(key) = key else {
            failed = true;
            continue;
        };
        keys += 1;
        assert!(walk.path().count() == usize::from(key.depth()));
        let _ = (key.class(), key.security_descriptor(), key.symlink_target());
        for value in key.values().flatten() {
            if let Ok(content) = value.content() {
                let _ = content.display(100).to_string();
            }
        }
        if let Some(Ok(subkey)) = key.subkeys().next() {
            let _ = key.subkey_units(&subkey.name().units().collect::<Vec<_>>());
        }
    }
    assert!(keys <= bytes.len() as u64 / 80);
    if check.is_clean() {
        assert!(!failed && check.keys == keys);
    }
    let Ok(tree) = KeyTree::read(&hive) else { return };
    for version in [hive.base().version, Version::V1_6] {
        // Names that Windows would not take are refused.
        let Ok(written) = HiveWriter::new(version).write(&tree) else { continue };
        let again = Hive::open(&written).expect("a written hive opens");
        let read = KeyTree::read(&again).expect("a written hive is read");
        assert!(same(&read, &tree), "a written hive has the same tree: {tree:#?} {read:#?}");
    }
}

/// Whether two trees are the same but for the order of subkeys.
fn same(left: &KeyTree, right: &KeyTree) -> bool {
    fn sorted(tree: &KeyTree) -> Vec<&KeyTree> {
        let mut subkeys: Vec<_> = tree.subkeys.iter().collect();
        subkeys.sort_by_key(|key| key.name.units().to_vec());
        subkeys
    }
    fn own(tree: &KeyTree) -> KeyTree {
        let mut own = KeyTree { subkeys: Vec::new(), ..tree.clone() };
        own.class = own.class.filter(|class| !class.is_empty());
        own
    }
    let (lefts, rights) = (sorted(left), sorted(right));
    lefts.len() == rights.len()
        && own(left) == own(right)
        && lefts.into_iter().zip(rights).all(|(left, right)| same(left, right))
}

fn stack(hives: &[Hive<'_>]) {
    let Ok(merged) = Merged::new(hives) else { return };
    let mut walk = merged.walk();
    let mut keys = 0;
    while let Some(key) = walk.next() {
        let Ok(key) = key else { continue };
        keys += 1;
        let _ = (key.class(), key.last_written(), key.security());
        let (values, _) = key.values();
        for value in values {
            let _ = key.value(&value.value.name().to_string());
        }
    }
    let size: usize = hives.iter().map(|hive| hive.as_bytes().len()).sum();
    assert!(keys <= size / 80);
    let _ = merged.key(r"a\b\c");
}
