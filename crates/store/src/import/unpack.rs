//! From the archive to image data, split stream and tree, in one pass.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use layerstone_erofs::{FileData, ImageWriter, Segment};
use layerstone_layer::split::{PayloadId, SplitWriter};
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader};
use layerstone_layer::tree::LayerTree;
use layerstone_layer::{EntryKind, Finding, Os, Report};
use layerstone_oci::{ChainId, Digest};
use xxhash_rust::xxh3::Xxh3;

use super::Limits;
use super::output::DirectOutput;
use super::pipeline::Inflated;
use crate::error::{Error, IoContext, Result};
use crate::layer::{Counts, IMAGE, SPLIT};

/// The bytes of a file in the image being written, and the payload of the archive that they are.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) data: FileData,
    /// `None` for bytes that no archive of this layer had: copies out of a parent layer.
    pub(super) payload: Option<PayloadId>,
    /// XXH3-64 of the bytes, and how many: the key of an alternate stream.
    pub(super) key: Option<(u64, u64)>,
}

/// A layer whose archive has been read, and that waits for its parent to be finished.
pub(super) struct Unpacked {
    pub(super) image: ImageWriter<DirectOutput>,
    pub(super) split: SplitWriter<BufWriter<File>>,
    pub(super) tree: LayerTree<Stored>,
    pub(super) counts: Counts,
    pub(super) report: Report,
    pub(super) archive_size: u64,
}

/// What the errors are about, and where the files go.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) directory: &'a Path,
    pub(super) layer: &'a Digest,
    pub(super) chain: &'a ChainId,
    pub(super) os: Os,
    pub(super) limits: Limits,
}

impl Job<'_> {
    fn image(&self) -> impl Fn(layerstone_erofs::Error) -> Error + '_ {
        |source| Error::WriteImage { layer: *self.layer, source }
    }

    fn split(&self) -> impl Fn(layerstone_layer::split::Error) -> Error + '_ {
        |source| Error::Split { chain: *self.chain, source }
    }

    fn over(&self, what: &'static str, limit: u64) -> Error {
        Error::Limit { layer: *self.layer, what, limit }
    }
}

/// Reads the whole archive.
pub(super) fn unpack(job: Job<'_>, input: Inflated, progress: &dyn Fn(u64)) -> Result<Unpacked> {
    let image_path = job.directory.join(IMAGE);
    let output = DirectOutput::create(&image_path).doing("create", &image_path)?;
    let spill = tempfile::tempfile_in(job.directory).doing("create a file in", job.directory)?;
    let split_path = job.directory.join(SPLIT);
    let split =
        BufWriter::with_capacity(256 << 10, File::create_new(&split_path).doing("create", &split_path)?);
    let mut unpacked = Unpacked {
        image: ImageWriter::new(output, spill),
        split: SplitWriter::new(split).map_err(job.split())?,
        tree: LayerTree::new(job.os),
        counts: Counts::default(),
        report: Report::default(),
        archive_size: 0,
    };
    let mut mapper = Mapper::new(job.os);
    let blob_read = input.blob_read();
    let mut tar = TarReader::new(input);
    let tar_error = |source| Error::Tar { layer: *job.layer, source };
    // The entry whose payload is being read, and whether its bytes go to the image.
    let mut current: Option<Payload> = None;
    loop {
        let event = tar.next_event().map_err(tar_error)?;
        // The first event that is not data ends the payload.
        if !matches!(event, Event::Data(_))
            && let Some(payload) = current.take()
        {
            payload.end(&mut unpacked, &job)?;
        }
        match event {
            Event::Raw(bytes) => unpacked.split.literal(bytes).map_err(job.split())?,
            Event::Member(member) => {
                unpacked.counts.entries += 1;
                if unpacked.counts.entries > job.limits.entries {
                    return Err(job.over("entries", job.limits.entries));
                }
                let entry = mapper
                    .entry(&member, &mut unpacked.report)
                    .map_err(|source| Error::Entry { layer: *job.layer, source })?;
                current = Payload::begin(entry, &mut unpacked, &job)?;
            }
            Event::Data(bytes) => match &mut current {
                Some(payload) => payload.bytes(bytes, &mut unpacked, &job)?,
                None => unpacked.split.literal(bytes).map_err(job.split())?,
            },
            Event::End => break,
        }
        let offset = tar.offset();
        if offset > job.limits.archive_bytes {
            return Err(job.over("bytes when uncompressed", job.limits.archive_bytes));
        }
        progress(blob_read.load(std::sync::atomic::Ordering::Relaxed));
    }
    if !tar.has_end_marker() {
        unpacked.report.note(Finding::NoEndMarker, format_args!("byte {}", tar.offset()));
    }
    unpacked.archive_size = tar.offset();
    Ok(unpacked)
}

