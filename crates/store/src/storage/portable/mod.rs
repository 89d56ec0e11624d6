//! Layer storage without Windows.
//!
//! ```text
//! <layer>/            a finished layer                    <scratch>/          a writable layer
//!   layer.erofs         content and metadata                writable.json       whose parents it belongs to
//!   layer.split         what the archive had beside         upper/, work/       what has changed, as overlayfs keeps it
//!   layer.json          identity, parent, counts            view/               where the kernel shows it
//!   parents.json        the parents' ids and folders
//! ```
//!
//! A finished layer is the stored layer of this crate in a folder of its own, so the layers of a [`Store`](crate::Store)
//! can stand in a chain as well. Its parents are known by ChainID: a chain in the wrong order cannot be mistaken for
//! another one.
//!
//! What is attached is written down in the runtime directory (see [`attach`](crate::attach)), and believed only as long as
//! the kernel agrees. Where the kernel shows nothing, on systems other than Linux or on request, attaching still takes
//! the layers into use and checks all that has to be true; what the scratch shows is then read through
//! [`Portable::view`].

mod attached;
mod folder;
mod transfer;
mod writable;

use std::io::Read;
use std::path::{Path, PathBuf};

use layerstone_hcs::{ExportLayerOptions, Guid, LayerChain, OsLayerOptions, WritableLayerOptions};
use layerstone_layer::merge::Merged;

use super::{BaseOs, Error, LayerForm, LayerStorage, NewDisk, Result, ScratchForm};
use crate::attach::RUNTIME_DIR_VARIABLE;
use crate::chain::ChainLayer;
use crate::import::Limits;

/// Who shows what an attached scratch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Views {
    /// The kernel, in the scratch's `view`.
    Kernel,
    /// Nobody.
    None,
}

/// Layer storage in plain folders, on any system.
#[derive(Debug, Clone)]
pub struct Portable {
    runtime: PathBuf,
    views: Views,
    limits: Limits,
}

/// Names the ids of layers: they are UUIDs of version 5 in this name space. (Windows' own is not known: there the id comes
/// from `NameToGuid`.)
const LAYER_IDS: Guid = Guid::from_u128(0x0ef6_4fba_9a4b_4c5e_9b0e_6c61_7965_7273);

impl Default for Portable {
    fn default() -> Self {
        Self::new()
    }
}

impl Portable {
    /// Storage that shows scratches through the kernel where that is Linux, and keeps track of them in the directory of
    /// `LAYERSTONE_RUNTIME_DIR` or the system's usual one.
    pub fn new() -> Self {
        let named = std::env::var_os(RUNTIME_DIR_VARIABLE).filter(|value| !value.is_empty());
        Portable {
            runtime: named.map_or_else(attached::default_runtime_dir, PathBuf::from),
            views: if cfg!(target_os = "linux") { Views::Kernel } else { Views::None },
            limits: Limits::default(),
        }
    }

    /// Keeps track of what is attached in this directory. All that use the same layers have to agree on it.
    #[must_use]
    pub fn with_runtime_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.runtime = directory.into();
        self
    }

    /// Mounts nothing: no privilege is needed, and a scratch is read through [`Self::view`] only.
    #[must_use]
    pub fn without_kernel_views(mut self) -> Self {
        self.views = Views::None;
        self
    }

    /// Allows layers of this size.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the kernel shows an attached scratch: `C:\` of the container.
    pub fn mount_point(scratch: &Path) -> PathBuf {
        scratch.join(writable::VIEW)
    }

    /// What a layer with its parents, or a scratch, holds, as one tree (`Files`, `Hives` and all).
    ///
    /// # Errors
    /// As [`LayerStorage::attach_layer_storage_filter`].
    pub fn view(&self, layer: &Path, chain: &LayerChain) -> Result<Merged<ChainLayer>> {
        transfer::view(layer, chain)
    }

    fn no_disks<T>(operation: &'static str, path: &Path) -> Result<T> {
        Err(Error::Unsupported {
            operation,
            path: path.to_path_buf(),
            why: "the portable engine keeps scratches in folders and writes no virtual disks yet",
        })
    }
}

