//! Trees as the kernel shows them: a snapshot of everything that a layer can say about a file, and mounts.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};
use xxhash_rust::xxh3::Xxh3;

/// Files above this are compared by their ends and by what lies around each gibibyte.
const HUGE: u64 = 1 << 30;

/// Everything about one name that must be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The type letter of `ls -l`.
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// 0 for directories.
    pub(crate) size: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) xattrs: BTreeMap<OsString, Vec<u8>>,
    pub(crate) rdev: (u32, u32),
    pub(crate) target: Option<PathBuf>,
    /// The first of all names of the same file.
    pub(crate) first_name: PathBuf,
    pub(crate) hash: u64,
}

impl Item {
    /// A directory that no entry speaks of, as this project makes it.
    pub(crate) fn is_implicit(&self) -> bool {
        self.kind == 'd'
            && self.mode == 0o755
            && self.owner == (0, 0)
            && self.mtime == (0, 0)
            && self.xattrs.is_empty()
    }
}

pub(crate) type Snapshot = BTreeMap<PathBuf, Item>;

/// Reads the whole tree at `root`; the root itself is the empty path.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut items = Snapshot::new();
    let mut todo = vec![PathBuf::new()];
    let mut files: Vec<(PathBuf, (u64, u64))> = Vec::new();
    while let Some(path) = todo.pop() {
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let meta = fs::symlink_metadata(&full).unwrap();
        let kind = match meta.mode() & 0o170_000 {
            0o040_000 => 'd',
            0o120_000 => 'l',
            0o020_000 => 'c',
            0o060_000 => 'b',
            0o010_000 => 'p',
            0o100_000 => '-',
            _ => 's',
        };
        if kind == 'd' {
            for entry in fs::read_dir(&full).unwrap() {
                todo.push(path.join(entry.unwrap().file_name()));
            }
        } else {
            // In an overlay the number is one of the layer's, and so is the device.
            files.push((path.clone(), (meta.dev(), meta.ino())));
        }
        let rdev = if matches!(kind, 'c' | 'b') {
            (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()))
        } else {
            (0, 0)
        };
        let item = Item {
            kind,
            // Linux knows no permissions of symlinks.
            mode: if kind == 'l' { 0o777 } else { meta.mode() & 0o7777 },
            owner: (meta.uid(), meta.gid()),
            size: if kind == 'd' { 0 } else { meta.size() },
            mtime: (meta.mtime(), meta.mtime_nsec()),
            xattrs: xattrs(&full),
            rdev,
            target: (kind == 'l').then(|| fs::read_link(&full).unwrap()),
            first_name: path.clone(),
            hash: if kind == '-' && meta.size() > 0 { hash(&full, meta.size()).unwrap() } else { 0 },
        };
        items.insert(path, item);
    }
    files.sort();
    let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
    for (path, inode) in files {
        let first = first.entry(inode).or_insert_with(|| path.clone()).clone();
        if let Some(item) = items.get_mut(&path) {
            item.first_name = first;
        }
    }
    items
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = [0u8; 8 << 10];
    let length = llistxattr(path, &mut names[..]).unwrap();
    let mut out = BTreeMap::new();
    for name in names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        let length = lgetxattr(path, CString::new(name).unwrap(), &mut value[..]).unwrap();
        value.truncate(length);
        out.insert(OsString::from_vec(name.to_vec()), value);
    }
    out
}

fn hash(path: &Path, size: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; size.min(1 << 20) as usize];
    let ranges: Vec<(u64, u64)> = if size <= HUGE {
        vec![(0, size)]
    } else {
        let around = (0..=size / HUGE).map(|at| ((at * HUGE).saturating_sub(32 << 10), 64 << 10));
        around.chain([(size - (1 << 20), 1 << 20)]).collect()
    };
    for (start, len) in ranges {
        file.seek(SeekFrom::Start(start))?;
        let mut part = file.by_ref().take(len);
        loop {
            let n = part.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
        }
    }
    Ok(hasher.digest())
}

/// How two snapshots differ, by name; `ours` may have directories without an entry where `theirs` has some of its own.
pub(crate) fn differences(ours: &Snapshot, theirs: &Snapshot) -> Vec<String> {
    let mut out = Vec::new();
    for (path, our) in ours {
        match theirs.get(path) {
            None => out.push(format!("only ours: {path:?} ({})", our.kind)),
            Some(their) if our.is_implicit() && their.kind == 'd' => {}
            Some(their) if our != their => {
                out.push(format!("{path:?}\n  ours   {our:?}\n  theirs {their:?}"))
            }
            Some(_) => {}
        }
    }
    for (path, their) in theirs.iter().filter(|(path, _)| !ours.contains_key(*path)) {
        out.push(format!("only theirs: {path:?} ({})", their.kind));
    }
    out
}

/// Something mounted; unmounted when dropped, also when a test fails.
#[derive(Debug)]
pub(crate) struct Mounted {
    at: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Mounted {
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Mounts an EROFS image file.
    pub(crate) fn erofs(image: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        mount(image, folder.path(), "erofs", MountFlags::RDONLY, None)?;
        Ok(Mounted { at: folder.path().to_owned(), _folder: Some(folder) })
    }

    /// Mounts an empty memory file system of so many bytes on an existing directory.
    pub(crate) fn tmpfs(at: &Path, size: u64) -> io::Result<Self> {
        let options = CString::new(format!("size={size}")).unwrap();
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(Mounted { at: at.to_owned(), _folder: None })
    }

    /// Changes the size of a memory file system.
    pub(crate) fn resize(&self, size: u64) -> io::Result<()> {
        let options = CString::new(format!("size={size}")).unwrap();
        Ok(rustix::mount::mount_remount(&self.at, MountFlags::empty(), options.as_c_str())?)
    }

    /// Makes it read-only.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        Ok(rustix::mount::mount_remount(&self.at, MountFlags::RDONLY, c"")?)
    }

    /// Mounts directories over each other, topmost first, read-only.
    pub(crate) fn overlay(layers: &[&Path]) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for layer in layers {
            fsconfig_set_string(&context, "lowerdir+", *layer)?;
        }
        fsconfig_create(&context)?;
        let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&mounted, "", rustix::fs::CWD, folder.path(), flags)?;
        Ok(Mounted { at: folder.path().to_owned(), _folder: Some(folder) })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

/// Why this host cannot mount images, if it cannot.
pub(crate) fn no_mounts() -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let store = layerstone_store::Store::create(folder.path().join("store")).unwrap();
    let layers = super::image::import(&store, super::image::LINUX, &[super::image::Layer::tar(&[0; 1024])]);
    let chain = layers.unwrap()[0].description.chain_id;
    Mounted::erofs(&store.layer_path(&chain).join("layer.erofs"))
        .err()
        .map(|e| format!("mounting EROFS: {e}"))
}

/// A path from bytes.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
