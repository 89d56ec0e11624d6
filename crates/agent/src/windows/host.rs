//! What of Windows containers are made with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use layerstone_hcs::compute::ComputeCore;
use layerstone_hcs::virtdisk::VirtDisk;
use layerstone_hcs::{ComputeStorage, VmCompute};
use layerstone_store::storage::Hcs;

use crate::error::{IoContext as _, Result};

/// The program that becomes a shim: it calls [`shim_main`](super::shim_main) when it gets these arguments.
#[derive(Debug, Clone)]
pub struct ShimProgram {
    /// Its file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl ShimProgram {
    /// This program, with the one argument `shim`.
    ///
    /// # Errors
    /// When the system does not say which program this is.
    pub fn this() -> Result<Self> {
        let path = std::env::current_exe().doing("find", "this program")?;
        Ok(ShimProgram { path, arguments: vec!["shim".into()] })
    }
}

/// The DLLs of Windows.
#[derive(Debug, Clone)]
pub struct Host {
    pub(super) storage: Hcs<'static>,
    pub(super) core: ComputeCore,
}

impl Host {
    /// Those of this Windows. Whether they are there shows when they are called.
    pub fn system() -> Self {
        Host { storage: Hcs::system(), core: ComputeCore::system().clone() }
    }

    /// One DLL that has the functions of all of them, for tests. Files of base layers are written without the backup API.
    pub fn load(dll: &Path) -> Self {
        // They are used until the process ends.
        let storage: &'static ComputeStorage = Box::leak(Box::new(ComputeStorage::load(dll)));
        let vm: &'static VmCompute = Box::leak(Box::new(VmCompute::load(dll)));
        let disks: &'static VirtDisk = Box::leak(Box::new(VirtDisk::load(dll)));
        Host { storage: Hcs::with(storage, vm, disks).with_plain_files(), core: ComputeCore::load(dll) }
    }
}
