//! Containers on Linux.

mod agent;
mod bundle;
mod cgroup;
mod client;
mod container;
mod end;
mod exec;
mod files;
mod frame;
mod initprogram;
mod launch;
mod process;
mod reconcile;
mod runtime;
mod sealed;
mod shim;
mod stats;
mod terminal;

pub use agent::Agent;
pub use cgroup::Usage;
pub use client::{Attached, Client, Ended, Signals};
pub use container::Container;
pub use exec::ExecOptions;
pub use shim::shim_main;
pub use stats::{NetworkUsage, Stats};

/// Now, as it is written to files.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
