//! What monitoring wants to know, in Prometheus' text format.
//!
//! Totals count since the agent was started; those of a container go with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use layerstone_agent::model::{HealthStatus, Status};
use layerstone_agent::{Container, Stats};

use crate::events::{Event, Kind};

/// The media type of what [`Metrics::text`] gives.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the latencies that are told apart, in seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

#[derive(Debug, Default)]
struct Latency {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

#[derive(Debug, Default)]
struct OfContainer {
    starts: u64,
    restarts: u64,
    exits: BTreeMap<u8, u64>,
}

#[derive(Debug, Default)]
struct Counts {
    containers: BTreeMap<String, OfContainer>,
    events: BTreeMap<Kind, u64>,
    requests: BTreeMap<(&'static str, &'static str, u16), u64>,
    latencies: BTreeMap<(&'static str, &'static str), Latency>,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

/// A file of metrics that is being written.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

impl Metrics {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event.
    pub(crate) fn count(&self, event: &Event) {
        let mut counts = self.counts();
        *counts.events.entry(event.kind).or_default() += 1;
        let Some(of) = event.container.as_ref().filter(|of| !of.id.is_empty()) else { return };
        if event.kind == Kind::Remove {
            counts.containers.remove(&of.id);
            return;
        }
        let container = counts.containers.entry(of.id.clone()).or_default();
        match event.kind {
            Kind::Start => container.starts += 1,
            Kind::Restart => container.restarts += 1,
            Kind::Die => *container.exits.entry(event.exit_code.unwrap_or(0)).or_default() += 1,
            _ => {}
        }
    }

    /// Counts a request that was answered.
    pub(crate) fn answered(&self, method: &'static str, path: &'static str, status: u16, took: Duration) {
        let mut counts = self.counts();
        *counts.requests.entry((method, path, status)).or_default() += 1;
        let latency = counts.latencies.entry((method, path)).or_default();
        let seconds = took.as_secs_f64();
        for (bucket, bound) in latency.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        latency.count += 1;
        latency.sum += seconds;
    }

