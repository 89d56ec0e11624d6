//! A blob that is kept as it arrives, so that an import which was killed goes on where it was.
//!
//! `staging/<digest>.partial` holds the first bytes of a blob, how many its length says, locked by whoever writes it. The next
//! import reads them from there and only the rest from where the blob comes from. They are proven with the rest, by the blob's
//! digest: what a power cut made of them does not matter. `gc` removes them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use layerstone_oci::{Descriptor, durable};

use crate::error::{IoContext, Result};
use crate::root::{Store, read_dir_or_empty, sync_directory};

const EXTENSION: &str = "partial";

/// A blob in the making.
#[derive(Debug)]
pub(super) struct PartialBlob {
    path: PathBuf,
    file: File,
    /// Bytes that were there when it was opened.
    before: u64,
    /// Bytes that passed, those included.
    passed: u64,
    /// Set when the place that the blob comes from failed: then what is there is worth keeping.
    source_failed: Arc<AtomicBool>,
    keep: bool,
}

impl PartialBlob {
    /// Opens what there is of a blob; `None` when somebody else is at it.
    pub(super) fn open(store: &Store, blob: &Descriptor) -> Result<Option<Self>> {
        let path = store.staging_root().join(format!("{}.{EXTENSION}", blob.digest.hex()));
        let options = || {
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            options
        };
        let file = options().open(&path).doing("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error).doing("lock", &path),
        }
        // Whoever had the lock may have moved the file away meanwhile.
        if !path.exists() {
            return Ok(None);
        }
        let mut before = file.metadata().doing("look at", &path)?.len();
        if before > blob.size {
            file.set_len(0).doing("truncate", &path)?;
            before = 0;
        }
        let source_failed = Arc::default();
        Ok(Some(Self { path, file, before, passed: 0, source_failed, keep: false }))
    }

    /// Bytes that need not be fetched.
    pub(super) const fn before(&self) -> u64 {
        self.before
    }

    /// All of the blob: what is there, then `rest`.
    pub(super) fn reader<'a>(&self, rest: Box<dyn Read + Send + 'a>) -> Result<Box<dyn Read + Send + 'a>> {
        let mut there = File::open(&self.path).doing("open", &self.path)?;
        there.seek(SeekFrom::Start(0)).doing("read", &self.path)?;
        let rest = Noting { inner: rest, failed: Arc::clone(&self.source_failed) };
        Ok(Box::new(there.take(self.before).chain(rest)))
    }

    /// Makes it a blob of the store. The caller has proven what passed.
    pub(super) fn commit(mut self, store: &Store, blob: &Descriptor) -> Result<()> {
        let to = store.layout().blob_path(&blob.digest);
        self.file.sync_all().doing("sync", &self.path)?;
        durable::rename(&self.path, &to).doing("put in place", &to)?;
        self.keep = true;
        match to.parent() {
            Some(directory) => sync_directory(directory),
            None => Ok(()),
        }
    }
}

impl Write for PartialBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let known = usize::try_from(self.before.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let n = if known > 0 {
            known.min(bytes.len())
        } else {
            if self.passed == self.before {
                self.file.seek(SeekFrom::Start(self.before))?;
            }
            self.file.write(bytes)?
        };
        self.passed += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialBlob {
    fn drop(&mut self) {
        // What was wrong in any other way would be wrong again.
        if !self.keep && !self.source_failed.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Notes that the place a blob comes from has failed.
struct Noting<R> {
    inner: R,
    failed: Arc<AtomicBool>,
}

impl<R: Read> Read for Noting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted && error.kind() != io::ErrorKind::InvalidData {
                self.failed.store(true, Ordering::Relaxed);
            }
        })
    }
}

impl Store {
    /// Blobs that an import began. Only garbage while the store is held alone.
    pub(crate) fn partial_blobs(&self) -> Result<Vec<PathBuf>> {
        let entries = read_dir_or_empty(&self.staging_root())?;
        let paths = entries.into_iter().map(|entry| entry.path());
        Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)).collect())
    }
}
