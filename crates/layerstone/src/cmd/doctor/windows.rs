//! What Windows has for layers.

use std::path::Path;

use layerstone_hcs::host::{self, Probe};
use layerstone_hcs::{Build, FilterDriver};
use layerstone_oci::windows_version::{Isolation, Rule, images_for};

use super::Line;
use crate::error::storage::ENABLE_CONTAINERS;
use crate::ui::text;

/// Everything about the Host Compute Service and what it works with.
pub(super) fn lines(store: &Path) -> Vec<Line> {
    let build = host::build();
    let mut lines = vec![
        line(
            "windows",
            build >= Build::SERVER_2019,
            format!("build {build}"),
            format!("the layer functions are in build {} and later", Build::SERVER_2019),
        ),
        elevated(),
        images(build.0),
    ];
    lines.extend(privileges());
    lines.extend(libraries(&host::probe()));
    lines.push(volume(store));
    lines.extend(filters());
    lines
}

/// Whose containers this host runs.
fn images(build: u32) -> Line {
    let process = images_for(build, Isolation::Process(Rule::default()));
    let hyper_v = images_for(build, Isolation::HyperV);
    let detail = format!("process isolation: builds {process}; Hyper-V isolation: builds {hyper_v}");
    line("images", true, detail, "")
}

fn line(name: impl Into<String>, ok: bool, detail: String, hint: impl Into<String>) -> Line {
    Line { name: name.into(), ok, required: true, detail, hint: (!ok).then(|| hint.into()) }
}

const ELEVATE: &str = "start the prompt with \"Run as administrator\"";

fn elevated() -> Line {
    match host::is_elevated() {
        Ok(true) => line("elevated", true, "the process runs with an administrator's full token".into(), ""),
        Ok(false) => {
            line("elevated", false, "the process runs without an administrator's token".into(), ELEVATE)
        }
        Err(error) => line("elevated", false, error.to_string(), ELEVATE),
    }
}

fn privileges() -> Vec<Line> {
    let states = match host::privileges() {
        Ok(states) => states,
        Err(error) => return vec![line("privileges", false, error.to_string(), ELEVATE)],
    };
    let told = |state: host::PrivilegeState| {
        let detail = match (state.held, state.enabled) {
            (true, true) => "held, and enabled",
            (true, false) => "held; enabled for each call that needs it",
            (false, _) => "not held",
        };
        let hint = format!(
            "{ELEVATE}, or assign the user right \"{}\" and log on again",
            state.privilege.user_right()
        );
        line(state.privilege.name(), state.held, detail.into(), hint)
    };
    states.into_iter().map(told).collect()
}

/// A line for each DLL, and one for each function that a DLL lacks.
fn libraries(probes: &[Probe]) -> Vec<Line> {
    let mut lines = Vec::new();
    for functions in probes.chunk_by(|a, b| a.function.library == b.function.library) {
        let Some(first) = functions.first() else { continue };
        let library = first.function.library;
        let present = functions.iter().filter(|probe| probe.is_present()).count();
        let since = functions.iter().filter_map(|probe| probe.function.since).min();
        let since = since.map(|build| format!("; Windows has it since build {build}")).unwrap_or_default();
        if present == 0 {
            let why = first.missing.map(|code| format!(": {code}")).unwrap_or_default();
            lines.push(line(library, false, format!("not here{why}{since}"), ENABLE_CONTAINERS));
            continue;
        }
        let detail = format!("{present} of {}", text::count(functions.len() as u64, "function"));
        lines.push(line(library, true, detail, ""));
        for (probe, code) in functions.iter().filter_map(|probe| Some((probe, probe.missing?))) {
            let function = probe.function;
            let (since, hint) = match function.since {
                Some(build) => (
                    format!("; Windows has it since build {build}"),
                    "update Windows, or do without: only calls of this function fail",
                ),
                // Nothing of what is done here needs those.
                None => ("; when Windows got it is not published".to_owned(), "nothing: no verb calls it"),
            };
            lines.push(Line {
                required: false,
                ..line(format!("{library} {}", function.name), false, format!("{code}{since}"), hint)
            });
        }
    }
    lines
}

fn volume(store: &Path) -> Line {
    let elsewhere = "keep layers on a local NTFS volume: choose another store with --root";
    let store = std::path::absolute(store).unwrap_or_else(|_| store.to_path_buf());
    match host::volume(&store) {
        Ok(volume) => line(
            "volume",
            volume.holds_layers(),
            format!(
                "{} is {}, {} free of {}",
                volume.root.display(),
                if volume.file_system.is_empty() { "of no known file system" } else { &volume.file_system },
                text::size(volume.free),
                text::size(volume.size)
            ),
            format!("the storage filter works on NTFS alone, not on ReFS: {elsewhere}"),
        ),
        Err(error) => line("volume", false, error.to_string(), elsewhere),
    }
}

/// The filter that shows layers, and those of other products, which are a frequent cause of failures.
fn filters() -> Vec<Line> {
    let drivers = match host::filter_drivers() {
        Ok(drivers) => drivers,
        Err(error) => {
            return vec![Line { required: false, ..line("filters", false, error.to_string(), ELEVATE) }];
        }
    };
    let names = |wanted: &dyn Fn(&FilterDriver) -> bool| -> Vec<String> {
        let told = |driver: &FilterDriver| {
            let group = driver.group().map(|group| format!(", {group}")).unwrap_or_default();
            format!("{} ({}{group})", driver.name.display(), driver.altitude.display())
        };
        drivers.iter().filter(|driver| wanted(driver)).map(told).collect()
    };
    let layers = names(&FilterDriver::shows_layers);
    let others = names(&|driver| !driver.shows_layers());
    let shown = if layers.is_empty() {
        "none of wcifs, unionfs and bindflt is loaded".to_owned()
    } else {
        layers.join(", ")
    };
    let mut lines = vec![Line {
        // It is loaded when it is first needed.
        required: false,
        ..line(
            "filters",
            !layers.is_empty(),
            shown,
            format!("`fltmc load wcifs` loads it. Where it is not: {ENABLE_CONTAINERS}"),
        )
    }];
    if !others.is_empty() {
        lines.push(Line {
            required: false,
            hint: Some("when files cannot be deleted or attaching fails: exclude the folders of the store and of scratches from scans".into()),
            ..line("other filters", true, others.join(", "), "")
        });
    }
    lines
}
