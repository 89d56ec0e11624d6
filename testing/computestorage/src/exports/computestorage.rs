//! computestorage.dll: all of its 14 functions.
//!
//! Signatures: "HCS reference", learn.microsoft.com/virtualization/api/hcs; those of the overlay filter from hcsshim (MIT),
//! which is the only one to call them. Strings are UTF-16 with a NUL, documents are JSON, handles stay the client's.

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::HostComputeSystem as declared;
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

use super::{document, hresult, needed, optional};
use crate::code::Code;
use crate::engine::{self, Operation};
use crate::fault::{self, MountPath};
use crate::{disk, memory};

/// An operation whose arguments are strings: for each the name of the parameter, that of the field, and what it is.
macro_rules! operation {
    ($function:ident($($parameter:ident as $name:literal: $kind:ident),+)) => {
        #[unsafe(no_mangle)]
        unsafe extern "system" fn $function($($parameter: PCWSTR),+) -> HRESULT {
            hresult(stringify!($function), |call| {
                // SAFETY: the contract of the function: strings that end with a NUL, or null, unchanged during the call.
                $(let $parameter = unsafe { call.text($name, $parameter) };)+
                call.begin()?;
                engine::current()
                    .perform(Operation::$function { $($parameter: operation!(@ $kind $parameter)),+ })
            })
        }
    };
    (@ path $parameter:ident) => { needed($parameter)?.path() };
    (@ document $parameter:ident) => { document($parameter)? };
    (@ optional $parameter:ident) => { optional($parameter)? };
}

operation!(HcsImportLayer(
    layer as "layerPath": path,
    source as "sourceFolderPath": path,
    layer_data as "layerData": document
));
operation!(HcsExportLayer(
    layer as "layerPath": path,
    destination as "exportFolderPath": path,
    layer_data as "layerData": document,
    options as "options": optional
));
operation!(HcsExportLegacyWritableLayer(
    mount as "writableLayerMountPath": path,
    folder as "writableLayerFolderPath": path,
    destination as "exportFolderPath": path,
    layer_data as "layerData": document
));
operation!(HcsDestroyLayer(layer as "layerPath": path));
operation!(HcsSetupBaseOSVolume(
    layer as "layerPath": path,
    volume as "volumePath": path,
    options as "options": optional
));
operation!(HcsInitializeWritableLayer(
    layer as "writableLayerPath": path,
    layer_data as "layerData": document,
    options as "options": optional
));
operation!(HcsInitializeLegacyWritableLayer(
    mount as "writableLayerMountPath": path,
    folder as "writableLayerFolderPath": path,
    layer_data as "layerData": document,
    options as "options": optional
));
operation!(HcsAttachLayerStorageFilter(layer as "layerPath": path, layer_data as "layerData": document));
operation!(HcsDetachLayerStorageFilter(layer as "layerPath": path));
operation!(HcsAttachOverlayFilter(volume as "volumePath": path, layer_data as "layerData": document));
operation!(HcsDetachOverlayFilter(volume as "volumePath": path, layer_data as "layerData": document));

/// `vhdHandle` is null for a container, and the utility VM's disk for one.
#[unsafe(no_mangle)]
unsafe extern "system" fn HcsSetupBaseOSLayer(layer: PCWSTR, disk: HANDLE, options: PCWSTR) -> HRESULT {
    hresult("HcsSetupBaseOSLayer", |call| {
        // SAFETY: as above.
        let layer = unsafe { call.text("layerPath", layer) };
        call.handle("vhdHandle", disk);
        // SAFETY: as above.
        let options = unsafe { call.text("options", options) };
        call.begin()?;
        engine::current().perform(Operation::HcsSetupBaseOSLayer {
            layer: needed(layer)?.path(),
            has_disk: !disk.is_null(),
            options: optional(options)?,
        })
    })
}

/// The disk of a handle becomes formatted. A handle that is none of a stand-in's disk is taken as it is by the engine that only
/// records.
#[unsafe(no_mangle)]
unsafe extern "system" fn HcsFormatWritableLayerVhd(disk: HANDLE) -> HRESULT {
    hresult("HcsFormatWritableLayerVhd", |call| {
        call.handle("vhdHandle", disk);
        call.begin()?;
        // SAFETY: the contract of the function: an open handle.
        match unsafe { disk::header(disk) } {
            Err(code) => engine::current().foreign_disk(code),
            Ok(header) if header.formatted => Err(Code::INVALID_PARAMETER),
            Ok(header) => {
                engine::current().formatted(header.volume)?;
                // SAFETY: as above.
                unsafe { disk::write_header(disk, &disk::Header { formatted: true, ..header }) }
            }
        }
    })
}

/// The string is of `LocalAlloc`, and the client's from then on.
#[unsafe(no_mangle)]
unsafe extern "system" fn HcsGetLayerVhdMountPath(disk: HANDLE, mount_path: *mut PWSTR) -> HRESULT {
    hresult("HcsGetLayerVhdMountPath", |call| {
        call.handle("vhdHandle", disk);
        if mount_path.is_null() {
            return Err(Code::POINTER);
        }
        // SAFETY: it is not null, so it points to a place for a pointer.
        unsafe { mount_path.write(std::ptr::null_mut()) };
        call.begin()?;
        // SAFETY: the contract of the function: an open handle.
        let header = unsafe { disk::header(disk) };
        let path = match header {
            Ok(header) if header.attached == disk::Attached::No => return Err(Code::NOT_FOUND),
            Ok(header) => header.volume_path(),
            Err(code) => {
                engine::current().foreign_disk(code)?;
                format!(r"\\?\Volume{{{}}}", uuid::Uuid::nil())
            }
        };
        let text: Vec<u16> = match fault::mount_path() {
            MountPath::Right => path.encode_utf16().collect(),
            MountPath::Null => return Ok(()),
            MountPath::Empty => Vec::new(),
            MountPath::NotUtf16 => path.encode_utf16().chain([0xD800]).collect(),
        };
        let given = memory::give(&text);
        if given.is_null() {
            return Err(Code::OUT_OF_MEMORY);
        }
        // SAFETY: as above.
        unsafe { mount_path.write(given) };
        Ok(())
    })
}

// Looked at by the compiler alone: each function has the type that Microsoft's metadata gives it. Nothing is imported.
const _: () = {
    /// A value is used when two of its type are there.
    const fn same<T: Copy>(_: T, _: T) {}
    macro_rules! typed {
        ($($function:ident: $type:ty;)+) => { $(same::<$type>($function, declared::$function);)+ };
    }
    typed! {
        HcsImportLayer: unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
        HcsExportLayer: unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
        HcsExportLegacyWritableLayer: unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
        HcsDestroyLayer: unsafe extern "system" fn(PCWSTR) -> HRESULT;
        HcsSetupBaseOSLayer: unsafe extern "system" fn(PCWSTR, HANDLE, PCWSTR) -> HRESULT;
        HcsSetupBaseOSVolume: unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
        HcsInitializeWritableLayer: unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
        HcsInitializeLegacyWritableLayer: unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
        HcsAttachLayerStorageFilter: unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;
        HcsDetachLayerStorageFilter: unsafe extern "system" fn(PCWSTR) -> HRESULT;
        HcsFormatWritableLayerVhd: unsafe extern "system" fn(HANDLE) -> HRESULT;
        HcsGetLayerVhdMountPath: unsafe extern "system" fn(HANDLE, *mut PWSTR) -> HRESULT;
    }
};
