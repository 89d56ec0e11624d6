//! The Windows program does what the native one does: the same documents, the same bytes, the same stores.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use layerstone_oci::{
    Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, Layout, Manifest, MediaType, Platform,
};
use layerstone_testing::sample;
use serde_json::Value;

/// One of the two programs, with a store.
struct Program {
    windows: bool,
    root: PathBuf,
}

/// What a call gave.
#[derive(Debug, PartialEq)]
struct Called {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

/// The two programs, each with a store, in a folder for files.
struct Both {
    folder: tempfile::TempDir,
    native: Program,
    windows: Program,
}

impl Program {
    /// The program, ready for arguments.
    fn command(&self) -> Command {
        if !self.windows {
            return Command::new(env!("CARGO_BIN_EXE_layerstone"));
        }
        let setting = |name| std::env::var(name).unwrap_or_else(|_| panic!("`cargo xtask wine` sets {name}"));
        let runner = setting("LAYERSTONE_WINDOWS_RUNNER");
        let mut words = runner.split(' ');
        let mut command = Command::new(words.next().expect("a runner"));
        command.args(words).arg(setting("LAYERSTONE_WINDOWS_EXE"));
        command
    }

    /// A path as this program has it. Wine shows the host's root as `Z:`.
    fn path(&self, path: &Path) -> OsString {
        if self.windows {
            format!("Z:{}", path.to_str().expect("a path of text").replace('/', r"\")).into()
        } else {
            path.into()
        }
    }

    /// Calls the program on its store.
    fn call<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> Called {
        let mut command = self.command();
        command.arg("--root").arg(self.path(&self.root)).args(words).stdin(Stdio::null());
        let output = command.env("LAYERSTONE_RUNTIME_DIR", self.root.with_extension("run")).output().unwrap();
        Called {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Calls and expects success.
    #[track_caller]
    fn ok<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> Vec<u8> {
        let called = self.call(words);
        let words: Vec<_> = words.iter().map(|word| word.as_ref().display().to_string()).collect();
        assert_eq!(called.code, 0, "{words:?}: {}", called.stderr);
        called.stdout
    }

    /// Calls with `--json`.
    #[track_caller]
    fn json<W: AsRef<std::ffi::OsStr>>(&self, words: &[W]) -> Value {
        let mut all: Vec<&std::ffi::OsStr> = vec!["--json".as_ref()];
        all.extend(words.iter().map(AsRef::as_ref));
        serde_json::from_slice(&self.ok(&all)).unwrap()
    }
}

impl Both {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let native = Program { windows: false, root: folder.path().join("native") };
        let windows = Program { windows: true, root: folder.path().join("windows") };
        Both { folder, native, windows }
    }

    /// Both print the same; what they print is given.
    #[track_caller]
    fn print(&self, words: &[&str]) -> Vec<u8> {
        let (native, windows) = (self.native.ok(words), self.windows.ok(words));
        assert!(
            native == windows,
            "{words:?}:\n{}\n--- on Windows:\n{}",
            String::from_utf8_lossy(&native),
            String::from_utf8_lossy(&windows)
        );
        native
    }

    /// Both give the same document, but for what the host decides.
    #[track_caller]
    fn same(&self, words: &[&str]) -> Value {
        let [native, windows] = [&self.native, &self.windows].map(|program| {
            let mut document = program.json(words);
            without_the_host(&mut document);
            document
        });
        assert_eq!(native, windows, "{words:?}");
        native
    }

    /// Both fail in the same way.
    #[track_caller]
    fn fail(&self, words: &[&str], code: i32) {
        let (native, windows) = (self.native.call(words), self.windows.call(words));
        assert_eq!(
            (native.code, windows.code),
            (code, code),
            "{words:?}: {} {}",
            native.stderr,
            windows.stderr
        );
        assert_eq!(native.stderr, windows.stderr, "{words:?}");
    }

    /// Both import the same file.
    fn import(&self, archive: &Path) {
        for program in [&self.native, &self.windows] {
            program.ok(&["import".as_ref(), program.path(archive).as_os_str()]);
        }
    }
}

/// Takes out where something is, and how much of this disk it takes.
fn without_the_host(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            for name in ["dest", "directory", "disk", "total", "bytes_freed"] {
                fields.remove(name);
            }
            // In `df` and `gc` bytes are those of the disk. In `verify` they are those of the archive, and stay.
            if !fields.contains_key("damage")
                && !fields.contains_key("counts")
                && !fields.contains_key("files")
            {
                for name in ["bytes", "blobs", "staging", "reclaimable", "damaged"] {
                    if fields.get(name).is_some_and(Value::is_number) {
                        fields.remove(name);
                    }
                }
            }
            fields.values_mut().for_each(without_the_host);
        }
        Value::Array(values) => values.iter_mut().for_each(without_the_host),
        _ => {}
    }
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

#[track_caller]
fn assert_same_files(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, bytes) in &a {
        assert!(bytes == &b[path], "{} differs", path.display());
    }
}

/// An image of these layers, which other tools have made.
fn write_windows_image(path: &Path, layers: &[Vec<u8>]) {
    let layout = Layout::create(path).unwrap();
    let platform = Platform::parse("windows/amd64:10.0.20348.473").unwrap();
    let mut config = ImageConfig::new(&platform);
    let mut descriptors = Vec::new();
    for layer in layers {
        layout.put_blob_bytes(layer).unwrap();
        descriptors.push(Descriptor::of(MediaType::OCI_LAYER, layer));
        config = config.append_layer(&DiffId(Digest::of(layer)), HistoryEntry::default()).unwrap();
    }
    layout.put_blob_bytes(config.bytes()).unwrap();
    let manifest = Manifest::build(config.descriptor(), descriptors, BTreeMap::new()).unwrap();
    layout.put_blob_bytes(manifest.bytes()).unwrap();
    layout.set_image("real/windows:1", &manifest.descriptor().with_platform(platform)).unwrap();
}

/// One of the images that the demo carries.
fn carried(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(format!("{name}.oci.tar"))
}

/// What both have to say about everything in their stores.
fn compare_everything(both: &Both) {
    let images = both.same(&["images"]);
    both.print(&["images"]);
    both.same(&["layers"]);
    both.same(&["df"]);
    both.same(&["verify", "--all"]);
    both.same(&["fsck"]);
    for image in images.as_array().unwrap() {
        let name = image["name"].as_str().unwrap();
        let inspected = both.same(&["inspect", name]);
        both.print(&["tree", name]);
        both.print(&["tree", "-l", name]);
        both.same(&["tree", name, "--depth", "2"]);
        for layer in inspected["layers"].as_array().unwrap() {
            let chain = layer["chain_id"].as_str().unwrap();
            both.same(&["inspect", chain]);
            both.print(&["tree", "-l", chain]);
        }
        let windows = inspected["platform"].as_str().unwrap().starts_with("windows");
        let tree = both.same(&["tree", name]);
        let files = tree.as_array().unwrap().iter().filter(|row| row["kind"] == "file");
        for row in files {
            let path = row["path"].as_str().unwrap();
            let bytes = both.print(&["cat", name, path]);
            assert_eq!(bytes.len() as u64, row["size"].as_u64().unwrap(), "{name} {path}");
            if windows && let Some(inside) = path.strip_prefix("Files/") {
                let path = format!(r"C:\{}", inside.replace('/', r"\"));
                assert_eq!(both.print(&["cat", name, &path]), bytes, "{path}");
                assert_eq!(both.print(&["cat", name, &path.to_uppercase()]), bytes, "{path}");
                assert_eq!(both.print(&["cat", name, &path.to_lowercase().replace('\\', "/")]), bytes);
            }
        }
    }
}

/// What both write for others is the same.
fn compare_exports(both: &Both, name: &str) {
    for (format, compression) in [
        ("oci", "gzip"),
        ("oci-archive", "gzip"),
        ("oci-archive", "zstd"),
        ("oci-archive", "none"),
        ("docker-archive", "gzip"),
    ] {
        let mut to = Vec::new();
        for (program, side) in [(&both.native, "native"), (&both.windows, "windows")] {
            let dest = both.folder.path().join(format!("{side}-{format}-{compression}"));
            program.ok(&[
                "export".as_ref(),
                "--format".as_ref(),
                format.as_ref(),
                "--compression".as_ref(),
                compression.as_ref(),
                name.as_ref(),
                program.path(&dest).as_os_str(),
            ]);
            to.push(dest);
        }
        let what = format!("{name} as {format}, {compression}");
        if to[0].is_dir() {
            assert_same_files(&to[0], &to[1]);
            to.iter().for_each(|path| fs::remove_dir_all(path).unwrap());
        } else {
            assert!(fs::read(&to[0]).unwrap() == fs::read(&to[1]).unwrap(), "{what}");
            to.iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn it_says_the_same_version() {
    let both = Both::new();
    assert!(String::from_utf8(both.print(&["--version"])).unwrap().starts_with("layerstone "));
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn the_images_that_it_carries_are_the_same_in_every_view() {
    let both = Both::new();
    both.import(&carried("windows"));
    both.import(&carried("linux"));
    compare_everything(&both);
    let layers = both.same(&["layers"]);
    let base =
        layers.as_array().unwrap().iter().find(|l| l["os"] == "windows" && l["parent"].is_null()).unwrap();
    let base = base["chain_id"].as_str().unwrap();
    for path in ["Files/License.txt:Zone.Identifier", "FILES/license.TXT:zone.identifier"] {
        assert_eq!(both.print(&["cat", base, path]), b"[ZoneTransfer]\r\nZoneId=3\r\n", "{path}");
    }
    both.print(&["diff", "sample/linux:1", "sample/windows:1"]);
    both.same(&["diff", "sample/windows:1", "sample/linux:1"]);
    for name in ["sample/windows:1", "sample/linux:1"] {
        compare_exports(&both, name);
    }
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn real_images_are_the_same_in_every_view() {
    const TEST: &str = "real_images_are_the_same_in_every_view";
    let both = Both::new();
    for name in ["linux/ggcr/whiteout_image.tar.gz", "linux/stereoscope/valid-oci.tar"] {
        let Some(archive) = sample(TEST, name) else { return };
        both.import(&archive);
    }
    let mut layers = Vec::new();
    for name in [
        "layers/converted/imgutil-windows-baselayer.tar",
        "layers/container-inspector/windows-container-rootfs.tar",
        "layers/converted/ggcr-windows-content.tar",
    ] {
        let Some(layer) = sample(TEST, name) else { return };
        layers.push(fs::read(layer).unwrap());
    }
    let layout = both.folder.path().join("layout");
    write_windows_image(&layout, &layers);
    both.import(&layout);
    compare_everything(&both);
    for image in both.same(&["images"]).as_array().unwrap() {
        compare_exports(&both, image["name"].as_str().unwrap());
    }
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn stores_are_the_same_and_each_program_proves_the_others() {
    let both = Both::new();
    both.import(&carried("windows"));
    both.import(&carried("linux"));
    assert_same_files(&both.native.root, &both.windows.root);
    let swapped = |program: &Program, root: &Path| {
        let program = Program { windows: program.windows, root: root.to_path_buf() };
        let verified = program.json(&["verify", "--all"]);
        let verified = verified.as_array().unwrap();
        assert_eq!(verified.len(), 4);
        assert!(verified.iter().all(|layer| layer["damage"].as_array().unwrap().is_empty()), "{verified:?}");
        assert_eq!(program.json(&["fsck"]), Value::Array(Vec::new()));
        program.ok(&["scratch", "create", "other", "sample/windows:1"]);
        program.ok(&["rmi", "sample/linux:1"]);
        program.ok(&["gc"]);
    };
    swapped(&both.native, &both.windows.root);
    swapped(&both.windows, &both.native.root);
    // What one has changed, the other takes over.
    assert_eq!(both.same(&["images"]).as_array().unwrap().len(), 1);
    both.same(&["scratch", "ls"]);
    both.same(&["scratch", "rm", "other"]);
    both.same(&["fsck"]);
    assert_same_files(&both.native.root, &both.windows.root);
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn damage_is_found_in_the_same_places() {
    let both = Both::new();
    both.import(&carried("linux"));
    for program in [&both.native, &both.windows] {
        let layers = program.json(&["layers"]);
        let chain = layers[0]["chain_id"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let image = program.root.join("layers").join(chain).join("layer.erofs");
        let mut bytes = fs::read(&image).unwrap();
        bytes[5000] ^= 1;
        fs::write(image, bytes).unwrap();
    }
    let (native, windows) =
        (both.native.call(&["--json", "verify", "--all"]), both.windows.call(&["--json", "verify", "--all"]));
    assert_eq!((native.code, windows.code), (3, 3));
    let [native, windows] = [native, windows].map(|c| serde_json::from_slice::<Value>(&c.stdout).unwrap());
    assert_eq!(native, windows);
    assert!(native.to_string().contains("bin/busybox"), "{native}");
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn scratches_images_and_garbage_come_and_go_the_same_way() {
    let both = Both::new();
    both.import(&carried("windows"));
    both.import(&carried("linux"));
    both.same(&["scratch", "create", "work", "sample/windows:1"]);
    both.same(&["scratch", "ls"]);
    both.same(&["inspect", "work"]);
    both.fail(&["scratch", "create", "work", "sample/windows:1"], 1);
    both.fail(&["rmi", "sample/windows:1"], 1);
    both.same(&["scratch", "rm", "work"]);
    both.same(&["rmi", "sample/windows:1"]);
    both.same(&["gc", "--dry-run"]);
    both.same(&["gc"]);
    both.same(&["df"]);
    both.same(&["fsck"]);
    assert_eq!(both.same(&["layers"]).as_array().unwrap().len(), 2);
    assert_same_files(&both.native.root, &both.windows.root);
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn failures_are_told_in_the_same_words() {
    let both = Both::new();
    both.import(&carried("windows"));
    both.fail(&["inspect", "nothing:1"], 1);
    both.fail(&["tree", "sample/windows:1", "no/such/path"], 1);
    both.fail(&["cat", "sample/windows:1", r"C:\Windows"], 1);
    both.fail(&["cat", "sample/windows:1", r"C:\ünicode\日本"], 1);
    both.fail(&["scratch", "create", "../x", "sample/windows:1"], 1);
    both.fail(&["scratch", "create", "CON:", "sample/windows:1"], 1);
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn doctor_says_what_this_host_lacks_and_what_to_do() {
    let both = Both::new();
    let lines = both.windows.json(&["doctor"]);
    let missing: Vec<_> = lines.as_array().unwrap().iter().filter(|line| line["ok"] == false).collect();
    assert!(!missing.is_empty(), "Wine mounts nothing: {lines}");
    assert!(missing.iter().all(|line| line["hint"].as_str().is_some_and(|hint| !hint.is_empty())), "{lines}");
    let text = String::from_utf8(both.windows.ok(&["doctor"])).unwrap();
    for line in missing {
        assert!(text.contains(line["hint"].as_str().unwrap()), "{text}");
    }
    both.import(&carried("windows"));
    let target = both.folder.path().join("target");
    fs::create_dir(&target).unwrap();
    let target = both.windows.path(&target);
    both.windows.ok(&["scratch", "create", "work", "sample/windows:1"]);
    for words in [
        vec!["mount".as_ref(), "sample/windows:1".as_ref(), target.as_os_str()],
        vec!["unpack".as_ref(), "sample/windows:1".as_ref(), target.as_os_str()],
        vec!["diff".as_ref(), "work".as_ref()],
        vec!["commit".as_ref(), "work".as_ref(), "new:1".as_ref()],
    ] {
        let called = both.windows.call(&words);
        assert_eq!(called.code, 4, "{words:?}: {}", called.stderr);
        assert!(called.stderr.contains("hint: `layerstone doctor`"), "{}", called.stderr);
    }
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn doctor_tells_each_part_of_windows_that_layers_need() {
    let both = Both::new();
    let lines = both.windows.json(&["doctor"]);
    let line = |name: &str| {
        let found: Vec<_> = lines.as_array().unwrap().iter().filter(|line| line["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name}: {lines}");
        found[0]
    };
    let detail = |name: &str| line(name)["detail"].as_str().unwrap().to_owned();
    assert!(line("windows")["ok"] == true && detail("windows").contains("20348"), "{lines}");
    assert!(line("elevated")["ok"].is_boolean());
    for privilege in
        ["SeBackupPrivilege", "SeRestorePrivilege", "SeSecurityPrivilege", "SeManageVolumePrivilege"]
    {
        assert_eq!(line(privilege)["ok"], detail(privilege).starts_with("held"), "{lines}");
    }
    // Wine has the third of the DLLs alone.
    for (library, build) in [("computestorage.dll", "17763"), ("vmcompute.dll", "14393")] {
        assert_eq!(line(library)["ok"], false, "{lines}");
        for part in ["0x8007007e", "ERROR_MOD_NOT_FOUND", build] {
            assert!(detail(library).contains(part), "{library}: {lines}");
        }
        let hint = line(library)["hint"].as_str().unwrap();
        assert!(hint.contains("Enable-WindowsOptionalFeature"), "{hint}");
    }
    assert_eq!(
        (&line("virtdisk.dll")["ok"], detail("virtdisk.dll")),
        (&true.into(), "5 of 5 functions".into())
    );
    let volume = detail("volume");
    assert_eq!(line("volume")["ok"], volume.contains(" is NTFS, "), "{volume}");
    assert!(volume.contains(" free of "), "{volume}");
    assert_eq!(line("filters")["required"], false);
    // Windows attaches layers in another way than Linux, so that this is no fault of the host.
    assert_eq!((&line("linux")["ok"], &line("linux")["required"]), (&false.into(), &false.into()));
    // Both programs give documents of the same shape.
    for lines in [&lines, &both.native.json(&["doctor"])] {
        for line in lines.as_array().unwrap() {
            for name in line.as_object().unwrap().keys() {
                assert!(["name", "ok", "required", "detail", "hint"].contains(&name.as_str()), "{line}");
            }
            assert!(line["required"].is_boolean(), "{line}");
        }
    }
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn the_portable_layer_storage_gives_the_same_bytes() {
    let both = Both::new();
    both.import(&carried("windows"));
    // Layers as tar files: the sample's own, which another tool has made.
    let mut outs = Vec::new();
    for (program, side) in [(&both.native, "native"), (&both.windows, "windows")] {
        let at = |name: &str| both.folder.path().join(format!("{side}-{name}"));
        let words = |words: &[&str]| -> Vec<OsString> {
            words
                .iter()
                .map(|word| match word.strip_prefix('@') {
                    Some(name) => program.path(&at(name)),
                    None => word.into(),
                })
                .collect()
        };
        let written = program.json(&words(&["export", "--format", "oci", "sample/windows:1", "@layout"]));
        let blob = |nth: usize| {
            let digest = written["layers"][nth]["digest"].as_str().unwrap().trim_start_matches("sha256:");
            format!("@layout/blobs/sha256/{digest}")
        };
        program.ok(&words(&["hcs", "--portable", "import-archive", "@base", &blob(0)]));
        program.ok(&words(&["hcs", "--portable", "import-archive", "@app", &blob(1), "--parent", "@base"]));
        program.ok(&words(&["hcs", "--portable", "export", "@base", "@out"]));
        program.ok(&words(&[
            "hcs",
            "--portable",
            "initialize",
            "@work",
            "--parent",
            "@app",
            "--parent",
            "@base",
        ]));
        let wrong =
            words(&["hcs", "--portable", "initialize", "@no", "--parent", "@base", "--parent", "@app"]);
        let refused = program.call(&wrong);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: name every parent"), "{}", refused.stderr);
        program.ok(&words(&["hcs", "--portable", "destroy", "@work"]));
        // Their parents are named by paths, which the two programs write in other ways.
        fs::remove_file(at("app").join("parents.json")).unwrap();
        outs.push([at("base"), at("app"), at("out")]);
    }
    for (native, windows) in outs[0].iter().zip(&outs[1]) {
        assert!(files(native).len() > 2, "{}", native.display());
        assert_same_files(native, windows);
    }
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn the_demo_works_and_says_what_is_missing() {
    let both = Both::new();
    let keep = both.folder.path().join("demo");
    let mut command = both.windows.command();
    command.args(["--json", "demo", "--keep"]).arg(both.windows.path(&keep)).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let steps: Value = serde_json::from_slice(&output.stdout).unwrap();
    let attach: Vec<_> = steps.as_array().unwrap().iter().filter(|step| step["step"] == "attach").collect();
    assert_eq!(attach.len(), 2);
    assert!(attach.iter().all(|step| step["result"].as_str().unwrap().contains("Linux kernel")), "{steps}");
    let kept = Program { windows: false, root: keep.join("second") };
    assert_eq!(kept.json(&["verify", "--all"]).as_array().unwrap().len(), 4);
}
