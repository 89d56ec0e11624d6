//! Committing: the changes of a scratch become a layer, and a new image.
//!
//! ```text
//! upper ─► changes (compared with the chain) ─► tar ─► import, as any other archive ─► stored layer
//!                                                        └─► DiffID ─► configuration ─► manifest ─► name
//! ```

mod archive;
mod changes;
mod windows;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::thread;

use layerstone_layer::Report;
use layerstone_layer::merge::Merged;
use layerstone_oci::compress::Encoder;
use layerstone_oci::{
    Compression, Descriptor, Digest, HistoryEntry, ImageConfig, Layout, Manifest, MediaKind, MediaType,
    limits,
};

use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;
use crate::image::StoredImage;
use crate::import::Limits;
use crate::layer::{Description, StoredLayer};
use crate::pipe::{PipeWriter, pipe};
use crate::root::Store;
use crate::scratch::Scratch;
use crate::upper::UpperLayer;
use changes::{Change, Changes};

/// What the history says made the layer.
const CREATED_BY: &str = "layerstone commit";

/// How to commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Who, for the history.
    pub author: Option<String>,
    /// Why, for the history.
    pub message: Option<String>,
    /// When, in RFC 3339. The same changes committed with the same time are the same image.
    pub created: String,
    /// Store the layer as a gzip blob too. Otherwise the manifest names the uncompressed archive, whose digest is the
    /// DiffID and which the stored layer gives at any time.
    pub keep_blobs: bool,
    /// What the layer may hold.
    pub limits: Limits,
}

/// What came of a commit.
#[derive(Debug, Clone)]
pub struct CommitOutcome {
    /// The new image.
    pub image: StoredImage,
    /// The new layer; `None` when nothing had changed.
    pub layer: Option<Description>,
    /// What was out of the ordinary.
    pub report: Report,
}

impl Store {
    /// Makes a layer of what `scratch` changes, and an image of that layer on top of the scratch's image. The scratch
    /// stays as it is. When it changes nothing, the image has one more history entry and the same layers.
    ///
    /// # Errors
    /// When the scratch or its chain cannot be read, or the store fails. Then no image has changed.
    pub fn commit(&self, scratch: &Scratch, name: &str, options: &CommitOptions) -> Result<CommitOutcome> {
        let failed = |source| Error::Commit { scratch: scratch.name().to_owned(), source: Box::new(source) };
        Layout::check_name(name)?;
        let _shared = self.lock_shared()?;
        self.commit_locked(scratch, name, options).map_err(failed)
    }

    fn commit_locked(&self, scratch: &Scratch, name: &str, options: &CommitOptions) -> Result<CommitOutcome> {
        let (manifest, config) = self.image_below(&scratch.description().manifest)?;
        let (layer, report) = self.commit_layer(scratch, options)?;
        failpoint("commit-stored");
        let entry = HistoryEntry {
            created: Some(options.created.clone()),
            created_by: Some(CREATED_BY.to_owned()),
            author: options.author.clone(),
            comment: options.message.clone(),
            empty_layer: layer.is_none(),
        };
        let config = match &layer {
            Some(layer) => config.append_layer(&layer.diff_id, entry)?,
            None => config.append_history(entry)?,
        };
        let mut layers: Vec<Descriptor> = manifest.layers().iter().map(oci_layer).collect();
        if let Some(layer) = &layer {
            layers.push(self.layer_blob(layer, options)?);
        }
        // Annotations speak of the image that they are on, and are not taken over.
        let manifest = Manifest::build(config.descriptor(), layers, BTreeMap::new())?;
        self.layout().put_blob_bytes(config.bytes())?;
        failpoint("commit-config");
        self.layout().put_blob_bytes(manifest.bytes())?;
        let descriptor = manifest.descriptor().with_platform(config.platform());
        self.layout().set_image(name, &descriptor)?;
        failpoint("commit-done");
        let image = StoredImage { name: name.to_owned(), descriptor, manifest, config };
        Ok(CommitOutcome { image, layer, report })
    }

    /// Manifest and configuration of the image that a scratch lies over, whatever became of its name.
    fn image_below(&self, digest: &Digest) -> Result<(Manifest, ImageConfig)> {
        let layout = self.layout();
        let size = layout.blob_size(digest)?.ok_or_else(|| Error::NoImage(digest.to_string()))?;
        let descriptor = Descriptor::new(MediaType::OCI_MANIFEST, *digest, size);
        let manifest = Manifest::parse(layout.read_small_blob(&descriptor, limits::MAX_MANIFEST_SIZE)?)?;
        let config = layout.read_small_blob(manifest.config(), limits::MAX_CONFIG_SIZE)?;
        Ok((manifest, ImageConfig::parse(config)?))
    }

