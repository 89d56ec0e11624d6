//! Containers as the API shows them.

use std::collections::BTreeMap;

use layerstone_agent::Container;
use layerstone_agent::model::{Exit, Health, Status};
use layerstone_agent::options::{HealthCheck, Limits, Network, Volume};
use layerstone_store::Store;
use serde::Serialize;

/// What a list shows.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    id: String,
    name: String,
    image: String,
    command: Vec<String>,
    created: String,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    /// Of the first process, on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<Exit>,
    restarts: u32,
    stop_wanted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    labels: BTreeMap<String, String>,
}

/// Everything that is known.
#[derive(Debug, Serialize)]
pub(super) struct Full {
    #[serde(flatten)]
    summary: Summary,
    image_id: String,
    manifest: String,
    user: String,
    workdir: String,
    hostname: String,
    network: Network,
    volumes: Vec<Volume>,
    limits: Limits,
    read_only: bool,
    tty: bool,
    init: bool,
    stop_signal: i32,
    stop_timeout: u32,
    runtime: String,
    restart: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<HealthCheck>,
    scratch: String,
}

impl From<&Container> for Summary {
    fn from(container: &Container) -> Self {
        let (config, state) = (container.config(), container.state());
        Summary {
            id: config.id.clone(),
            name: config.name.clone(),
            image: config.image.clone(),
            command: config.command.clone(),
            created: config.created.clone(),
            status: state.status,
            started: state.started.clone(),
            pid: state.init.as_ref().map(|init| init.pid),
            exit: state.exit.clone(),
            restarts: state.restarts,
            stop_wanted: state.stop_wanted,
            health: state.health.clone(),
            labels: config.labels.clone(),
        }
    }
}

impl Full {
    pub(super) fn id(&self) -> &str {
        &self.summary.id
    }
}

impl From<&Container> for Full {
    fn from(container: &Container) -> Self {
        let config = container.config();
        Full {
            summary: container.into(),
            image_id: config.image_id.to_string(),
            manifest: config.manifest.to_string(),
            user: config.user.clone(),
            workdir: config.workdir.clone(),
            hostname: config.hostname.clone(),
            network: config.network.clone(),
            volumes: config.volumes.clone(),
            limits: config.limits.clone(),
            read_only: config.read_only,
            tty: config.tty,
            init: config.init,
            stop_signal: config.stop_signal,
            stop_timeout: config.stop_timeout,
            runtime: config.runtime.to_string(),
            restart: config.restart.to_string(),
            health_check: config.health.clone(),
            scratch: config.scratch.clone(),
        }
    }
}

/// That the agent is there.
#[derive(Debug, Serialize)]
pub(super) struct Alive {
    status: &'static str,
    version: &'static str,
    root: String,
    pid: u32,
}

impl Alive {
    pub(super) fn new(store: &Store) -> Self {
        Alive {
            status: "ok",
            version: env!("CARGO_PKG_VERSION"),
            root: store.root().display().to_string(),
            pid: std::process::id(),
        }
    }
}
