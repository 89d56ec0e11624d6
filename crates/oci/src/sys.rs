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
    use std::os::windows::fs::FileExt;

    /// Moves the file's cursor, which nothing here relies on; each call is atomic.
    pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        file.seek_read(buf, offset)
    }

    /// NTFS journals renames; a directory cannot be flushed through its handle.
    pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
        Ok(())
    }

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

/// Makes renames in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    imp::sync_directory(path)
}

/// A new file in `dir` that is removed when dropped, with the permissions of an ordinary file.
pub(crate) fn temporary_file(dir: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    imp::temporary_file(dir, prefix)
}
