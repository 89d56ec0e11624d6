//! The document of a container: schema 2.1, as every Windows with `computecore.dll` takes it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::chain::LayerChain;
use crate::error::{Error, Result};
use crate::schema::{Layer, SchemaVersion};

/// The document `ComputeSystem`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ComputeSystem {
    /// Who makes it: a name by which its systems can be listed.
    pub owner: String,
    /// The version of the schema.
    pub schema_version: SchemaVersion,
    /// It ends when the last handle on it is closed, also when the process that holds it dies.
    #[serde(skip_serializing_if = "is_false", default)]
    pub should_terminate_on_last_handle_closed: bool,
    /// What it is, for a container that shares the host's kernel.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<Container>,
}

/// The container of a [`ComputeSystem`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// The system inside.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guest_os: Option<GuestOs>,
    /// What it runs on.
    pub storage: Storage,
    /// Directories of the host that are seen in it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mapped_directories: Vec<MappedDirectory>,
    /// The most memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory: Option<ContainerMemory>,
    /// The most processor time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processor: Option<ContainerProcessor>,
    /// Its network; none without.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub networking: Option<Networking>,
    /// Values of its registry.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub registry_changes: Option<RegistryChanges>,
}

/// The system inside of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GuestOs {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_name: String,
}

/// What a container runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Storage {
    /// The parents of its scratch, nearest first.
    pub layers: Vec<Layer>,
    /// Its scratch: the volume, with a backslash at the end.
    pub path: String,
}

/// A directory of the host that is seen in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MappedDirectory {
    /// On the host: absolute.
    pub host_path: String,
    /// In the container: absolute.
    pub container_path: String,
    /// It cannot be written to.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// A limit of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerMemory {
    /// In MiB.
    #[serde(rename = "SizeInMB")]
    pub size_in_mb: u64,
}

/// A limit of processor time. The three exclude each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerProcessor {
    /// How many processors.
    #[serde(skip_serializing_if = "is_zero")]
    pub count: u32,
    /// Its share beside others, 1 to 10000.
    #[serde(skip_serializing_if = "is_zero")]
    pub weight: u32,
    /// Of 10000 cycles of all processors of the host, how many it gets at most: a hundred times the percentage.
    #[serde(skip_serializing_if = "is_zero")]
    pub maximum: u32,
}

/// The network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Networking {
    /// The GUID of a network namespace of the Host Compute Network service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Values that are set in a container's registry before it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegistryChanges {
    /// Which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_values: Vec<RegistryValue>,
}

/// A value of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegistryValue {
    /// Where it is.
    pub key: RegistryKey,
    /// What it is called.
    pub name: String,
    /// What it is.
    #[serde(rename = "Type")]
    pub value_type: RegistryValueType,
    /// A text, for [`RegistryValueType::String`].
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub string_value: String,
    /// A number, for [`RegistryValueType::DWord`].
    #[serde(rename = "DWordValue", skip_serializing_if = "is_zero", default)]
    pub dword_value: u32,
}

/// A key of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegistryKey {
    /// Which hive.
    pub hive: RegistryHive,
    /// Its path in there.
    pub name: String,
}

/// A hive of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryHive {
    /// `SYSTEM`
    System,
    /// `SOFTWARE`
    Software,
}

/// What a value of the registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryValueType {
    /// A text.
    String,
    /// A number of 32 bits.
    DWord,
}

pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

pub(super) fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// How a container is kept apart from the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// It shares the host's kernel, and so has to be of the host's release.
    #[default]
    Process,
    /// It has a virtual machine of its own.
    HyperV,
}

