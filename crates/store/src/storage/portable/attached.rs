//! What is attached: a record each in the runtime directory, believed only as long as the kernel agrees.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Portable, Views};
#[cfg(target_os = "linux")]
use crate::attach::linux::folder as kernel;
use crate::error::{Error as StoreError, IoContext};
use crate::root::{read_dir_or_empty, read_json};
use crate::storage::Result;

/// A scratch that is attached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Names the attachment; the overlay's source is `layerstone:<id>`.
    pub(super) id: String,
    /// The scratch's folder.
    pub(super) scratch: PathBuf,
    /// The folders of the layers below.
    layers: Vec<PathBuf>,
    /// The kernel shows it.
    pub(super) mounted: bool,
    /// The boot in which it was made, where boots have names.
    boot: Option<String>,
    /// The mount namespace in which it was made.
    namespace: Option<String>,
}

/// All records, held by this process alone.
#[derive(Debug)]
pub(super) struct Attachments {
    root: PathBuf,
    views: Views,
    _lock: File,
}

/// The system's usual directory.
pub(super) fn default_runtime_dir() -> PathBuf {
    let fallback = std::env::temp_dir().join("layerstone-run");
    #[cfg(target_os = "linux")]
    return kernel::default_runtime_dir(&fallback);
    #[cfg(not(target_os = "linux"))]
    fallback
}

/// The one name of a folder.
pub(super) fn canonical(folder: &Path) -> Result<PathBuf> {
    // Some file systems and emulations cannot name what can be opened; then what was given has to do.
    let absolute = std::path::absolute(folder).doing("find", folder)?;
    // What is not there yet is below something that is, which is named in the same way as all that is there.
    for above in absolute.ancestors() {
        if let (Ok(path), Ok(below)) = (above.canonicalize(), absolute.strip_prefix(above)) {
            return Ok(if below.as_os_str().is_empty() { path } else { path.join(below) });
        }
    }
    Ok(absolute)
}

impl Attachments {
    /// Takes the lock, making the directory when there is none; and takes away what dead processes and earlier boots left.
    pub(super) fn lock(storage: &Portable) -> Result<Self> {
        let root = storage.runtime.join("folders");
        for part in ["records", "mounting"] {
            let path = root.join(part);
            create_private(&path).doing("create", &path)?;
        }
        // The kernel names mount points without links.
        let root = canonical(&root)?;
        let lock_path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .doing("open", &lock_path)?;
        lock.lock().doing("lock", &lock_path)?;
        let attachments = Attachments { root, views: storage.views, _lock: lock };
        #[cfg(target_os = "linux")]
        kernel::sweep(&attachments.mounting())?;
        for record in attachments.read()? {
            if !is_live(&record)? {
                attachments.remove(&record.id)?;
            }
        }
        Ok(attachments)
    }

    fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    #[cfg(target_os = "linux")]
    fn mounting(&self) -> PathBuf {
        self.root.join("mounting")
    }

    fn path(&self, id: &str) -> PathBuf {
        self.records().join(format!("{id}.json"))
    }

    fn read(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in read_dir_or_empty(&self.records())? {
            let path = entry.path();
            match read_json(&path) {
                Ok(record) => records.push(record),
                // Cut off by a crash, or of no known form: without a record nothing can be attached by it.
                Err(StoreError::Json { .. }) => fs::remove_file(&path).doing("remove", &path)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(records)
    }

    /// The attachment of a scratch.
    pub(super) fn of(&self, scratch: &Path) -> Result<Option<Record>> {
        let scratch = canonical(scratch)?;
        Ok(self.read()?.into_iter().find(|record| record.scratch == scratch))
    }

    /// Who uses a folder, in words.
    pub(super) fn user_of(&self, folder: &Path) -> Result<Option<String>> {
        let folder = canonical(folder)?;
        Ok(self.read()?.into_iter().find_map(|record| {
            if record.scratch == folder {
                Some("it is attached".to_owned())
            } else if record.layers.contains(&folder) {
                Some(format!("the scratch `{}` over it is attached", record.scratch.display()))
            } else {
                None
            }
        }))
    }

    /// Writes a scratch down as attached, under a name that nobody else has. It counts from now on where the kernel shows
    /// nothing; otherwise from the moment at which it is mounted.
    pub(super) fn add(&self, scratch: &Path, layers: &[&Path]) -> Result<Record> {
        let records = self.records();
        let name = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(12)
            .make_in(&records, |path| if path.with_extension("json").exists() { exists() } else { Ok(()) })
            .doing("find a name in", &records)?;
        let id = name.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Nothing was made under that name.
        std::mem::forget(name);
        let mut record = Record {
            id,
            scratch: canonical(scratch)?,
            layers: layers.iter().map(|layer| canonical(layer)).collect::<Result<_>>()?,
            mounted: self.views == Views::Kernel,
            boot: None,
            namespace: None,
        };
        #[cfg(target_os = "linux")]
        {
            record.boot = Some(kernel::boot()?);
            record.namespace = Some(kernel::namespace()?);
        }
        let path = self.path(&record.id);
        let bytes = serde_json::to_vec_pretty(&record)
            .map_err(|source| StoreError::Json { path: path.clone(), source })?;
        let mut file = File::create_new(&path).doing("create", &path)?;
        file.write_all(&bytes).doing("write", &path)?;
        #[cfg(not(target_os = "linux"))]
        {
            (record.boot, record.namespace) = (None, None);
        }
        Ok(record)
    }

    /// Removes a record.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => Ok(removed.doing("remove", &path)?),
        }
    }

    /// Shows a recorded scratch through the kernel.
    #[cfg(target_os = "linux")]
    pub(super) fn show(
        &self,
        record: &Record,
        layers: &[crate::layer::StoredLayer],
        folders: &super::writable::Folders,
    ) -> Result<()> {
        let view = kernel::View {
            id: &record.id,
            layers,
            upper: &folders.upper,
            work: &folders.work,
            subtree: Some("Files"),
            target: &canonical(&folders.view)?,
            mounting: &self.mounting(),
        };
        Ok(view.show()?)
    }

    /// Takes it away again.
    #[cfg(target_os = "linux")]
    pub(super) fn hide(&self, record: &Record) -> Result<()> {
        if record.mounted {
            kernel::hide(&record.id)?;
        }
        Ok(())
    }
}

fn exists<T>() -> std::io::Result<T> {
    Err(std::io::ErrorKind::AlreadyExists.into())
}

/// It is still attached, as far as the system can tell.
fn is_live(record: &Record) -> Result<bool> {
    #[cfg(target_os = "linux")]
    {
        if record.boot.as_deref() != Some(kernel::boot()?.as_str()) {
            return Ok(false);
        }
        if let (true, Some(namespace)) = (record.mounted, &record.namespace) {
            return Ok(kernel::is_shown(&record.id, namespace)?);
        }
    }
    Ok(record.scratch.is_dir())
}

fn create_private(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
