//! Scratches: their disks, their state, and the filters that show them.

use std::fs::OpenOptions;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_NO_BUFFERING, FILE_SHARE_READ, FILE_SHARE_WRITE};

use super::ComputeStorage;
use crate::error::{Error, Result};
use crate::functions::Build;
use crate::hresult::HResult;
use crate::schema::{Document, FilterType, LayerData};
use crate::windows::memory::LocalString;
use crate::windows::privilege::Needs;
use crate::windows::virtdisk::{AttachFlags, VirtualDisk};
use crate::windows::wide::WideString;

/// Scratches.
impl ComputeStorage {
    /// Prepares a scratch that has just been formatted or copied for its parents (`HcsInitializeWritableLayer`).
    ///
    /// `layer` is the mounted volume of the scratch, with a backslash at its end. Once for each scratch. For `options`
    /// pass [`WritableLayerOptions::default()`](crate::WritableLayerOptions): no field is published, and an empty
    /// string is what hcsshim sends.
    ///
    /// SeBackupPrivilege, SeRestorePrivilege and SeSecurityPrivilege are enabled where they are held.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsinitializewritablelayer>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn initialize_writable_layer(
        &self,
        layer: &Path,
        chain: &(impl Document + ?Sized),
        options: &(impl Document + ?Sized),
    ) -> Result<()> {
        let path = WideString::from_path(layer)?;
        let (chain, options) = (WideString::from_document(chain)?, WideString::from_document(options)?);
        self.entries.initialize_writable_layer.call(&self.library, Needs::OWN, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(path.as_ptr(), chain.as_ptr(), options.as_ptr()) }
        })
    }

    /// Prepares a scratch that consists of a mounted volume and a folder with the hives
    /// (`HcsInitializeLegacyWritableLayer`).
    ///
    /// The options may name files to put into the scratch beforehand, but their fields are not published. No program is
    /// known that calls it.
    ///
    /// SeBackupPrivilege, SeRestorePrivilege and SeSecurityPrivilege are enabled where they are held.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsinitializelegacywritablelayer>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn initialize_legacy_writable_layer(
        &self,
        mount: &Path,
        layer: &Path,
        chain: &(impl Document + ?Sized),
        options: &(impl Document + ?Sized),
    ) -> Result<()> {
        let (volume, path) = (WideString::from_path(mount)?, WideString::from_path(layer)?);
        let (chain, options) = (WideString::from_document(chain)?, WideString::from_document(options)?);
        self.entries.initialize_legacy_writable_layer.call(&self.library, Needs::OWN, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(volume.as_ptr(), path.as_ptr(), chain.as_ptr(), options.as_ptr()) }
        })
    }

    /// Shows a scratch and its parents as one file system, through wcifs (`HcsAttachLayerStorageFilter`).
    ///
    /// `layer` is the mounted volume of the scratch, with a backslash at its end. It has to be done before a
    /// process-isolated container starts. Needs an elevated process; no privilege stands in for that.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsattachlayerstoragefilter>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn attach_layer_storage_filter(&self, layer: &Path, chain: &(impl Document + ?Sized)) -> Result<()> {
        let (path, chain) = (WideString::from_path(layer)?, WideString::from_document(chain)?);
        self.entries.attach_layer_storage_filter.call(&self.library, Needs::NOTHING, layer, |function| {
            // SAFETY: the function has this type; both strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(path.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Undoes [`ComputeStorage::attach_layer_storage_filter`] (`HcsDetachLayerStorageFilter`).
    ///
    /// Just after a container has ended the filter is still in use: the call is made again, ten times in all, a second
    /// apart ([`Retry::DETACH`](crate::Retry::DETACH)). Needs an elevated process.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsdetachlayerstoragefilter>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn detach_layer_storage_filter(&self, layer: &Path) -> Result<()> {
        let path = WideString::from_path(layer)?;
        self.detach.run(&[HResult::DO_NOT_DETACH], || {
            self.entries.detach_layer_storage_filter.call(&self.library, Needs::NOTHING, layer, |function| {
                // SAFETY: the function has this type; the string is NUL-terminated and outlives the call, which does
                // not keep it.
                unsafe { function(path.as_ptr()) }
            })
        })
    }

    /// Partitions and formats a new virtual disk for a scratch: GPT with one NTFS volume (`HcsFormatWritableLayerVhd`).
    ///
    /// Once for each disk: a formatted one is refused as a wrong argument. On Windows Server 2019 (before build 18362)
    /// the function wants the handle of the disk and not of the file it is in: the disk is then attached for the call
    /// and opened.
    ///
    /// Needs an elevated process; SeManageVolumePrivilege is enabled where it is held.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsformatwritablelayervhd>
    ///
    /// # Errors
    /// Those of all methods; on Windows Server 2019 those of attaching and opening the disk.
    pub fn format_writable_layer_vhd(&self, vhd: &VirtualDisk) -> Result<()> {
        if self.build() >= Build::WINDOWS_10_1903 {
            return self.format(vhd.path(), vhd.as_handle());
        }
        vhd.attach(AttachFlags::NONE)?;
        let formatted = self.format_disk(vhd);
        let detached = vhd.detach();
        formatted.and(detached)
    }

    fn format_disk(&self, vhd: &VirtualDisk) -> Result<()> {
        let device = vhd.physical_path()?;
        let disk = OpenOptions::new()
            .access_mode(GENERIC_READ | GENERIC_WRITE)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .custom_flags(FILE_FLAG_NO_BUFFERING)
            .open(&device)
            .map_err(|error| Error::Call {
                function: "CreateFileW",
                subject: device,
                code: code_of(&error),
            })?;
        self.format(vhd.path(), disk.as_handle())
    }

    /// [`ComputeStorage::format_writable_layer_vhd`] with a handle of your own, which is passed as it is: that of a
    /// virtual disk from build 18362 on, that of an attached disk before.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn format_writable_layer_vhd_handle(&self, handle: BorrowedHandle<'_>) -> Result<()> {
        self.format(&subject_of(handle), handle)
    }

    fn format(&self, subject: &Path, handle: BorrowedHandle<'_>) -> Result<()> {
        self.entries.format_writable_layer_vhd.call(&self.library, Needs::DISK, subject, |function| {
            // SAFETY: the function has this type; the handle is open for the duration of the call, which neither keeps
            // nor closes it.
            unsafe { function(handle.as_raw_handle()) }
        })
    }

    /// The volume of an attached virtual disk, as `\\?\Volume{…}` **without** a backslash at its end
    /// (`HcsGetLayerVhdMountPath`).
    ///
    /// The path is **empty** when the disk was attached by a process that was not elevated; nothing can be mounted
    /// there. The string that the function allocates is freed whatever happens.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsgetlayervhdmountpath>
    ///
    /// # Errors
    /// [`Error::Answer`] for a string without an end, and those of all methods.
    pub fn layer_vhd_mount_path(&self, vhd: &impl AsHandle) -> Result<PathBuf> {
        let handle = vhd.as_handle();
        let subject = subject_of(handle);
        let entry = &self.entries.get_layer_vhd_mount_path;
        let mut path = LocalString::empty();
        entry.call(&self.library, Needs::NOTHING, &subject, |function| {
            // SAFETY: the function has this type; the handle is open for the duration of the call. What it writes is
            // null or a NUL-terminated string that the caller frees with LocalFree, says its documentation; it writes
            // it once.
            unsafe { function(handle.as_raw_handle(), path.as_out()) }
        })?;
        path.to_path(entry.name(), &subject)
    }

    /// Shows a volume and its parents as one file system, through a filter of choice (`HcsAttachOverlayFilter`).
    ///
    /// `volume` has to hold `WcSandboxState`, and ends with a backslash; the chain names its filter
    /// ([`LayerChain::with_filter`](crate::LayerChain::with_filter)). For [`FilterType::UnionFs`] it has one layer: the
    /// id is the GUID of the CIM's volume, the path that volume's `Files`. The function is not documented; recent
    /// builds of Windows have it.
    ///
    /// Needs an elevated process.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn attach_overlay_filter(&self, volume: &Path, chain: &(impl Document + ?Sized)) -> Result<()> {
        let (path, chain) = (WideString::from_path(volume)?, WideString::from_document(chain)?);
        self.entries.attach_overlay_filter.call(&self.library, Needs::NOTHING, volume, |function| {
            // SAFETY: the function has this type; both strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(path.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Undoes [`ComputeStorage::attach_overlay_filter`] (`HcsDetachOverlayFilter`), with the same filter. It is tried
    /// again while the filter is in use, as [`ComputeStorage::detach_layer_storage_filter`].
    ///
    /// # Errors
    /// Those of all methods.
    pub fn detach_overlay_filter(&self, volume: &Path, filter: FilterType) -> Result<()> {
        let path = WideString::from_path(volume)?;
        let document = LayerData { filter_type: Some(filter), ..LayerData::default() };
        let document = WideString::from_document(&document)?;
        self.detach.run(&[HResult::DO_NOT_DETACH], || {
            self.entries.detach_overlay_filter.call(&self.library, Needs::NOTHING, volume, |function| {
                // SAFETY: the function has this type; both strings are NUL-terminated and outlive the call, which does
                // not keep them.
                unsafe { function(path.as_ptr(), document.as_ptr()) }
            })
        })
    }
}

fn code_of(error: &io::Error) -> HResult {
    error.raw_os_error().map_or(HResult(0x8000_4005), |code| HResult::from_win32(code.cast_unsigned()))
}

/// A handle, as messages name it.
fn subject_of(handle: BorrowedHandle<'_>) -> PathBuf {
    format!("handle {:#x}", handle.as_raw_handle() as usize).into()
}
