//! What processes that died left behind: staging directories nobody holds, and temporary files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};
use crate::root::{Store, read_dir_or_empty};
use crate::usage;

/// How the names of all temporary files begin: those of blobs, of `index.json`, and of `write_file`.
const TEMPORARY: &str = ".tmp";

/// Something that a dead process left.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) path: PathBuf,
    /// Bytes of disk.
    pub(crate) bytes: u64,
    /// Held until it is removed, so that nobody who is just making the directory takes it for his.
    lock: Option<File>,
}

impl Leftover {
    /// Something that is no use to anybody, for a caller who holds the store alone.
    pub(crate) fn of(path: PathBuf) -> Result<Self> {
        Ok(Self { bytes: usage::of(&path)?, path, lock: None })
    }

    pub(crate) fn remove(&mut self) -> Result<()> {
        match remove_tree(&self.path) {
            // On Windows a removed file keeps its directory from being removed until it is closed.
            Err(_) if self.lock.is_some() && cfg!(windows) => {
                self.lock = None;
                remove_tree(&self.path)
            }
            result => result,
        }
    }
}

/// Whether a file name is that of a file in the making.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

impl Store {
    /// Removes what dead processes left, if nobody works on the store at this moment; otherwise a later call does.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        let Some(_alone) = self.lock_exclusive_now()? else { return Ok(()) };
        self.leftovers()?.iter_mut().try_for_each(Leftover::remove)
    }

    /// What dead processes left. Only right while the store is held alone: otherwise a temporary file may be in use.
    pub(crate) fn leftovers(&self) -> Result<Vec<Leftover>> {
        let mut found = Vec::new();
        for entry in read_dir_or_empty(&self.staging_root())? {
            let path = entry.path();
            let is_dir = entry.file_type().doing("look at", &path)?.is_dir();
            if is_dir && let Some(lock) = abandoned(&path)? {
                found.push(Leftover { bytes: usage::of(&path)?, path, lock });
            } else if !is_dir && entry.file_name().to_str().is_some_and(is_temporary) && !held(&path) {
                found.push(Leftover { bytes: usage::of(&path)?, path, lock: None });
            }
        }
        for path in self.volatile_leftovers()? {
            found.push(Leftover::of(path)?);
        }
        let blobs = self.root().join("blobs").join("sha256");
        for directory in [self.root(), &blobs] {
            for entry in read_dir_or_empty(directory)? {
                let path = entry.path();
                if entry.file_name().to_str().is_some_and(is_temporary)
                    && entry.file_type().doing("look at", &path)?.is_file()
                    && !held(&path)
                {
                    found.push(Leftover { bytes: usage::of(&path)?, path, lock: None });
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

/// Whether a process has this temporary file open and lets nobody else open it. A file without a name, in which an
/// archive is spooled, has one on Windows; it vanishes there when it is closed, and cannot be removed before.
fn held(path: &Path) -> bool {
    /// `ERROR_SHARING_VIOLATION`
    const SHARING_VIOLATION: i32 = 32;
    cfg!(windows)
        && File::open(path).is_err_and(|error| {
            error.raw_os_error() == Some(SHARING_VIOLATION) || error.kind() == io::ErrorKind::NotFound
        })
}

/// The lock of a staging directory whose maker is dead; `None` inside when it has not even a lock.
fn abandoned(path: &Path) -> Result<Option<Option<File>>> {
    let lock = path.join("lock");
    let file = match File::options().write(true).open(&lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(None)),
        Err(error) => return Err(error).doing("open", lock),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(Some(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error).doing("lock", lock),
    }
}

/// Removes a file or a directory with everything in it; it is no error when there is nothing.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => match fs::remove_dir_all(path) {
            // overlayfs makes directories that not even their owner may list.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unlock(path);
                fs::remove_dir_all(path)
            }
            result => result,
        },
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.doing("remove", path),
    }
}

/// Gives the owner every right that removing everything below needs, as far as that is possible.
fn unlock(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        } else if cfg!(windows) {
            // There it is the file itself that says whether it may be removed.
            make_writable(&entry.path());
        }
    }
}

fn make_writable(path: &Path) {
    if let Ok(metadata) = fs::symlink_metadata(path)
        && metadata.permissions().readonly()
    {
        let mut permissions = metadata.permissions();
        #[expect(
            clippy::permissions_set_readonly_false,
            reason = "only called where it means the attribute"
        )]
        permissions.set_readonly(false);
        let _ = fs::set_permissions(path, permissions);
    }
}
