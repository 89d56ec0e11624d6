//! What a scratch changes of its chain, as entries of a layer in their order:
//! parents before children, of each directory its opaque marker and whiteouts first, then names by their bytes.
//!
//! What a scratch holds and the chain shows just so is no change. Directories on the way to a change always have an
//! entry, though: this store takes a missing one from the layer below, but the unpackers of Docker and Podman make it up.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use layerstone_erofs::Nid;
use layerstone_layer::diff::same_content;
use layerstone_layer::merge::{Merged, MergedNode};
use layerstone_layer::tree::link_path;
use layerstone_layer::view::{LayerView as _, Node, NodeKind};
use layerstone_layer::{Entry, EntryKind, Finding, LayerPath, Metadata, Os, Report};
use layerstone_nt::FoldedName;
use layerstone_nt::name::fold;

use super::windows::{self, Surroundings};
use crate::beneath::FileKind;
use crate::error::{Error, Result};
use crate::layer::StoredLayer;
use crate::upper::UpperLayer;

/// What the chain shows at a path.
type Below = Option<MergedNode<Nid>>;
/// The same, with the chain's spelling of its name.
type Spelled = (Vec<u8>, MergedNode<Nid>);

/// An entry; its bytes are at the same path of the scratch.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) entry: Entry,
    /// Names and sizes of the alternate streams that follow.
    pub(super) streams: Vec<(Vec<u8>, u64)>,
}

/// A path of the scratch that is yet to be looked at.
struct Step {
    path: LayerPath,
    node: Node,
    below: Below,
    /// Nothing of a directory below shows.
    opaque: bool,
    /// The security descriptor of the directory that it is in.
    descriptor: Option<Arc<Vec<u8>>>,
}

/// The names of one file of the scratch.
struct Group {
    names: Vec<LayerPath>,
    changed: Option<bool>,
}

/// The changes, one after the other.
pub(super) struct Changes<'a> {
    upper: &'a UpperLayer,
    lower: &'a Merged<StoredLayer>,
    links: HashMap<u64, Group>,
    todo: Vec<Step>,
    ready: VecDeque<Change>,
    /// Unchanged directories above what is being looked at that have no entry so far.
    ancestors: Vec<Change>,
    report: Report,
}

impl<'a> Changes<'a> {
    /// The changes of `upper` over `lower`.
    pub(super) fn new(upper: &'a UpperLayer, lower: &'a Merged<StoredLayer>) -> Result<Self> {
        let root = upper.root();
        let first = Step {
            node: upper.node(&root)?,
            path: root,
            below: lower.root()?,
            opaque: false,
            descriptor: None,
        };
        Ok(Changes {
            upper,
            lower,
            links: groups(upper)?,
            todo: vec![first],
            ready: VecDeque::new(),
            ancestors: Vec::new(),
            report: Report::default(),
        })
    }

    /// Adds what the archive of the changes does not say.
    pub(super) fn merge_report(&mut self, report: &Report) {
        self.report.merge(report);
    }

    /// What could not be made into entries.
    pub(super) fn into_report(self) -> Report {
        self.report
    }

