//! Chains of layers: our merged view, the kernel's overlay of the stored layers, and plain unpacking one after the other
//! must show the same tree.
#![cfg(target_os = "linux")]

mod proof;

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerstone_layer::view::{LayerView as _, NodeKind};
use layerstone_layer::{LayerPath, Os};
use layerstone_oci::ChainId;
use layerstone_store::Store;
use proof::disk::{Item, Mounted, Snapshot, no_mounts, path_of, snapshot};
use proof::image::{LINUX, Layer, chain_ids, import, verify_all};
use proof::skip;
use xxhash_rust::xxh3::xxh3_64;

/// Our merged view as a snapshot, and the order of its names.
fn merged(store: &Store, chains: &[ChainId]) -> (Snapshot, Vec<PathBuf>) {
    let merged = store.merged(chains, Os::Linux).unwrap();
    let root = merged.root().unwrap().unwrap();
    let (mut out, mut order) = (Snapshot::new(), Vec::new());
    let mut first: HashMap<(usize, u64), Vec<PathBuf>> = HashMap::new();
    for found in merged.walk(LayerPath::root(), root) {
        let (path, node) = found.unwrap();
        let path = path_of(path.as_bytes());
        let (layer, nid) = node.sources[0];
        let (mut size, mut rdev, mut target, mut hash) = (0, (0, 0), None, 0);
        match &node.node.kind {
            NodeKind::File { size: length } => {
                let mut bytes = Vec::new();
                merged.layers()[layer].open(&nid, None).unwrap().read_to_end(&mut bytes).unwrap();
                size = *length;
                hash = if bytes.is_empty() { 0 } else { xxh3_64(&bytes) };
            }
            NodeKind::Symlink { target: text } => {
                size = text.len() as u64;
                target = Some(path_of(text));
            }
            NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                rdev = (*major, *minor);
            }
            _ => {}
        }
        let kind = node.node.kind.letter();
        if kind != 'd' {
            first.entry((layer, nid.0)).or_default().push(path.clone());
        }
        let meta = &node.node.meta;
        let item = Item {
            kind,
            mode: if kind == 'l' { 0o777 } else { u32::from(meta.mode) },
            owner: (meta.uid, meta.gid),
            size,
            mtime: (meta.mtime.seconds(), i64::from(meta.mtime.nanoseconds())),
            xattrs: meta
                .xattrs
                .iter()
                .map(|x| (path_of(&x.name).into_os_string(), x.value.clone()))
                .collect(),
            rdev,
            target,
            first_name: path.clone(),
            hash,
        };
        order.push(path.clone());
        out.insert(path, item);
    }
    for mut names in first.into_values() {
        names.sort();
        for name in &names {
            if let Some(item) = out.get_mut(name) {
                item.first_name = names[0].clone();
            }
        }
    }
    (out, order)
}

/// The stored layers under one overlay of the kernel.
fn overlay(store: &Store, chains: &[ChainId]) -> Snapshot {
    let mounts: Vec<_> = chains
        .iter()
        .rev()
        .map(|chain| Mounted::erofs(&store.layer_path(chain).join("layer.erofs")).unwrap())
        .collect();
    // An overlay needs two layers at least.
    let empty = tempfile::tempdir().unwrap();
    let paths: Vec<_> = mounts.iter().map(Mounted::path).chain([empty.path()]).collect();
    let mounted = Mounted::overlay(&paths).unwrap();
    snapshot(mounted.path())
}

