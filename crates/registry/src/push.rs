//! From an image to a registry: blobs, several at once; then the manifests; then the index; then the tag.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use layerstone_oci::{Descriptor, Digest, Manifest, MediaKind, MediaType};

use crate::client::{BlobSource, Client, Repository, Upload, Uploaded};
use crate::error::{Error, Result};
use crate::reference::Reference;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// How to push.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// How many blobs are sent at once.
    pub jobs: NonZeroUsize,
    /// Send layers, too, that may not be distributed.
    pub allow_nondistributable: bool,
    /// Bytes of one request of a large blob; by default a blob is sent in one, and in more when that breaks.
    pub chunk: Option<u64>,
    /// Repositories of the same registry that may have a blob already.
    pub mount_from: HashMap<Digest, Vec<String>>,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            jobs: NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN),
            allow_nondistributable: false,
            chunk: None,
            mount_from: HashMap::new(),
        }
    }
}

/// What is happening. Heard from several threads.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PushProgress<'a> {
    /// So many bytes of a blob have been sent.
    Bytes {
        /// Which.
        descriptor: &'a Descriptor,
        /// How many.
        sent: u64,
    },
    /// A blob is there.
    Blob {
        /// Which.
        descriptor: &'a Descriptor,
        /// How it got there.
        how: Uploaded,
    },
    /// A manifest or an index is there.
    Manifest {
        /// Its digest.
        digest: &'a Digest,
    },
}

/// What was pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Blobs that were there.
    pub existed: usize,
    /// Blobs that the registry had in another repository.
    pub mounted: usize,
    /// Blobs that were sent, and their bytes.
    pub sent: usize,
    /// See there.
    pub sent_bytes: u64,
    /// Layers that may not be distributed, and were left where they are.
    pub left: Vec<Digest>,
}

impl Client {
    /// Pushes images under a name: one, or several with the index that lists them.
    ///
    /// # Errors
    /// When the registry refuses or cannot be reached; when a blob cannot be read. The tag is only changed when everything else
    /// is there.
    pub fn push(
        &self,
        reference: &Reference,
        images: &[&Manifest],
        index: Option<(&[u8], &MediaType)>,
        blobs: &dyn BlobSource,
        options: &PushOptions,
        progress: &(dyn Fn(PushProgress<'_>) + Sync),
    ) -> Result<PushOutcome> {
        let place = self.push_place(reference)?;
        let mut outcome = PushOutcome::default();
        let mut seen = HashSet::new();
        let mut wanted = Vec::new();
        for manifest in images {
            for descriptor in manifest.layers().iter().chain([manifest.config()]) {
                if !seen.insert(descriptor.digest) {
                    continue;
                }
                let stays = matches!(descriptor.kind(), MediaKind::Layer { nondistributable: true, .. })
                    && !options.allow_nondistributable;
                if stays { outcome.left.push(descriptor.digest) } else { wanted.push(descriptor) }
            }
        }
        send_all(&place, &wanted, blobs, options, progress, &mut outcome)?;
        let tag = reference.manifest();
        for manifest in images {
            let digest = manifest.digest();
            // Where there is an index it has the tag.
            let name = if index.is_some() { digest.to_string() } else { tag.clone() };
            place.put_manifest(&name, manifest.bytes(), manifest.media_type())?;
            progress(PushProgress::Manifest { digest: &digest });
        }
        if let Some((bytes, media_type)) = index {
            place.put_manifest(&tag, bytes, media_type)?;
            progress(PushProgress::Manifest { digest: &Digest::of(bytes) });
        }
        Ok(outcome)
    }
}

/// Sends blobs on several threads, largest first: the last one to end then is a small one.
fn send_all(
    place: &Repository,
    wanted: &[&Descriptor],
    source: &dyn BlobSource,
    options: &PushOptions,
    progress: &(dyn Fn(PushProgress<'_>) + Sync),
    outcome: &mut PushOutcome,
) -> Result<()> {
    let mut order: Vec<&Descriptor> = wanted.to_vec();
    order.sort_by_key(|descriptor| std::cmp::Reverse(descriptor.size));
    let counters: Vec<Arc<AtomicU64>> = order.iter().map(|_| Arc::default()).collect();
    let next = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let results: Mutex<Vec<Result<(Uploaded, u64)>>> = Mutex::default();
    thread::scope(|scope| {
        let work = || {
            while let Some(descriptor) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let at = order.iter().position(|other| other.digest == descriptor.digest).unwrap_or(0);
                let upload = Upload {
                    descriptor,
                    source,
                    mount_from: options.mount_from.get(&descriptor.digest).map_or(&[], Vec::as_slice),
                    chunk: options.chunk,
                    sent: Arc::clone(&counters[at]),
                };
                let result = place.upload(&upload).map(|how| (how, descriptor.size));
                if let Ok((how, _)) = &result {
                    progress(PushProgress::Blob { descriptor, how: *how });
                } else {
                    // The others would be sent for nothing.
                    next.store(order.len(), Ordering::Relaxed);
                }
                results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            }
        };
        let jobs = options.jobs.get().min(order.len());
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let teller = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (descriptor, counter) in order.iter().zip(&counters) {
                    let sent = counter.load(Ordering::Relaxed);
                    if sent > 0 {
                        progress(PushProgress::Bytes { descriptor, sent });
                    }
                }
                thread::park_timeout(TELL_EVERY);
            }
        });
        // The one that tells must end also when a worker has panicked.
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        teller.thread().unpark();
        ended
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut done = 0;
    for result in results {
        let (how, size) = result?;
        done += 1;
        match how {
            Uploaded::Existed => outcome.existed += 1,
            Uploaded::Mounted => outcome.mounted += 1,
            Uploaded::Sent => {
                outcome.sent += 1;
                outcome.sent_bytes += size;
            }
        }
    }
    if done < order.len() { Err(Error::Worker("pushing a blob")) } else { Ok(()) }
}