/// No system takes a path with a NUL in it whole.
fn check_paths<const N: usize>(paths: [&Path; N], chain: &LayerChain) -> Result<()> {
    let parents = chain.parents().iter().map(|parent| parent.path.as_path());
    match paths.into_iter().chain(parents).find(|path| path.as_os_str().as_encoded_bytes().contains(&0)) {
        Some(path) => Err(Error::Invalid {
            path: path.to_path_buf(),
            why: "a path cannot have a NUL character in it".into(),
        }),
        None => Ok(()),
    }
}

/// There is no such thing as a disk of the portable engine.
#[derive(Debug)]
pub enum NoDisk {}

impl LayerStorage for Portable {
    type Disk = NoDisk;

    fn scratch_form(&self) -> ScratchForm {
        ScratchForm::Folder
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Packed
    }

    fn scratch_files(&self, writable: &Path) -> PathBuf {
        Self::mount_point(writable)
    }

    fn layer_id(&self, layer: &Path) -> Result<Guid> {
        match layer.file_name() {
            Some(name) => Ok(Guid::new_v5(&LAYER_IDS, name.as_encoded_bytes())),
            None => Err(Error::Invalid {
                path: layer.to_path_buf(),
                why: "a layer's id comes from the name of its folder, and this path has none".into(),
            }),
        }
    }

    fn import_layer(&self, layer: &Path, source: &Path, chain: &LayerChain) -> Result<()> {
        check_paths([layer, source], chain)?;
        transfer::import_folder(self, layer, source, chain)
    }

    fn import_archive(
        &self,
        layer: &Path,
        archive: &mut (dyn Read + Send),
        chain: &LayerChain,
    ) -> Result<()> {
        check_paths([layer], chain)?;
        transfer::import_archive(self, layer, archive, chain)
    }

    fn export_layer(
        &self,
        layer: &Path,
        destination: &Path,
        chain: &LayerChain,
        options: &ExportLayerOptions,
    ) -> Result<()> {
        check_paths([layer, destination], chain)?;
        transfer::export(self, layer, destination, chain, options.is_writable_layer)
    }

    fn destroy_layer(&self, layer: &Path) -> Result<()> {
        check_paths([layer], &LayerChain::base())?;
        folder::destroy(self, layer)
    }

    fn setup_base_os_layer(
        &self,
        layer: &Path,
        _target: BaseOs<'_, NoDisk>,
        _options: &OsLayerOptions,
    ) -> Result<()> {
        Self::no_disks("set up the base layer", layer)
    }

    fn setup_base_os_volume(&self, layer: &Path, _volume: &Path, _options: &OsLayerOptions) -> Result<()> {
        Self::no_disks("set up the base layer", layer)
    }

    fn initialize_writable_layer(
        &self,
        layer: &Path,
        chain: &LayerChain,
        _options: &WritableLayerOptions,
    ) -> Result<()> {
        check_paths([layer], chain)?;
        writable::initialize(layer, chain)
    }

    fn attach_layer_storage_filter(&self, layer: &Path, chain: &LayerChain) -> Result<()> {
        check_paths([layer], chain)?;
        writable::attach(self, layer, chain)
    }

    fn detach_layer_storage_filter(&self, layer: &Path) -> Result<()> {
        check_paths([layer], &LayerChain::base())?;
        writable::detach(self, layer)
    }

    fn format_writable_layer_vhd(&self, disk: &NoDisk) -> Result<()> {
        match *disk {}
    }

    fn layer_vhd_mount_path(&self, disk: &NoDisk) -> Result<PathBuf> {
        match *disk {}
    }

    fn create_disk(&self, path: &Path, _disk: &NewDisk) -> Result<NoDisk> {
        Self::no_disks("create the disk", path)
    }

    fn open_disk(&self, path: &Path) -> Result<NoDisk> {
        Self::no_disks("open the disk", path)
    }

    fn attach_disk(&self, disk: &NoDisk) -> Result<()> {
        match *disk {}
    }

    fn detach_disk(&self, disk: &NoDisk) -> Result<()> {
        match *disk {}
    }

    fn close_disk(&self, disk: NoDisk) -> Result<()> {
        match disk {}
    }

    fn expand_scratch(&self, folder: &Path, _size: u64) -> Result<()> {
        Self::no_disks("expand the disk of", folder)
    }

    fn grant_vm_group_access(&self, path: &Path) -> Result<()> {
        Self::no_disks("let virtual machines read", path)
    }
}
