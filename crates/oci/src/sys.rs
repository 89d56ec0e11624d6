//! The few things that differ between operating systems, with the same signatures on each.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

#[cfg(unix)]
mod imp {
    use super::{File, NamedTempFile, Path, io};
    use std::fs::Permissions;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buf, offset)
    }

    pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    pub(crate) fn temporary_file(dir: &Path, prefix: &str) -> io::Result<NamedTempFile> {
        // Blobs are for everyone whom the umask lets, not only for their owner, which is what temporary files begin with.
        tempfile::Builder::new().prefix(prefix).permissions(Permissions::from_mode(0o666)).tempfile_in(dir)
    }

    pub(crate) fn patiently<T>(call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        call()
    }
}

#[cfg(windows)]
mod imp {
    use super::{File, NamedTempFile, Path, io};
    use std::os::windows::fs::{FileExt, OpenOptionsExt};

    /// Moves the file's cursor, which nothing here relies on; each call is atomic.
    pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        file.seek_read(buf, offset)
    }

    /// `FILE_FLAG_BACKUP_SEMANTICS`: without it, directories cannot be opened.
    const DIRECTORIES: u32 = 0x0200_0000;

    /// NTFS logs names in their order, so that nothing can come back half; what is in the log's memory is written with the
    /// directory. Not every file system can do that, and those cannot do better.
    pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
        let mut options = File::options();
        let directory = options.read(true).write(true).custom_flags(DIRECTORIES).open(path);
        match directory.and_then(|directory| directory.sync_all()) {
            Err(error) if error.raw_os_error().is_some_and(|code| UNABLE.contains(&code)) => Ok(()),
            result => result,
        }
    }

    /// `ERROR_INVALID_FUNCTION`, `ERROR_ACCESS_DENIED`, `ERROR_INVALID_HANDLE`, `ERROR_NOT_SUPPORTED`,
    /// `ERROR_INVALID_PARAMETER`
    const UNABLE: [i32; 5] = [1, 5, 6, 50, 87];

    pub(crate) fn temporary_file(dir: &Path, prefix: &str) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(prefix).tempfile_in(dir)
    }

    /// `ERROR_ACCESS_DENIED`, `ERROR_SHARING_VIOLATION`
    const BUSY: [i32; 2] = [5, 32];
    /// How often a call is tried again, and for how long: some 2 seconds.
    const TRIES: u64 = 60;

    /// While a file is being replaced it cannot be opened, and while it is open it cannot be replaced, be it by a
    /// reader of this project or a virus scanner. Both are over in a moment.
    pub(crate) fn patiently<T>(call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        for wait in 1..TRIES {
            match call() {
                Err(error) if error.raw_os_error().is_some_and(|code| BUSY.contains(&code)) => {
                    std::thread::sleep(std::time::Duration::from_millis(wait));
                }
                result => return result,
            }
        }
        call()
    }
}

/// Reads at an offset without a cursor, so that threads can share one open file.
pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    imp::read_at(file, buf, offset)
}

/// Opens a file that others may be replacing at this moment.
pub(crate) fn open_replaced(path: &Path) -> io::Result<File> {
    imp::patiently(|| File::open(path))
}

/// Puts a finished file in the place of another, which others may be reading at this moment.
pub(crate) fn replace(temporary: NamedTempFile, path: &Path) -> io::Result<()> {
    // Not `persist`: the standard library's rename is the one that replaces files that are open, on a Windows that can.
    let (file, from) = temporary.keep().map_err(|error| error.error)?;
    drop(file);
    imp::patiently(|| std::fs::rename(&from, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&from);
    })
}

/// Moves a file or directory to a place where there is nothing, and which others may have open at this moment.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    closed(from);
    // Where there is something, waiting does not help.
    if to.symlink_metadata().is_ok() {
        return std::fs::rename(from, to);
    }
    imp::patiently(|| std::fs::rename(from, to))
}

/// Windows does not move a directory in which a file is open. Wine does, so that no test would see that this process has one
/// open itself; but Wine knows of it.
fn closed(path: &Path) {
    #[cfg(all(windows, debug_assertions))]
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        use std::os::windows::fs::OpenOptionsExt;
        let path = entry.path();
        if path.is_dir() {
            closed(&path);
        } else if let Err(error) = File::options().read(true).share_mode(0).open(&path) {
            debug_assert_ne!(error.raw_os_error(), Some(32), "{} is still open", path.display());
        }
    }
    let _ = path;
}

/// Makes renames in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    imp::sync_directory(path)
}

/// A new file in `dir` that is removed when dropped, with the permissions of an ordinary file.
pub(crate) fn temporary_file(dir: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    imp::temporary_file(dir, prefix)
}
