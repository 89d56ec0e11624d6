//! What is true of a container whose shim is gone.
//!
//! A container does not outlive its shim: the shim holds its compute system, which ends with the last handle on it. What is left is an
//! attached scratch, and a state that says otherwise. Whoever looks at a container and finds that its shim is dead puts it in order; each
//! step may have been done before.

use std::path::Path;

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::Store;
use layerstone_store::storage::{LayerStorage as _, SANDBOX_DISK, ScratchLayer};

use super::agent::{Agent, scratch_folder};
use super::container::{Container, Ended, remove_directory};
use super::host::Host;
use super::process;
use crate::error::{IoContext as _, Result};
use crate::model::{State, Status};

/// The exit code of a container that was ended with its shim: 128 + SIGKILL, as on Linux.
const KILLED: u8 = 137;

/// True when somebody looks after the container, or nobody has to.
fn is_in_order(container: &Container) -> Result<bool> {
    Ok(match (&container.state.shim, container.state.status) {
        (_, Status::Stopped) => !container.config.auto_remove,
        (Some(shim), _) => process::open(shim)?.is_some(),
        (None, _) => process::open(&container.config.creator)?.is_some() || !container.config.auto_remove,
    })
}

/// Puts a container in order whose shim is dead. False when there is none any more.
pub(super) fn reconcile(agent: &Agent, container: &mut Container) -> Result<bool> {
    if is_in_order(container)? {
        return Ok(true);
    }
    let _lock = agent.lock()?;
    let Some(now) = agent.load(&container.config.id)? else { return Ok(false) };
    *container = now;
    if is_in_order(container)? {
        return Ok(true);
    }
    dismantle(&agent.store, &agent.host, container)?;
    if container.config.auto_remove {
        remove(&agent.store, &agent.host, container)?;
        return Ok(false);
    }
    let ended = container
        .noted_exit()?
        .unwrap_or_else(|| Ended::failed(KILLED, "its shim has died, and the container with it".to_owned()));
    stopped(container, ended)?;
    Ok(true)
}

/// Notes that a container has stopped.
pub(super) fn stopped(container: &mut Container, ended: Ended) -> Result<()> {
    container.state = State {
        status: Status::Stopped,
        started: container.state.started.take(),
        exit: Some(ended.exit),
        ..State::created()
    };
    container.write_state()
}

/// Ends what runs of a container and takes its scratch down.
pub(super) fn dismantle(store: &Store, host: &Host, container: &Container) -> Result<()> {
    // Containers that were never started have no need of the service, which may not even be there.
    if container.state.shim.is_none() {
        return Ok(());
    }
    match host.core.open_system(&container.config.id).and_then(|system| system.terminate()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        ended => ended?,
    }
    let folder = scratch_folder(store, container)?;
    if !folder.join(SANDBOX_DISK).is_file() {
        return Ok(());
    }
    // Its chain does not matter for taking it down.
    let chain = LayerChain::base();
    let detached = ScratchLayer::adopt(&host.storage, &folder, &chain)
        .and_then(|scratch| scratch.detach().map(drop).map_err(layerstone_store::storage::Error::from));
    match detached {
        // The filter was not attached, or the disk has no volume because it was not: a shim may have died between the two.
        Err(error) if is_absent(&error) => detach_disk(host, &folder.join(SANDBOX_DISK)),
        detached => Ok(detached?),
    }
}

fn is_absent(error: &layerstone_store::storage::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotReady)
}

/// Detaches a disk that may be attached.
fn detach_disk(host: &Host, path: &Path) -> Result<()> {
    let disk = host.storage.open_disk(path)?;
    let detached = host.storage.detach_disk(&disk);
    host.storage.close_disk(disk)?;
    match detached {
        Err(error) if is_absent(&error) => Ok(()),
        detached => Ok(detached?),
    }
}

/// Removes a container that does not run: its scratch first, so that nothing is left that no container leads to.
pub(super) fn remove(store: &Store, host: &Host, container: &Container) -> Result<()> {
    let folder = scratch_folder(store, container)?;
    if folder.try_exists().doing("look for", &folder)? {
        // Its files belong to accounts of the image.
        host.storage.destroy_layer(&folder)?;
    }
    match store.remove_scratch(&container.config.scratch) {
        Ok(()) | Err(layerstone_store::Error::NoScratch(_)) => {}
        Err(error) => return Err(error.into()),
    }
    remove_directory(&container.directory)?;
    // The shim that removes its own container has it open; then the next sweep takes it.
    let _ = std::fs::remove_file(container.shim_log());
    Ok(())
}
