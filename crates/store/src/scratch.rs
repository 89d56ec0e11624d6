//! Scratches: writable layers over an image.
//!
//! ```text
//! scratch/<name>/
//!   scratch.json   which image and layers it lies over
//!   upper/         overlayfs's upper directory: what has changed, in overlayfs's own form
//!   work/          overlayfs's work directory
//! ```
//!
//! The upper directory stands for the root of the layer, `Files/` included for a Windows image.
//!
//! A scratch that nobody wants to see again after a power cut is *volatile*: it lies in `volatile/<boot id>/<name>/`, in the same
//! form, and nothing of it is ever synced. What that directory holds of an earlier boot is garbage, whatever state it is in.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use layerstone_layer::Os;
use layerstone_oci::{ChainId, Digest, durable};
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::image::StoredImage;
use crate::leftovers::remove_tree;
use crate::root::{
    SharedLock, Store, read_dir_or_empty, read_json, sync_directory, write_staged_json, write_unsynced_json,
};

/// Name of the file that says what a scratch is.
const DESCRIPTION: &str = "scratch.json";

/// The longest name of a scratch.
const MAX_NAME: usize = 128;

/// What `scratch.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchDescription {
    /// Version of the form of this file.
    pub format: u32,
    /// The image's name when the scratch was made.
    pub image: String,
    /// The image's manifest: it keeps the image's layers from being collected.
    pub manifest: Digest,
    /// The layers below, base first.
    pub chain_ids: Vec<ChainId>,
    /// The operating system whose rules apply.
    pub os: Os,
}

/// A scratch.
#[derive(Debug, Clone)]
pub struct Scratch {
    name: String,
    path: PathBuf,
    description: ScratchDescription,
}

impl Scratch {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// overlayfs's upper directory: the changes.
    pub fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }

    /// overlayfs's work directory.
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// What `scratch.json` says.
    pub fn description(&self) -> &ScratchDescription {
        &self.description
    }
}

/// A scratch's name becomes a directory's.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fine = !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fine { Ok(()) } else { Err(Error::ScratchName(name.to_owned())) }
}

impl Store {
    /// Makes a scratch over `image`.
    ///
    /// # Errors
    /// When the name is taken or unusable, or a layer of the image is not stored.
    pub fn create_scratch(&self, name: &str, image: &StoredImage) -> Result<Scratch> {
        check_name(name)?;
        let _shared = self.lock_shared()?;
        let description = self.describe_scratch(image)?;
        let path = self.scratch_root().join(name);
        if self.scratch_place(name)?.exists() {
            return Err(Error::ScratchExists(name.to_owned()));
        }
        let staging = self.stage()?;
        let staged = staging.path().join("scratch");
        self.fill_scratch(&staged, &description)?;
        write_staged_json(&staged.join(DESCRIPTION), &description)?;
        match self.publish(&staged, &path) {
            // Two processes at once: rename does not replace a directory that is not empty. Windows calls that access
            // denied.
            Err(Error::Io { source, .. })
                if matches!(source.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists)
                    || (cfg!(windows) && path.exists()) =>
            {
                Err(Error::ScratchExists(name.to_owned()))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Scratch { name: name.to_owned(), path, description }),
        }
    }

