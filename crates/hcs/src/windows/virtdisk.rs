//! Virtual disks: the VHDX files that scratches and base layers have (virtdisk.dll).

use std::ops::BitOr;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::{Arc, LazyLock};

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
use windows_sys::Win32::Security::PSECURITY_DESCRIPTOR;
use windows_sys::Win32::Storage::Vhd as sys;
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::core::{PCWSTR, PWSTR};

use super::dll::{Library, check, entries, last_error};
use super::privilege::Needs;
use super::wide::{WideString, until_nul};
use crate::error::{Error, Result};
use crate::functions::VIRTDISK;
use crate::hresult::HResult;
use crate::retry::Retry;

type CreateVirtualDiskFn = unsafe extern "system" fn(
    *const sys::VIRTUAL_STORAGE_TYPE,
    PCWSTR,
    sys::VIRTUAL_DISK_ACCESS_MASK,
    PSECURITY_DESCRIPTOR,
    sys::CREATE_VIRTUAL_DISK_FLAG,
    u32,
    *const sys::CREATE_VIRTUAL_DISK_PARAMETERS,
    *const OVERLAPPED,
    *mut HANDLE,
) -> u32;
type OpenVirtualDiskFn = unsafe extern "system" fn(
    *const sys::VIRTUAL_STORAGE_TYPE,
    PCWSTR,
    sys::VIRTUAL_DISK_ACCESS_MASK,
    sys::OPEN_VIRTUAL_DISK_FLAG,
    *const sys::OPEN_VIRTUAL_DISK_PARAMETERS,
    *mut HANDLE,
) -> u32;
type AttachVirtualDiskFn = unsafe extern "system" fn(
    HANDLE,
    PSECURITY_DESCRIPTOR,
    sys::ATTACH_VIRTUAL_DISK_FLAG,
    u32,
    *const sys::ATTACH_VIRTUAL_DISK_PARAMETERS,
    *const OVERLAPPED,
) -> u32;
type DetachVirtualDiskFn = unsafe extern "system" fn(HANDLE, sys::DETACH_VIRTUAL_DISK_FLAG, u32) -> u32;
type GetVirtualDiskPhysicalPathFn = unsafe extern "system" fn(HANDLE, *mut u32, PWSTR) -> u32;

// Looked at by the compiler alone; see computestorage.rs.
const _: CreateVirtualDiskFn = sys::CreateVirtualDisk;
const _: OpenVirtualDiskFn = sys::OpenVirtualDisk;
const _: AttachVirtualDiskFn = sys::AttachVirtualDisk;
const _: DetachVirtualDiskFn = sys::DetachVirtualDisk;
const _: GetVirtualDiskPhysicalPathFn = sys::GetVirtualDiskPhysicalPath;

entries! {
    struct Entries of VIRTDISK {
        create: CreateVirtualDiskFn = "CreateVirtualDisk",
        open: OpenVirtualDiskFn = "OpenVirtualDisk",
        attach: AttachVirtualDiskFn = "AttachVirtualDisk",
        detach: DetachVirtualDiskFn = "DetachVirtualDisk",
        physical_path: GetVirtualDiskPhysicalPathFn = "GetVirtualDiskPhysicalPath",
    }
}

/// The block size of layer disks, in bytes: 1 MiB.
pub const BLOCK_SIZE: u32 = 1 << 20;

/// The longest answer that is taken for a disk's path, in bytes.
const LONGEST_PATH: u32 = 64 * 1024;

/// What sort of virtual disk to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateDisk {
    /// The size that the disk shows, in bytes, a multiple of 512. 0 with a parent: the size is the parent's.
    pub size: u64,
    /// The unit in which the file grows, in bytes.
    pub block_size: u32,
    /// The disk that this one holds the differences to. Windows stores its **absolute path**: make the disk where it
    /// will stay.
    pub parent: Option<PathBuf>,
}

impl CreateDisk {
    /// A disk of its own whose file grows as it is written.
    pub const fn dynamic(size: u64) -> Self {
        CreateDisk { size, block_size: BLOCK_SIZE, parent: None }
    }

    /// A disk that holds the differences to another.
    pub fn differencing(parent: impl Into<PathBuf>) -> Self {
        CreateDisk { size: 0, block_size: BLOCK_SIZE, parent: Some(parent.into()) }
    }
}

