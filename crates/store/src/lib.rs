//! The layer store.
//!
//! A store keeps the layers of container images unpacked, immutable and provable: see [`layer`] for what a stored layer
//! is, [`import`] for how it gets there, [`verify`] for how it is proven, [`attach`] for how the host's kernel shows it.
//!
//! Nothing leaves the store by itself. [`Store::remove_image`] takes a name away, [`Store::gc`] frees what nothing
//! needs any more, [`Store::df`] says what takes how much, and [`Store::fsck`] finds damage and mends what can be.

// One exception: `attach/linux/loopdev.rs`, which asks the kernel for loop devices.
#![deny(unsafe_code)]

mod ahead;
pub mod attach;
mod beneath;
mod chain;
mod commit;
pub mod df;
mod direct;
mod error;
mod export;
mod failpoint;
pub mod fsck;
pub mod gc;
pub mod hives;
mod image;
pub mod import;
pub mod layer;
mod leftovers;
mod pipe;
mod reach;
pub mod remove;
mod root;
mod scratch;
pub mod storage;
mod unpack;
mod upper;
pub mod usage;
pub mod verify;

pub use attach::{AttachOptions, Attached, Attachment, Capability, Detached};
pub use chain::{ChainLayer, ChainNode};
pub use commit::{CommitOptions, CommitOutcome};
pub use df::DiskUsage;
pub use error::{Error, Result};
pub use export::{ExportDest, ExportOptions, ExportOutcome, ExportedLayer, Prepared, ReadSeek};
pub use fsck::{FsckOptions, FsckOutcome, Problem};
pub use gc::{GcOptions, GcOutcome};
pub use hives::{HiveFile, HiveStack, InstalledWindows};
pub use image::StoredImage;
pub use import::{ImportOptions, Progress};
pub use layer::{Description, StoredLayer};
pub use pipe::PipeReader;
pub use remove::RemovedImage;
pub use root::Store;
pub use scratch::{DiscardedScratch, Scratch, ScratchDescription};
pub use unpack::UnpackOptions;
pub use upper::UpperLayer;
