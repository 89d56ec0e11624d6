//! Real files of a layer, written where they stay.

use std::io;
use std::path::Path;

use layerstone_layer::Report;
use layerstone_layer::tar::Segment;
use layerstone_layer::transport::SetTimes;
use layerstone_nt::BasicInfo;
use layerstone_nt::tar::WindowsMetadata;

use super::error::Result;

/// What [`InPlaceWriter::create`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewFile<'a> {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link or junction. Where there are reparse points, that of the metadata says more.
    Link {
        /// Where it leads, as the layer has it.
        target: &'a [u8],
        /// Whether it is one to a directory.
        directory: bool,
    },
}

/// Writes the real files of a layer: content, and what belongs to a file beside it.
///
/// Paths are the host's. Their directories were made by the writer, or looked at by the caller: none is a link. What the
/// writer cannot keep it counts in its [report](Self::take_report).
pub trait InPlaceWriter {
    /// Makes something that is not there yet, with its metadata. A file's content follows, then
    /// [`close`](Self::close).
    ///
    /// # Errors
    /// When something is there, or the system refuses.
    fn create(&mut self, path: &Path, kind: NewFile<'_>, metadata: &WindowsMetadata) -> Result<()>;

    /// Gives a directory that is there this metadata.
    ///
    /// # Errors
    /// When the system refuses.
    fn describe(&mut self, directory: &Path, metadata: &WindowsMetadata) -> Result<()>;

    /// Begins the content of the file that was created last: `size` bytes, of which with `segments` only these ranges follow.
    ///
    /// # Errors
    /// When the system refuses.
    fn begin_data(&mut self, size: u64, segments: Option<&[Segment]>) -> Result<()>;

    /// Begins an alternate data stream of what was created last.
    ///
    /// # Errors
    /// When the system refuses.
    fn begin_stream(&mut self, name: &[u8], size: u64) -> Result<()>;

    /// Bytes of the content or stream that was begun last.
    ///
    /// # Errors
    /// When the system refuses, or there are more than announced.
    fn data(&mut self, bytes: &[u8]) -> Result<()>;

    /// Completes what was created last. Nothing happens when that was done.
    ///
    /// # Errors
    /// When the system refuses, or bytes are missing.
    fn close(&mut self) -> Result<()>;

    /// Closes what was created last as it is: it will be removed.
    fn abandon(&mut self);

    /// Makes `name`, which is not there yet, one more name of a file.
    ///
    /// # Errors
    /// When the system refuses.
    fn hard_link(&mut self, target: &Path, name: &Path) -> Result<()>;

    /// Copies a file, a link, or a directory without what is in it, to a path where nothing is, with all that belongs to it.
    ///
    /// # Errors
    /// When the system refuses.
    fn copy(&mut self, from: &Path, to: &Path) -> Result<()>;

    /// Moves something to a path where nothing is, in the same file system.
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&mut self, from: &Path, to: &Path) -> Result<()>;

    /// Removes something, a directory with all that is in it. No link is followed.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&mut self, path: &Path) -> Result<()>;

    /// The times and attributes of something itself, as far as the system tells.
    ///
    /// # Errors
    /// When the system refuses.
    fn basic_info(&self, path: &Path) -> Result<BasicInfo>;

    /// Sets times and attributes of something itself, as far as the system can. What is 0 stays.
    ///
    /// # Errors
    /// When the system refuses.
    fn set_basic_info(&mut self, path: &Path, basic: &BasicInfo) -> Result<()>;

    /// Sets all four times of an open file, where the writer can do more than the standard library.
    fn set_times(&self) -> Option<SetTimes> {
        None
    }

    /// What could not be kept since this was asked last.
    fn take_report(&mut self) -> Report;
}

/// An error of the content that was announced and the content that came.
pub(super) fn wrong_size() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
