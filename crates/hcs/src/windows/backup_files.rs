//! Files with everything that belongs to them, read and written through the backup API.
//!
//! A *backup stream* is a file as one sequence of bytes: descriptor, extended attributes, reparse point, content, alternate
//! streams (`WIN32_STREAM_ID`). [`BackupFile`] takes or gives that sequence; times and attributes are not in it and are set
//! apart. Whoever writes the files of a layer needs SeBackupPrivilege, SeRestorePrivilege and SeSecurityPrivilege enabled
//! ([`privilege::enable`](super::privilege::enable)) from opening a file until it is closed.
//!
//! <https://learn.microsoft.com/windows/win32/backup/backup>

use std::ffi::c_void;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::offset_of;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsRawHandle as _;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_LINK_INFORMATION, FileLinkInformation, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE, RtlNtStatusToDosError};
use windows_sys::Win32::Storage::FileSystem::{
    BackupRead, BackupWrite, FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_NOT_CONTENT_INDEXED, FILE_ATTRIBUTE_OFFLINE, FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_SYSTEM, FILE_ATTRIBUTE_TEMPORARY, FILE_BASIC_INFO, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    FILE_WRITE_ATTRIBUTES, FileBasicInfo, GetFileInformationByHandleEx, SYNCHRONIZE,
    SetFileInformationByHandle, WRITE_DAC, WRITE_OWNER,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::SystemServices::ACCESS_SYSTEM_SECURITY;

use crate::error::{Error, Result};
use crate::hresult::HResult;

/// Links and other reparse points are opened themselves, directories at all.
const FLAGS: u32 = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;

/// What a descriptor, audit part included, and everything else is written with.
const WRITE: u32 = GENERIC_READ | GENERIC_WRITE | WRITE_DAC | WRITE_OWNER | ACCESS_SYSTEM_SECURITY;

/// The attributes that can be set so. The others say what a file is, or are switched by calls of their own.
const SETTABLE: u32 = FILE_ATTRIBUTE_READONLY
    | FILE_ATTRIBUTE_HIDDEN
    | FILE_ATTRIBUTE_SYSTEM
    | FILE_ATTRIBUTE_ARCHIVE
    | FILE_ATTRIBUTE_NORMAL
    | FILE_ATTRIBUTE_TEMPORARY
    | FILE_ATTRIBUTE_OFFLINE
    | FILE_ATTRIBUTE_NOT_CONTENT_INDEXED;

/// Times (FILETIME: 100 ns since 1601) and attributes of a file. When they are set, 0 means "leave as it is".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BasicInfo {
    /// When it was made.
    pub creation: i64,
    /// When it was read last.
    pub last_access: i64,
    /// When it was written last.
    pub last_write: i64,
    /// When anything about it was changed last.
    pub change: i64,
    /// `FILE_ATTRIBUTE_*`.
    pub attributes: u32,
}

