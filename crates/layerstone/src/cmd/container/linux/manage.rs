//! `ps`, `wait`, `start`, `restart`, `healthcheck`, `stop`, `kill`, `pause`, `unpause`, `rm`.

use std::collections::BTreeMap;

use layerstone_agent::model::{HealthStatus, Status};
use layerstone_agent::{Client, Container, Error as AgentError, signal};
use serde::Serialize;

use super::super::shared::{each, name_of};
use crate::args::container::{Healthcheck, Kill, Names, Ps, Rm, Stop};
use crate::cmd::App;
use crate::error::{Error, Result};
use crate::ui::table::Table;

pub(super) fn ps(app: &App, args: &Ps) -> Result<()> {
    #[derive(Serialize)]
    struct Row {
        id: String,
        name: String,
        image: String,
        command: Vec<String>,
        status: Status,
        exit_code: Option<u8>,
        created: String,
        started: Option<String>,
        pid: Option<i32>,
        restarts: u32,
        health: Option<HealthStatus>,
        labels: BTreeMap<String, String>,
        #[serde(skip)]
        shown: String,
    }
    let agent = super::agent(app)?;
    let containers = agent.containers()?;
    let filters = args.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>>>()?;
    // As podman has it, who asks for a state means stopped ones, too.
    let all = args.all || filters.iter().any(|filter| matches!(filter, Filter::Status(_)));
    let rows: Vec<Row> = containers
        .iter()
        .filter(|container| all || container.state().status.is_up())
        .filter(|container| filters.iter().all(|filter| filter.fits(container)))
        .map(|container| Row {
            id: container.config().id.clone(),
            name: container.config().name.clone(),
            image: container.config().image.clone(),
            command: container.config().command.clone(),
            status: container.state().status,
            exit_code: exit_code(container),
            created: container.config().created.clone(),
            started: container.state().started.clone(),
            pid: container.state().init.as_ref().map(|init| init.pid),
            restarts: container.state().restarts,
            health: container.state().health.as_ref().map(|health| health.status),
            labels: container.config().labels.clone(),
            shown: super::status(container),
        })
        .collect();
    app.print(&rows, |out| {
        // As podman has it, -q prints ids and nothing else.
        if app.quiet {
            return rows
                .iter()
                .try_for_each(|row| writeln!(out, "{}", layerstone_agent::model::short(&row.id)));
        }
        let mut table = Table::new(&["CONTAINER", "NAME", "IMAGE", "STATE", "CREATED", "COMMAND"]);
        for row in &rows {
            let command: String = row.command.join(" ").chars().take(40).collect();
            table.row([
                layerstone_agent::model::short(&row.id).to_owned(),
                row.name.clone(),
                row.image.clone(),
                row.shown.clone(),
                row.created.chars().take(19).collect(),
                command.escape_debug().to_string(),
            ]);
        }
        table.print(out)
    })
}

/// How its program ended, unless it runs again.
fn exit_code(container: &Container) -> Option<u8> {
    let state = container.state();
    let ended = !matches!(state.status, Status::Running | Status::Paused);
    state.exit.as_ref().filter(|_| ended).map(|exit| exit.code)
}

/// What of a container has to be so for it to be listed.
enum Filter {
    Label(String, Option<String>),
    Name(String),
    Status(String),
    Health(String),
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some(("label", label)) => Ok(match label.split_once('=') {
                Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
                None => Filter::Label(label.to_owned(), None),
            }),
            Some(("name", part)) => Ok(Filter::Name(part.to_owned())),
            // podman calls it so.
            Some(("status", "exited")) => Ok(Filter::Status(Status::Stopped.name().to_owned())),
            Some(("status", state)) => Ok(Filter::Status(state.to_owned())),
            Some(("health", state)) => Ok(Filter::Health(state.to_owned())),
            _ => Err(Error::Usage(format!(
                "`{text}` is no condition: label=NAME, label=NAME=VALUE, name=PART, status=STATE or health=STATE"
            ))),
        }
    }

    fn fits(&self, container: &Container) -> bool {
        let (config, state) = (container.config(), container.state());
        match self {
            Filter::Label(name, value) => {
                config.labels.get(name).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
            Filter::Name(part) => config.name.contains(part),
            Filter::Status(wanted) => state.status.name() == wanted,
            Filter::Health(wanted) => {
                state.health.as_ref().is_some_and(|health| health.status.name() == wanted)
            }
        }
    }
}

pub(super) fn wait(app: &App, args: &Names) -> Result<()> {
    each(app, &args.containers, |agent, container| Ok(agent.wait(container)?.code.to_string()))
}

pub(super) fn start(app: &App, names: &[String]) -> Result<()> {
    each(app, names, |agent, container| {
        // As podman has it, one that runs is fine.
        if !container.state().status.is_up() {
            agent.start(container, false)?;
        }
        Ok(name_of(container))
    })
}

pub(super) fn restart(app: &App, args: &Stop) -> Result<()> {
    each(app, &args.containers, |agent, container| {
        agent.restart(container, args.time)?;
        Ok(name_of(container))
    })
}

pub(super) fn healthcheck(app: &App, args: &Healthcheck) -> Result<u8> {
    let container = super::agent(app)?.find(&args.container)?;
    if container.config().health.is_none() {
        return Err(AgentError::NoHealthCheck(name_of(&container)).into());
    }
    let look = running(&container, "check the health of")?.check()?;
    let is_fine = look.exit_code == Some(0);
    app.print(&look, |out| if is_fine { Ok(()) } else { writeln!(out, "unhealthy") })?;
    Ok(u8::from(!is_fine))
}

pub(super) fn stop(app: &App, args: &Stop) -> Result<()> {
    each(app, &args.containers, |agent, container| {
        agent.stop(container, args.time)?;
        Ok(name_of(container))
    })
}

pub(super) fn kill(app: &App, args: &Kill) -> Result<()> {
    let signal = signal::parse(&args.signal)?;
    each(app, &args.containers, |_, container| {
        running(container, "send a signal to")?.kill(signal)?;
        Ok(name_of(container))
    })
}

pub(super) fn pause(app: &App, args: &Names) -> Result<()> {
    each(app, &args.containers, |_, container| {
        running(container, "pause")?.pause()?;
        Ok(name_of(container))
    })
}

pub(super) fn unpause(app: &App, args: &Names) -> Result<()> {
    each(app, &args.containers, |_, container| {
        running(container, "unpause")?.resume()?;
        Ok(name_of(container))
    })
}

/// The shim of a container that runs.
fn running(container: &Container, doing: &'static str) -> Result<Client> {
    match container.state().status {
        status if status.is_up() => Ok(Client::connect(container)?),
        status => Err(AgentError::State { doing, name: name_of(container), state: status.name() }.into()),
    }
}

pub(super) fn rm(app: &App, args: &Rm) -> Result<()> {
    let names = if args.all {
        super::agent(app)?.containers()?.iter().map(|container| container.config().id.clone()).collect()
    } else {
        args.containers.clone()
    };
    each(app, &names, |agent, container| {
        agent.remove(container, args.force)?;
        Ok(name_of(container))
    })
}
