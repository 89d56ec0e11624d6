//! The merged tree as plain files: what other unpackers make, and never a step outside.

#![cfg(target_os = "linux")]

#[path = "common/build.rs"]
mod build;
#[path = "common/tree.rs"]
mod tree;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use build::{World, can, dir, file, item, link, owned, run, symlink, tar, umoci, xattr};
use layerstone_layer::{EntryKind, Finding};
use layerstone_store::{Error, ExportDest, ExportOptions, Store, UnpackOptions};

fn everything() -> Vec<u8> {
    tar(&[
        owned(dir("."), 0, 0, 0o750),
        owned(dir("bin"), 1, 2, 0o555),
        xattr(owned(file("bin/su", "su"), 0, 7, 0o6755), "user.comment", "set-id"),
        xattr(owned(file("bin/ping", "ping"), 5, 5, 0o755), "security.capability", CAPABILITY),
        dir("links"),
        file("links/a", "linked"),
        link("links/b", "links/a"),
        symlink("links/s", "a"),
        link("links/t", "links/s"),
        symlink("absolute", "/etc/passwd"),
        item("fifo", EntryKind::Fifo, 0o640),
        item("zero", EntryKind::CharDevice { major: 1, minor: 5 }, 0o666),
        item("loop", EntryKind::BlockDevice { major: 7, minor: 0 }, 0o660),
        file("empty", ""),
        file("caf\u{e9} \u{1b}[31m", "odd name"),
    ])
}

/// `cap_net_raw=ep`, version 2.
const CAPABILITY: &str = "\u{1}\0\0\u{2}\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn one_layer_unpacks_as_gnu_tar_extracts_it() {
    let test = "one_layer_unpacks_as_gnu_tar_extracts_it";
    if !can(test, true, &["tar"]) {
        return;
    }
    let world = World::new();
    let image = world.image("all", "linux/amd64", &[everything()], false);
    let (ours, theirs) = (world.path("ours"), world.path("theirs"));
    let report = world.store.unpack(&image, &ours, &UnpackOptions::default()).unwrap();
    assert!(report.is_empty(), "{report:?}");
    fs::create_dir(&theirs).unwrap();
    fs::write(world.path("layer.tar"), everything()).unwrap();
    let mut gnu = Command::new("tar");
    gnu.args(["--extract", "--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*"]);
    run(gnu.arg("--same-owner").arg("-C").arg(&theirs).arg("-f").arg(world.path("layer.tar")));
    tree::assert_same("own and GNU tar", &tree::tree(&ours), &tree::tree(&theirs));
    assert_eq!(tree::tree(&ours).len(), 15);
}

#[test]
fn merged_layers_unpack_as_umoci_unpacks_them() {
    let test = "merged_layers_unpack_as_umoci_unpacks_them";
    if !can(test, true, &["umoci"]) {
        return;
    }
    let world = World::new();
    let whiteout = |path: &str| item(path, EntryKind::Whiteout, 0);
    let second = tar(&[
        owned(dir("links"), 9, 9, 0o700),
        item("links", EntryKind::Opaque, 0),
        file("links/new", "only this"),
        whiteout("empty"),
        symlink("fifo", "now a link"),
        dir("zero"),
        file("zero/file", "in a directory that was a device"),
    ]);
    let third = tar(&[dir("empty"), file("empty/again", "x"), whiteout("bin")]);
    let image = world.image("all:1", "linux/amd64", &[everything(), second, third], false);
    let ours = world.path("ours");
    world.store.unpack(&image, &ours, &UnpackOptions::default()).unwrap();
    let dest = ExportDest::OciLayout(world.path("layout"));
    world.store.export(&image, dest, &ExportOptions::default()).unwrap();
    let theirs = umoci(&world.path("layout"), "all:1", &world.path("bundle"));
    let [mut ours, mut theirs] = [ours, theirs].map(|path| tree::tree(&path));
    // umoci gives its root directory the time of unpacking.
    ours.remove(Path::new(""));
    theirs.remove(Path::new(""));
    tree::assert_same("own and umoci", &ours, &theirs);
}

