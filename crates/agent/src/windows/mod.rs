//! Containers on Windows: compute systems of the Host Compute Service.
//!
//! ```text
//! layers     the image's layers as folders of Windows, made once: <root>/windows/<ChainID>
//! config     from an image and what was asked for to container.json and the parameters of the process
//! shim       scratch ─► compute system ─► process ─► output into the log ─► end ─► everything taken down
//! client     starts a shim, and has the streams of an attached program
//! agent      making, finding, stopping, removing containers
//! ```
//!
//! There is a service, so less has to be asked of a shim than on Linux: whoever knows a container's id opens its compute system and
//! ends it. The shim is there for the output and the exit code, and holds the container: it ends with its shim.

mod agent;
mod client;
mod config;
mod container;
mod frame;
mod host;
mod layers;
mod process;
mod reconcile;
mod shim;

// Nothing in it is Linux's own.
#[path = "../linux/files.rs"]
mod files;

pub use agent::Agent;
pub use client::{Attached, Client};
pub use config::parse_volume;
pub use container::{Container, Ended};
pub use host::{Host, ShimProgram};
pub use shim::shim_main;

/// Who makes the compute systems: the name by which they can be listed.
pub const OWNER: &str = "layerstone";

/// Now, as it is written to files.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
