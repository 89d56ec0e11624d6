//! Which Windows an image holds, by its own registry: what its configuration says is only a claim.

use layerstone_layer::view::LayerView;
use layerstone_nt::hive::{self, MergedKey, SystemHive};
use serde::Serialize;

use super::HiveStack;
use crate::error::{Error, Result};

/// Where Windows has its own version, in the SOFTWARE hive.
const CURRENT_VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

/// The version of Windows in an image, from `HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstalledWindows {
    /// `10.0.20348.2113`: major, minor, build and revision (UBR), as `os.version` has it; the revision is left out where the
    /// registry has none.
    pub version: String,
    /// `ProductName`.
    pub product: Option<String>,
    /// `EditionID`.
    pub edition: Option<String>,
    /// `InstallationType`: `Nano Server`, `Server Core`, `Server`.
    pub installation: Option<String>,
    /// `DisplayVersion`: `21H2`.
    pub release: Option<String>,
    /// `BuildLabEx`: build, branch and time.
    pub build_lab: Option<String>,
}

impl InstalledWindows {
    /// Reads the version that `layers`, topmost first, make together; `None` when no layer has a SOFTWARE hive, or none that says a build.
    ///
    /// # Errors
    /// When a layer or the hive cannot be read.
    pub fn of<V: LayerView<Error = Error>>(layers: &[V]) -> Result<Option<Self>> {
        let Some(stack) = HiveStack::find(layers, SystemHive::Software)? else { return Ok(None) };
        let hives = stack.open()?;
        let read = || -> hive::Result<Option<Self>> {
            match hive::Merged::new(&hives)?.key(CURRENT_VERSION)? {
                Some(key) => Self::from_key(&key),
                None => Ok(None),
            }
        };
        // Which hive of the stack an error is about is not told by it; the base has nearly all of the keys.
        read().map_err(|source| stack.files[0].error(source))
    }

    fn from_key(key: &MergedKey<'_>) -> hive::Result<Option<Self>> {
        let content = |name: &str| key.value(name)?.map(|found| found.value.content()).transpose();
        let text = |name: &str| -> hive::Result<Option<String>> {
            let found = content(name)?;
            Ok(found
                .and_then(|content| content.as_text().map(|text| text.to_string()))
                .filter(|t| !t.is_empty()))
        };
        let number =
            |name: &str| -> hive::Result<Option<u64>> { Ok(content(name)?.and_then(|c| c.as_number())) };
        let build = match text("CurrentBuildNumber")? {
            Some(build) => Some(build),
            None => text("CurrentBuild")?,
        };
        let Some(build) = build else { return Ok(None) };
        // Windows before 10 has no numbers, and `CurrentVersion` says `6.3`, also on Windows 10.
        let base = match (number("CurrentMajorVersionNumber")?, number("CurrentMinorVersionNumber")?) {
            (Some(major), Some(minor)) => format!("{major}.{minor}"),
            _ => text("CurrentVersion")?.unwrap_or_else(|| "0.0".to_owned()),
        };
        let version = match number("UBR")? {
            Some(revision) => format!("{base}.{build}.{revision}"),
            None => format!("{base}.{build}"),
        };
        Ok(Some(Self {
            version,
            product: text("ProductName")?,
            edition: text("EditionID")?,
            installation: text("InstallationType")?,
            release: text("DisplayVersion")?,
            build_lab: text("BuildLabEx")?,
        }))
    }
}
