//! What flags of `run` mean wherever containers are run.

use std::time::Duration;

use layerstone_agent::health;
use layerstone_agent::options::{HealthOptions, OnUnhealthy};

use crate::args::container::Health;
use crate::error::Result;

/// What the flags of health checks ask for.
pub(crate) fn health(args: &Health) -> Result<HealthOptions> {
    let time = |text: &Option<String>| text.as_deref().map(health::parse_duration).transpose();
    Ok(HealthOptions {
        disabled: args.no_healthcheck,
        command: args.health_cmd.as_deref().map(health::parse_command),
        interval: match args.health_interval.as_deref() {
            Some("disable") => Some(Duration::ZERO),
            _ => time(&args.health_interval)?,
        },
        timeout: time(&args.health_timeout)?,
        retries: args.health_retries,
        start_period: time(&args.health_start_period)?,
        on_unhealthy: OnUnhealthy::parse(&args.health_on_failure)?,
    })
}

/// As in podman, a name alone has an empty value.
pub(crate) fn label(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// A JSON list, or one word.
pub(crate) fn entrypoint(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec![text.to_owned()])
}
