//! The names that a layer has put into the folder, compared as NTFS compares them, on any host.

use std::collections::HashMap;

use layerstone_nt::name::{self, FoldedName, NameProblem};

use super::error::{BadName, Error};
use super::{SIDECAR, TOMBSTONES, host};
use crate::path::{LayerPath, MAX_NAME};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory, made because an entry below it needs it.
    Implicit,
    /// A directory.
    Directory,
    /// A directory that is a reparse point: nothing can lie below it.
    Reparse,
    /// A file.
    File,
}

/// Number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(usize);

#[derive(Debug)]
struct Node {
    spelling: Box<[u8]>,
    parent: usize,
    kind: Kind,
    children: HashMap<FoldedName, usize>,
}

/// All names, as a tree.
#[derive(Debug)]
pub(super) struct Names {
    nodes: Vec<Node>,
}

impl Names {
    pub(super) const ROOT: Id = Id(0);

    pub(super) fn new() -> Self {
        let root =
            Node { spelling: Box::default(), parent: 0, kind: Kind::Directory, children: HashMap::new() };
        Names { nodes: vec![root] }
    }

    pub(super) fn kind(&self, id: Id) -> Kind {
        self.nodes[id.0].kind
    }

    pub(super) fn set_kind(&mut self, id: Id, kind: Kind) {
        self.nodes[id.0].kind = kind;
    }

    /// What is called `name` in `parent`.
    pub(super) fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        self.nodes[parent.0].children.get(&name::fold(name)).copied().map(Id)
    }

    /// What is at `path`.
    pub(super) fn find(&self, path: &LayerPath) -> Option<Id> {
        path.components().try_fold(Self::ROOT, |parent, name| self.child(parent, name))
    }

    /// Adds a name that is not there.
    pub(super) fn add(&mut self, parent: Id, name: &[u8], kind: Kind) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node { spelling: name.into(), parent: parent.0, kind, children: HashMap::new() });
        self.nodes[parent.0].children.insert(name::fold(name), id);
        Id(id)
    }

    /// The path as it was first spelled.
    pub(super) fn path(&self, id: Id) -> LayerPath {
        let mut names = Vec::new();
        let mut at = id.0;
        while at != 0 {
            names.push(&*self.nodes[at].spelling);
            at = self.nodes[at].parent;
        }
        names.iter().rev().fold(LayerPath::root(), |path, name| path.join(name))
    }
}

/// Whether `name` is that of a directory's description.
pub(super) fn is_sidecar(name: &[u8]) -> bool {
    name.len()
        .checked_sub(SIDECAR.len())
        .is_some_and(|at| name[at..].eq_ignore_ascii_case(SIDECAR.as_bytes()))
}

/// Checks every component of a path; true when Windows would refuse the last one and the host does not.
pub(super) fn check_all(path: &LayerPath) -> Result<bool, Error> {
    let mut is_odd = false;
    for (depth, component) in path.components().enumerate() {
        is_odd = check(path, depth, component)?;
    }
    Ok(is_odd)
}

/// Checks one component; true when Windows would refuse it and the host does not.
pub(super) fn check(path: &LayerPath, depth: usize, component: &[u8]) -> Result<bool, Error> {
    let bad = |problem| Error::Name { path: path.clone(), problem };
    if is_sidecar(component) {
        return Err(bad(BadName::Reserved));
    }
    if depth == 0 && component.eq_ignore_ascii_case(TOMBSTONES.as_bytes()) {
        return Err(bad(BadName::Tombstones));
    }
    if component.contains(&b'\\') {
        return Err(bad(BadName::Backslash));
    }
    match name::check_component(component) {
        Ok(()) => Ok(false),
        // No path of a layer has these; on every host they lead elsewhere.
        Err(problem @ (NameProblem::Empty | NameProblem::Relative)) => Err(bad(BadName::Windows(problem))),
        // By `\\?\` paths, which the host module makes, such names can be reached.
        Err(problem) if host::REFUSES_WINDOWS_NAMES && !problem.is_possible_on_ntfs() => {
            Err(bad(BadName::Windows(problem)))
        }
        Err(_) => Ok(true),
    }
}

/// The name of a directory's description.
pub(super) fn sidecar(path: &LayerPath, component: &[u8]) -> Result<Vec<u8>, Error> {
    let name = [component, SIDECAR.as_bytes()].concat();
    // Linux counts bytes; NTFS counts units, of which there are never more.
    if name.len() > MAX_NAME && !host::REFUSES_WINDOWS_NAMES {
        return Err(Error::Name { path: path.clone(), problem: BadName::SidecarTooLong(name.len()) });
    }
    Ok(name)
}
