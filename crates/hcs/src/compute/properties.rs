//! What the service tells of compute systems.
//!
//! Of these documents later builds send more than is here; what is not known is passed over.

use serde::{Deserialize, Serialize};

use super::container::is_false;
use crate::hresult::HResult;

/// How far a compute system is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SystemState {
    /// Made, not started.
    Created,
    /// Started.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Over.
    Stopped,
    /// A template that others are started from.
    SavedAsTemplate,
    /// The service does not say, or says something that is not in this list.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The document `Properties` of a compute system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Properties {
    /// Its id.
    pub id: String,
    /// `Container` or `VirtualMachine`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system_type: String,
    /// Who made it, as its document said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<SystemState>,
    /// It is over.
    #[serde(skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// How it ended: `GracefulExit`, `ForcedExit`, `UnexpectedExit`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_type: Option<String>,
    /// Its processes, when they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub process_list: Vec<ProcessDetails>,
    /// What it uses, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

impl Properties {
    /// How far it is. A container that is not over and says nothing else runs.
    pub fn state(&self) -> SystemState {
        match self.state {
            _ if self.stopped => SystemState::Stopped,
            Some(state) => state,
            None => SystemState::Unknown,
        }
    }
}

/// A process in [`Properties::process_list`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessDetails {
    /// Its number.
    pub process_id: u32,
    /// The name of its program.
    pub image_name: String,
}

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Statistics {
    /// How long it has run, in units of 100 ns.
    pub uptime100ns: u64,
    /// Of processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor: Option<ProcessorStatistics>,
    /// Of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStatistics>,
}

/// Processor time, in units of 100 ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessorStatistics {
    /// All of it.
    pub total_runtime100ns: u64,
    /// In programs.
    pub runtime_user100ns: u64,
    /// In the kernel.
    pub runtime_kernel100ns: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MemoryStatistics {
    /// Promised to its processes.
    pub memory_usage_commit_bytes: u64,
    /// The most that ever was.
    pub memory_usage_commit_peak_bytes: u64,
    /// Used by nobody else.
    pub memory_usage_private_working_set_bytes: u64,
}

/// What can be asked of a compute system besides the basics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PropertyType {
    /// [`Properties::process_list`]
    ProcessList,
    /// [`Properties::statistics`]
    Statistics,
}

/// The document `PropertyQuery`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PropertyQuery {
    /// What is asked for. Left out when it is the basics alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub property_types: Vec<PropertyType>,
}

/// The document `SystemQuery`: which compute systems are listed. What is empty does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemQuery {
    /// Those with these ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Those of these owners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
}

/// The document `SystemExitStatus`: how a compute system ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemExitStatus {
    /// The HRESULT, as a signed number.
    pub status: i32,
    /// How: `GracefulExit`, `ForcedExit`, `UnexpectedExit`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_type: Option<String>,
}

impl SystemExitStatus {
    /// The code with which it ended.
    pub fn code(&self) -> HResult {
        HResult(self.status.cast_unsigned())
    }
}
