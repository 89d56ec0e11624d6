//! Names that are still there after a power cut, on every system. For what is kept beside layouts in the same way.

use std::io;
use std::path::Path;

use crate::sys;

/// Moves a file or a directory. On Windows, where that fails while somebody has it open, be it a virus scanner, it is tried
/// for some two seconds. The directories of both names are to be [synced](sync_directory) then.
///
/// # Errors
/// As [`std::fs::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    sys::rename(from, to)
}

/// Makes the names in a directory durable. On Windows, file systems that cannot do that do nothing.
///
/// # Errors
/// When the directory cannot be opened, or the disk fails.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    sys::sync_directory(path)
}
