//! A store on disk: where everything lies, and the locks that keep processes out of each other's way.
//!
//! ```text
//! <root>/                      an OCI image layout: oci-layout, index.json, blobs/sha256/
//!   layers/<chain-id hex>/     one directory a stored layer; appears by one rename, never changes
//!   scratch/<name>/            writable layers
//!   volatile/<boot id>/<name>/ writable layers that no later boot wants to see
//!   damaged/                   what repair set aside
//!   staging/<random>/          in flight; whoever made it holds a lock on its `lock` file
//!   locks/<chain-id hex>       held while that layer is being unpacked
//!   lock                       held shared by every operation, exclusively by gc and repair
//! ```
//!
//! All locks are advisory locks of the kernel (`flock`): they end with the process, however it ends.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use layerstone_oci::{ChainId, Layout, durable};

use crate::error::{Error, IoContext, Result};
use crate::layer::StoredLayer;

/// The directories of a store, blobs aside.
pub(crate) const DIRECTORIES: [&str; 4] = ["layers", "scratch", "staging", "locks"];

/// How long a lock that is held is tried again. A program that this process is starting has copies of its locks for a moment,
/// until it executes.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);

/// A store.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    layout: Layout,
    runtime_dir: Option<PathBuf>,
}

/// The store is held for ordinary work: garbage collection waits until this is dropped.
#[derive(Debug)]
pub struct SharedLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

/// The store is held alone.
#[derive(Debug)]
pub struct ExclusiveLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

/// A layer that is being unpacked by this process.
#[derive(Debug)]
pub struct LayerLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

/// A directory for work in flight. Removed when dropped; swept by the next gc when the process dies first.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    lock: Option<File>,
}

impl Staging {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = remove_locked(&self.path, self.lock.take());
    }
}

impl Store {
    /// Opens the store at `root`, making it when there is nothing.
    ///
    /// # Errors
    /// When the directory cannot be made, or holds an OCI layout of another version.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let is_new = !root.exists();
        fs::create_dir_all(&root).doing("create", &root)?;
        if is_new {
            keep_private(&root)?;
        }
        for directory in DIRECTORIES {
            let path = root.join(directory);
            fs::create_dir_all(&path).doing("create", &path)?;
        }
        // Last, because its `oci-layout` says that the rest is there.
        let layout = Layout::create(&root)?;
        Ok(Store { root, layout, runtime_dir: None })
    }

    /// Opens the store at `root` for reading; nothing is made.
    ///
    /// # Errors
    /// When there is no store.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let layout = Layout::open(&root)?;
        Ok(Store { root, layout, runtime_dir: None })
    }

    /// Keeps what only concerns this boot (see [`attach`](crate::attach)) in this directory. All that use a store at the
    /// same time have to agree on it.
    #[must_use]
    pub fn with_runtime_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.runtime_dir = Some(directory.into());
        self
    }

    /// The directory that was set, if any.
    pub(crate) fn runtime_dir(&self) -> Option<&Path> {
        self.runtime_dir.as_deref()
    }

    /// Opens what is left of the store at `root`, even when its `oci-layout` file is damaged or gone: for
    /// [`fsck`](Self::fsck).
    ///
    /// # Errors
    /// When there is nothing that looks like a store.
    pub fn open_damaged(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let looks_like_one = ["layers", "blobs"].iter().all(|part| root.join(part).is_dir());
        let layout = if looks_like_one { Layout::unchecked(&root) } else { Layout::open(&root)? };
        Ok(Store { root, layout, runtime_dir: None })
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store as an OCI image layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where a layer is, or would be.
    pub fn layer_path(&self, chain: &ChainId) -> PathBuf {
        self.root.join("layers").join(chain.0.hex())
    }

    /// Where the scratches are.
    pub fn scratch_root(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Where the volatile scratches of this boot are; `None` where boots cannot be told apart.
    pub(crate) fn volatile_root(&self) -> Result<Option<PathBuf>> {
        Ok(crate::attach::boot()?.map(|boot| self.root.join("volatile").join(boot)))
    }

    /// Where work in flight is.
    pub fn staging_root(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Where repair puts what it sets aside.
    pub fn damaged_root(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// Where the layers are.
    pub(crate) fn layers_root(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn locks_root(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// True when the layer is stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has_layer(&self, chain: &ChainId) -> Result<bool> {
        let path = self.layer_path(chain);
        path.try_exists().doing("look for", path)
    }

    /// Opens a stored layer.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub fn layer(&self, chain: &ChainId) -> Result<StoredLayer> {
        if !self.has_layer(chain)? {
            return Err(Error::NoLayer(*chain));
        }
        StoredLayer::open(self.layer_path(chain))
    }

    /// All stored layers, in the order of their ids.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn layer_ids(&self) -> Result<Vec<ChainId>> {
        let path = self.root.join("layers");
        let mut ids = Vec::new();
        for entry in read_dir_or_empty(&path)? {
            if let Some(name) = entry.file_name().to_str()
                && let Ok(digest) = layerstone_oci::Digest::parse(&format!("sha256:{name}"))
            {
                ids.push(ChainId(digest));
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Holds the store for ordinary work.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn lock_shared(&self) -> Result<SharedLock> {
        let (path, file) = self.lock_file()?;
        file.lock_shared().doing("lock", path)?;
        Ok(SharedLock(file))
    }

    /// Holds the store alone; waits for all others.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn lock_exclusive(&self) -> Result<ExclusiveLock> {
        let (path, file) = self.lock_file()?;
        file.lock().doing("lock", path)?;
        Ok(ExclusiveLock(file))
    }

    /// Holds the store alone, or says that somebody else uses it.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process or thread holds the store; when the lock file cannot be opened.
    pub fn try_lock_exclusive(&self) -> Result<ExclusiveLock> {
        let (path, file) = self.lock_file()?;
        let give_up = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(ExclusiveLock(file)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < give_up => {
                    std::thread::sleep(LOCK_PATIENCE / 20);
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::InUse {
                        what: format!("the store `{}`", self.root.display()),
                        by: "another operation works on it; try again when it is done, or wait for it".into(),
                    });
                }
                Err(fs::TryLockError::Error(error)) => return Err(error).doing("lock", path),
            }
        }
    }

    /// Holds the store alone if nobody else has it at this very moment.
    pub(crate) fn lock_exclusive_now(&self) -> Result<Option<ExclusiveLock>> {
        let (path, file) = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(ExclusiveLock(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error).doing("lock", path),
        }
    }

    fn lock_file(&self) -> Result<(PathBuf, File)> {
        let path = self.root.join("lock");
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).doing("open", &path)?;
        Ok((path, file))
    }

    /// Waits until nobody else unpacks `chain`, and keeps others from doing so.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn lock_layer(&self, chain: &ChainId) -> Result<LayerLock> {
        let path = self.locks_root().join(chain.0.hex());
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).doing("open", &path)?;
        file.lock().doing("lock", path)?;
        Ok(LayerLock(file))
    }

    /// A fresh directory for work in flight.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn stage(&self) -> Result<Staging> {
        let root = self.staging_root();
        loop {
            let path = tempfile::Builder::new()
                .prefix("")
                .rand_bytes(12)
                .tempdir_in(&root)
                .doing("create a directory in", &root)?
                .keep();
            let lock_path = path.join("lock");
            // A sweep may take the directory in the moment before it is locked; then there is another one to make.
            let opened = File::options().create(true).truncate(false).write(true).open(&lock_path);
            match opened.and_then(|file| file.try_lock().map(|()| file).map_err(io::Error::from)) {
                Ok(lock) if lock_path.exists() => return Ok(Staging { path, lock: Some(lock) }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Windows: the sweep has removed the lock, and somebody still has it open.
                Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).doing("lock", lock_path),
            }
        }
    }

    /// Makes a finished directory a part of the store: one rename, durable when this returns.
    pub(crate) fn publish(&self, from: &Path, to: &Path) -> Result<()> {
        sync_directory(from)?;
        durable::rename(from, to).doing("move into place", to)?;
        if let Some(parent) = to.parent() {
            sync_directory(parent)?;
        }
        Ok(())
    }
}

