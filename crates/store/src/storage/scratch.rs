//! A scratch, from its disk to its mount.
//!
//! ```text
//! on a disk    folder ─► sandbox.vhdx ─► [larger] ─► open ─► [format] ─► attach ─► volume path ─► initialize ─► close ─► filter
//! in a folder  folder ─► initialize ─► filter
//! ```
//!
//! A disk is made larger before anything attaches it. It is attached for good, so the handle is closed before the filter
//! is attached: the filter wants the volume for itself. The calls that take a volume get its path with a backslash at
//! the end, and never an empty path, which is what an attachment without administrator rights yields.
//!
//! Undone, and taken down, in exactly the reverse order.

use std::fmt;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use layerstone_hcs::{LayerChain, WritableLayerOptions};

use super::disk::StepDisk;
use super::error::{Error, Result};
use super::places::Claimed;
use super::steps::{Failed, Steps, patiently};
use super::{LayerStorage, NewDisk, ScratchForm, places};
use crate::error::IoContext as _;

/// The disk of a scratch.
pub const SANDBOX_DISK: &str = "sandbox.vhdx";
/// The disk of a base layer that scratches are copies of.
pub const BLANK_DISK: &str = "blank.vhdx";
/// How large a disk is when nobody says otherwise: 20 GiB, what Windows containers have by default.
pub const DEFAULT_DISK_SIZE: u64 = 20 << 30;

/// What the disk of a new scratch is made from. Of no meaning where scratches are folders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScratchDisk {
    /// A copy of the base layer's `blank.vhdx` when it has one; else an empty disk.
    #[default]
    Auto,
    /// A copy of the base layer's `blank.vhdx`.
    CopyOfBlank,
    /// A disk that stores what differs from the base layer's `blank.vhdx`. Neither may be moved afterwards.
    DifferencingOfBlank,
    /// An empty disk, which is formatted.
    Empty,
}

/// How a scratch is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScratchOptions {
    /// Its size in bytes, as the container sees it. A smaller size than that of the disk it is made from changes nothing.
    pub size: Option<u64>,
    /// What its disk is made from.
    pub disk: ScratchDisk,
    /// The options of the call that initializes it.
    pub writable_layer: WritableLayerOptions,
}

/// A scratch that is attached: its mount shows the parents, and takes changes. Dropping it detaches it; what was changed
/// stays in its folder.
pub struct ScratchLayer<'a, S: LayerStorage> {
    storage: &'a S,
    folder: PathBuf,
    chain: LayerChain,
    /// What the calls take: the volume or the folder.
    path: PathBuf,
    filter_attached: bool,
    disk_attached: bool,
}

/// A scratch that is not attached: what it takes to attach it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachedScratch {
    /// Its folder.
    pub folder: PathBuf,
    /// The parents that it was made over.
    pub chain: LayerChain,
}

/// A scratch that could not be detached. It is still attached, at least in part; detaching may be tried again.
///
/// Turned into [`Error`], which is what `?` does, it is dropped, and so tried once more.
pub struct DetachError<'a, S: LayerStorage> {
    /// Why not.
    pub error: Error,
    /// The scratch.
    pub scratch: Box<ScratchLayer<'a, S>>,
}

impl<'a, S: LayerStorage> ScratchLayer<'a, S> {
    /// Makes a scratch in `folder`, which must be absent or empty, over the layers of `chain`, and attaches it.
    ///
    /// # Errors
    /// [`Error::Step`], which says what could not be done; what was done before is undone, so that nothing is left.
    pub fn create(
        storage: &'a S,
        folder: &Path,
        chain: &LayerChain,
        options: &ScratchOptions,
    ) -> Result<Self> {
        let Some(base) = chain.base_layer() else {
            return Err(Error::Invalid {
                path: folder.to_path_buf(),
                why: "a scratch needs a parent layer".to_owned(),
            });
        };
        match storage.scratch_form() {
            ScratchForm::Folder => Self::create_folder(storage, folder, chain, options),
            ScratchForm::Disk => Self::create_disk(storage, folder, chain, &base.path, options),
        }
    }

