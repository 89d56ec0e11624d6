//! What containers use.

use std::time::Instant;

use serde::Serialize;

use super::cgroup::{Cgroup, Usage};
use super::container::Container;
use crate::error::{IoContext as _, Result};
use crate::options::Network;

/// What a container used at one moment.
#[derive(Debug, Clone)]
pub struct Stats {
    /// When it was looked at.
    pub at: Instant,
    /// Its control group's.
    pub usage: Usage,
    /// Bytes that its network devices have received and sent; only of a network of its own.
    pub network: Option<NetworkUsage>,
}

/// What has gone over a container's network devices, but for its loopback device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct NetworkUsage {
    /// Bytes.
    pub received: u64,
    /// Bytes.
    pub sent: u64,
}

impl Stats {
    /// What a container uses now.
    ///
    /// # Errors
    /// When the control groups cannot be read.
    pub fn of(container: &Container) -> Result<Self> {
        let usage = Cgroup::of(&container.config.id)?.usage();
        let network = match (&container.config.network, &container.state.init) {
            (Network::None | Network::Namespace(_), Some(init)) => Some(network(init.pid)?),
            _ => None,
        };
        Ok(Stats { at: Instant::now(), usage, network })
    }

    /// Processor time since `before`, in percent of one processor.
    pub fn cpu_percent(&self, before: &Stats) -> Option<f64> {
        let used = self.usage.cpu_ns?.saturating_sub(before.usage.cpu_ns?);
        let elapsed = self.at.saturating_duration_since(before.at).as_nanos();
        (elapsed > 0).then(|| used as f64 / elapsed as f64 * 100.0)
    }
}

fn network(pid: i32) -> Result<NetworkUsage> {
    let path = format!("/proc/{pid}/net/dev");
    let text = match std::fs::read_to_string(&path) {
        // It has just ended.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(NetworkUsage::default()),
        text => text.doing("read", path)?,
    };
    let mut sum = NetworkUsage::default();
    for line in text.lines().skip(2) {
        let Some((name, counts)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let mut counts = counts.split_ascii_whitespace().map(|count| count.parse::<u64>().unwrap_or(0));
        sum.received += counts.next().unwrap_or(0);
        sum.sent += counts.nth(7).unwrap_or(0);
    }
    Ok(sum)
}
