//! The file of wanted containers.
//!
//! ```yaml
//! containers:
//!   db:
//!     image: registry.example/db:16
//!     volumes: [./data:/var/lib/db]
//!     health: {command: [db-ready], interval: 5s}
//!   web:
//!     image: registry.example/web:3
//!     env: {DB: localhost}
//!     depends_on: {db: {condition: healthy}}
//! ```
//!
//! `docs/agent.md` describes each key, `docs/agent-spec.schema.json` is the same for programs. Keys that are not known are refused:
//! a limit that was misspelt is a limit that does not apply.
//!
//! The types here are what is written; [`Wanted`](crate::plan::Wanted) and [`Definition`] are what it means. The same types are the
//! bodies of requests to the API.

mod check;
mod definition;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use layerstone_agent::options::{OnUnhealthy, RestartPolicy};
use serde::{Deserialize, Serialize};

pub use definition::{Definition, LABEL_DEFINITION, LABEL_DEPENDS_ON, LABEL_PROJECT};
pub use value::{DependsOn, Lines, Period, Security};

use crate::error::{Error, IoContext as _, Result};

/// The largest file that is read, in bytes.
pub const MAX_FILE: u64 = 4 << 20;

/// The project of a file that names none.
pub const DEFAULT_PROJECT: &str = "default";

/// A whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What tells its containers from those of other files.
    #[serde(default = "default_project", deserialize_with = "value::name")]
    pub project: String,
    /// The containers by name.
    pub containers: BTreeMap<String, ContainerSpec>,
}

fn default_project() -> String {
    DEFAULT_PROJECT.to_owned()
}

/// One container.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// The image, which has to be in the store when the container is made.
    pub image: String,
    /// Instead of the image's command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Instead of the image's entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Variables; they come before those of files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files of variables, one a line.
    #[serde(default, skip_serializing_if = "Lines::is_empty")]
    pub env_file: Lines,
    /// Where the program starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Who it runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What of the host is seen in it: `SOURCE:DESTINATION[:OPTIONS]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// File systems in memory: `DESTINATION[:OPTIONS]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// Nothing else can be written to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// The most bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::size")]
    pub memory: Option<u64>,
    /// The most processors.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::cpus")]
    pub cpus: Option<f64>,
    /// The most processes; -1 for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// More capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Fewer capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// Which system calls it can make, and what set-user-id programs give it.
    #[serde(default, skip_serializing_if = "Security::is_default")]
    pub security: Security,
    /// `none`, `host` or `ns:PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::network")]
    pub network: Option<String>,
    /// Its host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Its first process only reaps and passes signals on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub init: bool,
    /// What asks it to stop.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::signal")]
    pub stop_signal: Option<String>,
    /// How long it has to stop then: whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::whole_seconds")]
    pub stop_timeout: Option<Period>,
    /// Whether it is started again when its program has ended. In a file, always, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "value::restart")]
    pub restart: Option<RestartPolicy>,
    /// How its health is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// What has to be there before it is started. No part of what the container is.
    #[serde(default, skip_serializing)]
    pub depends_on: DependsOn,
    /// Words about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It has a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// `youki`, `runc`, `crun`, or the path of a program like them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How a container's health is looked at. What is not said is the image's, or podman's default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSpec {
    /// Not even the image's check is made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable: bool,
    /// What is executed: a line for a shell, or a list of words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Lines>,
    /// Between two looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How long one may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// So many failures in a row make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// After the start, failures do not count for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Period>,
    /// What happens then: `none`, `kill`, `restart` or `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnUnhealthy>,
}

/// When a container that another one depends on is far enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Its program runs.
    #[default]
    Started,
    /// Its health check has succeeded.
    Healthy,
    /// Its program has ended with exit code 0.
    Completed,
}

impl Condition {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Started => "started",
            Condition::Healthy => "healthy",
            Condition::Completed => "completed",
        }
    }
}

/// A file, checked, and what it means.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Where it was read.
    pub path: PathBuf,
    /// What tells its containers from others.
    pub project: String,
    /// What it wants, in the order of names.
    pub definitions: Vec<Definition>,
}

impl Spec {
    /// Reads YAML; `path` is for messages.
    ///
    /// # Errors
    /// When it is not YAML, or a key or value is not one of those that there are; with the line.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        // As YAML 1.2 has it: `no` and `yes` are words.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let location = error.location();
            Error::Syntax {
                path: path.to_path_buf(),
                line: location.map_or(0, |location| location.line()),
                column: location.map_or(0, |location| location.column()),
                message: value::plain(&error),
            }
        })
    }

    /// Reads and checks a file, and the files that it names.
    ///
    /// # Errors
    /// When one cannot be read, or something in it cannot be.
    pub fn load(path: &Path) -> Result<Loaded> {
        let mut file = File::open(path).doing("open", path)?;
        let size = file.metadata().doing("look at", path)?.len();
        let mut text = String::new();
        let read = (&mut file).take(MAX_FILE + 1).read_to_string(&mut text).doing("read", path)? as u64;
        if read > MAX_FILE {
            return Err(Error::TooLarge { path: path.to_path_buf(), size, most: MAX_FILE });
        }
        let spec = Self::parse(&text, path)?;
        let absolute = std::path::absolute(path).doing("find", path)?;
        let here = absolute.parent().unwrap_or(Path::new("/"));
        let mut problems = check::problems(&spec);
        let mut definitions = Vec::new();
        for (name, container) in &spec.containers {
            match Definition::new(name, container, &spec.project, here) {
                Ok(definition) => definitions.push(definition),
                Err(message) => {
                    problems.push(crate::error::Problem::Value { container: name.clone(), message })
                }
            }
        }
        if problems.is_empty() {
            Ok(Loaded { path: absolute, project: spec.project, definitions })
        } else {
            Err(Error::Impossible { path: path.to_path_buf(), problems })
        }
    }
}

#[cfg(test)]
mod tests;
