//! The part of an import that needs the parent layers: links into them, their spelling of names, what whiteouts hide.
//! Then the tree becomes the metadata of the image.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};

use layerstone_erofs as erofs;
use layerstone_layer::encode::{self, STREAM_DIRECTORY, StreamRef};
use layerstone_layer::merge::{Merged, MergedNode};
use layerstone_layer::tree::{LayerTree, NodeId, Stream, TreeKind, TreeNode};
use layerstone_layer::view::{LayerView as _, Node, NodeKind};
use layerstone_layer::{Finding, LayerPath, Os, Report, UnixTime, Xattr};
use layerstone_nt::name as winname;
use layerstone_oci::{ChainId, DiffId};

use super::unpack::{Job, Stored, Unpacked};
use crate::error::{Error, IoContext, Result};
use crate::layer::{DESCRIPTION, Description, FORMAT, IMAGE, StoredLayer};
use crate::root::write_staged_json;

/// The merged view of the parent layers.
type Parents = Merged<StoredLayer>;
type ParentNode = MergedNode<erofs::Nid>;

/// Finishes an unpacked layer in its staging directory.
pub(super) fn finish(
    job: Job<'_>,
    mut unpacked: Unpacked,
    parents: &Parents,
    diff_id: DiffId,
    parent: Option<ChainId>,
) -> Result<Description> {
    // Everything from here on is covered by the metadata digest, copies out of parent layers included.
    let metadata_offset = unpacked.image.position();
    Links { job, parents, copied: HashMap::new() }.resolve(&mut unpacked)?;
    let root = parents.root()?;
    graft(&mut unpacked.tree, parents, root, &mut unpacked.report)?;

    let Unpacked { image, split, tree, counts, mut report, archive_size } = unpacked;
    let Converted { tree, payloads } = convert(tree, &mut report);
    let write_error = |source| Error::WriteImage { layer: *job.layer, source };
    // The volume's identity is the layer's: nothing in an image is random.
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&job.chain.0.as_bytes()[..16]);
    let finished = image.finish(tree, erofs::FinishOptions::new(uuid)).map_err(write_error)?;
    let image_path = job.directory.join(IMAGE);
    finished.output.finish().doing("write", &image_path)?;

    let nids: HashMap<_, _> =
        payloads.into_iter().map(|(payload, node)| (payload, finished.nids[node.index()].0)).collect();
    let missing = (0..split.payloads()).any(|n| !nids.contains_key(&layerstone_layer::split::PayloadId(n)));
    debug_assert!(!missing, "every payload has an inode");
    Unpacked::finish_split(split, &job, |payload| nids.get(&payload).copied().unwrap_or(u64::MAX))?;

    let file = File::open(&image_path).doing("open", &image_path)?;
    let metadata_digest = crate::verify::metadata_digest(&file, metadata_offset, finished.image_size)
        .doing("read back", &image_path)?;
    let description = Description {
        format: FORMAT,
        diff_id,
        chain_id: *job.chain,
        parent,
        os: job.os,
        archive_size,
        image_size: finished.image_size,
        metadata_offset,
        metadata_digest,
        counts,
        report,
    };
    write_staged_json(&job.directory.join(DESCRIPTION), &description)?;
    Ok(description)
}

/// Hard links whose target was not in this layer when they came.
struct Links<'a> {
    job: Job<'a>,
    parents: &'a Parents,
    /// Files of parent layers that are in this layer by now.
    copied: HashMap<(usize, erofs::Nid), NodeId>,
}

