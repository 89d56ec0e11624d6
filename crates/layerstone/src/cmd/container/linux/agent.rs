//! `agent`.

use std::sync::Arc;

use layerstone_supervise::plan::Phase;
use layerstone_supervise::spec::Spec;
use layerstone_supervise::{Settings, preview, serve};
use serde::Serialize;

use crate::args::container::Agent as Args;
use crate::cmd::App;
use crate::error::{Error, Result};

pub(super) fn run(app: &App, args: &Args) -> Result<()> {
    if args.check {
        return check(app, args);
    }
    let agent = super::agent(app)?;
    let settings = Settings { spec: args.spec.clone(), stop_on_exit: args.stop_on_exit };
    let quiet = app.quiet;
    let log = move |line: &str| {
        if !quiet {
            eprintln!("{} {line}", jiff::Timestamp::now());
        }
    };
    Ok(serve(agent, settings, args.socket.clone(), Arc::new(log))?)
}

/// Says what would be done, and does nothing. Who is not root is only told whether the file is right.
fn check(app: &App, args: &Args) -> Result<()> {
    #[derive(Serialize)]
    struct Row {
        container: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        action: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<Phase>,
    }
    let Some(path) = &args.spec else {
        return Err(Error::Usage("--check needs --spec FILE".to_owned()));
    };
    let loaded = Spec::load(path)?;
    let agent = super::agent(app);
    let (actions, mut phases) = match agent {
        Ok(agent) => preview(&agent, path)?,
        Err(Error::Agent(layerstone_agent::Error::Unsupported { .. })) => {
            app.remark("what would be done is not shown: looking at containers needs root");
            Default::default()
        }
        Err(error) => return Err(error),
    };
    let mut rows: Vec<Row> = actions
        .iter()
        .map(|action| Row {
            container: action.name().to_owned(),
            action: Some(action.verb()),
            state: phases.remove(action.name()),
        })
        .collect();
    rows.extend(loaded.definitions.iter().filter_map(|definition| {
        let state = phases.remove(&definition.name);
        let is_new = !actions.iter().any(|action| action.name() == definition.name);
        is_new.then(|| Row { container: definition.name.clone(), action: None, state })
    }));
    app.print(&rows, |out| {
        for row in &rows {
            let what = match (row.action, &row.state) {
                (Some(action), _) => action.to_owned(),
                (None, Some(Phase::Waiting { on, condition, .. })) => {
                    format!("wait until {on} is {}", condition.name())
                }
                (None, Some(Phase::Conflict { by })) => {
                    format!("its name is that of container {by}, which is not the file's")
                }
                (None, Some(Phase::Failed { reason })) => format!("nothing: it has failed ({reason})"),
                (None, Some(_)) => "nothing".to_owned(),
                (None, None) => "fine".to_owned(),
            };
            writeln!(out, "{}: {what}", row.container)?;
        }
        Ok(())
    })
}
