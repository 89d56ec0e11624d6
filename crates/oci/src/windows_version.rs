//! Which Windows image runs on which Windows host, and which of several to take.
//!
//! An image says in `os.version` for which Windows it was made: `10.0.20348.2113`, which is major, minor, build and revision
//! ([image-spec, config.md](https://github.com/opencontainers/image-spec/blob/main/config.md)). Builds decide; the revision
//! counts monthly updates and never matters for whether an image runs.
//!
//! # Process isolation
//!
//! The container shares the host's kernel.
//!
//! | host build | runs images of build |
//! |---|---|
//! | below 20348 (Windows Server 2022) | the same |
//! | 20348 and above | from a floor up to the host's |
//!
//! The two programs that decide this in practice disagree about the floor:
//!
//! | rule | floor | host 20348 to 26099 | host 26100 | host 26200 |
//! |---|---|---|---|---|
//! | [`Rule::Containerd`] | the long-term release before the newest that is not above the host | 20348 | 20348 | 20348 |
//! | [`Rule::Hcsshim`] | the newest long-term release that is below the host | 20348 | 20348 | 26100 |
//!
//! [`Rule::Containerd`] is the default: it is what Microsoft says of its annual and long-term releases ("Windows container version
//! compatibility"), of which a host runs the long-term release before its own too, and what decides which image a container
//! runtime pulls. The rules differ for hosts newer than 26100 only.
//!
//! # Hyper-V isolation
//!
//! The container brings its kernel: any image whose build is not above the host's.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{Error, Result};

/// The first build whose containers run on newer hosts.
const FIRST_STABLE: u32 = 20348;

/// The long-term releases since [`FIRST_STABLE`], oldest first.
const LONG_TERM: [u32; 2] = [FIRST_STABLE, 26100];

/// A version of Windows as `os.version` states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowsVersion {
    /// 10 for every Windows that has containers.
    pub major: u32,
    /// 0 for every Windows that has containers.
    pub minor: u32,
    /// The build: which Windows.
    pub build: u32,
    /// The revision: how far updated. `None` where it is not stated, or stands for all (`x`, `*`).
    pub revision: Option<u32>,
}

impl WindowsVersion {
    /// A version 10.0 of this build.
    pub const fn of_build(build: u32) -> Self {
        Self { major: 10, minor: 0, build, revision: None }
    }

    /// Whether both are the same Windows, updates aside.
    pub fn is_same_build(&self, other: &Self) -> bool {
        (self.major, self.minor, self.build) == (other.major, other.minor, other.build)
    }

    /// The release with this build, where it has a name.
    pub fn release(&self) -> Option<&'static Release> {
        Release::of_build(self.build)
    }
}

impl FromStr for WindowsVersion {
    type Err = Error;

    /// Reads `major.minor.build[.revision]`; the revision may be `x` or `*`. Parts behind the revision are refused.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason| Error::InvalidWindowsVersion { text: text.chars().take(80).collect(), reason };
        let mut parts = text.split('.');
        let mut number = |reason| {
            let part = parts.next().ok_or_else(|| invalid(reason))?;
            Some(part)
                .filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|part| part.parse().ok())
                .ok_or_else(|| invalid(reason))
        };
        let (major, minor) = (number("it has no major number")?, number("it has no minor number")?);
        let build = number("it has no build number")?;
        let revision = match parts.next() {
            None | Some("x" | "X" | "*") => None,
            Some(part) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => {
                Some(part.parse().map_err(|_| invalid("its revision does not fit 32 bits"))?)
            }
            Some(_) => return Err(invalid("its revision is not a number")),
        };
        match parts.next() {
            None => Ok(Self { major, minor, build, revision }),
            Some(_) => Err(invalid("it has more than four numbers")),
        }
    }
}

impl fmt::Display for WindowsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)?;
        self.revision.map_or(Ok(()), |revision| write!(f, ".{revision}"))
    }
}

