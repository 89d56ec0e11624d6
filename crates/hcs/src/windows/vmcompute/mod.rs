//! vmcompute.dll: the layer calls that came before computestorage.dll, and that containerd and Docker use.

mod ffi;

use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{LazyLock, Mutex, PoisonError};

use uuid::Uuid;
use windows_sys::core::GUID;

use self::ffi::{Descriptors, DriverInfo, Entries, LayerFn, TransferFn};
use super::computestorage::gone;
use super::dll::{Entry, Library};
use super::privilege::Needs;
use super::wide::{WideString, until_nul};
use crate::chain::LayerChain;
use crate::error::{Error, Result};
use crate::hresult::HResult;
use crate::retry::Retry;

/// `PrepareLayer` is called by one thread at a time.
///
/// Windows does not cope with several at once: with a few layers starting together the calls time out
/// (`ERROR_TIMEOUT`). hcsshim has the same lock. It is the process's; other processes are out of its reach.
static PREPARE: Mutex<()> = Mutex::new(());

/// The longest mount path that is taken, in UTF-16 units.
const LONGEST_PATH: usize = 32_768;

/// What says that a disk has not arrived yet.
const LATE: [HResult; 2] = [HResult::NOT_READY, HResult::DEVICE_NOT_CONNECTED];

/// The layer functions of vmcompute.dll.
///
/// The same rules hold as for [`ComputeStorage`](crate::ComputeStorage): paths untouched, chains nearest parent first,
/// privileges enabled for the call on the calling thread, any thread may call. Prefer that interface; what only this
/// one has is
/// [`VmCompute::layer_id`], [`VmCompute::expand_sandbox_size`], and the processing of base images.
///
/// # Errors
/// Common to all methods: [`Error::Call`], [`Error::Unavailable`], [`Error::Privilege`], [`Error::Nul`]. This DLL
/// spells the service's codes `0xC037xxxx`; they are found in the catalogue all the same.
#[derive(Debug)]
pub struct VmCompute {
    library: Library,
    entries: Entries,
    transient: Retry,
}

static SYSTEM: LazyLock<VmCompute> = LazyLock::new(VmCompute::default);

/// The DLL of this Windows, as [`VmCompute::system`], for a program that wants another patience than the usual.
impl Default for VmCompute {
    fn default() -> Self {
        VmCompute::new(Library::system("vmcompute.dll"))
    }
}

impl VmCompute {
    fn new(library: Library) -> Self {
        VmCompute { library, entries: Entries::new(), transient: Retry::TRANSIENT }
    }