impl Links<'_> {
    /// The target is taken from the parent layers, as an unpacker would that works from the base up; then from what
    /// came later in this layer; otherwise the link is left out of the view.
    fn resolve(mut self, unpacked: &mut Unpacked) -> Result<()> {
        for (path, target) in unpacked.tree.pending_links() {
            // A link may have been resolved together with one that leads to it.
            if pending(&unpacked.tree, &path).is_none() {
                continue;
            }
            // A link to a link that waits itself: all of them are names of what is at the end.
            let (mut names, mut end) = (vec![path], target);
            let mut seen = HashSet::new();
            let node = loop {
                if let Some((real_path, node)) = self.parents.resolve_spelled(&end, false)? {
                    break self.take_from_parent(real_path, &node, &names, unpacked)?;
                }
                match unpacked.tree.find(&end) {
                    Some(id) => match &unpacked.tree.node(id).kind {
                        TreeKind::PendingLink { target } if seen.insert(id) => {
                            let target = target.clone();
                            names.push(std::mem::replace(&mut end, target));
                        }
                        TreeKind::Directory(_) | TreeKind::PendingLink { .. } => {
                            names.iter().for_each(|name| unpacked.report.note(Finding::ImpossibleLink, name));
                            break None;
                        }
                        _ => break Some(id),
                    },
                    None => {
                        for name in &names {
                            unpacked.report.note(Finding::MissingLinkTarget, format_args!("{name} -> {end}"));
                        }
                        break None;
                    }
                }
            };
            for name in names {
                match node {
                    Some(node) => unpacked.tree.link(&name, node, &mut unpacked.report),
                    None => unpacked.tree.unlink(&name),
                }
            }
        }
        Ok(())
    }

    fn take_from_parent(
        &mut self,
        path: LayerPath,
        node: &ParentNode,
        names: &[LayerPath],
        unpacked: &mut Unpacked,
    ) -> Result<Option<NodeId>> {
        let is_directory = node.node.kind.is_directory();
        let finding = if is_directory { Finding::ImpossibleLink } else { Finding::LinkToParent };
        names.iter().for_each(|name| unpacked.report.note(finding, name));
        if is_directory { Ok(None) } else { self.copy(path, node, unpacked).map(Some) }
    }

    /// Copies a file of a parent layer into this one, under its own name too: that is what keeps both names one file.
    fn copy(&mut self, path: LayerPath, from: &ParentNode, unpacked: &mut Unpacked) -> Result<NodeId> {
        let Some((layer, nid)) = from.sources.first().copied() else {
            return Err(Error::NoPath { path, place: "the parent layers".into() });
        };
        if let Some(&node) = self.copied.get(&(layer, nid)) {
            return Ok(node);
        }
        let Node { kind, meta, streams, .. } = from.node.clone();
        let layer_view = &self.parents.layers()[layer];
        let kind = match kind {
            NodeKind::File { size } => {
                TreeKind::File { size, content: self.store(layer_view, nid, None, size, unpacked)? }
            }
            NodeKind::Symlink { target } => TreeKind::Symlink { target },
            NodeKind::CharDevice { major, minor } => TreeKind::CharDevice { major, minor },
            NodeKind::BlockDevice { major, minor } => TreeKind::BlockDevice { major, minor },
            NodeKind::Fifo | NodeKind::Socket => TreeKind::Fifo,
            NodeKind::Directory { .. } | NodeKind::Whiteout => {
                return Err(Error::WrongKind { path, wanted: "something that can have two names" });
            }
        };
        let mut copies = Vec::new();
        for (name, size) in streams {
            let content = self.store(layer_view, nid, Some(&name), size, unpacked)?;
            copies.push(Stream { name, size, content });
        }
        let hidden = unpacked.tree.hides(&path) || unpacked.tree.find(&path).is_some();
        let node = unpacked.tree.add_nameless(TreeNode { meta, kind, streams: copies });
        if !hidden {
            unpacked.tree.link(&path, node, &mut unpacked.report);
        }
        self.copied.insert((layer, nid), node);
        Ok(node)
    }

    fn store(
        &self,
        layer: &StoredLayer,
        nid: erofs::Nid,
        stream: Option<&[u8]>,
        size: u64,
        unpacked: &mut Unpacked,
    ) -> Result<Stored> {
        let write_error = |source| Error::WriteImage { layer: *self.job.layer, source };
        let mut reader = layer.open(&nid, stream)?;
        unpacked.image.begin_file(size).map_err(write_error)?;
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).doing("read", layer.image_path()),
            };
            hash.update(&buffer[..n]);
            unpacked.image.write(&buffer[..n]).map_err(write_error)?;
        }
        let data = unpacked.image.end_file().map_err(write_error)?;
        Ok(Stored { data, payload: None, key: stream.map(|_| (hash.digest(), size)) })
    }
}

/// The node at `path`, when it is a link that still waits for its target.
fn pending(tree: &LayerTree<Stored>, path: &LayerPath) -> Option<NodeId> {
    tree.find(path).filter(|&id| matches!(tree.node(id).kind, TreeKind::PendingLink { .. }))
}

