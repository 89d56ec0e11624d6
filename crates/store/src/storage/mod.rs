//! Layer storage as Windows has it: one contract, two implementations.
//!
//! The operations of computestorage.dll, in its own terms, are the trait [`LayerStorage`]. [`Portable`] implements it in
//! Rust on every system; on Windows `Hcs` calls the Host Compute Service. One suite of tests runs over both.
//!
//! ```text
//!            import_layer           export_layer
//! transport folder ──► layer folder ──► transport folder      finished layers, each over a chain of parents
//!
//! initialize_writable_layer ─► attach_layer_storage_filter ─► files change ─► detach_layer_storage_filter
//!                     a scratch: on Windows the volume of a virtual disk, elsewhere a folder
//! ```
//!
//! Several of these make what people want; those orders of calls are here too: [`ScratchLayer`] for a scratch from its
//! disk to its mount, [`process_base_layer`] for what has to be done to a base layer once, and
//! [`import_archive`] for a layer from its tar.
//!
//! A [`LayerChain`] lists parents **child to parent**. A layer's id is part of what a scratch stores, so it must be the
//! same in every call; [`LayerStorage::chain`] makes a chain from folders.

mod base;
mod content;
mod disk;
mod error;
#[cfg(windows)]
mod hcs;
mod import;
mod in_place;
mod places;
mod plain;
mod portable;
mod scratch;
mod staging;
mod steps;

use std::path::{Path, PathBuf};

pub use base::{
    BLANK_BASE_DISK, BaseLayer, BaseOptions, CONFIG_HIVES, TEMPLATE_BASE_DISK, TEMPLATE_DISK,
    process_base_layer,
};
pub use error::{Error, Result, UndoFailure};
#[cfg(windows)]
pub use hcs::Hcs;
pub use import::{ImportArchiveOptions, Imported, STAGING_PREFIX, import_archive};
pub use in_place::{InPlaceWriter, NewFile};
use layerstone_hcs::{ExportLayerOptions, Guid, LayerChain, OsLayerOptions, WritableLayerOptions};
pub use plain::PlainFiles;
pub use portable::{NoDisk, Portable};
pub use scratch::{
    BLANK_DISK, DEFAULT_DISK_SIZE, DetachError, DetachedScratch, SANDBOX_DISK, ScratchDisk, ScratchLayer,
    ScratchOptions,
};

/// What a scratch of a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScratchForm {
    /// A folder. It needs no virtual disk, and its calls take the folder's path.
    Folder,
    /// A virtual disk in a folder. The calls take the path of the volume on it.
    Disk,
}

/// What finished layers of a storage are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerForm {
    /// Real files in the layer's folder, as Windows has them: what a transport folder cannot say (hard links, removed
    /// paths) is done to them after the import.
    Files,
    /// The storage's own form; it takes a layer's archive as it is ([`LayerStorage::import_archive`]).
    Packed,
}

/// What a base layer is set up for, with what that needs: a disk for the utility VM, none for containers.
#[derive(Debug)]
pub enum BaseOs<'a, D> {
    /// For containers that share the host's kernel.
    Container,
    /// For a utility VM: its system disk, which must be attached and not formatted.
    Vm(&'a D),
}

/// A virtual disk to be made. VHDX, growing with its content, blocks of 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewDisk {
    /// An empty disk.
    Empty {
        /// Its size in bytes, as what uses it sees it.
        size: u64,
    },
    /// What differs from another disk. The parent's absolute path is stored in it: neither may be moved afterwards.
    Differencing {
        /// The disk below.
        parent: PathBuf,
    },
}

/// Layer storage.
///
/// Every call is synchronous. They may be made from several threads at once.
///
/// Errors have a [`kind`](Error::kind) that is the same for all implementations; each operation names those that its
/// callers can count on.
pub trait LayerStorage: Sync {
    /// A virtual disk that is open. Dropping it closes it.
    type Disk: Send + std::fmt::Debug;

    /// What scratches are here.
    fn scratch_form(&self) -> ScratchForm;

    /// What layers are here.
    fn layer_form(&self) -> LayerForm;

    /// Where the files of an attached scratch are, which the calls know by the path `writable`: there, unless the storage
    /// shows them elsewhere.
    fn scratch_files(&self, writable: &Path) -> PathBuf {
        writable.to_path_buf()
    }

    /// The id of the layer in a folder. It depends on the last component of the path only.
    ///
    /// # Errors
    /// When the path has no last component.
    fn layer_id(&self, layer: &Path) -> Result<Guid>;

    /// The chain of these folders, nearest parent first.
    ///
    /// # Errors
    /// As [`Self::layer_id`].
    fn chain(&self, parents: &[PathBuf]) -> Result<LayerChain> {
        LayerChain::from_paths(parents, |path| self.layer_id(path))
    }

    /// Makes the layer folder `layer` from the transport folder `source`.
    ///
    /// `layer` is made when it is absent, and may be an empty folder; it must not be `source`.
    ///
    /// # Errors
    /// `NotFound` when `source` is missing or incomplete, or a parent is missing, or the chain is not that of the
    /// parents; `AlreadyExists` when there is a layer in the folder.
    fn import_layer(&self, layer: &Path, source: &Path, chain: &LayerChain) -> Result<()>;

