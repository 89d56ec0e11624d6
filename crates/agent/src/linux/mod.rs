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
mod probe;
mod process;
mod reconcile;
mod runtime;
mod sealed;
mod session;
mod shim;
mod stats;
mod terminal;

pub use agent::{Agent, Survey};
pub use cgroup::Usage;
pub use client::{Attached, Client, Ended, Signals};
pub use container::Container;
pub use exec::ExecOptions;
pub use probe::missing;
pub use session::{Heard, Session};
pub use shim::shim_main;
pub use stats::{NetworkUsage, Stats};

/// Now, as it is written to files.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
