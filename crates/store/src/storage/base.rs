//! What has to be done to a base layer once, after its files are there.
//!
//! ```text
//! container     Hives, layout, old disks removed ─► blank-base.vhdx ─► format ─► close ─► set up ─► blank.vhdx over it ─► access
//! utility VM    old disks removed ─► UtilityVM\SystemTemplateBase.vhdx ─► attach ─► set up ─► detach ─► close
//!                                 ─► SystemTemplate.vhdx over it ─► access
//! ```
//!
//! The setup for containers wants its disk closed, the one for utility VMs wants it attached and not formatted. Disks are
//! made where they stay: one that stores what differs from another has that one's absolute path in it.

use std::path::{Path, PathBuf};

use layerstone_hcs::{OsLayerOptions, OsLayerType};

use super::disk::StepDisk;
use super::error::{Error, Result};
use super::scratch::{BLANK_DISK, DEFAULT_DISK_SIZE};
use super::steps::{Failed, Steps};
use super::{BaseOs, LayerForm, LayerStorage, NewDisk, places};

/// The disk that is formatted for scratches of a base layer.
pub const BLANK_BASE_DISK: &str = "blank-base.vhdx";
/// The system disk of a utility VM.
pub const TEMPLATE_BASE_DISK: &str = "SystemTemplateBase.vhdx";
/// What utility VMs start from: what differs from [`TEMPLATE_BASE_DISK`].
pub const TEMPLATE_DISK: &str = "SystemTemplate.vhdx";

/// The registry files that every base layer has.
pub const CONFIG_HIVES: [&str; 5] = ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"];

/// Where they are, in the layer's folder.
const CONFIG: [&str; 4] = ["Files", "Windows", "System32", "config"];
/// Where the boot configuration of a utility VM is, in its folder.
const BOOT_CONFIGURATION: [&str; 5] = ["Files", "EFI", "Microsoft", "Boot", "BCD"];
pub(super) const UTILITY_VM: &str = "UtilityVM";

/// How a base layer is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseOptions {
    /// Size of the disk that scratches start from, in bytes.
    pub scratch_size: u64,
    /// Size of a utility VM's system disk, in bytes.
    pub utility_vm_size: u64,
    /// The options of the setup calls. What the layer is for is filled in.
    pub os_layer: OsLayerOptions,
}

impl Default for BaseOptions {
    fn default() -> Self {
        let os_layer = OsLayerOptions::default();
        BaseOptions { scratch_size: DEFAULT_DISK_SIZE, utility_vm_size: DEFAULT_DISK_SIZE, os_layer }
    }
}

/// What a base layer was found to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseLayer {
    /// It has the files of a utility VM, which are set up too.
    pub utility_vm: bool,
}

/// Sets up a base layer whose files are in `layer`: for containers, and for utility VMs when it has the files of one.
///
/// The results of an earlier setup are replaced. Where layers are [packed](LayerForm::Packed) there is nothing to set up.
///
/// # Errors
/// [`Error::Missing`] and [`Error::Invalid`] when the registry or boot files are not there, before anything is changed;
/// [`Error::Step`], after which what the failed half (containers, or utility VMs) had made is removed and no disk is
/// attached or open.
pub fn process_base_layer<S: LayerStorage>(
    storage: &S,
    layer: &Path,
    options: &BaseOptions,
) -> Result<BaseLayer> {
    if storage.layer_form() == LayerForm::Packed {
        return Ok(BaseLayer { utility_vm: false });
    }
    check_hives(layer)?;
    let vm = utility_vm(layer)?;
    set_up_container(storage, layer, options)?;
    if let Some(vm) = &vm {
        set_up_vm(storage, vm, options)?;
    }
    Ok(BaseLayer { utility_vm: vm.is_some() })
}

/// Every base layer has its registry, as files; whether they can be read the setup finds out.
fn check_hives(layer: &Path) -> Result<()> {
    for hive in CONFIG_HIVES {
        let path = [&CONFIG[..], &[hive]].concat();
        expect_file(layer, &path, "registry file of a base layer")?;
    }
    Ok(())
}

fn expect_file(folder: &Path, path: &[&str], what: &'static str) -> Result<()> {
    match places::walk(folder, path)? {
        None => Err(Error::Missing { what, path: folder.join(path.iter().collect::<PathBuf>()) }),
        Some((_, stat)) if places::is_file(&stat) => Ok(()),
        Some((path, _)) => Err(Error::Invalid { path, why: format!("a {what} has to be a file") }),
    }
}

