//! The folders of layers: their chains, how they come to be, how they go.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use layerstone_hcs::schema::PathType;
use layerstone_hcs::{FilterType, Guid, LayerChain};
use layerstone_layer::Os;
use layerstone_oci::durable;
use serde::{Deserialize, Serialize};

use super::Portable;
use super::attached::Attachments;
use super::writable;
use crate::error::IoContext;
use crate::layer::{DESCRIPTION, StoredLayer};
use crate::root::{read_dir_or_empty, read_json, sync_directory, write_staged_json};
use crate::storage::staging::{self, Staging, around};
use crate::storage::{Error, Result};

/// Name of the file with the parents as they were given.
pub(super) const PARENTS: &str = "parents.json";

/// A layer below another one, as its importer called it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NamedParent {
    pub(super) id: Guid,
    pub(super) path: PathBuf,
}

/// The parents of a chain for the record.
pub(super) fn named(chain: &LayerChain) -> Vec<NamedParent> {
    chain.parents().iter().map(|parent| NamedParent { id: parent.id, path: parent.path.clone() }).collect()
}

/// True when the folder holds a finished layer.
pub(super) fn is_layer(folder: &Path) -> Result<bool> {
    let path = folder.join(DESCRIPTION);
    Ok(path.try_exists().doing("look for", path)?)
}

fn open(folder: &Path) -> Result<StoredLayer> {
    let damaged = |source| Error::InvalidLayer { path: folder.to_path_buf(), source: Box::new(source) };
    let layer = StoredLayer::open(folder).map_err(damaged)?;
    if layer.description().os != Os::Windows {
        return Err(Error::Invalid {
            path: folder.to_path_buf(),
            why: "it is a Linux layer; these operations are about Windows layers".into(),
        });
    }
    Ok(layer)
}

/// Opens the layer in a folder, which has to lie over `parents`.
pub(super) fn open_layer(folder: &Path, chain: &LayerChain, parents: &[StoredLayer]) -> Result<StoredLayer> {
    if !is_layer(folder)? {
        return Err(Error::Missing { what: "layer", path: folder.to_path_buf() });
    }
    let layer = open(folder)?;
    check_parent(folder, &layer, chain, parents.first())?;
    check_ids(folder, chain.parents())?;
    Ok(layer)
}

/// Opens the layers of a chain, nearest first, and sees that each lies over the next.
pub(super) fn open_chain(chain: &LayerChain) -> Result<Vec<StoredLayer>> {
    let parents = chain.parents();
    let mut ids = HashSet::new();
    for parent in parents {
        let refuse = |why: &str| Err(Error::Invalid { path: parent.path.clone(), why: why.into() });
        if !matches!(parent.path_type, None | Some(PathType::AbsolutePath)) {
            return refuse("the portable engine only knows parents that are folders");
        }
        if !ids.insert(parent.id) {
            return refuse("another layer of the chain has the same id");
        }
    }
    if let (Some(FilterType::UnionFs), Some(parent)) = (chain.filter(), parents.first()) {
        return Err(Error::Invalid {
            path: parent.path.clone(),
            why: "UnionFS is for layers that are CIM images, and these are folders".into(),
        });
    }
    let mut layers: Vec<StoredLayer> = Vec::with_capacity(parents.len());
    for (at, parent) in parents.iter().enumerate() {
        if !is_layer(&parent.path)? {
            let (path, position, count) = (parent.path.clone(), at + 1, parents.len());
            return Err(Error::MissingParent { path, position, count });
        }
        layers.push(open(&parent.path)?);
    }
    for (at, layer) in layers.iter().enumerate() {
        let below = LayerChain::from_parents(parents[at + 1..].to_vec());
        check_parent(&parents[at].path, layer, &below, layers.get(at + 1))?;
        check_ids(&parents[at].path, below.parents())?;
    }
    Ok(layers)
}

