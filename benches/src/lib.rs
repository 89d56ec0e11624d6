//! What the benches share. Each bench is a program that prints one table: what was measured, the ratio to a rival or to
//! a bound measured in the same run, and the goal.
//!
//! - The [`corpus`] is made once from the host's `/usr` and kept under `target/bench-corpus`.
//! - What is ours runs in a child process of the bench ([`operation`]), so that its peak memory is its own.
//! - Contenders take turns ([`measure`]), so that a noisy minute hits all of them, and medians are compared.

#![forbid(unsafe_code)]

pub mod containerd;
#[cfg(target_os = "linux")]
pub mod containers;
pub mod corpus;
pub mod measure;
pub mod operation;
pub mod registry;
pub mod report;

/// Any failure ends a bench.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const MIB: f64 = (1 << 20) as f64;

/// MiB a second.
pub fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / MIB / seconds
}

/// MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}
