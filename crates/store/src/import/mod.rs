//! Importing: from an image, wherever it lies, to stored layers.
//!
//! Each layer that is missing is unpacked by a worker, several at once; only the last step (see `finish`) waits for the
//! layer below. A layer appears in the store by one rename, complete and durable, and is never unpacked twice, not
//! even by two processes at the same time.

mod documents;
mod finish;
mod output;
mod partial;
mod pipeline;
mod stream;
mod unpack;

use std::collections::HashSet;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use layerstone_layer::Os;
use layerstone_oci::{BlobWriter, ChainId, Descriptor, DiffId, ResolvedImage, SourceLayer, VerifyingReader};

use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;
use crate::layer::Description;
use crate::root::{Staging, Store};
pub use documents::{IndexProgressFn, OpenBlobFn};
use partial::PartialBlob;
pub(crate) use stream::store_archive;
use unpack::Job;

/// What one layer may hold at most. The defaults are far above any real layer and far below what would fill a machine's
/// memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members of an archive.
    pub entries: u64,
    /// Bytes of an archive.
    pub archive_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 8_000_000, archive_bytes: 2 << 40 }
    }
}

/// How to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Keep the compressed blobs too, so that an export has the same manifest digest and other tools can copy the image
    /// out of the store.
    pub keep_blobs: bool,
    /// With [`keep_blobs`](Self::keep_blobs), begin with what an import that was killed has kept of a blob: for blobs that
    /// come from far away.
    pub resume: bool,
    /// How many layers are unpacked at once.
    pub jobs: NonZeroUsize,
    /// What one layer may hold.
    pub limits: Limits,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            keep_blobs: false,
            resume: false,
            jobs: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            limits: Limits::default(),
        }
    }
}

/// What is happening, for a progress display. Called from several threads.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A layer is about to be unpacked.
    Start {
        /// Index of the layer in the image, base first.
        index: usize,
        /// Its blob.
        descriptor: &'a Descriptor,
    },
    /// So many bytes of a layer's blob have been read.
    Bytes {
        /// Index of the layer.
        index: usize,
        /// Bytes of the blob.
        read: u64,
    },
    /// A layer is stored.
    Done {
        /// Index of the layer.
        index: usize,
        /// False when it was there before.
        unpacked: bool,
    },
}

/// Something that hears about progress.
pub type ProgressFn<'a> = &'a (dyn Fn(Progress<'_>) + Sync);

/// One layer of an imported image.
#[derive(Debug, Clone)]
pub struct ImportedLayer {
    /// What is stored.
    pub description: Description,
    /// False when it was in the store before.
    pub unpacked: bool,
}

/// Reads a layer's blob: given its index in the image, base first.
pub trait LayerBlobs: Sync {
    /// Opens the blob of a layer, compressed as it is. Its digest is checked by the import.
    ///
    /// # Errors
    /// When it is not there.
    fn open(&self, layer: &SourceLayer) -> Result<Box<dyn Read + Send + '_>>;

    /// The same from byte `offset` of the blob on.
    ///
    /// # Errors
    /// When it is not there, or ends before that.
    fn open_from(&self, layer: &SourceLayer, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut blob = self.open(layer)?;
        let skipped = std::io::copy(&mut (&mut blob).take(offset), &mut std::io::sink());
        skipped.doing("read a part of", layer.descriptor.digest.to_string())?;
        Ok(blob)
    }
}

impl LayerBlobs for layerstone_oci::ImageSource {
    fn open(&self, layer: &SourceLayer) -> Result<Box<dyn Read + Send + '_>> {
        Ok(self.open_layer_unverified(layer)?)
    }
}

impl Store {
    /// Imports an image: its layers, then its configuration and manifest, then its name.
    ///
    /// # Errors
    /// When the source or the store fails, or anything is not what its digest promises. Layers that were finished
    /// before the error stay; everything else is gone.
    pub fn import_image(
        &self,
        blobs: &dyn LayerBlobs,
        image: &ResolvedImage,
        name: &str,
        options: &ImportOptions,
        progress: ProgressFn<'_>,
    ) -> Result<Vec<ImportedLayer>> {
        // What a crash left is disk that this import may need.
        self.sweep()?;
        let _shared = self.lock_shared()?;
        let layers = self.import_contents(blobs, image, options, progress)?;
        let mut descriptor = image.manifest.descriptor();
        descriptor.platform = Some(image.config.platform());
        self.layout().set_image(name, &descriptor)?;
        Ok(layers)
    }

    /// Imports what an image consists of. The caller holds the store's lock, and gives it a name.
    fn import_contents(
        &self,
        blobs: &dyn LayerBlobs,
        image: &ResolvedImage,
        options: &ImportOptions,
        progress: ProgressFn<'_>,
    ) -> Result<Vec<ImportedLayer>> {
        let layers = self.import_layers(blobs, image, options, progress)?;
        failpoint("import-layers-done");
        self.layout().put_blob_bytes(image.config.bytes())?;
        self.layout().put_blob_bytes(image.manifest.bytes())?;
        failpoint("import-blobs-done");
        Ok(layers)
    }

    /// Imports the layers of an image that are not stored. The caller holds the store's lock, shared or alone.
    pub(crate) fn import_layers(
        &self,
        blobs: &dyn LayerBlobs,
        image: &ResolvedImage,
        options: &ImportOptions,
        progress: ProgressFn<'_>,
    ) -> Result<Vec<ImportedLayer>> {
        let batch = Batch {
            store: self,
            blobs,
            layers: &image.layers,
            chain_ids: image.config.chain_ids(),
            os: Os::from_config(image.config.os()),
            options,
            progress,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let workers = options.jobs.get().min(image.layers.len());
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| batch.work());
            }
        });
        let state = batch.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error {
            return Err(error);
        }
        let mut layers = state.done;
        layers.sort_by_key(|(index, _)| *index);
        if layers.len() < image.layers.len() {
            return Err(Error::Worker("unpacking a layer"));
        }
        Ok(layers.into_iter().map(|(_, layer)| layer).collect())
    }
}

