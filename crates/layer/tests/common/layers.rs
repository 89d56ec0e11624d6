//! Layers in memory: an archive read as an import reads it, seen through the interface that stored layers have.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;

use layerstone_layer::merge::{Merged, MergedNode};
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader};
use layerstone_layer::tree::{LayerTree, NodeId, TreeKind};
use layerstone_layer::view::{LayerView, Node, NodeKind};
use layerstone_layer::{Entry, EntryKind, Os, Report};

/// A layer's entries with their bytes, and what was unusual.
pub(crate) fn entries(archive: &[u8], os: Os) -> (Vec<(Entry, Vec<u8>)>, Report) {
    let mut reader = TarReader::new(archive);
    let mut mapper = Mapper::new(os);
    let mut report = Report::default();
    let mut found: Vec<(Entry, Vec<u8>)> = Vec::new();
    let mut wanted = false;
    loop {
        match reader.next_event().unwrap() {
            Event::Raw(_) => {}
            Event::Member(member) => {
                let entry = mapper.entry(&member, &mut report).unwrap();
                wanted = entry.is_some();
                found.extend(entry.map(|entry| (entry, Vec::new())));
            }
            Event::Data(bytes) if wanted => found.last_mut().unwrap().1.extend_from_slice(bytes),
            Event::Data(_) => {}
            Event::End => return (found, report),
        }
    }
}

/// A layer whose links to later entries have been settled.
pub(crate) struct Layer {
    tree: LayerTree<Vec<u8>>,
    /// Names of each node.
    names: HashMap<usize, u32>,
    pub(crate) report: Report,
}

impl Layer {
    pub(crate) fn read(archive: &[u8], os: Os) -> Self {
        let (entries, mut report) = entries(archive, os);
        let mut tree = LayerTree::new(os);
        for (entry, bytes) in entries {
            let content =
                matches!(entry.kind, EntryKind::File { .. } | EntryKind::Stream { .. }).then_some(bytes);
            tree.insert(entry, content, &mut report);
        }
        for (path, target) in tree.pending_links() {
            let found = tree.find(&target).unwrap_or_else(|| panic!("{path}: no {target}"));
            tree.link(&path, found, &mut report);
        }
        let mut names = HashMap::new();
        let mut todo = vec![LayerTree::<Vec<u8>>::ROOT];
        while let Some(id) = todo.pop() {
            for &child in tree.directory(id).into_iter().flat_map(|directory| directory.children.values()) {
                *names.entry(child.index()).or_insert(0) += 1;
                todo.push(child);
            }
        }
        Layer { tree, names, report }
    }
}

/// A node, or a whiteout in a directory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Id {
    Node(NodeId),
    Whiteout,
}

impl LayerView for &Layer {
    type Id = Id;
    type Error = Infallible;

    fn root(&self) -> Id {
        Id::Node(LayerTree::<Vec<u8>>::ROOT)
    }

    fn node(&self, id: &Id) -> Result<Node, Infallible> {
        let Id::Node(id) = id else {
            let meta = Default::default();
            return Ok(Node {
                kind: NodeKind::Whiteout,
                meta,
                nlink: 1,
                inode: u64::MAX,
                streams: Vec::new(),
            });
        };
        let node = self.tree.node(*id);
        Ok(Node {
            kind: match &node.kind {
                TreeKind::Directory(directory) => NodeKind::Directory { opaque: directory.opaque },
                TreeKind::File { size, .. } => NodeKind::File { size: *size },
                TreeKind::Symlink { target } => NodeKind::Symlink { target: target.clone() },
                TreeKind::CharDevice { major, minor } => {
                    NodeKind::CharDevice { major: *major, minor: *minor }
                }
                TreeKind::BlockDevice { major, minor } => {
                    NodeKind::BlockDevice { major: *major, minor: *minor }
                }
                TreeKind::Fifo => NodeKind::Fifo,
                TreeKind::PendingLink { target } => panic!("a link to {target} was not settled"),
            },
            meta: node.meta.clone(),
            nlink: self.names.get(&id.index()).copied().unwrap_or(1),
            inode: id.index() as u64,
            streams: node.streams.iter().map(|stream| (stream.name.clone(), stream.size)).collect(),
        })
    }

    fn lookup(&self, directory: &Id, name: &[u8]) -> Result<Option<Id>, Infallible> {
        Ok(self.read_dir(directory)?.into_iter().find(|(found, _)| found == name).map(|(_, id)| id))
    }

    fn read_dir(&self, directory: &Id) -> Result<Vec<(Vec<u8>, Id)>, Infallible> {
        let Id::Node(id) = directory else { return Ok(Vec::new()) };
        let Some(directory) = self.tree.directory(*id) else { return Ok(Vec::new()) };
        let mut found: Vec<_> =
            directory.children.iter().map(|(name, &id)| (name.to_vec(), Id::Node(id))).collect();
        let hidden = directory.whiteouts.iter().filter(|name| !directory.children.contains_key(*name));
        found.extend(hidden.map(|name| (name.to_vec(), Id::Whiteout)));
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    fn open<'a>(&'a self, id: &Id, stream: Option<&[u8]>) -> Result<Box<dyn Read + 'a>, Infallible> {
        let Id::Node(id) = id else { panic!("a whiteout has no bytes") };
        let node = self.tree.node(*id);
        let content = match (stream, &node.kind) {
            (None, TreeKind::File { content, .. }) => content,
            (Some(name), _) => &node.streams.iter().find(|stream| stream.name == name).unwrap().content,
            (None, kind) => panic!("{kind:?} has no bytes"),
        };
        Ok(Box::new(content.as_slice()))
    }
}

/// One path of a merged view, with everything that a Linux user would see of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) node: Node,
    pub(crate) bytes: Vec<u8>,
    /// The first path of the same file.
    pub(crate) first: String,
}

/// Everything below a directory of a chain, in order of the names; topmost layer first.
pub(crate) fn walk(layers: &[&Layer], below: &str, os: Os) -> Vec<Seen> {
    let merged = Merged::new(layers.to_vec(), os);
    let mut at = merged.root().unwrap().unwrap();
    for name in below.split('/').filter(|name| !name.is_empty()) {
        at = merged.lookup(&at, name.as_bytes()).unwrap().unwrap();
    }
    let mut found = Vec::new();
    let mut firsts = HashMap::new();
    visit(&merged, layers, &at, "", &mut firsts, &mut found);
    found
}

fn visit(
    merged: &Merged<&Layer>,
    layers: &[&Layer],
    at: &MergedNode<Id>,
    path: &str,
    firsts: &mut HashMap<(usize, u64), String>,
    found: &mut Vec<Seen>,
) {
    for (name, child) in merged.read_dir(at).unwrap() {
        let path = format!("{path}/{}", String::from_utf8(name).unwrap());
        let (layer, id) = &child.sources[0];
        let first = firsts.entry((*layer, child.node.inode)).or_insert_with(|| path.clone()).clone();
        let mut bytes = Vec::new();
        if matches!(child.node.kind, NodeKind::File { .. }) {
            (&layers[*layer]).open(id, None).unwrap().read_to_end(&mut bytes).unwrap();
        }
        found.push(Seen { path: path.clone(), node: child.node.clone(), bytes, first });
        if child.node.kind.is_directory() {
            visit(merged, layers, &child, &path, firsts, found);
        }
    }
}
