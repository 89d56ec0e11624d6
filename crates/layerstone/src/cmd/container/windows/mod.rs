//! Containers on Windows.

mod create;
mod manage;

use layerstone_agent::{Container, Error as AgentError};
use serde::Serialize;

use super::logs;
use super::shared::agent;
use crate::args::Inspect;
use crate::args::container::ContainerVerb;
use crate::cmd::App;
use crate::error::{Error, Result};

/// Runs a verb. The exit code: that of the program for `run`, otherwise 0.
pub(crate) fn run(app: &App, verb: &ContainerVerb) -> Result<u8> {
    let done = |()| 0;
    match verb {
        ContainerVerb::Run(args) => create::run(app, args).map_err(|error| Error::Run(Box::new(error))),
        ContainerVerb::Ps(args) => manage::ps(app, args).map(done),
        ContainerVerb::Logs(args) => logs::run(app, args).map(done),
        ContainerVerb::Wait(args) => manage::wait(app, args).map(done),
        ContainerVerb::Stop(args) => manage::stop(app, args).map(done),
        ContainerVerb::Kill(args) => manage::kill(app, args).map(done),
        ContainerVerb::Rm(args) => manage::rm(app, args).map(done),
        ContainerVerb::Exec(_) => Err(Error::Run(Box::new(not_yet("run another program in a container")))),
        // The service freezes virtual machines alone.
        ContainerVerb::Pause(_) | ContainerVerb::Unpause(_) => Err(AgentError::Unsupported {
            doing: "pause a container",
            missing: "containers that share the kernel of Windows cannot be frozen".to_owned(),
        }
        .into()),
        ContainerVerb::Stats(_) => Err(not_yet("show what containers use")),
        ContainerVerb::Create(_)
        | ContainerVerb::Start(_)
        | ContainerVerb::Restart(_)
        | ContainerVerb::Healthcheck(_)
        | ContainerVerb::Agent(_) => Err(not_yet("do that with containers")),
    }
}

/// What containers of Windows could do, and this version cannot.
fn not_yet(doing: &'static str) -> Error {
    let missing = "this version does it on Linux alone".to_owned();
    AgentError::Unsupported { doing, missing }.into()
}

/// Everything that is known of a container. False when there is none of that name.
pub(crate) fn inspect(app: &App, args: &Inspect) -> Result<bool> {
    #[derive(Serialize)]
    struct Row<'a> {
        kind: &'static str,
        #[serde(flatten)]
        config: &'a layerstone_agent::model::Config,
        state: &'a layerstone_agent::model::State,
        process: serde_json::Value,
    }
    // Whoever may not run containers has none.
    let Ok(agent) = agent(app) else { return Ok(false) };
    let container = match agent.find(&args.object) {
        Err(AgentError::NoContainer(_)) => return Ok(false),
        found => found?,
    };
    let path = container.process_file();
    let process = std::fs::read(&path).map_err(|source| Error::Io { doing: "read", path, source })?;
    let row = Row {
        kind: "container",
        config: container.config(),
        state: container.state(),
        process: serde_json::from_slice(&process)?,
    };
    app.print(&row, |out| {
        let config = container.config();
        let state = container.state();
        writeln!(out, "container {}", config.id)?;
        writeln!(out, "name       {}", config.name)?;
        writeln!(out, "image      {}  {}", config.image, config.image_id)?;
        writeln!(out, "command    {}", config.command.join(" "))?;
        writeln!(out, "state      {}", status(&container))?;
        writeln!(out, "created    {}", config.created)?;
        writeln!(out, "started    {}", state.started.as_deref().unwrap_or("-"))?;
        writeln!(out, "runtime    {}", config.runtime)?;
        writeln!(out, "scratch    {}", config.scratch)?;
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
            let source = volume.source.as_deref().unwrap_or(std::path::Path::new("-")).display();
            writeln!(out, "volume     {source} -> {} ({})", volume.destination, volume.options.join(","))?;
        }
        Ok(())
    })?;
    Ok(true)
}

/// `running`, or `stopped (137)`.
fn status(container: &Container) -> String {
    let state = container.state();
    match &state.exit {
        Some(exit) => format!("{} ({})", state.status.name(), exit.code),
        None => state.status.name().to_owned(),
    }
}
