//! The bundle's `config.json`: as much of the OCI runtime specification as containers of this program use.
//!
//! Names and meanings are those of [runtime-spec 1.0.2](https://github.com/opencontainers/runtime-spec/blob/v1.0.2/config.md).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::seccomp::Filter;

/// The version of the specification.
pub const VERSION: &str = "1.0.2";

/// `config.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the specification.
    pub oci_version: String,
    /// What is executed.
    pub process: Process,
    /// The root file system.
    pub root: Root,
    /// The host name in the container.
    pub hostname: String,
    /// In this order.
    pub mounts: Vec<Mount>,
    /// What only Linux has.
    pub linux: Linux,
}

/// `process`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// It has a terminal.
    pub terminal: bool,
    /// How large that is when the program starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    pub user: User,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// Where it starts.
    pub cwd: String,
    /// What it may do.
    pub capabilities: Capabilities,
    /// Limits.
    pub rlimits: Vec<Rlimit>,
    /// Executing never gives it more privileges.
    pub no_new_privileges: bool,
}

/// `process.consoleSize`, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// `process.user`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// `process.capabilities`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The most that it can ever get.
    pub bounding: Vec<String>,
    /// What counts.
    pub effective: Vec<String>,
    /// What it may make count.
    pub permitted: Vec<String>,
    /// What passes on to programs that ask for it.
    pub inheritable: Vec<String>,
    /// What passes on to any program.
    pub ambient: Vec<String>,
}

/// One of `process.rlimits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The most that it can be raised to.
    pub hard: u64,
    /// What counts.
    pub soft: u64,
}

/// `root`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Root {
    /// Where it is, on the host.
    pub path: PathBuf,
    /// It cannot be written to.
    pub readonly: bool,
}

/// One of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, in the container.
    pub destination: String,
    /// Which kind of file system.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of a bind mount, what of the host.
    pub source: String,
    /// As mount(8) has them.
    pub options: Vec<String>,
}

impl Mount {
    /// A mount of these.
    pub fn new(destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        Mount {
            destination: destination.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        }
    }
}

/// `linux`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// What is the container's own.
    pub namespaces: Vec<Namespace>,
    /// Absolute, below the root of each hierarchy.
    pub cgroups_path: String,
    /// Limits of the control group.
    pub resources: Resources,
    /// What cannot be looked into.
    pub masked_paths: Vec<String>,
    /// What cannot be written to.
    pub readonly_paths: Vec<String>,
    /// Which system calls can be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Filter>,
}

/// One of `linux.namespaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// `pid`, `network` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// One that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// `linux.resources`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Which devices may be used.
    pub devices: Vec<DeviceRule>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
}

/// One of `linux.resources.devices`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allowed, or denied.
    pub allow: bool,
    /// `r`, `w`, `m`.
    pub access: String,
}

/// `linux.resources.memory`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// The most bytes.
    pub limit: i64,
}

/// `linux.resources.cpu`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cpu {
    /// Microseconds of processor time in each period.
    pub quota: i64,
    /// Microseconds.
    pub period: u64,
}

/// `linux.resources.pids`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pids {
    /// The most processes.
    pub limit: i64,
}
