//! computestorage.dll.

use std::fs::OpenOptions;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::LazyLock;

use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_NO_BUFFERING, FILE_SHARE_READ, FILE_SHARE_WRITE};
use windows_sys::Win32::System::HostComputeSystem as sys;
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

use super::dll::{Library, entries};
use super::host;
use super::memory::LocalString;
use super::privilege::Needs;
use super::virtdisk::{AttachFlags, VirtualDisk};
use super::wide::WideString;
use crate::error::{Error, Result};
use crate::functions::{Build, COMPUTESTORAGE};
use crate::hresult::HResult;
use crate::retry::Retry;
use crate::schema::{Document, FilterType, LayerData, OsLayerOptions, OsLayerType, RawDocument};

type ImportLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
type ExportLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
type ExportLegacyWritableLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
type DestroyLayerFn = unsafe extern "system" fn(PCWSTR) -> HRESULT;
type SetupBaseOsLayerFn = unsafe extern "system" fn(PCWSTR, HANDLE, PCWSTR) -> HRESULT;
type SetupBaseOsVolumeFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
type InitializeWritableLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
type InitializeLegacyWritableLayerFn = unsafe extern "system" fn(PCWSTR, PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
type AttachLayerStorageFilterFn = unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;
type DetachLayerStorageFilterFn = unsafe extern "system" fn(PCWSTR) -> HRESULT;
type FormatWritableLayerVhdFn = unsafe extern "system" fn(HANDLE) -> HRESULT;
type GetLayerVhdMountPathFn = unsafe extern "system" fn(HANDLE, *mut PWSTR) -> HRESULT;
/// In no header: as the functions of the storage filter, which these two stand beside.
type AttachOverlayFilterFn = unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;
type DetachOverlayFilterFn = unsafe extern "system" fn(PCWSTR, PCWSTR) -> HRESULT;

// The types are Microsoft's. This is looked at by the compiler alone: nothing refers to the functions when the program is
// linked, so it does not import them.
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
    struct Entries of COMPUTESTORAGE {
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

/// What a base layer is set up for, and the disk that goes with it.
///
/// A container's setup takes no disk and a utility VM's takes one; the function fails, or worse, when they are mixed up.
#[derive(Debug, Clone, Copy)]
pub enum BaseOs<'a> {
    /// For containers that share the host's kernel. The layer's `blank-base.vhdx` is made and **closed** beforehand.
    Container,
    /// For the utility VM of Hyper-V isolation, with its `SystemTemplateBase.vhdx`: made, **attached** and not formatted.
    Vm(BorrowedHandle<'a>),
}

impl BaseOs<'_> {
    fn layer_type(self) -> OsLayerType {
        match self {
            BaseOs::Container => OsLayerType::Container,
            BaseOs::Vm(_) => OsLayerType::Vm,
        }
    }

    fn handle(self) -> HANDLE {
        match self {
            BaseOs::Container => null_mut(),
            BaseOs::Vm(handle) => handle.as_raw_handle(),
        }
    }
}

/// The layer functions of computestorage.dll.
///
/// Every method is a call of one function, with what its documentation leaves to the caller done for it: privileges are enabled
/// for its duration, strings are checked, memory is freed, and failures that pass are waited out ([`Retry`]).
///
/// # Arguments
/// Paths are handed over untouched, whatever their form; a path with a NUL is refused before anything is called. Chains are
/// **nearest parent first**. A chain is anything that is a [`Document`]: a [`LayerChain`](crate::LayerChain), a [`LayerData`], or a
/// [`RawDocument`] for what the types have no field for.
///
/// # Threads
/// The methods block, some of them for minutes. Any of them may be called from any thread, and several at once; the service itself
/// takes turns where it must. Privileges are enabled on the calling thread alone, so a method that is called while the thread
/// impersonates somebody is judged by that token.
///
/// # Errors
/// Common to all methods: [`Error::Call`] with the function's HRESULT (`S_FALSE` is a success); [`Error::Unavailable`] when this
/// Windows does not have the function; [`Error::Privilege`] when the account does not hold a privilege that is needed;
/// [`Error::Nul`], [`Error::NulInDocument`], [`Error::NotUnicode`] for arguments that cannot be passed.
#[derive(Debug)]
pub struct ComputeStorage {
    library: Library,
    entries: Entries,
    build: Option<Build>,
    transient: Retry,
    detach: Retry,
}

static SYSTEM: LazyLock<ComputeStorage> =
    LazyLock::new(|| ComputeStorage::new(Library::system("computestorage.dll")));

impl ComputeStorage {
    fn new(library: Library) -> Self {
        ComputeStorage {
            library,
            entries: Entries::new(),
            build: None,
            transient: Retry::TRANSIENT,
            detach: Retry::DETACH,
        }
    }

    /// The DLL of this Windows, from System32 and nowhere else. It is loaded at the first call; that it is missing is an error of
    /// that call.
    pub fn system() -> &'static Self {
        &SYSTEM
    }

    /// Another DLL with the same functions, by its absolute path: for tests. It is loaded at the first call and runs with all
    /// rights of this process.
    pub fn load(path: impl Into<PathBuf>) -> Self {
        Self::new(Library::at(path))
    }

    /// The same, on a Windows of another build than the one that runs: for tests of what depends on it.
    #[must_use]
    pub fn with_build(mut self, build: Build) -> Self {
        self.build = Some(build);
        self
    }

    /// The same, with other patience: for sharing violations and disks that are not ready, and for a storage filter that is
    /// still in use.
    #[must_use]
    pub fn with_retry(mut self, transient: Retry, detach: Retry) -> Self {
        (self.transient, self.detach) = (transient, detach);
        self
    }

    fn build(&self) -> Build {
        self.build.unwrap_or_else(host::build)
    }

    /// Makes a layer of a transport folder (`HcsImportLayer`).
    ///
    /// `layer` is created when it is not there, and has to be another folder than `source`; `chain` has all parents of the new
    /// layer, and is [`LayerChain::base`](crate::LayerChain::base) for a base layer. The transport folder has to be whole: `Files`,
    /// `Hives` with all five `*_Delta`, the `.$wcidirs$` files and `tombstones.txt`. A base layer is not ready afterwards: see
    /// [`ComputeStorage::setup_base_os_layer`].
    ///
    /// Needs SeBackupPrivilege and SeRestorePrivilege, which are enabled, and an elevated process. Takes the longest of all: it
    /// writes the layer. It is not tried again when it fails, because the folder is then half written; destroy it.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsimportlayer>
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for a transport folder that is not whole and for parents that cannot be
    /// found, and those of all methods.
    pub fn import_layer(&self, layer: &Path, source: &Path, chain: &(impl Document + ?Sized)) -> Result<()> {
        let (path, source) = (WideString::from_path(layer)?, WideString::from_path(source)?);
        let chain = WideString::from_document(chain)?;
        self.entries.import_layer.call(&self.library, Needs::WRITE, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(path.as_ptr(), source.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Makes a transport folder of a layer (`HcsExportLayer`).
    ///
    /// `destination` has to exist and be empty. With [`ExportLayerOptions::is_writable_layer`](crate::ExportLayerOptions), `layer` is
    /// the mounted volume of a scratch, whose filter is attached, and what is exported are its changes.
    ///
    /// Needs SeBackupPrivilege, which is enabled; SeRestorePrivilege and SeSecurityPrivilege are as well where they are held. A base
    /// layer that was set up lacks its `*_Delta` hives and cannot be exported until they are put back.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsexportlayer>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn export_layer(
        &self,
        layer: &Path,
        destination: &Path,
        chain: &(impl Document + ?Sized),
        options: &(impl Document + ?Sized),
    ) -> Result<()> {
        let (path, destination) = (WideString::from_path(layer)?, WideString::from_path(destination)?);
        let (chain, options) = (WideString::from_document(chain)?, WideString::from_document(options)?);
        self.entries.export_layer.call(&self.library, Needs::READ, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(path.as_ptr(), destination.as_ptr(), chain.as_ptr(), options.as_ptr()) }
        })
    }

    /// Makes a transport folder of a scratch that consists of a mounted volume and a folder with the hives
    /// (`HcsExportLegacyWritableLayer`).
    ///
    /// `mount` is the volume, `layer` the folder, `destination` a folder that exists. No program is known that calls it; it is
    /// here because it is documented.
    ///
    /// Needs SeBackupPrivilege, which is enabled.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsexportlegacywritablelayer>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn export_legacy_writable_layer(
        &self,
        mount: &Path,
        layer: &Path,
        destination: &Path,
        chain: &(impl Document + ?Sized),
    ) -> Result<()> {
        let (volume, path) = (WideString::from_path(mount)?, WideString::from_path(layer)?);
        let (destination, chain) = (WideString::from_path(destination)?, WideString::from_document(chain)?);
        self.entries.export_legacy_writable_layer.call(&self.library, Needs::READ, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(volume.as_ptr(), path.as_ptr(), destination.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Deletes a layer's folder with all that is in it (`HcsDestroyLayer`), and sees that it is gone.
    ///
    /// **It deletes any folder**: with the privileges of a backup program, whatever the files' descriptors say. Give it paths that
    /// your program has made itself. Detach the layer's disk first; never destroy a base layer that is in use.
    ///
    /// The function may report success and leave the folder; it is looked for afterwards. A sharing violation is tried again.
    /// SeBackupPrivilege and SeRestorePrivilege are enabled where they are held.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsdestroylayer>
    ///
    /// # Errors
    /// [`Error::StillThere`], and those of all methods.
    pub fn destroy_layer(&self, layer: &Path) -> Result<()> {
        let path = WideString::from_path(layer)?;
        let entry = &self.entries.destroy_layer;
        self.transient.run(&[HResult::SHARING_VIOLATION], || {
            entry.call(&self.library, Needs::OWN, layer, |function| {
                // SAFETY: the function has this type; the string is NUL-terminated and outlives the call, which does not keep it.
                unsafe { function(path.as_ptr()) }
            })
        })?;
        gone(entry.name(), layer)
    }

    /// Makes a base layer ready for use (`HcsSetupBaseOSLayer`).
    ///
    /// For [`BaseOs::Container`], `layer` is the layer's folder, which holds `Files`; delete `Hives` and `Layout` of an earlier try
    /// first, or it fails because they exist. For [`BaseOs::Vm`], `layer` is its `UtilityVM` folder. The document's `Type` is that of
    /// `base`; set the other options as you need them.
    ///
    /// SeBackupPrivilege and SeRestorePrivilege are enabled.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcssetupbaseoslayer>
    ///
    /// # Errors
    /// [`Error::Argument`] when `options` has the type of the other sort of base; [`ErrorKind::AlreadyExists`] for left-over
    /// `Hives` and `Layout`; those of all methods.
    ///
    /// [`ErrorKind::AlreadyExists`]: crate::ErrorKind::AlreadyExists
    pub fn setup_base_os_layer(
        &self,
        layer: &Path,
        base: BaseOs<'_>,
        options: &OsLayerOptions,
    ) -> Result<()> {
        if options.layer_type.is_some_and(|layer_type| layer_type != base.layer_type()) {
            return Err(Error::Argument {
                function: self.entries.setup_base_os_layer.name(),
                subject: layer.to_owned(),
                reason: "the type in the options is not that of the base",
            });
        }
        let options = OsLayerOptions { layer_type: Some(base.layer_type()), ..*options };
        self.setup(layer, base, &options)
    }

    /// [`ComputeStorage::setup_base_os_layer`] with a document of your own, which is passed as it is.
    ///
    /// # Errors
    /// As there.
    pub fn setup_base_os_layer_raw(
        &self,
        layer: &Path,
        base: BaseOs<'_>,
        options: &RawDocument,
    ) -> Result<()> {
        self.setup(layer, base, options)
    }

    fn setup(&self, layer: &Path, base: BaseOs<'_>, options: &impl Document) -> Result<()> {
        let (path, options) = (WideString::from_path(layer)?, WideString::from_document(options)?);
        self.entries.setup_base_os_layer.call(&self.library, Needs::WRITE, layer, |function| {
            // SAFETY: the function has this type; the strings are NUL-terminated and outlive the call; the handle is null, or open
            // for as long as `base` lives, and is neither kept nor closed by the call.
            unsafe { function(path.as_ptr(), base.handle(), options.as_ptr()) }
        })
    }

    /// Makes a base layer ready whose files are on a mounted volume (`HcsSetupBaseOSVolume`).
    ///
    /// `volume` has the form `\\?\Volume{…}\`, with the backslash at its end. On a volume that is no base layer's disk the function
    /// succeeds without doing anything: look for `WcSandboxState` on it. As with [`ComputeStorage::setup_base_os_layer`], `Hives` and
    /// `Layout` must not exist. The options are an [`OsLayerOptions`]; their type is yours to set.
    ///
    /// SeBackupPrivilege and SeRestorePrivilege are enabled.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcssetupbaseosvolume>
    ///
    /// # Errors
    /// [`Error::Build`] before build 19645, and those of all methods.
    pub fn setup_base_os_volume(
        &self,
        layer: &Path,
        volume: &Path,
        options: &(impl Document + ?Sized),
    ) -> Result<()> {
        let entry = &self.entries.setup_base_os_volume;
        let found = self.build();
        if found < Build::BASE_OS_VOLUME {
            return Err(Error::Build { function: entry.name(), needed: Build::BASE_OS_VOLUME, found });
        }
        let (path, volume) = (WideString::from_path(layer)?, WideString::from_path(volume)?);
        let options = WideString::from_document(options)?;
        entry.call(&self.library, Needs::WRITE, layer, |function| {
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(path.as_ptr(), volume.as_ptr(), options.as_ptr()) }
        })
    }

    /// Prepares a scratch that has just been formatted or copied for its parents (`HcsInitializeWritableLayer`).
    ///
    /// `layer` is the mounted volume of the scratch, with a backslash at its end. Once for each scratch. For `options` pass
    /// [`WritableLayerOptions::default()`](crate::WritableLayerOptions): no field is published, and an empty string is what hcsshim
    /// sends.
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
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(path.as_ptr(), chain.as_ptr(), options.as_ptr()) }
        })
    }

    /// Prepares a scratch that consists of a mounted volume and a folder with the hives (`HcsInitializeLegacyWritableLayer`).
    ///
    /// The options may name files to put into the scratch beforehand, but their fields are not published. No program is known that
    /// calls it.
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
            // SAFETY: the function has this type; all strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(volume.as_ptr(), path.as_ptr(), chain.as_ptr(), options.as_ptr()) }
        })
    }

    /// Shows a scratch and its parents as one file system, through wcifs (`HcsAttachLayerStorageFilter`).
    ///
    /// `layer` is the mounted volume of the scratch, with a backslash at its end. It has to be done before a process-isolated
    /// container starts. Needs an elevated process; no privilege stands in for that.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsattachlayerstoragefilter>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn attach_layer_storage_filter(&self, layer: &Path, chain: &(impl Document + ?Sized)) -> Result<()> {
        let (path, chain) = (WideString::from_path(layer)?, WideString::from_document(chain)?);
        self.entries.attach_layer_storage_filter.call(&self.library, Needs::NOTHING, layer, |function| {
            // SAFETY: the function has this type; both strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(path.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Undoes [`ComputeStorage::attach_layer_storage_filter`] (`HcsDetachLayerStorageFilter`).
    ///
    /// Just after a container has ended the filter is still in use: the call is made again, ten times in all, a second apart
    /// ([`Retry::DETACH`]). Needs an elevated process.
    ///
    /// <https://learn.microsoft.com/virtualization/api/hcs/reference/hcsdetachlayerstoragefilter>
    ///
    /// # Errors
    /// Those of all methods.
    pub fn detach_layer_storage_filter(&self, layer: &Path) -> Result<()> {
        let path = WideString::from_path(layer)?;
        self.detach.run(&[HResult::DO_NOT_DETACH], || {
            self.entries.detach_layer_storage_filter.call(&self.library, Needs::NOTHING, layer, |function| {
                // SAFETY: the function has this type; the string is NUL-terminated and outlives the call, which does not keep it.
                unsafe { function(path.as_ptr()) }
            })
        })
    }

    /// Partitions and formats a new virtual disk for a scratch: GPT with one NTFS volume (`HcsFormatWritableLayerVhd`).
    ///
    /// Once for each disk: a formatted one is refused as a wrong argument. On Windows Server 2019 (before build 18362) the function
    /// wants the handle of the disk and not of the file it is in: the disk is then attached for the call and opened.
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

    /// [`ComputeStorage::format_writable_layer_vhd`] with a handle of your own, which is passed as it is: that of a virtual disk from
    /// build 18362 on, that of an attached disk before.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn format_writable_layer_vhd_handle(&self, handle: BorrowedHandle<'_>) -> Result<()> {
        self.format(&subject_of(handle), handle)
    }

    fn format(&self, subject: &Path, handle: BorrowedHandle<'_>) -> Result<()> {
        self.entries.format_writable_layer_vhd.call(&self.library, Needs::DISK, subject, |function| {
            // SAFETY: the function has this type; the handle is open for the duration of the call, which neither keeps nor closes it.
            unsafe { function(handle.as_raw_handle()) }
        })
    }

    /// The volume of an attached virtual disk, as `\\?\Volume{…}` **without** a backslash at its end (`HcsGetLayerVhdMountPath`).
    ///
    /// The path is **empty** when the disk was attached by a process that was not elevated; nothing can be mounted there. The
    /// string that the function allocates is freed whatever happens.
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
            // SAFETY: the function has this type; the handle is open for the duration of the call. What it writes is null or a
            // NUL-terminated string that the caller frees with LocalFree, says its documentation; it writes it once.
            unsafe { function(handle.as_raw_handle(), path.as_out()) }
        })?;
        path.to_path(entry.name(), &subject)
    }

    /// Shows a volume and its parents as one file system, through a filter of choice (`HcsAttachOverlayFilter`).
    ///
    /// `volume` has to hold `WcSandboxState`, and ends with a backslash; the chain names its filter
    /// ([`LayerChain::with_filter`](crate::LayerChain::with_filter)). For [`FilterType::UnionFs`] it has one layer: the id is the GUID
    /// of the CIM's volume, the path that volume's `Files`. The function is not documented; recent builds of Windows have it.
    ///
    /// Needs an elevated process.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn attach_overlay_filter(&self, volume: &Path, chain: &(impl Document + ?Sized)) -> Result<()> {
        let (path, chain) = (WideString::from_path(volume)?, WideString::from_document(chain)?);
        self.entries.attach_overlay_filter.call(&self.library, Needs::NOTHING, volume, |function| {
            // SAFETY: the function has this type; both strings are NUL-terminated and outlive the call, which does not keep them.
            unsafe { function(path.as_ptr(), chain.as_ptr()) }
        })
    }

    /// Undoes [`ComputeStorage::attach_overlay_filter`] (`HcsDetachOverlayFilter`), with the same filter. It is tried again while
    /// the filter is in use, as [`ComputeStorage::detach_layer_storage_filter`].
    ///
    /// # Errors
    /// Those of all methods.
    pub fn detach_overlay_filter(&self, volume: &Path, filter: FilterType) -> Result<()> {
        let path = WideString::from_path(volume)?;
        let document = LayerData { filter_type: Some(filter), ..LayerData::default() };
        let document = WideString::from_document(&document)?;
        self.detach.run(&[HResult::DO_NOT_DETACH], || {
            self.entries.detach_overlay_filter.call(&self.library, Needs::NOTHING, volume, |function| {
                // SAFETY: the function has this type; both strings are NUL-terminated and outlive the call, which does not keep them.
                unsafe { function(path.as_ptr(), document.as_ptr()) }
            })
        })
    }
}

/// Sees that a folder that was to be deleted is not there.
pub(super) fn gone(function: &'static str, path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A name that cannot exist does not.
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(()),
        // Also when it cannot be looked at: a folder that is being deleted is in the way of a new one.
        _ => Err(Error::StillThere { function, path: path.to_owned() }),
    }
}

fn code_of(error: &io::Error) -> HResult {
    error.raw_os_error().map_or(HResult(0x8000_4005), |code| HResult::from_win32(code.cast_unsigned()))
}

/// A handle, as messages name it.
fn subject_of(handle: BorrowedHandle<'_>) -> PathBuf {
    format!("handle {:#x}", handle.as_raw_handle() as usize).into()
}
