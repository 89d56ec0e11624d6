//! One step for one container, in a thread of its own. Each may be cut off anywhere: what is left is looked at by the next one.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use layerstone_agent::model::Status;
use layerstone_agent::{Container, Error, Result};

use crate::plan::Action;
use crate::shared::Shared;
use crate::spec::Definition;

/// The file in a container's directory which says that the agent has stopped it, and not somebody who wants it to stay so. It holds
/// when the program had been started: once it is started again, the file says nothing any more.
const MARK: &str = "stopped-by-agent";

/// Does a step. `definition` is what is wanted now; only a removal needs none.
pub(crate) fn run(shared: &Shared, action: &Action, definition: Option<&Definition>) -> Result<()> {
    match (action, definition) {
        (Action::Remove { id, .. }, _) => remove(shared, id),
        (Action::Create { .. }, Some(definition)) => create(shared, definition),
        (Action::Start { id, .. }, Some(definition)) => start_again(shared, id, definition),
        (Action::Replace { id, .. }, Some(definition)) => {
            // The old one goes only when the new one has what it needs.
            shared.agent.store().image(&definition.image, None)?;
            definition.options()?;
            remove(shared, id)?;
            create(shared, definition)
        }
        // The file was read again meanwhile, and wants it no more: the next plan removes it.
        (_, None) => Ok(()),
    }
}

fn create(shared: &Shared, definition: &Definition) -> Result<()> {
    let image = shared.agent.store().image(&definition.image, None)?;
    let container = shared.agent.create(&image, &definition.options()?)?;
    start(shared, &container)
}

/// Starts a container, and keeps hold of its shim.
pub(crate) fn start(shared: &Shared, container: &Container) -> Result<()> {
    let client = shared.agent.start(container, false)?;
    shared.adopt(client.into_child());
    Ok(())
}

fn start_again(shared: &Shared, id: &str, definition: &Definition) -> Result<()> {
    let container = shared.agent.find(id)?;
    // Whoever made it was killed before it had a scratch, or whoever removed it after it had none any more. There is nothing in it.
    if !container.state().status.is_up()
        && let Err(layerstone_store::Error::NoScratch(_)) =
            shared.agent.store().scratch(&container.config().scratch)
    {
        shared.agent.remove(&container, true)?;
        return create(shared, definition);
    }
    start(shared, &container)
}

fn remove(shared: &Shared, id: &str) -> Result<()> {
    // When this is cut off after the stop, and the file wants it again, it was not somebody else who has stopped it.
    stop_for_now(shared, id)?;
    match shared.agent.find(id) {
        // Somebody else was faster.
        Err(Error::NoContainer(_)) => Ok(()),
        found => shared.agent.remove(&found?, true),
    }
}

/// Stops a container, and notes that it was this program that did: it may start it again.
pub(crate) fn stop_for_now(shared: &Shared, id: &str) -> Result<()> {
    let find = || match shared.agent.find(id) {
        Err(Error::NoContainer(_)) => Ok(None),
        found => found.map(Some),
    };
    let Some(container) = find()?.filter(|container| container.state().status.is_up()) else {
        return Ok(());
    };
    write_mark(&container)?;
    if let Err(error) = shared.agent.stop(&container, None) {
        let _ = fs::remove_file(mark(&container));
        return Err(error);
    }
    // It may have been started again by its policy just before it was stopped.
    match find()? {
        Some(after) if after.state().started != container.state().started => write_mark(&after),
        _ => Ok(()),
    }
}

fn mark(container: &Container) -> PathBuf {
    container.directory().join(MARK)
}

fn write_mark(container: &Container) -> Result<()> {
    let Some(started) = &container.state().started else { return Ok(()) };
    let failed = |source| Error::Io { doing: "write", path: mark(container), source };
    let directory = container.directory();
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory).map_err(failed)?;
    file.write_all(started.as_bytes()).map_err(failed)?;
    file.persist(mark(container)).map(drop).map_err(|error| failed(error.error))
}

/// True when it was this program that stopped the container, and nobody has started it since.
pub(crate) fn is_stopped_for_now(container: &Container) -> bool {
    container.state().status == Status::Stopped
        && fs::read(mark(container)).is_ok_and(|started| {
            container.state().started.as_ref().is_some_and(|known| known.as_bytes() == started)
        })
}

/// Takes back what was announced of a container whose stop was cut off before it was asked for. One that was asked is just ending.
pub(crate) fn unmark(container: &Container) {
    let state = container.state();
    if state.status != Status::Stopped && !state.stop_wanted {
        // Most have none; one that cannot be removed only means one start too many.
        let _ = fs::remove_file(mark(container));
    }
}
