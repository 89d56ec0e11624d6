//! vmcompute.dll: its layer calls.
//!
//! They have no documentation; signatures and structures are those that hcsshim (MIT, internal/wclayer) declares. A layer is
//! named by an id below the driver's home folder; everybody passes an empty home and the whole path as id.

use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;
use windows_sys::core::{GUID, HRESULT, PCWSTR, PWSTR};

use super::{hresult, needed};
use crate::code::Code;
use crate::engine::{self, Operation, Parent};
use crate::record::{Call, Text};

/// Layers get ids of this name space. That of Windows is not known; any is good as long as it is always the same.
const LAYERS: Uuid = Uuid::from_u128(0x6c61_7965_7273_4a0b_9d0c_5f0e_53a1_7a1d);

/// Which driver is meant. `{int32, PCWSTR}`
#[repr(C)]
struct DriverInfo {
    flavour: i32,
    home: PCWSTR,
}

/// `WC_LAYER_DESCRIPTOR`: `{GUID, ULONG, PCWSTR}`
#[repr(C)]
struct LayerDescriptor {
    id: GUID,
    flags: u32,
    path: PCWSTR,
}

// The sizes that a client on 64 bits passes.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<DriverInfo>() == 16 && size_of::<LayerDescriptor>() == 32);

fn guid(guid: &GUID) -> Uuid {
    Uuid::from_fields(guid.data1, guid.data2, guid.data3, &guid.data4)
}

/// Notes which driver is meant. A home that is null crashes Windows; here it is an error.
///
/// # Safety
/// `info` is null or points to the structure, whose string is one.
unsafe fn driver(call: &mut Call, info: *const DriverInfo) -> Result<(), Code> {
    if info.is_null() {
        call.value("info", Value::Null);
        return Err(Code::POINTER);
    }
    // SAFETY: not null, so it points to the structure.
    let info = unsafe { &*info };
    // SAFETY: the structure's string.
    let home = unsafe { Text::read(info.home) };
    let value = home.as_ref().map_or(Value::Null, Text::value);
    call.value("info", json!({ "flavour": info.flavour, "homeDir": value }));
    needed(home).map(drop)
}

/// Notes the parents, and reads them.
///
/// # Safety
/// `descriptors` points to `count` of them, or is null when there are none.
unsafe fn parents(
    call: &mut Call,
    descriptors: *const LayerDescriptor,
    count: u32,
) -> Result<Vec<Parent>, Code> {
    if descriptors.is_null() {
        call.value("descriptors", Value::Null);
        return if count == 0 { Ok(Vec::new()) } else { Err(Code::POINTER) };
    }
    // SAFETY: the caller says that so many are there.
    let descriptors = unsafe { std::slice::from_raw_parts(descriptors, count as usize) };
    let (mut values, mut parents) = (Vec::new(), Vec::new());
    for descriptor in descriptors {
        // SAFETY: the structure's string.
        let path = unsafe { Text::read(descriptor.path) };
        let value = path.as_ref().map_or(Value::Null, Text::value);
        let id = guid(&descriptor.id);
        values.push(json!({ "layerId": id.to_string(), "flags": descriptor.flags, "path": value }));
        parents.push((id, descriptor.flags, path));
    }
    call.value("descriptors", values);
    parents
        .into_iter()
        .map(|(id, flags, path)| Ok(Parent { id, flags, path: needed(path)?.path() }))
        .collect()
}

/// A call on a layer whose other arguments are strings.
macro_rules! on_layer {
    ($function:ident($layer:ident as $name:literal $(, $parameter:ident as $other:literal)*)) => {
        #[unsafe(no_mangle)]
        unsafe extern "system" fn $function(
            info: *const DriverInfo,
            $layer: PCWSTR,
            $($parameter: PCWSTR,)*
        ) -> HRESULT {
            hresult(stringify!($function), |call| {
                // SAFETY: the contract of the function: the driver's structure, and strings that end with a NUL.
                let info = unsafe { driver(call, info) };
                // SAFETY: as above.
                let $layer = unsafe { call.text($name, $layer) };
                // SAFETY: as above.
                $(let $parameter = unsafe { call.text($other, $parameter) };)*
                call.begin()?;
                info?;
                engine::current().perform(Operation::$function {
                    $layer: needed($layer)?.path(),
                    $($parameter: needed($parameter)?.path(),)*
                })
            })
        }
    };
}