    fn create_folder(
        storage: &'a S,
        folder: &Path,
        chain: &LayerChain,
        options: &ScratchOptions,
    ) -> Result<Self> {
        Steps::run(folder, (), |steps| {
            let claimed = make_folder(steps, folder)?;
            steps.step("initialize the scratch", |()| {
                storage.initialize_writable_layer(folder, chain, &options.writable_layer)
            })?;
            steps.undo("remove the scratch", move |()| {
                destroy(storage, folder)?;
                if claimed == Claimed::Empty { places::claim(folder).map(drop) } else { Ok(()) }
            });
            if let Some(size) = options.size {
                steps.step("make the scratch larger", |()| storage.expand_scratch(folder, size))?;
            }
            steps.step("attach the filter", |()| {
                patiently(|| storage.attach_layer_storage_filter(folder, chain))
            })?;
            Ok(Self::attached(storage, folder, chain, folder.to_path_buf(), false))
        })
    }

    fn create_disk(
        storage: &'a S,
        folder: &Path,
        chain: &LayerChain,
        base: &Path,
        options: &ScratchOptions,
    ) -> Result<Self> {
        let disk = StepDisk::new(storage, folder.join(SANDBOX_DISK));
        Steps::run(folder, disk, |steps| {
            make_folder(steps, folder)?;
            let source = steps.step("find the base layer's blank disk", |_| source(base, options))?;
            match &source {
                Source::Copy(blank) => {
                    let copy = steps.step("create the disk", |disk| {
                        File::create_new(disk.path()).doing("make the file", disk.path()).map_err(Into::into)
                    })?;
                    steps.undo("remove the disk", |disk| places::remove(disk.path()));
                    steps.step("copy the blank disk", |_| fill(copy, blank))?;
                }
                Source::New(new) => {
                    steps.step("create the disk", |disk| disk.create(new))?;
                    steps.undo("remove the disk", |disk| places::remove(disk.path()));
                    steps.undo("close the disk", StepDisk::close);
                    steps.step("close the disk", StepDisk::close)?;
                }
            }
            if let Some(size) = options.size
                && !matches!(source, Source::New(NewDisk::Empty { .. }))
            {
                steps.step("make the disk larger", |_| storage.expand_scratch(folder, size))?;
            }
            steps.step("open the disk", |disk| disk.open().map(drop))?;
            steps.undo("close the disk", StepDisk::close);
            if matches!(source, Source::New(NewDisk::Empty { .. })) {
                steps.step("format the disk", StepDisk::format)?;
            }
            let volume = attach_disk(steps)?;
            steps.step("initialize the scratch", |_| {
                storage.initialize_writable_layer(&volume, chain, &options.writable_layer)
            })?;
            steps.step("close the disk", StepDisk::close)?;
            steps.step("attach the filter", |_| {
                patiently(|| storage.attach_layer_storage_filter(&volume, chain))
            })?;
            Ok(Self::attached(storage, folder, chain, volume, true))
        })
    }

    /// Attaches the scratch in `folder`, which was made over the same `chain` and is not attached.
    ///
    /// # Errors
    /// [`Error::Step`]; nothing is attached then, and the scratch's files are as they were.
    pub fn open(storage: &'a S, folder: &Path, chain: &LayerChain) -> Result<Self> {
        if storage.scratch_form() == ScratchForm::Folder {
            return Steps::run(folder, (), |steps| {
                steps.step("attach the filter", |()| {
                    patiently(|| storage.attach_layer_storage_filter(folder, chain))
                })?;
                Ok(Self::attached(storage, folder, chain, folder.to_path_buf(), false))
            });
        }
        let disk = StepDisk::new(storage, folder.join(SANDBOX_DISK));
        Steps::run(folder, disk, |steps| {
            steps.step("open the disk", |disk| disk.open().map(drop))?;
            steps.undo("close the disk", StepDisk::close);
            let volume = attach_disk(steps)?;
            steps.step("close the disk", StepDisk::close)?;
            steps.step("attach the filter", |_| {
                patiently(|| storage.attach_layer_storage_filter(&volume, chain))
            })?;
            Ok(Self::attached(storage, folder, chain, volume, true))
        })
    }

