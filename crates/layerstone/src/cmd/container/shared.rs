//! What verbs of containers do wherever there are containers.

use layerstone_agent::{Agent, Container};

use crate::cmd::App;
use crate::error::{Error, Result};

pub(super) fn agent(app: &App) -> Result<Agent> {
    Ok(Agent::open(app.existing_store()?)?)
}

/// Does something to each container, in order; one that fails does not keep the others from it.
pub(super) fn each(
    app: &App,
    names: &[String],
    mut work: impl FnMut(&Agent, &Container) -> Result<String>,
) -> Result<()> {
    let agent = agent(app)?;
    let mut failed = Vec::new();
    for name in names {
        let done = agent.find(name).map_err(Error::from).and_then(|container| {
            let said = work(&agent, &container)?;
            app.print(&said, |out| writeln!(out, "{said}"))
        });
        if let Err(error) = done {
            failed.push(error);
        }
    }
    match failed.len() {
        0 => Ok(()),
        1 if names.len() == 1 => Err(failed.remove(0)),
        count => {
            for error in failed {
                eprintln!("{}", error.report());
            }
            Err(Error::Some { failed: count, all: names.len() })
        }
    }
}

pub(super) fn name_of(container: &Container) -> String {
    container.name().to_owned()
}