    /// Everything, with what `containers` use now.
    pub(crate) fn text(&self, containers: &[Container]) -> String {
        let mut page = Page::default();
        states(&mut page, containers);
        usage(&mut page, containers);
        let counts = self.counts();
        of_containers(&mut page, containers, &counts);
        page.family("layerstone_events_total", "counter", "Events since the agent was started, by type.");
        for (kind, count) in &counts.events {
            let kind = serde_json::to_value(kind).unwrap_or_default();
            page.sample("layerstone_events_total", &[("type", kind.as_str().unwrap_or("?"))], count);
        }
        of_api(&mut page, &counts);
        page.0
    }
}

fn states(page: &mut Page, containers: &[Container]) {
    page.family("layerstone_containers", "gauge", "Containers by state.");
    for status in [Status::Created, Status::Running, Status::Paused, Status::Restarting, Status::Stopped] {
        let count = containers.iter().filter(|container| container.state().status == status).count();
        page.sample("layerstone_containers", &[("state", status.name())], count);
    }
    page.family("layerstone_container_up", "gauge", "1 while the container's program runs.");
    for container in containers {
        let up = u8::from(matches!(container.state().status, Status::Running | Status::Paused));
        page.sample("layerstone_container_up", &labels(container), up);
    }
    page.family(
        "layerstone_container_health",
        "gauge",
        "1 when healthy, 0 when not, 0.5 when not known yet.",
    );
    for container in containers {
        if let Some(health) = &container.state().health {
            let value = match health.status {
                HealthStatus::Healthy => 1.0,
                HealthStatus::Starting => 0.5,
                HealthStatus::Unhealthy => 0.0,
            };
            page.sample("layerstone_container_health", &labels(container), value);
        }
    }
    page.family("layerstone_container_last_exit_code", "gauge", "How the container's program ended last.");
    for container in containers {
        if let Some(exit) = &container.state().exit {
            page.sample("layerstone_container_last_exit_code", &labels(container), exit.code);
        }
    }
}

fn labels(container: &Container) -> [(&'static str, &str); 3] {
    let config = container.config();
    [("id", config.short_id()), ("name", &config.name), ("image", &config.image)]
}

fn usage(page: &mut Page, containers: &[Container]) {
    let runs = |container: &&Container| matches!(container.state().status, Status::Running | Status::Paused);
    // One that ends just now uses nothing.
    let used: Vec<(&Container, Stats)> = containers
        .iter()
        .filter(runs)
        .filter_map(|container| Stats::of(container).ok().map(|stats| (container, stats)))
        .collect();
    type Value = fn(&Stats) -> Option<f64>;
    let families: [(&str, &str, &str, Value); 6] = [
        ("layerstone_container_cpu_seconds_total", "counter", "Processor time.", |stats| {
            stats.usage.cpu_ns.map(|ns| ns as f64 / 1e9)
        }),
        ("layerstone_container_memory_bytes", "gauge", "Memory without what is only cached.", |stats| {
            stats.usage.memory.map(|bytes| bytes as f64)
        }),
        ("layerstone_container_memory_limit_bytes", "gauge", "The most memory that it may use.", |stats| {
            stats.usage.memory_limit.map(|bytes| bytes as f64)
        }),
        ("layerstone_container_pids", "gauge", "Processes and threads.", |stats| {
            stats.usage.pids.map(|pids| pids as f64)
        }),
        ("layerstone_container_network_received_bytes_total", "counter", "Bytes received.", |stats| {
            stats.network.map(|network| network.received as f64)
        }),
        ("layerstone_container_network_sent_bytes_total", "counter", "Bytes sent.", |stats| {
            stats.network.map(|network| network.sent as f64)
        }),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for (container, stats) in &used {
            if let Some(value) = value(stats) {
                page.sample(name, &labels(container), value);
            }
        }
    }
}

fn of_containers(page: &mut Page, containers: &[Container], counts: &Counts) {
    let none = OfContainer::default();
    let of = |container: &Container| counts.containers.get(&container.config().id).unwrap_or(&none);
    let starts = "Starts of the container's program by somebody, since the agent was started.";
    page.family("layerstone_container_starts_total", "counter", starts);
    for container in containers {
        page.sample("layerstone_container_starts_total", &labels(container), of(container).starts);
    }
    let restarts = "Starts of the container's program by its restart policy, since the agent was started.";
    page.family("layerstone_container_restarts_total", "counter", restarts);
    for container in containers {
        page.sample("layerstone_container_restarts_total", &labels(container), of(container).restarts);
    }
    let exits = "Ends of the container's program by exit code, since the agent was started.";
    page.family("layerstone_container_exits_total", "counter", exits);
    for container in containers {
        for (code, count) in &of(container).exits {
            let code = code.to_string();
            let [id, name, image] = labels(container);
            let labels = [id, name, image, ("code", code.as_str())];
            page.sample("layerstone_container_exits_total", &labels, count);
        }
    }
}

fn of_api(page: &mut Page, counts: &Counts) {
    page.family("layerstone_api_requests_total", "counter", "Requests to the API that were answered.");
    for ((method, path, status), count) in &counts.requests {
        let status = status.to_string();
        let labels = [("method", *method), ("path", *path), ("status", status.as_str())];
        page.sample("layerstone_api_requests_total", &labels, count);
    }
    let help = "Time until the first byte of the answer.";
    page.family("layerstone_api_request_seconds", "histogram", help);
    for ((method, path), latency) in &counts.latencies {
        let name = "layerstone_api_request_seconds_bucket";
        for (bucket, bound) in latency.buckets.iter().zip(BOUNDS) {
            let bound = bound.to_string();
            page.sample(name, &[("method", *method), ("path", *path), ("le", bound.as_str())], bucket);
        }
        page.sample(name, &[("method", *method), ("path", *path), ("le", "+Inf")], latency.count);
        let labels = [("method", *method), ("path", *path)];
        page.sample("layerstone_api_request_seconds_sum", &labels, latency.sum);
        page.sample("layerstone_api_request_seconds_count", &labels, latency.count);
    }
}
