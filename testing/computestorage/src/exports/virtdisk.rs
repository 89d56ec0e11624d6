//! virtdisk.dll: what makes, opens, attaches and detaches virtual disks.
//!
//! Signatures and rules: learn.microsoft.com/windows/win32/api/virtdisk. Results are codes of Win32. What Windows returns for
//! a disk that is not attached is not documented; here it is `ERROR_NOT_FOUND`.

use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;
use windows_sys::Win32::Foundation::{HANDLE, WIN32_ERROR};
use windows_sys::Win32::Security::PSECURITY_DESCRIPTOR;
use windows_sys::Win32::Storage::Vhd::{
    self as declared, ATTACH_VIRTUAL_DISK_FLAG, ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME,
    ATTACH_VIRTUAL_DISK_PARAMETERS, ATTACH_VIRTUAL_DISK_VERSION_1, CREATE_VIRTUAL_DISK_FLAG,
    CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION, CREATE_VIRTUAL_DISK_PARAMETERS,
    CREATE_VIRTUAL_DISK_VERSION_1, CREATE_VIRTUAL_DISK_VERSION_2, DETACH_VIRTUAL_DISK_FLAG,
    OPEN_VIRTUAL_DISK_FLAG, OPEN_VIRTUAL_DISK_PARAMETERS, OPEN_VIRTUAL_DISK_VERSION_1,
    OPEN_VIRTUAL_DISK_VERSION_2, VIRTUAL_DISK_ACCESS_MASK, VIRTUAL_DISK_ACCESS_NONE,
    VIRTUAL_DISK_ACCESS_READ, VIRTUAL_STORAGE_TYPE, VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN,
    VIRTUAL_STORAGE_TYPE_DEVICE_VHD, VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::core::{GUID, PCWSTR, PWSTR};

use super::{answer, needed};
use crate::code::Code;
use crate::disk::{self, Attached, Header, Kind};
use crate::record::{Call, Text};

/// The sizes that a VHDX can have, MS-VHDX 2.6.2.2.
const SIZES: std::ops::RangeInclusive<u64> = 3 << 20..=64 << 40;
/// The blocks that a VHDX can have, MS-VHDX 2.6.2.1; 0 means 32 MiB.
const BLOCKS: std::ops::RangeInclusive<u32> = 1 << 20..=256 << 20;

/// Notes the type, and says whether it is one that there are disks of.
///
/// # Safety
/// `kind` is null or points to the structure.
unsafe fn storage_type(call: &mut Call, kind: *const VIRTUAL_STORAGE_TYPE) -> Result<(), Code> {
    if kind.is_null() {
        call.value("virtualStorageType", Value::Null);
        return Err(Code::INVALID_PARAMETER);
    }
    // SAFETY: not null, so it points to the structure.
    let kind = unsafe { &*kind };
    let vendor = guid(&kind.VendorId);
    call.value("virtualStorageType", json!({ "deviceId": kind.DeviceId, "vendorId": vendor.to_string() }));
    match kind.DeviceId {
        VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN
        | VIRTUAL_STORAGE_TYPE_DEVICE_VHD
        | VIRTUAL_STORAGE_TYPE_DEVICE_VHDX => Ok(()),
        _ => Err(Code::INVALID_PARAMETER),
    }
}

fn guid(guid: &GUID) -> Uuid {
    Uuid::from_fields(guid.data1, guid.data2, guid.data3, &guid.data4)
}

fn pointer<T>(pointer: *const T) -> &'static str {
    if pointer.is_null() { "null" } else { "non-null" }
}

/// What `CREATE_VIRTUAL_DISK_PARAMETERS` asks for, in either version.
struct Wanted {
    version: i32,
    size: u64,
    block: u32,
    sector: u32,
    parent: Option<Text>,
    source: Option<Text>,
}

