//! `ps`, `wait`, `stop`, `kill`, `rm`.

use layerstone_agent::model::{Status, short};
use layerstone_agent::signal;
use serde::Serialize;

use super::super::shared::{each, name_of};
use crate::args::container::{Kill, Names, Ps, Rm, Stop};
use crate::cmd::App;
use crate::error::Result;
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
        #[serde(skip)]
        shown: String,
    }
    let containers = super::agent(app)?.containers()?;
    let rows: Vec<Row> = containers
        .iter()
        .filter(|container| args.all || container.state().status == Status::Running)
        .map(|container| Row {
            id: container.config().id.clone(),
            name: container.config().name.clone(),
            image: container.config().image.clone(),
            command: container.config().command.clone(),
            status: container.state().status,
            exit_code: container.state().exit.as_ref().map(|exit| exit.code),
            created: container.config().created.clone(),
            started: container.state().started.clone(),
            pid: container.state().init.as_ref().map(|init| init.pid),
            shown: super::status(container),
        })
        .collect();
    app.print(&rows, |out| {
        // As podman has it, -q prints ids and nothing else.
        if app.quiet {
            return rows.iter().try_for_each(|row| writeln!(out, "{}", short(&row.id)));
        }
        let mut table = Table::new(&["CONTAINER", "NAME", "IMAGE", "STATE", "CREATED", "COMMAND"]);
        for row in &rows {
            let command: String = row.command.join(" ").chars().take(40).collect();
            table.row([
                short(&row.id).to_owned(),
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

/// Whole exit codes of Windows, which may be larger than those of other systems.
pub(super) fn wait(app: &App, args: &Names) -> Result<()> {
    each(app, &args.containers, |agent, container| Ok(agent.wait(container)?.code().to_string()))
}

pub(super) fn stop(app: &App, args: &Stop) -> Result<()> {
    each(app, &args.containers, |agent, container| {
        agent.stop(container, args.time)?;
        Ok(name_of(container))
    })
}

pub(super) fn kill(app: &App, args: &Kill) -> Result<()> {
    let signal = signal::parse(&args.signal)?;
    each(app, &args.containers, |agent, container| {
        agent.kill(container, signal)?;
        Ok(name_of(container))
    })
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