/// Fits the tree to its parents: spelling, metadata of directories that only exist because of their children, and
/// markers that hide nothing.
fn graft(
    tree: &mut LayerTree<Stored>,
    parents: &Parents,
    root: Option<ParentNode>,
    report: &mut Report,
) -> Result<()> {
    let windows = tree.os() == Os::Windows;
    let mut todo = vec![(LayerPath::root(), LayerTree::<Stored>::ROOT, root, false)];
    while let Some((path, id, parent, replaces)) = todo.pop() {
        let parent_directory = parent.as_ref().filter(|p| p.node.kind.is_directory());
        match (&parent, tree.directory(id).is_some_and(|d| d.implicit)) {
            (Some(parent), true) if parent.node.kind.is_directory() && !replaces => {
                tree.node_mut(id).meta = parent.node.meta.clone();
            }
            (Some(parent), true) if matches!(parent.node.kind, NodeKind::Symlink { .. }) => {
                report.note(Finding::CoversParentSymlink, &path);
            }
            _ => {}
        }
        if windows && let Some(parent) = parent_directory {
            respell(tree, id, &path, parents, parent, report)?;
        }
        let replaced = prune_markers(tree, id, &path, parents, parent_directory, report)?;
        let Some(directory) = tree.directory(id) else { continue };
        let opaque = directory.opaque;
        for (name, &child) in &directory.children {
            if tree.directory(child).is_some() {
                let below = match parent_directory {
                    Some(parent) if !opaque => parents.lookup(parent, name)?,
                    _ => None,
                };
                todo.push((path.join(name), child, below, replaced.contains(name)));
            }
        }
    }
    Ok(())
}

