//! `tree`.

use std::io::{self, Write};

use layerstone_layer::LayerPath;
use layerstone_layer::merge::{Merged, MergedNode};
use layerstone_layer::path::display_name;
use layerstone_layer::view::{LayerView, Node, NodeKind};
use layerstone_store::{Store, StoredLayer};
use serde::Serialize;

use super::object::{self, Object};
use super::{App, hive};
use crate::args::Tree;
use crate::error::{Error, Result};
use crate::ui::text;

/// One line of the output.
#[derive(Serialize)]
struct Row {
    path: String,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    depth: usize,
    /// For each level above, whether more siblings follow.
    #[serde(skip)]
    more: Vec<bool>,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    /// Windows attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<String>,
    /// Security descriptor as SDDL.
    #[serde(skip_serializing_if = "Option::is_none")]
    sddl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reparse: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    streams: Vec<(String, u64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<String>,
    /// Which layer it comes from, counted from the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
    opaque: bool,
}

pub(crate) fn run(app: &App, args: &Tree) -> Result<()> {
    let store = app.existing_store()?;
    if let Some(key) = &args.registry {
        return hive::tree(app, &store, args, key);
    }
    let found = object::find(&store, &args.object, args.platform.as_ref())?;
    let rows = rows(&store, &found, args)?;
    app.print(&rows, |out| print(out, &rows, args.long))
}

fn rows(store: &Store, found: &Object, args: &Tree) -> Result<Vec<Row>> {
    let start = |os| match &args.path {
        Some(path) => object::path_in(path, os),
        None => Ok(LayerPath::root()),
    };
    let depth = args.depth.unwrap_or(usize::MAX);
    match found {
        Object::Image(image) => {
            let view = store.chain_view(&image.chain_ids(), image.os())?;
            merged_rows(&view, start(image.os())?, depth, &args.object)
        }
        Object::Scratch(scratch) => {
            let view = store.scratch_view(scratch)?;
            merged_rows(&view, start(scratch.description().os)?, depth, &args.object)
        }
        Object::Layer(layer) => layer_rows(layer, start(layer.description().os)?, depth, &args.object),
    }
}

/// What is still to be shown: path, name, whether siblings follow on each level above, and the node.
struct Pending<T> {
    path: LayerPath,
    more: Vec<bool>,
    node: T,
}

impl<T> Pending<T> {
    fn depth(&self) -> usize {
        self.more.len()
    }

