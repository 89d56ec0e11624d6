//! One layer as a tree, built by applying its entries in order as an unpacker would.
//!
//! The rules, where the archive leaves room:
//!
//! | situation | outcome |
//! | --- | --- |
//! | the same name twice | the last one wins; a directory over a directory keeps what is in it |
//! | a file where an entry needs a directory | replaced by a directory, counted |
//! | a missing parent directory | made, marked implicit: the parent chain's metadata will show through |
//! | an entry below a symlink of this layer (not on Windows) | the link is followed inside the layer, as unpackers do |
//! | a hard link to a name that is not there yet | kept as pending: see [`LayerTree::pending_links`] |
//! | whiteout and entry of the same name, either order | the whiteout hides only what parent layers have |
//!
//! `C` is whatever stands for a file's stored bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use layerstone_nt::name as winname;

use crate::entry::{Entry, EntryKind, Metadata, Os};
use crate::path::LayerPath;
use crate::report::{Finding, Report};

/// How many symlinks are followed for one path (`MAXSYMLINKS` of Linux).
const MAX_SYMLINKS: usize = 40;

/// Number of a node in its tree. The root is [`LayerTree::ROOT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The number, for tables beside the tree.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One file, directory or other object; several names may lead to it.
#[derive(Debug)]
pub struct TreeNode<C> {
    /// Its metadata.
    pub meta: Metadata,
    /// What it is.
    pub kind: TreeKind<C>,
    /// Alternate data streams (NTFS).
    pub streams: Vec<Stream<C>>,
}

/// An alternate data stream.
#[derive(Debug)]
pub struct Stream<C> {
    /// Its name, without `:` and `:$DATA`.
    pub name: Vec<u8>,
    /// Its size.
    pub size: u64,
    /// Its bytes.
    pub content: C,
}

