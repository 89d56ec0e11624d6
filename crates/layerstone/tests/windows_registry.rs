//! The registry of Windows images: `tree --registry`, `cat --registry`, and what `inspect` makes of it.

#[allow(dead_code, reason = "shared by several test programs")]
mod common;

use common::Dir;
use layerstone_nt::hive::{HiveWriter, KeyTree, Layer, LayerSemantics, ValueTree, ValueType, Version};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const VERSION_KEY: &str = r"HKLM\SOFTWARE\Microsoft\Windows_NT\CurrentVersion";

/// A key with values and subkeys.
fn key(name: &str, values: Vec<ValueTree>, subkeys: Vec<KeyTree>) -> KeyTree {
    KeyTree { values, subkeys, ..KeyTree::new(name) }
}

fn marked(semantics: LayerSemantics, mut key: KeyTree) -> KeyTree {
    key.layer = Layer { semantics, inherit_class: false };
    key
}

fn text(name: &str, value: &str) -> ValueTree {
    ValueTree::text(name, ValueType::Sz, value)
}

fn hive(version: Version, subkeys: Vec<KeyTree>) -> Vec<u8> {
    HiveWriter::new(version).write(&KeyTree { subkeys, ..KeyTree::root("ROOT") }).expect("a hive")
}

/// The registry as a base layer has it.
fn base() -> Vec<u8> {
    let current = key(
        "CurrentVersion",
        vec![
            text("ProductName", "Windows Server 2022 Datacenter"),
            text("CurrentBuildNumber", "20348"),
            text("InstallationType", "Nano Server"),
            ValueTree::dword("CurrentMajorVersionNumber", 10),
            ValueTree::dword("CurrentMinorVersionNumber", 0),
            ValueTree::dword("UBR", 2113),
        ],
        vec![],
    );
    let vendor = key(
        "Vendor",
        vec![text("", "unnamed"), text("Kept", "base"), text("Gone", "base")],
        vec![
            key("Removed", vec![ValueTree::dword("n", 1)], vec![]),
            key("Replaced", vec![text("old", "base")], vec![]),
        ],
    );
    hive(
        Version::V1_5,
        vec![key("Microsoft", vec![], vec![key("Windows NT", vec![], vec![current])]), vendor],
    )
}

/// What a layer above changes.
fn delta() -> Vec<u8> {
    let current = key("CurrentVersion", vec![ValueTree::dword("UBR", 2322)], vec![]);
    let gone = ValueTree::tombstone("gone");
    let vendor = key(
        "VENDOR",
        vec![gone, ValueTree::new("Bytes", ValueType::Binary, [1, 0xAB, 0xFF])],
        vec![
            marked(LayerSemantics::Tombstone, key("Removed", vec![], vec![])),
            marked(LayerSemantics::SupersedeTree, key("Replaced", vec![text("new", "delta")], vec![])),
        ],
    );
    hive(
        Version::V1_6,
        vec![key("Microsoft", vec![], vec![key("Windows NT", vec![], vec![current])]), vendor],
    )
}

/// A layer's archive of these files, their directories before them.
fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut directories = std::collections::BTreeSet::new();
    for (path, content) in files {
        for (at, _) in path.match_indices('/') {
            if directories.insert(path[..at].to_owned()) {
                let mut header = tar::Header::new_ustar();
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                tar.append_data(&mut header, &path[..at], &[][..]).unwrap();
            }
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// What `docker save` would write.
fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<_> =
        layers.iter().map(|layer| format!("sha256:{}", hex::encode(Sha256::digest(layer)))).collect();
    let config = json!({
        "architecture": "amd64", "os": "windows", "os.version": "10.0.20348.2113",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let names: Vec<_> = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["win:1"], "Layers": names }]);
    let mut files = vec![("manifest.json".to_owned(), manifest.to_string().into_bytes())];
    files.push(("config.json".to_owned(), config.to_string().into_bytes()));
    files.extend(names.into_iter().zip(layers.iter().cloned()));
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    layer(&files)
}

/// A store with one Windows image of two layers, whose registry is [`base`] and [`delta`].
fn imported() -> Dir {
    let dir = Dir::new();
    // The spelling of names is the layers' own.
    let bottom = layer(&[("Files/windows/system32/CONFIG/software", &base())]);
    let top = layer(&[("Files/a", b"a"), ("Hives/SOFTWARE_DELTA", &delta())]);
    std::fs::write(dir.path("win.tar"), docker_archive(&[bottom, top])).unwrap();
    dir.ok("import @win.tar");
    dir
}

/// Words on a command line of [`Dir::call`] are separated by spaces; in keys they are `_` there.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace("Windows_NT", "Windows NT")).collect()
}

fn ok(dir: &Dir, line: &str) -> String {
    let called = dir.call_words(&words(line));
    assert_eq!(called.code, 0, "`{line}`\n{}\n{}", called.stdout, called.stderr);
    called.stdout
}

#[test]
fn the_registry_of_an_image_is_that_of_all_its_layers() {
    let dir = imported();
    let shown = ok(&dir, r"tree win:1 --registry HKLM\SOFTWARE\Vendor");
    let expected = r#"HKLM\SOFTWARE\Vendor\
├── (default) = REG_SZ "unnamed"
├── Bytes = REG_BINARY 01 ab ff
├── Kept = REG_SZ "base"
└── Replaced\
    └── new = REG_SZ "delta"
"#;
    assert_eq!(shown, expected);
    let json: serde_json::Value =
        serde_json::from_str(&ok(&dir, r"--json tree win:1 --registry HKEY_LOCAL_MACHINE\software\vendor"))
            .unwrap();
    assert_eq!(json["keys"][1]["path"], r"HKLM\SOFTWARE\vendor\Replaced");
    assert_eq!((&json["keys"][1]["layer"], &json["keys"][0]["values"][2]["layer"]), (&json!(1), &json!(0)));
    assert_eq!(json["keys"][0]["values"][1]["hex"], "01abff");
    assert_eq!(json["hives"][0]["path"], "Files/windows/system32/CONFIG/software");
    assert_eq!(json["problems"], json!([]));
}

