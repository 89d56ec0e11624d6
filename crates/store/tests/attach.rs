//! Attaching, through the kernel: needs root, EROFS and overlayfs.

#![cfg(target_os = "linux")]

#[allow(unreachable_pub, reason = "shared by several test programs")]
#[path = "common/mounts.rs"]
mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{Layer, World, mounts_below, skip};
use layerstone_oci::{DiffId, Digest, HistoryEntry};
use layerstone_store::{AttachOptions, Attached, Error, StoredImage, attach};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

const PLAIN: AttachOptions = AttachOptions { raw: false, volatile: false };
const RAW: AttachOptions = AttachOptions { raw: true, volatile: false };

/// Skips the test where the host cannot mount.
macro_rules! needs_mounts {
    ($test:literal) => {
        let missing: Vec<_> = attach::probe().into_iter().filter(|c| c.required && !c.available).collect();
        if let Some(missing) = missing.first() {
            return skip($test, &format!("{}: {}", missing.name, missing.detail));
        }
    };
}

/// Layer `i` adds a file, changes `changed`, removes the file of layer `i - 2` and now and then starts `fresh/` anew.
fn layers(count: usize) -> (Vec<Vec<u8>>, BTreeMap<String, String>) {
    let mut expected = BTreeMap::new();
    let mut out = Vec::new();
    for i in 0..count {
        let mut layer = Layer::new().directory("fresh");
        if i % 7 == 3 {
            layer = layer.opaque("fresh");
            expected.retain(|path: &String, _| !path.starts_with("fresh/"));
        }
        for path in [format!("files/{i}"), format!("fresh/{i}"), "changed".to_owned()] {
            layer = layer.file(&path, format!("{path} of layer {i}"));
            expected.insert(path.clone(), format!("{path} of layer {i}"));
        }
        if let Some(old) = i.checked_sub(2) {
            layer = layer.whiteout("files/", &old.to_string());
            expected.remove(&format!("files/{old}"));
        }
        out.push(layer.tar());
    }
    (out, expected)
}

/// All files below, by path.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn layer_mounts(world: &World) -> usize {
    mounts_below(&world.root().join("run")).len()
}

/// Records and mount points that are left in the runtime directory.
fn left_over(world: &World) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for store in fs::read_dir(world.root().join("run")).into_iter().flatten() {
        for part in ["attachments", "layers", "mounting"] {
            left.extend(
                fs::read_dir(store.as_ref().unwrap().path().join(part)).unwrap().map(|e| e.unwrap().path()),
            );
        }
    }
    left
}

#[track_caller]
fn assert_clean(world: &World) {
    assert_eq!(mounts_below(world.root()), Vec::<PathBuf>::new());
    assert_eq!(left_over(world), Vec::<PathBuf>::new());
    assert!(world.store.attachments().unwrap().is_empty());
}

fn small_image(world: &World) -> StoredImage {
    world.import("small", "linux", &layers(3).0)
}

/// This program once more, doing what `other_process` does, on the same world.
fn helper(world: &World, what: &str, target: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "other_process", "--nocapture"])
        .env("ATTACH_HELPER", what)
        .env("ATTACH_WORLD", world.root())
        .env("ATTACH_TARGET", target)
        .stdout(Stdio::null());
    command
}

/// Not a test: what the other processes of the tests do.
#[test]
fn other_process() {
    let Some(what) = std::env::var_os("ATTACH_HELPER") else { return };
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    let (root, target) = (path("ATTACH_WORLD"), path("ATTACH_TARGET"));
    match what.to_str().unwrap().split_once(' ').unwrap() {
        ("image", name) => {
            let store = World::at(&root).store.clone();
            store.attach_image(&store.image(name, None).unwrap(), &target, PLAIN).unwrap();
        }
        ("scratch", name) => {
            let store = World::at(&root).store.clone();
            store.attach_scratch(&store.scratch(name).unwrap(), &target, PLAIN).unwrap();
        }
        ("detach", _) => {
            World::at(&root).store.detach(&target).unwrap();
        }
        ("scratch-and-wait", name) => {
            let store = World::at(&root).store.clone();
            store.attach_scratch(&store.scratch(name).unwrap(), &target, PLAIN).unwrap();
            fs::write(root.join("ready"), "").unwrap();
            let _ = io::stdin().read_to_end(&mut Vec::new());
        }
        ("without-privilege", _) => {
            let world = World::new();
            let image = small_image(&world);
            let error = world.store.attach_image(&image, &world.directory("t"), PLAIN).unwrap_err();
            assert!(matches!(error, Error::Unsupported { doing: "mount", .. }), "{error:?}");
            assert!(error.to_string().contains("CAP_SYS_ADMIN"), "{error}");
            let found = attach::probe();
            let privilege = found.iter().find(|c| c.name == "privilege").unwrap();
            assert!(!privilege.available && privilege.hint.is_some(), "{privilege:?}");
            assert!(world.store.attachments().unwrap().is_empty());
        }
        (other, _) => panic!("{other}"),
    }
}

