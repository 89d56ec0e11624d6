//! Containers on Linux.

mod agent;
mod create;
mod manage;
mod stats;

use layerstone_agent::Container;
use layerstone_agent::model::Status;
use layerstone_agent::options::RestartPolicy;
use serde::Serialize;

use super::logs;
use super::shared::agent;
use crate::args::Inspect;
use crate::args::container::ContainerVerb;
use crate::cmd::App;
use crate::error::{Error, Result};

/// Runs a verb. The exit code: that of the program for `run` and `exec`, otherwise 0.
pub(crate) fn run(app: &App, verb: &ContainerVerb) -> Result<u8> {
    let in_container = |error| Error::Run(Box::new(error));
    let done = |()| 0;
    match verb {
        ContainerVerb::Run(args) => create::run(app, args).map_err(in_container),
        ContainerVerb::Create(args) => create::create(app, args).map_err(in_container),
        ContainerVerb::Start(args) => create::start(app, args).map_err(in_container),
        ContainerVerb::Restart(args) => manage::restart(app, args).map(done),
        ContainerVerb::Healthcheck(args) => manage::healthcheck(app, args),
        ContainerVerb::Exec(args) => create::exec(app, args).map_err(in_container),
        ContainerVerb::Ps(args) => manage::ps(app, args).map(done),
        ContainerVerb::Logs(args) => logs::run(app, args).map(done),
        ContainerVerb::Wait(args) => manage::wait(app, args).map(done),
        ContainerVerb::Stop(args) => manage::stop(app, args).map(done),
        ContainerVerb::Kill(args) => manage::kill(app, args).map(done),
        ContainerVerb::Pause(args) => manage::pause(app, args).map(done),
        ContainerVerb::Unpause(args) => manage::unpause(app, args).map(done),
        ContainerVerb::Stats(args) => stats::run(app, args).map(done),
        ContainerVerb::Rm(args) => manage::rm(app, args).map(done),
        ContainerVerb::Agent(args) => agent::run(app, args).map(done),
    }
}

/// Everything that is known of a container. False when there is none of that name.
pub(crate) fn inspect(app: &App, args: &Inspect) -> Result<bool> {
    #[derive(Serialize)]
    struct Row<'a> {
        kind: &'static str,
        #[serde(flatten)]
        config: &'a layerstone_agent::model::Config,
        state: &'a layerstone_agent::model::State,
        spec: serde_json::Value,
    }
    if !app.existing_store()?.root().join("containers").is_dir() {
        return Ok(false);
    }
    // Whoever may not run containers has none.
    let Ok(agent) = agent(app) else { return Ok(false) };
    let container = match agent.find(&args.object) {
        Err(layerstone_agent::Error::NoContainer(_)) => return Ok(false),
        found => found?,
    };
    let path = container.bundle().join("config.json");
    let spec = std::fs::read(&path).map_err(|source| Error::Io { doing: "read", path, source })?;
    let row = Row {
        kind: "container",
        config: container.config(),
        state: container.state(),
        spec: serde_json::from_slice(&spec)?,
    };
    app.print(&row, |out| {
        let config = container.config();
        let state = container.state();
        let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        writeln!(out, "container {}", config.id)?;
        writeln!(out, "name       {}", config.name)?;
        writeln!(out, "image      {}  {}", config.image, config.image_id)?;
        writeln!(out, "command    {}", config.command.join(" "))?;
        writeln!(out, "state      {}", status(&container))?;
        writeln!(out, "created    {}", config.created)?;
        writeln!(out, "started    {}", optional(&state.started))?;
        writeln!(out, "runtime    {}", config.runtime)?;
        writeln!(out, "scratch    {}", config.scratch)?;
        if config.restart != RestartPolicy::No {
            writeln!(out, "restart    {} (started again {} times)", config.restart, state.restarts)?;
        }
        if let Some(check) = &config.health {
            writeln!(out, "health     {}", check.command.join(" "))?;
            for look in state.health.iter().flat_map(|health| &health.log) {
                let code = look.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
                writeln!(out, "           {}  {code:>3}  {}", look.start, look.output.trim().escape_debug())?;
            }
        }
        for (name, value) in &config.labels {
            writeln!(out, "label      {name}={value}")?;
        }
        if let Some(init) = &state.init {
            writeln!(out, "process    {}", init.pid)?;
        }
        if let Some(rootfs) = &state.rootfs {
            writeln!(out, "root       {}", rootfs.display())?;
        }
        if let Some(error) = state.exit.as_ref().and_then(|exit| exit.error.as_ref()) {
            writeln!(out, "error      {error}")?;
        }
        for volume in &config.volumes {
            let source = volume
                .source
                .as_ref()
                .map_or_else(|| "tmpfs".to_owned(), |source| source.display().to_string());
            writeln!(out, "volume     {source} -> {} ({})", volume.destination, volume.options.join(","))?;
        }
        Ok(())
    })?;
    Ok(true)
}

/// `running`, `running (healthy)`, or `stopped (137)`.
fn status(container: &Container) -> String {
    let state = container.state();
    let name = state.status.name();
    match (state.status, &state.exit, &state.health) {
        (Status::Running | Status::Paused, _, Some(health)) => format!("{name} ({})", health.status.name()),
        (Status::Running | Status::Paused, _, None) | (_, None, _) => name.to_owned(),
        (_, Some(exit), _) => format!("{name} ({})", exit.code),
    }
}
