//! From folder to tar and back.

use std::io::{self, BufRead, Write};

use super::{Error, Outcome, Placement, TransportReader, TransportWriter};
use crate::entry::{Entry, EntryKind, Os};
use crate::report::Report;
use crate::tar::source::{self, Mapper};
use crate::tar::{self, Event, Segment, TarReader, TarWriter};

/// Bytes copied at once.
const CHUNK: usize = 64 << 10;

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// On the side of the folder.
    #[error("the transport folder")]
    Transport(#[from] Error),
    /// The archive could not be written.
    #[error("writing the archive")]
    TarWrite(#[from] tar::write::Error),
    /// The archive could not be read.
    #[error("reading the archive")]
    TarRead(#[from] tar::Error),
    /// An entry of the archive could not be understood.
    #[error("reading the archive")]
    Entry(#[from] source::Error),
    /// Whoever takes what was handed back failed.
    #[error("`{path}` was handed back")]
    HandedBack {
        /// Which entry.
        path: crate::path::LayerPath,
        /// What happened.
        source: io::Error,
    },
}

/// What is handed back while a tar is copied into a folder.
#[derive(Debug)]
pub enum HandedBack<'a> {
    /// An entry of `UtilityVM`.
    Entry(&'a Entry),
    /// A piece of its bytes.
    Data(&'a [u8]),
}

/// Writes all entries of a folder into an archive, which stays open. Holes of sparse files become zeroes. What was unusual, and
/// what the archive cannot say, is returned.
///
/// # Errors
/// When either side fails, or an entry has no form in a layer tar (reparse points that are no links).
pub fn copy_to_tar<W: Write>(
    reader: &mut TransportReader,
    tar: &mut TarWriter<W>,
) -> Result<Report, CopyError> {
    let mut buffer = vec![0; CHUNK];
    let zeroes = vec![0; CHUNK];
    while let Some(entry) = reader.next_entry()? {
        tar.entry(&entry)?;
        let (size, segments) = match &entry.kind {
            EntryKind::File { size, segments: Some(segments) } => (*size, segments.as_slice()),
            kind => {
                copy_bytes(reader, tar, &mut buffer, kind.payload())?;
                continue;
            }
        };
        let mut at = 0;
        for segment in segments.iter().chain([&Segment { offset: size, len: 0 }]) {
            let mut hole = segment.offset.saturating_sub(at);
            while hole > 0 {
                let now = zeroes.len().min(usize::try_from(hole).unwrap_or(usize::MAX));
                tar.data(&zeroes[..now])?;
                hole -= now as u64;
            }
            copy_bytes(reader, tar, &mut buffer, segment.len)?;
            at = segment.offset.saturating_add(segment.len);
        }
    }
    let mut report = tar.take_report();
    report.merge(reader.report());
    Ok(report)
}

/// Copies this many bytes, or as many as there are: the writer checks the sum.
fn copy_bytes<W: Write>(
    reader: &mut TransportReader,
    tar: &mut TarWriter<W>,
    buffer: &mut [u8],
    mut count: u64,
) -> Result<(), CopyError> {
    while count > 0 {
        let most = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        let read = reader.read_data(&mut buffer[..most])?;
        if read == 0 {
            break;
        }
        tar.data(&buffer[..read])?;
        count -= read as u64;
    }
    Ok(())
}

/// Writes all entries of a Windows layer's archive into a folder, and completes the folder. The archive is read to its end.
/// Entries of `UtilityVM` must not be handed back: see [`copy_from_tar_with`].
///
/// # Errors
/// When either side fails, or an entry has no place in a folder.
pub fn copy_from_tar<R: BufRead>(
    tar: &mut TarReader<R>,
    writer: TransportWriter,
) -> Result<Outcome, CopyError> {
    copy_from_tar_with(tar, writer, &mut |_| Err(io::ErrorKind::Unsupported.into()))
}

/// As [`copy_from_tar`]; what is handed back goes to `take`.
///
/// # Errors
/// As [`copy_from_tar`], and when `take` fails.
pub fn copy_from_tar_with<R: BufRead>(
    tar: &mut TarReader<R>,
    mut writer: TransportWriter,
    take: &mut dyn FnMut(HandedBack<'_>) -> io::Result<()>,
) -> Result<Outcome, CopyError> {
    let mut mapper = Mapper::new(Os::Windows);
    let mut report = Report::default();
    let mut current: Option<(Entry, Placement)> = None;
    loop {
        match tar.next_event()? {
            Event::Raw(_) => {}
            Event::Member(member) => {
                current = match mapper.entry(&member, &mut report)? {
                    Some(entry) => {
                        let placement = writer.entry(&entry)?;
                        if placement == Placement::HandedBack {
                            let path = &entry.path;
                            take(HandedBack::Entry(&entry))
                                .map_err(|source| CopyError::HandedBack { path: path.clone(), source })?;
                        }
                        Some((entry, placement))
                    }
                    None => None,
                };
            }
            Event::Data(bytes) => match &current {
                Some((entry, Placement::HandedBack)) => take(HandedBack::Data(bytes))
                    .map_err(|source| CopyError::HandedBack { path: entry.path.clone(), source })?,
                // The payload of a whiteout, of a device, of a link: nobody's.
                Some((entry, _)) if entry.kind.payload() == 0 => {}
                Some(_) => writer.data(bytes)?,
                None => {}
            },
            Event::End => break,
        }
    }
    let mut outcome = writer.finish()?;
    outcome.report.merge(&report);
    Ok(outcome)
}