    /// The DLL of this Windows, from System32 and nowhere else, loaded at the first call.
    pub fn system() -> &'static Self {
        &SYSTEM
    }

    /// Another DLL with the same functions, by its absolute path: for tests.
    pub fn load(path: impl Into<PathBuf>) -> Self {
        Self::new(Library::at(path))
    }

    /// The same, with other patience for disks that are not ready.
    #[must_use]
    pub fn with_retry(mut self, transient: Retry) -> Self {
        self.transient = transient;
        self
    }

    /// The id of a layer's folder: what `NameToGuid` makes of the **last component** of its path. The folder need not
    /// exist.
    ///
    /// A separator at the end of the path is not a component: `C:\layers\4\` has the id of `C:\layers\4`. (The function
    /// itself would be asked for the id of an empty name.) Other ids than these work as well, as long as every call has
    /// the same; keep the id beside the layer, because scratches refer to it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a path without a last component, such as `C:\` or one that ends in `..`; those of all
    /// methods.
    pub fn layer_id(&self, layer: &Path) -> Result<Uuid> {
        let entry = &self.entries.name_to_guid;
        let Some(name) = layer.file_name() else {
            return Err(Error::Argument {
                function: entry.name(),
                subject: layer.to_owned(),
                reason: "the path has no last component, from which the id is derived",
            });
        };
        let name = WideString::from_path(name.as_ref())?;
        let mut id = GUID { data1: 0, data2: 0, data3: 0, data4: [0; 8] };
        entry.call(&self.library, Needs::NOTHING, layer, |function| {
            // SAFETY: the function has this type; the name is NUL-terminated and outlives the call; `id` is a place for
            // a GUID.
            unsafe { function(name.as_ptr(), &raw mut id) }
        })?;
        Ok(Uuid::from_fields(id.data1, id.data2, id.data3, &id.data4))
    }

    /// The chain of these folders, nearest parent first, with the ids of [`VmCompute::layer_id`].
    ///
    /// # Errors
    /// As there.
    pub fn chain<P: AsRef<Path>>(&self, parents: impl IntoIterator<Item = P>) -> Result<LayerChain> {
        LayerChain::from_paths(parents, |parent| self.layer_id(parent))
    }

    /// Makes a base layer ready that was unpacked into its folder (`ProcessBaseImage`): hives, layout,
    /// `blank-base.vhdx` and `blank.vhdx`.
    ///
    /// It looks at the **process** token: enable SeBackupPrivilege and SeRestorePrivilege with
    /// [`privilege::enable_for_process`](crate::privilege::enable_for_process) first. They are enabled on the thread as
    /// well.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn process_base_image(&self, layer: &Path) -> Result<()> {
        let path = WideString::from_path(layer)?;
        self.entries.process_base_image.call(&self.library, Needs::WRITE, layer, |function| {
            // SAFETY: the function has this type; the string is NUL-terminated and outlives the call, which does not
            // keep it.
            unsafe { function(path.as_ptr()) }
        })
    }

    /// Makes the utility VM of a base layer ready (`ProcessUtilityImage`): `SystemTemplateBase.vhdx`,
    /// `SystemTemplate.vhdx`, boot configuration. The path is the layer's `UtilityVM` folder. Privileges as for
    /// [`VmCompute::process_base_image`].
    ///
    /// # Errors
    /// Those of all methods.
    pub fn process_utility_image(&self, utility_vm: &Path) -> Result<()> {
        let path = WideString::from_path(utility_vm)?;
        self.entries.process_utility_image.call(&self.library, Needs::WRITE, utility_vm, |function| {
            // SAFETY: the function has this type; the string is NUL-terminated and outlives the call, which does not
            // keep it.
            unsafe { function(path.as_ptr()) }
        })
    }

    /// Makes a scratch with a formatted `sandbox.vhdx` on top of a chain (`CreateSandboxLayer`). The folder is created.
    ///
    /// Needs SeManageVolumePrivilege, which is enabled.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for a chain in the wrong order; those of all methods.
    pub fn create_sandbox_layer(&self, layer: &Path, chain: &LayerChain) -> Result<()> {
        let (path, parents) = (WideString::from_path(layer)?, Descriptors::new(chain)?);
        let info = DriverInfo::filter();
        self.entries.create_sandbox_layer.call(&self.library, Needs::ATTACH, layer, |function| {
            // SAFETY: the function has this type; the string, the descriptors and what they point to outlive the call,
            // which does not keep them, and there are as many descriptors as it says. The third argument is unused and
            // 0.
            unsafe { function(&raw const info, path.as_ptr(), 0, parents.as_ptr(), parents.len()) }
        })
    }

    /// Attaches the disk of a scratch, or readies a layer's folder (`ActivateLayer`). A disk that is not ready yet is
    /// tried again.
    ///
    /// Needs SeManageVolumePrivilege, which is enabled.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn activate_layer(&self, layer: &Path) -> Result<()> {
        self.transient.run(&LATE, || self.activate(layer))
    }

    fn activate(&self, layer: &Path) -> Result<()> {
        self.on_layer(&self.entries.activate_layer, Needs::ATTACH, layer)
    }

    /// Attaches the storage filter to an active layer (`PrepareLayer`). A disk that is not ready yet is tried again.
    ///
    /// Within this process one call is made at a time, because Windows lets several at once time out. Needs an elevated
    /// process.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn prepare_layer(&self, layer: &Path, chain: &LayerChain) -> Result<()> {
        self.transient.run(&LATE, || self.prepare(layer, chain))
    }

    fn prepare(&self, layer: &Path, chain: &LayerChain) -> Result<()> {
        let (path, parents) = (WideString::from_path(layer)?, Descriptors::new(chain)?);
        let info = DriverInfo::filter();
        // The lock guards no data, so one that was poisoned is as good as any.
        let _one_at_a_time = PREPARE.lock().unwrap_or_else(PoisonError::into_inner);
        self.entries.prepare_layer.call(&self.library, Needs::NOTHING, layer, |function| {
            // SAFETY: the function has this type; the string, the descriptors and what they point to outlive the call,
            // which does not keep them, and there are as many descriptors as it says.
            unsafe { function(&raw const info, path.as_ptr(), parents.as_ptr(), parents.len()) }
        })
    }

    /// [`VmCompute::activate_layer`] and [`VmCompute::prepare_layer`], for a disk that may come late: when one of them
    /// finds it not ready, the layer is deactivated and both are done again, five times in all, 100 ms apart. The last
    /// error is returned, and the layer is inactive then.
    ///
    /// # Errors
    /// Those of both.
    pub fn activate_and_prepare(&self, layer: &Path, chain: &LayerChain) -> Result<()> {
        self.transient.run(&LATE, || {
            self.activate(layer)?;
            self.prepare(layer, chain).inspect_err(|_| {
                if let Err(error) = self.deactivate_layer(layer) {
                    tracing::warn!(%error, "a layer that could not be prepared stays active");
                }
            })
        })
    }

    /// Undoes [`VmCompute::prepare_layer`] (`UnprepareLayer`).
    ///
    /// # Errors
    /// Those of all methods.
    pub fn unprepare_layer(&self, layer: &Path) -> Result<()> {
        self.on_layer(&self.entries.unprepare_layer, Needs::NOTHING, layer)
    }

    /// Undoes [`VmCompute::activate_layer`] (`DeactivateLayer`). SeManageVolumePrivilege is enabled where it is held.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn deactivate_layer(&self, layer: &Path) -> Result<()> {
        self.on_layer(&self.entries.deactivate_layer, Needs::DISK, layer)
    }

    /// Where an active layer is (`GetLayerMountPath`): `\\?\Volume{…}\` for a scratch, **with** a backslash; the folder
    /// of a layer that is none. Empty when it has no mount path.
    ///
    /// # Errors
    /// [`Error::Answer`] for a path of more than 32767 characters; those of all methods.
    pub fn layer_mount_path(&self, layer: &Path) -> Result<PathBuf> {
        let entry = &self.entries.get_layer_mount_path;
        let path = WideString::from_path(layer)?;
        let info = DriverInfo::filter();
        // UTF-16 units, the NUL among them.
        let mut length = 0_usize;
        entry.call(&self.library, Needs::NOTHING, layer, |function| {
            // SAFETY: the function has this type; the string outlives the call; without a buffer it fills in the length
            // alone.
            unsafe { function(&raw const info, path.as_ptr(), &raw mut length, null_mut()) }
        })?;
        if length == 0 {
            return Ok(PathBuf::new());
        }
        if length > LONGEST_PATH {
            return Err(Error::Answer {
                function: entry.name(),
                subject: layer.to_owned(),
                reason: "it wants a buffer that no path needs",
            });
        }
        let mut buffer = vec![0_u16; length];
        entry.call(&self.library, Needs::NOTHING, layer, |function| {
            // SAFETY: as above, and the buffer has `length` units.
            unsafe { function(&raw const info, path.as_ptr(), &raw mut length, buffer.as_mut_ptr()) }
        })?;
        Ok(until_nul(&buffer).into())
    }

    /// Makes a scratch larger (`ExpandSandboxSize`), in bytes. Before anything attaches it; a smaller size changes
    /// nothing. The volume inside may have to be extended afterwards.
    ///
    /// SeManageVolumePrivilege is enabled where it is held.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn expand_sandbox_size(&self, layer: &Path, size: u64) -> Result<()> {
        let path = WideString::from_path(layer)?;
        let info = DriverInfo::filter();
        self.entries.expand_sandbox_size.call(&self.library, Needs::DISK, layer, |function| {
            // SAFETY: the function has this type; the string and the info outlive the call, which does not keep them.
            unsafe { function(&raw const info, path.as_ptr(), size) }
        })
    }

    /// Lets a virtual machine open a file (`GrantVmAccess`): adds `NT VIRTUAL MACHINE\<id>` to its descriptor.
    ///
    /// # Errors
    /// [`Error::Argument`] for an id with a NUL; those of all methods.
    pub fn grant_vm_access(&self, vm: &str, file: &Path) -> Result<()> {
        let entry = &self.entries.grant_vm_access;
        let path = WideString::from_path(file)?;
        let vm = WideString::new(vm.as_ref()).ok_or_else(|| Error::Argument {
            function: entry.name(),
            subject: file.to_owned(),
            reason: "the virtual machine's id has a NUL character in it",
        })?;
        entry.call(&self.library, Needs::NOTHING, file, |function| {
            // SAFETY: the function has this type; both strings are NUL-terminated and outlive the call, which does not
            // keep them.
            unsafe { function(vm.as_ptr(), path.as_ptr()) }
        })
    }

    /// Whether the folder of a layer is there (`LayerExists`). It says nothing about what is in it: an empty folder and
    /// half a layer exist as well.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn layer_exists(&self, layer: &Path) -> Result<bool> {
        let path = WideString::from_path(layer)?;
        let info = DriverInfo::filter();
        let mut exists = 0_u32;
        self.entries.layer_exists.call(&self.library, Needs::NOTHING, layer, |function| {
            // SAFETY: the function has this type; the string and the info outlive the call; `exists` is a place for the
            // answer.
            unsafe { function(&raw const info, path.as_ptr(), &raw mut exists) }
        })?;
        Ok(exists != 0)
    }

    /// Deletes a layer's folder with all that is in it (`DestroyLayer`), and sees that it is gone. The same care is
    /// needed as with
    /// [`ComputeStorage::destroy_layer`](crate::ComputeStorage::destroy_layer).
    ///
    /// # Errors
    /// [`Error::StillThere`], and those of all methods.
    pub fn destroy_layer(&self, layer: &Path) -> Result<()> {
        let entry = &self.entries.destroy_layer;
        self.transient.run(&[HResult::SHARING_VIOLATION], || self.on_layer(entry, Needs::OWN, layer))?;
        gone(entry.name(), layer)
    }

    /// Makes a layer of a transport folder (`ImportLayer`). What
    /// [`ComputeStorage::import_layer`](crate::ComputeStorage::import_layer) says holds here too.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn import_layer(&self, layer: &Path, source: &Path, chain: &LayerChain) -> Result<()> {
        self.transfer(&self.entries.import_layer, Needs::WRITE, layer, source, chain)
    }

    /// Makes a transport folder of a layer (`ExportLayer`), which has to be active and not prepared.
    ///
    /// # Errors
    /// Those of all methods.
    pub fn export_layer(&self, layer: &Path, destination: &Path, chain: &LayerChain) -> Result<()> {
        self.transfer(&self.entries.export_layer, Needs::READ, layer, destination, chain)
    }

    fn transfer(
        &self,
        entry: &Entry<TransferFn>,
        needs: Needs,
        layer: &Path,
        folder: &Path,
        chain: &LayerChain,
    ) -> Result<()> {
        let (path, folder) = (WideString::from_path(layer)?, WideString::from_path(folder)?);
        let parents = Descriptors::new(chain)?;
        let info = DriverInfo::filter();
        entry.call(&self.library, needs, layer, |function| {
            // SAFETY: the function has this type; the strings, the descriptors and what they point to outlive the call,
            // which does not keep them, and there are as many descriptors as it says.
            unsafe {
                function(&raw const info, path.as_ptr(), folder.as_ptr(), parents.as_ptr(), parents.len())
            }
        })
    }

    fn on_layer(&self, entry: &Entry<LayerFn>, needs: Needs, layer: &Path) -> Result<()> {
        let path = WideString::from_path(layer)?;
        let info = DriverInfo::filter();
        entry.call(&self.library, needs, layer, |function| {
            // SAFETY: the function has this type; the string and the info outlive the call, which does not keep them.
            unsafe { function(&raw const info, path.as_ptr()) }
        })
    }
}
