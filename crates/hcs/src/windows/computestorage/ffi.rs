//! The functions' types, and where they are looked up.

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::HostComputeSystem as sys;
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

use crate::functions::COMPUTESTORAGE;
use crate::windows::dll::entries;

pub(super) type ImportLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
pub(super) type ExportLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
pub(super) type ExportLegacyWritableLayerFn =
    unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
pub(super) type DestroyLayerFn = unsafe extern "system" fn(PCWSTR) -> HRESULT;
pub(super) type SetupBaseOsLayerFn = unsafe extern "system" fn(PCWSTR, HANDLE, PCWSTR) -> HRESULT;
pub(super) type SetupBaseOsVolumeFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
pub(super) type InitializeWritableLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
pub(super) type InitializeLegacyWritableLayerFn =
    unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
pub(super) type AttachLayerStorageFilterFn = unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;
pub(super) type DetachLayerStorageFilterFn = unsafe extern "system" fn(PCWSTR) -> HRESULT;
pub(super) type FormatWritableLayerVhdFn = unsafe extern "system" fn(HANDLE) -> HRESULT;
pub(super) type GetLayerVhdMountPathFn = unsafe extern "system" fn(HANDLE, *mut PWSTR) -> HRESULT;
/// In no header: as the functions of the storage filter, which these two stand beside.
pub(super) type AttachOverlayFilterFn = unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;
pub(super) type DetachOverlayFilterFn = unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;

// The types are Microsoft's. This is looked at by the compiler alone: nothing refers to the functions when the program
// is linked, so it does not import them.
const _: ImportLayerFn = sys::HcsImportLayer;
const _: ExportLayerFn = sys::HcsExportLayer;
const _: ExportLegacyWritableLayerFn = sys::HcsExportLegacyWritableLayer;
const _: DestroyLayerFn = sys::HcsDestroyLayer;
const _: SetupBaseOsLayerFn = sys::HcsSetupBaseOSLayer;
const _: SetupBaseOsVolumeFn = sys::HcsSetupBaseOSVolume;
const _: InitializeWritableLayerFn = sys::HcsInitializeWritableLayer;
const _: InitializeLegacyWritableLayerFn = sys::HcsInitializeLegacyWritableLayer;
const _: AttachLayerStorageFilterFn = sys::HcsAttachLayerStorageFilter;
const _: DetachLayerStorageFilterFn = sys::HcsDetachLayerStorageFilter;
const _: FormatWritableLayerVhdFn = sys::HcsFormatWritableLayerVhd;
const _: GetLayerVhdMountPathFn = sys::HcsGetLayerVhdMountPath;

entries! {
    pub(super) struct Entries of COMPUTESTORAGE {
        import_layer: ImportLayerFn = "HcsImportLayer",
        export_layer: ExportLayerFn = "HcsExportLayer",
        export_legacy_writable_layer: ExportLegacyWritableLayerFn = "HcsExportLegacyWritableLayer",
        destroy_layer: DestroyLayerFn = "HcsDestroyLayer",
        setup_base_os_layer: SetupBaseOsLayerFn = "HcsSetupBaseOSLayer",
        setup_base_os_volume: SetupBaseOsVolumeFn = "HcsSetupBaseOSVolume",
        initialize_writable_layer: InitializeWritableLayerFn = "HcsInitializeWritableLayer",
        initialize_legacy_writable_layer: InitializeLegacyWritableLayerFn = "HcsInitializeLegacyWritableLayer",
        attach_layer_storage_filter: AttachLayerStorageFilterFn = "HcsAttachLayerStorageFilter",
        detach_layer_storage_filter: DetachLayerStorageFilterFn = "HcsDetachLayerStorageFilter",
        format_writable_layer_vhd: FormatWritableLayerVhdFn = "HcsFormatWritableLayerVhd",
        get_layer_vhd_mount_path: GetLayerVhdMountPathFn = "HcsGetLayerVhdMountPath",
        attach_overlay_filter: AttachOverlayFilterFn = "HcsAttachOverlayFilter",
        detach_overlay_filter: DetachOverlayFilterFn = "HcsDetachOverlayFilter",
    }
}
