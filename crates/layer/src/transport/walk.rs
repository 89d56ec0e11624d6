//! Walking the folder: names in the order of their bytes, descriptions put aside.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Doing, Error};
use super::names::is_sidecar;
use super::{FILES, HIVES, SIDECAR, UTILITY_VM, canonical, host};
use crate::path::{LayerPath, display_name};

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The names but for descriptions, by their bytes.
    pub(super) items: Vec<Item>,
    /// The descriptions of directories, by their bytes.
    pub(super) sidecars: Vec<Item>,
}

/// A name and how the host spells it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) name: Vec<u8>,
    pub(super) host: OsString,
}

impl Listing {
    pub(super) fn read(directory: &Path) -> Result<Self, Error> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(directory).doing("read the directory", directory)? {
            let host = entry.doing("read the directory", directory)?.file_name();
            let item = Item { name: host::component_bytes(&host), host };
            if is_sidecar(&item.name) { &mut listing.sidecars } else { &mut listing.items }.push(item);
        }
        listing.items.sort_by(|a, b| a.name.cmp(&b.name));
        listing.sidecars.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Takes out the description of the directory called `name`.
    pub(super) fn take_sidecar(&mut self, directory: &Path, name: &[u8]) -> Result<Option<Item>, Error> {
        let wanted = [name, SIDECAR.as_bytes()].concat();
        let at = position(directory, &self.sidecars, &wanted)?;
        Ok(at.map(|at| self.sidecars.remove(at)))
    }

    /// Takes out the item called `name`.
    pub(super) fn take_item(&mut self, directory: &Path, name: &str) -> Result<Option<Item>, Error> {
        let at = position(directory, &self.items, name.as_bytes())?;
        Ok(at.map(|at| self.items.remove(at)))
    }
}

/// The one item of this name: spelled like it, or else the only one that differs by case.
fn position(directory: &Path, items: &[Item], name: &[u8]) -> Result<Option<usize>, Error> {
    if let Ok(at) = items.binary_search_by(|item| item.name.as_slice().cmp(name)) {
        return Ok(Some(at));
    }
    let mut alike =
        items.iter().enumerate().filter(|(_, item)| layerstone_nt::name::eq_ignore_case(&item.name, name));
    match (alike.next(), alike.next()) {
        (Some((_, one)), Some((_, other))) => Err(Error::Ambiguous {
            directory: directory.to_path_buf(),
            one: display_name(&one.name).to_string(),
            other: display_name(&other.name).to_string(),
        }),
        (found, _) => Ok(found.map(|(at, _)| at)),
    }
}

/// Finds a name in a directory as Windows would, on a host that tells cases apart as well: the same spelling first, else the only
/// name that differs by case (`Layout` and `layout`).
///
/// # Errors
/// When the directory cannot be read, or has several names that differ by case only.
pub fn find_ignoring_case(directory: &Path, name: &str) -> Result<Option<PathBuf>, Error> {
    match fs::symlink_metadata(directory.join(name)) {
        Ok(_) => return Ok(Some(directory.join(name))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(source).doing("look at", directory.join(name)),
    }
    let found = Listing::read(directory)?.take_item(directory, name)?;
    Ok(found.map(|item| directory.join(item.host)))
}

/// One directory on the way down.
#[derive(Debug)]
pub(super) struct Level {
    /// The directory in the layer.
    pub(super) path: LayerPath,
    /// And on the host.
    pub(super) host: PathBuf,
    /// Whether files in it are blobs.
    pub(super) blobs: bool,
    /// What is still to come, the last one first.
    pub(super) items: Vec<Item>,
    /// Descriptions that no directory has claimed.
    pub(super) listing: Listing,
}

impl Level {
    pub(super) fn new(path: LayerPath, host: PathBuf, blobs: bool) -> Result<Self, Error> {
        let mut listing = Listing::read(&host)?;
        let mut items = std::mem::take(&mut listing.items);
        items.reverse();
        Ok(Level { path, host, blobs, items, listing })
    }

    /// Gives the names that the format fixes their spelling, and sorts again.
    pub(super) fn fix_names(&mut self) -> Result<(), Error> {
        for fixed in [FILES, HIVES, UTILITY_VM] {
            if canonical(&self.path, fixed.as_bytes()) != fixed.as_bytes() {
                continue;
            }
            if let Some(mut item) = self.take(fixed)? {
                item.name = fixed.as_bytes().to_vec();
                self.items.push(item);
            }
        }
        self.items.sort_by(|a, b| b.name.cmp(&a.name));
        Ok(())
    }

    /// Takes an item out, by its name in any case.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<Item>, Error> {
        // A listing is in rising order.
        self.items.reverse();
        self.listing.items = std::mem::take(&mut self.items);
        self.listing.items.sort_by(|a, b| a.name.cmp(&b.name));
        let taken = self.listing.take_item(&self.host, name);
        self.items = std::mem::take(&mut self.listing.items);
        self.items.reverse();
        taken
    }

    /// Whether the directory has a description of the one called `name`.
    pub(super) fn describes(&mut self, name: &str) -> Result<bool, Error> {
        let Some(sidecar) = self.listing.take_sidecar(&self.host, name.as_bytes())? else { return Ok(false) };
        self.listing.sidecars.push(sidecar);
        self.listing.sidecars.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(true)
    }
}
