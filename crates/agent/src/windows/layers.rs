//! The layers of an image as Windows has them: folders that the service has imported.
//!
//! ```text
//! <root>/windows/
//!   <64 digits of the ChainID>/       a layer, over the folders of those below it
//!   <64 digits of the ChainID>.done   it is complete
//! ```
//!
//! They are made once, from the archives that the store can write again, and stay for the next container.

use std::fs;
use std::path::PathBuf;

use layerstone_hcs::LayerChain;
use layerstone_oci::ChainId;
use layerstone_store::Store;
use layerstone_store::storage::{ImportArchiveOptions, LayerStorage as _, import_archive};

use super::host::Host;
use crate::error::{IoContext as _, Result};

fn root(store: &Store) -> Result<PathBuf> {
    let root = std::path::absolute(store.root()).doing("find", store.root())?;
    Ok(root.join("windows"))
}

/// The folder of a layer: absolute, since documents name it.
fn folder(store: &Store, chain: &ChainId) -> Result<PathBuf> {
    Ok(root(store)?.join(chain.0.hex()))
}

/// The folders of these layers (the base first, as images list them), made where they are missing; nearest parent first, as the service
/// wants them.
pub(super) fn ensure(host: &Host, store: &Store, layers: &[ChainId]) -> Result<LayerChain> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for id in layers {
        let parents = host.storage.chain(&folders)?;
        let folder = folder(store, id)?;
        let done = folder.with_extension("done");
        if !done.try_exists().doing("look for", &done)? {
            // Another process may be at it.
            let _lock = store.lock_layer(id)?;
            if !done.try_exists().doing("look for", &done)? {
                import(host, store, id, &parents)?;
                fs::write(&done, "").doing("create", &done)?;
            }
        }
        folders.insert(0, folder);
    }
    Ok(host.storage.chain(&folders)?)
}

/// Makes the folder of a layer. It has its own name from the beginning, because its disks must not be moved.
fn import(host: &Host, store: &Store, id: &ChainId, parents: &LayerChain) -> Result<()> {
    let folder = folder(store, id)?;
    let root = root(store)?;
    fs::create_dir_all(&root).doing("create", &root)?;
    if folder.try_exists().doing("look for", &folder)? {
        // What a crash has left.
        host.storage.destroy_layer(&folder)?;
    }
    let layer = store.layer(id)?;
    if let Some(damage) = layer.verify(&|_| {})?.damage.first() {
        return Err(layerstone_store::Error::Damaged { chain: *id, what: damage.to_string() }.into());
    }
    let options = ImportArchiveOptions::default();
    import_archive(&host.storage, &folder, layer.archive_reader(), parents, &options)?;
    Ok(())
}
