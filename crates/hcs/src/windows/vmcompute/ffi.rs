//! The structures and types of the functions, and where they are looked up.
//!
//! No header declares them. They are those of hcsshim (MIT), "internal/wclayer"; the layouts are asserted below.

use std::ptr::null;

use uuid::Uuid;
use windows_sys::core::{GUID, HRESULT, PCWSTR, PWSTR};

use crate::chain::LayerChain;
use crate::error::Result;
use crate::functions::VMCOMPUTE;
use crate::windows::dll::entries;
use crate::windows::wide::WideString;

/// `DriverInfo`: which storage driver, and where its layers are.
#[repr(C)]
pub(super) struct DriverInfo {
    /// 1: the filter driver, the only one that is left.
    flavour: i32,
    /// Never null: the DLL reads it. Empty, because layers are named by their full paths.
    home: PCWSTR,
}

/// `WC_LAYER_DESCRIPTOR`: a parent layer.
#[repr(C)]
pub(super) struct LayerDescriptor {
    id: GUID,
    /// Bit 31: made from a snapshot of a scratch. Otherwise 0.
    flags: u32,
    path: PCWSTR,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<DriverInfo>() == 16 && offset_of!(DriverInfo, home) == 8);
    assert!(size_of::<LayerDescriptor>() == 32);
    assert!(offset_of!(LayerDescriptor, flags) == 16 && offset_of!(LayerDescriptor, path) == 24);
};

const EMPTY: &[u16; 1] = &[0];

impl DriverInfo {
    pub(super) const fn filter() -> Self {
        DriverInfo { flavour: 1, home: EMPTY.as_ptr() }
    }
}

pub(super) type NameToGuidFn = unsafe extern "system" fn(PCWSTR, *mut GUID) -> HRESULT;
pub(super) type PathFn = unsafe extern "system" fn(PCWSTR) -> HRESULT;
pub(super) type GrantVmAccessFn = unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;
pub(super) type LayerFn = unsafe extern "system" fn(*const DriverInfo, PCWSTR) -> HRESULT;
pub(super) type CreateSandboxLayerFn =
    unsafe extern "system" fn(*const DriverInfo, PCWSTR, usize, *const LayerDescriptor, usize) -> HRESULT;
pub(super) type PrepareLayerFn =
    unsafe extern "system" fn(*const DriverInfo, PCWSTR, *const LayerDescriptor, usize) -> HRESULT;
pub(super) type GetLayerMountPathFn =
    unsafe extern "system" fn(*const DriverInfo, PCWSTR, *mut usize, PWSTR) -> HRESULT;
pub(super) type ExpandSandboxSizeFn = unsafe extern "system" fn(*const DriverInfo, PCWSTR, u64) -> HRESULT;
pub(super) type LayerExistsFn = unsafe extern "system" fn(*const DriverInfo, PCWSTR, *mut u32) -> HRESULT;
pub(super) type TransferFn =
    unsafe extern "system" fn(*const DriverInfo, PCWSTR, PCWSTR, *const LayerDescriptor, usize) -> HRESULT;

entries! {
    pub(super) struct Entries of VMCOMPUTE {
        name_to_guid: NameToGuidFn = "NameToGuid",
        process_base_image: PathFn = "ProcessBaseImage",
        process_utility_image: PathFn = "ProcessUtilityImage",
        create_sandbox_layer: CreateSandboxLayerFn = "CreateSandboxLayer",
        activate_layer: LayerFn = "ActivateLayer",
        prepare_layer: PrepareLayerFn = "PrepareLayer",
        unprepare_layer: LayerFn = "UnprepareLayer",
        deactivate_layer: LayerFn = "DeactivateLayer",
        get_layer_mount_path: GetLayerMountPathFn = "GetLayerMountPath",
        expand_sandbox_size: ExpandSandboxSizeFn = "ExpandSandboxSize",
        grant_vm_access: GrantVmAccessFn = "GrantVmAccess",
        layer_exists: LayerExistsFn = "LayerExists",
        destroy_layer: LayerFn = "DestroyLayer",
        import_layer: TransferFn = "ImportLayer",
        export_layer: TransferFn = "ExportLayer",
    }
}

/// A chain as the DLL takes it: an array of descriptors, nearest parent first, and the strings that they point to.
pub(super) struct Descriptors {
    entries: Vec<LayerDescriptor>,
    /// What the entries point into; the strings do not move when the vector does.
    _paths: Vec<WideString>,
}

impl Descriptors {
    pub(super) fn new(chain: &LayerChain) -> Result<Self> {
        let paths = chain
            .parents()
            .iter()
            .map(|parent| WideString::from_path(&parent.path))
            .collect::<Result<Vec<_>>>()?;
        let entries = chain
            .parents()
            .iter()
            .zip(&paths)
            .map(|(parent, path)| LayerDescriptor { id: guid(parent.id), flags: 0, path: path.as_ptr() })
            .collect();
        Ok(Descriptors { entries, _paths: paths })
    }

    /// Null for no parents, as hcsshim passes it.
    pub(super) fn as_ptr(&self) -> *const LayerDescriptor {
        if self.entries.is_empty() { null() } else { self.entries.as_ptr() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn guid(id: Uuid) -> GUID {
    let (data1, data2, data3, &data4) = id.as_fields();
    GUID { data1, data2, data3, data4 }
}
