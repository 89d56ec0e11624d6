//! The runtime directory: its lock, its records.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use layerstone_oci::Digest;
use serde::{Deserialize, Serialize};

use super::super::Attachment;
use super::mountinfo::Mounts;
use crate::error::{Error, IoContext, Result};
use crate::root::{Store, read_dir_or_empty};

/// Version of a record's form.
const FORMAT: u32 = 1;

/// Changes with every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How far an attachment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Its process holds the lock, or died.
    Attaching,
    /// Done.
    Attached,
}

/// What a file in `attachments/` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    pub(super) state: State,
    boot: String,
    #[serde(flatten)]
    pub(super) attachment: Attachment,
}

/// The directory, held by this process alone.
#[derive(Debug)]
pub(super) struct Runtime {
    path: PathBuf,
    boot: String,
    /// This thread's mount namespace.
    pub(super) namespace: String,
    _lock: File,
}

impl Runtime {
    /// Takes the lock, making the directory when there is none.
    pub(super) fn lock(store: &Store) -> Result<Self> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        let root = store.runtime_root();
        private.create(&root).doing("create", &root)?;
        let path = directory(store, &root)?;
        for part in ["attachments", "layers", "mounting", "empty/0", "empty/1"] {
            let path = path.join(part);
            private.create(&path).doing("create", &path)?;
        }
        let note = path.join("root");
        if !note.exists() {
            fs::write(&note, format!("{}\n", store.root().display())).doing("write", &note)?;
        }
        Self::lock_at(path)
    }

    /// Takes the lock; `None` when nothing was ever attached since the host started.
    pub(super) fn lock_existing(store: &Store) -> Result<Option<Self>> {
        let root = store.runtime_root();
        if !root.try_exists().doing("look for", &root)? {
            return Ok(None);
        }
        let path = directory(store, &root)?;
        if path.join("attachments").try_exists().doing("look for", &path)? {
            Self::lock_at(path).map(Some)
        } else {
            Ok(None)
        }
    }

    fn lock_at(path: PathBuf) -> Result<Self> {
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .doing("open", &lock_path)?;
        lock.lock().doing("lock", &lock_path)?;
        Ok(Runtime { path, boot: boot()?, namespace: namespace("thread-self")?, _lock: lock })
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.path.join("layers")
    }

    pub(super) fn mounting(&self) -> PathBuf {
        self.path.join("mounting")
    }

    /// Directories with nothing in them.
    pub(super) fn empties(&self) -> [PathBuf; 2] {
        ["0", "1"].map(|name| self.path.join("empty").join(name))
    }

    fn records_root(&self) -> PathBuf {
        self.path.join("attachments")
    }

    fn record_path(&self, id: &str) -> PathBuf {
        self.records_root().join(format!("{id}.json"))
    }

    /// A new record, not yet written, under an id that nobody else has.
    pub(super) fn new_id(&self) -> Result<String> {
        let root = self.records_root();
        // The name of a fresh file is an id. The file itself is left for the record to replace.
        let file = tempfile::Builder::new()
            .prefix("")
            .suffix(".json.new")
            .rand_bytes(12)
            .tempfile_in(&root)
            .doing("create a file in", &root)?;
        let name = file.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(name.trim_end_matches(".json.new").to_owned())
    }

    /// Writes a record. Nothing is synced: it means nothing after this boot.
    pub(super) fn write(&self, state: State, attachment: &Attachment) -> Result<()> {
        let path = self.record_path(&attachment.id);
        let record =
            Record { format: FORMAT, state, boot: self.boot.clone(), attachment: attachment.clone() };
        let bytes = serde_json::to_vec_pretty(&record)
            .map_err(|source| Error::Json { path: path.clone(), source })?;
        let root = self.records_root();
        let mut file = tempfile::Builder::new()
            .suffix(".json.new")
            .tempfile_in(&root)
            .doing("create a file in", &root)?;
        file.write_all(&bytes).doing("write", &path)?;
        file.persist(&path).map_err(|error| error.error).doing("write", &path)?;
        Ok(())
    }

    /// Removes a record; it may be gone.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let path = self.record_path(id);
        if_there(fs::remove_file(&path)).doing("remove", path)
    }

    /// All records of this boot. Those of another one are removed, with what a killed process left half-written.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in read_dir_or_empty(&self.records_root())? {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                if_there(fs::remove_file(&path)).doing("remove", &path)?;
                continue;
            }
            let bytes = fs::read(&path).doing("read", &path)?;
            // The version and the boot come first: the rest of a record may have another form.
            let head: Head = match parse(&path, &bytes) {
                Ok(head) => head,
                // A power cut may leave such a file, where the directory is on a disk. It must not be in the way.
                Err(error) => {
                    let id = path.file_stem().and_then(|id| id.to_str()).unwrap_or_default();
                    if Mounts::read()?.of(id).next().is_some() {
                        return Err(error);
                    }
                    fs::remove_file(&path).doing("remove", &path)?;
                    continue;
                }
            };
            if head.boot != self.boot {
                fs::remove_file(&path).doing("remove", &path)?;
                continue;
            }
            if head.format > FORMAT {
                return Err(Error::Version { path, found: head.format, known: FORMAT });
            }
            records.push(parse(&path, &bytes)?);
        }
        Ok(records)
    }
}

#[derive(Deserialize)]
struct Head {
    format: u32,
    boot: String,
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { path: path.to_path_buf(), source })
}

/// The store's own part of the runtime directory. It goes by the directory itself, not by its name: a store has many
/// names (links, bind mounts), and each layer is to be mounted once.
pub(super) fn directory(store: &Store, root: &Path) -> Result<PathBuf> {
    let metadata = fs::metadata(store.root()).doing("look at", store.root())?;
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&metadata.dev().to_le_bytes());
    identity[8..].copy_from_slice(&metadata.ino().to_le_bytes());
    let name = &Digest::of(&identity).hex()[..16];
    // The kernel names mount points from the root on and without links.
    Ok(root.canonicalize().doing("find", root)?.join(name))
}

/// Names this boot.
pub(crate) fn boot() -> Result<String> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot.clone());
    }
    let boot = fs::read_to_string(BOOT_ID).doing("read", BOOT_ID)?.trim().to_owned();
    Ok(BOOT.get_or_init(|| boot).clone())
}

/// Names a mount namespace.
pub(super) fn namespace(process: &str) -> Result<String> {
    let path = Path::new("/proc").join(process).join("ns/mnt");
    let link = fs::read_link(&path).doing("read", &path)?;
    Ok(link.to_string_lossy().into_owned())
}

/// An attachment of another mount namespace is still mounted there. Namespaces have no directory: they are looked for in
/// the processes that have them.
pub(super) fn is_shown_elsewhere(id: &str, of: &str) -> Result<bool> {
    for entry in read_dir_or_empty(Path::new("/proc"))? {
        let Some(process) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if !process.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let same = match namespace(&process) {
            Ok(found) if found == of => true,
            // Which one it is in, is a secret of a mightier process; its mounts are not.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => false,
            // Another one, or a process that has ended meanwhile.
            Ok(_) | Err(_) => continue,
        };
        let Ok(mounts) = Mounts::of_process(&process) else { continue };
        let shown = mounts.of(id).next().is_some();
        if shown || same {
            return Ok(shown);
        }
    }
    Ok(false)
}

/// For removing what may be gone.
pub(super) fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