/// The layers of one image on their way into the store.
struct Batch<'a> {
    store: &'a Store,
    blobs: &'a dyn LayerBlobs,
    layers: &'a [SourceLayer],
    chain_ids: Vec<ChainId>,
    os: Os,
    options: &'a ImportOptions,
    progress: ProgressFn<'a>,
    state: Mutex<State>,
    /// Notified when a layer is stored or something failed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next layer that nobody works on.
    next: usize,
    stored: HashSet<usize>,
    done: Vec<(usize, ImportedLayer)>,
    error: Option<Error>,
}

impl Batch<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes layers, base first, until there are none. Base first matters: whoever holds the lock of a layer only ever
    /// waits for lower ones, so no two processes wait for each other.
    fn work(&self) {
        // A panic must not leave the others waiting for a layer that will never come.
        let _wake = WakeOnDrop(self);
        loop {
            let index = {
                let mut state = self.lock();
                if state.error.is_some() || state.next == self.layers.len() {
                    return;
                }
                state.next += 1;
                state.next - 1
            };
            let result = self.import(index);
            let mut state = self.lock();
            match result {
                Ok(layer) => {
                    (self.progress)(Progress::Done { index, unpacked: layer.unpacked });
                    state.stored.insert(index);
                    state.done.push((index, layer));
                }
                Err(error) => {
                    // The first failure is the cause; the others follow from it.
                    let follows = matches!(error, Error::ParentFailed);
                    if state.error.is_none() || !follows && matches!(state.error, Some(Error::ParentFailed)) {
                        state.error = Some(error);
                    }
                }
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn import(&self, index: usize) -> Result<ImportedLayer> {
        let chain = &self.chain_ids[index];
        let layer = &self.layers[index];
        if let Some(found) = self.existing(index)? {
            return Ok(found);
        }
        let _lock = self.store.lock_layer(chain)?;
        if let Some(found) = self.existing(index)? {
            return Ok(found);
        }
        (self.progress)(Progress::Start { index, descriptor: &layer.descriptor });
        let (_staging, directory) = stage(self.store)?;
        let job = Job {
            directory: &directory,
            layer: &layer.descriptor.digest,
            chain,
            os: self.os,
            limits: self.options.limits,
        };
        let (unpacked, diff_id, kept) = self.unpack(index, job)?;
        failpoint("import-unpacked");
        if diff_id != layer.diff_id {
            return Err(Error::DiffIdMismatch {
                layer: layer.descriptor.digest,
                expected: layer.diff_id,
                actual: diff_id,
            });
        }
        self.wait_for_parent(index)?;
        let kept = kept.map(|blob| (blob, &layer.descriptor));
        let description = publish(self.store, job, unpacked, &self.chain_ids[..index], diff_id, kept)?;
        Ok(ImportedLayer { description, unpacked: true })
    }

    /// The layer, when it is stored; and its blob, when that has to be kept too.
    fn existing(&self, index: usize) -> Result<Option<ImportedLayer>> {
        if !self.store.has_layer(&self.chain_ids[index])? {
            return Ok(None);
        }
        let layer = &self.layers[index];
        if self.options.keep_blobs && !self.store.layout().has_blob(&layer.descriptor.digest)? {
            let mut blob = self.store.layout().blob_writer_in(&self.store.staging_root())?;
            let mut reader = self.blobs.open(layer)?;
            std::io::copy(&mut reader, &mut blob).doing("copy a blob into", self.store.root())?;
            blob.commit_as(&layer.descriptor.digest, Some(layer.descriptor.size))?;
        }
        let description = self.store.layer(&self.chain_ids[index])?.description().clone();
        Ok(Some(ImportedLayer { description, unpacked: false }))
    }

    fn unpack(&self, index: usize, job: Job<'_>) -> Result<(unpack::Unpacked, DiffId, Option<Kept>)> {
        let layer = &self.layers[index];
        let blob_path = || self.store.layout().blob_path(&layer.descriptor.digest);
        let descriptor = &layer.descriptor;
        let mut kept = if self.options.keep_blobs { Some(self.keep(descriptor)?) } else { None };
        let blob = match &kept {
            Some(Kept::Partial(there)) => there.reader(self.blobs.open_from(layer, there.before())?)?,
            _ => self.blobs.open(layer)?,
        };
        let blob = Box::new(VerifyingReader::new(blob, descriptor.digest, Some(descriptor.size))?);
        let keep = kept.as_mut().map(Kept::writer);
        let (unpacked, diff_id) = thread::scope(|scope| {
            let (input, pipeline) = pipeline::start(scope, blob, None, keep).doing("read", blob_path())?;
            let unpacked = unpack::unpack(job, input, &|read| {
                (self.progress)(Progress::Bytes { index, read });
            })?;
            let diff_id = pipeline.diff_id().ok_or(Error::Worker("hashing a layer"))?;
            Ok::<_, Error>((unpacked, diff_id))
        })?;
        Ok((unpacked, diff_id, kept))
    }

    /// Where a blob is kept while it passes.
    fn keep(&self, descriptor: &Descriptor) -> Result<Kept> {
        if self.options.resume
            && let Some(partial) = PartialBlob::open(self.store, descriptor)?
        {
            return Ok(Kept::Partial(partial));
        }
        Ok(Kept::Whole(self.store.layout().blob_writer_in(&self.store.staging_root())?))
    }

    /// Waits until the layer below is stored, by this process or another.
    fn wait_for_parent(&self, index: usize) -> Result<()> {
        let Some(below) = index.checked_sub(1) else { return Ok(()) };
        let mut state = self.lock();
        while !state.stored.contains(&below) {
            if state.error.is_some() {
                return Err(Error::ParentFailed);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

/// A blob on its way into the store.
enum Kept {
    /// Gone when the import does not end.
    Whole(BlobWriter),
    /// There for the next import then.
    Partial(PartialBlob),
}

impl Kept {
    fn writer(&mut self) -> &mut (dyn std::io::Write + Send) {
        match self {
            Self::Whole(blob) => blob,
            Self::Partial(blob) => blob,
        }
    }
}

/// A directory for a layer in the making, inside one that goes when the work ends.
fn stage(store: &Store) -> Result<(Staging, PathBuf)> {
    let staging = store.stage()?;
    let directory = staging.path().join("layer");
    std::fs::create_dir(&directory).doing("create", &directory)?;
    failpoint("import-staged");
    Ok((staging, directory))
}

/// Finishes an unpacked layer over `parents`, base first, and makes it a part of the store, its blob before it. The
/// caller holds the layer's lock.
fn publish(
    store: &Store,
    job: Job<'_>,
    unpacked: unpack::Unpacked,
    parents: &[ChainId],
    diff_id: DiffId,
    kept: Option<(Kept, &Descriptor)>,
) -> Result<Description> {
    let below = store.merged(parents, job.os)?;
    let description = finish::finish(job, unpacked, &below, diff_id, parents.last().cloned())?;
    failpoint("import-finished");
    if let Some((blob, descriptor)) = kept {
        match blob {
            Kept::Whole(blob) => blob.commit_as(&descriptor.digest, Some(descriptor.size))?,
            Kept::Partial(blob) => blob.commit(store, descriptor)?,
        }
    }
    failpoint("import-blob-kept");
    store.publish(job.directory, &store.layer_path(job.chain))?;
    failpoint("import-published");
    Ok(description)
}

struct WakeOnDrop<'a, 'b>(&'a Batch<'b>);

impl Drop for WakeOnDrop<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().error.get_or_insert(Error::Worker("unpacking a layer"));
        }
        self.0.changed.notify_all();
    }
}
