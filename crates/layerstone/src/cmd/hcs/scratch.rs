//! `hcs scratch`: the whole way from a folder to an attached scratch, and back.

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::storage::{self, DetachedScratch, LayerStorage, ScratchLayer, ScratchOptions};

use super::super::App;
use super::chain::Parents;
use super::{Done, absolute};
use crate::args::hcs::HcsScratch;
use crate::error::Result;

pub(super) fn perform<S: LayerStorage>(app: &App, storage: &S, op: &HcsScratch) -> Result<Done> {
    match op {
        HcsScratch::Create { folder, size, chain } => {
            let folder = absolute(folder)?;
            let chain = Parents::of(&folder, chain)?.tell(app).chain(storage)?;
            let options = ScratchOptions { size: *size, ..ScratchOptions::default() };
            let scratch = ScratchLayer::create(storage, &folder, &chain, &options)?;
            Ok(Done::to("scratch create", &folder).over(&chain).at(&scratch.keep()))
        }
        HcsScratch::Destroy { folder } => {
            let folder = absolute(folder)?;
            // Detaching asks for no parents.
            let chain = LayerChain::base();
            let detached = match ScratchLayer::adopt(storage, &folder, &chain) {
                Ok(scratch) => scratch.detach().map_err(storage::Error::from),
                Err(error) => Err(error),
            };
            match detached {
                Ok(detached) => detached.destroy(storage)?,
                // Not attached, or not there, which the removal tells.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    DetachedScratch { folder: folder.clone(), chain }.destroy(storage)?;
                }
                Err(error) => return Err(error.into()),
            }
            Ok(Done::to("scratch destroy", &folder))
        }
    }
}
