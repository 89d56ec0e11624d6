//! Small JSON files that are replaced, never changed.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use layerstone_oci::durable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, IoContext as _, Result};
use crate::model::FORMAT;

/// Whether a file has to outlive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// It is on the disk when this returns.
    Synced,
    /// It is of this boot only, or can be made up again.
    Unsynced,
}

/// Replaces a file by one rename: whoever reads it sees the old one or the new one.
pub(super) fn write_json(path: &Path, value: &impl Serialize, lasting: Lasting) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { path: path.to_path_buf(), source })?;
    bytes.push(b'\n');
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(directory)
        .doing("create a file in", directory)?;
    file.write_all(&bytes).doing("write", path)?;
    if lasting == Lasting::Synced {
        file.as_file().sync_all().doing("sync", path)?;
    }
    file.persist(path).map_err(|error| error.error).doing("write", path)?;
    if lasting == Lasting::Synced {
        durable::sync_directory(directory).doing("sync", directory)?;
    }
    Ok(())
}

/// Reads a JSON file; `None` when it is not there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.doing("read", path)?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Json { path: path.to_path_buf(), source })
}

/// The same for a file with a version.
pub(super) fn read_versioned<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
    }
    let Some(head) = read_json::<Head>(path)? else { return Ok(None) };
    if head.format > FORMAT {
        return Err(Error::Version { path: path.to_path_buf(), found: head.format, known: FORMAT });
    }
    read_json(path)
}

/// For removing what may be gone.
pub(super) fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
