//! Layers come in and go out.

use std::fs;
use std::io::Read;
use std::path::Path;

use layerstone_hcs::LayerChain;
use layerstone_layer::Os;
use layerstone_layer::merge::Merged;

use super::Portable;
use super::folder::{Staging, check_vacant, is_layer, open_chain, open_layer, write_parents};
use super::writable::{self, Folders};
use crate::chain::ChainLayer;
use crate::error::IoContext;
use crate::root::read_dir_or_empty;
use crate::storage::{Error, Result};
use crate::upper::UpperLayer;

/// Makes a layer from its archive.
pub(super) fn import_archive(
    storage: &Portable,
    folder: &Path,
    archive: &mut (dyn Read + Send),
    chain: &LayerChain,
) -> Result<()> {
    check_vacant(folder)?;
    let parents = open_chain(chain)?;
    let staging = Staging::beside(folder)?;
    let made = staging.folder()?;
    write_parents(&made, chain)?;
    crate::import::store_archive(&made, archive, parents, Os::Windows, storage.limits)?;
    staging.publish(&made, folder)
}

/// The tree that a layer or a scratch stands for.
pub(super) fn view(folder: &Path, chain: &LayerChain) -> Result<Merged<ChainLayer>> {
    let mut layers = Vec::with_capacity(chain.len() + 1);
    let parents = if writable::is_writable(folder)? {
        let parents = writable::open(folder, chain)?;
        let upper = UpperLayer::open(&Folders::of(folder).upper, Os::Windows, parents.clone())?;
        layers.push(ChainLayer::Upper(upper));
        parents
    } else {
        let parents = open_chain(chain)?;
        layers.push(ChainLayer::Stored(open_layer(folder, chain, &parents)?));
        parents
    };
    layers.extend(parents.into_iter().map(ChainLayer::Stored));
    Ok(Merged::new(layers, Os::Windows))
}
