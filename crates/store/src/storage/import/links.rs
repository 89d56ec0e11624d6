//! Hard links of an imported layer.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use layerstone_hcs::LayerChain;
use layerstone_layer::LayerPath;
use layerstone_nt::name::{FoldedName, eq_ignore_case, fold};

use crate::storage::base::UTILITY_VM;
use crate::storage::error::{Error, Result};
use crate::storage::in_place::InPlaceWriter;
use crate::storage::places;

/// A hard link to be made.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: LayerPath,
    pub(super) target: LayerPath,
}

impl Link {
    fn missing(&self, layer: &Path) -> Error {
        Error::MissingLinkTarget {
            layer: layer.to_path_buf(),
            name: self.name.clone(),
            target: self.target.clone(),
        }
    }

    fn refused(&self, layer: &Path, why: &'static str) -> Error {
        Error::Entry { layer: layer.to_path_buf(), entry: self.name.clone(), kind: "hard link", why }
    }
}

/// Where links are made, and where their targets may be.
pub(super) struct Places<'a> {
    pub(super) layer: &'a Path,
    pub(super) chain: &'a LayerChain,
    /// The transport folder: what this layer has of its own.
    pub(super) staged: &'a Path,
}

impl Places<'_> {
    /// Makes the links, each replacing what is there, and looks whether they are links. One that leads to the name of another
    /// waits for that.
    pub(super) fn make(&self, files: &mut dyn InPlaceWriter, mut links: Vec<Link>) -> Result<()> {
        let mut waiting: HashSet<FoldedName> = links.iter().map(|link| fold(link.name.as_bytes())).collect();
        let mut made: HashSet<FoldedName> = HashSet::new();
        while let Some(first) = links.first() {
            let circle = first.missing(self.layer);
            let (ready, later): (Vec<_>, Vec<_>) = links.into_iter().partition(|link| {
                let (name, target) = (fold(link.name.as_bytes()), fold(link.target.as_bytes()));
                name == target || !waiting.contains(&target)
            });
            if ready.is_empty() {
                return Err(circle);
            }
            for link in &ready {
                let in_layer = made.contains(&fold(link.target.as_bytes()));
                let target = self.target(link, in_layer)?;
                let name = self.name(files, link)?;
                make_one(files, &target, &name)?;
            }
            for link in ready {
                let name = fold(link.name.as_bytes());
                waiting.remove(&name);
                made.insert(name);
            }
            links = later;
        }
        Ok(())
    }

    /// The file that a link is to be a name of: of this layer when it has one there, else of the nearest parent that has.
    fn target(&self, link: &Link, in_layer: bool) -> Result<PathBuf> {
        let path = || link.target.components();
        let in_vm = path().next().is_some_and(|first| eq_ignore_case(first, UTILITY_VM.as_bytes()));
        if in_vm || in_layer || places::walk(self.staged, path())?.is_some() {
            return match places::walk(self.layer, path())? {
                Some((host, stat)) if !stat.is_dir() => Ok(host),
                Some(_) => Err(link.refused(self.layer, "its target is a directory")),
                None => Err(link.missing(self.layer)),
            };
        }
        for parent in self.chain.parents() {
            match places::walk(&places::literal(&parent.path)?, path())? {
                Some((_, stat)) if is_placeholder(&stat) => {}
                Some((host, stat)) if !stat.is_dir() => return Ok(host),
                Some(_) => return Err(link.refused(self.layer, "its target is a directory")),
                None => {}
            }
        }
        Err(link.missing(self.layer))
    }

    /// Where the link is to be, with nothing there.
    fn name(&self, files: &mut dyn InPlaceWriter, link: &Link) -> Result<PathBuf> {
        let nameless = || link.refused(self.layer, "no file can have this name here");
        let (parent, name) = link.name.split_last().ok_or_else(nameless)?;
        let component = places::component(name).ok_or_else(nameless)?;
        let Some((folder, _)) =
            places::walk(self.layer, parent.components())?.filter(|(_, stat)| places::is_directory(stat))
        else {
            return Err(link.refused(self.layer, "the layer has no directory for it"));
        };
        if let Some(there) = places::find(&folder, name)? {
            let staged = places::walk(self.staged, link.name.components())?;
            if staged.is_some_and(|(_, stat)| stat.is_dir()) {
                return Err(link.refused(self.layer, "the layer has a directory of this name"));
            }
            files.remove(&there)?;
        }
        Ok(folder.join(component))
    }
}

/// Makes a hard link and looks whether it is one.
pub(super) fn make_one(files: &mut dyn InPlaceWriter, target: &Path, name: &Path) -> Result<()> {
    files.hard_link(target, name)?;
    if places::is_same_file(target, name)? {
        return Ok(());
    }
    Err(Error::NotLinked { name: name.to_path_buf(), target: target.to_path_buf() })
}

/// What an imported layer has in the place of a parent's file: a reparse point that is no link. Linking it would not share the file.
fn is_placeholder(stat: &Metadata) -> bool {
    places::is_link(stat) && !stat.file_type().is_symlink()
}
