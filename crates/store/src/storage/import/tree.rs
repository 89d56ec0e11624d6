//! Entries as real files below a folder: a base layer, or a copy of a utility VM.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use layerstone_layer::{Entry, EntryKind, Finding, LayerPath, Report};
use layerstone_nt::name::{FoldedName, NameProblem, check_component, fold};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes};

use super::boot;
use crate::error::IoContext as _;
use crate::storage::content::Content;
use crate::storage::error::{Error, Result};
use crate::storage::in_place::{InPlaceWriter, NewFile};
use crate::storage::places;

/// What applies to the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing is there before, and nothing is replaced or removed. Hard links lead to files that came before.
    Base,
    /// Entries replace and remove what was copied from a parent. Hard links are made later.
    Copy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory that no entry speaks of.
    Implicit,
    Directory,
    File,
    /// A link, or another reparse point: nothing lies below it.
    Link,
}

#[derive(Debug)]
struct Node {
    host: PathBuf,
    kind: Kind,
    /// Of this layer, and not copied from a parent.
    own: bool,
    /// Times and attributes of a directory, when something speaks of them.
    basic: Option<BasicInfo>,
}

/// The files below a folder.
pub(super) struct Tree {
    /// For messages.
    layer: PathBuf,
    /// The folder that stands for the root of the layer, or for `UtilityVM`.
    root: PathBuf,
    rule: Rule,
    /// Where copies of the boot configuration go.
    boot: PathBuf,
    /// Everything that is there, by its path as Windows compares it.
    nodes: HashMap<FoldedName, Node>,
    links: Vec<(LayerPath, LayerPath)>,
    made_links: u64,
    /// The entry whose streams may follow.
    current: Option<LayerPath>,
    /// The copy that the bytes of the last entry go into, beside its file.
    aside: Option<Content>,
    report: Report,
}

