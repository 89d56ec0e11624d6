//! What can be asked for when a container is made, and how it is written on a command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which network a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// One of its own, with nothing but the loopback device.
    #[default]
    None,
    /// The host's.
    Host,
    /// An existing network namespace.
    Namespace(PathBuf),
}

impl Network {
    /// From `none`, `host` or `ns:PATH`.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Network::None),
            "host" => Ok(Network::Host),
            other => match other.strip_prefix("ns:").filter(|path| path.starts_with('/')) {
                Some(path) => Ok(Network::Namespace(path.into())),
                None => Err(Error::Invalid {
                    what: "a network",
                    value: text.to_owned(),
                    expected: "none, host or ns:/absolute/path".to_owned(),
                }),
            },
        }
    }
}

/// Something of the host, or a new file system, that is to be seen in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// A directory or file of the host; nothing for a tmpfs.
    pub source: Option<PathBuf>,
    /// Where, in the container: absolute.
    pub destination: String,
    /// Options as in the runtime specification.
    pub options: Vec<String>,
}

/// Options of a bind mount that runtimes understand.
const BIND_OPTIONS: [&str; 17] = [
    "ro", "rw", "bind", "rbind", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "private", "rprivate",
    "slave", "rslave", "shared", "rshared", "noatime",
];

/// Options of a tmpfs, besides `size=`, `mode=`, `nr_inodes=`, `uid=` and `gid=`.
const TMPFS_OPTIONS: [&str; 9] = ["ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "noatime"];
const TMPFS_VALUES: [&str; 5] = ["size", "mode", "nr_inodes", "uid", "gid"];

impl Volume {
    /// From `-v`: `SOURCE:DESTINATION[:OPTIONS]`. A relative source is one of `here`.
    ///
    /// # Errors
    /// When it has another form, the source does not exist, or an option is unknown.
    pub fn parse_bind(text: &str, here: &Path) -> Result<Self> {
        let invalid = |expected: &str| Error::Invalid {
            what: "a volume",
            value: text.to_owned(),
            expected: expected.to_owned(),
        };
        let mut parts = text.split(':');
        let (Some(source), Some(destination)) = (parts.next(), parts.next()) else {
            return Err(invalid("SOURCE:DESTINATION[:OPTIONS]"));
        };
        let options = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return Err(invalid("SOURCE:DESTINATION[:OPTIONS]"));
        }
        if !source.starts_with(['/', '.']) {
            return Err(invalid("a path of the host that starts with / or . (there are no named volumes)"));
        }
        let destination = absolute(destination).ok_or_else(|| invalid("mounted at an absolute path"))?;
        let source = here.join(source);
        let source = source.canonicalize().map_err(|error| Error::Io {
            doing: "mount",
            path: source,
            source: error,
        })?;
        let mut all: Vec<String> = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            if !BIND_OPTIONS.contains(&option) {
                return Err(invalid(&format!("an option of a bind mount (`{option}`)")));
            }
            all.push(option.to_owned());
        }
        if !all.iter().any(|option| matches!(option.as_str(), "bind" | "rbind")) {
            all.insert(0, "rbind".to_owned());
        }
        if !all.iter().any(|option| ["private", "slave", "shared"].iter().any(|p| option.ends_with(p))) {
            all.push("rprivate".to_owned());
        }
        Ok(Volume { source: Some(source), destination, options: all })
    }

    /// From `--tmpfs`: `DESTINATION[:OPTIONS]`.
    ///
    /// # Errors
    /// When it has another form, or an option is unknown.
    pub fn parse_tmpfs(text: &str) -> Result<Self> {
        let invalid = |expected: &str| Error::Invalid {
            what: "a tmpfs",
            value: text.to_owned(),
            expected: expected.to_owned(),
        };
        let (destination, options) = text.split_once(':').unwrap_or((text, ""));
        let destination = absolute(destination).ok_or_else(|| invalid("mounted at an absolute path"))?;
        let mut all = vec!["nosuid".to_owned(), "nodev".to_owned()];
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let known = TMPFS_OPTIONS.contains(&option)
                || option.split_once('=').is_some_and(|(name, value)| {
                    TMPFS_VALUES.contains(&name)
                        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'%')
                });
            if !known {
                return Err(invalid(&format!("an option of a tmpfs (`{option}`)")));
            }
            let opposite = match option {
                "suid" => "nosuid",
                "dev" => "nodev",
                _ => "",
            };
            all.retain(|other| other != opposite && other != option);
            all.push(option.to_owned());
        }
        Ok(Volume { source: None, destination, options: all })
    }
}

/// An absolute path without `.`, `..` and double slashes; `None` when it is relative, goes above the root, or is the root.
pub(crate) fn absolute(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    if parts.is_empty() { None } else { Some(format!("/{}", parts.join("/"))) }
}

/// Limits of a container's control group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The most bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The most processors, fractions included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// The most processes; -1 for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
}

/// A number of bytes: `512m`, `1.5g`, `1048576`. Units are powers of 1024, as in podman.
///
/// # Errors
/// When it is not one.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let bare = bare.strip_suffix('i').unwrap_or(bare);
    let (number, shift) = match bare.as_bytes().last() {
        Some(b'k') => (&bare[..bare.len() - 1], 10),
        Some(b'm') => (&bare[..bare.len() - 1], 20),
        Some(b'g') => (&bare[..bare.len() - 1], 30),
        Some(b't') => (&bare[..bare.len() - 1], 40),
        _ => (bare, 0),
    };
    let unit = (1_u64 << shift) as f64;
    let bytes = number.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0).map(|n| n * unit);
    match bytes {
        Some(bytes) if bytes < i64::MAX as f64 => Ok(bytes as u64),
        _ => Err(Error::Invalid {
            what: "a size",
            value: text.to_owned(),
            expected: "a number of bytes, with k, m, g or t behind it where wanted".to_owned(),
        }),
    }
}

