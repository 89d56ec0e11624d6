//! `stats`.

use std::io::{self, Write as _};
use std::time::Duration;

use layerstone_agent::{Agent, Container, NetworkUsage, Stats, Usage};
use serde::Serialize;

use crate::args::container::Stats as Args;
use crate::cmd::{App, stdout_failed};
use crate::error::Result;
use crate::ui::table::Table;
use crate::ui::text;

/// Between the two looks that processor time is told from, when only one line is wanted.
const MOMENT: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    cpu_percent: Option<f64>,
    #[serde(flatten)]
    usage: Usage,
    network: Option<NetworkUsage>,
}

pub(super) fn run(app: &App, args: &Args) -> Result<()> {
    let agent = super::agent(app)?;
    let interval = Duration::from_secs(args.interval.max(1).into());
    let mut before = look(&agent, &args.containers)?;
    std::thread::sleep(MOMENT);
    loop {
        let now = look(&agent, &args.containers)?;
        print(app, &rows(&before, &now), args.no_stream)?;
        if args.no_stream {
            return Ok(());
        }
        before = now;
        std::thread::sleep(interval);
    }
}

fn look(agent: &Agent, names: &[String]) -> Result<Vec<(Container, Stats)>> {
    let containers = if names.is_empty() {
        let mut all = agent.containers()?;
        all.retain(|container| container.state().status.is_up());
        all
    } else {
        names.iter().map(|name| agent.find(name)).collect::<Result<_, _>>()?
    };
    let look = |container: Container| Ok(Stats::of(&container).map(|stats| (container, stats))?);
    containers.into_iter().map(look).collect()
}

fn rows(before: &[(Container, Stats)], now: &[(Container, Stats)]) -> Vec<Row> {
    let row = |(container, stats): &(Container, Stats)| {
        let id = &container.config().id;
        let earlier = before.iter().find(|(container, _)| container.config().id == *id);
        Row {
            id: id.clone(),
            name: container.name().to_owned(),
            cpu_percent: earlier.and_then(|(_, earlier)| stats.cpu_percent(earlier)),
            usage: stats.usage.clone(),
            network: stats.network,
        }
    };
    now.iter().map(row).collect()
}

/// As JSON, one document, or one a line where they go on and on.
fn print(app: &App, rows: &[Row], once: bool) -> Result<()> {
    if app.json && !once {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, rows)?;
        return writeln!(out).and_then(|()| out.flush()).map_err(stdout_failed);
    }
    app.print(&rows, |out| {
        let mut table = Table::new(&[
            "CONTAINER",
            "NAME",
            ">CPU",
            ">MEMORY",
            ">LIMIT",
            ">PROCESSES",
            ">RECEIVED",
            ">SENT",
        ]);
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), text::size);
        for row in rows {
            table.row([
                layerstone_agent::model::short(&row.id).to_owned(),
                row.name.clone(),
                row.cpu_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1}%")),
                size(row.usage.memory),
                size(row.usage.memory_limit),
                row.usage.pids.map_or_else(|| "-".to_owned(), |pids| pids.to_string()),
                size(row.network.map(|network| network.received)),
                size(row.network.map(|network| network.sent)),
            ]);
        }
        table.print(out)
    })
}