    /// The next change.
    pub(super) fn next_change(&mut self) -> Result<Option<Change>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(Some(change));
            }
            let Some(step) = self.todo.pop() else { return Ok(None) };
            if step.node.kind.is_directory() { self.directory(step)? } else { self.leaf(step)? }
        }
    }

    fn is_windows(&self) -> bool {
        self.lower.os() == Os::Windows
    }

    fn directory(&mut self, step: Step) -> Result<()> {
        let meta = self.metadata(&step)?;
        let Step { path, node, below, opaque, descriptor } = step;
        let opaque = opaque || matches!(node.kind, NodeKind::Directory { opaque: true });
        let below = below.filter(|below| below.node.kind.is_directory());
        let unchanged = below.as_ref().is_some_and(|below| self.same_metadata(&meta, &below.node));
        let descriptor = match &meta.windows {
            Some(windows) => windows.security_descriptor.clone().map(Arc::new),
            None => descriptor,
        };
        let entry = Entry { path: path.clone(), kind: EntryKind::Directory, meta };
        let change = Change { entry, streams: node.streams };
        if !unchanged {
            self.emit(change);
        } else if !path.is_root() {
            self.ancestors.push(change);
        }
        let mut children = Vec::new();
        for (name, id) in self.upper.read_dir(&path)? {
            children.push((name, self.upper.node(&id)?));
        }
        let mut beneath = self.beneath(below.as_ref(), &children)?;
        if opaque && let Some(below) = &below {
            if self.is_windows() {
                // No writer of Windows layers has opaque markers, and Microsoft's reader takes one for a whiteout.
                self.hide_all(&path, below, &children)?;
            } else if !self.lower.read_dir(below)?.is_empty() {
                self.emit(marker(path.clone(), EntryKind::Opaque));
                beneath.clear();
            } else {
                beneath.clear();
            }
        }
        let mut steps = Vec::new();
        for (name, node) in children {
            let below = beneath.remove(&name);
            let here = path.join(&name);
            if self.is_left_out(&node, &here) {
                // What it hides is gone all the same. A whiteout has the spelling of what it hides.
                if let Some((spelling, _)) = below {
                    self.emit(marker(path.join(&spelling), EntryKind::Whiteout));
                }
                continue;
            }
            let below = below.map(|(_, below)| below);
            let descriptor = descriptor.clone();
            steps.push(Step { path: here, node, below, opaque: opaque && self.is_windows(), descriptor });
        }
        steps.reverse();
        self.todo.append(&mut steps);
        Ok(())
    }

    /// What the chain has under the names of a directory's children, with its spelling.
    fn beneath(
        &self,
        below: Option<&MergedNode<Nid>>,
        children: &[(Vec<u8>, Node)],
    ) -> Result<HashMap<Vec<u8>, Spelled>> {
        let mut found = HashMap::new();
        let Some(below) = below else { return Ok(found) };
        let mut folded: Option<HashMap<FoldedName, Spelled>> = None;
        for (name, _) in children {
            if let Some(node) = self.lower.lookup(below, name)? {
                found.insert(name.clone(), (name.clone(), node));
            } else if self.is_windows() {
                let folded = match &mut folded {
                    Some(folded) => folded,
                    None => {
                        let all = self.lower.read_dir(below)?.into_iter();
                        folded.insert(all.map(|(name, node)| (fold(&name), (name, node))).collect())
                    }
                };
                if let Some(other) = folded.get(&fold(name)) {
                    found.insert(name.clone(), other.clone());
                }
            }
        }
        Ok(found)
    }

    /// Whiteouts for everything of an opaque directory that has no successor.
    fn hide_all(
        &mut self,
        path: &LayerPath,
        below: &MergedNode<Nid>,
        children: &[(Vec<u8>, Node)],
    ) -> Result<()> {
        let here: BTreeSet<_> = children.iter().map(|(name, _)| fold(name)).collect();
        for (name, _) in self.lower.read_dir(below)? {
            if !here.contains(&fold(&name)) {
                self.emit(marker(path.join(&name), EntryKind::Whiteout));
            }
        }
        Ok(())
    }

    /// True for whiteouts, and for what no layer of this system can hold.
    fn is_left_out(&mut self, node: &Node, path: &LayerPath) -> bool {
        match node.kind {
            NodeKind::Whiteout => true,
            NodeKind::Socket => {
                self.report.note(Finding::Socket, path);
                true
            }
            NodeKind::CharDevice { .. } | NodeKind::BlockDevice { .. } | NodeKind::Fifo
                if self.is_windows() =>
            {
                self.report.note(Finding::UnsupportedType, path);
                true
            }
            _ => false,
        }
    }

    fn leaf(&mut self, step: Step) -> Result<()> {
        let group = (step.node.nlink > 1).then(|| self.links.get(&step.node.inode)).flatten();
        let first = match group {
            Some(group) if group.names.len() > 1 => {
                let (first, changed) = (group.names[0].clone(), group.changed);
                let changed = match changed {
                    Some(changed) => changed,
                    None => self.group_changed(&step)?,
                };
                if !changed {
                    return Ok(());
                }
                Some(first)
            }
            _ => None,
        };
        let meta = self.metadata(&step)?;
        let Step { path, node, below, .. } = step;
        if let Some(target) = first.as_ref().filter(|first| **first != path) {
            let kind = EntryKind::HardLink { target: target.clone() };
            self.emit(Change { entry: Entry { path, kind, meta }, streams: Vec::new() });
            return Ok(());
        }
        if first.is_none() && self.is_unchanged(&path, &node, &meta, below.as_ref())? {
            return Ok(());
        }
        let kind = match node.kind {
            NodeKind::File { size } => EntryKind::File { size, segments: None },
            NodeKind::Symlink { target } => EntryKind::Symlink { target },
            NodeKind::CharDevice { major, minor } => EntryKind::CharDevice { major, minor },
            NodeKind::BlockDevice { major, minor } => EntryKind::BlockDevice { major, minor },
            NodeKind::Fifo => EntryKind::Fifo,
            NodeKind::Directory { .. } | NodeKind::Socket | NodeKind::Whiteout => return Ok(()),
        };
        self.emit(Change { entry: Entry { path, kind, meta }, streams: node.streams });
        Ok(())
    }

    /// Whether the names of a file are anything but what the chain shows: one file there too, and the same.
    fn group_changed(&mut self, step: &Step) -> Result<bool> {
        let meta = self.metadata(step)?;
        let unchanged = self.is_unchanged(&step.path, &step.node, &meta, step.below.as_ref())?;
        let mut changed = !unchanged;
        let names = self.links.get(&step.node.inode).map(|group| group.names.clone()).unwrap_or_default();
        for name in names {
            if changed {
                break;
            }
            let below = self.below(&name)?;
            let source = |below: &Below| below.as_ref().and_then(|below| below.sources.first().copied());
            changed = source(&below) != source(&step.below);
        }
        if let Some(group) = self.links.get_mut(&step.node.inode) {
            group.changed = Some(changed);
        }
        Ok(changed)
    }

    /// What the chain shows at `path` through the scratch's directories.
    fn below(&self, path: &LayerPath) -> Result<Below> {
        let mut at = self.lower.root()?;
        let mut here = LayerPath::root();
        for name in path.components() {
            let hidden = match self.upper.node_if_there(&here)?.map(|node| node.kind) {
                // Of a Windows layer's opaque directories, what is below still counts: see `hide_all`.
                Some(NodeKind::Directory { opaque }) => opaque && !self.is_windows(),
                Some(_) => true,
                None => false,
            };
            at = match at {
                Some(directory) if directory.node.kind.is_directory() && !hidden => {
                    self.lower.lookup_any_case(&directory, name)?.map(|(_, node)| node)
                }
                _ => return Ok(None),
            };
            here = here.join(name);
        }
        Ok(at)
    }

    fn metadata(&self, step: &Step) -> Result<Metadata> {
        let below = step.below.as_ref().map(|below| &below.node);
        let mut meta = if self.is_windows() {
            let around = Surroundings {
                below,
                parent: step.descriptor.as_ref().map(|bytes| bytes.as_slice()),
                leads_to_directory: match &step.node.kind {
                    NodeKind::Symlink { target } => self.leads_to_directory(&step.path, target)?,
                    _ => false,
                },
            };
            windows::metadata(&step.node, &around)
        } else {
            step.node.meta.clone()
        };
        // Labels are the host's to give; what the image itself says of them stays.
        for xattr in below.into_iter().flat_map(|below| &below.meta.xattrs) {
            if crate::upper::is_host_attribute(&xattr.name) {
                meta.xattrs.push(xattr.clone());
            }
        }
        meta.xattrs.sort();
        Ok(meta)
    }

    /// Whether a link in a Windows image leads to a directory, which Windows wants to know when the link is made.
    fn leads_to_directory(&self, path: &LayerPath, target: &[u8]) -> Result<bool> {
        let parent = match target.first() {
            // Links start at the drive, which is the directory `Files` of the layer.
            Some(b'/') => path.components().next().map(|first| LayerPath::root().join(first)),
            _ => path.split_last().map(|(parent, _)| parent),
        };
        let relative = target.strip_prefix(b"/").unwrap_or(target);
        let Some(wanted) = parent.and_then(|parent| link_path(&parent, relative)) else { return Ok(false) };
        if let Some(node) = self.upper.node_if_there(&wanted)? {
            return Ok(node.kind.is_directory());
        }
        Ok(self.below(&wanted)?.is_some_and(|below| below.node.kind.is_directory()))
    }

    fn same_metadata(&self, meta: &Metadata, below: &Node) -> bool {
        if self.is_windows() {
            return windows::same(meta, &below.meta);
        }
        // The mode of a symbolic link is whatever its file system makes it.
        let mode = if matches!(below.kind, NodeKind::Symlink { .. }) { below.meta.mode } else { meta.mode };
        (mode, meta.uid, meta.gid, meta.mtime)
            == (below.meta.mode, below.meta.uid, below.meta.gid, below.meta.mtime)
            && meta.xattrs == below.meta.xattrs
    }

    fn is_unchanged(
        &self,
        path: &LayerPath,
        node: &Node,
        meta: &Metadata,
        below: Option<&MergedNode<Nid>>,
    ) -> Result<bool> {
        let Some(below) = below else { return Ok(false) };
        if node.kind != below.node.kind
            || node.streams != below.node.streams
            || !self.same_metadata(meta, &below.node)
        {
            return Ok(false);
        }
        let (NodeKind::File { .. }, Some((layer, nid))) = (&node.kind, below.sources.first()) else {
            return Ok(true);
        };
        let streams = node.streams.iter().map(|(name, _)| Some(name.as_slice()));
        for stream in std::iter::once(None).chain(streams) {
            let mut a = self.upper.open(path, stream)?;
            let mut b = self.lower.layers()[*layer].open(nid, stream)?;
            let same = same_content(&mut *a, &mut *b)
                .map_err(|source| Error::Compare { path: path.clone(), source })?;
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Hands out a change, and the directories above it that have not been.
    fn emit(&mut self, change: Change) {
        for ancestor in self.ancestors.drain(..) {
            if change.entry.path.starts_with(&ancestor.entry.path) {
                self.ready.push_back(ancestor);
            }
        }
        self.ready.push_back(change);
    }
}

fn marker(path: LayerPath, kind: EntryKind) -> Change {
    Change { entry: Entry { path, kind, meta: Metadata::default() }, streams: Vec::new() }
}

/// The files of the scratch with more than one name, in the order in which the names will come.
fn groups(upper: &UpperLayer) -> Result<HashMap<u64, Group>> {
    let mut groups = HashMap::<u64, Group>::new();
    let mut todo = vec![upper.root()];
    while let Some(path) = todo.pop() {
        let stat = upper.stat(&path)?;
        let is_whiteout = stat.kind == FileKind::CharDevice && stat.device == (0, 0);
        if stat.kind == FileKind::Directory {
            todo.extend(upper.read_dir(&path)?.into_iter().rev().map(|(_, child)| child));
        } else if stat.nlink > 1 && stat.kind != FileKind::Socket && !is_whiteout {
            groups.entry(stat.inode).or_insert(Group { names: Vec::new(), changed: None }).names.push(path);
        }
    }
    Ok(groups)
}