/// A file or stream whose bytes are on their way to the image.
struct Payload {
    entry: layerstone_layer::Entry,
    id: PayloadId,
    hash: Option<Box<Xxh3>>,
}

impl Payload {
    /// Starts an entry. Everything without bytes goes into the tree at once.
    fn begin(
        entry: Option<layerstone_layer::Entry>,
        unpacked: &mut Unpacked,
        job: &Job<'_>,
    ) -> Result<Option<Payload>> {
        // A payload that belongs to no file goes to the split stream as it is.
        let Some(entry) = entry else { return Ok(None) };
        let counts = &mut unpacked.counts;
        let (size, segments) = match &entry.kind {
            EntryKind::File { size, segments } => {
                counts.files += 1;
                (*size, segments.as_deref())
            }
            EntryKind::Stream { size, .. } => {
                counts.streams += 1;
                (*size, None)
            }
            other => {
                *match other {
                    EntryKind::Directory => &mut counts.directories,
                    EntryKind::Symlink { .. } => &mut counts.symlinks,
                    EntryKind::HardLink { .. } => &mut counts.hard_links,
                    EntryKind::Whiteout | EntryKind::Opaque => &mut counts.whiteouts,
                    _ => &mut counts.special,
                } += 1;
                unpacked.tree.insert(entry, None, &mut unpacked.report);
                return Ok(None);
            }
        };
        counts.bytes = counts.bytes.saturating_add(size);
        let id = unpacked.split.begin_payload(size, segments).map_err(job.split())?;
        match segments {
            None => unpacked.image.begin_file(size).map_err(job.image())?,
            Some(segments) => {
                let segments: Vec<_> =
                    segments.iter().map(|s| Segment { offset: s.offset, len: s.len }).collect();
                unpacked.image.begin_sparse(size, &segments).map_err(job.image())?;
            }
        }
        let hash = matches!(entry.kind, EntryKind::Stream { .. }).then(Box::default);
        Ok(Some(Payload { entry, id, hash }))
    }

    fn bytes(&mut self, bytes: &[u8], unpacked: &mut Unpacked, job: &Job<'_>) -> Result<()> {
        unpacked.split.payload_bytes(bytes);
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        unpacked.image.write(bytes).map_err(job.image())
    }

    fn end(self, unpacked: &mut Unpacked, job: &Job<'_>) -> Result<()> {
        unpacked.split.end_payload();
        let data = unpacked.image.end_file().map_err(job.image())?;
        let key = self.hash.map(|hash| (hash.digest(), data.size()));
        let stored = Stored { data, payload: Some(self.id), key };
        unpacked.tree.insert(self.entry, Some(stored), &mut unpacked.report);
        Ok(())
    }
}

impl Unpacked {
    /// Ends the split stream, durably.
    pub(super) fn finish_split(
        split: SplitWriter<BufWriter<File>>,
        job: &Job<'_>,
        nid_of: impl Fn(PayloadId) -> u64,
    ) -> Result<()> {
        let path = job.directory.join(SPLIT);
        let mut output = split.finish(nid_of).map_err(job.split())?;
        output.flush().doing("write", &path)?;
        output.get_ref().sync_all().doing("sync", &path)
    }
}
