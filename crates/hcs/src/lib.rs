//! The Host Compute Service's layer storage.
#![deny(unsafe_code)]

pub mod catalogue;
mod chain;
mod error;
#[cfg(any(windows, test))]
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
    computestorage::{BaseOs, ComputeStorage},
    host, privilege, verbatim, virtdisk,
    virtdisk::VirtualDisk,
    vmcompute::VmCompute,
};
