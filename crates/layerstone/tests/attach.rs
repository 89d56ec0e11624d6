//! The verbs that need the kernel: mount, change, commit, umount; and what the store does afterwards.

#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared by several test programs")]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use common::{Dir, sample};
use layerstone_testing::{root, tool};

/// Unmounts when a test fails in between.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).stderr(std::process::Stdio::null()).status();
    }
}

fn with_image(name: &str) -> Dir {
    let dir = Dir::new();
    dir.ok(&format!("import {}", sample(name).display()));
    fs::create_dir(dir.path("mnt")).unwrap();
    dir
}

#[test]
fn an_image_is_mounted_read_only_and_shows_the_merged_tree() {
    if !root("an_image_is_mounted_read_only_and_shows_the_merged_tree") {
        return;
    }
    let dir = with_image("linux");
    let mnt = dir.path("mnt");
    dir.ok("mount sample/linux:1 @mnt");
    let _mounted = Mounted(&mnt);
    assert_eq!(fs::read_to_string(mnt.join("etc/issue")).unwrap(), "NAME=Sample\nID=sample\n");
    assert_eq!(fs::read(mnt.join("bin/busybox")).unwrap(), dir.ok("cat sample/linux:1 bin/busybox").bytes);
    assert_eq!(fs::metadata(mnt.join("bin/su")).unwrap().permissions().mode() & 0o7777, 0o4755);
    assert!(!mnt.join("var/old.log").exists());
    assert!(fs::write(mnt.join("new"), "x").is_err());
    dir.fails("mount sample/linux:1 @mnt", 1, &["mnt"]);
    dir.ok("umount @mnt");
    assert_eq!(fs::read_dir(&mnt).unwrap().count(), 0);
    dir.fails("umount @mnt", 1, &["mnt"]);
}

#[test]
fn a_windows_scratch_keeps_its_metadata_through_mount_change_commit_and_export() {
    const TEST: &str = "a_windows_scratch_keeps_its_metadata_through_mount_change_commit_and_export";
    if !root(TEST) {
        return;
    }
    let dir = with_image("windows");
    let mnt = dir.path("mnt");
    dir.ok("scratch create work sample/windows:1");
    dir.ok("mount work @mnt");
    let mounted = Mounted(&mnt);
    // What is C:\ in the container.
    assert!(mnt.join("Windows/System32/notepad.exe").exists());
    assert!(!mnt.join("Files").exists());
    fs::write(mnt.join("Windows/app.exe"), "patched").unwrap();
    fs::create_dir(mnt.join("New")).unwrap();
    fs::write(mnt.join("New/file.txt"), "new").unwrap();
    fs::remove_file(mnt.join("editor.exe")).unwrap();
    dir.fails("scratch rm work", 1, &["in use", "hint:"]);
    dir.ok("umount @mnt");
    drop(mounted);

    let changes = dir.ok("diff work").stdout;
    for line in
        ["C Files/Windows/app.exe\n", "A Files/New\n", "A Files/New/file.txt\n", "D Files/editor.exe\n"]
    {
        assert!(changes.contains(line), "{changes}");
    }
    dir.ok("commit work patched:1 --author Me --message Patch --created 2024-05-01T00:00:00Z");
    let before = dir.json(r"tree sample/windows:1 C:\Windows\app.exe");
    let after = dir.json(r"tree patched:1 C:\Windows\app.exe");
    assert_eq!(after[0]["sddl"], before[0]["sddl"], "an edited file keeps its descriptor");
    assert_eq!(after[0]["attributes"], before[0]["attributes"]);
    assert_eq!(dir.ok(r"cat patched:1 C:\Windows\app.exe").stdout, "patched");
    let new = dir.json(r"tree patched:1 C:\New\file.txt");
    assert_eq!(new[0]["attributes"], "A");
    assert!(new[0]["sddl"].as_str().unwrap().starts_with("O:BAG:SYD:"), "{new}");
    let image = dir.json("inspect patched:1");
    assert_eq!(image["config"]["history"][2]["comment"], "Patch");
    assert_eq!(dir.ok("verify").stdout.matches("ok ").count(), 3);

    // The export holds the same layers, for us and for others.
    dir.ok("export patched:1 @out.tar");
    let second = Dir::new();
    second.ok(&format!("import {}", dir.path("out.tar").display()));
    assert_eq!(second.json("inspect patched:1")["config"], image["config"]);
    let Some(mut skopeo) = tool(TEST, "skopeo") else { return };
    let output =
        skopeo.arg("inspect").arg("--config").arg(format!("oci-archive:{}", dir.path("out.tar").display()));
    let config: serde_json::Value = serde_json::from_slice(&output.output().unwrap().stdout).unwrap();
    assert_eq!(config["rootfs"], image["config"]["rootfs"]);
}