/// Which seccomp profile applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// podman's default one.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The text of a profile.
    Profile(String),
}

/// The runtime that makes containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeChoice {
    /// libcontainer of youki, as a library in the shim.
    #[default]
    Youki,
    /// A program with the command line of runc, by its absolute path.
    Program(PathBuf),
    /// The Host Compute Service: the only one on Windows, and only there.
    #[cfg(windows)]
    Hcs,
}

impl std::fmt::Display for RuntimeChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RuntimeChoice::Youki => f.write_str("youki (libcontainer, built in)"),
            RuntimeChoice::Program(path) => write!(f, "{}", path.display()),
            #[cfg(windows)]
            RuntimeChoice::Hcs => f.write_str("hcs (Host Compute Service of Windows)"),
        }
    }
}

/// Whether a container whose program has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it has failed: its exit code is not 0.
    OnFailure {
        /// At most so many times in a row; nothing for no end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    },
    /// Whenever it has ended without having been asked to.
    Always,
}

impl RestartPolicy {
    /// Reads `no`, `on-failure`, `on-failure:5`, `always`; and `unless-stopped`, which is the same as `always`, as in podman.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "no" || text == "never" => Ok(RestartPolicy::No),
            None if text == "on-failure" => Ok(RestartPolicy::OnFailure { max: None }),
            None if matches!(text, "always" | "unless-stopped") => Ok(RestartPolicy::Always),
            Some(("on-failure", max)) if max.parse::<u32>().is_ok() => {
                Ok(RestartPolicy::OnFailure { max: max.parse().ok() })
            }
            _ => Err(Error::Invalid {
                what: "a restart policy",
                value: text.to_owned(),
                expected: "no, on-failure, on-failure:NUMBER or always".to_owned(),
            }),
        }
    }
}

impl std::fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RestartPolicy::No => f.write_str("no"),
            RestartPolicy::OnFailure { max: None } => f.write_str("on-failure"),
            RestartPolicy::OnFailure { max: Some(max) } => write!(f, "on-failure:{max}"),
            RestartPolicy::Always => f.write_str("always"),
        }
    }
}

/// What happens to a container that has become unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnhealthy {
    /// Nothing: it is only said.
    #[default]
    None,
    /// It is killed; its restart policy then says what follows.
    Kill,
    /// It is killed and started again, whatever its restart policy is.
    Restart,
    /// It is asked to stop, and not started again.
    Stop,
}

/// How a container's health is looked at: a program that is executed in it again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The program and its arguments. It ends with 0 when all is well.
    pub command: Vec<String>,
    /// Nanoseconds between two looks; 0 for none but those that are asked for.
    pub interval_ns: u64,
    /// Nanoseconds that one may take.
    pub timeout_ns: u64,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
    /// Nanoseconds after the start in which failures do not count.
    pub start_period_ns: u64,
    /// What happens then.
    #[serde(default)]
    pub on_unhealthy: OnUnhealthy,
}

/// What is asked for of a container's health; what is not said is the image's, or podman's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthOptions {
    /// Not even the image's check is made.
    pub disabled: bool,
    /// The command: one word is given to a shell, several are executed as they are. Where the first one is `CMD`, `CMD-SHELL` or
    /// `NONE`, it says what the others are, as in an image's configuration.
    pub command: Option<Vec<String>>,
    /// See [`HealthCheck`], as all that follow.
    pub interval: Option<std::time::Duration>,
    /// How long one look may take.
    pub timeout: Option<std::time::Duration>,
    /// How many failures.
    pub retries: Option<u32>,
    /// When they begin to count.
    pub start_period: Option<std::time::Duration>,
    /// What happens.
    pub on_unhealthy: OnUnhealthy,
}

/// What a container is to be like.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Its name; one is made up where none is given.
    pub name: Option<String>,
    /// It goes when its program has ended.
    pub auto_remove: bool,
    /// Standard input is kept open.
    pub interactive: bool,
    /// It has a terminal.
    pub tty: bool,
    /// More environment, `NAME=value` each.
    pub env: Vec<String>,
    /// Where the program starts.
    pub workdir: Option<String>,
    /// Who it runs as.
    pub user: Option<String>,
    /// Instead of the image's entrypoint; its command then does not count either. One empty word means none.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's command.
    pub command: Vec<String>,
    /// What of the host is seen in it, and tmpfs.
    pub volumes: Vec<Volume>,
    /// Its root file system cannot be written to.
    pub read_only: bool,
    /// Limits.
    pub limits: Limits,
    /// More capabilities.
    pub cap_add: Vec<String>,
    /// Fewer capabilities.
    pub cap_drop: Vec<String>,
    /// Which system calls it can make.
    pub seccomp: Seccomp,
    /// Set-user-id programs give nothing.
    pub no_new_privileges: bool,
    /// Its network.
    pub network: Network,
    /// Its host name.
    pub hostname: Option<String>,
    /// What asks it to stop.
    pub stop_signal: Option<String>,
    /// Seconds until it is killed after that.
    pub stop_timeout: Option<u32>,
    /// Which runtime.
    pub runtime: RuntimeChoice,
    /// Whether it is started again when its program has ended.
    pub restart: RestartPolicy,
    /// How its health is looked at.
    pub health: HealthOptions,
    /// Its first process only reaps and passes signals on; the program is the second.
    pub init: bool,
    /// Words of its maker's about it.
    pub labels: BTreeMap<String, String>,
}
