//! `layerstone hcs`: each operation of layer storage by itself.

#[allow(dead_code, reason = "shared by several test programs")]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::Dir;
#[cfg(target_os = "linux")]
use common::sample;
use layerstone_conformance::{Item, base_content, contents, write_transport};

/// What the upper layer of [`two_layers`] has.
fn upper_content() -> Vec<Item> {
    vec![Item::file("Files/added.txt", b"added"), Item::removed("Files/Windows/old.txt")]
}

/// A base layer `base` and a layer `app` over it, and their transport folders.
fn two_layers() -> Dir {
    let dir = Dir::new();
    write_transport(&dir.path("base.transport"), &base_content());
    write_transport(&dir.path("app.transport"), &upper_content());
    dir.ok("hcs --portable import @base @base.transport");
    dir.ok("hcs --portable import @app @app.transport --parent @base");
    dir
}

/// Every file below a directory, with its bytes.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_path_buf(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_layer_is_exported_as_it_was_imported() {
    let dir = two_layers();
    let done = dir.json("hcs --portable export @base @out");
    assert_eq!((&done["operation"], &done["backend"]), (&"export".into(), &"portable".into()));
    assert_eq!(done["mount_path"], dir.path("out").to_str().unwrap());
    assert_eq!(done["parents"], serde_json::json!([]));
    assert_eq!(contents(&dir.path("out")), contents(&dir.path("base.transport")));
    // The bytes of the files too, which that reader does not interpret for us.
    let (was, is) = (files(&dir.path("base.transport")), files(&dir.path("out")));
    assert_eq!(was.keys().collect::<Vec<_>>(), is.keys().collect::<Vec<_>>());

    let done = dir.json("hcs --portable export @app @out2 --parent @base");
    let id = dir.ok("hcs --portable id @base").stdout;
    assert_eq!(done["parents"][0]["id"], id.trim());
    assert_eq!(done["parents"][0]["path"], dir.path("base").to_str().unwrap());
    assert_eq!(contents(&dir.path("out2")), contents(&dir.path("app.transport")));
}

