//! The layer store.
//!
//! A store keeps the layers of container images unpacked, immutable and provable: see [`layer`] for what a stored layer
//! is, [`import`] for how it gets there, [`verify`] for how it is proven.
//!
//! Nothing leaves the store by itself. [`Store::remove_image`] takes a name away, [`Store::gc`] frees what nothing
//! needs any more, [`Store::df`] says what takes how much, and [`Store::fsck`] finds damage and mends what can be.

#![forbid(unsafe_code)]

pub mod df;
mod error;
mod failpoint;
pub mod fsck;
pub mod gc;
mod image;
pub mod import;
pub mod layer;
mod leftovers;
mod reach;
pub mod remove;
mod root;
mod scratch;
pub mod usage;
pub mod verify;

pub use df::DiskUsage;
pub use error::{Error, Result};
pub use fsck::{FsckOptions, FsckOutcome, Problem};
pub use gc::{GcOptions, GcOutcome};
pub use image::StoredImage;
pub use import::{ImportOptions, Progress};
pub use layer::{Description, StoredLayer};
pub use remove::RemovedImage;
pub use root::Store;
pub use scratch::{Scratch, ScratchDescription};
