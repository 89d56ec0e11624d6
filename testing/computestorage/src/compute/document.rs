//! The documents that clients send. Nothing is passed over: the service refuses what its schema does not have.
//!
//! These are written from the schema, and not the types that the client has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Failure;
use crate::code::Code;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ComputeSystem {
    #[serde(default)]
    pub(crate) owner: String,
    schema_version: Version,
    #[serde(default)]
    should_terminate_on_last_handle_closed: bool,
    pub(crate) container: Container,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Version {
    #[serde(default)]
    major: u32,
    #[serde(default)]
    minor: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Container {
    pub(crate) storage: Storage,
    #[serde(default)]
    mapped_directories: Vec<MappedDirectory>,
    #[serde(default)]
    processor: Option<Processor>,
    // What nothing here depends on.
    #[serde(default, rename = "GuestOs")]
    _guest_os: Option<GuestOs>,
    #[serde(default, rename = "Memory")]
    _memory: Option<Memory>,
    #[serde(default, rename = "Networking")]
    _networking: Option<Networking>,
    #[serde(default, rename = "RegistryChanges")]
    _registry_changes: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Storage {
    pub(crate) layers: Vec<Layer>,
    pub(crate) path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) id: Uuid,
    pub(crate) path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MappedDirectory {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(default, rename = "ReadOnly")]
    _read_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Processor {
    #[serde(default)]
    count: u32,
    #[serde(default)]
    weight: u32,
    #[serde(default)]
    maximum: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestOs {
    #[serde(rename = "HostName")]
    _host_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    #[serde(rename = "SizeInMB")]
    _size_in_mb: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Networking {
    #[serde(rename = "Namespace")]
    _namespace: Uuid,
}

impl ComputeSystem {
    /// Reads and checks it. What the service says of each of these is not published; here it is all one code.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        let document: ComputeSystem = read(text)?;
        let refused = |why: &str| Err(Failure::new(Code::INVALID_JSON, why));
        let container = &document.container;
        if document.schema_version != (Version { major: 2, minor: 1 }) {
            return refused("the schema version is not 2.1");
        }
        if !document.should_terminate_on_last_handle_closed {
            return refused("this stand-in only has systems that end with the last handle");
        }
        // The service is known to crash.
        if container.storage.layers.is_empty() {
            return refused("there are no layers");
        }
        if !container.storage.path.as_os_str().as_encoded_bytes().ends_with(b"\\") {
            return refused("the volume has no backslash at its end");
        }
        let limits = container.processor.as_ref().map_or(0, |processor| {
            [processor.count, processor.weight, processor.maximum].iter().filter(|limit| **limit != 0).count()
        });
        if limits > 1 {
            return refused("count, weight and maximum of processors exclude each other");
        }
        for directory in &container.mapped_directories {
            if !directory.host_path.is_dir() || !directory.container_path.is_absolute() {
                return Err(Failure::new(
                    Code::win32(3),
                    format!("no directory to map: {}", directory.host_path.display()),
                ));
            }
        }
        Ok(document)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ProcessParameters {
    pub(crate) command_line: String,
    #[serde(default, rename = "User")]
    _user: String,
    #[serde(default)]
    pub(crate) working_directory: PathBuf,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) emulate_console: bool,
    #[serde(default)]
    pub(crate) create_std_in_pipe: bool,
    #[serde(default)]
    pub(crate) create_std_out_pipe: bool,
    #[serde(default)]
    pub(crate) create_std_err_pipe: bool,
    #[serde(default, rename = "ConsoleSize")]
    _console_size: Option<[u16; 2]>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) enum Signal {
    CtrlC,
    CtrlBreak,
    CtrlClose,
    CtrlLogOff,
    CtrlShutdown,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct SignalProcessOptions {
    pub(crate) signal: Signal,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "Operation", deny_unknown_fields)]
pub(crate) enum ProcessModifyRequest {
    ConsoleSize {
        #[serde(rename = "ConsoleSize")]
        _size: Size,
    },
    CloseHandle {
        #[serde(rename = "CloseHandle")]
        _handle: Handle,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    #[serde(rename = "Height")]
    _height: u16,
    #[serde(rename = "Width")]
    _width: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Handle {
    #[serde(rename = "Handle")]
    _handle: Stream,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
enum Stream {
    StdIn,
    StdOut,
    StdErr,
    All,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub(crate) struct PropertyQuery {
    pub(crate) property_types: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub(crate) struct SystemQuery {
    pub(crate) ids: Vec<String>,
    pub(crate) owners: Vec<String>,
}

/// Reads any document.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(Code::INVALID_JSON, error.to_string()))
}

/// A document that may be left out, or be empty.
pub(crate) fn read_optional<T: DeserializeOwned + Default>(text: Option<&str>) -> Result<T, Failure> {
    match text {
        None | Some("") => Ok(T::default()),
        Some(text) => read(text),
    }
}