/// Gives names the spelling that the parent layers have, so that a case-sensitive overlay merges as NTFS would.
fn respell(
    tree: &mut LayerTree<Stored>,
    id: NodeId,
    path: &LayerPath,
    parents: &Parents,
    parent: &ParentNode,
    report: &mut Report,
) -> Result<()> {
    let Some(directory) = tree.directory(id) else { return Ok(()) };
    let mut unknown = Vec::new();
    for name in directory.children.keys().chain(&directory.whiteouts) {
        if parents.lookup(parent, name)?.is_none() {
            unknown.push(name.clone());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let spellings: HashMap<_, _> =
        parents.read_dir(parent)?.into_iter().map(|(name, _)| (winname::fold(&name), name)).collect();
    let Some(directory) = tree.directory_mut(id) else { return Ok(()) };
    for name in unknown {
        let Some(spelling) = spellings.get(&winname::fold(&name)) else { continue };
        report.note(Finding::Respelled, path.join(&name));
        if directory.whiteouts.remove(&name) {
            directory.whiteouts.insert(spelling.as_slice().into());
        }
        if !directory.children.contains_key(spelling.as_slice())
            && let Some(child) = directory.children.remove(&name)
        {
            directory.children.insert(spelling.as_slice().into(), child);
        }
    }
    Ok(())
}

/// Drops whiteouts and opaque markers that hide nothing: overlayfs would show such a whiteout as a device. A whiteout
/// beside a directory of the same name means that the directory starts empty: the names of these are returned.
fn prune_markers(
    tree: &mut LayerTree<Stored>,
    id: NodeId,
    path: &LayerPath,
    parents: &Parents,
    parent: Option<&ParentNode>,
    report: &mut Report,
) -> Result<HashSet<Box<[u8]>>> {
    let mut replaced = HashSet::new();
    let Some(directory) = tree.directory_mut(id) else { return Ok(replaced) };
    if directory.opaque && parent.is_none() {
        directory.opaque = false;
        report.note(Finding::HidesNothing, path);
    }
    let whiteouts = std::mem::take(&mut directory.whiteouts);
    let opaque = directory.opaque;
    let mut kept = std::collections::BTreeSet::new();
    for name in whiteouts {
        let hidden = match parent {
            Some(parent) if !opaque => parents.lookup(parent, &name)?,
            _ => None,
        };
        let Some(hidden) = hidden else {
            report.note(Finding::HidesNothing, path.join(&name));
            continue;
        };
        let child = tree.directory(id).and_then(|directory| directory.children.get(&name).copied());
        match child {
            None => {
                kept.insert(name);
            }
            Some(child) => {
                if hidden.node.kind.is_directory()
                    && let Some(child) = tree.directory_mut(child)
                {
                    child.opaque = true;
                    replaced.insert(name);
                }
            }
        }
    }
    if let Some(directory) = tree.directory_mut(id) {
        directory.whiteouts = kept;
    }
    Ok(replaced)
}

struct Converted {
    tree: erofs::Tree,
    /// Which node of the image holds which payload.
    payloads: Vec<(layerstone_layer::split::PayloadId, erofs::NodeId)>,
}

/// From the layer's tree to the image's.
fn convert(tree: LayerTree<Stored>, report: &mut Report) -> Converted {
    let parents = parents(&tree);
    let mut converter = Converter {
        out: erofs::Tree::default(),
        payloads: Vec::new(),
        ids: vec![None; tree.len()],
        streams: Vec::new(),
        stream_keys: HashMap::new(),
    };
    // Inodes lie in the order of the archive, so that reading the archive's files in order reads forwards.
    for (id, node) in tree.nodes() {
        let named = id == LayerTree::<Stored>::ROOT || parents[id.index()].is_some();
        let keep = named || matches!(&node.kind, TreeKind::File { .. }) || !node.streams.is_empty();
        if keep {
            converter.add(id, node, PathOf { tree: &tree, parents: &parents, id }, report);
        }
    }
    drop(parents);
    converter.names(tree);
    Converted { tree: converter.out, payloads: converter.payloads }
}

/// A directory that names each node; none for the root and for what no name leads to.
fn parents(tree: &LayerTree<Stored>) -> Vec<Option<NodeId>> {
    let mut parents = vec![None; tree.len()];
    let mut todo = vec![LayerTree::<Stored>::ROOT];
    while let Some(id) = todo.pop() {
        for &child in tree.directory(id).into_iter().flat_map(|directory| directory.children.values()) {
            parents[child.index()].get_or_insert(id);
            if tree.directory(child).is_some() {
                todo.push(child);
            }
        }
    }
    parents
}

/// The path of a node, found only when it has to be shown: the paths of a whole layer would take more memory than the rest
/// of its tree.
#[derive(Clone, Copy)]
struct PathOf<'a> {
    tree: &'a LayerTree<Stored>,
    parents: &'a [Option<NodeId>],
    id: NodeId,
}

impl std::fmt::Display for PathOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut names = Vec::new();
        let mut at = self.id;
        while let Some(parent) = self.parents[at.index()] {
            let mut children = self.tree.directory(parent).into_iter().flat_map(|d| &d.children);
            names.extend(children.find(|&(_, &child)| child == at).map(|(name, _)| name));
            at = parent;
        }
        names.into_iter().rev().fold(LayerPath::root(), |path, name| path.join(name)).fmt(f)
    }
}

struct Converter {
    out: erofs::Tree,
    payloads: Vec<(layerstone_layer::split::PayloadId, erofs::NodeId)>,
    /// The image's number of each node that it has.
    ids: Vec<Option<erofs::NodeId>>,
    /// What the stream directory will hold.
    streams: Vec<(Vec<u8>, erofs::NodeId)>,
    stream_keys: HashMap<Vec<u8>, usize>,
}

