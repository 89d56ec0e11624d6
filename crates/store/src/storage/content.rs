//! The content of a file, written with its holes left out.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};

use layerstone_layer::tar::Segment;

use super::in_place::wrong_size;

const BUFFER: usize = 128 << 10;

/// A file whose content is being written.
#[derive(Debug)]
pub(super) struct Content {
    output: BufWriter<File>,
    size: u64,
    /// The ranges that are still to come.
    segments: std::vec::IntoIter<Segment>,
    /// Bytes of the current range that are still to come.
    left: u64,
}

impl Content {
    pub(super) fn new(file: File) -> Self {
        let output = BufWriter::with_capacity(BUFFER, file);
        Content { output, size: 0, segments: Vec::new().into_iter(), left: 0 }
    }

    pub(super) fn begin(&mut self, size: u64, segments: Option<&[Segment]>) {
        let whole = [Segment { offset: 0, len: size }];
        self.size = size;
        self.segments = segments.unwrap_or(&whole).to_vec().into_iter();
    }

    pub(super) fn data(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let segment = self.segments.next().ok_or_else(wrong_size)?;
                self.output.seek(SeekFrom::Start(segment.offset))?;
                self.left = segment.len;
                continue;
            }
            let now = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.output.write_all(&bytes[..now])?;
            self.left -= now as u64;
            bytes = &bytes[now..];
        }
        Ok(())
    }

    /// The file, complete.
    pub(super) fn finish(mut self) -> io::Result<File> {
        if self.left > 0 || self.segments.any(|segment| segment.len > 0) {
            return Err(wrong_size());
        }
        let file = self.output.into_inner().map_err(io::IntoInnerError::into_error)?;
        if file.metadata()?.len() != self.size {
            file.set_len(self.size)?;
        }
        Ok(file)
    }
}