/// The same with parents at the end.
macro_rules! over_parents {
    ($function:ident($layer:ident as $name:literal $(, $parameter:ident as $other:literal)*)) => {
        #[unsafe(no_mangle)]
        unsafe extern "system" fn $function(
            info: *const DriverInfo,
            $layer: PCWSTR,
            $($parameter: PCWSTR,)*
            descriptors: *const LayerDescriptor,
            count: u32,
        ) -> HRESULT {
            hresult(stringify!($function), |call| {
                // SAFETY: the contract of the function: the driver's structure, strings that end with a NUL, and so many
                // descriptors.
                let info = unsafe { driver(call, info) };
                // SAFETY: as above.
                let $layer = unsafe { call.text($name, $layer) };
                // SAFETY: as above.
                $(let $parameter = unsafe { call.text($other, $parameter) };)*
                // SAFETY: as above.
                let parents = unsafe { parents(call, descriptors, count) };
                call.begin()?;
                info?;
                engine::current().perform(Operation::$function {
                    $layer: needed($layer)?.path(),
                    $($parameter: needed($parameter)?.path(),)*
                    parents: parents?,
                })
            })
        }
    };
}

on_layer!(ActivateLayer(layer as "id"));
on_layer!(CreateLayer(layer as "id", parent as "parent"));
on_layer!(DeactivateLayer(layer as "id"));
on_layer!(DestroyLayer(layer as "id"));
on_layer!(UnprepareLayer(layer as "id"));
over_parents!(CopyLayer(source as "srcId", destination as "dstId"));
over_parents!(ExportLayer(layer as "id", destination as "path"));
over_parents!(ImportLayer(layer as "id", source as "path"));
over_parents!(PrepareLayer(layer as "id"));

