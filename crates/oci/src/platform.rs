//! Platforms: for which operating system and processor an image is, and how one is chosen among several.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::null_as_default;
use crate::windows_version::{self, WindowsVersion};
use crate::{Error, Result};

/// The `platform` of an index entry
/// ([image-spec, image-index.md](https://github.com/opencontainers/image-spec/blob/main/image-index.md#image-index-property-descriptions)),
/// and what a user asks for.
///
/// Written `os/architecture[/variant][:os.version]`: `linux/arm64`, `linux/arm/v6`, `windows/amd64:10.0.20348.x`. As a
/// request, a version stands for all that begin with its numbers; a last `x` or `*` says the same aloud. A version of Windows with its
/// build stands for every revision of that build, and a revision for the best of them: the highest that is not above it, else the highest.
/// So does the name of a release: `windows/amd64:ltsc2022` (see [`windows_version::Release`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Processor, in Go's names: `amd64`, `arm64`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// Operating system, in Go's names: `linux`, `windows`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// Version of the operating system: `10.0.20348.473`. Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What the operating system must offer: `win32k`.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the processor: `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Every other field, in its order.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Platform {
    /// An operating system on a processor, in any of their usual names (`x86_64` is `amd64`).
    pub fn new(os: &str, architecture: &str) -> Self {
        let (architecture, variant) = normalise_architecture(architecture, None);
        Self { os: normalise_os(os), architecture, variant, ..Self::default() }
    }

    /// What is chosen when nothing is asked for: Linux on this processor, and Windows where this runs on Windows.
    pub fn host_default() -> Self {
        Self::new(if cfg!(windows) { "windows" } else { "linux" }, std::env::consts::ARCH)
    }

    /// Parses `os/architecture[/variant][:os.version]`, and containerd's `os(os.version)/architecture[/variant]`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |reason| Error::InvalidPlatform { text: text.chars().take(160).collect(), reason };
        let (names, mut version) = match text.split_once(':') {
            Some((names, version)) => (names, Some(version)),
            None => (text, None),
        };
        let parts: Vec<&str> = names.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(invalid("it has no architecture, or too many parts")),
        };
        let os = match os.strip_suffix(')').and_then(|os| os.split_once('(')) {
            Some(_) if version.is_some() => return Err(invalid("it has two versions")),
            Some((os, in_parentheses)) => {
                version = Some(in_parentheses);
                os
            }
            None => os,
        };
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if ![os, architecture].into_iter().chain(variant).all(word) {
            return Err(invalid("a part is empty or has strange characters"));
        }
        if version.is_some_and(|v| {
            v.is_empty() || !v.bytes().all(|b| b.is_ascii_alphanumeric() || b".*-_".contains(&b))
        }) {
            return Err(invalid("the version is not numbers and dots"));
        }
        let (architecture, variant) = normalise_architecture(architecture, variant);
        Ok(Self {
            os: normalise_os(os),
            architecture,
            variant,
            os_version: version.map(str::to_owned),
            ..Self::default()
        })
    }

    /// Whether an image for `image` satisfies this request.
    ///
    /// Operating system and processor must be the same. A processor variant runs what is made for it or for a lower one;
    /// without one, `arm` means v7, `arm64` v8 and `amd64` v1. Where the request has a version, the image's must begin
    /// with its numbers, or for Windows have its build, whatever the revision; where the request names features of the operating system, the image must have them all.
    pub fn matches(&self, image: &Self) -> bool {
        let (own, other) = (self.normalised(), image.normalised());
        own.os == other.os
            && own.architecture == other.architecture
            && variant_runs(&own, &other)
            && self
                .os_version
                .as_deref()
                .is_none_or(|wanted| version_satisfies(image.os_version.as_deref(), wanted, &own.os))
            && self.os_features.iter().all(|feature| image.os_features.contains(feature))
    }

    /// The best of several images for this request: the version of the operating system (Windows) that is nearest to the
    /// requested one, or the highest, compared as numbers; then highest
    /// variant of the processor, then fewest features asked of the host, then the first in the list.
    pub fn choose<'a>(&self, images: impl IntoIterator<Item = &'a Self>) -> Option<usize> {
        let mut best: Option<(usize, &Self)> = None;
        for (at, image) in images.into_iter().enumerate().filter(|(_, image)| self.matches(image)) {
            if best.is_none_or(|(_, champion)| self.preference(image, champion) == Ordering::Greater) {
                best = Some((at, image));
            }
        }
        best.map(|(at, _)| at)
    }

    fn preference(&self, a: &Self, b: &Self) -> Ordering {
        let wanted = self.os_version.as_deref().and_then(requested_windows);
        let rank = |image: &Self| {
            let wanted = wanted?;
            let version: WindowsVersion = image.os_version.as_deref()?.parse().ok()?;
            Some(windows_version::revision_rank(wanted.revision, version.revision))
        };
        rank(a)
            .cmp(&rank(b))
            .then_with(|| compare_versions(a.os_version.as_deref(), b.os_version.as_deref()))
            .then_with(|| variant_number(&a.normalised()).cmp(&variant_number(&b.normalised())))
            .then_with(|| b.os_features.len().cmp(&a.os_features.len()))
    }

    /// With the usual names of operating system, processor and variant.
    fn normalised(&self) -> Self {
        let (architecture, variant) = normalise_architecture(&self.architecture, self.variant.as_deref());
        Self { os: normalise_os(&self.os), architecture, variant, ..Self::default() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        if let Some(version) = &self.os_version {
            write!(f, ":{version}")?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        os => os.to_owned(),
    }
}

/// The names that containerd's `platforms` package takes for the same processor.
fn normalise_architecture(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let digit_only = |v: String| if v.bytes().all(|b| b.is_ascii_digit()) { format!("v{v}") } else { v };
    let variant = variant.map(str::to_ascii_lowercase).filter(|v| !v.is_empty()).map(digit_only);
    let (architecture, variant) = match architecture.as_str() {
        "i386" | "x86" => ("386", variant),
        "x86_64" | "x86-64" | "amd64" => ("amd64", variant.filter(|v| v != "v1")),
        "aarch64" | "arm64" => ("arm64", variant.filter(|v| v != "v8")),
        "armhf" => ("arm", Some("v7".to_owned())),
        "armel" => ("arm", Some("v6".to_owned())),
        other => (other, variant),
    };
    (architecture.to_owned(), variant)
}

fn variant_runs(host: &Platform, image: &Platform) -> bool {
    match (variant_number(host), variant_number(image)) {
        (Some(host), Some(image)) => image <= host,
        _ => host.variant.is_none() || host.variant == image.variant,
    }
}

/// The number of a processor variant, where higher ones run what is made for lower ones.
fn variant_number(platform: &Platform) -> Option<u32> {
    let default = match platform.architecture.as_str() {
        "arm" => 7,
        "arm64" => 8,
        "amd64" => 1,
        _ => return None,
    };
    match &platform.variant {
        None => Some(default),
        Some(variant) => variant.strip_prefix('v')?.parse().ok(),
    }
}

/// The version of Windows that a request means: its numbers, or the name of a release.
fn requested_windows(text: &str) -> Option<WindowsVersion> {
    let named =
        || windows_version::Release::of_name(text).map(|release| WindowsVersion::of_build(release.build));
    text.parse().ok().or_else(named)
}

fn version_satisfies(version: Option<&str>, wanted: &str, os: &str) -> bool {
    let Some(version) = version else { return false };
    if os == "windows"
        && let (Ok(version), Some(wanted)) = (version.parse::<WindowsVersion>(), requested_windows(wanted))
    {
        return version.is_same_build(&wanted);
    }
    let mut numbers = version.split('.');
    wanted
        .split('.')
        .take_while(|part| !matches!(*part, "x" | "X" | "*"))
        .all(|part| numbers.next() == Some(part))
}

fn compare_versions(a: Option<&str>, b: Option<&str>) -> Ordering {
    let numbers = |version: Option<&str>| -> Option<Vec<u64>> {
        version.map(|v| v.split('.').map(|part| part.parse().unwrap_or(0)).collect())
    };
    numbers(a).cmp(&numbers(b))
}
