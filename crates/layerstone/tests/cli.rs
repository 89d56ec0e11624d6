//! The command line, as a user sees it.

#[allow(dead_code, reason = "shared by several test programs")]
mod common;

use common::{Dir, sample};

/// A directory with both samples imported.
fn with_samples() -> Dir {
    let dir = Dir::new();
    for name in ["windows", "linux"] {
        dir.ok(&format!("import {}", sample(name).display()));
    }
    dir
}

#[test]
fn an_imported_image_is_listed_with_its_platform_and_layers() {
    let dir = with_samples();
    let images = dir.json("images");
    let names: Vec<_> = images.as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["sample/windows:1", "sample/linux:1"]);
    assert_eq!(images[0]["platform"], "windows/amd64:10.0.20348.2113");
    assert_eq!(images[0]["layers"], 2);
    assert_eq!(dir.json("layers").as_array().unwrap().len(), 4);
    let table = dir.ok("images").stdout;
    assert!(table.starts_with("IMAGE"), "{table}");
    assert!(table.contains("sample/windows:1"), "{table}");
}

#[test]
fn the_diff_ids_are_those_that_the_maker_of_the_image_computed() {
    let dir = with_samples();
    for name in ["sample/windows:1", "sample/linux:1"] {
        let image = dir.json(&format!("inspect {name}"));
        let promised = image["config"]["rootfs"]["diff_ids"].as_array().unwrap();
        let layers = image["layers"].as_array().unwrap();
        for (layer, promised) in layers.iter().zip(promised) {
            assert_eq!(&layer["diff_id"], promised);
            assert_eq!(&layer["stored"]["diff_id"], promised);
        }
    }
    assert_eq!(dir.ok("verify").stdout.matches("ok ").count(), 4);
}

#[test]
fn a_windows_image_tells_which_hosts_run_it_and_a_linux_image_does_not() {
    let dir = with_samples();
    let image = dir.json("inspect sample/windows:1");
    let build = image["os_version"].as_str().unwrap().split('.').nth(2).unwrap().parse::<u32>().unwrap();
    assert_eq!(image["runs_on"]["process_isolation"]["from"], build);
    assert_eq!(image["runs_on"]["hyper_v_isolation"], serde_json::json!({ "from": build }));
    assert_eq!(image["runs_on"]["rule"], "containerd");
    let text = dir.ok("inspect sample/windows:1").stdout;
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("runs on")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with(&format!("runs on   process isolation: hosts of build {build}")), "{text}");
    assert!(lines[1].ends_with("and later"), "{text}");
    assert!(dir.json("inspect sample/linux:1").get("runs_on").is_none());
    assert!(!dir.ok("inspect sample/linux:1").stdout.contains("runs on"));
}

#[test]
fn importing_again_unpacks_nothing() {
    let dir = with_samples();
    let again = dir.json(&format!("import {}", sample("linux").display()));
    assert!(again["layers"].as_array().unwrap().iter().all(|layer| layer["unpacked"] == false), "{again}");
}

#[test]
fn an_archive_can_come_from_standard_input() {
    let dir = Dir::new();
    let called = dir.call_with("import - --name piped:1", Some(&sample("linux")));
    assert_eq!(called.code, 0, "{}", called.stderr);
    assert_eq!(dir.json("images")[0]["name"], "piped:1");
}

