//! Everything that `lstat`, `listxattr` and reading tell of a directory tree, to compare two of them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use layerstone_oci::Digest;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    pub(crate) target: Option<PathBuf>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    pub(crate) content: Option<Digest>,
    /// The first of the file's names, when it has several in the tree.
    pub(crate) same_as: Option<PathBuf>,
}

pub(crate) type Tree = BTreeMap<PathBuf, Facts>;

/// All of a tree, its root as the empty path.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let relative = path.strip_prefix(root).unwrap().to_path_buf();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        tree.insert(relative, facts(&path));
    }
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    for (path, facts) in &mut tree {
        let stat = fs::symlink_metadata(root.join(path)).unwrap();
        if facts.kind != 'd' && stat.nlink() > 1 {
            let first = first.entry((stat.dev(), stat.ino())).or_insert_with(|| path.clone());
            facts.same_as = Some(first.clone()).filter(|first| first != path);
        }
    }
    tree
}

fn facts(path: &Path) -> Facts {
    let stat = fs::symlink_metadata(path).unwrap();
    let kind = match stat.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_file() => '-',
        kind if kind.is_symlink() => 'l',
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        kind if kind.is_fifo() => 'p',
        _ => 's',
    };
    Facts {
        kind,
        mode: stat.mode() & 0o7777,
        owner: (stat.uid(), stat.gid()),
        size: if kind == '-' { stat.size() } else { 0 },
        mtime: (stat.mtime(), stat.mtime_nsec()),
        device: if matches!(kind, 'c' | 'b') { stat.rdev() } else { 0 },
        target: (kind == 'l').then(|| fs::read_link(path).unwrap()),
        xattrs: xattrs(path),
        content: (kind == '-').then(|| digest(path)),
        same_as: None,
    }
}

fn digest(path: &Path) -> Digest {
    let mut bytes = Vec::new();
    fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    Digest::of(&bytes)
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..len].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value).unwrap();
        value.truncate(len);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    found
}

/// Fails with a list of everything that differs.
#[track_caller]
pub(crate) fn assert_same(what: &str, a: &Tree, b: &Tree) {
    let mut differences = Vec::new();
    for path in a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>() {
        if a.get(path) != b.get(path) {
            differences.push(format!("{}:\n  {:?}\n  {:?}", path.display(), a.get(path), b.get(path)));
        }
    }
    assert!(differences.is_empty(), "{what}: {} differences\n{}", differences.len(), differences.join("\n"));
}
