//! What `inspect` tells of a Windows image beside what it tells of every image.

use std::io::{self, Write};

use layerstone_layer::Os;
use layerstone_oci::WindowsVersion;
use layerstone_oci::windows_version::{Builds, Isolation, Rule, hosts_for};
use layerstone_store::{InstalledWindows, Store, StoredImage};
use serde::Serialize;

use crate::cmd::App;

/// Which Windows it is, and where it runs; nothing for other images.
#[derive(Serialize)]
pub(super) struct Windows {
    /// What the image's registry says that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<InstalledWindows>,
    /// Of an image that states its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs_on: Option<RunsOn>,
}

impl Windows {
    pub(super) fn of(app: &App, store: &Store, image: &StoredImage) -> Self {
        Windows { registry: installed_windows(app, store, image), runs_on: RunsOn::of(image) }
    }

    /// The lines for people. `claimed` is the version that the configuration states.
    pub(super) fn print(&self, out: &mut dyn Write, claimed: Option<&str>) -> io::Result<()> {
        if let Some(windows) = &self.registry {
            let parts = [&windows.product, &windows.edition, &windows.installation, &windows.release];
            let named: Vec<_> = parts.into_iter().flatten().map(String::as_str).collect();
            write!(out, "registry  {}", windows.version)?;
            if !named.is_empty() {
                write!(out, "  {}", named.join(", "))?;
            }
            writeln!(out, "  {}", agreement(claimed, &windows.version))?;
        }
        if let Some(runs_on) = &self.runs_on {
            writeln!(out, "runs on   process isolation: hosts of build {}", runs_on.process_isolation)?;
            writeln!(out, "runs on   Hyper-V isolation: hosts of build {}", runs_on.hyper_v_isolation)?;
        }
        Ok(())
    }
}

/// Builds of the hosts that a Windows image runs on.
#[derive(Serialize)]
struct RunsOn {
    process_isolation: Builds,
    /// Whose rule that is.
    rule: Rule,
    hyper_v_isolation: Builds,
}

impl RunsOn {
    fn of(image: &StoredImage) -> Option<Self> {
        let config = &image.config;
        let version: WindowsVersion =
            config.os_version().filter(|_| config.platform().os == "windows")?.parse().ok()?;
        let rule = Rule::default();
        Some(RunsOn {
            process_isolation: hosts_for(version.build, Isolation::Process(rule)),
            rule,
            hyper_v_isolation: hosts_for(version.build, Isolation::HyperV),
        })
    }
}

/// The version in the image's registry. What cannot be read is a remark: the rest of the image can be shown all the same.
fn installed_windows(app: &App, store: &Store, image: &StoredImage) -> Option<InstalledWindows> {
    if image.os() != Os::Windows {
        return None;
    }
    let read = store.chain_view(&image.chain_ids(), image.os());
    match read.and_then(|view| InstalledWindows::of(view.layers())) {
        Ok(version) => version,
        Err(error) => {
            app.remark(format_args!("remark: {}", crate::error::Error::from(error).report()));
            None
        }
    }
}

/// How the configuration's claim compares with the registry.
fn agreement(claimed: Option<&str>, found: &str) -> String {
    match claimed {
        Some(claimed) if claimed == found => "(as the configuration says)".into(),
        Some(claimed) => format!("(the configuration says {claimed})"),
        None => "(the configuration says nothing)".into(),
    }
}
