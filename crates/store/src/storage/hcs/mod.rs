//! Layer storage by the Host Compute Service of Windows: computestorage.dll, vmcompute.dll and virtdisk.dll.

mod files;

use std::os::windows::io::AsHandle as _;
use std::path::{Path, PathBuf};

use layerstone_hcs::virtdisk::{AttachFlags, CreateDisk, VirtDisk};
use layerstone_hcs::{
    ComputeStorage, ExportLayerOptions, Guid, LayerChain, OsLayerOptions, VirtualDisk, VmAccess, VmCompute,
    WritableLayerOptions, grant_vm_group_access,
};

use super::error::Result;
use super::in_place::InPlaceWriter;
use super::plain::PlainFiles;
use super::{BaseOs, LayerForm, LayerStorage, NewDisk, ScratchForm, places};
use crate::error::IoContext as _;

/// Layer storage by the Host Compute Service. The calls want an elevated process.
#[derive(Debug, Clone, Copy)]
pub struct Hcs<'a> {
    storage: &'a ComputeStorage,
    vm: &'a VmCompute,
    disks: &'a VirtDisk,
    plain_files: bool,
}

impl Hcs<'static> {
    /// With the DLLs of this Windows. Whether they are there shows when they are called.
    pub fn system() -> Self {
        Hcs {
            storage: ComputeStorage::system(),
            vm: VmCompute::system(),
            disks: VirtDisk::system(),
            plain_files: false,
        }
    }
}

impl<'a> Hcs<'a> {
    /// With other DLLs that have the same functions: for tests.
    pub fn with(storage: &'a ComputeStorage, vm: &'a VmCompute, disks: &'a VirtDisk) -> Self {
        Hcs { storage, vm, disks, plain_files: false }
    }

    /// The same, with the files of base layers written as any program writes files: for tests where there is no backup API. Their
    /// owners, descriptors and streams are lost.
    #[must_use]
    pub fn with_plain_files(mut self) -> Self {
        self.plain_files = true;
        self
    }
}

impl LayerStorage for Hcs<'_> {
    type Disk = VirtualDisk;

    fn scratch_form(&self) -> ScratchForm {
        ScratchForm::Disk
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Files
    }

    fn layer_id(&self, layer: &Path) -> Result<Guid> {
        Ok(self.vm.layer_id(layer)?)
    }

    fn import_layer(&self, layer: &Path, source: &Path, chain: &LayerChain) -> Result<()> {
        Ok(self.storage.import_layer(layer, source, chain)?)
    }

    fn in_place_writer(&self) -> Box<dyn InPlaceWriter + '_> {
        if self.plain_files {
            return Box::new(PlainFiles::default());
        }
        Box::new(files::BackupFiles::default())
    }

    fn export_layer(
        &self,
        layer: &Path,
        destination: &Path,
        chain: &LayerChain,
        options: &ExportLayerOptions,
    ) -> Result<()> {
        Ok(self.storage.export_layer(layer, destination, chain, options)?)
    }

    fn destroy_layer(&self, layer: &Path) -> Result<()> {
        if places::stat(layer)?.is_none() {
            return Err(super::Error::Missing { what: "layer", path: layer.to_path_buf() });
        }
        Ok(self.storage.destroy_layer(layer)?)
    }

    fn setup_base_os_layer(
        &self,
        layer: &Path,
        target: BaseOs<'_, VirtualDisk>,
        options: &OsLayerOptions,
    ) -> Result<()> {
        let base = match target {
            BaseOs::Container => layerstone_hcs::BaseOs::Container,
            BaseOs::Vm(disk) => layerstone_hcs::BaseOs::Vm(disk.as_handle()),
        };
        Ok(self.storage.setup_base_os_layer(layer, base, options)?)
    }

    fn setup_base_os_volume(&self, layer: &Path, volume: &Path, options: &OsLayerOptions) -> Result<()> {
        Ok(self.storage.setup_base_os_volume(layer, volume, options)?)
    }

    fn initialize_writable_layer(
        &self,
        layer: &Path,
        chain: &LayerChain,
        options: &WritableLayerOptions,
    ) -> Result<()> {
        Ok(self.storage.initialize_writable_layer(layer, chain, options)?)
    }

    fn attach_layer_storage_filter(&self, layer: &Path, chain: &LayerChain) -> Result<()> {
        Ok(self.storage.attach_layer_storage_filter(layer, chain)?)
    }

    fn detach_layer_storage_filter(&self, layer: &Path) -> Result<()> {
        Ok(self.storage.detach_layer_storage_filter(layer)?)
    }

    fn format_writable_layer_vhd(&self, disk: &VirtualDisk) -> Result<()> {
        Ok(self.storage.format_writable_layer_vhd(disk)?)
    }

    fn layer_vhd_mount_path(&self, disk: &VirtualDisk) -> Result<PathBuf> {
        Ok(self.storage.layer_vhd_mount_path(disk)?)
    }

    fn create_disk(&self, path: &Path, disk: &NewDisk) -> Result<VirtualDisk> {
        let disk = match disk {
            NewDisk::Empty { size } => CreateDisk::dynamic(*size),
            NewDisk::Differencing { parent } => {
                CreateDisk::differencing(std::path::absolute(parent).doing("resolve", parent)?)
            }
        };
        Ok(self.disks.create(path, &disk)?)
    }

    fn open_disk(&self, path: &Path) -> Result<VirtualDisk> {
        Ok(self.disks.open(path)?)
    }

    fn attach_disk(&self, disk: &VirtualDisk) -> Result<()> {
        Ok(disk.attach(AttachFlags::PERMANENT_LIFETIME | AttachFlags::NO_DRIVE_LETTER)?)
    }

    fn detach_disk(&self, disk: &VirtualDisk) -> Result<()> {
        Ok(disk.detach()?)
    }

    fn close_disk(&self, disk: VirtualDisk) -> Result<()> {
        Ok(disk.close()?)
    }

    /// The disk and its partition grow. Its volume grows when it is next extended, which this does not do.
    fn expand_scratch(&self, folder: &Path, size: u64) -> Result<()> {
        Ok(self.vm.expand_sandbox_size(folder, size)?)
    }

    fn grant_vm_group_access(&self, path: &Path) -> Result<()> {
        Ok(grant_vm_group_access(path, VmAccess::Read)?)
    }
}
