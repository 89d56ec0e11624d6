//! Starting a shim.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::agent::Agent;
use super::client::Client;
use super::container::Container;
use super::frame::{Conn, Exec, Kind, Size, Start};
use super::process;
use super::sealed::Sealed;
use crate::env::DEFAULT_PATH;
use crate::error::{Error, IoContext as _, Result};

impl Agent {
    /// Starts a container that was made, or has stopped: its program runs when this returns. With `attach`, its output comes to
    /// the client. What the program had written before is still there.
    ///
    /// # Errors
    /// When it cannot be started; its state then says why, unless it removes itself.
    pub fn start(&self, container: &Container, attach: bool) -> Result<Client> {
        let size = if attach && container.config.tty { super::terminal::size() } else { None };
        self.launch(container, attach, size, None)
    }

    pub(super) fn launch(
        &self,
        container: &Container,
        attach: bool,
        size: Option<Size>,
        exec: Option<Exec>,
    ) -> Result<Client> {
        let (conn, child) = self.spawn_shim(container, attach, size, exec)?;
        let mut client = Client::of_child(container, conn, child);
        if let Err(error) = client.started() {
            if matches!(error, Error::ShimDied { .. }) {
                // Nobody else looks after what it has left. The error that led here is the one to tell.
                let _ = self.find(&container.config.id);
            }
            return Err(error);
        }
        Ok(client)
    }

    /// Starts a shim, and tells it what it is for.
    pub(super) fn spawn_shim(
        &self,
        container: &Container,
        attach: bool,
        size: Option<Size>,
        exec: Option<Exec>,
    ) -> Result<(Conn, Child)> {
        let program = Sealed::get(|| self.shims())?;
        let log = container.shim_log();
        let errors = File::options().create(true).append(true).open(&log).doing("open", log)?;
        let (ours, theirs) = UnixStream::pair().doing("create", "a socket")?;
        let mut command = Command::new(program.path());
        command.arg0("layerstone").arg("shim");
        // Nothing of the caller's environment reaches the runtime, or the container.
        command
            .env_clear()
            .env("PATH", DEFAULT_PATH)
            .env(process::MARK, &container.config.id)
            .current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().doing("start a shim from", program.path())?;
        let mut conn = Conn::new(ours).doing("set up", "a socket")?;
        let start = Start {
            root: self.store().root().canonicalize().doing("find", self.store().root())?,
            runtime_dir: self
                .store()
                .runtime_root()
                .canonicalize()
                .doing("find", self.store().runtime_root())?,
            id: container.config.id.clone(),
            attach,
            size,
            exec,
        };
        conn.send_json(Kind::Start, &start);
        Ok((conn, child))
    }
}