impl Converter {
    fn add(&mut self, id: NodeId, node: &TreeNode<Stored>, path: PathOf<'_>, report: &mut Report) {
        use layerstone_erofs::Content;
        let plain = matches!(node.kind, TreeKind::File { .. } | TreeKind::Directory(_));
        let references: Vec<StreamRef> = node.streams.iter().map(|stream| self.stream_ref(stream)).collect();
        let mut xattrs = encode::to_xattrs(&node.meta, plain, &references, path, report);
        let content = match &node.kind {
            TreeKind::Directory(directory) => {
                if directory.opaque {
                    xattrs.push(Xattr { name: encode::OPAQUE.to_vec(), value: b"y".to_vec() });
                }
                Content::Directory(Vec::new())
            }
            TreeKind::File { content, .. } => Content::File(content.data.clone()),
            TreeKind::Symlink { target } => {
                let reparse = node.meta.windows.as_ref().and_then(|w| w.reparse.as_ref());
                let unix = reparse.and_then(|r| r.to_unix_target()).filter(|t| !t.is_empty());
                Content::Symlink(unix.unwrap_or_else(|| target.clone()))
            }
            TreeKind::CharDevice { major, minor } => Content::CharDevice { major: *major, minor: *minor },
            TreeKind::BlockDevice { major, minor } => Content::BlockDevice { major: *major, minor: *minor },
            TreeKind::Fifo => Content::Fifo,
            // Resolved or taken out before.
            TreeKind::PendingLink { .. } => return,
        };
        let out = self.out.push(erofs::Node {
            mode: content.file_type().mode_bits() | node.meta.mode,
            uid: node.meta.uid,
            gid: node.meta.gid,
            mtime: node.meta.mtime.seconds(),
            mtime_nsec: node.meta.mtime.nanoseconds(),
            xattrs: xattrs.into_iter().map(|x| erofs::Xattr { name: x.name, value: x.value }).collect(),
            content,
        });
        self.ids[id.index()] = Some(out);
        if let TreeKind::File { content: Stored { payload: Some(payload), .. }, .. } = &node.kind {
            self.payloads.push((*payload, out));
        }
        for (stream, reference) in node.streams.iter().zip(references) {
            let node = self.out.push(erofs::Node {
                mode: erofs::FileType::Regular.mode_bits() | 0o644,
                uid: node.meta.uid,
                gid: node.meta.gid,
                mtime: node.meta.mtime.seconds(),
                mtime_nsec: node.meta.mtime.nanoseconds(),
                xattrs: Vec::new(),
                content: Content::File(stream.content.data.clone()),
            });
            self.streams.push((reference.key, node));
            if let Some(payload) = stream.content.payload {
                self.payloads.push((payload, node));
            }
        }
    }

    /// A key that two different streams of a layer never share.
    fn stream_ref(&mut self, stream: &Stream<Stored>) -> StreamRef {
        let (hash, size) = stream.content.key.unwrap_or((0, stream.size));
        let mut key = format!("{hash:016x}-{size:x}").into_bytes();
        let same = self.stream_keys.entry(key.clone()).or_default();
        if *same > 0 {
            key.extend_from_slice(format!("-{same}").as_bytes());
        }
        *same += 1;
        StreamRef { name: stream.name.clone(), size: stream.size, key }
    }

    /// Fills the directories, now that every node has its number.
    fn names(&mut self, tree: LayerTree<Stored>) {
        use layerstone_erofs::Content;
        let mut whiteout = None;
        for (index, node) in tree.into_nodes().into_iter().enumerate() {
            let (TreeKind::Directory(directory), Some(out)) = (node.kind, self.ids[index]) else {
                continue;
            };
            let mut names: Vec<(Vec<u8>, erofs::NodeId)> = Vec::new();
            for (name, child) in directory.children {
                if let Some(child) = self.ids[child.index()] {
                    names.push((name.into_vec(), child));
                }
            }
            for name in directory.whiteouts {
                let whiteout = *whiteout.get_or_insert_with(|| self.out.push(whiteout_node()));
                names.push((name.into_vec(), whiteout));
            }
            if index == LayerTree::<Stored>::ROOT.index() && !self.streams.is_empty() {
                // A layer's own entry of that name, if any, is outside of everything that Windows looks at.
                names.retain(|(name, _)| name != STREAM_DIRECTORY);
                let streams = std::mem::take(&mut self.streams);
                let node = self.out.push(stream_directory(streams, node.meta.mtime));
                names.push((STREAM_DIRECTORY.to_vec(), node));
            }
            if let Content::Directory(entries) = &mut self.out.nodes[out.index()].content {
                *entries = names;
            }
        }
    }
}

/// All whiteouts of a layer are names of one inode: overlayfs makes them so itself.
fn whiteout_node() -> erofs::Node {
    erofs::Node {
        mode: erofs::FileType::CharDevice.mode_bits(),
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nsec: 0,
        xattrs: Vec::new(),
        content: erofs::Content::CharDevice { major: 0, minor: 0 },
    }
}

fn stream_directory(streams: Vec<(Vec<u8>, erofs::NodeId)>, mtime: UnixTime) -> erofs::Node {
    erofs::Node {
        mode: erofs::FileType::Directory.mode_bits() | 0o755,
        uid: 0,
        gid: 0,
        mtime: mtime.seconds(),
        mtime_nsec: mtime.nanoseconds(),
        xattrs: Vec::new(),
        content: erofs::Content::Directory(streams),
    }
}