/// How a disk is attached (`ATTACH_VIRTUAL_DISK_FLAG`). Combine with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AttachFlags(pub i32);

impl AttachFlags {
    /// Writable, with a drive letter if the host gives one, until the last handle is closed.
    pub const NONE: Self = AttachFlags(sys::ATTACH_VIRTUAL_DISK_FLAG_NONE);
    /// Read-only.
    pub const READ_ONLY: Self = AttachFlags(sys::ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY);
    /// Without a drive letter.
    pub const NO_DRIVE_LETTER: Self = AttachFlags(sys::ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER);
    /// Until it is detached, also when no handle is open any more.
    pub const PERMANENT_LIFETIME: Self = AttachFlags(sys::ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME);
    /// Not encrypted even where a policy encrypts new disks.
    pub const BYPASS_DEFAULT_ENCRYPTION_POLICY: Self =
        AttachFlags(sys::ATTACH_VIRTUAL_DISK_FLAG_BYPASS_DEFAULT_ENCRYPTION_POLICY);
}

impl BitOr for AttachFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        AttachFlags(self.0 | other.0)
    }
}

/// virtdisk.dll: what makes and opens virtual disks.
#[derive(Debug, Clone)]
pub struct VirtDisk(Arc<Functions>);

#[derive(Debug)]
struct Functions {
    library: Library,
    entries: Entries,
    retry: Retry,
}

static SYSTEM: LazyLock<VirtDisk> = LazyLock::new(|| VirtDisk::new(Library::system("virtdisk.dll")));

impl VirtDisk {
    fn new(library: Library) -> Self {
        VirtDisk(Arc::new(Functions { library, entries: Entries::new(), retry: Retry::TRANSIENT }))
    }

