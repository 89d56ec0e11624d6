//! computestorage.dll.

mod ffi;
mod layers;
mod scratch;

use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::LazyLock;

use windows_sys::Win32::Foundation::HANDLE;

use self::ffi::Entries;
pub(in crate::windows) use self::layers::gone;
use super::dll::Library;
use super::host;
use crate::functions::Build;
use crate::retry::Retry;
use crate::schema::OsLayerType;

/// What a base layer is set up for, and the disk that goes with it.
///
/// A container's setup takes no disk and a utility VM's takes one; the function fails, or worse, when they are mixed up.
#[derive(Debug, Clone, Copy)]
pub enum BaseOs<'a> {
    /// For containers that share the host's kernel. The layer's `blank-base.vhdx` is made and **closed** beforehand.
    Container,
    /// For the utility VM of Hyper-V isolation, with its `SystemTemplateBase.vhdx`: made, **attached** and not
    /// formatted.
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
/// Every method is a call of one function, with what its documentation leaves to the caller done for it: privileges are
/// enabled for its duration, strings are checked, memory is freed, and failures that pass are waited out ([`Retry`]).
///
/// # Arguments
/// Paths are handed over untouched, whatever their form; a path with a NUL is refused before anything is called. Chains
/// are **nearest parent first**. A chain is anything that is a [`Document`](crate::Document): a
/// [`LayerChain`](crate::LayerChain), a [`LayerData`](crate::LayerData), or a
/// [`RawDocument`](crate::RawDocument) for what the types have no field for.
///
/// # Threads
/// The methods block, some of them for minutes. Any of them may be called from any thread, and several at once; the
/// service itself takes turns where it must. Privileges are enabled on the calling thread alone, so a method that is
/// called while the thread impersonates somebody is judged by that token.
///
/// # Errors
/// Common to all methods: [`Error::Call`](crate::Error::Call) with the function's HRESULT (`S_FALSE` is a success);
/// [`Error::Unavailable`](crate::Error::Unavailable) when this Windows does not have the function;
/// [`Error::Privilege`](crate::Error::Privilege) when the account does not hold a privilege that is needed;
/// [`Error::Nul`](crate::Error::Nul), [`Error::NulInDocument`](crate::Error::NulInDocument),
/// [`Error::NotUnicode`](crate::Error::NotUnicode) for arguments that cannot be passed.
#[derive(Debug)]
pub struct ComputeStorage {
    library: Library,
    entries: Entries,
    build: Option<Build>,
    transient: Retry,
    detach: Retry,
}

static SYSTEM: LazyLock<ComputeStorage> = LazyLock::new(ComputeStorage::default);

/// The DLL of this Windows, as [`ComputeStorage::system`], for a program that wants another patience than the usual.
impl Default for ComputeStorage {
    fn default() -> Self {
        ComputeStorage::new(Library::system("computestorage.dll"))
    }
}

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

    /// The DLL of this Windows, from System32 and nowhere else. It is loaded at the first call; that it is missing is
    /// an error of that call.
    pub fn system() -> &'static Self {
        &SYSTEM
    }

    /// Another DLL with the same functions, by its absolute path: for tests. It is loaded at the first call and runs
    /// with all rights of this process.
    pub fn load(path: impl Into<PathBuf>) -> Self {
        Self::new(Library::at(path))
    }

    /// The same, on a Windows of another build than the one that runs: for tests of what depends on it.
    #[must_use]
    pub fn with_build(mut self, build: Build) -> Self {
        self.build = Some(build);
        self
    }

    /// The same, with other patience: for sharing violations and disks that are not ready, and for a storage filter
    /// that is still in use.
    #[must_use]
    pub fn with_retry(mut self, transient: Retry, detach: Retry) -> Self {
        (self.transient, self.detach) = (transient, detach);
        self
    }

    fn build(&self) -> Build {
        self.build.unwrap_or_else(host::build)
    }
}
