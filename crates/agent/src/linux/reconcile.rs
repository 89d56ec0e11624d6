//! What is true of a container whose shim is gone.
//!
//! A container does not outlive its shim: nobody would take its output, or know how it ended. Whoever looks at a container and
//! finds that its shim is dead puts it in order: kills what is left, detaches its scratch, removes its control group, and
//! notes that it has stopped. The shim's own clean-up and this one are the same steps, so it does not matter where the shim
//! was when it died.

use layerstone_store::Store;

use super::cgroup::Cgroup;
use super::container::Container;
use super::{now, process};
use crate::error::Result;
use crate::model::{Exit, FORMAT, State, Status};

/// The exit code of a container that was killed: 128 + SIGKILL.
pub(super) const KILLED: u8 = 137;

/// True when somebody looks after the container, or nobody has to.
fn is_in_order(container: &Container) -> Result<bool> {
    Ok(match (&container.state.shim, container.state.status) {
        (_, Status::Stopped) => true,
        (Some(shim), _) => process::is_alive(shim)?,
        (None, _) => {
            container.state.kept
                || !container.config.auto_remove
                || process::is_alive(&container.config.creator)?
        }
    })
}

/// Puts a container in order whose shim is dead. False when there is none any more.
pub(super) fn reconcile(store: &Store, container: &mut Container) -> Result<bool> {
    if is_in_order(container)? {
        return Ok(true);
    }
    let Some(_lock) = container.lock()? else { return Ok(false) };
    container.reload_state()?;
    if is_in_order(container)? {
        return Ok(true);
    }
    if let Some(shim) = &container.state.shim {
        process::settle(shim)?;
    }
    dismantle(store, container)?;
    // A shim that died while it attached has left what only a sweep removes.
    store.sweep_attachments()?;
    if container.config.auto_remove {
        remove(store, container)?;
        return Ok(false);
    }
    let exit = container.noted_exit()?.unwrap_or_else(|| Exit {
        code: KILLED,
        signal: Some(crate::signal::KILL),
        oom_killed: false,
        error: Some("its shim has died, and the container with it".to_owned()),
        finished: now(),
    });
    container.state = State {
        format: FORMAT,
        status: Status::Stopped,
        shim: None,
        init: None,
        rootfs: None,
        started: container.state.started.take(),
        exit: Some(exit),
        restarts: container.state.restarts,
        stop_wanted: container.state.stop_wanted,
        health: None,
        kept: container.state.kept,
    };
    container.write_state()?;
    Ok(true)
}

/// Ends what runs of a container and takes away what it needed for that. Each step may have been done before.
pub(super) fn dismantle(store: &Store, container: &Container) -> Result<()> {
    process::kill_helpers(&container.config.id)?;
    if let Some(init) = &container.state.init
        && let Some(descriptor) = process::open(init)?
    {
        process::kill(&descriptor)?;
    }
    let cgroup = Cgroup::of(&container.config.id)?;
    cgroup.kill()?;
    cgroup.remove()?;
    detach(store, container)?;
    container.remove_run_directory()
}

/// Detaches the scratch, if it is attached.
pub(super) fn detach(store: &Store, container: &Container) -> Result<()> {
    match store.detach(&container.rootfs()) {
        Ok(_) | Err(layerstone_store::Error::NotAttached(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a container that does not run: its scratch first, so that nothing is left that no container leads to.
pub(super) fn remove(store: &Store, container: &Container) -> Result<()> {
    match store.remove_scratch(&container.config.scratch) {
        Ok(()) | Err(layerstone_store::Error::NoScratch(_)) => {}
        Err(error) => return Err(error.into()),
    }
    super::agent::remove_directory(&container.directory)
}