#[track_caller]
fn succeeds(mut command: Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn attaches_images_of(count: usize) {
    let world = World::new();
    let (tars, expected) = layers(count);
    let image = world.import("image", "linux", &tars);
    let target = world.directory("target");

    let attachment = world.store.attach_image(&image, &target, PLAIN).unwrap();
    assert_eq!(attachment.target, target);
    assert_eq!(attachment.chain_ids, image.chain_ids());
    assert_eq!(attachment.what, Attached::Image { name: "image".into(), manifest: image.manifest.digest() });
    assert!(attachment.mount_id.is_some());
    assert_eq!(files(&target), expected);
    assert_eq!(layer_mounts(&world), count);
    assert_eq!(world.store.attachments().unwrap(), std::slice::from_ref(&attachment));

    // A scratch over it uses the same mounts.
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let other = world.directory("other");
    world.store.attach_scratch(&scratch, &other, PLAIN).unwrap();
    assert_eq!(files(&other), expected);
    assert_eq!(layer_mounts(&world), count);

    let detached = world.store.detach(&target).unwrap();
    assert_eq!(detached.attachment, attachment);
    assert!(detached.was_mounted && !detached.lazy && detached.also_at.is_empty());
    assert_eq!(layer_mounts(&world), count);
    assert_eq!(files(&other), expected);
    world.store.detach(&other).unwrap();
    assert_clean(&world);

    // As on kernels that take all layers in one string, and that mount no files.
    for (variable, value) in [("LAYERSTONE_OVERLAY_OPTIONS", "string"), ("LAYERSTONE_LAYER_MOUNTS", "loop")] {
        if count > 64 && value == "loop" {
            continue;
        }
        for what in ["image image", "scratch s"] {
            let mut command = helper(&world, what, &target);
            command.env(variable, value);
            succeeds(command);
            assert_eq!(files(&target), expected, "{variable}={value}");
            world.store.detach(&target).unwrap();
            assert_clean(&world);
        }
    }
}

#[test]
fn an_image_of_one_layer_looks_as_its_archive_does() {
    needs_mounts!("an_image_of_one_layer_looks_as_its_archive_does");
    attaches_images_of(1);
}

#[test]
fn an_image_of_two_layers_looks_as_both_together() {
    needs_mounts!("an_image_of_two_layers_looks_as_both_together");
    attaches_images_of(2);
}

#[test]
fn an_image_of_64_layers_looks_as_all_together() {
    needs_mounts!("an_image_of_64_layers_looks_as_all_together");
    attaches_images_of(64);
}

#[test]
fn an_image_of_300_layers_looks_as_all_together() {
    needs_mounts!("an_image_of_300_layers_looks_as_all_together");
    attaches_images_of(300);
}

#[test]
fn an_image_of_500_layers_is_attached_and_one_more_layer_is_refused() {
    needs_mounts!("an_image_of_500_layers_is_attached_and_one_more_layer_is_refused");
    let world = World::new();
    let (tars, expected) = layers(500);
    let image = world.import("image", "linux", &tars);
    let target = world.directory("target");
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    assert_eq!(files(&target), expected);
    world.store.detach(&target).unwrap();
    let scratch = world.store.create_scratch("s", &image).unwrap();
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    assert_eq!(files(&target), expected);
    world.store.detach(&target).unwrap();
    assert_clean(&world);

    let mut image = image;
    image.config = image.config.append_layer(&DiffId(Digest::of(b"x")), HistoryEntry::default()).unwrap();
    let error = world.store.attach_image(&image, &target, PLAIN).unwrap_err();
    assert!(matches!(error, Error::TooManyLayers { layers: 501, limit: 500 }), "{error:?}");
}

#[test]
fn an_image_without_layers_is_an_empty_directory() {
    needs_mounts!("an_image_without_layers_is_an_empty_directory");
    let world = World::new();
    let image = world.import("empty", "linux", &[]);
    let target = world.directory("target");
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    assert!(files(&target).is_empty());
    assert!(fs::write(target.join("x"), "").is_err());
    world.store.detach(&target).unwrap();
    let scratch = world.store.create_scratch("s", &image).unwrap();
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    fs::write(target.join("x"), "").unwrap();
    world.store.detach(&target).unwrap();
    assert_clean(&world);
}

#[test]
fn an_attached_image_cannot_be_changed() {
    needs_mounts!("an_attached_image_cannot_be_changed");
    let world = World::new();
    let image = small_image(&world);
    let target = world.directory("target");
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    let file = target.join("changed");
    let read_only = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    };
    read_only(fs::write(&file, "x"));
    read_only(fs::write(target.join("new"), "x"));
    read_only(fs::remove_file(&file));
    read_only(fs::set_permissions(&file, fs::Permissions::from_mode(0o600)));
}

