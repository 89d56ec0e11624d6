//! Seccomp filters: from a profile to the kernel's program.
//!
//! ```text
//! profile of podman or Docker ──resolve──► OCI linux.seccomp ──compile──► classic BPF ──install──► the kernel
//!  (conditions on architecture,             (config.json of              (one program)
//!   capabilities, kernel)                    the bundle)
//! ```
//!
//! [`resolve`] decides the conditions of a profile for one container and gives what the runtime specification calls
//! `linux.seccomp` (config-linux.md, "Seccomp"). An OCI runtime takes that as it is. For libcontainer, which is built without
//! the C library libseccomp, [`compile()`] makes the program, and the container's own process installs it before it executes
//! its program. Whatever cannot be expressed is an error: a filter is never weaker than its profile.

#[cfg(target_os = "linux")]
mod assemble;
#[cfg(target_os = "linux")]
mod compile;
#[cfg(target_os = "linux")]
mod install;
#[cfg(target_os = "linux")]
mod numbers;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
pub use assemble::{Instruction, Program};
#[cfg(target_os = "linux")]
pub use compile::compile;
#[cfg(target_os = "linux")]
pub use install::install;

/// podman's default profile, as `containers/common` publishes it (Apache-2.0).
const DEFAULT_PROFILE: &str = include_str!("../../data/seccomp.json");

/// The errno of a refused call when the profile does not say: `EPERM`.
pub const EPERM: u32 = 1;

/// The most bytes of a profile that are read.
pub const MAX_PROFILE: u64 = 4 << 20;

/// What can be wrong with a profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not JSON, or not of the form of a profile.
    #[error("it is not a seccomp profile")]
    Json(#[from] serde_json::Error),
    /// It wants something that is not supported.
    #[error("{what} `{value}` is not supported")]
    Unsupported {
        /// An action, flag, comparison or architecture.
        what: &'static str,
        /// Its name.
        value: String,
    },
    /// It has no section for this machine.
    #[error("it has no filter for {0}")]
    NoArchitecture(&'static str),
    /// It forbids a system call that this program does not know.
    #[error("it forbids the system call `{0}`, which this version does not know")]
    UnknownCall(String),
    /// An argument beyond the sixth.
    #[error("system call `{call}`: there is no argument {index}")]
    NoArgument {
        /// Which call.
        call: String,
        /// The index.
        index: u32,
    },
    /// The program is longer than the kernel takes.
    #[error("its filter has {found} instructions; the kernel takes {limit}")]
    TooLong {
        /// How many it has.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// What happens to a system call (runtime-spec, `defaultAction`, `action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The thread is killed.
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    /// The process is killed.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// The thread is killed.
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// `SIGSYS`.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// It fails.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// A tracer decides.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// It is done.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// It is done and logged.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// Another process decides.
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// How an argument is compared (runtime-spec, `op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Different.
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    /// Less.
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    /// Less or equal.
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    /// Equal.
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    /// Greater or equal.
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    /// Greater.
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// `argument & value == valueTwo`.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// A condition on one argument of a call. Arguments are compared as unsigned numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Which argument, from 0.
    pub index: u32,
    /// What it is compared with; of a masked comparison, the mask.
    pub value: u64,
    /// Of a masked comparison, what it is compared with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub value_two: u64,
    /// How.
    pub op: Comparison,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What happens to some calls. Conditions on different arguments have to hold all; several on one argument are alternatives,
/// as runc has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Which calls.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// The error of [`Action::Errno`], the message of [`Action::Trace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Under which conditions.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
}

/// `linux.seccomp` of the runtime specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// What happens to calls that no rule is about.
    pub default_action: Action,
    /// The error of the default action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// For which architectures; calls of any other kill the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Flags of the kernel's call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The rules; the first that fits a call decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<Rule>,
}

/// A profile of Docker or podman: a [`Filter`] with conditions. A plain `linux.seccomp` is one as well.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Action,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "null_is_empty")]
    flags: Vec<String>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    syscalls: Vec<ProfileRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    sub_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileRule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    names: Vec<String>,
    action: Action,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_is_empty")]
    args: Vec<Argument>,
    #[serde(default, deserialize_with = "null_is_empty")]
    includes: Conditions,
    #[serde(default, deserialize_with = "null_is_empty")]
    excludes: Conditions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default, deserialize_with = "null_is_empty")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    caps: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Go writes empty lists as `null`.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// For which container a profile is resolved.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The machine, as Rust names it (`x86_64`).
    pub machine: &'a str,
    /// The capabilities that the container may have (its bounding set).
    pub capabilities: &'a [&'static str],
    /// The kernel's version.
    pub kernel: (u32, u32),
}

impl Target<'_> {
    /// The machine's names in a profile: Go's, and libseccomp's.
    fn names(&self) -> Result<(&'static str, &'static str), Error> {
        Ok(match self.machine {
            "x86_64" => ("amd64", "SCMP_ARCH_X86_64"),
            "aarch64" => ("arm64", "SCMP_ARCH_AARCH64"),
            other => {
                return Err(Error::Unsupported { what: "the machine", value: other.to_owned() });
            }
        })
    }

    /// True when all kinds of conditions that are set hold: one of the architectures, all of the capabilities.
    fn includes(&self, conditions: &Conditions, arch: &str) -> Result<bool, Error> {
        Ok((conditions.arches.is_empty() || conditions.arches.iter().any(|wanted| wanted == arch))
            && conditions.caps.iter().all(|cap| self.capabilities.contains(&cap.as_str()))
            && conditions.min_kernel.as_deref().map_or(Ok(true), |version| self.reaches(version))?)
    }

    /// True when one of the conditions holds.
    fn excludes(&self, conditions: &Conditions, arch: &str) -> Result<bool, Error> {
        Ok(conditions.arches.iter().any(|unwanted| unwanted == arch)
            || conditions.caps.iter().any(|cap| self.capabilities.contains(&cap.as_str()))
            || conditions.min_kernel.as_deref().map_or(Ok(false), |version| self.reaches(version))?)
    }

    fn reaches(&self, version: &str) -> Result<bool, Error> {
        let parsed = version
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
        let wanted = parsed
            .ok_or_else(|| Error::Unsupported { what: "the kernel version", value: version.to_owned() })?;
        Ok(self.kernel >= wanted)
    }
}

/// Decides the conditions of `profile`, a JSON document; of podman's default one when there is none.
///
/// # Errors
/// When it is no profile, or wants what is not supported.
pub fn resolve(profile: Option<&str>, target: &Target<'_>) -> Result<Filter, Error> {
    let profile: Profile = serde_json::from_str(profile.unwrap_or(DEFAULT_PROFILE))?;
    let (go_name, name) = target.names()?;
    if let Some(path) = profile.listener_path {
        return Err(Error::Unsupported { what: "the listener", value: path });
    }
    let mut architectures = profile.architectures;
    if let Some(map) = profile.arch_map.into_iter().find(|map| map.architecture == name) {
        architectures.push(map.architecture);
        architectures.extend(map.sub_architectures);
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls {
        if !target.includes(&rule.includes, go_name)? || target.excludes(&rule.excludes, go_name)? {
            continue;
        }
        let mut names = rule.names;
        names.extend(rule.name);
        syscalls.push(Rule { names, action: rule.action, errno_ret: rule.errno_ret, args: rule.args });
    }
    Ok(Filter {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags,
        syscalls,
    })
}
