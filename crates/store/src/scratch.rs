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

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use layerstone_layer::Os;
use layerstone_oci::{ChainId, Digest, durable};
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::image::StoredImage;
use crate::leftovers::remove_tree;
use crate::root::{Store, read_dir_or_empty, read_json, sync_directory, write_staged_json};

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
        let chain_ids = image.chain_ids();
        for chain in &chain_ids {
            if !self.has_layer(chain)? {
                return Err(Error::NoLayer(*chain));
            }
        }
        let path = self.scratch_root().join(name);
        if path.exists() {
            return Err(Error::ScratchExists(name.to_owned()));
        }
        let staging = self.stage()?;
        let staged = staging.path().join("scratch");
        for directory in [&staged, &staged.join("upper"), &staged.join("work")] {
            fs::create_dir(directory).doing("create", directory)?;
        }
        if let Some(root) = self.merged(&chain_ids, image.os())?.root()? {
            crate::upper::prepare_root(&staged.join("upper"), &root.node)?;
        }
        let description = ScratchDescription {
            format: 1,
            image: image.name.clone(),
            manifest: image.manifest.digest(),
            chain_ids,
            os: image.os(),
        };
        write_staged_json(&staged.join("scratch.json"), &description)?;
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

    /// Opens a scratch.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn scratch(&self, name: &str) -> Result<Scratch> {
        check_name(name)?;
        let path = self.scratch_root().join(name);
        if !path.is_dir() {
            return Err(Error::NoScratch(name.to_owned()));
        }
        let description = read_json(&path.join("scratch.json"))?;
        Ok(Scratch { name: name.to_owned(), path, description })
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
        scratches.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(scratches)
    }

    /// Removes a scratch that is not attached. Its directory vanishes by one rename; what is in it is removed then.
    ///
    /// # Errors
    /// When there is none, it is attached, or it cannot be removed.
    pub fn remove_scratch(&self, name: &str) -> Result<()> {
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
}