#[test]
fn what_is_changed_in_a_scratch_lies_complete_in_its_upper_directory_and_stays() {
    needs_mounts!("what_is_changed_in_a_scratch_lies_complete_in_its_upper_directory_and_stays");
    let world = World::new();
    let large = vec![b'x'; 100_000];
    let base =
        Layer::new().file("large", &large).file("gone", "g").directory("dir").file("dir/in", "i").tar();
    let image = world.import("image", "linux", &[base]);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let target = world.directory("target");
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();

    fs::write(target.join("new"), "n").unwrap();
    fs::remove_file(target.join("gone")).unwrap();
    // Only metadata: still the whole file has to be there.
    fs::set_permissions(target.join("large"), fs::Permissions::from_mode(0o600)).unwrap();
    // A directory of a lower layer is renamed by copying, not by pointing to its old name.
    let renamed = fs::rename(target.join("dir"), target.join("renamed"));
    assert_eq!(renamed.unwrap_err().kind(), io::ErrorKind::CrossesDevices);

    let upper = scratch.upper();
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "n");
    assert!(fs::read(upper.join("large")).unwrap() == large);
    let whiteout = fs::symlink_metadata(upper.join("gone")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);

    assert!(!world.store.detach(&target).unwrap().lazy);
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    assert_eq!(fs::read_to_string(target.join("new")).unwrap(), "n");
    assert!(!target.join("gone").exists());
    assert_eq!(fs::metadata(target.join("large")).unwrap().mode() & 0o777, 0o600);
    world.store.detach(&target).unwrap();
    assert_clean(&world);
}

fn windows_image(world: &World) -> StoredImage {
    let base = Layer::new()
        .directory("Files")
        .directory("Files/Windows")
        .file("Files/Windows/a.txt", "base")
        .directory("Hives")
        .file("Hives/System_Base", "hive")
        .tar();
    let top = Layer::new().directory("Files").directory("Files/Windows").file("Files/Windows/A.TXT", "top");
    world.import("windows", "windows", &[base, top.tar()])
}

#[test]
fn a_windows_image_shows_what_is_drive_c_and_raw_everything() {
    needs_mounts!("a_windows_image_shows_what_is_drive_c_and_raw_everything");
    let world = World::new();
    let image = windows_image(&world);
    let (plain, raw) = (world.directory("plain"), world.directory("raw"));
    world.store.attach_image(&image, &plain, PLAIN).unwrap();
    assert!(world.store.attach_image(&image, &raw, RAW).unwrap().raw);
    // The upper layer's spelling is the lower one's.
    assert_eq!(files(&plain), BTreeMap::from([("Windows/a.txt".into(), "top".into())]));
    assert_eq!(fs::read_to_string(raw.join("Files/Windows/a.txt")).unwrap(), "top");
    assert_eq!(fs::read_to_string(raw.join("Hives/System_Base")).unwrap(), "hive");
    assert!(fs::write(plain.join("x"), "").is_err());
    // Two layers and two targets, nothing on the way.
    assert_eq!(mounts_below(world.root()).len(), 4);
    world.store.detach(&plain).unwrap();
    world.store.detach(&raw).unwrap();

    let scratch = world.store.create_scratch("s", &image).unwrap();
    world.store.attach_scratch(&scratch, &plain, PLAIN).unwrap();
    fs::write(plain.join("new.txt"), "n").unwrap();
    assert_eq!(fs::read_to_string(scratch.upper().join("Files/new.txt")).unwrap(), "n");
    world.store.detach(&plain).unwrap();
    succeeds(helper(&world, "image windows", &plain));
    world.store.detach(&plain).unwrap();
    let mut command = helper(&world, "image windows", &plain);
    command.env("LAYERSTONE_OVERLAY_OPTIONS", "string");
    succeeds(command);
    assert_eq!(files(&plain).len(), 1);
    world.store.detach(&plain).unwrap();
    assert_clean(&world);
}

