//! `openat2` and its relatives, all relative to open directories.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use layerstone_layer::{LayerPath, UnixTime, Xattr};
use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::{FileKind, Stat};

/// One call takes less than `PATH_MAX` (4096) bytes; longer paths go in pieces.
const PIECE: usize = 4000;
/// How often a lookup is repeated that a rename elsewhere got in the way of.
const TRIES: usize = 64;
/// What xattr calls start with; most lists and values are shorter.
const XATTR_GUESS: usize = 1024;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// True when owners, devices and `trusted.*` attributes are this process's to set.
pub(crate) fn is_privileged() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory that everything is below.
#[derive(Debug)]
pub(crate) struct Beneath {
    root: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// Opens the directory. `path` itself is the caller's and may lead through links.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let root = fs::open(path, OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Beneath { root, path: path.to_path_buf() })
    }

    /// Where `path` is, for messages.
    pub(crate) fn shown(&self, path: &LayerPath) -> PathBuf {
        if path.is_root() { self.path.clone() } else { self.path.join(OsStr::from_bytes(path.as_bytes())) }
    }

    /// What is at `path`; `None` when there is nothing.
    pub(crate) fn find(&self, path: &LayerPath) -> io::Result<Option<Found>> {
        match open(self.root.as_fd(), path) {
            Ok(fd) => Ok(Some(Found(fd))),
            // ELOOP: a component on the way is a symbolic link, which is not a directory here.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn open(root: BorrowedFd<'_>, path: &LayerPath) -> rustix::io::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path.as_bytes();
    while rest.len() > PIECE {
        let cut = rest[..PIECE].iter().rposition(|&b| b == b'/').ok_or(Errno::NAMETOOLONG)?;
        let next = open_piece(at.as_ref().map_or(root, |fd| fd.as_fd()), &rest[..cut])?;
        at = Some(next);
        rest = &rest[cut + 1..];
    }
    open_piece(at.as_ref().map_or(root, |fd| fd.as_fd()), rest)
}

fn open_piece(at: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let text: &[u8] = if path.is_empty() { b"." } else { path };
    let mut tries = 0;
    loop {
        match fs::openat2(at, text, HANDLE, Mode::empty(), resolve) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if tries < TRIES => tries += 1,
            // Linux before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return walk(at, path),
            other => return other,
        }
    }
}

/// The same, a component at a time.
fn walk(at: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let mut fd = fs::openat(at, c".", HANDLE | OFlags::DIRECTORY, Mode::empty())?;
    let mut names = path.split(|&b| b == b'/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let name = plain(name)?;
        let flags = if names.peek().is_some() { HANDLE | OFlags::DIRECTORY } else { HANDLE };
        fd = fs::openat(&fd, name, flags, Mode::empty())?;
    }
    Ok(fd)
}

/// A name that can only be a name in the directory that it is looked up in.
fn plain(name: &[u8]) -> rustix::io::Result<&OsStr> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(Errno::INVAL);
    }
    Ok(OsStr::from_bytes(name))
}

/// Something that was found: a handle on it, not opened for reading or writing.
#[derive(Debug)]
pub(crate) struct Found(OwnedFd);

impl Found {
    /// The handle as a path, for the calls that take no handle.
    fn proc(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        let stat = fs::fstat(&self.0)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::CharacterDevice => FileKind::CharDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::Unknown => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Stat {
            kind,
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: UnixTime::new(stat.st_mtime as i64, stat.st_mtime_nsec as u32).unwrap_or_default(),
            inode: stat.st_ino,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            device: (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)),
        })
    }

    /// The extended attributes, sorted by name. None where the file system has none.
    pub(crate) fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        let path = self.proc();
        let names = match grown(|buffer| fs::listxattr(path.as_str(), buffer)) {
            Ok(names) => names,
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut xattrs = Vec::new();
        for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            match grown(|buffer| fs::getxattr(path.as_str(), name, buffer)) {
                Ok(value) => xattrs.push(Xattr { name: name.to_vec(), value }),
                // It went away since it was listed.
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error.into()),
            }
        }
        xattrs.sort();
        Ok(xattrs)
    }

    pub(crate) fn read_link(&self) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.0, c"", Vec::new())?.into_bytes())
    }

    /// The names in a directory, sorted by their bytes.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = fs::openat(&self.0, c".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in fs::Dir::new(fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens a regular file for reading. Anything else is not opened: that could block, or do something.
    pub(crate) fn read(&self) -> io::Result<File> {
        if self.stat()?.kind != FileKind::File {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Ok(File::from(fs::open(self.proc(), flags, Mode::empty())?))
    }

    /// What is called `name` in this directory.
    pub(crate) fn child(&self, name: &[u8]) -> io::Result<Found> {
        Ok(Found(fs::openat(&self.0, plain(name)?, HANDLE, Mode::empty())?))
    }

    pub(crate) fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::mkdirat(&self.0, plain(name)?, Mode::from_raw_mode(0o700))?)
    }

    pub(crate) fn make_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.0, plain(name)?, flags, Mode::from_raw_mode(0o600))?))
    }

    pub(crate) fn make_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(fs::symlinkat(OsStr::from_bytes(target), &self.0, plain(name)?)?)
    }

    /// Makes a device or fifo.
    pub(crate) fn make_node(
        &self,
        name: &[u8],
        kind: FileKind,
        (major, minor): (u32, u32),
    ) -> io::Result<()> {
        let kind = match kind {
            FileKind::CharDevice => FileType::CharacterDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
            FileKind::Fifo => FileType::Fifo,
            FileKind::Socket => FileType::Socket,
            FileKind::File | FileKind::Directory | FileKind::Symlink => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        };
        let device = fs::makedev(major, minor);
        Ok(fs::mknodat(&self.0, plain(name)?, kind, Mode::from_raw_mode(0o600), device)?)
    }

    /// Makes `name` one more name of `target` in `directory`. A symbolic link itself gets the name, not what it leads to.
    pub(crate) fn make_link(&self, name: &[u8], directory: &Found, target: &[u8]) -> io::Result<()> {
        Ok(fs::linkat(&directory.0, plain(target)?, &self.0, plain(name)?, AtFlags::empty())?)
    }

    pub(crate) fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        // The one number that would mean "leave it as it is".
        if uid == u32::MAX || gid == u32::MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        Ok(fs::chownat(&self.0, c"", Some(uid), Some(gid), flags)?)
    }

    /// Sets the permission bits. Not for symbolic links, which have none.
    pub(crate) fn set_mode(&self, mode: u16) -> io::Result<()> {
        Ok(fs::chmod(self.proc(), Mode::from_raw_mode(mode.into()))?)
    }

    pub(crate) fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        Ok(fs::setxattr(self.proc(), name, value, XattrFlags::empty())?)
    }

    /// Sets the times of this, a symbolic link included.
    pub(crate) fn set_mtime(&self, time: UnixTime) -> io::Result<()> {
        let time = Timespec { tv_sec: time.seconds(), tv_nsec: i64::from(time.nanoseconds()) as _ };
        let times = Timestamps { last_access: time, last_modification: time };
        // The magic link leads to the object that the handle is on, which is where following ends.
        Ok(fs::utimensat(fs::CWD, self.proc(), &times, AtFlags::empty())?)
    }
}

/// Calls with larger and larger buffers until the answer fits.
fn grown(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; XATTR_GUESS];
    loop {
        match call(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            // Lists and values are at most 64 KiB (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
            Err(Errno::RANGE) if buffer.len() <= 64 << 10 => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}
