//! A virtual disk over several steps.

use std::path::{Path, PathBuf};

use super::error::Result;
use super::steps::patiently;
use super::{LayerStorage, NewDisk};

/// A virtual disk that is open for some of the steps, and closed in others.
pub(super) struct StepDisk<'a, S: LayerStorage> {
    storage: &'a S,
    path: PathBuf,
    handle: Option<S::Disk>,
    attached: bool,
}

impl<'a, S: LayerStorage> StepDisk<'a, S> {
    /// The disk in this file, not open, and perhaps not there yet.
    pub(super) fn new(storage: &'a S, path: PathBuf) -> Self {
        StepDisk { storage, path, handle: None, attached: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn create(&mut self, disk: &NewDisk) -> Result<()> {
        self.handle = Some(self.storage.create_disk(&self.path, disk)?);
        Ok(())
    }

    /// The open disk. Steps that are undone after the disk was closed open it again.
    pub(super) fn open(&mut self) -> Result<&S::Disk> {
        let handle = match self.handle.take() {
            Some(handle) => handle,
            None => self.storage.open_disk(&self.path)?,
        };
        Ok(self.handle.insert(handle))
    }

    pub(super) fn close(&mut self) -> Result<()> {
        match self.handle.take() {
            Some(handle) => self.storage.close_disk(handle),
            None => Ok(()),
        }
    }

    pub(super) fn format(&mut self) -> Result<()> {
        let storage = self.storage;
        storage.format_writable_layer_vhd(self.open()?)
    }

    pub(super) fn attach(&mut self) -> Result<()> {
        let storage = self.storage;
        let handle = self.open()?;
        patiently(|| storage.attach_disk(handle))?;
        self.attached = true;
        Ok(())
    }

    pub(super) fn detach(&mut self) -> Result<()> {
        let storage = self.storage;
        let handle = self.open()?;
        patiently(|| storage.detach_disk(handle))?;
        self.attached = false;
        Ok(())
    }

    /// Detaches the disk unless a step has done that since it was attached.
    pub(super) fn detach_if_attached(&mut self) -> Result<()> {
        if self.attached { self.detach() } else { Ok(()) }
    }

    /// The volume on the disk, as the storage names it.
    pub(super) fn volume(&mut self) -> Result<PathBuf> {
        let storage = self.storage;
        let handle = self.open()?;
        patiently(|| storage.layer_vhd_mount_path(handle))
    }
}
