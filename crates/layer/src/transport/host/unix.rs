//! Linux and its like: names are bytes, files have neither attributes nor a creation time that can be set.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layerstone_nt::name::NameProblem;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime};

use super::{Identity, file_time, system_time};

/// Whether names that Windows refuses cannot be made here either.
pub(in crate::transport) const REFUSES_WINDOWS_NAMES: bool = false;
/// Whether a file's creation time can be set.
pub(in crate::transport) const KEEPS_CREATION: bool = false;

/// The path by which everything below the root is reached.
pub(in crate::transport) fn root(path: &Path) -> io::Result<PathBuf> {
    Ok(path.to_path_buf())
}

/// A component as the host spells it.
pub(in crate::transport) fn component(name: &[u8]) -> Result<OsString, NameProblem> {
    Ok(OsString::from_vec(name.to_vec()))
}

/// A component as a layer spells it.
pub(in crate::transport) fn component_bytes(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// Opens a file for reading: no link is followed, and its access time stays where its owner reads it.
pub(in crate::transport) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    flags::open(&mut options, path)
}

#[cfg(target_os = "linux")]
mod flags {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    use rustix::fs::OFlags;

    pub(super) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
        let flags = |flags: OFlags| flags.bits().cast_signed();
        // The access time is part of what is read, and reading would change it. Only owners may ask for that.
        match options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NOATIME)).open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                options.custom_flags(flags(OFlags::NOFOLLOW)).open(path)
            }
            other => other,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod flags {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::path::Path;

    pub(super) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
        options.open(path)
    }
}

/// Sets what can be set: last write and last access.
pub(in crate::transport) fn set_times(file: &File, basic: &BasicInfo) -> io::Result<()> {
    let mut times = FileTimes::new();
    if let Some(time) = system_time(basic.last_access) {
        times = times.set_accessed(time);
    }
    if let Some(time) = system_time(basic.last_write) {
        times = times.set_modified(time);
    }
    file.set_times(times)
}

/// Times and attributes: last write and last access as they are; the creation time is the last write, as for a tar without one;
/// the change time, which tells when the folder was made, is not set.
pub(in crate::transport) fn basic_info(_file: &File, metadata: &Metadata) -> io::Result<BasicInfo> {
    let time = |time: io::Result<_>| time.map_or(FileTime::NOT_SET, file_time);
    let last_write = time(metadata.modified());
    Ok(BasicInfo {
        creation: last_write,
        last_access: time(metadata.accessed()),
        last_write,
        change: FileTime::NOT_SET,
        attributes: if metadata.is_dir() { FileAttributes::DIRECTORY } else { FileAttributes::ARCHIVE },
    })
}

/// Which file it is, when it has more than one name.
pub(in crate::transport) fn identity(_file: &File, metadata: &Metadata) -> io::Result<Option<Identity>> {
    Ok((metadata.nlink() > 1).then(|| Identity(metadata.dev(), metadata.ino())))
}

/// Whether it is what a transport folder may hold: a file or a directory, and no way to somewhere else.
pub(in crate::transport) fn is_plain(metadata: &Metadata) -> bool {
    metadata.is_file() || metadata.is_dir()
}