#[test]
fn the_chain_is_read_from_a_file_that_is_named_or_lies_in_the_layer_or_beside_it() {
    let dir = two_layers();
    write_transport(&dir.path("top.transport"), &[Item::file("Files/top.txt", b"top")]);
    let expected = [dir.path("app"), dir.path("base")].map(|path| path.to_str().unwrap().to_owned());
    let parents = |done: serde_json::Value| -> Vec<String> {
        done["parents"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap().to_owned()).collect()
    };

    // Relative paths begin where the file is.
    fs::write(dir.path("chain.json"), r#"["app", "base"]"#).unwrap();
    assert_eq!(parents(dir.json("hcs --portable import @top @top.transport --chain @chain.json")), expected);
    // In the layer's folder, as Docker has it.
    fs::write(dir.path("top").join("layerchain.json"), serde_json::to_string(&expected).unwrap()).unwrap();
    assert_eq!(parents(dir.json("hcs --portable export @top @out1")), expected);
    // Beside it.
    fs::rename(dir.path("chain.json"), dir.path("layerchain.json")).unwrap();
    fs::remove_file(dir.path("top").join("layerchain.json")).unwrap();
    let called = dir.call("hcs --portable export @top @out2");
    assert_eq!(called.code, 0, "{}", called.stderr);
    assert!(called.stderr.contains("note: 2 parents, as `"), "{}", called.stderr);
    assert_eq!(contents(&dir.path("out2")), contents(&dir.path("top.transport")));
    // What is said on the command line counts more.
    assert!(parents(dir.json("hcs --portable export @base @out3 --base")).is_empty());
    dir.fails("hcs --portable export @top @out4 --parent @base", 1, &["is not the parent of", "hint: "]);
    assert!(!dir.path("out4").exists(), "what a failure has made is removed");
}

#[test]
fn a_file_that_is_no_chain_is_refused_with_the_reason() {
    let dir = two_layers();
    fs::write(dir.path("null.json"), "null").unwrap();
    dir.ok("hcs --portable export @base @out --chain @null.json");
    fs::write(dir.path("bad.json"), r#"{"parents": []}"#).unwrap();
    dir.fails("hcs --portable export @base @out2 --chain @bad.json", 2, &["bad.json", "no list of layers"]);
    dir.fails("hcs --portable export @base @out2 --chain @absent.json", 1, &["absent.json"]);
}

#[test]
fn a_wrong_chain_is_refused_and_the_hint_says_which_order_is_right() {
    let dir = two_layers();
    let order = "nearest first and the base layer last";
    dir.fails(
        "hcs --portable initialize @work --parent @base --parent @app",
        1,
        &["is not the parent of", "hint: ", order],
    );
    dir.fails("hcs --portable initialize @work --parent @app", 1, &["has a parent itself", order]);
    dir.fails(
        "hcs --portable initialize @work --parent @app --parent @nothing",
        1,
        &["parent 2 of 2", "hint: ", order],
    );
    dir.fails("hcs --portable initialize @work", 1, &["needs at least one parent", "hint: "]);
    assert!(!dir.path("work").exists());
    dir.ok("hcs --portable initialize @work --parent @app --parent @base");
    dir.fails(
        "hcs --portable attach @work --parent @base",
        1,
        &["was initialized over other parents", order],
    );
    dir.fails("hcs --portable initialize @work --parent @base", 1, &["exists already", "hint: "]);
}

#[test]
fn a_layer_is_destroyed_once() {
    let dir = two_layers();
    dir.ok("hcs --portable initialize @work --parent @app --parent @base");
    for name in ["work", "app", "base"] {
        let done = dir.ok(&format!("hcs --portable destroy @{name}"));
        assert_eq!(done.stdout.trim(), dir.path(name).to_str().unwrap());
        assert!(!dir.path(name).exists());
    }
    dir.fails("hcs --portable destroy @base", 1, &["there is no", "hint: "]);
    dir.fails("hcs --portable scratch destroy @work", 1, &["there is no", "hint: "]);
}

#[test]
fn an_incomplete_transport_folder_is_refused_and_leaves_no_layer() {
    let dir = Dir::new();
    write_transport(&dir.path("source"), &base_content());
    fs::remove_file(dir.path("source").join("Hives").join("Sam_Delta")).unwrap();
    dir.fails("hcs --portable import @base @source", 1, &["source", "hint: ", "_Delta"]);
    dir.fails("hcs --portable import @base @nothing", 1, &["there is no source folder", "hint: "]);
    assert!(!dir.path("base").exists());
}

#[test]
fn what_takes_a_virtual_disk_says_that_the_portable_engine_has_none() {
    let dir = two_layers();
    for line in [
        "hcs --portable create-vhd @disk.vhdx --size 20G",
        "hcs --portable create-vhd @disk.vhdx --parent @blank.vhdx",
        "hcs --portable format @disk.vhdx",
        "hcs --portable mount-path @disk.vhdx",
        "hcs --portable attach-vhd @disk.vhdx",
        "hcs --portable detach-vhd @disk.vhdx",
        "hcs --portable expand @base 40G",
        "hcs --portable setup-base @base",
        "hcs --portable setup-base @base --vm @disk.vhdx",
        "hcs --portable setup-volume @base @volume",
    ] {
        dir.fails(line, 4, &["writes no virtual disks yet", "hint: ", "Windows"]);
    }
    assert!(!dir.path("disk.vhdx").exists());
    // A base layer of the portable engine needs no setup.
    assert_eq!(dir.json("hcs --portable process-base @base")["utility_vm"], false);
}

#[test]
fn words_that_make_no_sense_are_wrong_usage() {
    let dir = Dir::new();
    for line in [
        "hcs",
        "hcs --portable create-vhd @disk.vhdx",
        "hcs --portable create-vhd @disk.vhdx --size 1G --parent @blank.vhdx",
        "hcs --portable create-vhd @disk.vhdx --size many",
        "hcs --portable export @a @b --parent @c --chain @d",
        "hcs --portable export @a @b --parent @c --base",
        "hcs --portable import @a",
    ] {
        assert_eq!(dir.call(line).code, 2, "{line}");
    }
}

#[cfg(not(windows))]
#[test]
fn without_the_service_every_operation_names_the_portable_engine() {
    let dir = two_layers();
    for line in
        ["hcs id @base", "hcs export @base @out", "hcs mount-path @disk.vhdx", "hcs scratch destroy @x"]
    {
        dir.fails(line, 4, &["Host Compute Service", std::env::consts::OS, "hint: `--portable`"]);
    }
    assert!(!dir.path("out").exists());
}

/// Wine has none of the DLLs with the layer functions; on a Windows host that has them this cannot be seen.
#[cfg(windows)]
#[test]
fn without_the_dlls_every_operation_says_how_to_get_them() {
    const TEST: &str = "without_the_dlls_every_operation_says_how_to_get_them";
    if Path::new(r"C:\windows\system32\computestorage.dll").exists() {
        return layerstone_testing::skip(TEST, "this Windows has computestorage.dll");
    }
    let dir = two_layers();
    dir.fails("hcs id @base", 4, &["NameToGuid", "vmcompute.dll", "0x8007007e", "hint: ", "Containers"]);
    dir.fails("hcs setup-base @base", 4, &["HcsSetupBaseOSLayer", "17763", "hint: ", "--portable"]);
}

#[cfg(target_os = "linux")]
mod on_linux {
    use std::process::{Command, Stdio};

    use layerstone_testing::root;

    use super::*;

    /// Detaches when a test fails in between.
    struct Attached<'a>(&'a Path);

    impl Drop for Attached<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).stderr(Stdio::null()).status();
        }
    }

    #[test]
    fn a_layer_is_made_from_its_archive_compressed_or_not_and_keeps_its_digest() {
        let dir = Dir::new();
        dir.ok(&format!("import {}", sample("windows").display()));
        let image = dir.json("inspect sample/windows:1");
        let promised = image["config"]["rootfs"]["diff_ids"].as_array().unwrap();
        for compression in ["gzip", "zstd", "none"] {
            let layout = format!("layout-{compression}");
            let export =
                format!("export --format oci --compression {compression} sample/windows:1 @{layout}");
            let written = dir.json(&export);
            let mut parents = String::new();
            for (at, layer) in written["layers"].as_array().unwrap().iter().enumerate() {
                let digest = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
                let folder = format!("{compression}-{at}");
                let blob = dir.path(&layout).join("blobs/sha256").join(digest);
                // One from a file, one from standard input.
                let (archive, input) = match at {
                    0 => (blob.to_str().unwrap(), None),
                    _ => ("-", Some(blob.as_path())),
                };
                let called = dir.call_with(
                    &format!("--json hcs --portable import-archive @{folder} {archive}{parents}"),
                    input,
                );
                assert_eq!(called.code, 0, "{}", called.stderr);
                parents = format!(" --parent @{folder}{parents}");
                let description = fs::read(dir.path(&folder).join("layer.json")).unwrap();
                let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
                assert_eq!(description["diff_id"], promised[at], "{folder}");
            }
        }
    }

    #[test]
    fn an_archive_that_is_none_makes_no_layer() {
        let dir = Dir::new();
        fs::write(dir.path("noise"), [0x55; 4096]).unwrap();
        dir.fails("hcs --portable import-archive @layer @noise", 1, &["hint: "]);
        fs::write(dir.path("cut.gz"), [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
        dir.fails("hcs --portable import-archive @layer @cut.gz", 1, &["gzip"]);
        assert!(!dir.path("layer").exists());
    }

    #[test]
    fn a_scratch_is_attached_changed_exported_and_detached_step_by_step() {
        if !root("a_scratch_is_attached_changed_exported_and_detached_step_by_step") {
            return;
        }
        let dir = two_layers();
        let chain = "--parent @app --parent @base";
        dir.ok(&format!("hcs --portable initialize @work {chain}"));
        dir.fails("hcs --portable detach @work", 1, &["is not attached", "hint: "]);
        let files = dir.ok(&format!("hcs --portable attach @work {chain}")).stdout;
        let files = PathBuf::from(files.trim_end());
        let _attached = Attached(&files);
        assert_eq!(fs::read(files.join("added.txt")).unwrap(), b"added");
        assert!(!files.join("Windows/old.txt").exists());
        fs::write(files.join("new.txt"), "new").unwrap();

        dir.fails(&format!("hcs --portable attach @work {chain}"), 1, &["in use", "hint: "]);
        dir.fails("hcs --portable destroy @base", 1, &["in use", "hint: detach"]);
        dir.ok(&format!("hcs --portable export --writable @work @changed {chain}"));
        // Backup streams are behind the attributes.
        let new = fs::read(dir.path("changed").join("Files").join("new.txt")).unwrap();
        assert!(new.ends_with(b"new"), "{new:?}");
        dir.ok("hcs --portable detach @work");
        assert!(!files.join("new.txt").exists());
        // What was exported is a layer, once it has registry files.
        dir.fails(&format!("hcs --portable import @next @changed {chain}"), 1, &["hint: ", "_Delta"]);
        fs::create_dir_all(dir.path("changed").join("Hives")).unwrap();
        for hive in fs::read_dir(dir.path("app.transport").join("Hives")).unwrap() {
            let hive = hive.unwrap();
            fs::copy(hive.path(), dir.path("changed").join("Hives").join(hive.file_name())).unwrap();
        }
        dir.ok(&format!("hcs --portable import @next @changed {chain}"));
        dir.ok("hcs --portable destroy @work");
    }

    #[test]
    fn a_scratch_stays_attached_until_it_is_destroyed() {
        if !root("a_scratch_stays_attached_until_it_is_destroyed") {
            return;
        }
        let dir = two_layers();
        let done = dir.json("hcs --portable scratch create @work --parent @app --parent @base");
        let files = PathBuf::from(done["mount_path"].as_str().unwrap());
        let _attached = Attached(&files);
        assert_eq!(fs::read(files.join("added.txt")).unwrap(), b"added");
        dir.ok("hcs --portable scratch destroy @work");
        assert!(!dir.path("work").exists());
        // One that is not attached goes as well.
        dir.ok("hcs --portable initialize @idle --parent @app --parent @base");
        dir.ok("hcs --portable scratch destroy @idle");
        assert!(!dir.path("idle").exists());
    }
}