#[test]
fn nothing_is_written_outside() {
    let world = World::new();
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.display().to_string();
    let base = tar(&[
        symlink("door", &target),
        symlink("up", ".."),
        dir("real"),
        symlink("real/door", "../../outside"),
        file("../escaped", "x"),
        file("/rooted", "x"),
    ]);
    // A second layer writes through the links of the first.
    let top = tar(&[
        file("door/in", "x"),
        file("up/in", "x"),
        file("real/door/in", "x"),
        link("up/link", "rooted"),
    ]);
    let image = world.image("hostile", "linux/amd64", &[base, top], false);
    let before = tree::tree(&outside);
    let into = world.path("into");
    world.store.unpack(&image, &into, &UnpackOptions::default()).unwrap();
    tree::assert_same("outside", &before, &tree::tree(&outside));
    assert!(!world.path("escaped").exists() && !world.path("in").exists());
    assert!(into.join("escaped").exists() && into.join("rooted").exists());
}

#[test]
fn holes_stay_holes() {
    let test = "holes_stay_holes";
    if !can(test, false, &["tar"]) {
        return;
    }
    let world = World::new();
    let sparse = world.path("sparse");
    let mut out = fs::File::create(&sparse).unwrap();
    out.write_all(b"start").unwrap();
    out.set_len(64 << 20).unwrap();
    drop(out);
    let layer = world.path("layer.tar");
    let mut gnu = Command::new("tar");
    run(gnu
        .args(["--sparse", "--format=pax", "-cf"])
        .arg(&layer)
        .arg("-C")
        .arg(world.dir.path())
        .arg("sparse"));
    let image = world.image("sparse", "linux/amd64", &[fs::read(&layer).unwrap()], false);
    world.store.unpack(&image, &world.path("into"), &UnpackOptions::default()).unwrap();
    let stat = fs::metadata(world.path("into/sparse")).unwrap();
    assert_eq!(stat.len(), 64 << 20);
    assert!(stat.blocks() * 512 < 2 << 20, "{} blocks", stat.blocks());
    assert_eq!(fs::read(world.path("into/sparse")).unwrap(), fs::read(&sparse).unwrap());
}

#[test]
fn only_an_empty_directory_is_filled() {
    let world = World::new();
    let image = world.image("all", "linux/amd64", &[tar(&[file("a", "a")])], false);
    let into = world.path("into");
    fs::create_dir(&into).unwrap();
    fs::write(into.join("mine"), "").unwrap();
    let error = world.store.unpack(&image, &into, &UnpackOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty(_)), "{error}");
    assert!(!into.join("a").exists());
}

/// Run by the test below as another user.
#[test]
#[ignore = "helper: another test starts it"]
fn unpack_as_nobody() {
    let Some(root) = std::env::var_os("UNPACK_TEST_ROOT") else { return };
    let store = Store::open(Path::new(&root).join("store")).unwrap();
    let image = store.image("all", None).unwrap();
    let into = Path::new(&root).join("nobodys/into");
    let report = store.unpack(&image, &into, &UnpackOptions::default()).unwrap();
    assert_eq!(report.count(Finding::DeviceLeftOut), 2);
    assert!(report.count(Finding::OwnerNotSet) > 5, "{report:?}");
    assert!(report.count(Finding::XattrNotSet) >= 1, "{report:?}");
    let su = fs::metadata(into.join("bin/su")).unwrap();
    assert_eq!(su.mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(into.join("bin")).unwrap().mode() & 0o7777, 0o555);
    assert_eq!(fs::read_link(into.join("absolute")).unwrap(), Path::new("/etc/passwd"));
    let (a, b) = (fs::metadata(into.join("links/a")).unwrap(), fs::metadata(into.join("links/b")).unwrap());
    assert_eq!(a.ino(), b.ino());
    assert!(!into.join("zero").exists());
}

#[test]
fn without_privilege_the_rest_is_unpacked_and_the_difference_told() {
    let test = "without_privilege_the_rest_is_unpacked_and_the_difference_told";
    if !can(test, true, &["chmod"]) {
        return;
    }
    const NOBODY: u32 = 65_534;
    let world = World::new();
    world.image("all", "linux/amd64", &[everything()], false);
    let nobodys = world.path("nobodys");
    fs::create_dir(&nobodys).unwrap();
    // The test program may lie where only root can go.
    let program = world.path("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    run(Command::new("chmod").args(["-R", "a+rwX"]).arg(world.dir.path()));
    run(Command::new("chmod").arg("a+x").arg(&program));
    let mut child = Command::new(&program);
    child.args(["--exact", "unpack_as_nobody", "--ignored", "--nocapture"]).uid(NOBODY).gid(NOBODY);
    let output = run(child.current_dir("/").env("UNPACK_TEST_ROOT", world.dir.path()));
    assert!(output.contains("1 passed"), "{output}");
}
