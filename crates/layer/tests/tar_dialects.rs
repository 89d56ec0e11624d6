//! Every dialect of tar, written by the tools that people use, read back.

#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{Archive, expand, have, read, run};

/// A tree with everything that V7 can hold, and a file with holes.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/file"), b"hello").unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("exactly-a-block"), [7; 512]).unwrap();
    fs::write(root.join("setuid"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("setuid"), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("../dir/file", root.join("dir/sub/link")).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("hard")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    // More segments than an old GNU header (4) and one extension block (21) hold, the last ending at the end.
    for at in 0..40u64 {
        sparse.write_all_at(&[at as u8 + 1; 4096], at * (64 << 10)).unwrap();
    }
    sparse.set_len(40 * (64 << 10)).unwrap();
    for (name, nanoseconds) in [("dir/file", 123_456_789), ("empty", 1)] {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, nanoseconds);
        File::options().write(true).open(root.join(name)).unwrap().set_modified(time).unwrap();
    }
}

fn check(archive: &Archive, root: &Path, nanoseconds: bool) {
    for name in ["dir/file", "empty", "exactly-a-block", "setuid", "sparse"] {
        let (member, _) = archive.member(&format!("./{name}"));
        let meta = fs::metadata(root.join(name)).unwrap();
        let mut found = archive.member(&format!("./{name}")).clone();
        if member.typeflag == b'1' {
            let target = String::from_utf8(member.link_name.clone()).unwrap();
            found = archive.member(&target).clone();
        }
        assert_eq!(found.0.typeflag, b'0', "{name}");
        assert_eq!(found.0.mode & 0o7777, meta.mode() & 0o7777, "{name}");
        assert_eq!((found.0.uid, found.0.gid), (u64::from(meta.uid()), u64::from(meta.gid())), "{name}");
        assert_eq!(found.0.mtime.seconds(), meta.mtime(), "{name}");
        if nanoseconds {
            assert_eq!(i64::from(found.0.mtime.nanoseconds()), meta.mtime_nsec(), "{name}");
        }
        assert!(expand(&found) == fs::read(root.join(name)).unwrap(), "the bytes of {name}");
    }
    assert_eq!(archive.member("./dir/sub/").0.typeflag, b'5');
    let link = &archive.member("./dir/sub/link").0;
    assert_eq!((link.typeflag, link.link_name.as_slice()), (b'2', &b"../dir/file"[..]));
    let hard = ["./hard", "./dir/file"].map(|name| archive.member(name).0.typeflag);
    assert!(hard.contains(&b'1') && hard.contains(&b'0'), "{hard:?}");
    assert!(archive.end_marker);
}

#[test]
fn gnu_tar_writes_every_dialect_and_every_kind_of_sparse_map() {
    const TEST: &str = "gnu_tar_writes_every_dialect_and_every_kind_of_sparse_map";
    if !have("tar", TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path());
    let cases: [(&str, &[&str], bool); 9] = [
        ("v7", &[], false),
        ("ustar", &[], false),
        ("oldgnu", &[], false),
        ("gnu", &[], false),
        ("posix", &[], true),
        ("gnu", &["--sparse"], false),
        ("posix", &["--sparse", "--sparse-version=0.0"], true),
        ("posix", &["--sparse", "--sparse-version=0.1"], true),
        ("posix", &["--sparse", "--sparse-version=1.0"], true),
    ];
    for (format, options, nanoseconds) in cases {
        eprintln!("{format} {options:?}");
        let format = format!("--format={format}");
        let mut tar = Command::new("tar");
        tar.args(["-C", folder.path().to_str().unwrap(), &format, "--sort=name"]).args(options);
        let bytes = run(tar.args(["-cf", "-", "."])).unwrap();
        let archive = read(&bytes);
        check(&archive, folder.path(), nanoseconds);
        let (sparse, payload) = archive.member("./sparse");
        if options.is_empty() {
            assert!(sparse.segments.is_none());
        } else {
            // The last hole may be told as an empty segment, which is dropped.
            assert_eq!(sparse.segments.as_ref().map(Vec::len), Some(40));
            assert_eq!((sparse.size, payload.len()), (40 << 16, 40 << 12));
        }
        assert!(!sparse.name.windows(8).any(|w| w == b"GNUSpars"), "the made-up name of a sparse file shows");
    }
}

#[test]
fn libarchive_writes_every_dialect() {
    const TEST: &str = "libarchive_writes_every_dialect";
    if !have("bsdtar", TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path());
    for (format, nanoseconds) in [("v7tar", false), ("ustar", false), ("gnutar", false), ("pax", true)] {
        eprintln!("{format}");
        let mut tar = Command::new("bsdtar");
        tar.args(["-C", folder.path().to_str().unwrap(), "--format", format, "-cf", "-", "."]);
        check(&read(&run(&mut tar).unwrap()), folder.path(), nanoseconds);
    }
}

