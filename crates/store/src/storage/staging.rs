//! Folders for work in flight, beside the folder that they are for.
//!
//! Each has a file that its owner holds locked. The system lets go of the lock when the owner dies, so what is not locked
//! was left by a crash; the next work beside it removes it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::places;
use crate::error::IoContext as _;
use crate::root::read_dir_or_empty;

/// How the names of all these folders begin, whatever the work.
pub(super) const PREFIX: &str = ".layerstone-";

/// Name of the file that the owner of such a folder holds locked.
const LOCK: &str = "lock";

/// The folder that another one lies in.
pub(super) fn around(folder: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(folder).doing("find", folder)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(_)) => Ok(parent.to_path_buf()),
        _ => {
            Err(Error::Invalid { path: folder.to_path_buf(), why: "it is the root of a file system".into() })
        }
    }
}

/// A folder for work in flight, beside the one that it is for, so that one rename ends the work. It goes when it is
/// dropped; what a crash left goes with the next work beside it.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    /// Held until the folder is about to go.
    lock: Option<File>,
}

impl Staging {
    /// Makes one, whose name begins with `prefix`, which begins with [`PREFIX`].
    pub(super) fn beside(folder: &Path, prefix: &str) -> Result<Self> {
        let around = around(folder)?;
        sweep(&around)?;
        loop {
            let path = tempfile::Builder::new()
                .prefix(prefix)
                .rand_bytes(12)
                .tempdir_in(&around)
                .doing("create a folder in", &around)?
                .keep();
            // Others may sweep the folder away in the moment before it is locked; then there is another one to make.
            let lock_path = path.join(LOCK);
            match File::create_new(&lock_path).map(|file| (file.try_lock(), file)) {
                Ok((Ok(()), lock)) if lock_path.exists() => {
                    return Ok(Staging { path, lock: Some(lock) });
                }
                Ok((Ok(()) | Err(TryLockError::WouldBlock), _)) => {}
                Ok((Err(TryLockError::Error(error)), _)) => {
                    return Err(error).doing("lock", lock_path).map_err(Error::from);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).doing("create", lock_path).map_err(Error::from),
            }
        }
    }

    /// Where it is. [`LOCK`] is taken in it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, and tells when that fails; then it is swept later.
    pub(super) fn remove(&mut self) -> Result<()> {
        // Windows does not let go of the name of an open file.
        self.lock = None;
        places::remove(&self.path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = self.remove();
    }
}

/// Removes what dead processes left in a folder.
fn sweep(around: &Path) -> Result<()> {
    for entry in read_dir_or_empty(around)? {
        let path = entry.path();
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // Whoever works in it holds its lock. Without one it is half removed; or, as long as nothing is in it, just being
        // made.
        let lock = match File::options().write(true).open(path.join(LOCK)) {
            Ok(file) if file.try_lock().is_ok() => Some(file),
            Ok(_) => continue,
            Err(_) => {
                // On Windows a folder that others rename or remove at this moment cannot be listed; it is not left by the dead.
                let Ok(left) = read_dir_or_empty(&path) else { continue };
                if left.is_empty() || left.iter().any(|entry| entry.file_name() == LOCK) {
                    continue;
                }
                None
            }
        };
        // Others may sweep at the same time.
        let _ = fs::remove_dir_all(&path);
        if let Some(lock) = lock {
            // Where the name of an open file stays, so has the folder.
            drop(lock);
            let _ = fs::remove_dir(&path);
        }
    }
    Ok(())
}