/// The times and attributes of an open file.
///
/// # Errors
/// What the system says.
pub fn basic_info(file: &File) -> io::Result<BasicInfo> {
    let mut info = FILE_BASIC_INFO::default();
    // SAFETY: the handle is open for as long as `file` is borrowed; the buffer is a structure of the class that is named, and has the
    // size that is given.
    let done = unsafe {
        GetFileInformationByHandleEx(
            file.as_raw_handle(),
            FileBasicInfo,
            (&raw mut info).cast(),
            size_of::<FILE_BASIC_INFO>() as u32,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(BasicInfo {
        creation: info.CreationTime,
        last_access: info.LastAccessTime,
        last_write: info.LastWriteTime,
        change: info.ChangeTime,
        attributes: info.FileAttributes,
    })
}

/// Sets times and attributes of an open file; it needs `FILE_WRITE_ATTRIBUTES`. Attributes that cannot be set are left out.
///
/// # Errors
/// What the system says.
pub fn set_basic_info(file: &File, basic: &BasicInfo) -> io::Result<()> {
    let info = FILE_BASIC_INFO {
        CreationTime: basic.creation,
        LastAccessTime: basic.last_access,
        LastWriteTime: basic.last_write,
        ChangeTime: basic.change,
        FileAttributes: basic.attributes & SETTABLE,
    };
    // SAFETY: the handle is open for as long as `file` is borrowed; the buffer is a structure of the class that is named, has the size
    // that is given, and is only read.
    let done = unsafe {
        SetFileInformationByHandle(
            file.as_raw_handle(),
            FileBasicInfo,
            (&raw const info).cast(),
            size_of::<FILE_BASIC_INFO>() as u32,
        )
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens a file, directory or link itself, to look at or set its times and attributes.
///
/// # Errors
/// What the system says.
pub fn open_attributes(path: &Path, write: bool) -> io::Result<File> {
    let access = if write { FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES } else { FILE_READ_ATTRIBUTES };
    OpenOptions::new()
        .access_mode(access)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
        .custom_flags(FLAGS)
        .open(path)
}

/// Makes `name`, which must not be there, one more name of the file `target`, in the same volume. Both are absolute, in their
/// [`verbatim`](crate::verbatim) form. `CreateHardLink` does the same without regard to the backup privileges.
///
/// # Errors
/// [`Error::Call`]; [`Error::Argument`] for a path in another form.
pub fn hard_link(target: &Path, name: &Path) -> Result<()> {
    const FUNCTION: &str = "NtSetInformationFile";
    let argument = |reason| Error::Argument { function: FUNCTION, subject: name.to_owned(), reason };
    let opened = OpenOptions::new()
        .access_mode(FILE_WRITE_ATTRIBUTES | SYNCHRONIZE)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
        .custom_flags(FLAGS)
        .open(target);
    let file = opened.map_err(|error| failed("CreateFile", target, &error))?;

    let wide: Vec<u16> = name.as_os_str().encode_wide().collect();
    let Some(rest) = wide.strip_prefix(&[0x5C, 0x5C, 0x3F, 0x5C]) else {
        return Err(argument("the path has to begin with \\\\?\\"));
    };
    // The kernel's name of the same place begins with `\??\`.
    let text: Vec<u16> = [0x5C, 0x3F, 0x3F, 0x5C].iter().chain(rest).copied().collect();
    let start = offset_of!(FILE_LINK_INFORMATION, FileName);
    let length = text.len() * size_of::<u16>();
    // In units of the structure's alignment.
    let mut buffer = vec![0_u64; (start + length).div_ceil(size_of::<u64>()).max(4)];
    let size =
        u32::try_from(buffer.len() * size_of::<u64>()).map_err(|_| argument("the path is too long"))?;
    let information: *mut FILE_LINK_INFORMATION = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer is aligned for the structure, zeroed, which is a valid value of it (not replacing, no root directory), and
    // has room for the structure and for the name behind its other fields.
    unsafe {
        (*information).FileNameLength = length as u32;
        let to = information.cast::<u8>().add(start).cast::<u16>();
        text.as_ptr().copy_to_nonoverlapping(to, text.len());
    }
    let mut done = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open; the buffer has the class that is named and the size that is given, and outlives the call, which is
    // synchronous because the handle is; `done` is a place for the result.
    let status = unsafe {
        NtSetInformationFile(
            file.as_raw_handle(),
            &raw mut done,
            information.cast(),
            size,
            FileLinkInformation,
        )
    };
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: translates a number; no preconditions.
    let code = unsafe { RtlNtStatusToDosError(status) };
    Err(Error::Call { function: FUNCTION, subject: name.to_owned(), code: HResult::from_win32(code) })
}

/// A file or directory that is open for its backup stream.
#[derive(Debug)]
pub struct BackupFile {
    file: File,
    path: PathBuf,
    direction: Direction,
    /// What the system remembers between two calls; null before the first.
    context: *mut c_void,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

impl BackupFile {
    fn new(file: File, path: &Path, direction: Direction) -> Self {
        BackupFile { file, path: path.to_owned(), direction, context: null_mut() }
    }

    /// Makes a file or directory that is not there yet, to write it.
    ///
    /// # Errors
    /// [`Error::Call`]: something is there, or a privilege is not enabled.
    pub fn create(path: &Path, directory: bool) -> Result<Self> {
        if directory {
            fs::create_dir(path).map_err(|error| failed("CreateDirectory", path, &error))?;
            return Self::open_for_write(path);
        }
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .access_mode(WRITE)
            .share_mode(FILE_SHARE_READ)
            .custom_flags(FLAGS)
            .open(path);
        let file = made.map_err(|error| failed("CreateFile", path, &error))?;
        Ok(Self::new(file, path, Direction::Write))
    }

    /// Opens what is there, to write its metadata.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn open_for_write(path: &Path) -> Result<Self> {
        let opened =
            OpenOptions::new().access_mode(WRITE).share_mode(FILE_SHARE_READ).custom_flags(FLAGS).open(path);
        let file = opened.map_err(|error| failed("CreateFile", path, &error))?;
        Ok(Self::new(file, path, Direction::Write))
    }

    /// Opens what is there, to read it with its descriptor.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn open_for_read(path: &Path) -> Result<Self> {
        let opened = OpenOptions::new()
            .access_mode(GENERIC_READ | ACCESS_SYSTEM_SECURITY)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
            .custom_flags(FLAGS)
            .open(path);
        let file = opened.map_err(|error| failed("CreateFile", path, &error))?;
        Ok(Self::new(file, path, Direction::Read))
    }

    /// Times and attributes.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn basic_info(&self) -> Result<BasicInfo> {
        basic_info(&self.file).map_err(|error| failed("GetFileInformationByHandleEx", &self.path, &error))
    }

    /// Sets times and attributes: before the content, so that writing it does not change them.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn set_basic_info(&self, basic: &BasicInfo) -> Result<()> {
        set_basic_info(&self.file, basic)
            .map_err(|error| failed("SetFileInformationByHandle", &self.path, &error))
    }

    /// Reads the backup stream; 0 at its end.
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::Argument`] when the file was opened for writing.
    pub fn read_stream(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.expect(Direction::Read, "BackupRead")?;
        let mut read = 0_u32;
        // SAFETY: the handle is open; the buffer may be written for as many bytes as are asked for, at most its length; the count and the
        // context are places that outlive the call. The context came from earlier calls on the same handle, or is null at the
        // first, and is freed by `release`.
        let done = unsafe {
            BackupRead(
                self.file.as_raw_handle(),
                buffer.as_mut_ptr(),
                u32::try_from(buffer.len()).unwrap_or(u32::MAX),
                &raw mut read,
                0,
                1,
                &raw mut self.context,
            )
        };
        if done == 0 {
            return Err(failed("BackupRead", &self.path, &io::Error::last_os_error()));
        }
        Ok(read as usize)
    }

    /// Writes the next bytes of the backup stream, all of them.
    ///
    /// # Errors
    /// [`Error::Call`], also when the system took fewer bytes; [`Error::Argument`] when the file was opened for reading.
    pub fn write_stream(&mut self, bytes: &[u8]) -> Result<()> {
        self.expect(Direction::Write, "BackupWrite")?;
        for piece in bytes.chunks(1 << 30) {
            let mut written = 0_u32;
            // SAFETY: the handle is open; the buffer is as long as is said (chunks are far below 4 GiB) and only read; the count and
            // the context are places that outlive the call. The context came from earlier calls on the same handle, or is null at
            // the first, and is freed by `release`.
            let done = unsafe {
                BackupWrite(
                    self.file.as_raw_handle(),
                    piece.as_ptr(),
                    piece.len() as u32,
                    &raw mut written,
                    0,
                    1,
                    &raw mut self.context,
                )
            };
            if done == 0 {
                return Err(failed("BackupWrite", &self.path, &io::Error::last_os_error()));
            }
            if written as usize != piece.len() {
                // ERROR_WRITE_FAULT: it has no code of its own.
                let error = io::Error::from_raw_os_error(29);
                return Err(failed("BackupWrite", &self.path, &error));
            }
        }
        Ok(())
    }

    /// Ends the backup stream and closes the file.
    ///
    /// # Errors
    /// [`Error::Call`] when what the system remembers cannot be freed.
    pub fn close(mut self) -> Result<()> {
        self.release()
    }

    fn expect(&self, direction: Direction, function: &'static str) -> Result<()> {
        if self.direction == direction {
            return Ok(());
        }
        let reason = "the file was opened for the other direction";
        Err(Error::Argument { function, subject: self.path.clone(), reason })
    }

    /// Frees the context, once.
    fn release(&mut self) -> Result<()> {
        if self.context.is_null() {
            return Ok(());
        }
        let mut count = 0_u32;
        let handle = self.file.as_raw_handle();
        let context = &raw mut self.context;
        let (function, done) = match self.direction {
            Direction::Read => {
                // SAFETY: with bAbort the call reads no buffer and frees the context, which came from earlier calls on this handle.
                let done = unsafe { BackupRead(handle, null_mut(), 0, &raw mut count, 1, 1, context) };
                ("BackupRead", done)
            }
            Direction::Write => {
                // SAFETY: as above.
                let done = unsafe { BackupWrite(handle, null(), 0, &raw mut count, 1, 1, context) };
                ("BackupWrite", done)
            }
        };
        let error = (done == 0).then(io::Error::last_os_error);
        // Freed or not, it is not used again.
        self.context = null_mut();
        error.map_or(Ok(()), |error| Err(failed(function, &self.path, &error)))
    }
}

impl Read for BackupFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_stream(buffer).map_err(to_io)
    }
}

impl Write for BackupFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_stream(bytes).map_err(to_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BackupFile {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            tracing::warn!(%error, "the end of a backup stream");
        }
    }
}

fn failed(function: &'static str, path: &Path, error: &io::Error) -> Error {
    let code = error.raw_os_error().map_or(HResult(0x8000_4005), |code| HResult::from_win32(code as u32));
    Error::Call { function, subject: path.to_owned(), code }
}

/// The same code as an error of the standard library.
fn to_io(error: Error) -> io::Error {
    match &error {
        Error::Call { code, .. } => match code.win32() {
            Some(code) => io::Error::from_raw_os_error(code as i32),
            None => io::ErrorKind::Other.into(),
        },
        _ => io::ErrorKind::InvalidInput.into(),
    }
}