    /// The children, last first, so that a stack gives them in order.
    fn children(&self, children: Vec<(Vec<u8>, T)>) -> Vec<Pending<T>> {
        let last = children.len().saturating_sub(1);
        let pending = children.into_iter().enumerate().map(|(at, (name, node))| {
            let mut more = self.more.clone();
            more.push(at < last);
            Pending { path: self.path.join(&name), more, node }
        });
        let mut pending: Vec<_> = pending.collect();
        pending.reverse();
        pending
    }
}

fn merged_rows<V: LayerView<Error = layerstone_store::Error>>(
    view: &Merged<V>,
    start: LayerPath,
    depth: usize,
    place: &str,
) -> Result<Vec<Row>> {
    let (path, node) = object::node_at(view, &start, true, place)?;
    let layers = view.layers().len();
    let mut rows = Vec::new();
    let mut todo: Vec<Pending<MergedNode<V::Id>>> = vec![Pending { path, more: Vec::new(), node }];
    while let Some(next) = todo.pop() {
        let mut row = Row::of(&next.path, &next.more, &next.node.node);
        row.layer = next.node.sources.first().map(|(at, _)| layers - 1 - at);
        rows.push(row);
        if next.node.node.kind.is_directory() && next.depth() < depth {
            todo.extend(next.children(view.read_dir(&next.node)?));
        }
    }
    Ok(rows)
}

/// One layer's own entries, with its whiteouts.
fn layer_rows(layer: &StoredLayer, start: LayerPath, depth: usize, place: &str) -> Result<Vec<Row>> {
    let mut id = layer.root();
    for name in start.components() {
        let child = layer.lookup(&id, name)?;
        id = child.ok_or_else(|| layerstone_store::Error::NoPath {
            path: start.clone(),
            place: format!("layer `{place}`"),
        })?;
    }
    let mut rows = Vec::new();
    let mut todo = vec![Pending { path: start, more: Vec::new(), node: id }];
    while let Some(next) = todo.pop() {
        let node = layer.node(&next.node)?;
        rows.push(Row::of(&next.path, &next.more, &node));
        if node.kind.is_directory() && next.depth() < depth {
            todo.extend(next.children(layer.read_dir(&next.node)?));
        }
    }
    Ok(rows)
}

impl Row {
    fn of(path: &LayerPath, more: &[bool], node: &Node) -> Row {
        let name = match path.split_last() {
            Some((_, name)) if !more.is_empty() => display_name(name).to_string(),
            _ => path.to_string(),
        };
        let (kind, size, target, device) = match &node.kind {
            NodeKind::Directory { .. } => ("directory", 0, None, None),
            NodeKind::File { size } => ("file", *size, None, None),
            NodeKind::Symlink { target } => ("symlink", 0, Some(display_name(target).to_string()), None),
            NodeKind::CharDevice { major, minor } => ("char-device", 0, None, Some((*major, *minor))),
            NodeKind::BlockDevice { major, minor } => ("block-device", 0, None, Some((*major, *minor))),
            NodeKind::Fifo => ("fifo", 0, None, None),
            NodeKind::Socket => ("socket", 0, None, None),
            NodeKind::Whiteout => ("whiteout", 0, None, None),
        };
        let windows = node.meta.windows.as_deref();
        let reparse = windows.and_then(|w| w.reparse.as_ref());
        let windows_target = reparse
            .and_then(|r| r.target())
            .map(|target| String::from_utf8_lossy(&target.to_wtf8()).into_owned());
        let sddl = windows.and_then(|w| w.security_descriptor.as_deref()).map(|bytes| {
            let parsed = layerstone_nt::SecurityDescriptor::parse(bytes);
            parsed
                .and_then(|sd| layerstone_nt::sddl::format(&sd))
                .unwrap_or_else(|error| format!("({error})"))
        });
        Row {
            path: path.to_string(),
            name,
            depth: more.len(),
            more: more.to_vec(),
            kind,
            mode: mode(node),
            uid: node.meta.uid,
            gid: node.meta.gid,
            size,
            mtime: text::time(node.meta.mtime),
            target: windows_target.or(target),
            device,
            attributes: windows.map(|w| w.basic.attributes.to_string()),
            sddl,
            reparse: reparse.map(|r| r.tag.to_string()),
            streams: node.streams.iter().map(|(n, size)| (display_name(n).to_string(), *size)).collect(),
            xattrs: node.meta.xattrs.iter().map(|x| display_name(&x.name).to_string()).collect(),
            layer: None,
            opaque: matches!(node.kind, NodeKind::Directory { opaque: true }),
        }
    }

    fn long(&self) -> String {
        let first = match &self.attributes {
            Some(attributes) => format!("{:<22}", format!("{}{attributes}", &self.mode[..1])),
            None => format!("{} {:>5} {:>5}", self.mode, self.uid, self.gid),
        };
        let size = match self.device {
            Some((major, minor)) => format!("{major}, {minor}"),
            None => self.size.to_string(),
        };
        let layer = self.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        format!("{first} {size:>12} {} {layer:>3}  ", self.mtime)
    }
}

/// As `ls -l` shows it.
fn mode(node: &Node) -> String {
    let bits = node.meta.mode;
    let mut text = String::from(node.kind.letter());
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let triple = bits >> shift;
        text.push(if triple & 4 != 0 { 'r' } else { '-' });
        text.push(if triple & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & special != 0, triple & 1 != 0) {
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn print(out: &mut dyn Write, rows: &[Row], long: bool) -> io::Result<()> {
    for row in rows {
        if long {
            out.write_all(row.long().as_bytes())?;
        }
        write!(out, "{}{}", text::branches(&row.more), row.name)?;
        if row.kind == "directory" && row.name != "." {
            write!(out, "/")?;
        }
        if let Some(target) = &row.target {
            write!(out, " -> {target}")?;
        }
        if row.kind == "whiteout" {
            write!(out, "  [whiteout]")?;
        }
        if row.opaque {
            write!(out, "  [opaque]")?;
        }
        writeln!(out)?;
        for (name, size) in &row.streams {
            let indent = " ".repeat(4 * row.depth + if long { row.long().chars().count() } else { 0 });
            writeln!(out, "{indent}    :{name}  {}", text::size(*size))?;
        }
    }
    Ok(())
}

/// For messages: a path that must be a file is not.
pub(super) fn not_a_file(path: &LayerPath) -> Error {
    layerstone_store::Error::WrongKind { path: path.clone(), wanted: "a file" }.into()
}
