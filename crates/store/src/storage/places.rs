//! Files of a layer folder, found as Windows finds them: without regard to case, and never through a link.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use layerstone_nt::name::eq_ignore_case;

use super::error::{Error, Result};
use crate::error::IoContext as _;

/// What is called `name` in a folder, in any case. An exact spelling wins where a file system has several.
pub(super) fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    let exact = folder.join(name);
    if stat(&exact)?.is_some() {
        return Ok(Some(exact));
    }
    Ok(find_all(folder, name)?.into_iter().next())
}

/// Everything that is called `name` in a folder, in any case; nothing when there is no folder.
pub(super) fn find_all(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error).doing("read the folder", folder).map_err(Into::into),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.doing("read the folder", folder)?;
        if eq_ignore_case(entry.file_name().as_encoded_bytes(), name.as_bytes()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// What is at `path` below a folder, in any case. A link on the way leads nowhere; one at the end is found as such.
pub(super) fn walk(folder: &Path, path: &[&str]) -> Result<Option<(PathBuf, Metadata)>> {
    let mut at = folder.to_path_buf();
    let mut found = None;
    for (index, name) in path.iter().enumerate() {
        if index > 0 && !found.as_ref().is_some_and(|(_, stat): &(_, Metadata)| is_directory(stat)) {
            return Ok(None);
        }
        let Some(next) = find(&at, name)? else { return Ok(None) };
        let Some(stat) = stat(&next)? else { return Ok(None) };
        at.clone_from(&next);
        found = Some((next, stat));
    }
    Ok(found)
}

/// What the system says of a path itself, when something is there.
pub(super) fn stat(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error).doing("look at", path).map_err(Into::into),
    }
}

/// A symbolic link, junction or any other reparse point.
pub(super) fn is_link(stat: &Metadata) -> bool {
    #[cfg(windows)]
    {
        use std::os::windows::fs::MetadataExt as _;
        const REPARSE_POINT: u32 = 0x400;
        stat.file_attributes() & REPARSE_POINT != 0
    }
    #[cfg(not(windows))]
    {
        stat.file_type().is_symlink()
    }
}

/// A directory that is no link.
pub(super) fn is_directory(stat: &Metadata) -> bool {
    stat.is_dir() && !is_link(stat)
}

/// A regular file that is no link.
pub(super) fn is_file(stat: &Metadata) -> bool {
    stat.is_file() && !is_link(stat)
}

/// Removes a file, a link or a whole directory, when it is there. What links lead to stays.
pub(super) fn remove(path: &Path) -> Result<()> {
    let Some(stat) = stat(path)? else { return Ok(()) };
    let removed = if is_directory(&stat) {
        fs::remove_dir_all(path)
    } else if stat.is_dir() || is_directory_link(&stat) {
        fs::remove_dir(path)
    } else {
        remove_file(path, &stat)
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path).map_err(Into::into),
    }
}

/// Windows refuses to remove a file that is read-only.
fn remove_file(path: &Path, stat: &Metadata) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error)
            if cfg!(windows)
                && error.kind() == io::ErrorKind::PermissionDenied
                && stat.permissions().readonly() =>
        {
            let mut permissions = stat.permissions();
            #[allow(clippy::permissions_set_readonly_false, reason = "on Windows it is one attribute")]
            permissions.set_readonly(false);
            fs::set_permissions(path, permissions)?;
            fs::remove_file(path)
        }
        other => other,
    }
}

/// Junctions and links to directories are removed as directories on Windows.
fn is_directory_link(stat: &Metadata) -> bool {
    #[cfg(windows)]
    {
        use std::os::windows::fs::MetadataExt as _;
        const DIRECTORY: u32 = 0x10;
        stat.file_attributes() & DIRECTORY != 0
    }
    #[cfg(not(windows))]
    {
        let _ = stat;
        false
    }
}

/// A folder that is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    /// It was made.
    Made,
    /// It was there, and empty.
    Empty,
}

/// Makes a folder, or takes one that is empty.
pub(super) fn claim(folder: &Path) -> Result<Claimed> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(Claimed::Made),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let empty = stat(folder)?.is_some_and(|stat| is_directory(&stat))
                && fs::read_dir(folder).doing("read the folder", folder)?.next().is_none();
            if empty { Ok(Claimed::Empty) } else { Err(Error::Exists(folder.to_path_buf())) }
        }
        Err(error) => Err(error).doing("make the folder", folder).map_err(Into::into),
    }
}

/// Undoes [`claim`], with everything that was put into the folder since.
pub(super) fn unclaim(folder: &Path, claimed: Claimed) -> Result<()> {
    if claimed == Claimed::Made {
        return remove(folder);
    }
    for entry in fs::read_dir(folder).doing("read the folder", folder)? {
        remove(&entry.doing("read the folder", folder)?.path())?;
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