impl Tree {
    pub(super) fn new(layer: &Path, root: PathBuf, rule: Rule, boot: PathBuf) -> Self {
        Tree {
            layer: layer.to_path_buf(),
            root,
            rule,
            boot,
            nodes: HashMap::new(),
            links: Vec::new(),
            made_links: 0,
            current: None,
            aside: None,
            report: Report::default(),
        }
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directories with their times, children first.
    pub(super) fn directories(&self) -> Vec<(&Path, &BasicInfo)> {
        let all = self.nodes.values();
        let mut directories: Vec<_> =
            all.filter_map(|node| Some((node.host.as_path(), node.basic.as_ref()?))).collect();
        directories.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        directories
    }

    /// Hard links that are to be made: name and target.
    pub(super) fn links(&self) -> &[(LayerPath, LayerPath)] {
        &self.links
    }

    /// How many hard links were made.
    pub(super) fn made_links(&self) -> u64 {
        self.made_links
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// Where something of a parent, whose directory is there, is copied to.
    pub(super) fn host_of(&self, path: &LayerPath) -> Result<PathBuf> {
        let unusable =
            || Error::Invalid { path: self.layer.join(path.to_string()), why: "it cannot be copied".into() };
        let (parent, name) = path.split_last().ok_or_else(unusable)?;
        let parent = self.nodes.get(&fold(parent.as_bytes())).map_or(&self.root, |node| &node.host);
        Ok(parent.join(places::component(name).ok_or_else(unusable)?))
    }

    /// Takes in what was copied from a parent.
    pub(super) fn copied(&mut self, path: &LayerPath, host: PathBuf, kind: Kind, basic: Option<BasicInfo>) {
        self.nodes.insert(fold(path.as_bytes()), Node { host, kind, own: false, basic });
    }

    fn refuse<T>(&self, entry: &Entry, why: &'static str) -> Result<T> {
        let (layer, entry, kind) = (self.layer.clone(), entry.path.clone(), entry.kind.name());
        Err(Error::Entry { layer, entry, kind, why })
    }

    /// Takes an entry; its bytes follow through [`Self::data`].
    pub(super) fn entry(&mut self, files: &mut dyn InPlaceWriter, entry: &Entry) -> Result<()> {
        if let EntryKind::Stream { name, size } = &entry.kind {
            if self.current.as_ref() != Some(&entry.path) {
                return self.refuse(entry, "it does not follow what it belongs to");
            }
            return files.begin_stream(name, *size);
        }
        self.finish(files)?;
        match &entry.kind {
            EntryKind::Whiteout | EntryKind::Opaque if self.rule == Rule::Base => {
                self.refuse(entry, "a base layer cannot remove anything")
            }
            EntryKind::Whiteout => self.remove(files, entry),
            EntryKind::Opaque => self.prune(files, &entry.path, false),
            EntryKind::HardLink { target } if self.rule == Rule::Base => self.link(files, entry, target),
            EntryKind::HardLink { target } => {
                self.links.push((entry.path.clone(), target.clone()));
                Ok(())
            }
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => {
                self.report.note(Finding::UnsupportedType, &entry.path);
                Ok(())
            }
            _ if entry.path.is_root() => {
                self.report.note(Finding::OutsideWindowsRoots, &entry.path);
                Ok(())
            }
            _ => self.place(files, entry),
        }
    }

    /// Bytes of the last entry.
    pub(super) fn data(&mut self, files: &mut dyn InPlaceWriter, bytes: &[u8]) -> Result<()> {
        if let Some(content) = &mut self.aside {
            content.data(bytes).doing("write a copy of the boot configuration in", &self.boot)?;
        }
        files.data(bytes)
    }

    /// Completes the last entry.
    pub(super) fn finish(&mut self, files: &mut dyn InPlaceWriter) -> Result<()> {
        self.current = None;
        if let Some(content) = self.aside.take() {
            content.finish().doing("write a copy of the boot configuration in", &self.boot)?;
        }
        files.close()
    }

    /// Closes everything as it is: it will be removed.
    pub(super) fn abandon(&mut self, files: &mut dyn InPlaceWriter) {
        self.aside = None;
        files.abandon();
    }

    fn place(&mut self, files: &mut dyn InPlaceWriter, entry: &Entry) -> Result<()> {
        if !entry.meta.xattrs.is_empty() {
            self.report.note(Finding::XattrNotSet, &entry.path);
        }
        let implied = WindowsMetadata::default();
        let metadata = entry.meta.windows.as_deref().unwrap_or(&implied);
        let is_directory = match entry.kind {
            EntryKind::Directory => true,
            EntryKind::Symlink { .. } => metadata.basic.attributes.is_directory(),
            _ => false,
        };
        let kind = match (&entry.kind, &metadata.reparse) {
            (EntryKind::Symlink { .. }, _) | (_, Some(_)) => Kind::Link,
            (EntryKind::Directory, None) => Kind::Directory,
            _ => Kind::File,
        };
        let host = self.host(files, entry)?;
        let key = fold(entry.path.as_bytes());
        if let Some(node) = self.nodes.get_mut(&key) {
            let host = node.host.clone();
            if kind == Kind::Directory && matches!(node.kind, Kind::Directory | Kind::Implicit) {
                if node.kind == Kind::Directory && node.own {
                    self.report.note(Finding::Duplicate, &entry.path);
                }
                (node.kind, node.own, node.basic) = (kind, true, Some(metadata.basic));
                self.current = Some(entry.path.clone());
                return files.describe(&host, metadata);
            }
            if self.rule == Rule::Base {
                return self.refuse(entry, "the layer has something of this name already");
            }
            if node.own {
                self.report.note(Finding::Duplicate, &entry.path);
            }
            files.remove(&host)?;
            self.forget(&entry.path);
        }
        let new = match &entry.kind {
            EntryKind::Symlink { target } => NewFile::Link { target, directory: is_directory },
            EntryKind::Directory => NewFile::Directory,
            _ => NewFile::File,
        };
        files.create(&host, new, metadata)?;
        let basic = is_directory.then_some(metadata.basic);
        self.nodes.insert(key, Node { host, kind, own: true, basic });
        self.current = Some(entry.path.clone());
        if let EntryKind::File { size, segments } = &entry.kind {
            files.begin_data(*size, segments.as_deref())?;
            if let Some(copy) = boot::copy_of(&entry.path) {
                let path = self.boot.join(copy);
                let mut content = Content::new(File::create(&path).doing("make the file", &path)?);
                content.begin(*size, segments.as_deref());
                self.aside = Some(content);
            }
        }
        Ok(())
    }

    /// Where an entry's file is to be. Its directories are made when no entry has spoken of them.
    fn host(&mut self, files: &mut dyn InPlaceWriter, entry: &Entry) -> Result<PathBuf> {
        let mut host = self.root.clone();
        let mut path = LayerPath::root();
        let mut components = entry.path.components().peekable();
        while let Some(name) = components.next() {
            path = path.join(name);
            let is_last = components.peek().is_none();
            if is_last {
                self.check_name(entry, name)?;
            }
            let node = self.nodes.get(&fold(path.as_bytes()));
            if is_last {
                return match (places::component(name), node) {
                    // Another spelling of what is there, which is replaced or described.
                    (_, Some(node)) => Ok(node.host.clone()),
                    (Some(name), None) => Ok(host.join(name)),
                    (None, None) => self.refuse(entry, "no file can have this name here"),
                };
            }
            host = match node {
                Some(Node { host, kind: Kind::Directory | Kind::Implicit, .. }) => host.clone(),
                Some(_) => return self.refuse(entry, "it lies below something that is no directory"),
                None => {
                    self.check_name(entry, name)?;
                    let Some(name) = places::component(name) else {
                        return self.refuse(entry, "no directory can have such a name here");
                    };
                    let made = host.join(name);
                    let mut metadata = WindowsMetadata::default();
                    metadata.basic.attributes = FileAttributes::DIRECTORY;
                    files.create(&made, NewFile::Directory, &metadata)?;
                    files.close()?;
                    self.report.note(Finding::ImplicitDirectory, &path);
                    let node = Node { host: made.clone(), kind: Kind::Implicit, own: true, basic: None };
                    self.nodes.insert(fold(path.as_bytes()), node);
                    made
                }
            };
        }
        Ok(host)
    }

    fn check_name(&mut self, entry: &Entry, name: &[u8]) -> Result<()> {
        match check_component(name) {
            Ok(()) => Ok(()),
            Err(NameProblem::Reserved { character: '\\' | ':', .. }) => {
                self.refuse(entry, "a name cannot have a backslash or a colon in it")
            }
            Err(_) => {
                self.report.note(Finding::WindowsName, &entry.path);
                Ok(())
            }
        }
    }

    /// A hard link of a base layer, to a file that came before.
    fn link(&mut self, files: &mut dyn InPlaceWriter, entry: &Entry, target: &LayerPath) -> Result<()> {
        let missing = || Error::MissingLinkTarget {
            layer: self.layer.clone(),
            name: entry.path.clone(),
            target: target.clone(),
        };
        let found = self.nodes.get(&fold(target.as_bytes())).ok_or_else(missing)?;
        let from = match found.kind {
            Kind::File | Kind::Link => found.host.clone(),
            Kind::Directory | Kind::Implicit => {
                return self.refuse(entry, "its target is a directory");
            }
        };
        let kind = found.kind;
        let host = self.host(files, entry)?;
        let key = fold(entry.path.as_bytes());
        if self.nodes.contains_key(&key) {
            return self.refuse(entry, "the layer has something of this name already");
        }
        super::links::make_one(files, &from, &host)?;
        self.nodes.insert(key, Node { host, kind, own: true, basic: None });
        self.made_links += 1;
        Ok(())
    }

    /// A whiteout: what was copied from the parent goes, what this layer has stays.
    fn remove(&mut self, files: &mut dyn InPlaceWriter, entry: &Entry) -> Result<()> {
        if !self.nodes.contains_key(&fold(entry.path.as_bytes())) {
            return self.refuse(entry, "the parent's utility VM does not have it");
        }
        self.prune(files, &entry.path, true)
    }

    /// Removes what is below `path`, and with `itself` that too, but for what this layer has.
    fn prune(&mut self, files: &mut dyn InPlaceWriter, path: &LayerPath, itself: bool) -> Result<()> {
        let top = fold(path.as_bytes());
        let concerned = |key: &[u8]| is_below(key, top.as_bytes()) || itself && key == top.as_bytes();
        // What this layer has, and the directories that lead there.
        let mut stays: HashSet<&[u8]> = HashSet::new();
        for (key, _) in self.nodes.iter().filter(|(_, node)| node.own) {
            stays.insert(key.as_bytes());
            stays.extend(directories_of(key.as_bytes()));
        }
        let mut gone: Vec<FoldedName> = Vec::new();
        for key in self.nodes.keys().filter(|key| concerned(key.as_bytes())) {
            if !stays.contains(key.as_bytes()) {
                gone.push(key.clone());
            }
        }
        // A directory goes with all that is in it, so only the uppermost are removed.
        let names: HashSet<&[u8]> = gone.iter().map(FoldedName::as_bytes).collect();
        let mut removed: Vec<PathBuf> = Vec::new();
        for key in &gone {
            let goes_with_another = directories_of(key.as_bytes()).any(|directory| names.contains(directory));
            if !goes_with_another && let Some(node) = self.nodes.get(key) {
                removed.push(node.host.clone());
            }
        }
        removed.sort_unstable();
        for host in &removed {
            files.remove(host)?;
        }
        for key in &gone {
            self.nodes.remove(key);
        }
        Ok(())
    }

    /// Something was removed, with all below it.
    fn forget(&mut self, path: &LayerPath) {
        let top = fold(path.as_bytes());
        self.nodes.remove(&top);
        self.nodes.retain(|key, _| !is_below(key.as_bytes(), top.as_bytes()));
    }
}

/// The directories that a folded path is in.
fn directories_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// Whether one folded path is below another.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() && !path.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}