/// The folder of the layer's utility VM, when there are files in it. A folder without them is of no account.
pub(super) fn utility_vm(layer: &Path) -> Result<Option<PathBuf>> {
    let Some((vm, stat)) = places::walk(layer, [UTILITY_VM])? else { return Ok(None) };
    if !places::is_directory(&stat) {
        // Everything that is done to it would be done elsewhere.
        return Err(Error::Invalid { path: vm, why: "a utility VM has to be a folder, and no link".into() });
    }
    match places::walk(&vm, ["Files"])? {
        None => Ok(None),
        Some((_, stat)) if places::is_directory(&stat) => {
            expect_file(&vm, &BOOT_CONFIGURATION, "boot configuration of a utility VM")?;
            Ok(Some(vm))
        }
        Some((path, _)) => Err(Error::Invalid {
            path,
            why: "the files of a utility VM have to be a folder, and no link".into(),
        }),
    }
}

fn set_up_container<S: LayerStorage>(storage: &S, layer: &Path, options: &BaseOptions) -> Result<()> {
    let disk = StepDisk::new(storage, layer.join(BLANK_BASE_DISK));
    Steps::run(layer, disk, |steps| {
        steps.step("remove what an earlier setup made", |_| {
            remove_all(layer, &["Hives", "layout", BLANK_DISK, BLANK_BASE_DISK])
        })?;
        create_disk(steps, options.scratch_size)?;
        steps.step("format the disk", StepDisk::format)?;
        steps.step("close the disk", StepDisk::close)?;
        // A setup that fails may have made them in part.
        steps.undo("remove what the setup made", |_| remove_all(layer, &["Hives", "layout"]));
        steps.step("set up the base layer for containers", |_| {
            let os_layer = OsLayerOptions { layer_type: Some(OsLayerType::Container), ..options.os_layer };
            storage.setup_base_os_layer(layer, BaseOs::Container, &os_layer)
        })?;
        differencing_disk(steps, storage, &layer.join(BLANK_DISK))
    })
}

pub(super) fn set_up_vm<S: LayerStorage>(storage: &S, vm: &Path, options: &BaseOptions) -> Result<()> {
    let disk = StepDisk::new(storage, vm.join(TEMPLATE_BASE_DISK));
    Steps::run(vm, disk, |steps| {
        steps.step("remove what an earlier setup made", |_| {
            remove_all(vm, &[TEMPLATE_DISK, TEMPLATE_BASE_DISK])
        })?;
        create_disk(steps, options.utility_vm_size)?;
        steps.step("attach the disk", StepDisk::attach)?;
        steps.undo("detach the disk", StepDisk::detach_if_attached);
        steps.step("set up the base layer for utility VMs", |disk| {
            let os_layer = OsLayerOptions { layer_type: Some(OsLayerType::Vm), ..options.os_layer };
            storage.setup_base_os_layer(vm, BaseOs::Vm(disk.open()?), &os_layer)
        })?;
        steps.step("detach the disk", StepDisk::detach)?;
        steps.step("close the disk", StepDisk::close)?;
        differencing_disk(steps, storage, &vm.join(TEMPLATE_DISK))
    })
}

/// Makes the disk of the steps, and leaves it open.
fn create_disk<'a, S: LayerStorage>(steps: &mut Steps<'a, StepDisk<'a, S>>, size: u64) -> Result<(), Failed> {
    steps.step("create the disk", |disk| disk.create(&NewDisk::Empty { size }))?;
    steps.undo("remove the disk", |disk| places::remove(disk.path()));
    steps.undo("close the disk", StepDisk::close);
    Ok(())
}

/// Makes the disk that stores what differs from that of the steps, and lets virtual machines read both.
fn differencing_disk<'a, S: LayerStorage>(
    steps: &mut Steps<'a, StepDisk<'a, S>>,
    storage: &'a S,
    path: &Path,
) -> Result<(), Failed> {
    let mut child = StepDisk::new(storage, path.to_path_buf());
    steps.step("create the differencing disk", |disk| {
        child.create(&NewDisk::Differencing { parent: disk.path().to_path_buf() })
    })?;
    let removed = path.to_path_buf();
    steps.undo("remove the differencing disk", move |_| places::remove(&removed));
    steps.step("close the differencing disk", |_| child.close())?;
    steps.step("let virtual machines read the disk", |disk| storage.grant_vm_group_access(disk.path()))?;
    steps.step("let virtual machines read the differencing disk", |_| storage.grant_vm_group_access(path))
}

/// Removes what is called so in a folder, in any case.
fn remove_all(folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        for path in places::find_all(folder, name.as_bytes())? {
            places::remove(&path)?;
        }
    }
    Ok(())
}
