//! Another process in a container that runs.

use super::agent::Agent;
use super::bundle;
use super::client::Client;
use super::container::Container;
use super::files;
use super::frame::Exec;
use crate::env::Environment;
use crate::error::{Error, IoContext as _, Result};
use crate::model::Status;
use crate::options::absolute;
use crate::spec::{Process, Spec, User};

/// What the process is to be like.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// More environment than the container's, `NAME=value` each.
    pub env: Vec<String>,
    /// Where it starts; otherwise where the container's first program did.
    pub workdir: Option<String>,
    /// Who it runs as; otherwise the container's user.
    pub user: Option<String>,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input is the caller's.
    pub interactive: bool,
}

impl Agent {
    /// Executes another program in a container. With `attach`, its output comes to the client.
    ///
    /// # Errors
    /// When the container does not run, or the program cannot be executed.
    pub fn exec(&self, container: &Container, options: &ExecOptions, attach: bool) -> Result<Client> {
        let mut container = container.clone();
        container.reload_state()?;
        if container.state.status != Status::Running {
            return Err(container.state_error("execute in"));
        }
        let path = container.bundle().join("config.json");
        let spec: Spec = files::read_json(&path)?
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
            .doing("read", path)?;
        let process = self.process(&container, &spec.process, options)?;
        let size = if attach && options.tty { super::terminal::size() } else { None };
        self.launch(&container, attach, size, Some(Exec { process, interactive: options.interactive }))
    }

    pub(super) fn process(
        &self,
        container: &Container,
        first: &Process,
        options: &ExecOptions,
    ) -> Result<Process> {
        let mut process = first.clone();
        process.terminal = options.tty;
        process.console_size = None;
        process.args = options.command.clone();
        if process.args.first().is_none_or(String::is_empty) {
            return Err(Error::Invalid {
                what: "a command",
                value: String::new(),
                expected: "a program and its arguments".to_owned(),
            });
        }
        if let Some(workdir) = &options.workdir {
            let root = || (workdir == "/").then(|| "/".to_owned());
            process.cwd = absolute(workdir).or_else(root).ok_or_else(|| Error::Invalid {
                what: "the working directory",
                value: workdir.clone(),
                expected: "an absolute path".to_owned(),
            })?;
        }
        let mut env = Environment::default();
        env.set_all(first.env.iter().cloned());
        if options.tty {
            env.set_default("TERM", "xterm");
        }
        if let Some(user) = &options.user {
            // Looked up as the container sees it now, with what was changed in it.
            let scratch = self.store.scratch(&container.config.scratch)?;
            let identity = bundle::identity(&self.store.scratch_view(&scratch)?, user)?;
            let bounding: Vec<&str> = first.capabilities.bounding.iter().map(String::as_str).collect();
            if identity.uid != first.user.uid {
                process.capabilities = bundle::capability_sets(&bounding, identity.uid, &[]);
            }
            process.user = User { uid: identity.uid, gid: identity.gid, additional_gids: identity.groups };
            env.set_all([format!("HOME={}", identity.home)]);
        }
        env.set_all(options.env.iter().cloned());
        process.env = env.into_vec();
        Ok(process)
    }
}
