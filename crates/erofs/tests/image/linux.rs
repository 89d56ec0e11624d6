//! The judges that did not come from this project: `fsck.erofs`, `mkfs.erofs` and the kernel.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use layerstone_erofs::{Image, Nid};
use proptest::test_runner::TestRunner;
use rustix::fs::{lgetxattr, llistxattr};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::model::{Item, Kind, Model};
use crate::random::{self, pattern};
use crate::round_trip::hard_cases;
use crate::skip;

/// Why a tool cannot be used; `None` when it can.
fn missing(tool: &str) -> Option<String> {
    Command::new(tool).arg("--help").output().err().map(|error| format!("{tool}: {error}"))
}

fn fsck(path: &Path) {
    let output = Command::new("fsck.erofs").arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// A mounted image; unmounted and removed in any case.
struct Mounted {
    folder: TempDir,
}

impl Mounted {
    fn new(image: &[u8]) -> io::Result<Self> {
        let mounted = Self { folder: tempfile::tempdir()? };
        std::fs::write(mounted.folder.path().join("image"), image)?;
        std::fs::create_dir(mounted.root())?;
        mount(mounted.folder.path().join("image"), mounted.root(), "erofs", MountFlags::RDONLY, None)?;
        Ok(mounted)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(self.root(), UnmountFlags::DETACH);
    }
}

/// Whether this host mounts image files; the reason if not.
fn kernel() -> Result<(), String> {
    Mounted::new(&Model::new().build().output)
        .map(drop)
        .map_err(|error| format!("cannot mount EROFS: {error}"))
}

#[test]
fn fsck_finds_nothing_wrong() {
    if let Some(reason) = missing("fsck.erofs") {
        return skip("fsck_finds_nothing_wrong", &reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    for (name, model) in hard_cases() {
        eprintln!("{name}");
        std::fs::write(&path, model.build().output).unwrap();
        fsck(&path);
    }
    TestRunner::new(random::config())
        .run(&random::models(), |model| {
            std::fs::write(&path, model.build().output).unwrap();
            fsck(&path);
            Ok(())
        })
        .unwrap();
}

#[test]
fn fsck_finds_nothing_wrong_with_an_inode_that_ends_a_block() {
    if let Some(reason) = missing("fsck.erofs") {
        return skip("fsck_finds_nothing_wrong_with_an_inode_that_ends_a_block", &reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut met = 0;
    for count in 10..120 {
        let mut model = Model::new();
        for i in 0..count {
            model.add(0, format!("{i}"), Item::new(Kind::Fifo));
        }
        let finished = model.build();
        if (finished.nids[count].0 + 1).is_multiple_of(4096 / 32) {
            met += 1;
            std::fs::write(&path, finished.output).unwrap();
            fsck(&path);
        }
    }
    assert!(met > 0);
}

#[test]
fn the_kernel_sees_the_tree_that_was_written() {
    if let Err(reason) = kernel() {
        return skip("the_kernel_sees_the_tree_that_was_written", &reason);
    }
    for (name, model) in hard_cases() {
        eprintln!("{name}");
        compare_with_kernel(&model);
    }
    TestRunner::new(random::config())
        .run(&random::models(), |model| {
            compare_with_kernel(&model);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_kernel_lists_a_directory_of_100_000_names() {
    if let Err(reason) = kernel() {
        return skip("the_kernel_lists_a_directory_of_100_000_names", &reason);
    }
    let mut model = Model::new();
    let file = model.add(0, "file", Item::file("x"));
    let dir = model.mkdir(0, "dir");
    for i in 0..100_000 {
        model.link(dir, format!("{i:x}"), file);
    }
    let mounted = Mounted::new(&model.build().output).unwrap();
    let root = mounted.root();
    assert_eq!(std::fs::read_dir(root.join("dir")).unwrap().count(), 100_000);
    for i in (0..100_000).step_by(311) {
        // More links than the 16 bits of a compact inode hold.
        assert_eq!(std::fs::metadata(root.join(format!("dir/{i:x}"))).unwrap().nlink(), 100_001);
    }
    assert!(!root.join("dir/186a0").exists());
}

fn compare_with_kernel(model: &Model) {
    let finished = model.build();
    let mounted = Mounted::new(&finished.output).unwrap();
    for (path, index) in model.paths() {
        let path = mounted.root().join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(&path)));
        compare_entry(model, index, &path, finished.nids[index]);
    }
}

fn compare_entry(model: &Model, index: usize, path: &Path, nid: Nid) {
    let item = &model.0[index];
    let label = format!("item {index} at {path:?}");
    let found = path.symlink_metadata().unwrap_or_else(|error| panic!("{label}: {error}"));
    assert_eq!(found.mode(), u32::from(item.mode()), "{label}");
    assert_eq!((found.uid(), found.gid()), (item.uid, item.gid), "{label}");
    assert_eq!((found.mtime(), found.mtime_nsec()), (item.mtime.0, item.mtime.1.into()), "{label}");
    assert_eq!(found.nlink(), model.nlink(index), "{label}");
    assert_eq!(found.ino(), nid.0, "{label}");
    compare_xattrs(item, path, &label);
    match &item.kind {
        Kind::Dir(entries) => {
            let listed: BTreeSet<_> =
                std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_vec()).collect();
            assert!(listed.iter().eq(entries.keys()), "{label}: {listed:?}");
        }
        Kind::Symlink(target) => {
            assert_eq!(&std::fs::read_link(path).unwrap().into_os_string().into_vec(), target, "{label}");
        }
        &Kind::Char(major, minor) | &Kind::Block(major, minor) => {
            let rdev = found.rdev();
            assert_eq!((rustix::fs::major(rdev), rustix::fs::minor(rdev)), (major, minor), "{label}");
            assert_eq!(found.file_type().is_char_device(), matches!(item.kind, Kind::Char(..)));
        }
        Kind::File(_) | Kind::Sparse { .. } => {
            assert_eq!(found.size(), item.size(), "{label}");
            let file = File::open(path).unwrap();
            for (at, len) in item.samples() {
                let (mut found, mut expected) = (vec![1; len], vec![2; len]);
                let wanted = item.content(at, &mut expected);
                if wanted > 0 {
                    let at_found = file.read_exact_at(&mut found[..wanted], at);
                    at_found.unwrap_or_else(|error| panic!("{label} at {at}: {error}"));
                    assert!(found[..wanted] == expected[..wanted], "{label} at {at}");
                }
            }
        }
        Kind::Fifo | Kind::Socket => {}
    }
}

fn compare_xattrs(item: &Item, path: &Path, label: &str) {
    let mut names = vec![0; 64 << 10];
    let len = llistxattr(path, names.as_mut_slice()).unwrap_or_else(|error| panic!("{label}: {error}"));
    let listed: BTreeSet<&[u8]> = names[..len].split(|&b| b == 0).filter(|name| !name.is_empty()).collect();
    assert!(listed.iter().copied().eq(item.xattrs.keys().map(Vec::as_slice)), "{label}: {listed:?}");
    let has_user = matches!(item.kind, Kind::Dir(_) | Kind::File(_) | Kind::Sparse { .. });
    for (name, value) in &item.xattrs {
        // Linux keeps user attributes from anything but files and directories.
        if has_user || !name.starts_with(b"user.") {
            let mut found = vec![0; 64 << 10];
            let len = lgetxattr(path, OsStr::from_bytes(name), found.as_mut_slice())
                .unwrap_or_else(|error| panic!("{label}: {}: {error}", String::from_utf8_lossy(name)));
            assert!(found[..len] == value[..], "{label}: {}", String::from_utf8_lossy(name));
        }
    }
}

#[test]
fn images_of_mkfs_are_read() {
    if let Some(reason) = missing("mkfs.erofs") {
        return skip("images_of_mkfs_are_read", &reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("dir/sub")).unwrap();
    let file = |name: &str, bytes: &[u8]| std::fs::write(source.join(name), bytes).unwrap();
    for len in [0usize, 1, 100, 4000, 4095, 4096, 4097, 10_000, 3_000_000] {
        file(&format!("dir/{len}"), &pattern(len, 5));
    }
    for i in 0..3000 {
        file(&format!("dir/sub/{i}"), b"");
    }
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.set_len(5_000_000).unwrap();
    sparse.write_all_at(b"data", 3_000_000).unwrap();
    std::fs::set_permissions(source.join("sparse"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::os::unix::fs::symlink("some/target", source.join("link")).unwrap();
    std::fs::hard_link(source.join("dir/100"), source.join("hard")).unwrap();
    let xattrs = ["dir/100", "dir/1", "sparse"].iter().all(|name| {
        rustix::fs::setxattr(source.join(name), "user.shared", b"value", rustix::fs::XattrFlags::empty())
            .is_ok()
    });

    for options in
        [&[][..], &["-Ededupe"], &["--chunksize=4096"], &["--chunksize=65536"], &["-Eforce-inode-extended"]]
    {
        let path = folder.path().join("image");
        let output = Command::new("mkfs.erofs").args(options).arg(&path).arg(&source).output().unwrap();
        assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        let image = Image::open(File::open(&path).unwrap()).unwrap_or_else(|e| panic!("{options:?}: {e}"));
        let report = image.check().unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(report.inodes, 3 + 9 + 3000 + 2, "{options:?}");
        compare_with_source(&image, image.root(), &source);
        if xattrs {
            let nid = image.resolve(b"hard").unwrap().unwrap();
            let value = image.xattr(&image.inode(nid).unwrap(), b"user.shared").unwrap();
            assert_eq!(value.as_deref(), Some(&b"value"[..]));
        }
    }
}

fn compare_with_source(image: &Image<File>, nid: Nid, path: &Path) {
    let inode = image.inode(nid).unwrap();
    let expected = path.symlink_metadata().unwrap();
    assert_eq!(u32::from(inode.mode), expected.mode(), "{path:?}");
    assert_eq!((inode.uid, inode.gid), (expected.uid(), expected.gid()), "{path:?}");
    assert_eq!(u64::from(inode.nlink), expected.nlink(), "{path:?}");
    if expected.is_dir() {
        let entries = image.read_dir(&inode).unwrap();
        assert_eq!(entries.len(), std::fs::read_dir(path).unwrap().count());
        for entry in entries {
            assert_eq!(image.lookup(&inode, &entry.name).unwrap(), Some(entry.nid));
            compare_with_source(image, entry.nid, &path.join(OsStr::from_bytes(&entry.name)));
        }
    } else if expected.is_symlink() {
        assert_eq!(image.read_link(&inode).unwrap(), b"some/target");
    } else {
        let mut bytes = vec![0; expected.len() as usize + 1];
        let len = image.read_at(&inode, &mut bytes, 0).unwrap();
        assert!(bytes[..len] == std::fs::read(path).unwrap(), "{path:?}");
    }
}