#[test]
fn an_image_that_is_removed_gives_its_disk_back_and_keeps_what_others_share() {
    let dir = with_image("linux");
    dir.ok(&format!("import {}", sample("windows").display()));
    let before = dir.json("df")["total"].as_u64().unwrap();
    dir.ok("rmi sample/windows:1");
    let would = dir.json("gc --dry-run");
    assert_eq!(would["layers"].as_array().unwrap().len(), 2);
    assert_eq!(dir.json("df")["total"].as_u64().unwrap(), before, "a dry run frees nothing");
    let freed = dir.json("gc");
    assert_eq!(freed["bytes_freed"], would["bytes_freed"]);
    let after = dir.json("df")["total"].as_u64().unwrap();
    assert!(after < before, "{after} {before}");
    assert!(dir.ok("fsck").stdout.contains("nothing wrong"));
    assert_eq!(dir.ok("verify sample/linux:1").stdout.matches("ok ").count(), 2);
}

#[test]
fn fsck_repairs_what_it_can_and_says_what_it_cannot() {
    let dir = with_image("linux");
    let chain = dir.json("inspect sample/linux:1")["layers"][0]["chain_id"].as_str().unwrap().to_owned();
    let layer = dir.path("store/layers").join(chain.trim_start_matches("sha256:"));
    fs::remove_file(layer.join("layer.split")).unwrap();
    dir.fails("fsck", 3, &["problem"]);
    dir.fails("fsck --repair", 3, &["left"]);
    // The layer was set aside; importing again brings it back.
    dir.ok(&format!("import {}", sample("linux").display()));
    assert!(dir.ok("fsck").stdout.contains("nothing wrong"));
}

#[test]
fn an_image_is_unpacked_as_plain_files() {
    if !root("an_image_is_unpacked_as_plain_files") {
        return;
    }
    let dir = with_image("linux");
    dir.ok("unpack sample/linux:1 @out");
    assert_eq!(fs::read_to_string(dir.path("out/etc/app.conf")).unwrap(), "answer = 42\n");
    assert_eq!(fs::read_link(dir.path("out/etc/issue")).unwrap(), Path::new("os-release"));
    dir.fails("unpack sample/linux:1 @out", 1, &["not an empty directory"]);
}

#[test]
fn a_windows_image_is_unpacked_as_drive_c_with_its_metadata() {
    const TEST: &str = "a_windows_image_is_unpacked_as_drive_c_with_its_metadata";
    if !root(TEST) {
        return;
    }
    let Some(mut getfattr) = tool(TEST, "getfattr") else { return };
    let dir = with_image("windows");
    dir.ok("unpack sample/windows:1 @c");
    let notepad = dir.path("c/Windows/System32/notepad.exe");
    assert_eq!(fs::read(&notepad).unwrap(), dir.ok(r"cat sample/windows:1 C:\Windows\notepad.exe").bytes);
    assert!(!dir.path("c/License.txt").exists(), "the second layer removed it");
    assert_eq!(fs::read_link(dir.path("c/Users/All Users")).unwrap(), Path::new("/ProgramData"));
    let output = getfattr.args(["-d", "-m", "user.winnt", "-e", "hex"]).arg(&notepad).output().unwrap();
    let attributes = String::from_utf8_lossy(&output.stdout);
    // The descriptor as the maker of the image built it: revision 1, self-relative, with a DACL.
    assert!(attributes.contains("user.winnt.sd=0x01000480"), "{attributes}");
    assert!(attributes.contains("user.winnt.ea="), "{attributes}");
    dir.ok("unpack --raw sample/windows:1 @raw");
    assert!(dir.path("raw/UtilityVM/Files/notepad.exe").exists());
    assert!(dir.path("raw/Hives/Software_Delta").exists());
}

#[test]
fn without_privilege_mount_says_what_is_missing() {
    const TEST: &str = "without_privilege_mount_says_what_is_missing";
    if !root(TEST) {
        return;
    }
    let Some(mut setpriv) = tool(TEST, "setpriv") else { return };
    let dir = with_image("linux");
    // The binary and the store must be reachable for nobody.
    let binary = dir.path("layerstone");
    fs::copy(env!("CARGO_BIN_EXE_layerstone"), &binary).unwrap();
    let chown = Command::new("chown").args(["-R", "65534:65534"]).arg(dir.path(".")).status().unwrap();
    assert!(chown.success());
    let output = setpriv
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&binary)
        .args(["mount", "sample/linux:1"])
        .arg(dir.path("mnt"))
        .env("LAYERSTONE_ROOT", dir.path("store"))
        .env("LAYERSTONE_RUNTIME_DIR", dir.path("run"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("hint: `layerstone doctor`"), "{stderr}");
}