    /// Takes over a scratch that is attached and that nobody holds: one that was [kept](Self::keep), or that a process
    /// left which ended too early.
    ///
    /// # Errors
    /// [`Error::Step`] when its volume cannot be found.
    pub fn adopt(storage: &'a S, folder: &Path, chain: &LayerChain) -> Result<Self> {
        if storage.scratch_form() == ScratchForm::Folder {
            return Ok(Self::attached(storage, folder, chain, folder.to_path_buf(), false));
        }
        let disk = StepDisk::new(storage, folder.join(SANDBOX_DISK));
        Steps::run(folder, disk, |steps| {
            steps.step("open the disk", |disk| disk.open().map(drop))?;
            steps.undo("close the disk", StepDisk::close);
            let volume = steps.step("find the disk's volume", volume)?;
            steps.step("close the disk", StepDisk::close)?;
            Ok(Self::attached(storage, folder, chain, volume, true))
        })
    }

    fn attached(
        storage: &'a S,
        folder: &Path,
        chain: &LayerChain,
        path: PathBuf,
        disk_attached: bool,
    ) -> Self {
        let (folder, chain) = (folder.to_path_buf(), chain.clone());
        ScratchLayer { storage, folder, chain, path, filter_attached: true, disk_attached }
    }

    /// Where its files are: the path of its volume, with a backslash at the end, or a folder.
    pub fn mount_path(&self) -> PathBuf {
        self.storage.scratch_files(&self.path)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The parents that it shows.
    pub fn chain(&self) -> &LayerChain {
        &self.chain
    }

    /// Detaches it. What was changed stays in its folder.
    ///
    /// The disk is not detached from under a filter that stays.
    ///
    /// # Errors
    /// [`DetachError`], which gives the scratch back.
    pub fn detach(mut self) -> Result<DetachedScratch, DetachError<'a, S>> {
        match self.release() {
            Ok(()) => {
                Ok(DetachedScratch { folder: mem::take(&mut self.folder), chain: mem::take(&mut self.chain) })
            }
            Err(error) => Err(DetachError { error, scratch: Box::new(self) }),
        }
    }

    /// Detaches and removes it, with everything that was changed.
    ///
    /// # Errors
    /// As [`Self::detach`] and [`DetachedScratch::destroy`].
    pub fn destroy(self) -> Result<()> {
        let storage = self.storage;
        self.detach()?.destroy(storage)
    }

    /// Leaves it attached, also when this process ends, and returns where its files are. [`Self::adopt`] takes it back.
    #[must_use = "the path is where the scratch stays attached"]
    pub fn keep(mut self) -> PathBuf {
        (self.filter_attached, self.disk_attached) = (false, false);
        self.mount_path()
    }

    /// Detaches what is attached, in reverse order. What was detached before a failure is not tried again.
    fn release(&mut self) -> Result<()> {
        let failed = |step, folder: &Path, source| Error::Step {
            step,
            path: folder.to_path_buf(),
            source: Box::new(source),
            undo: Vec::new(),
        };
        if self.filter_attached {
            patiently(|| self.storage.detach_layer_storage_filter(&self.path))
                .map_err(|source| failed("detach the filter", &self.folder, source))?;
            self.filter_attached = false;
        }
        if self.disk_attached {
            let mut disk = StepDisk::new(self.storage, self.folder.join(SANDBOX_DISK));
            disk.open().map(drop).map_err(|source| failed("open the disk", &self.folder, source))?;
            disk.detach().map_err(|source| failed("detach the disk", &self.folder, source))?;
            self.disk_attached = false;
            disk.close().map_err(|source| failed("close the disk", &self.folder, source))?;
        }
        Ok(())
    }
}

impl<S: LayerStorage> Drop for ScratchLayer<'_, S> {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(scratch = %self.folder.display(), %error, cause, "a scratch stays attached");
        }
    }
}

impl<S: LayerStorage> fmt::Debug for ScratchLayer<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScratchLayer")
            .field("folder", &self.folder)
            .field("chain", &self.chain)
            .field("path", &self.path)
            .field("filter_attached", &self.filter_attached)
            .field("disk_attached", &self.disk_attached)
            .finish_non_exhaustive()
    }
}

