//! Virtual disks: ordinary files that begin with what there is to know about them.
//!
//! ```text
//! offset 0     a line: `layerstone stand-in disk`
//!              a line of JSON: kind, size, parent, volume, attached, formatted
//!              spaces up to 4096 bytes
//! ```
//!
//! A handle on a disk is a handle on that file, so `CloseHandle` closes it and the system's rules of sharing apply: who opens
//! a disk for writing has it alone, but for readers. What is known of a disk is in the file and nowhere else, so several
//! processes agree about it.
//!
//! A disk that was attached without `ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME` is detached when the handle is closed. The
//! stand-in is not told of that; but whoever can open the disk for writing knows that nobody else has, and detaches it.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::windows::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::windows::io::{FromRawHandle as _, IntoRawHandle as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_READ, FILE_SHARE_WRITE};

use crate::code::Code;

const FIRST_LINE: &str = "layerstone stand-in disk\n";
const HEADER: usize = 4096;
/// Volumes get names of this name space, made from the disk's path: the same ones in each run.
const VOLUMES: Uuid = Uuid::from_u128(0x5f0e_53a1_7a1d_4a0b_9d0c_6c61_7965_7273);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Fixed,
    Dynamic,
    Differencing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Attached {
    No,
    /// Until the handle is closed.
    Handle,
    Permanently,
}

/// What a disk knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Bytes, as what uses the disk sees it.
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    pub(crate) parent: Option<PathBuf>,
    pub(crate) volume: Uuid,
    pub(crate) attached: Attached,
    pub(crate) formatted: bool,
}

impl Header {
    /// Where the file system on the disk is, as Windows names volumes: no backslash at the end.
    pub(crate) fn volume_path(&self) -> String {
        format!(r"\\?\Volume{{{}}}", self.volume)
    }

    fn bytes(&self) -> Result<Vec<u8>, Code> {
        let json = serde_json::to_string(self).map_err(|_| Code::UNEXPECTED)?;
        let mut bytes = format!("{FIRST_LINE}{json}\n").into_bytes();
        // The parent's path is at most 32767 units long; what is longer than the header is refused.
        if bytes.len() > HEADER {
            return Err(Code::INVALID_PARAMETER);
        }
        bytes.resize(HEADER, b' ');
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(FIRST_LINE.as_bytes())?;
        serde_json::from_slice(rest.split(|&byte| byte == b'\n').next()?).ok()
    }
}

/// Makes a disk and opens it.
pub(crate) fn create(path: &Path, header: &Header) -> Result<HANDLE, Code> {
    let bytes = header.bytes()?;
    let file =
        File::options().read(true).write(true).create_new(true).share_mode(FILE_SHARE_READ).open(path)?;
    file.seek_write(&bytes, 0)?;
    Ok(file.into_raw_handle())
}

/// The name of the volume of the disk at that path.
pub(crate) fn volume_of(path: &Path) -> Uuid {
    Uuid::new_v5(&VOLUMES, path.as_os_str().as_encoded_bytes())
}

/// Opens a disk.
pub(crate) fn open(path: &Path, read_only: bool) -> Result<HANDLE, Code> {
    let mut options = File::options();
    options.read(true).write(!read_only);
    // Readers let others write, and writers let others read.
    options.share_mode(if read_only { FILE_SHARE_READ | FILE_SHARE_WRITE } else { FILE_SHARE_READ });
    let file = options.open(path)?;
    let mut header = read(&file)?;
    if !read_only && header.attached == Attached::Handle {
        header.attached = Attached::No;
        write(&file, &header)?;
    }
    Ok(file.into_raw_handle())
}

/// What a disk knows of itself, whoever has it open.
pub(crate) fn look(path: &Path) -> Result<Header, Code> {
    read(&File::options().read(true).share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE).open(path)?)
}

/// What the disk behind a handle knows of itself.
///
/// # Safety
/// `handle` is open, or no handle at all, and nobody closes it during the call.
pub(crate) unsafe fn header(handle: HANDLE) -> Result<Header, Code> {
    // SAFETY: passed on.
    let file = unsafe { borrowed(handle) }?;
    read(&file)
}

/// Changes that.
///
/// # Safety
/// As [`header`].
pub(crate) unsafe fn write_header(handle: HANDLE, header: &Header) -> Result<(), Code> {
    // SAFETY: passed on.
    let file = unsafe { borrowed(handle) }?;
    write(&file, header)
}

/// The handle as a file, which stays open.
///
/// # Safety
/// As [`header`].
unsafe fn borrowed(handle: HANDLE) -> Result<ManuallyDrop<File>, Code> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(Code::INVALID_HANDLE);
    }
    // SAFETY: it stays open during the call, and `ManuallyDrop` leaves closing to its owner. Should it be no handle, the
    // system says so at the first access.
    Ok(ManuallyDrop::new(unsafe { File::from_raw_handle(handle) }))
}

fn read(file: &File) -> Result<Header, Code> {
    let mut bytes = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match file.seek_read(&mut bytes[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Header::parse(&bytes[..filled]).ok_or(Code::VIRTDISK_NOT_VIRTUAL_DISK)
}

fn write(file: &File, header: &Header) -> Result<(), Code> {
    let bytes = header.bytes()?;
    let mut written = 0;
    while written < bytes.len() {
        written += file.seek_write(&bytes[written..], written as u64)?;
    }
    Ok(())
}
