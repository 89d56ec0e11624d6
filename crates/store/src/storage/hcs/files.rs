//! Real files of a layer, written with all that belongs to them through the backup API.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use layerstone_hcs::backup_files::{self, BackupFile};
use layerstone_hcs::privilege::{self, Enabled};
use layerstone_hcs::{HResult, Privilege, verbatim};
use layerstone_layer::Report;
use layerstone_layer::tar::Segment;
use layerstone_layer::transport::SetTimes;
use layerstone_nt::backup::{self, BackupWriter, Extent, StreamHeader};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime, WideString};

use crate::error::IoContext as _;
use crate::storage::error::{Error, Result};
use crate::storage::in_place::{InPlaceWriter, NewFile};
use crate::storage::places;

/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Writes files as Windows restores a backup. Privileges are enabled on the thread from the first use on.
#[derive(Debug, Default)]
pub(super) struct BackupFiles {
    open: Option<Open>,
    privileges: Option<Enabled>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    writer: BackupWriter<BackupFile>,
}

impl BackupFiles {
    /// The path as it is taken literally, with the privileges that every operation needs.
    fn ready(&mut self, path: &Path) -> Result<PathBuf> {
        if self.privileges.is_none() {
            let needed = [Privilege::Backup, Privilege::Restore, Privilege::Security];
            self.privileges = Some(privilege::enable(&needed)?);
        }
        Ok(verbatim(path)?)
    }

    fn write_metadata(&mut self, path: &Path, file: BackupFile, metadata: &WindowsMetadata) -> Result<()> {
        file.set_basic_info(&to_hcs(&metadata.basic))?;
        let mut writer = BackupWriter::new(file);
        writer.metadata(metadata).map_err(|error| stream_error(path, error))?;
        self.open = Some(Open { path: path.to_path_buf(), writer });
        Ok(())
    }

    fn with_open(
        &mut self,
        act: impl FnOnce(&mut BackupWriter<BackupFile>) -> backup::Result<()>,
    ) -> Result<()> {
        match &mut self.open {
            Some(Open { path, writer }) => act(writer).map_err(|error| stream_error(path, error)),
            None => Err(Error::Invalid { path: PathBuf::new(), why: "there is no file to write to".into() }),
        }
    }
}

/// An error of the file below a backup stream keeps its code.
fn stream_error(path: &Path, error: backup::Error) -> Error {
    let subject = path.to_path_buf();
    match error {
        backup::Error::Write { source, .. } => match source.raw_os_error() {
            Some(code) => {
                let code = HResult::from_win32(code.cast_unsigned());
                layerstone_hcs::Error::Call { function: "BackupWrite", subject, code }.into()
            }
            None => crate::Error::Io { doing: "write", path: subject, source }.into(),
        },
        other => Error::Invalid { path: subject, why: other.to_string() },
    }
}

fn to_hcs(basic: &BasicInfo) -> backup_files::BasicInfo {
    backup_files::BasicInfo {
        creation: basic.creation.0,
        last_access: basic.last_access.0,
        last_write: basic.last_write.0,
        change: basic.change.0,
        attributes: basic.attributes.0,
    }
}

fn from_hcs(basic: &backup_files::BasicInfo) -> BasicInfo {
    BasicInfo {
        creation: FileTime(basic.creation),
        last_access: FileTime(basic.last_access),
        last_write: FileTime(basic.last_write),
        change: FileTime(basic.change),
        attributes: FileAttributes(basic.attributes),
    }
}

fn set_times(file: &File, basic: &BasicInfo) -> io::Result<()> {
    backup_files::set_basic_info(file, &backup_files::BasicInfo { attributes: 0, ..to_hcs(basic) })
}

impl InPlaceWriter for BackupFiles {
    fn create(&mut self, path: &Path, kind: NewFile<'_>, metadata: &WindowsMetadata) -> Result<()> {
        self.close()?;
        let literal = self.ready(path)?;
        let directory = match kind {
            NewFile::Directory => true,
            NewFile::File => false,
            NewFile::Link { directory, .. } if metadata.reparse.is_some() => directory,
            NewFile::Link { .. } => {
                let why = "a link needs a reparse point, and the layer has none for it".to_owned();
                return Err(Error::Invalid { path: path.to_path_buf(), why });
            }
        };
        let file = BackupFile::create(&literal, directory)?;
        self.write_metadata(path, file, metadata)
    }