/// Notes and reads the parameters.
///
/// # Safety
/// `parameters` is null or points to the structure of the version that it says.
unsafe fn wanted(call: &mut Call, parameters: *const CREATE_VIRTUAL_DISK_PARAMETERS) -> Result<Wanted, Code> {
    if parameters.is_null() {
        call.value("parameters", Value::Null);
        return Err(Code::INVALID_PARAMETER);
    }
    // SAFETY: not null. Only the version is read, which every version has.
    let version = unsafe { (&raw const (*parameters).Version).read() };
    let (size, block, sector, parent, source) = match version {
        CREATE_VIRTUAL_DISK_VERSION_1 => {
            // SAFETY: so says the version.
            let p = unsafe { (&raw const (*parameters).Anonymous.Version1).read() };
            (p.MaximumSize, p.BlockSizeInBytes, p.SectorSizeInBytes, p.ParentPath, p.SourcePath)
        }
        CREATE_VIRTUAL_DISK_VERSION_2 => {
            // SAFETY: so says the version.
            let p = unsafe { (&raw const (*parameters).Anonymous.Version2).read() };
            (p.MaximumSize, p.BlockSizeInBytes, p.SectorSizeInBytes, p.ParentPath, p.SourcePath)
        }
        _ => {
            call.value("parameters", json!({ "version": version }));
            return Err(Code::INVALID_PARAMETER);
        }
    };
    // SAFETY: the structure's strings.
    let (parent, source) = unsafe { (Text::read(parent), Text::read(source)) };
    let value = |text: &Option<Text>| text.as_ref().map_or(Value::Null, Text::value);
    call.value(
        "parameters",
        json!({
            "version": version,
            "maximumSize": size,
            "blockSizeInBytes": block,
            "sectorSizeInBytes": sector,
            "parentPath": value(&parent),
            "sourcePath": value(&source),
        }),
    );
    Ok(Wanted { version, size, block, sector, parent, source })
}