    /// Makes a scratch that does not outlive this boot, and of which nothing is synced: for what is thrown away in any case.
    /// Attach it [volatile](crate::AttachOptions). Where boots cannot be told apart, it is a scratch like any other.
    ///
    /// # Errors
    /// As [`create_scratch`](Self::create_scratch).
    pub fn create_volatile_scratch(&self, name: &str, image: &StoredImage) -> Result<Scratch> {
        let Some(root) = self.volatile_root()? else { return self.create_scratch(name, image) };
        check_name(name)?;
        let _shared = self.lock_shared()?;
        let description = self.describe_scratch(image)?;
        let exists = || Error::ScratchExists(name.to_owned());
        if self.scratch_root().join(name).exists() {
            return Err(exists());
        }
        fs::create_dir_all(&root).doing("create", &root)?;
        let path = root.join(name);
        match self.fill_scratch(&path, &description) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
                return Err(exists());
            }
            filled => filled?,
        }
        // Last: without it, the scratch is not there yet.
        write_unsynced_json(&path.join(DESCRIPTION), &description)?;
        Ok(Scratch { name: name.to_owned(), path, description })
    }

    fn describe_scratch(&self, image: &StoredImage) -> Result<ScratchDescription> {
        let chain_ids = image.chain_ids();
        for chain in &chain_ids {
            if !self.has_layer(chain)? {
                return Err(Error::NoLayer(*chain));
            }
        }
        Ok(ScratchDescription {
            format: 1,
            image: image.name.clone(),
            manifest: image.manifest.digest(),
            chain_ids,
            os: image.os(),
        })
    }

    /// Makes the directories of a scratch.
    fn fill_scratch(&self, path: &Path, description: &ScratchDescription) -> Result<()> {
        for directory in [path, &path.join("upper"), &path.join("work")] {
            fs::create_dir(directory).doing("create", directory)?;
        }
        if let Some(root) = self.merged(&description.chain_ids, description.os)?.root()? {
            crate::upper::prepare_root(&path.join("upper"), &root.node)?;
        }
        Ok(())
    }

    /// Where the volatile scratch of that name is, or would be, in this boot.
    ///
    /// # Errors
    /// When the system does not tell which boot it is.
    pub fn volatile_place(&self, name: &str) -> Result<PathBuf> {
        Ok(self.volatile_root()?.unwrap_or_else(|| self.scratch_root()).join(name))
    }

    /// Where the scratch of that name is, or would be.
    fn scratch_place(&self, name: &str) -> Result<PathBuf> {
        let place = self.scratch_root().join(name);
        Ok(match self.volatile_root()? {
            Some(root) if !place.exists() && root.join(name).exists() => root.join(name),
            _ => place,
        })
    }

    /// Opens a scratch.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn scratch(&self, name: &str) -> Result<Scratch> {
        check_name(name)?;
        let path = self.scratch_place(name)?;
        if !path.is_dir() {
            return Err(Error::NoScratch(name.to_owned()));
        }
        let description = read_json(&path.join(DESCRIPTION))?;
        Ok(Scratch { name: name.to_owned(), path, description })
    }

    /// The names of the volatile scratches of this boot. One that is just being made or removed does not count.
    pub(crate) fn volatile_names(&self) -> Result<Vec<String>> {
        let Some(root) = self.volatile_root()? else { return Ok(Vec::new()) };
        let entries = read_dir_or_empty(&root)?.into_iter();
        let whole = entries.filter(|entry| entry.path().join(DESCRIPTION).exists());
        let names = whole.filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| check_name(name).is_ok()).collect())
    }

    /// What is left of volatile scratches: those of earlier boots, and those of this one that are half made or half removed.
    /// Only right while the store is held alone, because whoever makes or removes one holds it too.
    pub(crate) fn volatile_leftovers(&self) -> Result<Vec<PathBuf>> {
        let Some(root) = self.volatile_root()? else { return Ok(Vec::new()) };
        let all = root.parent().map_or_else(|| Ok(Vec::new()), read_dir_or_empty)?;
        let mut left: Vec<PathBuf> =
            all.into_iter().map(|entry| entry.path()).filter(|path| *path != root).collect();
        let own = read_dir_or_empty(&root)?.into_iter().map(|entry| entry.path());
        left.extend(own.filter(|path| !path.join(DESCRIPTION).exists()));
        Ok(left)
    }

    /// All scratches, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn scratches(&self) -> Result<Vec<Scratch>> {
        let mut scratches = Vec::new();
        for entry in read_dir_or_empty(&self.scratch_root())? {
            if let Some(name) = entry.file_name().to_str()
                && check_name(name).is_ok()
            {
                scratches.push(self.scratch(name)?);
            }
        }
        for name in self.volatile_names()? {
            match self.scratch(&name) {
                // It has gone meanwhile, as these do all the time.
                Err(_) if !self.volatile_names()?.contains(&name) => {}
                scratch => scratches.push(scratch?),
            }
        }
        scratches.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(scratches)
    }

    /// Removes a scratch that is not attached. Its directory vanishes by one rename; what is in it is removed then.
    ///
    /// # Errors
    /// When there is none, it is attached, or it cannot be removed.
    pub fn remove_scratch(&self, name: &str) -> Result<()> {
        check_name(name)?;
        if let Some(discarded) = self.discard_volatile_scratch(name)? {
            return discarded.remove();
        }
        let scratch = self.scratch(name)?;
        let _shared = self.lock_shared()?;
        let staging = self.stage()?;
        let aside = staging.path().join("removed");
        self.while_detached(&scratch, || {
            durable::rename(&scratch.path, &aside).doing("remove", &scratch.path)?;
            sync_directory(&self.scratch_root())
        })?;
        remove_tree(&aside)
    }

    /// Makes a volatile scratch vanish, also one whose maker died on the way. What it held is still to be removed, which may
    /// take much longer. `None` when there is none of that name.
    ///
    /// # Errors
    /// When it is attached, or the system refuses.
    pub fn discard_volatile_scratch(&self, name: &str) -> Result<Option<DiscardedScratch>> {
        check_name(name)?;
        let Some(path) = self.volatile_root()?.map(|root| root.join(name)).filter(|path| path.is_dir())
        else {
            return Ok(None);
        };
        let shared = self.lock_shared()?;
        // Without its description it is not there any more.
        let description = path.join(DESCRIPTION);
        if description.exists() {
            let scratch = self.scratch(name)?;
            self.while_detached(&scratch, || fs::remove_file(&description).doing("remove", &description))?;
        }
        Ok(Some(DiscardedScratch { path, _shared: shared }))
    }
}

/// What a scratch has held that nobody can see any more. If this is dropped, or its process dies, a garbage collection removes it.
#[derive(Debug)]
#[must_use = "what it held takes disk space until it is removed"]
pub struct DiscardedScratch {
    path: PathBuf,
    _shared: SharedLock,
}

impl DiscardedScratch {
    /// Removes it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(self) -> Result<()> {
        remove_tree(&self.path)
    }
}
