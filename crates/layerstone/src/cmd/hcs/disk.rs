//! Operations on virtual disks.

use std::path::Path;

use layerstone_hcs::{OsLayerOptions, OsLayerType};
use layerstone_store::storage::{self, BaseOs, LayerStorage, NewDisk};

use super::{Done, absolute};
use crate::args::hcs::CreateVhd;
use crate::error::Result;

/// Opens a disk, does something to it, and closes it.
pub(super) fn with<S: LayerStorage>(
    storage: &S,
    operation: &'static str,
    path: &Path,
    work: impl FnOnce(&S::Disk) -> storage::Result<()>,
) -> Result<Done> {
    let path = absolute(path)?;
    let disk = storage.open_disk(&path)?;
    let worked = work(&disk);
    let closed = storage.close_disk(disk);
    worked?;
    closed?;
    Ok(Done::to(operation, &path))
}

/// Where the volume of an attached disk is.
pub(super) fn mount_path<S: LayerStorage>(storage: &S, path: &Path) -> Result<Done> {
    let mut volume = None;
    let done = with(storage, "mount-path", path, |disk| {
        volume = Some(storage.layer_vhd_mount_path(disk)?);
        Ok(())
    })?;
    Ok(match volume {
        Some(volume) => done.at(&volume),
        None => done,
    })
}

/// Makes a disk.
pub(super) fn create<S: LayerStorage>(storage: &S, args: &CreateVhd) -> Result<Done> {
    let path = absolute(&args.path)?;
    let new = match (&args.parent, args.size) {
        (Some(parent), _) => NewDisk::Differencing { parent: absolute(parent)? },
        // The command line has one of the two.
        (None, size) => NewDisk::Empty { size: size.unwrap_or(storage::DEFAULT_DISK_SIZE) },
    };
    storage.close_disk(storage.create_disk(&path, &new)?)?;
    Ok(Done::to("create-vhd", &path))
}

/// Sets up a base layer; for a utility VM with its disk, which has to be attached meanwhile.
pub(super) fn set_up_base<S: LayerStorage>(storage: &S, layer: &Path, vm: Option<&Path>) -> Result<Done> {
    let options = |layer_type| OsLayerOptions { layer_type: Some(layer_type), ..OsLayerOptions::default() };
    match vm {
        None => {
            storage.setup_base_os_layer(layer, BaseOs::Container, &options(OsLayerType::Container))?;
        }
        Some(vm) => {
            with(storage, "setup-base", vm, |disk| {
                storage.attach_disk(disk)?;
                let set_up = storage.setup_base_os_layer(layer, BaseOs::Vm(disk), &options(OsLayerType::Vm));
                let detached = storage.detach_disk(disk);
                // Why it could not be set up says more than that it could not be detached afterwards.
                set_up.and(detached)
            })?;
        }
    }
    Ok(Done { utility_vm: Some(vm.is_some()), ..Done::to("setup-base", layer) })
}
