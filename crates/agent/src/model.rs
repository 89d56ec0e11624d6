//! What is kept of a container: `container.json`, `state.json`, `exit.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use layerstone_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::options::{HealthCheck, Limits, Network, RestartPolicy, RuntimeChoice, Volume};

/// The version of the form of these files.
pub const FORMAT: u32 = 1;

/// `container.json`: what a container is. Written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Version of the form of this file.
    pub format: u32,
    /// 64 digits.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The image's name.
    pub image: String,
    /// The image's manifest.
    pub manifest: Digest,
    /// The image's configuration, which is its id.
    pub image_id: Digest,
    /// The writable layer that it runs on.
    pub scratch: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Who it runs as, as asked for.
    pub user: String,
    /// Where the program starts.
    pub workdir: String,
    /// Directories of the image that are to be writable even where the rest is not.
    pub image_volumes: Vec<String>,
    /// What of the host is seen in it, and tmpfs.
    pub volumes: Vec<Volume>,
    /// Its network.
    pub network: Network,
    /// Its host name.
    pub hostname: String,
    /// Limits.
    pub limits: Limits,
    /// Its root file system cannot be written to.
    pub read_only: bool,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input is open.
    pub interactive: bool,
    /// It goes when its program has ended.
    pub auto_remove: bool,
    /// The number of the signal that asks it to stop.
    pub stop_signal: i32,
    /// Seconds until it is killed after that.
    pub stop_timeout: u32,
    /// What runs it.
    pub runtime: RuntimeChoice,
    /// Whether it is started again when its program has ended.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How its health is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Its first process only reaps and passes signals on.
    #[serde(default)]
    pub init: bool,
    /// Words of its maker's about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who made it; a container that was never started and whose maker is gone is left over.
    pub creator: Identity,
}

impl Config {
    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        short(&self.id)
    }

    /// Where its control group is, below each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("/layerstone/{}", self.id)
    }
}

/// The first 12 digits of an id.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A process, told from any other that has or had the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it was started, in clock ticks after the boot (`/proc/PID/stat`, field 22); on Windows a `FILETIME`.
    pub start_time: u64,
    /// Which boot; empty on Windows, where start times are not counted from it.
    pub boot: String,
}

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, not running yet.
    Created,
    /// Its program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// Its program has ended, and will be started again in a while.
    Restarting,
    /// Its program has ended.
    Stopped,
}

impl Status {
    /// It runs, is frozen, or will run again in a moment: somebody looks after it.
    pub fn is_up(self) -> bool {
        matches!(self, Status::Running | Status::Paused | Status::Restarting)
    }

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Stopped => "stopped",
        }
    }
}

/// `state.json`: how a container is. Replaced by its shim; by others only when that is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of the form of this file.
    pub format: u32,
    /// How far it is.
    pub status: Status,
    /// The process that looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shim: Option<Identity>,
    /// Its first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Identity>,
    /// Where its root file system is attached, on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<PathBuf>,
    /// When the program was started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// How it ended, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// How often it was started again by its restart policy since it was last started by somebody.
    #[serde(default)]
    pub restarts: u32,
    /// Somebody asked for its end: it is not started again by itself.
    #[serde(default)]
    pub stop_wanted: bool,
    /// What was seen of its health, if that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// It was made to be started later, by anybody: it is not left over when its maker has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

/// What a container's health is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No check has succeeded yet, and failures do not count yet.
    Starting,
    /// The last check has succeeded, or not enough have failed since.
    Healthy,
    /// Too many have failed in a row.
    Unhealthy,
}

/// What was seen of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What it is.
    pub status: HealthStatus,
    /// How many checks in a row have failed.
    pub failing_streak: u32,
    /// The last checks, the newest last.
    pub log: Vec<HealthLook>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthLook {
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// Its exit code; nothing when it took too long, or could not be executed.
    pub exit_code: Option<u8>,
    /// The beginning of what it printed, or why there is no exit code.
    pub output: String,
}

impl HealthStatus {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

impl State {
    /// One that is made and no more.
    pub fn created() -> Self {
        State {
            format: FORMAT,
            status: Status::Created,
            shim: None,
            init: None,
            rootfs: None,
            started: None,
            exit: None,
            restarts: 0,
            stop_wanted: false,
            health: None,
            kept: false,
        }
    }
}

/// `exit.json`: how a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The program's exit code; 128 and the signal's number when one ended it; 125, 126 or 127 when it could not be
    /// started.
    pub code: u8,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// It ran out of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why it could not be started, or was ended by something else than itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When, RFC 3339.
    pub finished: String,
}
