//! Scratches: folders with what has changed.

use std::fs;
use std::path::{Path, PathBuf};

use layerstone_hcs::LayerChain;
use layerstone_layer::Os;
use layerstone_layer::merge::Merged;
use layerstone_oci::ChainId;
use serde::{Deserialize, Serialize};

use super::attached::Attachments;
use super::folder::{NamedParent, check_vacant, named, open_chain};
use super::{Portable, Views};
use crate::error::IoContext;
use crate::layer::StoredLayer;
use crate::root::{read_json, write_staged_json};
use crate::storage::staging::{self, Staging};
use crate::storage::{Error, Result};

/// Name of the description.
const WRITABLE: &str = "writable.json";
/// Name of the directory where the kernel shows the scratch.
pub(super) const VIEW: &str = "view";

/// What `writable.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Writable {
    format: u32,
    /// The parents, nearest first.
    parents: Vec<NamedParent>,
    /// Their identities.
    chain_ids: Vec<ChainId>,
}

/// The directories of a scratch.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) upper: PathBuf,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only the Linux kernel needs one"))]
    pub(super) work: PathBuf,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only the Linux kernel shows it"))]
    pub(super) view: PathBuf,
}

impl Folders {
    pub(super) fn of(scratch: &Path) -> Self {
        Folders { upper: scratch.join("upper"), work: scratch.join("work"), view: scratch.join(VIEW) }
    }
}

/// True when the folder holds a scratch.
pub(super) fn is_writable(folder: &Path) -> Result<bool> {
    let path = folder.join(WRITABLE);
    Ok(path.try_exists().doing("look for", path)?)
}

fn identities(layers: &[StoredLayer]) -> Vec<ChainId> {
    layers.iter().map(|layer| *layer.chain_id()).collect()
}

/// Makes a scratch.
pub(super) fn initialize(folder: &Path, chain: &LayerChain) -> Result<()> {
    if chain.is_empty() {
        return Err(Error::Invalid {
            path: folder.to_path_buf(),
            why: "a writable layer needs at least one parent to write over".into(),
        });
    }
    check_vacant(folder)?;
    let layers = open_chain(chain)?;
    let staging = Staging::beside(folder, staging::PREFIX)?;
    let made = staging.folder()?;
    for name in ["upper", "work", VIEW] {
        let path = made.join(name);
        fs::create_dir(&path).doing("create", &path)?;
    }
    let description = Writable { format: 1, parents: named(chain), chain_ids: identities(&layers) };
    let merged = Merged::new(layers, Os::Windows);
    if let Some(root) = merged.root()? {
        crate::upper::prepare_root(&Folders::of(&made).upper, &root.node)?;
    }
    write_staged_json(&made.join(WRITABLE), &description)?;
    staging.publish(&made, folder)
}

/// The layers under a scratch, when `chain` is the one that it was made for.
pub(super) fn open(folder: &Path, chain: &LayerChain) -> Result<Vec<StoredLayer>> {
    if !is_writable(folder)? {
        return Err(Error::Missing { what: "initialized scratch", path: folder.to_path_buf() });
    }
    let description: Writable = read_json(&folder.join(WRITABLE))?;
    let layers = open_chain(chain)?;
    if identities(&layers) != description.chain_ids {
        return Err(Error::OtherChain(folder.to_path_buf()));
    }
    for (was, is) in description.parents.iter().zip(chain.parents()) {
        if was.id != is.id {
            return Err(Error::WrongId {
                path: is.path.clone(),
                found: is.id,
                expected: was.id,
                layer: folder.to_path_buf(),
            });
        }
    }
    Ok(layers)
}

/// Attaches a scratch.
pub(super) fn attach(storage: &Portable, folder: &Path, chain: &LayerChain) -> Result<()> {
    let attachments = Attachments::lock(storage)?;
    let layers = open(folder, chain)?;
    if let Some(by) = attachments.user_of(folder)? {
        return Err(Error::InUse { path: folder.to_path_buf(), by });
    }
    let paths: Vec<&Path> = chain.parents().iter().map(|parent| parent.path.as_path()).collect();
    let record = attachments.add(folder, &paths)?;
    if storage.views == Views::None {
        return Ok(());
    }
    let shown = show(&attachments, &record, &layers, folder);
    if shown.is_err() {
        // The error that led here is the one to tell; a record of nothing does not count anyway.
        let _ = attachments.remove(&record.id);
    }
    shown
}

#[cfg(target_os = "linux")]
fn show(
    attachments: &Attachments,
    record: &super::attached::Record,
    layers: &[StoredLayer],
    folder: &Path,
) -> Result<()> {
    attachments.show(record, layers, &Folders::of(folder))
}

#[cfg(not(target_os = "linux"))]
fn show(
    _attachments: &Attachments,
    _record: &super::attached::Record,
    _layers: &[StoredLayer],
    folder: &Path,
) -> Result<()> {
    Err(Error::Unsupported {
        operation: "show",
        path: folder.to_path_buf(),
        why: "that takes EROFS and overlayfs, which are parts of the Linux kernel",
    })
}

/// Detaches a scratch.
pub(super) fn detach(storage: &Portable, folder: &Path) -> Result<()> {
    let attachments = Attachments::lock(storage)?;
    let Some(record) = attachments.of(folder)? else {
        if !folder.is_dir() {
            return Err(Error::Missing { what: "scratch", path: folder.to_path_buf() });
        }
        return Err(Error::NotAttached(folder.to_path_buf()));
    };
    #[cfg(target_os = "linux")]
    attachments.hide(&record)?;
    attachments.remove(&record.id)
}

/// Sees that a scratch is attached.
pub(super) fn check_attached(storage: &Portable, folder: &Path) -> Result<()> {
    match Attachments::lock(storage)?.of(folder)? {
        Some(_) => Ok(()),
        None => Err(Error::NotAttached(folder.to_path_buf())),
    }
}
