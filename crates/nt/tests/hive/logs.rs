//! Dirty hives and their logs.

use layerstone_nt::hive::{Hive, HiveWriter, KeyTree, Unused, ValueTree, Version, recover};
#[cfg(unix)]
use sha2::{Digest as _, Sha256};

use crate::support::sample;

#[cfg(unix)]
fn bins_digest(bytes: &[u8]) -> String {
    let size = Hive::open(bytes).unwrap().base().bins_size as usize;
    Sha256::digest(&bytes[4096..4096 + size]).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What regipy 6.5 makes of the same hives and logs (`apply_transaction_logs`, one log after the other): pages applied, SHA-256 of the
/// bins; and the keys and values that python-registry 1.3 counts in them. regipy's own test (`regipy_tests/tests.py`) has the 132 pages
/// of the first, too.
#[cfg(unix)]
#[test]
fn recovered_hives_are_those_that_regipy_recovers() {
    const TEST: &str = "recovered_hives_are_those_that_regipy_recovers";
    type Case = (&'static str, &'static [&'static str], usize, &'static str, u64, u64);
    let cases: [Case; 3] = [
        (
            "regipy/transactions_NTUSER.DAT.xz",
            &["regipy/transactions_ntuser.dat.log1.xz", "regipy/transactions_ntuser.dat.log2.xz"],
            132,
            "9c5e83727e19ff8f7fd95b73ba006dbc20dffbeead9ace35a88753f3fc7e4299",
            3105,
            4695,
        ),
        (
            "regipy/UsrClass.dat.xz",
            &["regipy/UsrClass.dat.LOG1.xz", "regipy/UsrClass.dat.LOG2.xz"],
            158,
            "ecc04a58aa3d2467871e80e393eb8469a5fdd425f37fc88f55308efc2f384930",
            6238,
            12531,
        ),
        (
            "regipy/SYSTEM_B.xz",
            &["regipy/SYSTEM_B.LOG1.xz", "regipy/SYSTEM_B.LOG2.xz"],
            315,
            "b6e091176b3d00b7b97efdeaeef519b1adfbaa5f6d8118d5c44fa2dcfeb5029a",
            35595,
            78901,
        ),
    ];
    for (name, logs, pages, digest, keys, values) in cases {
        let Some(primary) = sample(TEST, name) else { return };
        let Some(logs) = logs.iter().map(|log| sample(TEST, log)).collect::<Option<Vec<_>>>() else { return };
        let in_order: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        let reversed: Vec<&[u8]> = logs.iter().rev().map(Vec::as_slice).collect();
        for logs in [in_order, reversed] {
            let recovered = recover(&primary, &logs).unwrap();
            assert!(recovered.was_dirty && !recovered.is_dirty());
            assert_eq!(recovered.pages(), pages, "{name}: {:#?}", recovered.unused);
            assert_eq!(bins_digest(&recovered.bytes), digest, "{name}");
            let check = Hive::open(&recovered.bytes[..]).unwrap().check();
            assert_eq!((check.keys, check.values), (keys, values), "{name}");
            assert!(check.is_clean(), "{name}: {:#?}", check.problems);
            assert_eq!(check.lost_cells, 0, "{name}");
        }
    }
}

/// The log that Windows had written before it wrote this hive: replayed, it gives the same hive.
#[test]
fn a_log_of_what_the_hive_has_already_changes_nothing() {
    const TEST: &str = "a_log_of_what_the_hive_has_already_changes_nothing";
    let Some(primary) = sample(TEST, "plaso/NTUSER.DAT.gz") else { return };
    let Some(log) = sample(TEST, "dfwinreg/NTUSER.DAT.LOG") else { return };
    let clean = recover(&primary, &[&log]).unwrap();
    assert!(!clean.was_dirty && clean.applied.is_empty());
    assert_eq!(&clean.bytes[..], &primary[..]);
    // As if the hive had not been finished.
    let mut dirty = primary.clone();
    dirty[8] = 131;
    seal(&mut dirty);
    let recovered = recover(&dirty, &[&log]).unwrap();
    let applied: Vec<_> = recovered.applied.iter().map(|applied| (applied.sequence, applied.pages)).collect();
    assert_eq!(applied, [(131, 2)]);
    assert_eq!(&recovered.bytes[4096..], &primary[4096..]);
}

#[cfg(unix)]
#[test]
fn a_damaged_base_block_comes_from_the_log_with_the_latest_state() {
    const TEST: &str = "a_damaged_base_block_comes_from_the_log_with_the_latest_state";
    let Some(mut primary) = sample(TEST, "regipy/transactions_NTUSER.DAT.xz") else { return };
    let Some(log1) = sample(TEST, "regipy/transactions_ntuser.dat.log1.xz") else { return };
    let Some(log2) = sample(TEST, "regipy/transactions_ntuser.dat.log2.xz") else { return };
    let whole = bins_digest(&recover(&primary, &[&log1]).unwrap().bytes);
    primary[..512].fill(0);
    assert!(Hive::open(&primary).is_err());
    let recovered = recover(&primary, &[&log2, &log1]).unwrap();
    assert_eq!(recovered.base_block_from, Some(1));
    assert!(recovered.unused.contains(&(0, 0, Unused::Superseded)));
    assert_eq!(bins_digest(&recovered.bytes), whole);
    assert!(Hive::open(&recovered.bytes[..]).unwrap().check().is_clean());
    assert!(recover(&primary, &[]).is_err());
}

#[cfg(unix)]
#[test]
fn a_damaged_entry_ends_its_log_and_those_before_it_count() {
    const TEST: &str = "a_damaged_entry_ends_its_log_and_those_before_it_count";
    let Some(primary) = sample(TEST, "regipy/UsrClass.dat.xz") else { return };
    let Some(mut log1) = sample(TEST, "regipy/UsrClass.dat.LOG1.xz") else { return };
    let Some(log2) = sample(TEST, "regipy/UsrClass.dat.LOG2.xz") else { return };
    // In the pages of the third entry.
    log1[32768 + 5000] ^= 1;
    let recovered = recover(&primary, &[&log1, &log2]).unwrap();
    let sequences: Vec<_> = recovered.applied.iter().map(|applied| applied.sequence).collect();
    assert_eq!(sequences, [287, 288]);
    assert!(recovered.unused.contains(&(0, 32768, Unused::Hash { number: 1 })), "{:?}", recovered.unused);
    assert!(
        recovered.unused.contains(&(1, 512, Unused::Gap { expected: 289, found: 291 })),
        "{:?}",
        recovered.unused
    );
    let base = Hive::open(&recovered.bytes[..]).unwrap().base().clone();
    assert_eq!((base.primary_sequence, base.secondary_sequence), (288, 288));
}

fn hive(number: u32) -> Vec<u8> {
    let mut root = KeyTree::root("ROOT");
    root.values.push(ValueTree::dword("number", number));
    HiveWriter::new(Version::V1_3).write(&root).unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    let hive = Hive::open(bytes).unwrap();
    hive.root().unwrap().value("number").unwrap().unwrap().content().unwrap().as_number().unwrap()
}

/// The checksum is that of the format's description: the XOR of the 127 words before it.
fn seal(bytes: &mut [u8]) {
    let sum =
        bytes[..508].chunks_exact(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().unwrap()));
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// A log of the old format with the 512 bytes in which two hives differ.
fn old_log(before: &[u8], after: &[u8]) -> Vec<u8> {
    let mut log = after[..512].to_vec();
    log[28] = 1;
    seal(&mut log);
    log.extend_from_slice(b"DIRT");
    let bins = after.len() - 4096;
    let dirty: Vec<usize> = (0..bins / 512)
        .filter(|n| before[4096 + n * 512..][..512] != after[4096 + n * 512..][..512])
        .collect();
    assert!(!dirty.is_empty());
    let mut bitmap = vec![0; bins / 512 / 8];
    dirty.iter().for_each(|n| bitmap[n / 8] |= 1 << (n % 8));
    log.extend_from_slice(&bitmap);
    log.resize(log.len().next_multiple_of(512), 0);
    dirty.iter().for_each(|n| log.extend_from_slice(&after[4096 + n * 512..][..512]));
    log
}

#[test]
fn an_old_log_is_applied_when_it_is_of_the_same_time() {
    let (mut before, after) = (hive(1), hive(2));
    let log = old_log(&before, &after);
    assert_eq!(
        number(&recover(&before, &[&log]).unwrap().bytes),
        1,
        "the hive is clean, no log is looked at"
    );

    before[4] += 1;
    seal(&mut before);
    let recovered = recover(&before, &[&[], &log]).unwrap();
    assert_eq!((number(&recovered.bytes), recovered.applied.len()), (2, 1));
    assert!(!Hive::open(&recovered.bytes[..]).unwrap().base().is_dirty());

    let mut late = log.clone();
    late[12] = 1;
    seal(&mut late);
    let recovered = recover(&before, &[&late]).unwrap();
    assert!(recovered.is_dirty() && number(&recovered.bytes) == 1);
    assert_eq!(recovered.unused, [(0, 0, Unused::Time { expected: 0, found: 1 })]);

    // Without a base block, the time in the first bin tells.
    before[508] ^= 1;
    let recovered = recover(&before, &[&late, &log]).unwrap();
    assert_eq!((number(&recovered.bytes), recovered.base_block_from), (2, Some(1)));

    let mut short = log;
    short.truncate(short.len() - 1);
    assert!(matches!(recover(&before, &[&short]), Ok(recovered) if recovered.is_dirty()));
}

#[test]
fn a_log_does_not_make_a_hive_larger_than_hive_and_log_together() {
    let mut before = hive(1);
    before[4] += 1;
    seal(&mut before);
    let mut log = old_log(&before, &hive(2));
    log[40..44].copy_from_slice(&0x4000_0000_u32.to_le_bytes());
    seal(&mut log);
    // The bitmap of a hive of that size is longer than the log.
    let recovered = recover(&before, &[&log]).unwrap();
    assert!(recovered.is_dirty());
    assert!(recovered.bytes.len() <= before.len() + log.len());
}

#[test]
fn a_dirty_hive_without_logs_is_read_and_is_said_to_be_dirty() {
    let mut bytes = hive(3);
    bytes[4] += 1;
    seal(&mut bytes);
    let recovered = recover(&bytes, &[]).unwrap();
    assert!(recovered.was_dirty && recovered.is_dirty());
    let hive = Hive::open(&recovered.bytes[..]).unwrap();
    assert!(hive.base().is_dirty());
    assert_eq!(number(&bytes), 3);
}
