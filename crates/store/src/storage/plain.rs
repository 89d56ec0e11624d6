//! Real files as the standard library can write them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use layerstone_layer::tar::Segment;
use layerstone_layer::{Finding, Report};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime, UnixTime};
use layerstone_oci::durable;

use super::content::Content;
use super::error::{Error, Result};
use super::in_place::{InPlaceWriter, NewFile};
use super::places;
use crate::error::IoContext as _;

/// Writes names, contents, hard links, symbolic links, and the times that the standard library can set. Attributes are kept on
/// Windows, for files. Security descriptors, extended attributes and alternate data streams are not kept, but counted.
#[derive(Debug, Default)]
pub struct PlainFiles {
    open: Option<Open>,
    report: Report,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    basic: BasicInfo,
    content: Option<Content>,
    /// The bytes that follow are those of a stream that is left out.
    in_stream: bool,
}

impl PlainFiles {
    /// Counts what cannot be kept.
    fn note(&mut self, path: &Path, metadata: &WindowsMetadata) {
        /// What every file has, or its kind says anyway.
        const ORDINARY: FileAttributes = FileAttributes(
            FileAttributes::ARCHIVE.0
                | FileAttributes::NORMAL.0
                | FileAttributes::DIRECTORY.0
                | FileAttributes::REPARSE_POINT.0,
        );
        let attributes = metadata.basic.attributes & !ORDINARY;
        if metadata.security_descriptor.is_some() || !metadata.eas.is_empty() || attributes.0 != 0 {
            self.report.note(Finding::WindowsMetadataNotSet, path.display());
        }
    }
}

impl InPlaceWriter for PlainFiles {
    fn create(&mut self, path: &Path, kind: NewFile<'_>, metadata: &WindowsMetadata) -> Result<()> {
        self.close()?;
        self.note(path, metadata);
        let content = match kind {
            NewFile::Directory => {
                fs::create_dir(path).doing("make the directory", path)?;
                None
            }
            NewFile::File => Some(Content::new(new_file(path, metadata).doing("make the file", path)?)),
            NewFile::Link { target, directory } => {
                make_link(target, directory, path).doing("make the symbolic link", path)?;
                None
            }
        };
        self.open = Some(Open { path: path.to_path_buf(), basic: metadata.basic, content, in_stream: false });
        Ok(())
    }

    fn describe(&mut self, directory: &Path, metadata: &WindowsMetadata) -> Result<()> {
        self.close()?;
        self.note(directory, metadata);
        self.open = Some(Open {
            path: directory.to_path_buf(),
            basic: metadata.basic,
            content: None,
            in_stream: false,
        });
        Ok(())
    }

    fn begin_data(&mut self, size: u64, segments: Option<&[Segment]>) -> Result<()> {
        if let Some(Open { content: Some(content), .. }) = &mut self.open {
            content.begin(size, segments);
        }
        Ok(())
    }

    fn begin_stream(&mut self, name: &[u8], _: u64) -> Result<()> {
        if let Some(open) = &mut self.open {
            open.in_stream = true;
            let place = format_args!("{}:{}", open.path.display(), String::from_utf8_lossy(name));
            self.report.note(Finding::StreamLeftOut, place);
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.open {
            Some(Open { in_stream: true, .. }) => Ok(()),
            Some(Open { content: Some(content), path, .. }) => {
                content.data(bytes).doing("write", path).map_err(Into::into)
            }
            _ => Err(Error::Invalid { path: PathBuf::new(), why: "there is no file to write to".into() }),
        }
    }

    fn close(&mut self) -> Result<()> {
        let Some(Open { path, basic, content, .. }) = self.open.take() else { return Ok(()) };
        if let Some(content) = content {
            content.finish().doing("write", &path)?;
        }
        self.set_basic_info(&path, &basic)
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    fn hard_link(&mut self, target: &Path, name: &Path) -> Result<()> {
        fs::hard_link(target, name).doing("make the hard link", name).map_err(Into::into)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let basic = self.basic_info(from)?;
        let stat = fs::symlink_metadata(from).doing("look at", from)?;
        if stat.file_type().is_symlink() {
            let target = fs::read_link(from).doing("read the link", from)?;
            let directory = basic.attributes.0 & FileAttributes::DIRECTORY.0 != 0;
            make_link(target.as_os_str().as_encoded_bytes(), directory, to).doing("copy the link to", to)?;
        } else if places::is_directory(&stat) {
            fs::create_dir(to).doing("make the directory", to)?;
        } else if places::is_file(&stat) {
            let mut source = File::open(from).doing("open", from)?;
            let mut copy =
                OpenOptions::new().write(true).create_new(true).open(to).doing("make the file", to)?;
            io::copy(&mut source, &mut copy).doing("copy", from)?;
        } else {
            return Err(Error::Invalid { path: from.to_path_buf(), why: "it cannot be copied".into() });
        }
        self.set_basic_info(to, &basic)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        if places::stat(to)?.is_some() {
            return Err(Error::Exists(to.to_path_buf()));
        }
        // Patient with those who look at new files.
        durable::rename(from, to).doing("move to", to).map_err(Into::into)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        places::remove(path)
    }

    fn basic_info(&self, path: &Path) -> Result<BasicInfo> {
        let stat = fs::symlink_metadata(path).doing("look at", path)?;
        let time = |time: io::Result<std::time::SystemTime>| time.ok().and_then(to_file_time);
        Ok(BasicInfo {
            // Elsewhere no creation time can be set, so none is taken over.
            creation: time(stat.created()).filter(|_| cfg!(windows)).unwrap_or_default(),
            last_access: time(stat.accessed()).unwrap_or_default(),
            last_write: time(stat.modified()).unwrap_or_default(),
            change: FileTime::NOT_SET,
            attributes: attributes(&stat),
        })
    }

    fn set_basic_info(&mut self, path: &Path, basic: &BasicInfo) -> Result<()> {
        set_times(path, basic).doing("set the times of", path).map_err(Into::into)
    }

    fn take_report(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }
}

fn to_file_time(time: std::time::SystemTime) -> Option<FileTime> {
    let (seconds, nanoseconds) = match time.duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()).ok()?, since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -i64::try_from(before.as_secs()).ok()?;
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    };
    FileTime::from_unix(UnixTime::new(seconds, nanoseconds)?).ok()
}

