//! Files of a layer folder, found as Windows finds them: without regard to case, and never through a link.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use layerstone_nt::name::eq_ignore_case;

use super::error::{Error, Result};
use crate::error::IoContext as _;

/// A name of a layer as the host has it; `None` when it is none that could be joined to a path here.
pub(super) fn component(name: &[u8]) -> Option<OsString> {
    if matches!(name, [] | b"." | b"..") || name.iter().any(|b| matches!(b, b'/' | b'\\' | 0)) {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        Some(OsString::from_vec(name.to_vec()))
    }
    #[cfg(not(unix))]
    {
        use std::os::windows::ffi::OsStringExt as _;
        match layerstone_nt::name::check_component(name) {
            Err(problem) if !problem.is_possible_on_ntfs() => None,
            _ => Some(OsString::from_wide(layerstone_nt::WideString::from_wtf8(name).ok()?.units())),
        }
    }
}

/// A folder that is there, by a path that is taken literally: names that Win32 would change (`aux`, `x.`) can be joined to it.
pub(super) fn literal(folder: &Path) -> Result<PathBuf> {
    if cfg!(windows) {
        return fs::canonicalize(folder).doing("resolve", folder).map_err(Into::into);
    }
    Ok(folder.to_path_buf())
}

/// What is called `name` in a folder, in any case. An exact spelling wins where a file system has several.
pub(super) fn find(folder: &Path, name: &[u8]) -> Result<Option<PathBuf>> {
    let Some(component) = component(name) else { return Ok(None) };
    let exact = folder.join(component);
    if stat(&exact)?.is_some() {
        return Ok(Some(exact));
    }
    Ok(find_all(folder, name)?.into_iter().next())
}

/// Everything that is called `name` in a folder, in any case; nothing when there is no folder.
pub(super) fn find_all(folder: &Path, name: &[u8]) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error).doing("read the folder", folder).map_err(Into::into),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.doing("read the folder", folder)?;
        if eq_ignore_case(entry.file_name().as_encoded_bytes(), name) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// What is at `path` below a folder, in any case. A link on the way leads nowhere; one at the end is found as such.
pub(super) fn walk<N: AsRef<[u8]>>(
    folder: &Path,
    path: impl IntoIterator<Item = N>,
) -> Result<Option<(PathBuf, Metadata)>> {
    let mut found: Option<(PathBuf, Metadata)> = None;
    for name in path {
        let at = match &found {
            None => folder,
            Some((at, stat)) if is_directory(stat) => at,
            Some(_) => return Ok(None),
        };
        let Some(next) = find(at, name.as_ref())? else { return Ok(None) };
        let Some(stat) = stat(&next)? else { return Ok(None) };
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
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path).map_err(Into::into),
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

/// Whether two paths are names of one file. A link counts as itself.
pub(super) fn is_same_file(one: &Path, other: &Path) -> Result<bool> {
    Ok(identity(one)? == identity(other)?)
}

#[cfg(unix)]
fn identity(path: &Path) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let stat = fs::symlink_metadata(path).doing("look at", path)?;
    Ok((stat.dev(), stat.ino()))
}

#[cfg(windows)]
fn identity(path: &Path) -> Result<(u64, u64)> {
    use std::os::windows::fs::OpenOptionsExt as _;
    const READ_ATTRIBUTES: u32 = 0x80;
    const BACKUP_SEMANTICS: u32 = 0x0200_0000;
    const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    let file = fs::OpenOptions::new()
        .access_mode(READ_ATTRIBUTES)
        .custom_flags(BACKUP_SEMANTICS | OPEN_REPARSE_POINT)
        .open(path)
        .doing("open", path)?;
    let information = winapi_util::file::information(&file).doing("look at", path)?;
    Ok((information.volume_serial_number(), information.file_index()))
}

/// A folder that is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    /// It was made.
    Made,
    /// It was there, and empty.
    Empty,
}

/// Makes a folder, or takes one that is empty. Several may take the same one at the same time: whoever then makes the first file
/// in it, exclusively, has it.
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

/// Undoes [`claim`], after what was put into the folder is removed. A folder that somebody else has put something into stays.
pub(super) fn unclaim(folder: &Path, claimed: Claimed) -> Result<()> {
    if claimed == Claimed::Empty {
        return Ok(());
    }
    match fs::remove_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Ok(())
        }
        other => other.doing("remove the folder", folder).map_err(Into::into),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