/// What a node is.
#[derive(Debug)]
pub enum TreeKind<C> {
    /// A directory.
    Directory(Directory),
    /// A regular file.
    File {
        /// Its size.
        size: u64,
        /// Its bytes.
        content: C,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A hard link whose target is not in this layer so far.
    PendingLink {
        /// The other name.
        target: LayerPath,
    },
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Directory {
    /// The names in it.
    pub children: BTreeMap<Box<[u8]>, NodeId>,
    /// Names of parent layers that are gone.
    pub whiteouts: BTreeSet<Box<[u8]>>,
    /// Nothing of the parent layers' directory shows.
    pub opaque: bool,
    /// No entry speaks of it; it is there because of what is in it.
    pub implicit: bool,
    /// Windows: the names by their folded form.
    folded: HashMap<winname::FoldedName, Box<[u8]>>,
    /// Windows: the whiteouts, folded.
    folded_whiteouts: HashSet<winname::FoldedName>,
}

/// A layer's own entries.
#[derive(Debug)]
pub struct LayerTree<C> {
    os: Os,
    nodes: Vec<TreeNode<C>>,
}

impl<C> LayerTree<C> {
    /// The root directory.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree with nothing but an implicit root.
    pub fn new(os: Os) -> Self {
        LayerTree { os, nodes: vec![implicit()] }
    }

    /// The operating system whose rules for names apply.
    pub fn os(&self) -> Os {
        self.os
    }

    /// All nodes, also those that no name leads to any more, in the order in which they came.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &TreeNode<C>)> {
        self.nodes.iter().enumerate().map(|(at, node)| (NodeId(at as u32), node))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there is always a root.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &TreeNode<C> {
        &self.nodes[id.index()]
    }

    /// A node, to change it.
    pub fn node_mut(&mut self, id: NodeId) -> &mut TreeNode<C> {
        &mut self.nodes[id.index()]
    }

    /// Takes the tree apart.
    pub fn into_nodes(self) -> Vec<TreeNode<C>> {
        self.nodes
    }

    /// The directory of a node, if it is one.
    pub fn directory(&self, id: NodeId) -> Option<&Directory> {
        match &self.node(id).kind {
            TreeKind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// The directory of a node, to change it.
    pub fn directory_mut(&mut self, id: NodeId) -> Option<&mut Directory> {
        match &mut self.nodes[id.index()].kind {
            TreeKind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn push(&mut self, node: TreeNode<C>) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    /// Adds the next entry. `content` are the bytes of a file or stream, `None` for everything else.
    /// Returns the node that the entry is about; whiteouts and opaque markers have none.
    pub fn insert(&mut self, entry: Entry, content: Option<C>, report: &mut Report) -> Option<NodeId> {
        let Entry { path, kind, meta } = entry;
        match (kind, content) {
            (EntryKind::Opaque, _) => {
                let directory = self.make_directories(&path, report);
                self.directory_mut(directory)?.opaque = true;
                None
            }
            (EntryKind::Whiteout, _) => {
                let (parent, name) = path.split_last()?;
                let parent = self.make_directories(&parent, report);
                let windows = self.os == Os::Windows;
                let directory = self.directory_mut(parent)?;
                directory.whiteouts.insert(name.into());
                if windows {
                    directory.folded_whiteouts.insert(winname::fold(name));
                }
                None
            }
            (EntryKind::Directory, _) => Some(self.insert_directory(&path, meta, report)),
            (EntryKind::Stream { name, size }, Some(content)) => {
                Some(self.insert_stream(&path, Stream { name, size, content }, report))
            }
            (EntryKind::HardLink { target }, _) => self.insert_link(&path, target, meta, report),
            (EntryKind::File { size, .. }, Some(content)) => {
                self.insert_leaf(&path, meta, TreeKind::File { size, content }, report)
            }
            // A file without content cannot come from a source; treating it as absent would hide a bug.
            (EntryKind::File { .. } | EntryKind::Stream { .. }, None) => {
                debug_assert!(false, "a file entry without content: {path}");
                None
            }
            (EntryKind::Symlink { target }, _) => {
                self.insert_leaf(&path, meta, TreeKind::Symlink { target }, report)
            }
            (EntryKind::CharDevice { major, minor }, _) => {
                self.insert_leaf(&path, meta, TreeKind::CharDevice { major, minor }, report)
            }
            (EntryKind::BlockDevice { major, minor }, _) => {
                self.insert_leaf(&path, meta, TreeKind::BlockDevice { major, minor }, report)
            }
            (EntryKind::Fifo, _) => self.insert_leaf(&path, meta, TreeKind::Fifo, report),
        }
    }

    /// Bytes that no name leads to (any more) stay as nameless nodes: the archive cannot be written again without them.
    fn insert_stream(&mut self, path: &LayerPath, stream: Stream<C>, report: &mut Report) -> NodeId {
        let nameless = |stream: Stream<C>| TreeNode {
            meta: Metadata::default(),
            kind: TreeKind::File { size: stream.size, content: stream.content },
            streams: Vec::new(),
        };
        let Some(owner) = self.find(path) else { return self.push(nameless(stream)) };
        let streams = &mut self.node_mut(owner).streams;
        if let Some(old) = streams.iter().position(|old| old.name == stream.name) {
            report
                .note(Finding::Duplicate, format_args!("{path}:{}", crate::path::display_name(&stream.name)));
            let old = std::mem::replace(&mut streams[old], stream);
            self.push(nameless(old));
        } else {
            streams.push(stream);
        }
        owner
    }

    fn insert_directory(&mut self, path: &LayerPath, meta: Metadata, report: &mut Report) -> NodeId {
        let Some((parent, name)) = path.split_last() else {
            let root = self.node_mut(Self::ROOT);
            root.meta = meta;
            if let TreeKind::Directory(directory) = &mut root.kind {
                directory.implicit = false;
            }
            return Self::ROOT;
        };
        let parent = self.make_directories(&parent, report);
        if let Some(existing) = self.child(parent, name)
            && let TreeKind::Directory(directory) = &mut self.nodes[existing.index()].kind
        {
            if !std::mem::replace(&mut directory.implicit, false) {
                report.note(Finding::Duplicate, path);
            }
            self.nodes[existing.index()].meta = meta;
            return existing;
        }
        let mut node = implicit();
        node.meta = meta;
        if let TreeKind::Directory(directory) = &mut node.kind {
            directory.implicit = false;
        }
        let id = self.push(node);
        self.set_child(parent, name, id, path, report);
        id
    }

    fn insert_leaf(
        &mut self,
        path: &LayerPath,
        meta: Metadata,
        kind: TreeKind<C>,
        report: &mut Report,
    ) -> Option<NodeId> {
        let id = self.push(TreeNode { meta, kind, streams: Vec::new() });
        let Some((parent, name)) = path.split_last() else {
            // The root can only be a directory. The node stays, nameless, so that its bytes stay too.
            report.note(Finding::ReplacedByDirectory, path);
            return Some(id);
        };
        let parent = self.make_directories(&parent, report);
        self.set_child(parent, name, id, path, report);
        Some(id)
    }

    fn insert_link(
        &mut self,
        path: &LayerPath,
        target: LayerPath,
        meta: Metadata,
        report: &mut Report,
    ) -> Option<NodeId> {
        let (parent, name) = path.split_last()?;
        let found = self.find(&target);
        if let Some(found) = found {
            if matches!(self.node(found).kind, TreeKind::Directory(_)) || *path == target {
                report.note(Finding::ImpossibleLink, path);
                return None;
            }
            let parent = self.make_directories(&parent, report);
            self.set_child(parent, name, found, path, report);
            return Some(found);
        }
        if *path == target {
            report.note(Finding::ImpossibleLink, path);
            return None;
        }
        let kind = TreeKind::PendingLink { target };
        let id = self.push(TreeNode { meta, kind, streams: Vec::new() });
        let parent = self.make_directories(&parent, report);
        self.set_child(parent, name, id, path, report);
        Some(id)
    }

    /// Lets one more name lead to `node`, replacing what is there.
    pub fn link(&mut self, path: &LayerPath, node: NodeId, report: &mut Report) {
        if let Some((parent, name)) = path.split_last() {
            let parent = self.make_directories(&parent, report);
            if let Some(directory) = self.directory_mut(parent) {
                directory.children.insert(name.into(), node);
            }
        }
    }

    /// True when this layer says that what parent layers have at `path` is gone.
    pub fn hides(&self, path: &LayerPath) -> bool {
        let mut at = Self::ROOT;
        for name in path.components() {
            let Some(directory) = self.directory(at) else { return true };
            let whiteout = match self.os {
                Os::Linux => directory.whiteouts.contains(name),
                Os::Windows => directory.folded_whiteouts.contains(&winname::fold(name)),
            };
            if directory.opaque || whiteout {
                return true;
            }
            match self.child(at, name) {
                Some(child) => at = child,
                None => return false,
            }
        }
        false
    }

    /// Adds a node that no name leads to.
    pub fn add_nameless(&mut self, node: TreeNode<C>) -> NodeId {
        self.push(node)
    }

    /// Takes a name away.
    pub fn unlink(&mut self, path: &LayerPath) {
        if let Some((parent, name)) = path.split_last()
            && let Some(parent) = self.find(&parent)
            && let Some(directory) = self.directory_mut(parent)
        {
            directory.children.remove(name);
        }
    }

    /// Names that wait for a target which this layer did not have when they came, with that target.
    pub fn pending_links(&self) -> Vec<(LayerPath, LayerPath)> {
        let mut found = Vec::new();
        let mut todo = vec![(LayerPath::root(), Self::ROOT)];
        while let Some((path, id)) = todo.pop() {
            match &self.node(id).kind {
                TreeKind::Directory(directory) => {
                    todo.extend(directory.children.iter().map(|(name, &child)| (path.join(name), child)));
                }
                TreeKind::PendingLink { target } => found.push((path, target.clone())),
                _ => {}
            }
        }
        found.sort();
        found
    }

    /// The node at `path`, following symlinks in all but the last component.
    pub fn find(&self, path: &LayerPath) -> Option<NodeId> {
        let Some((parent, name)) = path.split_last() else { return Some(Self::ROOT) };
        let mut links = 0;
        let parent = self.walk(&parent, &mut links)?;
        self.child(parent, name)
    }

    fn walk(&self, path: &LayerPath, links: &mut usize) -> Option<NodeId> {
        let (mut at, mut seen) = (Self::ROOT, LayerPath::root());
        for name in path.components() {
            at = self.child(at, name)?;
            if let TreeKind::Symlink { target } = &self.node(at).kind {
                if self.os == Os::Windows {
                    return None;
                }
                *links += 1;
                if *links > MAX_SYMLINKS {
                    return None;
                }
                seen = link_path(&seen, target)?;
                at = self.walk(&seen, links)?;
            } else {
                seen = seen.join(name);
            }
        }
        Some(at)
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        let directory = self.directory(directory)?;
        if let Some(&child) = directory.children.get(name) {
            return Some(child);
        }
        if self.os != Os::Windows {
            return None;
        }
        let spelling = directory.folded.get(&winname::fold(name))?;
        directory.children.get(spelling).copied()
    }

    /// Sets a name, whatever it led to before.
    fn set_child(&mut self, parent: NodeId, name: &[u8], id: NodeId, path: &LayerPath, report: &mut Report) {
        let windows = self.os == Os::Windows;
        let Some(directory) = self.directory_mut(parent) else { return };
        if windows {
            let spelling = directory.folded.entry(winname::fold(name)).or_insert_with(|| name.into());
            if **spelling != *name {
                report.note(Finding::CaseClash, path);
            }
            if winname::check_component(name).is_err() {
                report.note(Finding::WindowsName, path);
            }
        }
        if directory.children.insert(name.into(), id).is_some_and(|old| old != id) {
            report.note(Finding::Duplicate, path);
        }
    }

    /// The directory at `path`, made where it is missing.
    fn make_directories(&mut self, path: &LayerPath, report: &mut Report) -> NodeId {
        let mut at = Self::ROOT;
        let mut seen = LayerPath::root();
        let mut links = 0;
        for name in path.components() {
            let here = seen.join(name);
            match self.child(at, name) {
                Some(child) if self.directory(child).is_some() => at = child,
                Some(child) => {
                    if let Some(directory) = self.follow(&seen, child, &mut links) {
                        report.note(Finding::ThroughSymlink, path);
                        at = directory;
                    } else {
                        report.note(Finding::ReplacedByDirectory, &here);
                        at = self.push_implicit(at, name);
                    }
                }
                None => {
                    report.note(Finding::ImplicitDirectory, &here);
                    at = self.push_implicit(at, name);
                }
            }
            seen = here;
        }
        at
    }

    fn push_implicit(&mut self, parent: NodeId, name: &[u8]) -> NodeId {
        let id = self.push(implicit());
        let windows = self.os == Os::Windows;
        if let Some(directory) = self.directory_mut(parent) {
            if windows {
                directory.folded.entry(winname::fold(name)).or_insert_with(|| name.into());
            }
            directory.children.insert(name.into(), id);
        }
        id
    }

    fn follow(&self, parent: &LayerPath, id: NodeId, links: &mut usize) -> Option<NodeId> {
        let TreeKind::Symlink { target } = &self.node(id).kind else { return None };
        if self.os == Os::Windows {
            return None;
        }
        *links += 1;
        let found = self.walk(&link_path(parent, target)?, links)?;
        self.directory(found).map(|_| found)
    }
}

/// Where a symlink in directory `parent` leads, resolved by the text inside the root.
pub fn link_path(parent: &LayerPath, target: &[u8]) -> Option<LayerPath> {
    let text =
        if target.starts_with(b"/") { target.to_vec() } else { [parent.as_bytes(), b"/", target].concat() };
    LayerPath::normalise(&text).ok().map(|(path, _)| path)
}

fn implicit<C>() -> TreeNode<C> {
    TreeNode {
        meta: Metadata::implicit_directory(),
        kind: TreeKind::Directory(Directory { implicit: true, ..Directory::default() }),
        streams: Vec::new(),
    }
}
