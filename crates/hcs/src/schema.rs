//! The JSON documents that computestorage.dll takes.
//!
//! Field names are PascalCase; what is not set is left out. Microsoft, "HCS schema reference" (`LayerData`, `Layer`,
//! `ExportLayerOptions`, `OsLayerOptions`); the exact strings are those that hcsshim sends, recorded in
//! `tests/golden/computestorage-calls.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that goes into a call as a JSON document.
pub trait Document: fmt::Debug {
    /// The text of the document. May be empty, where a call takes "no document" as an empty string.
    ///
    /// # Errors
    /// When something in it cannot be put into JSON: a path that is not Unicode.
    fn to_json(&self) -> crate::Result<String>;
}

/// A document as text, for what the typed ones have no field for. It is passed on as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDocument(pub String);

impl Document for RawDocument {
    fn to_json(&self) -> crate::Result<String> {
        Ok(self.0.clone())
    }
}

/// A version of the HCS schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SchemaVersion {
    /// Left out when 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u32,
    /// Left out when 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u32,
}

impl SchemaVersion {
    /// 2.1, of Windows 10 1809 and Windows Server 2019: what the layer calls are told.
    pub const V2_1: Self = SchemaVersion { major: 2, minor: 1 };
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// What `Path` of a [`Layer`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PathType {
    /// A directory; the default.
    AbsolutePath,
    /// A share of a virtual machine.
    VirtualSmbShareName,
    /// A virtual disk.
    VirtualDisk,
}

/// How a layer is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CacheMode {
    /// Not at all.
    Disabled,
    /// As the file system does.
    Enabled,
    /// For one user alone.
    Private,
    /// For one user, who may share it.
    PrivateAllowSharing,
}

/// The filter that shows a chain of layers as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FilterType {
    /// `wcifs.sys`, the filter of layers that are directories.
    #[serde(rename = "WCIFS")]
    Wcifs,
    /// `unionfs.sys`, the filter of layers that are CIM images.
    #[serde(rename = "UnionFS")]
    UnionFs,
}

/// A parent layer in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Layer {
    /// Its GUID: 36 characters, lower case, no braces.
    pub id: String,
    /// Where it is.
    pub path: String,
    /// What the path is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_type: Option<PathType>,
    /// How it is cached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache: Option<CacheMode>,
}

/// The document `LayerData`: the parents of a layer, nearest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerData {
    /// Always there, even when it says nothing.
    #[serde(default)]
    pub schema_version: SchemaVersion,
    /// Nearest first, the base last. Left out when empty.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub layers: Vec<Layer>,
    /// Left out for the calls that know one filter only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filter_type: Option<FilterType>,
}

/// The document `ExportLayerOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExportLayerOptions {
    /// The layer is the mounted volume of a scratch and not a finished layer.
    #[serde(skip_serializing_if = "is_false")]
    pub is_writable_layer: bool,
}

/// What a base layer is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OsLayerType {
    /// For containers that share the host's kernel.
    Container,
    /// For the utility VM of Hyper-V isolation.
    Vm,
}

/// The document `OsLayerOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OsLayerOptions {
    /// What the layer is for.
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub layer_type: Option<OsLayerType>,
    /// Schema 2.1.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_ci_cache_optimization: bool,
    /// Schema 2.5.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_update_bcd_for_boot: bool,
}

/// The options of `HcsInitializeWritableLayer`. None are published: the call gets an empty string, as hcsshim sends it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WritableLayerOptions {}

impl Document for WritableLayerOptions {
    fn to_json(&self) -> crate::Result<String> {
        Ok(String::new())
    }
}

macro_rules! documents {
    ($($name:ident),*) => {$(
        impl Document for $name {
            fn to_json(&self) -> crate::Result<String> {
                serde_json::to_string(self)
                    .map_err(|source| crate::Error::Document { name: stringify!($name), source })
            }
        }
    )*};
}
documents!(LayerData, ExportLayerOptions, OsLayerOptions);

mod compute {
    use super::Document;
    use crate::compute::{
        ComputeSystem, ProcessModifyRequest, ProcessParameters, PropertyQuery, SignalProcessOptions,
        SystemQuery,
    };
    documents!(
        ComputeSystem,
        ProcessModifyRequest,
        ProcessParameters,
        PropertyQuery,
        SignalProcessOptions,
        SystemQuery
    );
}