#[test]
fn cat_gives_the_bytes_of_the_merged_view_and_understands_windows_paths() {
    let dir = with_samples();
    for path in ["etc/os-release", "/etc/os-release", "./etc/../etc/issue"] {
        assert_eq!(
            dir.ok(&format!("cat sample/linux:1 {path}")).stdout,
            "NAME=Sample\nID=sample\n",
            "{path}"
        );
    }
    let notepad = dir.ok(r"cat sample/windows:1 C:\windows\SYSTEM32\Notepad.exe").bytes;
    assert_eq!(notepad.len(), 2 + 256 * 24);
    assert_eq!(dir.ok("cat sample/windows:1 Files/editor.exe").bytes, notepad);
    // In the base layer the file is there with its stream; the upper layer's whiteout takes both away.
    dir.fails(r"cat sample/windows:1 C:\License.txt", 1, &["Files/License.txt", "is not in"]);
    let base = dir
        .json("layers")
        .as_array()
        .unwrap()
        .iter()
        .find(|l| l["os"] == "windows" && l["parent"].is_null())
        .unwrap()["chain_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let stream = dir.ok(&format!("cat {base} Files/License.txt:Zone.Identifier")).stdout;
    assert_eq!(stream, "[ZoneTransfer]\r\nZoneId=3\r\n");
    dir.fails(&format!("cat {base} Files/License.txt:nothing"), 1, &["nothing"]);
    dir.fails("cat sample/linux:1 etc", 1, &["etc", "is not a file"]);
}

#[test]
fn tree_shows_the_merged_tree_or_one_layers_own_entries() {
    let dir = with_samples();
    let tree = dir.ok("tree sample/windows:1").stdout;
    assert!(tree.contains("app.exe"), "{tree}");
    assert!(tree.contains("Documents and Settings -> C:\\Users"), "{tree}");
    assert!(!tree.contains("License.txt"), "{tree}");
    assert!(!tree.contains("layerstone"), "our own book-keeping must not show:\n{tree}");
    // The second layer spells it `WINDOWS`; on Windows that is the directory of the first.
    assert_eq!(tree.to_lowercase().matches("windows/").count(), 1, "{tree}");

    let rows = dir.json("tree sample/windows:1 C:\\Windows\\System32\\notepad.exe");
    assert_eq!(rows[0]["attributes"], "A");
    let sddl = rows[0]["sddl"].as_str().unwrap();
    assert_eq!(sddl, "O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)");

    let top = dir.json("inspect sample/windows:1")["layers"][1]["chain_id"].as_str().unwrap().to_owned();
    let own = dir.ok(&format!("tree {top}")).stdout;
    assert!(own.contains("License.txt  [whiteout]"), "{own}");
    let shallow = dir.ok("tree sample/linux:1 --depth 1").stdout;
    assert_eq!(shallow.lines().count(), 5, "{shallow}");
    assert!(dir.ok("tree -l sample/linux:1 bin/su").stdout.starts_with("-rwsr-xr-x"));
}

#[test]
fn diff_tells_two_images_apart() {
    let dir = with_samples();
    dir.ok(&format!("import {} --name copy:1", sample("linux").display()));
    assert_eq!(dir.ok("diff sample/linux:1 copy:1").stdout, "");
    let changes = dir.ok("diff sample/linux:1 sample/windows:1").stdout;
    assert!(changes.contains("D bin\n"), "{changes}");
    assert!(changes.contains("A Files\n"), "{changes}");
}

#[test]
fn a_failure_says_what_where_and_what_to_do() {
    let dir = Dir::new();
    dir.fails("images", 1, &["store", "hint:"]);
    dir.fails("import @nothing.tar", 1, &["nothing.tar", "(os error 2)"]);
    std::fs::write(dir.path("noise"), [7u8; 5000]).unwrap();
    dir.fails("import @noise", 1, &["noise"]);
    let dir = with_samples();
    dir.fails("inspect nothing:1", 1, &["nothing:1", "hint: `layerstone images`"]);
    dir.fails("tree sample/linux:1 no/such/path", 1, &["no/such/path"]);
    dir.fails("scratch create ../x sample/linux:1", 1, &["../x", "cannot be the name of a scratch"]);
    dir.fails("diff sample/linux:1", 2, &["no scratch"]);
    dir.fails("import", 2, &["Usage"]);
    dir.fails(&format!("import {} --max-layer-entries 3", sample("linux").display()), 0, &[]);
    let fresh = Dir::new();
    fresh.fails(
        &format!("import {} --max-layer-entries 3", sample("linux").display()),
        1,
        &["more than 3 entries", "hint:"],
    );
}

#[test]
fn a_blob_that_is_not_what_its_digest_says_leaves_nothing_behind() {
    let dir = Dir::new();
    let mut bytes = std::fs::read(sample("linux")).unwrap();
    // The first gzip member of the archive is a layer; its last bytes are its checksum and length.
    let gzip = bytes.windows(4).position(|w| w == b"\x1f\x8b\x08\x00").unwrap();
    bytes[gzip + 40] ^= 0x10;
    std::fs::write(dir.path("bad.tar"), bytes).unwrap();
    dir.fails("import @bad.tar", 1, &["layer sha256:", "caused by:", "hint:"]);
    assert_eq!(dir.json("images").as_array().unwrap().len(), 0);
    assert!(dir.ok("fsck").stdout.contains("nothing wrong"));
    dir.ok(&format!("import {}", sample("linux").display()));
}

#[test]
fn a_damaged_layer_is_named_with_the_file_that_changed() {
    let dir = with_samples();
    let image = dir.json("inspect sample/linux:1");
    let chain = image["layers"][0]["chain_id"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let path = dir.path("store/layers").join(chain).join("layer.erofs");
    let mut bytes = std::fs::read(&path).unwrap();
    // The first block after the superblock's is the start of the first file, bin/busybox.
    assert_eq!(&bytes[4096..4100], b"\x7fELF");
    bytes[5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let called = dir.call("verify sample/linux:1");
    assert_eq!(called.code, 3, "{}{}", called.stdout, called.stderr);
    assert!(called.stdout.contains("`bin/busybox`"), "{}", called.stdout);
    assert!(
        called.stdout.contains("`bin/sh`"),
        "a hard link is damaged under each of its names: {}",
        called.stdout
    );
    assert_eq!(dir.call("verify sample/windows:1").code, 0);
}

#[test]
fn a_scratch_is_made_listed_and_removed() {
    let dir = with_samples();
    dir.ok("scratch create work sample/linux:1");
    assert_eq!(dir.json("scratch ls")[0]["name"], "work");
    dir.fails("scratch create work sample/linux:1", 1, &["already", "hint:"]);
    if cfg!(target_os = "linux") {
        assert_eq!(dir.ok("diff work").stdout, "");
    } else {
        dir.fails("diff work", 4, &["overlayfs", "hint: `layerstone doctor`"]);
    }
    dir.ok("scratch rm work");
    assert_eq!(dir.json("scratch ls").as_array().unwrap().len(), 0);
}

#[test]
fn the_demo_works_and_leaves_nothing_behind() {
    let dir = Dir::new();
    let tmp = dir.path("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_layerstone"))
        .arg("demo")
        .envs(["TMPDIR", "TMP", "TEMP"].map(|name| (name, &tmp)))
        .env("LAYERSTONE_RUNTIME_DIR", dir.path("run"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("fsck"), "{text}");
    assert_eq!(text.contains("left out"), cfg!(not(target_os = "linux")), "{text}");
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0);
}

/// Windows programs that do not take care end at 260 characters.
#[test]
fn a_store_may_lie_deep() {
    let dir = Dir::new();
    let deep = (0..6).fold(dir.path("deep"), |path, n| path.join(format!("{n}{}", "d".repeat(59))));
    let root = deep.join("store");
    assert!(root.as_os_str().len() > 360);
    let call = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_layerstone"));
        let output = command.arg("--root").arg(&root).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    call(&["import", &sample("windows").display().to_string()]);
    call(&["scratch", "create", "work", "sample/windows:1"]);
    assert_eq!(call(&["verify", "--all"]).matches("ok ").count(), 2);
    let archive = deep.join("out.tar");
    call(&["export", "sample/windows:1", &archive.display().to_string()]);
    assert!(archive.is_file());
    call(&["scratch", "rm", "work"]);
    call(&["rmi", "sample/windows:1"]);
    call(&["gc"]);
    assert!(call(&["fsck"]).contains("nothing wrong"));
}

#[test]
fn completions_and_manual_pages_are_generated() {
    let dir = Dir::new();
    assert!(dir.ok("completions bash").stdout.contains("layerstone"));
    dir.ok("man @man");
    assert!(dir.path("man/layerstone-import.1").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn the_runtime_of_windows_is_refused_by_name_on_linux() {
    if !layerstone_testing::root("the_runtime_of_windows_is_refused_by_name_on_linux") {
        return;
    }
    let dir = with_samples();
    dir.fails(
        "run --runtime hcs sample/linux:1 true",
        4,
        &["Host Compute Service", "part of Windows", "runc"],
    );
}
