//! The end of a container: asking for it, waiting for it, and starting again after it.

use std::time::Duration;

use super::agent::Agent;
use super::client::{Client, PATIENCE};
use super::container::Container;
use super::process;
use crate::error::{Error, Result};
use crate::model::{Exit, Status};
use crate::signal;

impl Agent {
    /// Asks a container to stop with its stop signal, and kills it when it has not by then. False when it had stopped already.
    ///
    /// # Errors
    /// When the shim is gone, or does not tidy up.
    pub fn stop(&self, container: &Container, seconds: Option<u32>) -> Result<bool> {
        let mut container = container.clone();
        container.reload_state()?;
        if !container.state.status.is_up() {
            return Ok(false);
        }
        let Some(shim) = container.state.shim.clone() else { return Ok(false) };
        let Some(shim) = process::open(&shim)? else { return Ok(false) };
        let gone = |result: Result<()>, shim| match result {
            // It may have ended by itself meanwhile.
            Err(_) if process::wait(shim, Some(Duration::from_secs(1)))? => Ok(()),
            other => other,
        };
        let mut client = match Client::connect(&container) {
            Err(_) if process::wait(&shim, Some(Duration::from_secs(1)))? => return Ok(true),
            client => client?,
        };
        gone(client.stop(), &shim)?;
        let seconds = seconds.unwrap_or(container.config.stop_timeout);
        if process::wait(&shim, Some(Duration::from_secs(seconds.into())))? {
            return Ok(true);
        }
        gone(client.kill(signal::KILL), &shim)?;
        if process::wait(&shim, Some(PATIENCE))? {
            return Ok(true);
        }
        let what = format!("the end of container `{}`", container.config.name);
        Err(Error::Timeout { what, seconds: PATIENCE.as_secs() })
    }

    /// Stops a container, if it runs, and starts it again.
    ///
    /// # Errors
    /// When it removes itself as soon as it has stopped, does not stop, or cannot be started.
    pub fn restart(&self, container: &Container, seconds: Option<u32>) -> Result<Client> {
        let mut container = container.clone();
        container.reload_state()?;
        if container.config.auto_remove && container.state.status.is_up() {
            let name = container.config.name.clone();
            return Err(Error::State { doing: "restart", name, state: "to be removed when it stops" });
        }
        self.stop(&container, seconds)?;
        self.start(&self.find(&container.config.id)?, false)
    }

    /// Waits until a container has ended for good: one that is started again by its restart policy has not.
    ///
    /// # Errors
    /// When its shim dies meanwhile.
    pub fn wait(&self, container: &Container) -> Result<Exit> {
        if container.state.status == Status::Stopped
            && let Some(exit) = &container.state.exit
        {
            return Ok(exit.clone());
        }
        match Client::connect(container).and_then(|mut client| client.wait()) {
            Ok(exit) => Ok(exit),
            Err(error) => self.ended(container).and_then(|exit| exit.ok_or(error)),
        }
    }

    /// How a container ended whose shim does not answer any more: it is taking it down, or dead.
    fn ended(&self, container: &Container) -> Result<Option<Exit>> {
        let noted = container.noted_exit()?;
        if let Some(shim) = &container.state.shim
            && let Some(shim) = process::open(shim)?
        {
            process::wait(&shim, None)?;
        }
        match self.find(&container.config.id) {
            Ok(container) => Ok(container.state.exit),
            // It has removed itself.
            Err(Error::NoContainer(_)) => Ok(noted),
            Err(error) => Err(error),
        }
    }
}
