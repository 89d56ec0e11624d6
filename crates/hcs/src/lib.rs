//! The Host Compute Service: what containers on Windows are stored with, and what runs them.
//!
//! Windows keeps the layers of container images as folders, and shows a container a writable scratch on top of them
//! through a file-system filter. The functions for that are in `computestorage.dll` and, older, in `vmcompute.dll`;
//! they take UTF-16 strings and JSON documents, want privileges enabled, and answer with numbers. This crate makes safe
//! calls of them:
//!
//! - `ComputeStorage`: all 14 layer functions of `computestorage.dll`; `VmCompute`: those of `vmcompute.dll`;
//!   `VirtualDisk`: the disks that scratches are in. On Windows.
//! - [`compute`]: containers over those layers (`computecore.dll`), their processes, and how a command line is quoted.
//! - [`LayerChain`] and [`schema`]: the parents of a layer, and the documents.
//! - [`Error`], [`HResult`] and [`catalogue`]: what a code means here, what causes it, and what to do.
//! - `privilege`: privileges that are enabled on a thread and given back; `host`: what this host can do.
//!
//! A scratch on two layers, from nothing to a volume that a container can run on, and back:
//!
#![cfg_attr(windows, doc = "```no_run")]
#![cfg_attr(not(windows), doc = "```text")]
//! use std::path::Path;
//!
//! use layerstone_hcs::virtdisk::{AttachFlags, CreateDisk};
//! use layerstone_hcs::{ComputeStorage, VirtualDisk, VmCompute, WritableLayerOptions};
//!
//! fn main() -> layerstone_hcs::Result<()> {
//!     let storage = ComputeStorage::system();
//!     // Nearest parent first, the base layer last.
//!     let chain = VmCompute::system().chain([r"C:\layers\app", r"C:\layers\base"])?;
//!
//!     // The scratch's disk holds the differences to the base layer's empty disk.
//!     let blank = CreateDisk::differencing(r"C:\layers\base\blank.vhdx");
//!     let disk = VirtualDisk::create(Path::new(r"C:\scratch\sandbox.vhdx"), &blank)?;
//!     disk.attach(AttachFlags::NO_DRIVE_LETTER)?;
//!
//!     // `\\?\Volume{…}`; the calls below want a backslash at its end, which joining an empty path gives.
//!     let volume = storage.layer_vhd_mount_path(&disk)?.join("");
//!     storage.initialize_writable_layer(&volume, &chain, &WritableLayerOptions::default())?;
//!     storage.attach_layer_storage_filter(&volume, &chain)?;
//!
//!     // … run a container whose storage is `volume` and `chain` …
//!
//!     storage.detach_layer_storage_filter(&volume)?;
//!     disk.detach()?;
//!     disk.close()?;
//!     storage.destroy_layer(Path::new(r"C:\scratch"))
//! }
//! ```
//!
//! # Which Windows
//!
//! No function is imported by the program file: each is looked up when it is first called, in System32 only. The same
//! program starts on every Windows, with or without containers, and a function that is missing is
//! [`Error::Unavailable`], which names it and the build that has it. [`functions`] lists them all.
//!
//! The calls exist in Windows builds alone. Everywhere else the crate has the documents, chains, codes and errors, so
//! that a program which prepares layers for Windows elsewhere speaks of them in the same terms.
//!
//! # Three things that go wrong
//!
//! - **Order.** Chains are nearest parent first. Some published comments say the opposite; the service answers "not
//!   found".
//! - **Privileges.** An administrator's token holds them disabled. The calls of this crate enable what they need, on
//!   the calling thread, while they run. Many functions want an elevated process besides, and `ProcessBaseImage` the
//!   process token.
//! - **Memory of the past.** `Hives` and `Layout` of an earlier try make setup fail, a renamed folder breaks its disks,
//!   and a scratch belongs to the chain that it was made for.
//!
//! # Where this differs from hcsshim
//!
//! - A path of a parent that is not Unicode cannot be in a JSON document. hcsshim sends it with U+FFFD in place of what
//!   cannot be said, which names another folder; here it is [`Error::NotUnicode`]. A [`RawDocument`] can still send any
//!   text. Paths that are arguments of their own go through as they are.
//! - `destroy_layer` looks whether the folder is gone.
//! - The id of a folder does not change with a separator at the end of its path.
//! - The string of `HcsGetLayerVhdMountPath` is freed with `LocalFree`, as its documentation says.

#![deny(unsafe_code)]

pub mod catalogue;
mod chain;
pub mod compute;
mod error;
mod filters;
pub mod functions;
mod hresult;
mod privilege_names;
mod retry;
pub mod schema;
#[cfg(windows)]
mod windows;

pub use chain::{LayerChain, Parent};
pub use error::{Error, ErrorKind, Result};
pub use filters::FilterDriver;
pub use functions::Build;
pub use hresult::HResult;
pub use privilege_names::Privilege;
pub use retry::Retry;
pub use schema::{
    Document, ExportLayerOptions, FilterType, LayerData, OsLayerOptions, OsLayerType, RawDocument,
    WritableLayerOptions,
};
pub use uuid::Uuid as Guid;
#[cfg(windows)]
pub use windows::{
    backup_files,
    computestorage::{BaseOs, ComputeStorage},
    host, privilege, verbatim, virtdisk,
    virtdisk::VirtualDisk,
    vm_group::{VmAccess, grant_vm_group_access},
    vmcompute::VmCompute,
};
