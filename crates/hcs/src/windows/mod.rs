//! The calls. `unsafe` is allowed here and nowhere else in the crate.

#![allow(unsafe_code)]

pub mod backup_files;
pub(crate) mod computecore;
pub(crate) mod computestorage;
mod dll;
pub mod host;
mod memory;
pub mod privilege;
pub mod virtdisk;
pub(crate) mod vm_group;
pub(crate) mod vmcompute;
mod wide;

pub use wide::verbatim;