#[test]
fn a_windows_image_without_a_drive_is_refused_and_nothing_stays() {
    needs_mounts!("a_windows_image_without_a_drive_is_refused_and_nothing_stays");
    let world = World::new();
    let base = Layer::new().directory("Hives").file("Hives/System_Base", "hive").tar();
    let image = world.import("odd", "windows", &[base]);
    let target = world.directory("target");
    let error = world.store.attach_image(&image, &target, PLAIN).unwrap_err();
    assert!(matches!(error, Error::NoPath { .. }), "{error:?}");
    assert_clean(&world);
}

#[test]
fn programs_run_with_their_set_user_id_bit_and_devices_work() {
    needs_mounts!("programs_run_with_their_set_user_id_bit_and_devices_work");
    let world = World::new();
    let id = fs::read("/usr/bin/id").unwrap_or_default();
    if id.is_empty() {
        return skip("programs_run_with_their_set_user_id_bit_and_devices_work", "there is no /usr/bin/id");
    }
    let image =
        world.import("p", "linux", &[Layer::new().program("id", 0o4755, id).null_device("null").tar()]);
    let target = world.directory("target");
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    fs::set_permissions(world.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(target.join("null"), "x").unwrap();
    // Started as somebody else, it is its owner's all the same.
    let output = Command::new(target.join("id")).arg("-u").uid(65534).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{output:?}");
    // But the bare layer lends itself to nothing of the kind.
    let layer = mounts_below(&world.root().join("run")).remove(0);
    assert!(fs::write(layer.join("null"), "x").is_err());
}

#[test]
fn one_target_and_one_scratch_are_attached_once() {
    needs_mounts!("one_target_and_one_scratch_are_attached_once");
    let world = World::new();
    let image = small_image(&world);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let (a, b) = (world.directory("a"), world.directory("b"));
    world.store.attach_scratch(&scratch, &a, PLAIN).unwrap();
    for error in [
        world.store.attach_image(&image, &a, PLAIN).unwrap_err(),
        world.store.attach_scratch(&scratch, &b, PLAIN).unwrap_err(),
        world.store.remove_scratch("s").unwrap_err(),
    ] {
        assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    }
    assert_eq!(world.store.attached_chain_ids().unwrap().len(), 3);
    world.store.detach(&a).unwrap();
    world.store.remove_scratch("s").unwrap();
    assert!(world.store.attached_chain_ids().unwrap().is_empty());
    let error = world.store.attach_scratch(&scratch, &b, PLAIN).unwrap_err();
    assert!(matches!(error, Error::NoScratch(_)), "{error:?}");
    let error = world.store.detach(&a).unwrap_err();
    assert!(matches!(error, Error::NotAttached(_)), "{error:?}");
    assert_clean(&world);
}

#[test]
fn a_scratch_that_was_mounted_by_hand_is_in_use_too() {
    needs_mounts!("a_scratch_that_was_mounted_by_hand_is_in_use_too");
    let world = World::new();
    let image = small_image(&world);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let (lower, target) = (world.directory("lower"), world.directory("target"));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        scratch.upper().display(),
        scratch.work().display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    mount("by-hand", &target, "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    assert!(matches!(world.store.remove_scratch("s").unwrap_err(), Error::InUse { .. }));
    let error = world.store.attach_scratch(&scratch, &world.directory("b"), PLAIN).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
}

#[test]
fn a_volatile_scratch_is_attached_once_and_never_again() {
    needs_mounts!("a_volatile_scratch_is_attached_once_and_never_again");
    let world = World::new();
    let image = small_image(&world);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let target = world.directory("target");
    let volatile = AttachOptions { volatile: true, ..PLAIN };
    world.store.attach_scratch(&scratch, &target, volatile).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = mounts.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap();
    assert!(own.split([' ', ',']).any(|option| matches!(option, "volatile" | "fsync=volatile")), "{own}");
    fs::write(target.join("new"), "x").unwrap();
    world.store.detach(&target).unwrap();
    assert_eq!(fs::read(scratch.upper().join("new")).unwrap(), b"x");
    // The kernel's own refusal: nobody knows whether all of it has reached the disk.
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap_err();
    assert_clean(&world);
    world.store.remove_scratch("s").unwrap();
}

#[test]
fn a_missing_layer_is_named() {
    needs_mounts!("a_missing_layer_is_named");
    let world = World::new();
    let image = small_image(&world);
    let chain = image.chain_ids()[1];
    fs::remove_dir_all(world.store.layer_path(&chain)).unwrap();
    let error = world.store.attach_image(&image, &world.directory("t"), PLAIN).unwrap_err();
    assert!(matches!(&error, Error::NoLayer(missing) if *missing == chain), "{error:?}");
}

#[test]
fn a_damaged_layer_is_named_and_nothing_stays() {
    needs_mounts!("a_damaged_layer_is_named_and_nothing_stays");
    let world = World::new();
    let image = small_image(&world);
    let chain = image.chain_ids()[1];
    let path = world.store.layer_path(&chain).join("layer.erofs");
    fs::write(&path, vec![0; 8192]).unwrap();
    let error = world.store.attach_image(&image, &world.directory("t"), PLAIN).unwrap_err();
    assert!(matches!(&error, Error::Mount { path: at, .. } if *at == path), "{error:?}");
    assert!(error.to_string().contains(&chain.0.short()), "{error}");
    assert_clean(&world);
}

#[test]
fn unmounting_by_hand_does_no_harm() {
    needs_mounts!("unmounting_by_hand_does_no_harm");
    let world = World::new();
    let image = small_image(&world);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let target = world.directory("target");
    let by_hand = || unmount(&target, UnmountFlags::empty()).unwrap();

    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    by_hand();
    assert!(world.store.attachments().unwrap().is_empty());
    assert!(!world.store.detach(&target).unwrap().was_mounted);
    assert_clean(&world);

    // Attaching again, or removing, does not even need a sweep.
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    by_hand();
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    by_hand();
    world.store.remove_scratch("s").unwrap();
    assert_eq!(world.store.sweep_attachments().unwrap().len(), 1);
    assert_clean(&world);

    // Even a target that is gone can be detached; and a layer's mount can be taken away under an attachment.
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    by_hand();
    fs::remove_dir(&target).unwrap();
    assert!(!world.store.detach(&target).unwrap().was_mounted);
    let target = world.directory("target");
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    for layer in mounts_below(&world.root().join("run")) {
        unmount(layer, UnmountFlags::empty()).unwrap();
    }
    assert_eq!(files(&target), layers(3).1);
    let other = world.directory("other");
    world.store.attach_image(&image, &other, PLAIN).unwrap();
    world.store.detach(&target).unwrap();
    world.store.detach(&other).unwrap();
    assert_clean(&world);
}

#[test]
fn a_mount_of_somebody_else_is_never_taken_away() {
    needs_mounts!("a_mount_of_somebody_else_is_never_taken_away");
    let world = World::new();
    let image = small_image(&world);
    let target = world.directory("target");
    let tmpfs = || mount("theirs", &target, "tmpfs", MountFlags::empty(), None).unwrap();

    // Over ours.
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    tmpfs();
    fs::write(target.join("theirs"), "").unwrap();
    let error = world.store.detach(&target).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    assert!(target.join("theirs").exists());
    assert_eq!(world.store.attachments().unwrap().len(), 1);
    unmount(&target, UnmountFlags::empty()).unwrap();
    world.store.detach(&target).unwrap();
    assert_clean(&world);

    // Instead of ours.
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    unmount(&target, UnmountFlags::empty()).unwrap();
    tmpfs();
    fs::write(target.join("theirs"), "").unwrap();
    assert!(!world.store.detach(&target).unwrap().was_mounted);
    assert!(target.join("theirs").exists());
    assert_eq!(mounts_below(world.root()), [target.as_path()]);

    // Under ours.
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    assert!(world.store.detach(&target).unwrap().was_mounted);
    assert!(target.join("theirs").exists());
    unmount(&target, UnmountFlags::empty()).unwrap();
    assert_clean(&world);
}

#[test]
fn an_attachment_that_is_shown_elsewhere_too_counts_until_that_is_gone() {
    needs_mounts!("an_attachment_that_is_shown_elsewhere_too_counts_until_that_is_gone");
    let world = World::new();
    let image = small_image(&world);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let (target, elsewhere) = (world.directory("target"), world.directory("elsewhere"));
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    mount_bind(&target, &elsewhere).unwrap();
    assert_eq!(world.store.detach(&target).unwrap().also_at, [elsewhere.as_path()]);
    assert!(matches!(world.store.remove_scratch("s").unwrap_err(), Error::InUse { .. }));
    assert_eq!(world.store.attachments().unwrap().len(), 1);
    assert!(world.store.detach(&elsewhere).unwrap().was_mounted);
    assert_clean(&world);
    world.store.remove_scratch("s").unwrap();
}

#[test]
fn a_busy_target_is_detached_out_of_sight() {
    needs_mounts!("a_busy_target_is_detached_out_of_sight");
    let world = World::new();
    let image = small_image(&world);
    let target = world.directory("target");
    world.store.attach_image(&image, &target, PLAIN).unwrap();
    let mut open = File::open(target.join("changed")).unwrap();
    let detached = world.store.detach(&target).unwrap();
    assert!(detached.was_mounted && detached.lazy);
    assert_clean(&world);
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, layers(3).1["changed"]);
}

/// Only debug builds have failpoints.
#[cfg(debug_assertions)]
#[test]
fn a_process_killed_at_any_step_leaves_nothing_that_a_sweep_does_not_clean() {
    use std::os::unix::process::ExitStatusExt as _;
    needs_mounts!("a_process_killed_at_any_step_leaves_nothing_that_a_sweep_does_not_clean");
    let world = World::new();
    let image = windows_image(&world);
    world.store.create_scratch("s", &image).unwrap();
    let target = world.directory("target");
    let killed = |what: &str, step: &str| {
        let mut command = helper(&world, what, &target);
        let status = command.env("LAYERSTONE_FAILPOINT", step).status().unwrap();
        assert_eq!(status.signal(), Some(9), "{step}: {status}");
    };
    for interface in ["", "string"] {
        for step in [
            "attach-recorded",
            "attach-layer-made",
            "attach-layer-mounted",
            "attach-layers-mounted",
            "attach-overlay-staged",
            "attach-overlay-cloned",
            "attach-overlay-made",
            "attach-shown",
        ] {
            if (interface, step) == ("string", "attach-overlay-staged") {
                continue;
            }
            let mut command = helper(&world, "scratch s", &target);
            command.env("LAYERSTONE_FAILPOINT", step).env("LAYERSTONE_OVERLAY_OPTIONS", interface);
            let status = command.status().unwrap();
            assert_eq!(status.signal(), Some(9), "{step}: {status}");
            assert!(world.store.attachments().unwrap().is_empty(), "{step}");
            let swept = world.store.sweep_attachments().unwrap();
            assert_eq!(swept.len(), 1, "{step}");
            assert_clean(&world);
        }
    }
    // Without a sweep: the next one gets through.
    killed("scratch s", "attach-shown");
    succeeds(helper(&world, "scratch s", &target));
    assert_eq!(world.store.attachments().unwrap().len(), 1);
    world.store.detach(&target).unwrap();
    killed("scratch s", "attach-done");
    assert_eq!(world.store.attachments().unwrap().len(), 1);

    for step in ["detach-unmounted", "detach-unrecorded", "detach-layer-unmounted"] {
        killed("detach -", step);
        assert!(world.store.attachments().unwrap().is_empty(), "{step}");
        world.store.sweep_attachments().unwrap();
        assert_clean(&world);
        succeeds(helper(&world, "scratch s", &target));
    }
    world.store.detach(&target).unwrap();
    assert_clean(&world);
}

#[test]
fn what_another_boot_left_behind_stands_for_nothing() {
    needs_mounts!("what_another_boot_left_behind_stands_for_nothing");
    let world = World::new();
    let image = small_image(&world);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let target = world.directory("target");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let reboot = || {
        world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
        for point in mounts_below(world.root()) {
            unmount(point, UnmountFlags::DETACH).unwrap();
        }
        let record = left_over(&world).into_iter().find(|path| path.extension().is_some()).unwrap();
        let text = fs::read_to_string(&record).unwrap();
        let text = text.replace(boot.trim(), "00000000-0000-0000-0000-000000000000");
        // Whatever else a record of then says.
        fs::write(&record, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
        record
    };
    reboot();
    assert!(world.store.attachments().unwrap().is_empty());
    world.store.sweep_attachments().unwrap();
    assert_clean(&world);
    reboot();
    world.store.remove_scratch("s").unwrap();
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let record = reboot();
    fs::write(record, "{\"torn").unwrap();
    world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
    world.store.detach(&target).unwrap();
    assert_clean(&world);
}

#[test]
fn processes_that_attach_at_once_share_the_mounts_of_the_layers() {
    needs_mounts!("processes_that_attach_at_once_share_the_mounts_of_the_layers");
    let world = World::new();
    let (tars, expected) = layers(12);
    let image = world.import("image", "linux", &tars);
    let mut targets = Vec::new();
    for round in 0..2 {
        let mut children: Vec<Child> = Vec::new();
        for i in 0..8 {
            let name = format!("s{round}-{i}");
            world.store.create_scratch(&name, &image).unwrap();
            let target = world.directory(&format!("target-{name}"));
            let what = if i % 2 == 0 { format!("scratch {name}") } else { "image image".to_owned() };
            children.push(helper(&world, &what, &target).spawn().unwrap());
            targets.push(target);
        }
        // Meanwhile others come and go.
        let here = world.directory("here");
        for _ in 0..10 {
            world.store.attach_image(&image, &here, PLAIN).unwrap();
            world.store.sweep_attachments().unwrap();
            world.store.detach(&here).unwrap();
        }
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(world.store.attachments().unwrap().len(), targets.len());
        assert_eq!(layer_mounts(&world), 12);
    }
    for target in &targets {
        assert_eq!(files(target), expected);
    }
    let children: Vec<Child> =
        targets.iter().map(|target| helper(&world, "detach -", target).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_clean(&world);
}

#[test]
fn of_processes_that_attach_one_scratch_at_once_one_wins() {
    needs_mounts!("of_processes_that_attach_one_scratch_at_once_one_wins");
    let world = World::new();
    let image = small_image(&world);
    world.store.create_scratch("s", &image).unwrap();
    let children: Vec<Child> = (0..6)
        .map(|i| {
            let mut command = helper(&world, "scratch s", &world.directory(&format!("t{i}")));
            command.stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let won =
        children.into_iter().filter_map(|mut child| child.wait().unwrap().success().then_some(())).count();
    assert_eq!(won, 1);
    let attachment = world.store.attachments().unwrap().remove(0);
    world.store.detach(&attachment.target).unwrap();
    assert_clean(&world);
}

#[test]
fn attachments_of_another_mount_namespace_count_as_long_as_it_lives() {
    needs_mounts!("attachments_of_another_mount_namespace_count_as_long_as_it_lives");
    let world = World::new();
    let image = small_image(&world);
    let scratch = world.store.create_scratch("s", &image).unwrap();
    let target = world.directory("target");
    let inner = helper(&world, "scratch-and-wait s", &target);
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "--propagation", "private", "--"]).arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(mut child) = outer.stdin(Stdio::piped()).stdout(Stdio::null()).spawn() else {
        return skip("attachments_of_another_mount_namespace...", "there is no `unshare`");
    };
    let start = Instant::now();
    while !world.root().join("ready").exists() {
        assert!(start.elapsed().as_secs() < 60 && child.try_wait().unwrap().is_none(), "it does not attach");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Nothing of it is seen here.
    assert!(mounts_below(world.root()).is_empty());
    assert_eq!(world.store.attachments().unwrap().len(), 1);
    assert_eq!(world.store.attached_chain_ids().unwrap().len(), 3);
    assert!(world.store.sweep_attachments().unwrap().is_empty());
    for error in [
        world.store.attach_scratch(&scratch, &world.directory("other"), PLAIN).unwrap_err(),
        world.store.remove_scratch("s").unwrap_err(),
        world.store.detach(&target).unwrap_err(),
    ] {
        assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(world.store.attachments().unwrap().is_empty());
    world.store.remove_scratch("s").unwrap();
    world.store.sweep_attachments().unwrap();
    assert_clean(&world);
}

#[test]
fn odd_and_long_names_of_folders_are_fine() {
    needs_mounts!("odd_and_long_names_of_folders_are_fine");
    let long = ["long".repeat(40), "name".repeat(40)].join("/");
    for name in ["a b", "a,b=c", "a:b", "back\\slash", "\u{fc}nd", &long] {
        let world = World::within(name);
        let (tars, expected) = layers(2);
        let image = world.import("image", "linux", &tars);
        let scratch = world.store.create_scratch("s", &image).unwrap();
        let (a, b) = (world.directory("image"), world.directory("scratch"));
        world.store.attach_image(&image, &a, PLAIN).unwrap();
        world.store.attach_scratch(&scratch, &b, PLAIN).unwrap();
        assert_eq!(files(&a), expected, "{name}");
        assert_eq!(files(&b), expected, "{name}");
        fs::write(b.join("new"), "").unwrap();
        assert!(scratch.upper().join("new").exists());
        world.store.detach(&a).unwrap();
        world.store.detach(&b).unwrap();
        assert_clean(&world);
    }
}

#[test]
fn without_privilege_the_error_says_what_is_missing() {
    needs_mounts!("without_privilege_the_error_says_what_is_missing");
    let folder = tempfile::tempdir().unwrap();
    let world = World::at(folder.path());
    let mut command = helper(&world, "without-privilege -", folder.path());
    command.uid(65534).gid(65534).env_remove("TMPDIR");
    match command.status() {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(error) => skip("without_privilege_the_error_says_what_is_missing", &error.to_string()),
    }
}

#[test]
fn probing_leaves_nothing_behind_and_gives_a_hint_for_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let found = attach::probe_in(folder.path());
    assert!(!found.is_empty());
    for capability in &found {
        eprintln!("{capability:?}");
        assert_eq!(capability.available, capability.hint.is_none(), "{capability:?}");
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    assert!(mounts_below(folder.path()).is_empty());
}

/// `cargo test --release --test attach -- --ignored --nocapture`
#[test]
#[ignore = "bench: it measures"]
fn how_long_attaching_64_layers_takes() {
    let world = World::new();
    let image = world.import("image", "linux", &layers(64).0);
    let target = world.directory("target");
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() - 1])
    };
    let measure = |what: &str| {
        let (mut attach, mut detach) = (Vec::new(), Vec::new());
        for _ in 0..30 {
            let start = Instant::now();
            world.store.attach_image(&image, &target, PLAIN).unwrap();
            attach.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            world.store.detach(&target).unwrap();
            detach.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let (attach, detach) = (median(attach), median(detach));
        println!(
            "{what}: attach {:.2} ms (worst {:.2}), detach {:.2} ms (worst {:.2})",
            attach.0, attach.1, detach.0, detach.1
        );
    };
    measure("64 layers, none mounted before");
    let mut targets = Vec::new();
    let start = Instant::now();
    for i in 0..500 {
        let scratch = world.store.create_scratch(&format!("s{i}"), &image).unwrap();
        let target = world.directory(&format!("t{i}"));
        let before = Instant::now();
        world.store.attach_scratch(&scratch, &target, PLAIN).unwrap();
        if [0, 1, 99, 499].contains(&i) {
            println!(
                "scratch {} over the same layers: {:.2} ms",
                i + 1,
                before.elapsed().as_secs_f64() * 1e3
            );
        }
        targets.push(target);
    }
    println!(
        "500 scratches: {:.2} s, {} mounts of layers",
        start.elapsed().as_secs_f64(),
        layer_mounts(&world)
    );
    measure("64 layers, mounted before, 500 attached");
    let start = Instant::now();
    for target in &targets {
        world.store.detach(target).unwrap();
    }
    println!("500 detached: {:.2} s", start.elapsed().as_secs_f64());
    assert_clean(&world);
}
