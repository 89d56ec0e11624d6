//! The parents of a layer.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::schema::{CacheMode, Document, FilterType, Layer, LayerData, PathType, SchemaVersion};

/// A layer of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its id. On Windows the one that `NameToGuid` derives from the folder's name; it has to be the same in every call
    /// that speaks of the layer.
    pub id: Uuid,
    /// Its folder.
    pub path: PathBuf,
    /// What the path is, when it is no plain folder.
    pub path_type: Option<PathType>,
    /// How it is cached, when that is to be said.
    pub cache: Option<CacheMode>,
}

/// The parents of a layer, **child to parent**: first the immediate parent, last the base layer. Empty for a base layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChain {
    parents: Vec<Parent>,
    filter: Option<FilterType>,
}

impl LayerChain {
    /// The chain of a base layer: no parents.
    pub const fn base() -> Self {
        LayerChain { parents: Vec::new(), filter: None }
    }

    /// A chain of these parents, nearest first.
    pub const fn from_parents(parents: Vec<Parent>) -> Self {
        LayerChain { parents, filter: None }
    }

    /// A chain of folders, nearest parent first, whose ids `id_of` knows.
    ///
    /// # Errors
    /// Those of `id_of`.
    pub fn from_paths<P: AsRef<Path>, E>(
        paths: impl IntoIterator<Item = P>,
        mut id_of: impl FnMut(&Path) -> std::result::Result<Uuid, E>,
    ) -> std::result::Result<Self, E> {
        let mut chain = LayerChain::base();
        for path in paths {
            chain.push(id_of(path.as_ref())?, path.as_ref());
        }
        Ok(chain)
    }

    /// Adds a layer at the far end: below all that are there.
    pub fn push(&mut self, id: Uuid, path: impl Into<PathBuf>) {
        self.parents.push(Parent { id, path: path.into(), path_type: None, cache: None });
    }

    /// Adds a layer of which more is to be said at the far end.
    pub fn push_parent(&mut self, parent: Parent) {
        self.parents.push(parent);
    }

    /// The same chain for this filter.
    #[must_use]
    pub fn with_filter(mut self, filter: FilterType) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The chain of a layer on top of `layer`, whose parents these are.
    #[must_use]
    pub fn child(&self, id: Uuid, layer: impl Into<PathBuf>) -> Self {
        let mut chain = LayerChain { parents: Vec::with_capacity(self.len() + 1), filter: self.filter };
        chain.push(id, layer);
        chain.parents.extend(self.parents.iter().cloned());
        chain
    }

    /// The parents, nearest first.
    pub fn parents(&self) -> &[Parent] {
        &self.parents
    }

    /// The base layer, when there is a parent at all.
    pub fn base_layer(&self) -> Option<&Parent> {
        self.parents.last()
    }

    /// How many parents there are.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// No parents: the chain of a base layer.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// The filter, when one was named.
    pub fn filter(&self) -> Option<FilterType> {
        self.filter
    }

    /// The document that the service gets.
    ///
    /// # Errors
    /// [`Error::NotUnicode`] for a path that JSON cannot hold: the service would look for another folder.
    pub fn layer_data(&self) -> Result<LayerData> {
        let layers = self
            .parents
            .iter()
            .map(|parent| {
                let path = parent.path.to_str().ok_or_else(|| Error::NotUnicode(parent.path.clone()))?;
                Ok(Layer {
                    id: parent.id.to_string(),
                    path: path.to_owned(),
                    path_type: parent.path_type,
                    cache: parent.cache,
                })
            })
            .collect::<Result<_>>()?;
        Ok(LayerData { schema_version: SchemaVersion::V2_1, layers, filter_type: self.filter })
    }
}

impl Document for LayerChain {
    fn to_json(&self) -> Result<String> {
        self.layer_data()?.to_json()
    }
}