impl DetachedScratch {
    /// Attaches it again.
    ///
    /// # Errors
    /// As [`ScratchLayer::open`].
    pub fn attach<S: LayerStorage>(self, storage: &S) -> Result<ScratchLayer<'_, S>> {
        ScratchLayer::open(storage, &self.folder, &self.chain)
    }

    /// Removes it, with everything that was changed.
    ///
    /// # Errors
    /// As [`LayerStorage::destroy_layer`]; [`Error::StillThere`] when the system says that it did and did not.
    pub fn destroy<S: LayerStorage>(self, storage: &S) -> Result<()> {
        destroy(storage, &self.folder)
    }
}

impl<S: LayerStorage> fmt::Debug for DetachError<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachError").field("error", &self.error).field("scratch", &self.scratch).finish()
    }
}

impl<S: LayerStorage> fmt::Display for DetachError<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<S: LayerStorage> std::error::Error for DetachError<'_, S> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<S: LayerStorage> From<DetachError<'_, S>> for Error {
    fn from(failed: DetachError<'_, S>) -> Self {
        failed.error
    }
}

/// Removes a layer or scratch, and looks whether it is gone: Windows has said so of folders that stayed.
pub(super) fn destroy<S: LayerStorage>(storage: &S, folder: &Path) -> Result<()> {
    storage.destroy_layer(folder)?;
    match places::stat(folder)? {
        None => Ok(()),
        Some(_) => Err(Error::StillThere(folder.to_path_buf())),
    }
}

fn make_folder<C>(steps: &mut Steps<'_, C>, folder: &Path) -> Result<Claimed, Failed> {
    let claimed = steps.step("make the folder", |_| places::claim(folder))?;
    let folder = folder.to_path_buf();
    steps.undo("remove the folder", move |_| places::unclaim(&folder, claimed));
    Ok(claimed)
}

/// Copies a disk into a new file, which is closed.
fn fill(mut copy: File, from: &Path) -> Result<()> {
    let mut source = File::open(from).doing("open the disk", from)?;
    io::copy(&mut source, &mut copy).doing("copy the disk", from)?;
    Ok(())
}

/// Attaches the open disk and finds its volume.
fn attach_disk<'a, S: LayerStorage>(steps: &mut Steps<'a, StepDisk<'a, S>>) -> Result<PathBuf, Failed> {
    steps.step("attach the disk", StepDisk::attach)?;
    steps.undo("detach the disk", StepDisk::detach);
    steps.step("find the disk's volume", volume)
}

/// The path of the volume on an open disk, as the calls take it.
fn volume<S: LayerStorage>(disk: &mut StepDisk<'_, S>) -> Result<PathBuf> {
    let mut volume = disk.volume()?.into_os_string();
    if volume.is_empty() {
        return Err(Error::NoVolume(disk.path().to_path_buf()));
    }
    if !volume.as_encoded_bytes().ends_with(b"\\") {
        volume.push("\\");
    }
    Ok(volume.into())
}

/// Where a new disk comes from.
enum Source {
    Copy(PathBuf),
    New(NewDisk),
}

fn source(base: &Path, options: &ScratchOptions) -> Result<Source> {
    let empty = || Source::New(NewDisk::Empty { size: options.size.unwrap_or(DEFAULT_DISK_SIZE) });
    let blank = || blank_disk(base)?.ok_or_else(|| missing_blank(base));
    Ok(match options.disk {
        ScratchDisk::Auto => blank_disk(base)?.map_or_else(empty, Source::Copy),
        ScratchDisk::CopyOfBlank => Source::Copy(blank()?),
        ScratchDisk::DifferencingOfBlank => Source::New(NewDisk::Differencing { parent: blank()? }),
        ScratchDisk::Empty => empty(),
    })
}

fn blank_disk(base: &Path) -> Result<Option<PathBuf>> {
    match places::walk(base, [BLANK_DISK])? {
        None => Ok(None),
        Some((path, stat)) if places::is_file(&stat) => Ok(Some(path)),
        Some((path, _)) => Err(Error::Invalid { path, why: "a blank disk has to be a file".to_owned() }),
    }
}

fn missing_blank(base: &Path) -> Error {
    Error::Missing { what: "blank disk", path: base.join(BLANK_DISK) }
}