/// Unpacks layers one over the other, as the image specification says: whiteouts first (they are about the layers below
/// only), then the archive's own entries, a later one over an earlier one.
fn apply(tar: &Path, root: &Path) {
    let list = Command::new("tar").args(["--quoting-style=literal", "-tf"]).arg(tar).output().unwrap();
    for name in list.stdout.split(|&b| b == b'\n').filter(|name| !name.is_empty()) {
        let path = path_of(name);
        let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else { continue };
        let Some(hidden) = file.as_bytes().strip_prefix(b".wh.") else { continue };
        let parent = root.join(parent);
        if hidden == b".wh..opq" {
            for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
                remove(&entry.path());
            }
        } else {
            remove(&parent.join(path_of(hidden)));
        }
    }
    // What is no directory on either side is removed by `tar` itself, a full directory under a file is not.
    let list = Command::new("tar").args(["--quoting-style=literal", "-tvf"]).arg(tar).output().unwrap();
    let names = Command::new("tar").args(["--quoting-style=literal", "-tf"]).arg(tar).output().unwrap();
    let kinds = list.stdout.split(|&b| b == b'\n').map(|line| line.first().copied());
    for (name, kind) in names.stdout.split(|&b| b == b'\n').zip(kinds) {
        let path = root.join(path_of(name));
        if name.is_empty() || !path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            continue;
        }
        if kind == Some(b'd') {
            // An entry says all about its directory; `tar` leaves the attributes that it does not mention.
            for xattr in [c"user.layer", c"trusted.layer"] {
                let _ = rustix::fs::lremovexattr(&path, xattr);
            }
        } else {
            remove(&path);
        }
    }
    let output = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "--same-owner"])
        .args(["--delay-directory-restore", "--exclude=.wh.*", "-C"])
        .arg(root)
        .arg("-xf")
        .arg(tar)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn remove(path: &Path) {
    let _ = if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}

fn missing() -> Option<String> {
    for tool in ["tar", "python3"] {
        if let Err(error) = Command::new(tool).arg("--version").output() {
            return Some(format!("{tool}: {error}"));
        }
    }
    no_mounts()
}

/// Where one layer after the other and an overlay cannot agree: a directory's time changes when something is put into
/// it; and a link from a later layer takes a copy of the file, apart from the names it had before (as overlayfs does it
/// when a file is copied up). The kernel's overlay is compared without this leniency.
fn comparable(mut all: Snapshot) -> Snapshot {
    for (path, item) in &mut all {
        item.first_name = path.clone();
        if item.kind == 'd' {
            item.mtime = (0, 0);
        }
    }
    all
}

fn check(seed: u64, layers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/gen.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(folder.path()).args([seed.to_string(), layers.to_string()]);
    assert!(python.status().unwrap().success());
    let tars: Vec<_> = (0..layers).map(|at| folder.path().join(format!("{at}.tar"))).collect();
    let blobs: Vec<_> = tars.iter().map(|tar| Layer::tar(&fs::read(tar).unwrap())).collect();
    let store = Store::create(folder.path().join("store")).unwrap();
    import(&store, LINUX, &blobs).unwrap();
    assert_eq!(verify_all(&store), layers);
    let chains = chain_ids(&blobs);
    let (ours, order) = merged(&store, &chains);
    assert!(ours.len() > 3, "seed {seed} makes nothing");
    for pair in order.windows(2) {
        let [a, b] = [&pair[0], &pair[1]].map(|p| p.components().collect::<Vec<_>>());
        assert!(a < b, "seed {seed}: {:?} before {:?}", pair[0], pair[1]);
    }
    let fail = |who: &str, differences: Vec<String>| {
        assert!(differences.is_empty(), "seed {seed}, {layers} layers, {who}:\n{}", differences.join("\n"));
    };
    fail("the kernel's overlay", exact(&ours, &overlay(&store, &chains)));

    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    tars.iter().for_each(|tar| apply(tar, &root));
    fail("one after the other", exact(&comparable(ours), &comparable(snapshot(&root))));
}

/// No leniency: what the kernel shows of our images is what we say.
fn exact(ours: &Snapshot, theirs: &Snapshot) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .map(|name| format!("{name:?}\n  ours   {:?}\n  theirs {:?}", ours.get(name), theirs.get(name)))
        .collect()
}

#[test]
fn random_chains_merge_as_the_kernel_and_plain_unpacking_do() {
    const TEST: &str = "random_chains_merge_as_the_kernel_and_plain_unpacking_do";
    if let Some(reason) = missing() {
        return skip(TEST, &reason);
    }
    let rounds = std::env::var("LAYERSTONE_MERGE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    for seed in 0..rounds {
        check(seed, 2 + seed as usize % 6);
    }
}

#[test]
fn thirty_layers_merge_as_the_kernel_and_plain_unpacking_do() {
    const TEST: &str = "thirty_layers_merge_as_the_kernel_and_plain_unpacking_do";
    if let Some(reason) = missing() {
        return skip(TEST, &reason);
    }
    check(1000, 30);
}
