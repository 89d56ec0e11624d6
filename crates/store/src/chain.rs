//! A chain of layers with or without a scratch on top, as one merged view; and what differs between two of them.

use std::io::Read;

use layerstone_erofs::Nid;
use layerstone_layer::diff::{self, Difference};
use layerstone_layer::merge::Merged;
use layerstone_layer::view::{LayerView, Node};
use layerstone_layer::{LayerPath, Os};
use layerstone_oci::ChainId;

use crate::error::{Error, Result};
use crate::image::StoredImage;
use crate::layer::StoredLayer;
use crate::root::Store;
use crate::scratch::Scratch;
use crate::upper::UpperLayer;

/// A layer of a chain.
#[derive(Debug)]
pub enum ChainLayer {
    /// An immutable layer of the store.
    Stored(StoredLayer),
    /// The upper directory of a scratch.
    Upper(UpperLayer),
}

/// A node of a [`ChainLayer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainNode {
    /// An inode of a stored layer.
    Stored(Nid),
    /// A path of an upper directory.
    Upper(LayerPath),
}

fn mixed_up() -> Error {
    Error::WrongKind { path: LayerPath::root(), wanted: "a node of the layer that was asked" }
}

impl LayerView for ChainLayer {
    type Id = ChainNode;
    type Error = Error;

    fn root(&self) -> ChainNode {
        match self {
            ChainLayer::Stored(layer) => ChainNode::Stored(layer.root()),
            ChainLayer::Upper(upper) => ChainNode::Upper(upper.root()),
        }
    }

    fn node(&self, id: &ChainNode) -> Result<Node> {
        match (self, id) {
            (ChainLayer::Stored(layer), ChainNode::Stored(nid)) => layer.node(nid),
            (ChainLayer::Upper(upper), ChainNode::Upper(path)) => upper.node(path),
            _ => Err(mixed_up()),
        }
    }

    fn lookup(&self, directory: &ChainNode, name: &[u8]) -> Result<Option<ChainNode>> {
        Ok(match (self, directory) {
            (ChainLayer::Stored(layer), ChainNode::Stored(nid)) => {
                layer.lookup(nid, name)?.map(ChainNode::Stored)
            }
            (ChainLayer::Upper(upper), ChainNode::Upper(path)) => {
                upper.lookup(path, name)?.map(ChainNode::Upper)
            }
            _ => return Err(mixed_up()),
        })
    }

    fn read_dir(&self, directory: &ChainNode) -> Result<Vec<(Vec<u8>, ChainNode)>> {
        Ok(match (self, directory) {
            (ChainLayer::Stored(layer), ChainNode::Stored(nid)) => {
                layer.read_dir(nid)?.into_iter().map(|(name, id)| (name, ChainNode::Stored(id))).collect()
            }
            (ChainLayer::Upper(upper), ChainNode::Upper(path)) => {
                upper.read_dir(path)?.into_iter().map(|(name, id)| (name, ChainNode::Upper(id))).collect()
            }
            _ => return Err(mixed_up()),
        })
    }

    fn open<'a>(&'a self, id: &ChainNode, stream: Option<&[u8]>) -> Result<Box<dyn Read + 'a>> {
        match (self, id) {
            (ChainLayer::Stored(layer), ChainNode::Stored(nid)) => layer.open(nid, stream),
            (ChainLayer::Upper(upper), ChainNode::Upper(path)) => upper.open(path, stream),
            _ => Err(mixed_up()),
        }
    }
}

impl Store {
    /// The stored layers of a chain, given base first, topmost first.
    fn chain_layers(&self, chain_ids: &[ChainId]) -> Result<Vec<StoredLayer>> {
        chain_ids.iter().rev().map(|chain| self.layer(chain)).collect()
    }

    /// The upper directory of a scratch, as a layer.
    pub(crate) fn upper_layer(&self, scratch: &Scratch) -> Result<UpperLayer> {
        let description = scratch.description();
        UpperLayer::open(&scratch.upper(), description.os, self.chain_layers(&description.chain_ids)?)
    }

    /// The layers of a chain, given base first, as one merged view.
    ///
    /// # Errors
    /// When a layer is missing or damaged.
    pub fn chain_view(&self, chain_ids: &[ChainId], os: Os) -> Result<Merged<ChainLayer>> {
        let layers = self.chain_layers(chain_ids)?;
        Ok(Merged::new(layers.into_iter().map(ChainLayer::Stored).collect(), os))
    }

    /// What a scratch shows: its changes over its chain.
    ///
    /// # Errors
    /// When a layer is missing or damaged, or the upper directory cannot be opened.
    pub fn scratch_view(&self, scratch: &Scratch) -> Result<Merged<ChainLayer>> {
        let description = scratch.description();
        let mut layers = vec![ChainLayer::Upper(self.upper_layer(scratch)?)];
        layers.extend(self.chain_layers(&description.chain_ids)?.into_iter().map(ChainLayer::Stored));
        Ok(Merged::new(layers, description.os))
    }

    /// What a scratch changes of its image, in the order of the paths.
    ///
    /// # Errors
    /// When a layer or the scratch cannot be read.
    pub fn diff_scratch(&self, scratch: &Scratch) -> Result<Vec<Difference<ChainNode>>> {
        let description = scratch.description();
        let before = self.chain_view(&description.chain_ids, description.os)?;
        let after = self.scratch_view(scratch)?;
        diff::diff(&before, &after, |a, b| a + 1 == b).map_err(compare_error)
    }

    /// What differs between two images, in the order of the paths.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn diff_images(
        &self,
        before: &StoredImage,
        after: &StoredImage,
    ) -> Result<Vec<Difference<ChainNode>>> {
        let (a_ids, b_ids) = (before.chain_ids(), after.chain_ids());
        let before = self.chain_view(&a_ids, before.os())?;
        let after = self.chain_view(&b_ids, after.os())?;
        // The view counts from the top, the ids from the base.
        let id_of = |ids: &[ChainId], at: usize| ids.iter().rev().nth(at).copied();
        diff::diff(&before, &after, |a, b| id_of(&a_ids, a) == id_of(&b_ids, b)).map_err(compare_error)
    }
}

fn compare_error(error: diff::Error<Error>) -> Error {
    match error {
        diff::Error::Layer(error) => error,
        diff::Error::Read { path, source } => Error::Compare { path, source },
        other => Error::Compare {
            path: LayerPath::root(),
            source: std::io::Error::new(std::io::ErrorKind::Other, other),
        },
    }
}