/// `parent` is a leftover: 0.
#[unsafe(no_mangle)]
unsafe extern "system" fn CreateSandboxLayer(
    info: *const DriverInfo,
    layer: PCWSTR,
    parent: usize,
    descriptors: *const LayerDescriptor,
    count: u32,
) -> HRESULT {
    hresult("CreateSandboxLayer", |call| {
        // SAFETY: the contract of the function, as above.
        let info = unsafe { driver(call, info) };
        // SAFETY: as above.
        let layer = unsafe { call.text("id", layer) };
        call.value("parent", parent as u64);
        // SAFETY: as above.
        let parents = unsafe { parents(call, descriptors, count) };
        call.begin()?;
        info?;
        let layer = needed(layer)?.path();
        engine::current().perform(Operation::CreateSandboxLayer { layer, parents: parents? })
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ExpandSandboxSize(info: *const DriverInfo, layer: PCWSTR, size: u64) -> HRESULT {
    hresult("ExpandSandboxSize", |call| {
        // SAFETY: the contract of the function, as above.
        let info = unsafe { driver(call, info) };
        // SAFETY: as above.
        let layer = unsafe { call.text("id", layer) };
        call.value("size", size);
        call.begin()?;
        info?;
        engine::current().perform(Operation::ExpandSandboxSize { layer: needed(layer)?.path(), size })
    })
}

/// `length` counts units with the NUL. Without a buffer it is set to what is needed, 0 when there is no path.
#[unsafe(no_mangle)]
unsafe extern "system" fn GetLayerMountPath(
    info: *const DriverInfo,
    layer: PCWSTR,
    length: *mut usize,
    buffer: PWSTR,
) -> HRESULT {
    hresult("GetLayerMountPath", |call| {
        // SAFETY: the contract of the function, as above.
        let info = unsafe { driver(call, info) };
        // SAFETY: as above.
        let layer = unsafe { call.text("id", layer) };
        call.value("buffer", if buffer.is_null() { "null" } else { "non-null" });
        call.begin()?;
        info?;
        if length.is_null() {
            return Err(Code::POINTER);
        }
        let path = engine::current().mount_path(needed(layer)?.path())?;
        let mut units: Vec<u16> = std::os::windows::ffi::OsStrExt::encode_wide(path.as_os_str()).collect();
        if !units.is_empty() {
            units.push(0);
        }
        // SAFETY: it is not null, so it points to a length.
        let room = unsafe { length.replace(units.len()) };
        if buffer.is_null() {
            return Ok(());
        }
        if room < units.len() {
            return Err(Code::INSUFFICIENT_BUFFER);
        }
        // SAFETY: the client has said that the buffer has room for so many units, and they fit.
        unsafe { buffer.copy_from_nonoverlapping(units.as_ptr(), units.len()) };
        Ok(())
    })
}

/// Only says whether the folder is there, as Windows does.
#[unsafe(no_mangle)]
unsafe extern "system" fn LayerExists(info: *const DriverInfo, layer: PCWSTR, exists: *mut u32) -> HRESULT {
    hresult("LayerExists", |call| {
        // SAFETY: the contract of the function, as above.
        let info = unsafe { driver(call, info) };
        // SAFETY: as above.
        let layer = unsafe { call.text("id", layer) };
        call.begin()?;
        info?;
        if exists.is_null() {
            return Err(Code::POINTER);
        }
        let there = needed(layer)?.path().is_dir();
        // SAFETY: it is not null, so it points to a number.
        unsafe { exists.write(there.into()) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn NameToGuid(name: PCWSTR, result: *mut GUID) -> HRESULT {
    hresult("NameToGuid", |call| {
        // SAFETY: the contract of the function: a string that ends with a NUL.
        let name = unsafe { call.text("name", name) };
        call.begin()?;
        if result.is_null() {
            return Err(Code::POINTER);
        }
        let bytes: Vec<u8> = needed(name)?.units().iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let id = Uuid::new_v5(&LAYERS, &bytes);
        let (data1, data2, data3, &data4) = id.as_fields();
        // SAFETY: it is not null, so it points to a GUID.
        unsafe { result.write(GUID { data1, data2, data3, data4 }) };
        Ok(())
    })
}

/// A path and nothing else.
fn path_of(path: Option<Text>) -> Result<PathBuf, Code> {
    Ok(needed(path)?.path())
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ProcessBaseImage(path: PCWSTR) -> HRESULT {
    hresult("ProcessBaseImage", |call| {
        // SAFETY: the contract of the function: a string that ends with a NUL.
        let path = unsafe { call.text("path", path) };
        call.begin()?;
        engine::current().perform(Operation::ProcessBaseImage { layer: path_of(path)? })
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ProcessUtilityImage(path: PCWSTR) -> HRESULT {
    hresult("ProcessUtilityImage", |call| {
        // SAFETY: the contract of the function: a string that ends with a NUL.
        let path = unsafe { call.text("path", path) };
        call.begin()?;
        engine::current().perform(Operation::ProcessUtilityImage { layer: path_of(path)? })
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn GrantVmAccess(machine: PCWSTR, path: PCWSTR) -> HRESULT {
    hresult("GrantVmAccess", |call| {
        // SAFETY: the contract of the function: strings that end with a NUL.
        let (machine, path) = unsafe { (call.text("vmid", machine), call.text("filepath", path)) };
        call.begin()?;
        let machine = needed(machine)?.document().map_err(|_| Code::INVALID_PARAMETER)?;
        engine::current().perform(Operation::GrantVmAccess { machine, path: path_of(path)? })
    })
}