#[test]
fn a_layers_own_hive_is_shown_with_what_it_removes() {
    let dir = imported();
    let layers = dir.json("inspect win:1")["layers"].clone();
    let chain = layers[1]["chain_id"].as_str().unwrap();
    let shown = ok(&dir, &format!(r"tree {chain} --registry SOFTWARE\Vendor"));
    let expected = r#"HKLM\SOFTWARE\Vendor\
├── gone  [tombstone]
├── Bytes = REG_BINARY 01 ab ff
├── Removed\  [tombstone]
└── Replaced\  [supersede-tree]
    └── new = REG_SZ "delta"
"#;
    assert_eq!(shown, expected);
}

#[test]
fn depth_ends_the_tree_and_a_root_shows_all_hives() {
    let dir = imported();
    let shown = ok(&dir, "tree win:1 --registry HKLM --depth 1");
    assert_eq!(shown, "HKLM\\SOFTWARE\\\n├── Microsoft\\\n└── Vendor\\\n".replace("Vendor", "VENDOR"));
}

#[test]
fn cat_prints_a_value_as_what_it_is() {
    let dir = imported();
    let value = |line: &str| ok(&dir, line);
    assert_eq!(value(&format!("cat win:1 --registry {VERSION_KEY} ubr")), "2322\n");
    assert_eq!(value(&format!("cat win:1 --registry {VERSION_KEY} CurrentBuildNumber")), "20348\n");
    assert_eq!(value(r"cat win:1 --registry HKLM\SOFTWARE\Vendor"), "unnamed\n");
    let bytes = dir.call(r"cat win:1 --registry HKLM/SOFTWARE/Vendor Bytes").bytes;
    assert_eq!(bytes, [1, 0xAB, 0xFF]);
    let json = dir.json(r"cat win:1 --registry HKLM\SOFTWARE\Vendor Kept");
    assert_eq!(json, json!({ "name": "Kept", "type": "REG_SZ", "size": 10, "layer": 0, "data": "base" }));
}

#[test]
fn inspect_tells_the_version_of_the_registry_beside_that_of_the_configuration() {
    let dir = imported();
    let json = dir.json("inspect win:1");
    assert_eq!(json["os_version"], "10.0.20348.2113");
    assert_eq!(json["registry"]["version"], "10.0.20348.2322");
    let shown = dir.ok("inspect win:1").stdout;
    let line = "registry  10.0.20348.2322  Windows Server 2022 Datacenter, Nano Server  \
                (the configuration says 10.0.20348.2113)";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let dir = imported();
    dir.fails(r"tree win:1 --registry HKLM\SOFTWARE\Nobody", 1, &[r"no key `HKLM\SOFTWARE\Nobody`", "hint:"]);
    dir.fails(r"cat win:1 --registry HKLM\SOFTWARE\Vendor Gone", 1, &["no value `Gone`", "hint:"]);
    dir.fails(r"tree win:1 --registry HKLM\SYSTEM", 1, &[r"no registry hive for HKLM\SYSTEM", "hint:"]);
    dir.fails(r"tree win:1 --registry HKCU\Software", 2, &[r"HKCU\Software", r"HKLM\SOFTWARE"]);
    dir.fails("cat win:1 --registry HKLM", 2, &["has no values"]);
    dir.fails(r"tree win:1 Files --registry HKLM", 2, &["cannot be used with"]);
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_shown() {
    let dir = Dir::new();
    let mut bytes = base();
    // The list of the root's two subkeys ends up pointing at a cell that is no key.
    let root = usize::try_from(u32::from_le_bytes(bytes[36..40].try_into().unwrap())).unwrap() + 4096;
    let list =
        usize::try_from(u32::from_le_bytes(bytes[root + 32..root + 36].try_into().unwrap())).unwrap() + 4096;
    bytes[list + 8 + 8..list + 8 + 12].copy_from_slice(&u32::to_le_bytes(0x20_0000));
    let bottom = layer(&[("Files/Windows/System32/config/SOFTWARE", &bytes)]);
    std::fs::write(dir.path("win.tar"), docker_archive(&[bottom])).unwrap();
    dir.ok("import @win.tar");
    let called = dir.call("tree win:1 --registry HKLM --depth 1");
    assert_eq!(called.code, 3, "{}{}", called.stdout, called.stderr);
    assert!(called.stdout.contains("Microsoft"), "{}", called.stdout);
    assert!(called.stderr.contains("Files/Windows/System32/config/SOFTWARE"), "{}", called.stderr);
    assert!(called.stderr.contains("1 part of the registry could not be read"), "{}", called.stderr);
}

#[test]
fn empty_hives_of_other_tools_are_none_and_an_image_without_them_can_be_inspected() {
    let dir = Dir::new();
    let bottom = layer(&[("Files/Windows/System32/config/SOFTWARE", b"")]);
    std::fs::write(dir.path("win.tar"), docker_archive(&[bottom])).unwrap();
    dir.ok("import @win.tar");
    assert_eq!(dir.json("inspect win:1").get("registry"), None);
    dir.fails("tree win:1 --registry SOFTWARE", 1, &["no registry hive"]);
}