    fn describe(&mut self, directory: &Path, metadata: &WindowsMetadata) -> Result<()> {
        self.close()?;
        let file = BackupFile::open_for_write(&self.ready(directory)?)?;
        self.write_metadata(directory, file, metadata)
    }

    fn begin_data(&mut self, size: u64, segments: Option<&[Segment]>) -> Result<()> {
        let extent = |segment: &Segment| Extent { offset: segment.offset, len: segment.len };
        let extents: Option<Vec<_>> = segments.map(|segments| segments.iter().map(extent).collect());
        self.with_open(|writer| writer.begin_data(size, extents.as_deref()))
    }

    fn begin_stream(&mut self, name: &[u8], size: u64) -> Result<()> {
        let name = WideString::from_wtf8(name).map_err(|error| Error::Invalid {
            path: self.open.as_ref().map_or_else(PathBuf::new, |open| open.path.clone()),
            why: format!("the name of an alternate stream: {error}"),
        })?;
        self.with_open(|writer| writer.begin(&StreamHeader::alternate(&name, size)))
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.with_open(|writer| writer.data(bytes))
    }

    fn close(&mut self) -> Result<()> {
        let Some(Open { path, writer }) = self.open.take() else { return Ok(()) };
        Ok(writer.finish().map_err(|error| stream_error(&path, error))?.close()?)
    }

    fn abandon(&mut self) {
        self.open = None;
    }

    fn hard_link(&mut self, target: &Path, name: &Path) -> Result<()> {
        let (target, name) = (self.ready(target)?, self.ready(name)?);
        Ok(backup_files::hard_link(&target, &name)?)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (self.ready(from)?, self.ready(to)?);
        let mut source = BackupFile::open_for_read(&from)?;
        let basic = source.basic_info()?;
        let mut copy = BackupFile::create(&to, FileAttributes(basic.attributes).is_directory())?;
        copy.set_basic_info(&basic)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match source.read_stream(&mut buffer)? {
                0 => break,
                count => copy.write_stream(&buffer[..count])?,
            }
        }
        source.close()?;
        Ok(copy.close()?)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (self.ready(from)?, self.ready(to)?);
        if places::stat(&to)?.is_some() {
            return Err(Error::Exists(to));
        }
        layerstone_oci::durable::rename(&from, &to).doing("move to", &to).map_err(Into::into)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        let path = self.ready(path)?;
        let denied = match places::remove(&path) {
            Err(Error::Store(crate::Error::Io { source, .. }))
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                source
            }
            other => return other,
        };
        if fs::symlink_metadata(&path).is_ok_and(|stat| places::is_directory(&stat)) {
            return Err(denied).doing("remove", &path).map_err(Into::into);
        }
        // `DeleteFile` has no regard to the backup privileges; this has, and removes the file when it is closed.
        const DELETE: u32 = 0x0001_0000;
        const FLAGS: u32 = 0x0200_0000 | 0x0020_0000 | 0x0400_0000;
        let file = OpenOptions::new().access_mode(DELETE).custom_flags(FLAGS).open(&path);
        drop(file.doing("remove", &path)?);
        Ok(())
    }

    fn basic_info(&self, path: &Path) -> Result<BasicInfo> {
        let file = backup_files::open_attributes(&verbatim(path)?, false).doing("open", path)?;
        Ok(from_hcs(&backup_files::basic_info(&file).doing("look at", path)?))
    }

    fn set_basic_info(&mut self, path: &Path, basic: &BasicInfo) -> Result<()> {
        let literal = self.ready(path)?;
        let file = backup_files::open_attributes(&literal, true).doing("open", path)?;
        backup_files::set_basic_info(&file, &to_hcs(basic))
            .doing("set the times of", path)
            .map_err(Into::into)
    }

    fn set_times(&self) -> Option<SetTimes> {
        Some(set_times)
    }

    fn take_report(&mut self) -> Report {
        // Everything is kept.
        Report::default()
    }
}