#[test]
fn long_names_and_links_come_through_whole() {
    const TEST: &str = "long_names_and_links_come_through_whole";
    if !have("tar", TEST) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // 90 + 1 + 90: fits ustar's prefix and name. The other two fit neither.
    let split = format!("{}/{}", "p".repeat(90), "n".repeat(90));
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    for name in [&split, &long] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    symlink(&long, folder.path().join("link")).unwrap();
    for (format, with_long) in [("ustar", false), ("oldgnu", true), ("gnu", true), ("posix", true)] {
        let mut tar = Command::new("tar");
        tar.args(["-C", folder.path().to_str().unwrap(), &format!("--format={format}"), "-cf", "-", &split]);
        if with_long {
            tar.args([&long, "link"]);
        }
        let archive = read(&run(&mut tar).unwrap());
        assert_eq!(archive.member(&split).1, split.as_bytes(), "{format}");
        if with_long {
            assert_eq!(archive.member(&long).1, long.as_bytes(), "{format}");
            assert_eq!(archive.member("link").0.link_name, long.as_bytes(), "{format}");
        }
    }
}

#[test]
fn python_writes_large_numbers_old_times_and_odd_names() {
    const TEST: &str = "python_writes_large_numbers_old_times_and_odd_names";
    const SCRIPT: &str = r#"
import io, sys, tarfile
form = dict(gnu=tarfile.GNU_FORMAT, pax=tarfile.PAX_FORMAT)[sys.argv[1]]
out = io.BytesIO()
tar = tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape")
def add(name, **fields):
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
add("big-owner", uid=3000000000, gid=2147483648, size=3)
add("before-1970", mtime=-1000000)
add(b"odd-\xff-name".decode("utf-8", "surrogateescape"), size=1)
add("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
add("sda", type=tarfile.BLKTYPE, devmajor=8, devminor=1)
add("pipe", type=tarfile.FIFOTYPE)
if form == tarfile.PAX_FORMAT:
    add("fraction", mtime=1.25, pax_headers={"SCHILY.xattr.user.note": "h\u00e9", "comment": "\n"})
    add("halves", mtime=-1.5)
tar.close()
sys.stdout.buffer.write(out.getvalue())
"#;
    if !have("python3", TEST) {
        return;
    }
    for format in ["gnu", "pax"] {
        let archive = read(&run(Command::new("python3").args(["-c", SCRIPT, format])).unwrap());
        let owner = &archive.member("big-owner").0;
        assert_eq!((owner.uid, owner.gid), (3_000_000_000, 1 << 31), "{format}");
        assert_eq!(archive.member("before-1970").0.mtime.seconds(), -1_000_000, "{format}");
        assert!(archive.members.iter().any(|(m, p)| m.name == b"odd-\xff-name" && p == b"x"), "{format}");
        let null = &archive.member("null").0;
        assert_eq!((null.typeflag, null.device), (b'3', (1, 3)), "{format}");
        let sda = &archive.member("sda").0;
        assert_eq!((sda.typeflag, sda.device), (b'4', (8, 1)), "{format}");
        assert_eq!(archive.member("pipe").0.typeflag, b'6', "{format}");
        if format == "pax" {
            let fraction = &archive.member("fraction").0;
            assert_eq!((fraction.mtime.seconds(), fraction.mtime.nanoseconds()), (1, 250_000_000));
            assert_eq!(fraction.record(b"SCHILY.xattr.user.note"), Some("h\u{e9}".as_bytes()));
            assert_eq!(fraction.record(b"comment"), Some(&b"\n"[..]));
            let halves = &archive.member("halves").0.mtime;
            assert_eq!((halves.seconds(), halves.nanoseconds()), (-2, 500_000_000));
        }
    }
}

#[test]
fn no_byte_of_any_sample_is_lost() {
    let samples = common::samples();
    if samples.is_empty() {
        return common::skip("no_byte_of_any_sample_is_lost", "no samples: set LAYERSTONE_TEST_DATA");
    }
    for (name, bytes) in samples {
        let mut archive = Archive::default();
        match archive.read(&bytes, 4096) {
            Ok(()) => assert!(archive.bytes == bytes, "{name}"),
            Err(error) => {
                eprintln!("{name}: {error}");
                assert!(bytes.starts_with(&archive.bytes), "{name}");
                // The one sample that is meant to be broken.
                assert!(name.contains("null-byte"), "{name}: {error}");
            }
        }
    }
}