/// A release of Windows that container images are, or were, made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Release {
    /// Its build.
    pub build: u32,
    /// A short name: the tag of Microsoft's images, or what stands in their place where there are none.
    pub short: &'static str,
    /// What people call it.
    pub name: &'static str,
}

/// Releases by build, oldest first (hcsshim `osversion/windowsbuilds.go`; tags of `mcr.microsoft.com/windows`).
pub const RELEASES: &[Release] = &[
    Release { build: 14393, short: "ltsc2016", name: "Windows Server 2016" },
    Release { build: 15063, short: "1703", name: "Windows 10 1703" },
    Release { build: 16299, short: "1709", name: "Windows Server 1709" },
    Release { build: 17134, short: "1803", name: "Windows Server 1803" },
    Release { build: 17763, short: "ltsc2019", name: "Windows Server 2019" },
    Release { build: 18362, short: "1903", name: "Windows Server 1903" },
    Release { build: 18363, short: "1909", name: "Windows Server 1909" },
    Release { build: 19041, short: "2004", name: "Windows Server 2004" },
    Release { build: 19042, short: "20H2", name: "Windows Server 20H2" },
    Release { build: 19043, short: "21H1", name: "Windows 10 21H1" },
    Release { build: 19044, short: "21H2", name: "Windows 10 21H2" },
    Release { build: 19045, short: "22H2", name: "Windows 10 22H2" },
    Release { build: 20348, short: "ltsc2022", name: "Windows Server 2022" },
    Release { build: 22000, short: "11-21H2", name: "Windows 11 21H2" },
    Release { build: 22621, short: "11-22H2", name: "Windows 11 22H2" },
    Release { build: 22631, short: "11-23H2", name: "Windows 11 23H2" },
    Release { build: 25398, short: "23H2", name: "Windows Server 23H2" },
    Release { build: 26100, short: "ltsc2025", name: "Windows Server 2025" },
    Release { build: 26200, short: "11-25H2", name: "Windows 11 25H2" },
];

/// Other names of the same builds.
const OTHER_NAMES: &[(&str, u32)] = &[
    ("1607", 14393),
    ("1809", 17763),
    ("2016", 14393),
    ("2019", 17763),
    ("2022", 20348),
    ("2025", 26100),
    ("24h2", 26100),
    ("25h2", 26200),
];

impl Release {
    /// The release with this build.
    pub fn of_build(build: u32) -> Option<&'static Release> {
        RELEASES.iter().find(|release| release.build == build)
    }

    /// The release with this short name or another usual one: `ltsc2019` and `1809` are one.
    pub fn of_name(name: &str) -> Option<&'static Release> {
        let other = || OTHER_NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        RELEASES
            .iter()
            .find(|release| release.short.eq_ignore_ascii_case(name))
            .or_else(|| Self::of_build(other()?.1))
    }
}

/// Whose rule for process isolation decides. See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// containerd's (`platforms/platform_windows_compat.go`).
    #[default]
    Containerd,
    /// hcsshim's (`osversion/platform_compat_windows.go`).
    Hcsshim,
}

impl Rule {
    /// The lowest build whose images run on a host of this build.
    fn floor(self, host: u32) -> u32 {
        if host < FIRST_STABLE {
            return host;
        }
        let at_or_below = LONG_TERM.iter().filter(|&&build| build <= host).count();
        match self {
            // The first has none before it.
            Rule::Containerd => LONG_TERM[at_or_below.saturating_sub(2)],
            Rule::Hcsshim => {
                LONG_TERM.iter().rev().find(|&&build| build < host).copied().unwrap_or(FIRST_STABLE)
            }
        }
    }
}

/// How a container is kept apart from its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// It shares the host's kernel.
    Process(Rule),
    /// It runs in a virtual machine of its own.
    HyperV,
}

