//! The merged view of a chain, as overlayfs (and WCIFS) would show it, without mounting anything.
//!
//! For a path, the topmost layer that has it decides. Directories of several layers merge, from the top down to the
//! first one that is opaque, or to the first layer where the name is a whiteout or something else than a directory.

use std::collections::BTreeMap;

use layerstone_nt::name as winname;

use crate::entry::Os;
use crate::path::LayerPath;
use crate::tree::link_path;
use crate::view::{LayerView, Node, NodeKind};

/// How many symlinks are followed for one path (`MAXSYMLINKS` of Linux).
const MAX_SYMLINKS: usize = 40;

/// A chain of layers seen as one tree.
#[derive(Debug)]
pub struct Merged<V> {
    /// Topmost first.
    layers: Vec<V>,
    os: Os,
}

/// A path of the merged view.
#[derive(Debug, Clone)]
pub struct MergedNode<Id> {
    /// What it is, from the topmost layer that has it.
    pub node: Node,
    /// Which layers it comes from, topmost first: index in the chain, and the node there. More than one only for
    /// directories.
    pub sources: Vec<(usize, Id)>,
}

impl<V: LayerView> Merged<V> {
    /// A view of `layers`, topmost first.
    pub fn new(layers: Vec<V>, os: Os) -> Self {
        Merged { layers, os }
    }

    /// The layers, topmost first.
    pub fn layers(&self) -> &[V] {
        &self.layers
    }

    /// Whose rules for names apply.
    pub fn os(&self) -> Os {
        self.os
    }

    /// The root directory; `None` only for a chain without layers.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn root(&self) -> Result<Option<MergedNode<V::Id>>, V::Error> {
        self.stack(self.layers.iter().enumerate().map(|(at, layer)| (at, layer.root())))
    }

    /// The child `name` of `directory`, by its exact spelling.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn lookup(
        &self,
        directory: &MergedNode<V::Id>,
        name: &[u8],
    ) -> Result<Option<MergedNode<V::Id>>, V::Error> {
        let mut found = Vec::new();
        for (at, id) in &directory.sources {
            if let Some(child) = self.layers[*at].lookup(id, name)? {
                found.push((*at, child));
            }
        }
        self.stack(found.into_iter())
    }

    /// The child `name` of `directory`, ignoring case in Windows images, with its real spelling.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn lookup_any_case(
        &self,
        directory: &MergedNode<V::Id>,
        name: &[u8],
    ) -> Result<Option<(Vec<u8>, MergedNode<V::Id>)>, V::Error> {
        if let Some(found) = self.lookup(directory, name)? {
            return Ok(Some((name.to_vec(), found)));
        }
        if self.os != Os::Windows {
            return Ok(None);
        }
        let wanted = winname::fold(name);
        Ok(self.read_dir(directory)?.into_iter().find(|(name, _)| winname::fold(name) == wanted))
    }

    /// What `directory` shows, in the order of the names' bytes.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn read_dir(
        &self,
        directory: &MergedNode<V::Id>,
    ) -> Result<Vec<(Vec<u8>, MergedNode<V::Id>)>, V::Error> {
        let mut names: BTreeMap<Vec<u8>, Vec<(usize, V::Id)>> = BTreeMap::new();
        for (at, id) in &directory.sources {
            for (name, child) in self.layers[*at].read_dir(id)? {
                names.entry(name).or_default().push((*at, child));
            }
        }
        let mut out = Vec::with_capacity(names.len());
        for (name, sources) in names {
            if let Some(node) = self.stack(sources.into_iter())? {
                out.push((name, node));
            }
        }
        Ok(out)
    }

    /// The node at `path`. Symlinks in the middle are followed inside the image; one at the end only with `follow`.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn resolve(&self, path: &LayerPath, follow: bool) -> Result<Option<MergedNode<V::Id>>, V::Error> {
        Ok(self.resolve_spelled(path, follow)?.map(|(_, node)| node))
    }

    /// Like [`Self::resolve`], with the path that was reached: real spelling, symlinks resolved.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn resolve_spelled(
        &self,
        path: &LayerPath,
        follow: bool,
    ) -> Result<Option<(LayerPath, MergedNode<V::Id>)>, V::Error> {
        let mut links = 0;
        let mut wanted = path.clone();
        while let Some(mut at) = self.root()? {
            let mut seen = LayerPath::root();
            let mut redirected = None;
            let mut components = wanted.components();
            while let Some(name) = components.next() {
                let Some((name, child)) = self.lookup_any_case(&at, name)? else { return Ok(None) };
                let mut rest = components.clone().peekable();
                if let NodeKind::Symlink { target } = &child.node.kind
                    && self.os != Os::Windows
                    && (follow || rest.peek().is_some())
                {
                    redirected =
                        link_path(&seen, target).map(|link| rest.fold(link, |path, name| path.join(name)));
                    links += 1;
                    if redirected.is_none() || links > MAX_SYMLINKS {
                        return Ok(None);
                    }
                    break;
                }
                at = child;
                seen = seen.join(&name);
            }
            drop(components);
            match redirected {
                Some(path) => wanted = path,
                None => return Ok(Some((seen, at))),
            }
        }
        Ok(None)
    }

    /// Visits everything below `start`, parents before children, siblings in the order of their bytes.
    pub fn walk(&self, path: LayerPath, start: MergedNode<V::Id>) -> Walk<'_, V> {
        Walk { merged: self, todo: vec![(path, start)] }
    }

    /// Applies the rules of merging to the nodes that the layers have under one name, topmost first.
    fn stack(
        &self,
        candidates: impl Iterator<Item = (usize, V::Id)>,
    ) -> Result<Option<MergedNode<V::Id>>, V::Error> {
        let mut top: Option<MergedNode<V::Id>> = None;
        for (at, id) in candidates {
            let node = self.layers[at].node(&id)?;
            let NodeKind::Directory { opaque } = node.kind else {
                if top.is_none() && node.kind != NodeKind::Whiteout {
                    top = Some(MergedNode { node, sources: vec![(at, id)] });
                }
                break;
            };
            match &mut top {
                Some(top) => top.sources.push((at, id)),
                None => top = Some(MergedNode { node, sources: vec![(at, id)] }),
            }
            if opaque {
                break;
            }
        }
        Ok(top)
    }
}

/// See [`Merged::walk`].
#[derive(Debug)]
pub struct Walk<'a, V: LayerView> {
    merged: &'a Merged<V>,
    todo: Vec<(LayerPath, MergedNode<V::Id>)>,
}

impl<V: LayerView> Iterator for Walk<'_, V> {
    type Item = Result<(LayerPath, MergedNode<V::Id>), V::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.todo.pop()?;
        if node.node.kind.is_directory() {
            match self.merged.read_dir(&node) {
                Ok(children) => {
                    self.todo
                        .extend(children.into_iter().rev().map(|(name, child)| (path.join(&name), child)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok((path, node)))
    }
}
