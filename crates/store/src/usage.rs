//! What files really take on disk.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::error::{IoContext, Result};

/// Bytes of disk that everything below `path` takes, counted as `du` does: blocks, not lengths, and each file once
/// however many names it has. Zero when there is nothing.
///
/// # Errors
/// When a directory cannot be read. What vanishes meanwhile counts nothing.
pub fn of(path: &Path) -> Result<u64> {
    let mut seen = HashSet::new();
    let mut todo = vec![path.to_path_buf()];
    let mut total = 0;
    while let Some(path) = todo.pop() {
        let Some(metadata) = if_there(fs::symlink_metadata(&path)).doing("look at", &path)? else { continue };
        total += blocks(&metadata, &mut seen);
        if metadata.is_dir()
            && let Some(entries) = if_there(fs::read_dir(&path)).doing("list", &path)?
        {
            for entry in entries {
                todo.push(entry.doing("list", &path)?.path());
            }
        }
    }
    Ok(total)
}

fn if_there<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn blocks(metadata: &fs::Metadata, seen: &mut HashSet<(u64, u64)>) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
        return 0;
    }
    // st_blocks counts units of 512 bytes, whatever the file system's block size.
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn blocks(metadata: &fs::Metadata, _seen: &mut HashSet<(u64, u64)>) -> u64 {
    metadata.len()
}