fn new_file(path: &Path, metadata: &WindowsMetadata) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt as _;
        /// Those that `CreateFile` sets: read-only, hidden, system, archive, temporary, not indexed.
        const SETTABLE: u32 = 0x1 | 0x2 | 0x4 | 0x20 | 0x100 | 0x2000;
        options.attributes(metadata.basic.attributes.0 & SETTABLE);
    }
    #[cfg(not(windows))]
    let _ = metadata;
    options.open(path)
}

#[cfg(unix)]
fn make_link(target: &[u8], _: bool, path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStringExt as _;
    std::os::unix::fs::symlink(OsString::from_vec(target.to_vec()), path)
}

#[cfg(windows)]
fn make_link(target: &[u8], directory: bool, path: &Path) -> io::Result<()> {
    use std::os::windows::ffi::OsStringExt as _;
    use std::os::windows::fs::{symlink_dir, symlink_file};
    let target = layerstone_nt::WideString::from_wtf8(target).map_err(|_| io::ErrorKind::InvalidInput)?;
    let target = OsString::from_wide(target.units());
    if directory { symlink_dir(target, path) } else { symlink_file(target, path) }
}

#[cfg(windows)]
fn attributes(stat: &fs::Metadata) -> FileAttributes {
    use std::os::windows::fs::MetadataExt as _;
    FileAttributes(stat.file_attributes())
}

#[cfg(not(windows))]
fn attributes(stat: &fs::Metadata) -> FileAttributes {
    if stat.is_dir() { FileAttributes::DIRECTORY } else { FileAttributes::NONE }
}

/// Sets the times of something itself, also of a link.
#[cfg(target_os = "linux")]
fn set_times(path: &Path, basic: &BasicInfo) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let time = |time: FileTime| {
        if !time.is_set() {
            return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        }
        let time = time.to_unix();
        Timespec { tv_sec: time.seconds(), tv_nsec: i64::from(time.nanoseconds()) as _ }
    };
    let times =
        Timestamps { last_access: time(basic.last_access), last_modification: time(basic.last_write) };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn set_times(path: &Path, basic: &BasicInfo) -> io::Result<()> {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    fn system(time: FileTime) -> Option<SystemTime> {
        let unix = time.is_set().then(|| time.to_unix())?;
        let whole = Duration::from_secs(unix.seconds().unsigned_abs());
        let start =
            if unix.seconds() < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(unix.nanoseconds().into()))
    }
    let mut times = fs::FileTimes::new();
    if let Some(time) = system(basic.last_access) {
        times = times.set_accessed(time);
    }
    if let Some(time) = system(basic.last_write) {
        times = times.set_modified(time);
    }
    let mut options = OpenOptions::new();
    #[cfg(windows)]
    {
        use std::os::windows::fs::{FileTimesExt as _, OpenOptionsExt as _};
        const WRITE_ATTRIBUTES: u32 = 0x100;
        const BACKUP_SEMANTICS: u32 = 0x0200_0000;
        const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
        if let Some(time) = system(basic.creation) {
            times = times.set_created(time);
        }
        options.access_mode(WRITE_ATTRIBUTES).custom_flags(BACKUP_SEMANTICS | OPEN_REPARSE_POINT);
    }
    #[cfg(not(windows))]
    {
        // There is no call for links in the standard library; theirs stay.
        if fs::symlink_metadata(path)?.file_type().is_symlink() {
            return Ok(());
        }
        options.read(true);
    }
    options.open(path)?.set_times(times)
}
