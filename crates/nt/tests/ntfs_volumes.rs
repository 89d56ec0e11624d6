//! Real NTFS volumes: their descriptors have the hash and the form that this crate says, and their uppercase table is ours.

// The programs that unpack the volumes, and mkntfs, are those of a Unix.
#![cfg(unix)]

#[path = "support/ntfs.rs"]
mod ntfs;

use layerstone_nt::security::ntfs_hash;
use layerstone_nt::{SecurityDescriptor, name, sddl};
use ntfs::Volume;

/// Volumes that the Windows driver made, and one that the NTFS driver of Linux made; the program that unpacks them, and its arguments
/// before and behind the file.
const SAMPLES: [(&str, &str, &[&str], &[&str]); 3] = [
    ("ntfs/go-ntfs/charlie.dd.bz2", "bsdcat", &[], &[]),
    ("ntfs/ntfs-crate/testfs1.gz", "bsdcat", &[], &[]),
    ("ntfs/logfileparser/SampleTinyNtfsVolume.zip", "bsdtar", &["-xOf"], &["*.dd"]),
];

fn volumes(test: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    for (name, program, before, behind) in SAMPLES {
        let Some(path) = layerstone_testing::sample(test, name) else { continue };
        let Some(mut command) = layerstone_testing::tool(test, program) else { continue };
        let output = command.args(before).arg(path).args(behind).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        found.push((name, output.stdout));
    }
    found
}

/// The descriptors of `$Secure:$SDS`: hash and bytes. Entries lie on multiples of 16 in blocks of 256 KiB, each followed by its copy.
fn descriptors(sds: &[u8]) -> Vec<(u32, &[u8])> {
    const BLOCK: usize = 256 << 10;
    const HEADER: usize = 20;
    let u32_at = |at: usize| u32::from_le_bytes(sds[at..at + 4].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER <= sds.len() {
        let size = u32_at(at + 16) as usize;
        if size < HEADER {
            at = (at / (2 * BLOCK) + 1) * 2 * BLOCK;
            continue;
        }
        assert_eq!(
            u64::from_le_bytes(sds[at + 8..at + 16].try_into().unwrap()),
            at as u64,
            "the entry knows its place"
        );
        found.push((u32_at(at), &sds[at + HEADER..at + size]));
        at = (at + size).next_multiple_of(16);
        if at % (2 * BLOCK) >= BLOCK {
            at = at.next_multiple_of(2 * BLOCK);
        }
    }
    found
}

#[test]
fn the_descriptors_of_real_volumes_have_our_hash_and_our_form() {
    let mut checked = 0;
    for (volume, bytes) in volumes("the_descriptors_of_real_volumes_have_our_hash_and_our_form") {
        let sds = Volume::find(&bytes).unwrap_or_else(|| panic!("{volume}")).data(ntfs::SECURE, "$SDS");
        let found = descriptors(&sds);
        assert!(!found.is_empty(), "{volume}");
        for (hash, descriptor) in found {
            assert_eq!(ntfs_hash(descriptor), hash, "{volume}");
            SecurityDescriptor::validate(descriptor).unwrap_or_else(|error| panic!("{volume}: {error}"));
            let parsed = SecurityDescriptor::parse(descriptor).unwrap();
            let written = parsed.to_bytes().unwrap();
            assert_eq!(SecurityDescriptor::parse(&written), Ok(parsed.clone()), "{volume}");
            let text = sddl::format(&parsed).unwrap_or_else(|error| panic!("{volume}: {error}"));
            assert_eq!(sddl::parse(&text), Ok(parsed), "{volume}: {text}");
            checked += 1;
        }
    }
    println!("{checked} descriptors");
    let required = std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required || checked >= 19, "only {checked}");
}

fn compare_table(volume: &str, table: &[u8]) {
    assert_eq!(table.len(), 2 * 65536, "{volume}");
    let differences: Vec<_> = table
        .chunks_exact(2)
        .zip(0..=u16::MAX)
        .map(|(theirs, unit)| (unit, name::upcase(unit), u16::from_le_bytes([theirs[0], theirs[1]])))
        .filter(|(_, ours, theirs)| ours != theirs)
        .collect();
    assert!(differences.is_empty(), "{volume}: unit, ours, theirs: {differences:#06x?}");
}

#[test]
fn the_uppercase_table_of_real_volumes_is_ours_in_all_65536_units() {
    for (volume, bytes) in volumes("the_uppercase_table_of_real_volumes_is_ours_in_all_65536_units") {
        compare_table(volume, &Volume::find(&bytes).unwrap().data(ntfs::UPCASE, ""));
    }
}

#[test]
fn the_uppercase_table_that_mkntfs_writes_is_ours_in_all_65536_units() {
    const TEST: &str = "the_uppercase_table_that_mkntfs_writes_is_ours_in_all_65536_units";
    let Some(mut mkntfs) = layerstone_testing::tool(TEST, "mkntfs") else { return };
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(8 << 20).unwrap();
    let output = mkntfs.args(["--force", "--quick", "--quiet"]).arg(image.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(image.path()).unwrap();
    compare_table("mkntfs", &Volume::find(&bytes).unwrap().data(ntfs::UPCASE, ""));
}
