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
}

/// Reads at an offset without a cursor, so that threads can share one open file.
pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    imp::read_at(file, buf, offset)
}

/// Makes renames in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    imp::sync_directory(path)
}

/// A new file in `dir` that is removed when dropped, with the permissions of an ordinary file.
pub(crate) fn temporary_file(dir: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    imp::temporary_file(dir, prefix)
}
