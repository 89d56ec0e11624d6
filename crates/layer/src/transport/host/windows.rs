//! Windows: names are 16-bit units, every path is a `\\?\` one, files have attributes and a creation time.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Metadata, OpenOptions};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::{FileTimesExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use layerstone_nt::name::NameProblem;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime, WideString};

use super::{Identity, file_time, system_time};

/// Whether names that Windows refuses cannot be made here either.
pub(in crate::transport) const REFUSES_WINDOWS_NAMES: bool = true;
/// Whether a file's creation time can be set.
pub(in crate::transport) const KEEPS_CREATION: bool = true;

/// FILE_FLAG_BACKUP_SEMANTICS: directories can be opened.
const BACKUP_SEMANTICS: u32 = 0x0200_0000;
/// FILE_FLAG_OPEN_REPARSE_POINT: links are not followed.
const OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// The path by which everything below the root is reached: `\\?\`, where no length limit and no device names apply.
pub(in crate::transport) fn root(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// A component as the host spells it.
pub(in crate::transport) fn component(name: &[u8]) -> Result<OsString, NameProblem> {
    match WideString::from_wtf8(name) {
        Ok(wide) => Ok(OsString::from_wide(wide.units())),
        Err(layerstone_nt::Error::Malformed { position, .. }) => Err(NameProblem::NotUtf8 { position }),
        Err(_) => Err(NameProblem::NotUtf8 { position: 0 }),
    }
}

/// A component as a layer spells it.
pub(in crate::transport) fn component_bytes(name: &OsStr) -> Vec<u8> {
    WideString::from_units(name.encode_wide().collect::<Vec<_>>()).to_wtf8()
}

/// Opens a file or directory for reading; no link is followed.
pub(in crate::transport) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(BACKUP_SEMANTICS | OPEN_REPARSE_POINT).open(path)
}

/// Sets what the standard library can set: creation, last write and last access. Attributes stay as they are.
pub(in crate::transport) fn set_times(file: &File, basic: &BasicInfo) -> io::Result<()> {
    let mut times = FileTimes::new();
    if let Some(time) = system_time(basic.last_access) {
        times = times.set_accessed(time);
    }
    if let Some(time) = system_time(basic.last_write) {
        times = times.set_modified(time);
    }
    if let Some(time) = system_time(basic.creation) {
        times = times.set_created(time);
    }
    file.set_times(times)
}

/// Times and attributes, but for the change time, which the standard library does not tell.
pub(in crate::transport) fn basic_info(_file: &File, metadata: &Metadata) -> io::Result<BasicInfo> {
    let time = |time: io::Result<_>| time.map_or(FileTime::NOT_SET, file_time);
    Ok(BasicInfo {
        creation: time(metadata.created()),
        last_access: time(metadata.accessed()),
        last_write: time(metadata.modified()),
        change: FileTime::NOT_SET,
        attributes: FileAttributes(metadata.file_attributes()),
    })
}

/// Which file it is, when it has more than one name.
pub(in crate::transport) fn identity(file: &File, _metadata: &Metadata) -> io::Result<Option<Identity>> {
    let information = winapi_util::file::information(file)?;
    Ok((information.number_of_links() > 1)
        .then(|| Identity(information.volume_serial_number(), information.file_index())))
}

/// Whether it is what a transport folder may hold: a file or a directory, and no way to somewhere else.
pub(in crate::transport) fn is_plain(metadata: &Metadata) -> bool {
    !FileAttributes(metadata.file_attributes()).is_reparse_point()
        && (metadata.is_file() || metadata.is_dir())
}