    /// Makes the layer folder `layer` from an uncompressed layer archive (tar), as a whole.
    ///
    /// # Errors
    /// As [`Self::import_layer`]; `Unsupported` where layers are [files](LayerForm::Files): see
    /// `import_archive` for those.
    fn import_archive(
        &self,
        layer: &Path,
        archive: &mut (dyn std::io::Read + Send),
        chain: &LayerChain,
    ) -> Result<()> {
        let _ = (archive, chain);
        Err(Error::Unsupported {
            operation: "import an archive in one step",
            path: layer.to_path_buf(),
            why: "its layers are made from transport folders",
        })
    }

    /// What writes real files of a layer, where layers are [files](LayerForm::Files).
    fn in_place_writer(&self) -> Box<dyn InPlaceWriter + '_> {
        Box::new(PlainFiles::default())
    }

    /// Writes a layer, or with `is_writable_layer` what an attached scratch has changed, into `destination` as a transport
    /// folder.
    ///
    /// # Errors
    /// `NotFound` when the layer or `destination` is missing, the scratch is not attached, or the chain is not the
    /// layer's; `InvalidArgument` when `destination` is not empty.
    fn export_layer(
        &self,
        layer: &Path,
        destination: &Path,
        chain: &LayerChain,
        options: &ExportLayerOptions,
    ) -> Result<()>;

    /// Removes a layer or a scratch, with everything in its folder. When this returns, the folder is gone.
    ///
    /// # Errors
    /// `NotFound` when there is none; `InUse` when it, or something above it, is attached.
    fn destroy_layer(&self, layer: &Path) -> Result<()>;

    /// Makes the files of a base layer usable: its registry hives, its layout file, or the boot files of its utility VM.
    ///
    /// # Errors
    /// `AlreadyExists` when `Hives` or `Layout` are there.
    fn setup_base_os_layer(
        &self,
        layer: &Path,
        target: BaseOs<'_, Self::Disk>,
        options: &OsLayerOptions,
    ) -> Result<()>;

    /// The same for a base layer whose files are on a mounted volume (`\\?\Volume{...}\`).
    ///
    /// # Errors
    /// As [`Self::setup_base_os_layer`]; `Unsupported` before Windows Server 2022.
    fn setup_base_os_volume(&self, layer: &Path, volume: &Path, options: &OsLayerOptions) -> Result<()>;

    /// Prepares an empty writable layer for these parents. It belongs to them from then on.
    ///
    /// # Errors
    /// `NotFound` when a parent is missing or in the wrong place; `AlreadyExists` when it is prepared already;
    /// `InvalidArgument` without a parent.
    fn initialize_writable_layer(
        &self,
        layer: &Path,
        chain: &LayerChain,
        options: &WritableLayerOptions,
    ) -> Result<()>;

    /// Shows the parents through the writable layer.
    ///
    /// # Errors
    /// `NotFound` when it was never initialized, or a parent is missing or in the wrong place; `InvalidArgument` when it
    /// was initialized for other parents; `InUse` when it is attached.
    fn attach_layer_storage_filter(&self, layer: &Path, chain: &LayerChain) -> Result<()>;

    /// Undoes [`Self::attach_layer_storage_filter`].
    ///
    /// # Errors
    /// `NotFound` when it is not attached.
    fn detach_layer_storage_filter(&self, layer: &Path) -> Result<()>;

    /// Puts partitions and an empty NTFS on a disk that has neither.
    ///
    /// # Errors
    /// `InvalidArgument` when the disk is formatted.
    fn format_writable_layer_vhd(&self, disk: &Self::Disk) -> Result<()>;

    /// The path of the volume on an attached disk: `\\?\Volume{...}`, without a backslash at the end.
    ///
    /// # Errors
    /// `NotFound` when the disk is not attached.
    fn layer_vhd_mount_path(&self, disk: &Self::Disk) -> Result<PathBuf>;

    /// Makes a virtual disk and opens it.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a file; `NotFound` when the parent is missing.
    fn create_disk(&self, path: &Path, disk: &NewDisk) -> Result<Self::Disk>;

    /// Opens a virtual disk.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open_disk(&self, path: &Path) -> Result<Self::Disk>;

    /// Attaches a disk to this host until it is detached, also after the handle is closed. It gets no drive letter.
    ///
    /// # Errors
    /// `InUse` when it is attached.
    fn attach_disk(&self, disk: &Self::Disk) -> Result<()>;

    /// Detaches a disk.
    ///
    /// # Errors
    /// `NotFound` when it is not attached.
    fn detach_disk(&self, disk: &Self::Disk) -> Result<()>;

    /// Closes a disk; unlike dropping it, this tells what went wrong.
    ///
    /// # Errors
    /// When the system refuses.
    fn close_disk(&self, disk: Self::Disk) -> Result<()>;

    /// Makes the disk of the scratch in `folder`, which is not attached, at least `size` bytes large. A disk never shrinks.
    ///
    /// # Errors
    /// `NotFound` when there is no scratch.
    fn expand_scratch(&self, folder: &Path, size: u64) -> Result<()>;

    /// Lets the virtual machines of this host read a file.
    ///
    /// # Errors
    /// `NotFound` when it is missing.
    fn grant_vm_group_access(&self, path: &Path) -> Result<()>;
}
