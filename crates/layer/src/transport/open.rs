//! One file of the folder while it is being read.

use std::fs::{File, Metadata};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use layerstone_nt::backup::{BackupReader, Contents, DataLayout, Extent, Placed};
use layerstone_nt::{BasicInfo, FileAttributes};

use super::error::{Doing, Error};
use super::{GetBasicInfo, host};
use crate::path::LayerPath;

/// Bytes of the attribute word before the backup stream.
const WORD: u64 = 4;
/// Enough for header, metadata and a small file at once.
const BUFFER: usize = 16 << 10;

/// An open file and what the host says about it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    pub(super) basic: BasicInfo,
}

impl Opened {
    pub(super) fn open(path: &Path, basic_info: Option<GetBasicInfo>) -> Result<Self, Error> {
        // Looked at first: opening a pipe would wait. What is opened is looked at again below.
        let before = std::fs::symlink_metadata(path).doing("look at", path)?;
        let special = || Err(Error::Special { path: path.to_path_buf() });
        if !host::is_plain(&before) {
            return special();
        }
        let file = host::open(path).doing("open", path)?;
        let metadata = file.metadata().doing("look at", path)?;
        if !host::is_plain(&metadata) || metadata.is_dir() != before.is_dir() {
            return special();
        }
        let basic = match basic_info {
            Some(basic_info) => basic_info(&file),
            None => host::basic_info(&file, &metadata),
        };
        Ok(Opened { basic: basic.doing("look at", path)?, file, metadata })
    }

    /// Reads a blob: attributes, and what the backup stream says.
    pub(super) fn read_blob(&mut self, path: &LayerPath, host: &Path) -> Result<Contents, Error> {
        let mut input = BufReader::with_capacity(BUFFER, &self.file);
        let mut word = [0; WORD as usize];
        match input.read_exact(&mut word) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(Error::Blob { path: host.to_path_buf(), reason: "it has no attribute word" });
            }
            read => read.doing("read", host)?,
        }
        self.basic.attributes = FileAttributes(u32::from_le_bytes(word));
        Contents::scan(&mut BackupReader::seekable(input))
            .map_err(|source| Error::Backup { path: path.clone(), source })
    }
}

/// The bytes that belong to the entry that was given last.
#[derive(Debug)]
pub(super) struct Payload {
    extents: std::vec::IntoIter<Placed>,
    /// The range being read: where it goes on in the file, and how long it still is.
    position: u64,
    left: u64,
    /// For streams, whose holes are given as zeroes: where the reader is in the stream, and where it ends.
    filled: Option<Filled>,
}

#[derive(Debug)]
struct Filled {
    at: u64,
    size: u64,
    next: Option<Placed>,
}

impl Payload {
    /// The stored ranges of a blob's data.
    pub(super) fn stored(layout: DataLayout) -> Self {
        Payload { extents: layout.extents.into_iter(), position: 0, left: 0, filled: None }
    }

    /// All bytes of a blob's stream.
    pub(super) fn filled(layout: DataLayout) -> Self {
        let filled = Filled { at: 0, size: layout.size, next: None };
        Payload { filled: Some(filled), ..Self::stored(layout) }
    }

    /// All bytes of a plain file of this size.
    pub(super) fn plain(size: u64) -> Self {
        // Behind an attribute word that is not there.
        let whole = Placed { extent: Extent { offset: 0, len: size }, position: 0 };
        let extents = if size > 0 { vec![whole] } else { Vec::new() };
        let layout = DataLayout { size, sparse: false, extents };
        Self::stored(layout)
    }

    /// Reads some bytes; 0 at the end. `base` is where positions count from.
    pub(super) fn read(
        &mut self,
        file: &mut File,
        base: u64,
        buffer: &mut [u8],
        host: &Path,
    ) -> Result<usize, Error> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if let Some(zeroes) = self.hole(buffer) {
                return Ok(zeroes);
            }
            let next = match &mut self.filled {
                Some(filled) => filled.next.take(),
                None => self.extents.next(),
            };
            let Some(next) = next else { return Ok(0) };
            self.position = base + next.position;
            self.left = next.extent.len;
            file.seek(SeekFrom::Start(self.position)).doing("read", host)?;
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = loop {
            match file.read(&mut buffer[..most]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read.doing("read", host)?,
            }
        };
        if read == 0 {
            return Err(Error::Blob {
                path: host.to_path_buf(),
                reason: "it became shorter while it was read",
            });
        }
        self.left -= read as u64;
        if let Some(filled) = &mut self.filled {
            filled.at += read as u64;
        }
        Ok(read)
    }

    /// Zeroes up to the next stored range, or to the end.
    fn hole(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let filled = self.filled.as_mut()?;
        if filled.next.is_none() {
            filled.next = self.extents.next();
        }
        let stop = filled.next.map_or(filled.size, |placed| placed.extent.offset);
        let gap = stop.saturating_sub(filled.at);
        let count = buffer.len().min(usize::try_from(gap).unwrap_or(usize::MAX));
        if count == 0 {
            return None;
        }
        buffer[..count].fill(0);
        filled.at += count as u64;
        Some(count)
    }
}

/// Where positions in a blob's backup stream count from.
pub(super) const BLOB_BASE: u64 = WORD;