    /// Stores the changes as a layer.
    fn commit_layer(
        &self,
        scratch: &Scratch,
        options: &CommitOptions,
    ) -> Result<(Option<Description>, Report)> {
        let description = scratch.description();
        let upper = self.upper_layer(scratch)?;
        let lower = self.merged(&description.chain_ids, description.os)?;
        let mut changes = Changes::new(&upper, &lower)?;
        let Some(first) = changes.next_change()? else {
            failpoint("commit-walked");
            return Ok((None, changes.into_report()));
        };
        let (writer, reader) = pipe();
        let (written, stored) = thread::scope(|scope| {
            let walk = thread::Builder::new()
                .name("commit-walk".into())
                .spawn_scoped(scope, || write_changes(&upper, first, &mut changes, writer))
                .doing("start a thread for", scratch.path())?;
            let stored = self.import_stream(reader, &description.chain_ids, description.os, options.limits);
            let written = walk.join().map_err(|_| Error::Worker("reading a scratch"))?;
            Ok::<_, Error>((written, stored))
        })?;
        let layer = match (written, stored) {
            // Whichever side failed first made the other fail too.
            (Err(error), Err(cause)) if is_broken_pipe(&error) => return Err(cause),
            (Err(error), _) | (Ok(()), Err(error)) => return Err(error),
            (Ok(()), Ok(layer)) => layer,
        };
        let mut report = changes.into_report();
        report.merge(&layer.description.report);
        Ok((Some(layer.description), report))
    }

    /// The descriptor of the new layer, and its blob when blobs are kept.
    fn layer_blob(&self, layer: &Description, options: &CommitOptions) -> Result<Descriptor> {
        if !options.keep_blobs {
            return Ok(Descriptor::new(MediaType::OCI_LAYER, layer.diff_id.0, layer.archive_size));
        }
        let stored = self.layer(&layer.chain_id)?;
        let blob = self.layout().blob_writer_in(&self.staging_root())?;
        let compressing = || Encoder::new(Compression::Gzip, None, None, blob);
        let mut encoder = compressing().doing("compress a layer into", self.staging_root())?;
        stored.write_archive(&mut encoder)?;
        let blob = encoder.finish().doing("compress a layer into", self.staging_root())?;
        let (digest, size) = blob.commit()?;
        Ok(Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, size))
    }
}

/// Writes what `upper` changes of `lower` as a layer archive; one without members when it changes nothing.
pub(crate) fn write_archive(
    upper: &UpperLayer,
    lower: &Merged<StoredLayer>,
    mut writer: PipeWriter,
) -> Result<Report> {
    let mut changes = Changes::new(upper, lower)?;
    match changes.next_change()? {
        Some(first) => write_changes(upper, first, &mut changes, writer)?,
        None => {
            let end =
                |source| Error::TarWrite(layerstone_layer::tar::write::Error::Write { offset: 0, source });
            writer.write_all(&[0; 1024]).map_err(end)?;
            writer.finish().map_err(end)?;
        }
    }
    Ok(changes.into_report())
}

fn write_changes(
    upper: &UpperLayer,
    first: Change,
    changes: &mut Changes<'_>,
    writer: PipeWriter,
) -> Result<()> {
    let writer = archive::write(upper, first, changes, writer)?;
    failpoint("commit-walked");
    writer
        .finish()
        .map_err(|source| Error::TarWrite(layerstone_layer::tar::write::Error::Write { offset: 0, source }))
}

fn is_broken_pipe(error: &Error) -> bool {
    use layerstone_layer::tar::write::Error as Tar;
    matches!(error, Error::TarWrite(Tar::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe)
}

/// The descriptor of an existing layer with OCI's media type: a manifest speaks one language.
pub(crate) fn oci_layer(descriptor: &Descriptor) -> Descriptor {
    let mut descriptor = descriptor.clone();
    if let MediaKind::Layer { compression, nondistributable } = descriptor.kind()
        && descriptor.media_type.is_docker()
    {
        descriptor.media_type = MediaType::oci_layer(compression, nondistributable);
    }
    descriptor
}