/// What a container is made of, in the terms of the layer calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSystem<'a> {
    /// Who makes it.
    pub owner: &'a str,
    /// The parents of its scratch, with the ids that it was initialized with.
    pub chain: &'a LayerChain,
    /// Its scratch: the volume `\\?\Volume{...}`, whose filter is attached, with or without a backslash at the end.
    pub volume: &'a Path,
    /// How it is kept apart.
    pub isolation: Isolation,
    /// Its host name.
    pub host_name: Option<&'a str>,
    /// Directories of the host.
    pub mapped_directories: Vec<MappedDirectory>,
    /// The most memory, in bytes; rounded up to MiB.
    pub memory: Option<u64>,
    /// The most processor time.
    pub processor: Option<ContainerProcessor>,
    /// The GUID of its network namespace.
    pub network_namespace: Option<&'a str>,
}

const CREATE: &str = "HcsCreateComputeSystem";

impl<'a> ContainerSystem<'a> {
    /// A container of this storage and nothing else.
    pub const fn new(owner: &'a str, chain: &'a LayerChain, volume: &'a Path) -> Self {
        ContainerSystem {
            owner,
            chain,
            volume,
            isolation: Isolation::Process,
            host_name: None,
            mapped_directories: Vec::new(),
            memory: None,
            processor: None,
            network_namespace: None,
        }
    }

    /// The document. The container goes with the last handle on it.
    ///
    /// Programs of the image are given as much time to end as whoever stops them waits, and not the few seconds of a Windows that
    /// shuts down (`WaitToKillServiceTimeout`), as hcsshim has it.
    ///
    /// # Errors
    /// [`Error::Argument`] without a parent layer (the service is known to crash), for a path that is no volume, and for Hyper-V
    /// isolation; [`Error::NotUnicode`].
    pub fn document(&self) -> Result<ComputeSystem> {
        let refused = |subject: &Path, reason| Error::Argument {
            function: CREATE,
            subject: subject.to_owned(),
            reason,
        };
        if self.isolation == Isolation::HyperV {
            return Err(refused(
                self.volume,
                "Hyper-V isolation needs a utility VM, which this version cannot start: use an image of the host's release, \
                 with process isolation",
            ));
        }
        if self.chain.is_empty() {
            return Err(refused(self.volume, "a container needs a parent layer"));
        }
        let layers = self.chain.layer_data()?.layers;
        Ok(ComputeSystem {
            owner: self.owner.to_owned(),
            schema_version: SchemaVersion::V2_1,
            should_terminate_on_last_handle_closed: true,
            container: Some(Container {
                guest_os: self.host_name.map(|name| GuestOs { host_name: name.to_owned() }),
                storage: Storage { layers, path: volume_path(self.volume)? },
                mapped_directories: self.mapped_directories.clone(),
                memory: self.memory.map(|bytes| ContainerMemory { size_in_mb: bytes.div_ceil(1 << 20) }),
                processor: self.processor,
                networking: self
                    .network_namespace
                    .map(|namespace| Networking { namespace: namespace.to_owned() }),
                registry_changes: Some(RegistryChanges { add_values: vec![patience()] }),
            }),
        })
    }
}

/// `\\?\Volume{GUID}\`, with the one backslash at the end that the service wants.
fn volume_path(volume: &Path) -> Result<String> {
    let text = volume.to_str().ok_or_else(|| Error::NotUnicode(volume.to_owned()))?;
    let text = text.strip_suffix('\\').unwrap_or(text);
    let id = text.strip_prefix(r"\\?\Volume{").and_then(|rest| rest.strip_suffix('}'));
    match id.map(uuid::Uuid::try_parse) {
        Some(Ok(_)) => Ok(format!(r"{text}\")),
        _ => Err(Error::Argument {
            function: CREATE,
            subject: PathBuf::from(volume),
            reason: r"the scratch of a container is a volume, \\?\Volume{GUID}\",
        }),
    }
}

/// The longest time that there is, in milliseconds.
fn patience() -> RegistryValue {
    RegistryValue {
        key: RegistryKey { hive: RegistryHive::System, name: r"ControlSet001\Control".to_owned() },
        name: "WaitToKillServiceTimeout".to_owned(),
        value_type: RegistryValueType::String,
        string_value: "2147483647".to_owned(),
        dword_value: 0,
    }
}