/// The disk that is wanted, if there can be such a one.
fn planned(path: &Path, wanted: &Wanted, flags: CREATE_VIRTUAL_DISK_FLAG) -> Result<Header, Code> {
    let block = if wanted.block == 0 { 32 << 20 } else { wanted.block };
    let fine = (BLOCKS.contains(&block) && block.is_power_of_two())
        && matches!(wanted.sector, 0 | 512 | 4096)
        && wanted.source.is_none();
    if !fine {
        return Err(Code::INVALID_PARAMETER);
    }
    let volume = disk::volume_of(path);
    let header = Header {
        kind: Kind::Dynamic,
        size: wanted.size,
        block_size: block,
        parent: None,
        volume,
        attached: Attached::No,
        formatted: false,
    };
    match &wanted.parent {
        Some(parent) => {
            let parent = parent.path();
            // The size is the parent's, and nobody else may say another.
            if wanted.size != 0 {
                return Err(Code::INVALID_PARAMETER);
            }
            let below = disk::look(&parent)?;
            Ok(Header {
                kind: Kind::Differencing,
                size: below.size,
                parent: Some(parent),
                formatted: below.formatted,
                ..header
            })
        }
        None if SIZES.contains(&wanted.size) && wanted.size.is_multiple_of(512) => {
            let fixed = flags & CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION != 0;
            Ok(Header { kind: if fixed { Kind::Fixed } else { Kind::Dynamic }, ..header })
        }
        None => Err(Code::INVALID_PARAMETER),
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn CreateVirtualDisk(
    kind: *const VIRTUAL_STORAGE_TYPE,
    path: PCWSTR,
    access: VIRTUAL_DISK_ACCESS_MASK,
    security: PSECURITY_DESCRIPTOR,
    flags: CREATE_VIRTUAL_DISK_FLAG,
    provider: u32,
    parameters: *const CREATE_VIRTUAL_DISK_PARAMETERS,
    overlapped: *const OVERLAPPED,
    handle: *mut HANDLE,
) -> WIN32_ERROR {
    let code = answer("CreateVirtualDisk", |call| {
        // SAFETY: the contract of the function: the structure, or null.
        let kind = unsafe { storage_type(call, kind) };
        // SAFETY: the contract of the function: a string that ends with a NUL.
        let path = unsafe { call.text("path", path) };
        call.value("virtualDiskAccessMask", access);
        call.value("securityDescriptor", pointer(security.cast_const()));
        call.value("flags", flags);
        call.value("providerSpecificFlags", provider);
        // SAFETY: the contract of the function: the structure of its version, or null.
        let wanted = unsafe { wanted(call, parameters) };
        call.value("overlapped", pointer(overlapped));
        call.begin()?;
        kind?;
        let (wanted, path) = (wanted?, needed(path)?.path());
        if handle.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // The second version opens for everything, and the mask must say nothing.
        if wanted.version == CREATE_VIRTUAL_DISK_VERSION_2 && access != VIRTUAL_DISK_ACCESS_NONE {
            return Err(Code::INVALID_PARAMETER);
        }
        let opened = disk::create(&path, &planned(&path, &wanted, flags)?)?;
        // SAFETY: it is not null, so it points to a place for a handle.
        unsafe { handle.write(opened) };
        Ok(())
    });
    code.as_win32()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn OpenVirtualDisk(
    kind: *const VIRTUAL_STORAGE_TYPE,
    path: PCWSTR,
    access: VIRTUAL_DISK_ACCESS_MASK,
    flags: OPEN_VIRTUAL_DISK_FLAG,
    parameters: *const OPEN_VIRTUAL_DISK_PARAMETERS,
    handle: *mut HANDLE,
) -> WIN32_ERROR {
    let code = answer("OpenVirtualDisk", |call| {
        // SAFETY: the contract of the function: the structure, or null.
        let kind = unsafe { storage_type(call, kind) };
        // SAFETY: the contract of the function: a string that ends with a NUL.
        let path = unsafe { call.text("path", path) };
        call.value("virtualDiskAccessMask", access);
        call.value("flags", flags);
        let mut fine = true;
        let mut read_only = false;
        if parameters.is_null() {
            call.value("parameters", Value::Null);
        } else {
            // SAFETY: not null. Only the version is read, which every version has.
            let version = unsafe { (&raw const (*parameters).Version).read() };
            match version {
                OPEN_VIRTUAL_DISK_VERSION_1 => {
                    // SAFETY: so says the version.
                    let depth = unsafe { (&raw const (*parameters).Anonymous.Version1.RWDepth).read() };
                    read_only = depth == 0 || access & !VIRTUAL_DISK_ACCESS_READ == 0 && access != 0;
                    call.value("parameters", json!({ "version": version, "rwDepth": depth }));
                }
                OPEN_VIRTUAL_DISK_VERSION_2 => {
                    // SAFETY: so says the version.
                    let p = unsafe { (&raw const (*parameters).Anonymous.Version2).read() };
                    read_only = p.ReadOnly != 0 || p.GetInfoOnly != 0;
                    fine = access == VIRTUAL_DISK_ACCESS_NONE;
                    call.value(
                        "parameters",
                        json!({
                            "version": version,
                            "getInfoOnly": p.GetInfoOnly != 0,
                            "readOnly": p.ReadOnly != 0,
                        }),
                    );
                }
                _ => {
                    fine = false;
                    call.value("parameters", json!({ "version": version }));
                }
            }
        }
        call.begin()?;
        kind?;
        let path = needed(path)?.path();
        if handle.is_null() || !fine {
            return Err(Code::INVALID_PARAMETER);
        }
        let opened = disk::open(&path, read_only)?;
        // SAFETY: it is not null, so it points to a place for a handle.
        unsafe { handle.write(opened) };
        Ok(())
    });
    code.as_win32()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn AttachVirtualDisk(
    handle: HANDLE,
    security: PSECURITY_DESCRIPTOR,
    flags: ATTACH_VIRTUAL_DISK_FLAG,
    provider: u32,
    parameters: *const ATTACH_VIRTUAL_DISK_PARAMETERS,
    overlapped: *const OVERLAPPED,
) -> WIN32_ERROR {
    let code = answer("AttachVirtualDisk", |call| {
        call.handle("virtualDiskHandle", handle);
        call.value("securityDescriptor", pointer(security.cast_const()));
        call.value("flags", flags);
        call.value("providerSpecificFlags", provider);
        let mut fine = true;
        if parameters.is_null() {
            call.value("parameters", Value::Null);
        } else {
            // SAFETY: not null. Only the version is read, which every version has.
            let version = unsafe { (&raw const (*parameters).Version).read() };
            call.value("parameters", json!({ "version": version }));
            fine = version == ATTACH_VIRTUAL_DISK_VERSION_1;
        }
        call.value("overlapped", pointer(overlapped));
        call.begin()?;
        if !fine {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the contract of the function: an open handle.
        let header = unsafe { disk::header(handle) }?;
        if header.attached != Attached::No {
            return Err(Code::SHARING_VIOLATION);
        }
        let permanent = flags & ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME != 0;
        let attached = if permanent { Attached::Permanently } else { Attached::Handle };
        // SAFETY: as above.
        unsafe { disk::write_header(handle, &Header { attached, ..header }) }
    });
    code.as_win32()
}

#[unsafe(no_mangle)]
unsafe extern "system" fn DetachVirtualDisk(
    handle: HANDLE,
    flags: DETACH_VIRTUAL_DISK_FLAG,
    provider: u32,
) -> WIN32_ERROR {
    let code = answer("DetachVirtualDisk", |call| {
        call.handle("virtualDiskHandle", handle);
        call.value("flags", flags);
        call.value("providerSpecificFlags", provider);
        call.begin()?;
        // SAFETY: the contract of the function: an open handle.
        let header = unsafe { disk::header(handle) }?;
        if header.attached == Attached::No {
            return Err(Code::NOT_FOUND);
        }
        // SAFETY: as above.
        unsafe { disk::write_header(handle, &Header { attached: Attached::No, ..header }) }
    });
    code.as_win32()
}

/// `size` is in bytes, NUL included.
#[unsafe(no_mangle)]
unsafe extern "system" fn GetVirtualDiskPhysicalPath(
    handle: HANDLE,
    size: *mut u32,
    path: PWSTR,
) -> WIN32_ERROR {
    let code = answer("GetVirtualDiskPhysicalPath", |call| {
        call.handle("virtualDiskHandle", handle);
        call.value("diskPath", pointer(path.cast_const()));
        call.begin()?;
        if size.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the contract of the function: an open handle.
        let header = unsafe { disk::header(handle) }?;
        if header.attached == Attached::No {
            return Err(Code::NOT_FOUND);
        }
        // A number that is this disk's, and none of those that a host begins with.
        let number = 1000 + u32::from(header.volume.as_fields().1);
        let units: Vec<u16> = format!("\\\\.\\PhysicalDrive{number}\0").encode_utf16().collect();
        let bytes = u32::try_from(units.len() * 2).map_err(|_| Code::UNEXPECTED)?;
        // SAFETY: it is not null, so it points to a size.
        let room = unsafe { size.replace(bytes) };
        if path.is_null() || room < bytes {
            return Err(Code::INSUFFICIENT_BUFFER);
        }
        // SAFETY: the client has said that there is room for so many bytes, and they fit.
        unsafe { path.copy_from_nonoverlapping(units.as_ptr(), units.len()) };
        Ok(())
    });
    code.as_win32()
}

// Looked at by the compiler alone: each function has the type that Microsoft's metadata gives it. Nothing is imported.
const _: () = {
    const fn same<T: Copy>(_: T, _: T) {}
    same::<
        unsafe extern "system" fn(
            *const VIRTUAL_STORAGE_TYPE,
            PCWSTR,
            VIRTUAL_DISK_ACCESS_MASK,
            PSECURITY_DESCRIPTOR,
            CREATE_VIRTUAL_DISK_FLAG,
            u32,
            *const CREATE_VIRTUAL_DISK_PARAMETERS,
            *const OVERLAPPED,
            *mut HANDLE,
        ) -> WIN32_ERROR,
    >(CreateVirtualDisk, declared::CreateVirtualDisk);
    same::<
        unsafe extern "system" fn(
            *const VIRTUAL_STORAGE_TYPE,
            PCWSTR,
            VIRTUAL_DISK_ACCESS_MASK,
            OPEN_VIRTUAL_DISK_FLAG,
            *const OPEN_VIRTUAL_DISK_PARAMETERS,
            *mut HANDLE,
        ) -> WIN32_ERROR,
    >(OpenVirtualDisk, declared::OpenVirtualDisk);
    same::<
        unsafe extern "system" fn(
            HANDLE,
            PSECURITY_DESCRIPTOR,
            ATTACH_VIRTUAL_DISK_FLAG,
            u32,
            *const ATTACH_VIRTUAL_DISK_PARAMETERS,
            *const OVERLAPPED,
        ) -> WIN32_ERROR,
    >(AttachVirtualDisk, declared::AttachVirtualDisk);
    same::<unsafe extern "system" fn(HANDLE, DETACH_VIRTUAL_DISK_FLAG, u32) -> WIN32_ERROR>(
        DetachVirtualDisk,
        declared::DetachVirtualDisk,
    );
    same::<unsafe extern "system" fn(HANDLE, *mut u32, PWSTR) -> WIN32_ERROR>(
        GetVirtualDiskPhysicalPath,
        declared::GetVirtualDiskPhysicalPath,
    );
};