/// Removes a directory in which the file `lock` is held. The lock goes last, so that nobody takes the directory for his.
pub(crate) fn remove_locked(path: &Path, lock: Option<File>) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        // On Windows a removed file keeps its directory from being removed until it is closed.
        Err(_) if lock.is_some() && cfg!(windows) => {
            drop(lock);
            fs::remove_dir_all(path)
        }
        result => result,
    }
}

/// Images hold files that only their owner should read, and set-user-id programs.
fn keep_private(root: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).doing("set the mode of", root)?;
    }
    let _ = root;
    Ok(())
}

/// The entries of a directory; none when it does not exist.
pub(crate) fn read_dir_or_empty(path: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().doing("list", path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).doing("list", path),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    durable::sync_directory(path).doing("sync", path)
}

/// Writes a small file so that it is either there in full or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).doing("create a file in", directory)?;
    file.write_all(bytes).doing("write", path)?;
    file.as_file().sync_all().doing("sync", path)?;
    file.persist(path).map_err(|error| error.error).doing("move into place", path)?;
    sync_directory(directory)
}

/// Reads a JSON file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).doing("read", path)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_path_buf(), source })
}

/// Writes a JSON file that is not there yet, durably, in a directory that nobody sees before it is renamed into place.
pub(crate) fn write_staged_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write_unsynced_json(path, value)?.sync_all().doing("sync", path)
}

/// The same, but it need not be there after a power cut.
pub(crate) fn write_unsynced_json(path: &Path, value: &impl serde::Serialize) -> Result<File> {
    use std::io::Write as _;
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { path: path.to_path_buf(), source })?;
    bytes.push(b'\n');
    let mut file = File::create_new(path).doing("create", path)?;
    file.write_all(&bytes).doing("write", path)?;
    Ok(file)
}