fn check_parent(
    folder: &Path,
    layer: &StoredLayer,
    chain: &LayerChain,
    nearest: Option<&StoredLayer>,
) -> Result<()> {
    match (layer.description().parent, nearest, chain.parents().first()) {
        (None, None, _) => Ok(()),
        (Some(expected), Some(found), _) if expected == *found.chain_id() => Ok(()),
        (_, Some(_), Some(parent)) => {
            Err(Error::WrongParent { layer: folder.to_path_buf(), parent: parent.path.clone() })
        }
        _ => Err(Error::ChainTooShort(folder.to_path_buf())),
    }
}

/// The ids of a layer's parents are those with which it was made.
fn check_ids(folder: &Path, parents: &[layerstone_hcs::Parent]) -> Result<()> {
    let path = folder.join(PARENTS);
    // A layer of a store was not made under any id.
    if !path.try_exists().doing("look for", &path)? {
        return Ok(());
    }
    let recorded: Vec<NamedParent> = read_json(&path)?;
    for (was, is) in recorded.iter().zip(parents) {
        if was.id != is.id {
            return Err(Error::WrongId {
                path: is.path.clone(),
                found: is.id,
                expected: was.id,
                layer: folder.to_path_buf(),
            });
        }
    }
    Ok(())
}

/// Where a layer or scratch may come to be: nothing is there, or an empty folder. The folder around it has to be there.
pub(super) fn check_vacant(folder: &Path) -> Result<()> {
    let around = around(folder)?;
    if !around.is_dir() {
        return Err(Error::Missing { what: "folder", path: around });
    }
    match fs::symlink_metadata(folder) {
        Ok(found) if !found.is_dir() => Err(Error::Exists(folder.to_path_buf())),
        Ok(_) if read_dir_or_empty(folder)?.is_empty() => Ok(()),
        Ok(_) => Err(Error::Exists(folder.to_path_buf())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing("look for", folder).map_err(Error::from),
    }
}

/// How work in flight becomes a folder, and a folder goes.
impl Staging {
    /// A new, empty folder in it.
    pub(super) fn folder(&self) -> Result<PathBuf> {
        let path = self.path().join("folder");
        fs::create_dir(&path).doing("create", &path)?;
        Ok(path)
    }

    /// Gives what was made its name, where there is nothing or an empty folder.
    pub(super) fn publish(&self, made: &Path, folder: &Path) -> Result<()> {
        sync_directory(made)?;
        // On Windows nothing can be renamed onto a folder.
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                return Err(Error::Exists(folder.to_path_buf()));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).doing("replace", folder).map_err(Error::from);
            }
            _ => {}
        }
        match durable::rename(made, folder) {
            // Another import of the same layer was faster.
            Err(_) if folder.exists() => Err(Error::Exists(folder.to_path_buf())),
            renamed => {
                renamed.doing("move into place", folder)?;
                Ok(sync_directory(&around(folder)?)?)
            }
        }
    }

    /// Takes a folder away: it is gone by one rename, its content by and by.
    fn take(&self, folder: &Path) -> Result<()> {
        durable::rename(folder, &self.path().join("removed")).doing("remove", folder)?;
        Ok(sync_directory(&around(folder)?)?)
    }
}

/// Writes down whose parents a layer in the making has.
pub(super) fn write_parents(folder: &Path, chain: &LayerChain) -> Result<()> {
    Ok(write_staged_json(&folder.join(PARENTS), &named(chain))?)
}

/// Removes a layer or a scratch.
pub(super) fn destroy(storage: &Portable, folder: &Path) -> Result<()> {
    let attachments = Attachments::lock(storage)?;
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(Error::Invalid { path: folder.to_path_buf(), why: "it is no folder".into() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { what: "layer", path: folder.to_path_buf() });
        }
        Err(error) => return Err(error).doing("look at", folder).map_err(Error::from),
    }
    let known = is_layer(folder)? || writable::is_writable(folder)? || read_dir_or_empty(folder)?.is_empty();
    if !known {
        return Err(Error::Invalid {
            path: folder.to_path_buf(),
            why: "there is neither a layer nor a scratch in it, so it is left as it is".into(),
        });
    }
    if let Some(by) = attachments.user_of(folder)? {
        return Err(Error::InUse { path: folder.to_path_buf(), by });
    }
    let staging = Staging::beside(folder, staging::PREFIX)?;
    staging.take(folder)
}
