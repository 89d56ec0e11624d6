//! One file of the folder while it is being written: a blob (attribute word and backup stream) or a plain file.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use layerstone_nt::backup::{BackupWriter, Extent, StreamHeader};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, WideString, backup};

use super::error::{Doing, Error};
use super::{SetTimes, host};
use crate::path::LayerPath;
use crate::tar::Segment;

/// What Microsoft's writer buffers.
const BUFFER: usize = 64 << 10;

/// A file that is open for writing, and its entry.
#[derive(Debug)]
pub(super) struct Open {
    /// The entry, as it was given.
    pub(super) path: LayerPath,
    host: PathBuf,
    times: BasicInfo,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Blob(BackupWriter<BufWriter<File>>),
    Plain(Plain),
}

/// A file whose content is written as it is, its holes left out.
#[derive(Debug)]
struct Plain {
    output: BufWriter<File>,
    size: u64,
    /// The ranges that are still to come, and the rest of the first.
    segments: std::vec::IntoIter<Segment>,
    left: u64,
    announced: u64,
    given: u64,
}

fn create(path: &Path) -> Result<BufWriter<File>, Error> {
    // Exclusively: what is there already is never written to, link or not.
    let file = OpenOptions::new().write(true).create_new(true).open(path).doing("create", path)?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

impl Open {
    /// A new blob with its attribute word and the metadata.
    pub(super) fn blob(
        path: &LayerPath,
        host: PathBuf,
        attributes: FileAttributes,
        metadata: &WindowsMetadata,
    ) -> Result<Self, Error> {
        let mut output = create(&host)?;
        output.write_all(&attributes.0.to_le_bytes()).doing("write", &host)?;
        let mut writer = BackupWriter::new(output);
        writer.metadata(metadata).map_err(|source| Error::Backup { path: path.clone(), source })?;
        Ok(Open { path: path.clone(), host, times: metadata.basic, content: Content::Blob(writer) })
    }

    /// A new file with this content and nothing else.
    pub(super) fn plain(
        path: &LayerPath,
        host: PathBuf,
        times: BasicInfo,
        size: u64,
        segments: Option<&[Segment]>,
    ) -> Result<Self, Error> {
        let whole = [Segment { offset: 0, len: size }];
        let segments = segments.unwrap_or(&whole).to_vec();
        let announced = segments.iter().fold(0u64, |sum, segment| sum.saturating_add(segment.len));
        let output = create(&host)?;
        let plain = Plain { output, size, segments: segments.into_iter(), left: 0, announced, given: 0 };
        Ok(Open { path: path.clone(), host, times, content: Content::Plain(plain) })
    }

    fn blob_writer(&mut self) -> Option<(&LayerPath, &mut BackupWriter<BufWriter<File>>)> {
        match &mut self.content {
            Content::Blob(writer) => Some((&self.path, writer)),
            Content::Plain(_) => None,
        }
    }

    /// Whether alternate data streams have a place here.
    pub(super) fn takes_streams(&self) -> bool {
        matches!(self.content, Content::Blob(_))
    }

    /// Begins the content of a blob.
    pub(super) fn begin_data(&mut self, size: u64, segments: Option<&[Segment]>) -> Result<(), Error> {
        let Some((path, writer)) = self.blob_writer() else { return Ok(()) };
        let extents: Option<Vec<Extent>> =
            segments.map(|list| list.iter().map(|s| Extent { offset: s.offset, len: s.len }).collect());
        writer
            .begin_data(size, extents.as_deref())
            .map_err(|source| Error::Backup { path: path.clone(), source })
    }

    /// Begins an alternate data stream of a blob.
    pub(super) fn begin_stream(&mut self, name: &WideString, size: u64) -> Result<(), Error> {
        let Some((path, writer)) = self.blob_writer() else { return Ok(()) };
        writer
            .begin(&StreamHeader::alternate(name, size))
            .map_err(|source| Error::Backup { path: path.clone(), source })
    }

    /// Bytes of the content.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.content {
            Content::Blob(writer) => {
                writer.data(bytes).map_err(|source| Error::Backup { path: self.path.clone(), source })
            }
            Content::Plain(plain) => plain.data(bytes, &self.path, &self.host),
        }
    }

    /// Checks that everything came, and sets the times.
    pub(super) fn close(self, set_times: Option<SetTimes>) -> Result<(), Error> {
        let mut output = match self.content {
            Content::Blob(writer) => writer
                .finish()
                .map_err(|source: backup::Error| Error::Backup { path: self.path.clone(), source })?,
            Content::Plain(plain) => plain.finish(&self.path, &self.host)?,
        };
        output.flush().doing("write", &self.host)?;
        let mut times = self.times;
        // Left as they are, these would be the time at which the folder is made.
        for time in [&mut times.creation, &mut times.last_access] {
            if !time.is_set() {
                *time = times.last_write;
            }
        }
        set_times.unwrap_or(host::set_times)(output.get_ref(), &times).doing("set the times of", &self.host)
    }
}

impl Plain {
    fn data(&mut self, mut bytes: &[u8], path: &LayerPath, host: &Path) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.left == 0 {
                match self.segments.next() {
                    Some(segment) => {
                        if segment.offset != self.output.stream_position().doing("write", host)? {
                            self.output.seek(SeekFrom::Start(segment.offset)).doing("write", host)?;
                        }
                        self.left = segment.len;
                    }
                    None => return Err(self.size_error(path, bytes.len() as u64)),
                }
                continue;
            }
            let room = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.output.write_all(now).doing("write", host)?;
            self.left -= now.len() as u64;
            self.given += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    fn finish(mut self, path: &LayerPath, host: &Path) -> Result<BufWriter<File>, Error> {
        if self.given != self.announced {
            return Err(self.size_error(path, 0));
        }
        self.output.flush().doing("write", host)?;
        // For a hole at the end.
        self.output.get_ref().set_len(self.size).doing("set the size of", host)?;
        Ok(self.output)
    }

    fn size_error(&self, path: &LayerPath, more: u64) -> Error {
        Error::Size { path: path.clone(), announced: self.announced, given: self.given.saturating_add(more) }
    }
}
