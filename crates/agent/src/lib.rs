//! Containers over the layer store.
//!
//! ```text
//! image ─► scratch ─► attached ─┐
//!                               ├─► bundle ─► shim ─► runtime ─► the program
//! image's configuration, flags ─┘               └─► log, exit file, state
//! ```
//!
//! [`Agent`] makes a container of an image: a writable layer over it, and a bundle of the OCI runtime
//! specification. To run it, a *shim* is started: a process of its own that attaches the layer, has a runtime make the container,
//! takes its output, waits for its end and takes everything down again. It needs nobody: whoever has started it may end
//! or be killed. There is no daemon; everything that is known of containers is in files ([`model`]).
//!
//! The runtime is libcontainer (of youki), inside of the shim, or any program with the command line of runc.
//!
//! A program that uses this crate must call `shim_main` when its first argument is `shim`, before it starts any thread: the shim is
//! the same program once more.
//!
//! Containers need Linux or Windows. On other systems only what describes them is there. On Windows the runtime is the Host Compute Service,
//! and the image's layers are made into folders of Windows once, beside the store's own.

// The modules that need an exception say why: raw.rs of the runtimes, install.rs of the filters, process.rs on Windows.
#![deny(unsafe_code)]

pub mod caps;
pub mod env;
mod error;
pub mod health;
pub mod id;
#[cfg(target_os = "linux")]
mod linux;
pub mod log;
pub mod model;
pub mod options;
pub mod seccomp;
pub mod signal;
pub mod spec;
pub mod user;
#[cfg(windows)]
mod windows;

pub use error::{EXIT_FAILED, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Error, Result, in_one_line};
#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(windows)]
pub use windows::*;