    /// The DLL of this Windows, from System32 and nowhere else, loaded at the first call.
    pub fn system() -> &'static Self {
        &SYSTEM
    }

    /// Another DLL with the same functions, by its absolute path: for tests.
    pub fn load(path: impl Into<PathBuf>) -> Self {
        Self::new(Library::at(path))
    }

    /// Makes a VHDX and opens it (`CreateVirtualDisk`, parameters of version 2). The file must not exist.
    ///
    /// Blocks; any thread may call it.
    ///
    /// <https://learn.microsoft.com/windows/win32/api/virtdisk/nf-virtdisk-createvirtualdisk>
    ///
    /// # Errors
    /// [`Error::Argument`] for a size together with a parent; [`Error::Call`], [`Error::Unavailable`], [`Error::Nul`].
    pub fn create(&self, path: &Path, disk: &CreateDisk) -> Result<VirtualDisk> {
        let entry = &self.0.entries.create;
        if disk.parent.is_some() && disk.size != 0 {
            return Err(Error::Argument {
                function: entry.name(),
                subject: path.to_owned(),
                reason: "a disk with a parent has its parent's size; leave the size at 0",
            });
        }
        let wide = WideString::from_path(path)?;
        let parent = disk.parent.as_deref().map(WideString::from_path).transpose()?;
        let storage = sys::VIRTUAL_STORAGE_TYPE {
            DeviceId: sys::VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
            VendorId: sys::VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
        };
        let version2 = sys::CREATE_VIRTUAL_DISK_PARAMETERS_0_1 {
            MaximumSize: disk.size,
            BlockSizeInBytes: disk.block_size,
            ParentPath: parent.as_ref().map_or(null(), WideString::as_ptr),
            OpenFlags: if parent.is_some() { sys::OPEN_VIRTUAL_DISK_FLAG_CACHED_IO } else { 0 },
            ..Default::default()
        };
        let parameters = sys::CREATE_VIRTUAL_DISK_PARAMETERS {
            Version: sys::CREATE_VIRTUAL_DISK_VERSION_2,
            Anonymous: sys::CREATE_VIRTUAL_DISK_PARAMETERS_0 { Version2: version2 },
        };
        let mut handle: HANDLE = null_mut();
        entry.call_win32(&self.0.library, Needs::NOTHING, path, |function| {
            // SAFETY: the function has this type; the strings are NUL-terminated, and they, the type and the parameters
            // outlive the call, which is synchronous because no OVERLAPPED is given. The parameters have the version
            // that they say, which wants no access mask. No descriptor is given. `handle` is a place for a handle.
            unsafe {
                function(
                    &raw const storage,
                    wide.as_ptr(),
                    sys::VIRTUAL_DISK_ACCESS_NONE,
                    null_mut(),
                    sys::CREATE_VIRTUAL_DISK_FLAG_NONE,
                    0,
                    &raw const parameters,
                    null(),
                    &raw mut handle,
                )
            }
        })?;
        self.own(handle, path, entry.name())
    }

    /// Opens a virtual disk of any format (`OpenVirtualDisk`, parameters of version 2, no access asked for). A sharing
    /// violation is tried again.
    ///
    /// Blocks; any thread may call it.
    ///
    /// <https://learn.microsoft.com/windows/win32/api/virtdisk/nf-virtdisk-openvirtualdisk>
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::Unavailable`], [`Error::Nul`].
    pub fn open(&self, path: &Path) -> Result<VirtualDisk> {
        let entry = &self.0.entries.open;
        let wide = WideString::from_path(path)?;
        let storage = sys::VIRTUAL_STORAGE_TYPE {
            DeviceId: sys::VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN,
            VendorId: sys::VIRTUAL_STORAGE_TYPE_VENDOR_UNKNOWN,
        };
        let parameters = sys::OPEN_VIRTUAL_DISK_PARAMETERS {
            Version: sys::OPEN_VIRTUAL_DISK_VERSION_2,
            ..Default::default()
        };
        let mut handle: HANDLE = null_mut();
        self.0.retry.run(&[HResult::SHARING_VIOLATION], || {
            entry.call_win32(&self.0.library, Needs::NOTHING, path, |function| {
                // SAFETY: the function has this type; the string is NUL-terminated, and it, the type and the parameters
                // outlive the call. The parameters have the version that they say, which wants no access mask. `handle`
                // is a place for a handle.
                unsafe {
                    function(
                        &raw const storage,
                        wide.as_ptr(),
                        sys::VIRTUAL_DISK_ACCESS_NONE,
                        0,
                        &raw const parameters,
                        &raw mut handle,
                    )
                }
            })
        })?;
        self.own(handle, path, entry.name())
    }

    fn own(&self, handle: HANDLE, path: &Path, function: &'static str) -> Result<VirtualDisk> {
        if handle.is_null() {
            return Err(Error::Answer {
                function,
                subject: path.to_owned(),
                reason: "it reported success without a handle",
            });
        }
        Ok(VirtualDisk { handle: Handle(handle), path: path.to_owned(), functions: self.clone() })
    }
}

/// A handle that is ours.
#[derive(Debug)]
struct Handle(HANDLE);

// SAFETY: a handle belongs to the process; the functions of virtual disks may be called from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above; the kernel keeps the order of calls on the same handle.
unsafe impl Sync for Handle {}

impl Handle {
    fn close(&mut self) -> Result<(), HResult> {
        let handle = std::mem::replace(&mut self.0, null_mut());
        if handle.is_null() {
            return Ok(());
        }
        // SAFETY: the handle came from a call that succeeded, is ours, and is forgotten, so that it is closed once.
        if unsafe { CloseHandle(handle) } == 0 { Err(last_error()) } else { Ok(()) }
    }
}

/// An open virtual disk. Closed when it is dropped; a disk that is attached without
/// [`AttachFlags::PERMANENT_LIFETIME`] is detached by that.
#[derive(Debug)]
pub struct VirtualDisk {
    handle: Handle,
    path: PathBuf,
    functions: VirtDisk,
}

impl VirtualDisk {
    /// [`VirtDisk::create`] with the DLL of this Windows.
    ///
    /// # Errors
    /// As there.
    pub fn create(path: &Path, disk: &CreateDisk) -> Result<Self> {
        VirtDisk::system().create(path, disk)
    }

    /// [`VirtDisk::open`] with the DLL of this Windows.
    ///
    /// # Errors
    /// As there.
    pub fn open(path: &Path) -> Result<Self> {
        VirtDisk::system().open(path)
    }

    /// Its file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it a disk of the host (`AttachVirtualDisk`). A sharing violation is tried again.
    ///
    /// Needs SeManageVolumePrivilege, which is enabled; elevated, or its volume has no mount path afterwards.
    ///
    /// <https://learn.microsoft.com/windows/win32/api/virtdisk/nf-virtdisk-attachvirtualdisk>
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::Privilege`], [`Error::Unavailable`].
    pub fn attach(&self, flags: AttachFlags) -> Result<()> {
        let functions = &*self.functions.0;
        let parameters = sys::ATTACH_VIRTUAL_DISK_PARAMETERS {
            Version: sys::ATTACH_VIRTUAL_DISK_VERSION_1,
            ..Default::default()
        };
        functions.retry.run(&[HResult::SHARING_VIOLATION], || {
            functions.entries.attach.call_win32(&functions.library, Needs::ATTACH, &self.path, |function| {
                // SAFETY: the function has this type; the handle is open; the parameters have the version that they say
                // and outlive the call, which is synchronous because no OVERLAPPED is given. Null means the default
                // descriptor.
                unsafe { function(self.handle.0, null_mut(), flags.0, 0, &raw const parameters, null()) }
            })
        })
    }

    /// Undoes [`VirtualDisk::attach`] (`DetachVirtualDisk`).
    ///
    /// SeManageVolumePrivilege is enabled where it is held.
    ///
    /// <https://learn.microsoft.com/windows/win32/api/virtdisk/nf-virtdisk-detachvirtualdisk>
    ///
    /// # Errors
    /// [`Error::Call`], [`Error::Unavailable`].
    pub fn detach(&self) -> Result<()> {
        let functions = &*self.functions.0;
        functions.entries.detach.call_win32(&functions.library, Needs::DISK, &self.path, |function| {
            // SAFETY: the function has this type, and the handle is open.
            unsafe { function(self.handle.0, sys::DETACH_VIRTUAL_DISK_FLAG_NONE, 0) }
        })
    }

    /// The device of an attached disk, as `\\.\PhysicalDrive3` (`GetVirtualDiskPhysicalPath`).
    ///
    /// <https://learn.microsoft.com/windows/win32/api/virtdisk/nf-virtdisk-getvirtualdiskphysicalpath>
    ///
    /// # Errors
    /// [`Error::Call`], among them that the disk is not attached; [`Error::Unavailable`]; [`Error::Answer`] for a path
    /// of more than 32767 characters.
    pub fn physical_path(&self) -> Result<PathBuf> {
        const TOO_SMALL: HResult = HResult::from_win32(122);
        let functions = &*self.functions.0;
        let entry = &functions.entries.physical_path;
        // Bytes, as the function counts.
        let mut size = 520_u32;
        loop {
            let mut buffer = vec![0_u16; (size as usize).div_ceil(2)];
            let done = entry.call_win32(&functions.library, Needs::NOTHING, &self.path, |function| {
                // SAFETY: the function has this type, the handle is open, and the buffer has at least `size` bytes.
                unsafe { function(self.handle.0, &raw mut size, buffer.as_mut_ptr()) }
            });
            match done {
                Ok(()) => return Ok(until_nul(&buffer).into()),
                Err(Error::Call { code, .. })
                    if code == TOO_SMALL && size as usize > buffer.len() * 2 && size <= LONGEST_PATH => {}
                Err(Error::Call { code, .. }) if code == TOO_SMALL => {
                    return Err(Error::Answer {
                        function: entry.name(),
                        subject: self.path.clone(),
                        reason: "it wants a buffer that no path needs",
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes it, and says when that fails.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn close(mut self) -> Result<()> {
        self.handle.close().or_else(|code| check("CloseHandle", &self.path, code))
    }
}

impl AsHandle for VirtualDisk {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        // SAFETY: the handle is open for as long as `self` is, and is closed by `close`, which takes `self`, or by
        // `drop`.
        unsafe { BorrowedHandle::borrow_raw(self.handle.0) }
    }
}

impl Drop for VirtualDisk {
    fn drop(&mut self) {
        if let Err(code) = self.handle.close() {
            tracing::warn!(disk = %self.path.display(), %code, "cannot close a virtual disk");
        }
    }
}
