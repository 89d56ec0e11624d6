//! What differs between two merged views.

use std::cmp::Ordering;
use std::io::{self, Read};

use crate::merge::{Merged, MergedNode};
use crate::path::LayerPath;
use crate::view::{LayerView, NodeKind};

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second view has it.
    Added,
    /// Only the first view has it. Nothing is said of what was below.
    Removed,
    /// Type, bytes or link target differ.
    Changed,
    /// Only mode, owner, times, attributes, descriptors or streams' names differ.
    Metadata,
}

/// One difference.
#[derive(Debug, Clone)]
pub struct Difference<Id> {
    /// Where.
    pub path: LayerPath,
    /// How.
    pub change: Change,
    /// The first view's node.
    pub before: Option<MergedNode<Id>>,
    /// The second view's node.
    pub after: Option<MergedNode<Id>>,
}

/// What can go wrong while comparing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E: std::error::Error + 'static> {
    /// A layer cannot be read.
    #[error(transparent)]
    Layer(E),
    /// The bytes of a file cannot be read.
    #[error("reading `{path}` to compare it")]
    Read {
        /// Which file.
        path: LayerPath,
        /// What the system said.
        source: io::Error,
    },
}

/// Compares two views and gives the differences in the order of the paths, parents before children.
///
/// Views may share layers: where both sides show the same node of the same layer, nothing is read.
/// `same_layer` tells whether layer `a` of the first view is layer `b` of the second.
///
/// # Errors
/// When a layer or a file cannot be read.
pub fn diff<V: LayerView>(
    before: &Merged<V>,
    after: &Merged<V>,
    same_layer: impl Fn(usize, usize) -> bool,
) -> Result<Vec<Difference<V::Id>>, Error<V::Error>> {
    let mut out = Vec::new();
    let mut todo =
        vec![(LayerPath::root(), before.root().map_err(Error::Layer)?, after.root().map_err(Error::Layer)?)];
    let comparison = Comparison { before, after, same_layer };
    while let Some((path, a, b)) = todo.pop() {
        let children_of = |view: &Merged<V>, node: &Option<MergedNode<V::Id>>| match node {
            Some(node) if node.node.kind.is_directory() => view.read_dir(node).map_err(Error::Layer),
            _ => Ok(Vec::new()),
        };
        let change = match (&a, &b) {
            (None, None) => continue,
            (None, Some(_)) => Some(Change::Added),
            (Some(_), None) => Some(Change::Removed),
            (Some(a), Some(b)) => comparison.compare(&path, a, b)?,
        };
        // Below something removed or replaced there is nothing more to say; below something added there is.
        let descend = match (&a, &b) {
            (_, None) => false,
            (Some(a), Some(b)) => b.node.kind.is_directory() && !comparison.same_sources(a, b),
            (None, Some(b)) => b.node.kind.is_directory(),
        };
        if descend {
            let a_is_directory = a.as_ref().is_some_and(|a| a.node.kind.is_directory());
            let left = if a_is_directory { children_of(before, &a)? } else { Vec::new() };
            let right = children_of(after, &b)?;
            let mut pairs = pair_up(left, right);
            pairs.reverse();
            todo.extend(pairs.into_iter().map(|(name, a, b)| (path.join(&name), a, b)));
        }
        if let Some(change) = change {
            out.push(Difference { path, change, before: a, after: b });
        }
    }
    Ok(out)
}

type Pair<Id> = (Vec<u8>, Option<MergedNode<Id>>, Option<MergedNode<Id>>);

/// Merges two sorted lists of children by name.
fn pair_up<Id>(left: Vec<(Vec<u8>, MergedNode<Id>)>, right: Vec<(Vec<u8>, MergedNode<Id>)>) -> Vec<Pair<Id>> {
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    let mut out = Vec::new();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        let name = a.as_ref().or(b.as_ref()).map(|(name, _)| name.clone()).unwrap_or_default();
        out.push((name, a.map(|(_, node)| node), b.map(|(_, node)| node)));
    }
}

struct Comparison<'a, V, F> {
    before: &'a Merged<V>,
    after: &'a Merged<V>,
    same_layer: F,
}

impl<V: LayerView, F: Fn(usize, usize) -> bool> Comparison<'_, V, F> {
    fn same_sources(&self, a: &MergedNode<V::Id>, b: &MergedNode<V::Id>) -> bool {
        a.sources.len() == b.sources.len()
            && a.sources.iter().zip(&b.sources).all(|((a_layer, a_id), (b_layer, b_id))| {
                (self.same_layer)(*a_layer, *b_layer) && a_id == b_id
            })
    }

    fn compare(
        &self,
        path: &LayerPath,
        a: &MergedNode<V::Id>,
        b: &MergedNode<V::Id>,
    ) -> Result<Option<Change>, Error<V::Error>> {
        if self.same_sources(a, b) {
            return Ok(None);
        }
        let same_kind = match (&a.node.kind, &b.node.kind) {
            (NodeKind::Directory { .. }, NodeKind::Directory { .. }) => true,
            (a, b) => a == b,
        };
        if !same_kind {
            return Ok(Some(Change::Changed));
        }
        if matches!(a.node.kind, NodeKind::File { .. }) {
            let same_streams = a.node.streams == b.node.streams;
            if !self.same_bytes(path, a, b, None)? {
                return Ok(Some(Change::Changed));
            }
            if same_streams {
                for (name, _) in &a.node.streams {
                    if !self.same_bytes(path, a, b, Some(name))? {
                        return Ok(Some(Change::Changed));
                    }
                }
            } else {
                return Ok(Some(Change::Metadata));
            }
        }
        Ok((a.node.meta != b.node.meta).then_some(Change::Metadata))
    }

    fn same_bytes(
        &self,
        path: &LayerPath,
        a: &MergedNode<V::Id>,
        b: &MergedNode<V::Id>,
        stream: Option<&[u8]>,
    ) -> Result<bool, Error<V::Error>> {
        let (Some((a_layer, a_id)), Some((b_layer, b_id))) = (a.sources.first(), b.sources.first()) else {
            return Ok(false);
        };
        let mut a = self.before.layers()[*a_layer].open(a_id, stream).map_err(Error::Layer)?;
        let mut b = self.after.layers()[*b_layer].open(b_id, stream).map_err(Error::Layer)?;
        same_content(&mut *a, &mut *b).map_err(|source| Error::Read { path: path.clone(), source })
    }
}

/// Compares two readers to the end.
///
/// # Errors
/// When either cannot be read.
pub fn same_content(a: &mut dyn Read, b: &mut dyn Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n = read_full(a, &mut left)?;
        let m = read_full(b, &mut right)?;
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n < left.len() {
            return Ok(true);
        }
    }
}

fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
