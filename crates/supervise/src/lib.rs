//! Keeps containers in the state that a file wants.
//!
//! ```text
//! file (YAML) ─► spec ─► wanted ─┐
//!                                ├─► plan ─► jobs: make, start, replace, remove ─► Agent ─► shims
//! containers' files ─► found ────┘                                                           │
//!        ▲  └─► events, snapshot ─► api, metrics                                             │
//!        └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The supervisor holds nothing that matters: what a container is and how it is stands in its own files, which its shim writes
//! and which every program can read and change ([`layerstone_agent::model`]). So it looks at them whenever they change,
//! compares that with what the file wants, and does one step for each container where they differ. It may be killed in the
//! middle of any step: the next one looks again, and goes on from what is there.
//!
//! What a container's shim does by itself (restarts, health checks) goes on without a supervisor. Left to do are the things that no
//! shim can: making containers, the order in which they start, starting those whose shim has died or whose host was
//! restarted, replacing those whose definition has changed, removing those that nobody wants any more.
//!
//! * [`spec`]: the file.
//! * [`plan`]: what to do, from what is wanted and what is found. Pure.
//! * [`Supervisor`]: the loop.
//! * [`events`]: what has happened, told from how the containers' files have changed.
//! * [`serve`]: the API over a Unix socket.
//!
//! Containers need Linux: elsewhere this crate is empty.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

pub mod api;
mod error;
pub mod events;
mod file;
mod job;
mod metrics;
mod notice;
pub mod plan;
mod shared;
mod socket;
pub mod spec;
mod supervisor;

pub use api::serve;
pub use error::{Error, Result};
pub use shared::{Log, Settings};
pub use supervisor::{Supervisor, preview};