/// Builds from one to another, both included. Without an end: as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Builds {
    /// The first.
    pub from: u32,
    /// The last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
}

impl Builds {
    /// Whether a build is among them.
    pub fn contains(&self, build: u32) -> bool {
        build >= self.from && self.to.is_none_or(|to| build <= to)
    }
}

impl fmt::Display for Builds {
    /// `17763 (ltsc2019)`, `20348 (ltsc2022) and later`, `20348 (ltsc2022) to 26100 (ltsc2025)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |build: u32| match Release::of_build(build) {
            Some(release) => format!("{build} ({})", release.short),
            None => build.to_string(),
        };
        match self.to {
            Some(to) if to == self.from => f.write_str(&named(to)),
            Some(to) => write!(f, "{} to {}", named(self.from), named(to)),
            None => write!(f, "{} and later", named(self.from)),
        }
    }
}

/// Whether an image of build `image` runs on a host of build `host`.
pub fn runs(host: u32, image: u32, isolation: Isolation) -> bool {
    images_for(host, isolation).contains(image)
}

/// The builds whose images run on a host of build `host`.
pub fn images_for(host: u32, isolation: Isolation) -> Builds {
    let from = match isolation {
        Isolation::Process(rule) => rule.floor(host),
        // The first Windows with containers.
        Isolation::HyperV => RELEASES[0].build.min(host),
    };
    Builds { from, to: Some(host) }
}

/// The builds of hosts that run images of build `image`.
pub fn hosts_for(image: u32, isolation: Isolation) -> Builds {
    let to = match isolation {
        // Before the first Windows with containers there is no such image; what is not known runs on its like.
        Isolation::HyperV => (image < RELEASES[0].build).then_some(image),
        Isolation::Process(_) if image < FIRST_STABLE => Some(image),
        // Floors rise with the host, behind a long-term release: the last host below the first that is too new.
        Isolation::Process(rule) => {
            let rises = LONG_TERM.iter().flat_map(|&build| [build, build + 1]);
            rises.filter(|&host| host > image && rule.floor(host) > image).min().map(|host| host - 1)
        }
    };
    Builds { from: image, to }
}

/// Whether an image's stated `os.version` lets it run on a host. An image without one is taken, one that no Windows has is not: both as
/// containerd does it.
pub fn image_runs(host: &WindowsVersion, image: Option<&str>, isolation: Isolation) -> bool {
    let Some(stated) = image.filter(|stated| !stated.is_empty()) else { return true };
    stated.parse().is_ok_and(|image: WindowsVersion| {
        (image.major, image.minor) == (host.major, host.minor) && runs(host.build, image.build, isolation)
    })
}

/// The best image for a host, of their stated `os.version`s: one that runs there; of those the highest build, which is the host's
/// own where there is one; of that the revision of [`revision_rank`]. Without any other an image that states no version; of equals the
/// first.
pub fn choose<'v>(
    host: &WindowsVersion,
    images: impl IntoIterator<Item = Option<&'v str>>,
    isolation: Isolation,
) -> Option<usize> {
    let runnable = images.into_iter().enumerate().filter(|(_, image)| image_runs(host, *image, isolation));
    let rank = |image: Option<&str>| {
        let version: Option<WindowsVersion> = image.and_then(|image| image.parse().ok());
        version.map(|version| (version.build, revision_rank(host.revision, version.revision)))
    };
    // Of equals max_by_key takes the last: count the places backwards.
    runnable.max_by_key(|(at, image)| (rank(*image), Reverse(*at))).map(|(at, _)| at)
}

/// The order of revisions of one build for whoever asks for `wanted`, as numbers: the highest that is not above it; where all are
/// above it, the highest.
pub fn revision_rank(wanted: Option<u32>, image: Option<u32>) -> (bool, Option<u32>) {
    let fits = match (wanted, image) {
        (Some(wanted), Some(image)) => image <= wanted,
        _ => true,
    };
    (fits, image)
}
