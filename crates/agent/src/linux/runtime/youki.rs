//! libcontainer, the library of youki.
//!
//! Rules that it has to be used by (each was broken once, and hung, leaked or killed something):
//!
//! - Only where the process has one thread: it forks without executing, and changes the working directory.
//! - Always an absolute path of a control group, of this container alone: what it removes, it kills.
//! - Never systemd, never `/dev/null` for output, never a mount of cgroups (of version 1 it would be writable).
//! - A build that failed leaves children; the shim collects them and ends.

use std::fs::{self, File};
use std::path::PathBuf;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;

use super::credentials::{Credentials, NEEDED};
use super::executor::{Outcome, Place, ProgramExecutor};
use super::{Bundle, Running, Runtime, RuntimeStatus, Stdio};
use crate::error::{Error, IoContext as _, Result};
use crate::linux::files::{self, Lasting};
use crate::seccomp;
use crate::spec::{Process, Spec, User};

/// A container of libcontainer's.
#[derive(Debug)]
pub(super) struct Youki {
    bundle: Bundle,
    /// Between create and start.
    created: Option<Outcome>,
}

fn failed(doing: &'static str) -> impl Fn(LibcontainerError) -> Error {
    move |error| {
        let said = crate::error::in_one_line(&error);
        Error::Runtime { runtime: "youki".to_owned(), doing, said }
    }
}

impl Youki {
    pub(super) fn new(bundle: Bundle) -> Self {
        Youki { bundle, created: None }
    }

    /// Where libcontainer keeps the state of its containers.
    fn root(&self) -> PathBuf {
        self.bundle.state.join("youki")
    }

    /// libcontainer's own bundle: the same, but for the user.
    fn own_bundle(&self) -> PathBuf {
        self.bundle.state.join("bundle")
    }

    /// Keeps others from executing in the container meanwhile.
    fn alone(&self) -> Result<File> {
        let path = self.bundle.state.join("exec.lock");
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).doing("open", &path)?;
        file.lock().doing("lock", path)?;
        Ok(file)
    }

    /// libcontainer leaves a socket for each process that was executed: health checks would fill the directory in time. None is
    /// needed any more once its process was started, and nobody else is starting one.
    fn remove_sockets(&self) {
        let entries = fs::read_dir(self.root().join(&self.bundle.id)).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"tenant-")) {
            // One that stays goes with the container.
            let _ = fs::remove_file(entry.path());
        }
    }

    fn container(&self) -> Result<Container> {
        Container::load(self.root().join(&self.bundle.id)).map_err(failed("find the container"))
    }

    fn builder(&self, stdio: Stdio) -> Result<(ContainerBuilder, Option<super::Console>)> {
        let root = self.root();
        fs::create_dir_all(&root).doing("create", &root)?;
        let builder = ContainerBuilder::new(self.bundle.id.clone(), SyscallType::default())
            .with_root_path(&root)
            .and_then(ContainerBuilder::validate_id)
            .map_err(failed("prepare the container"))?;
        Ok(match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => {
                (builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr), None)
            }
            Stdio::Terminal(console) => {
                (builder.with_console_socket(Some(console.path_for_others())), Some(console))
            }
        })
    }
}

/// The process as libcontainer is to see it: root, with what becoming the real user takes.
fn as_root(process: &Process) -> Process {
    let mut process = process.clone();
    process.user = User { uid: 0, gid: 0, additional_gids: Vec::new() };
    let capabilities = &mut process.capabilities;
    for cap in NEEDED {
        if !capabilities.bounding.iter().any(|known| known == cap) {
            capabilities.bounding.push(cap.to_owned());
        }
    }
    capabilities.permitted = capabilities.bounding.clone();
    capabilities.effective = capabilities.bounding.clone();
    capabilities.inheritable.clear();
    capabilities.ambient.clear();
    process
}

fn executor(process: &Process, spec: &Spec, place: Place) -> Result<(ProgramExecutor, Outcome)> {
    let filter = spec.linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
    ProgramExecutor::new(process, Credentials::of(process, filter)?, place)
}

impl Runtime for Youki {
    fn create(&mut self, stdio: Stdio) -> Result<Running> {
        let spec = self.bundle.spec()?;
        let place = if self.bundle.init { Place::BelowInit } else { Place::First };
        let (executor, mut outcome) = executor(&spec.process, &spec, place)?;
        let own = self.own_bundle();
        fs::create_dir_all(&own).doing("create", &own)?;
        let mut for_library = spec.clone();
        for_library.process = as_root(&spec.process);
        // Installed by the executor; it would only be read again.
        for_library.linux.seccomp = None;
        files::write_json(&own.join("config.json"), &for_library, Lasting::Unsynced)?;

        let (builder, console) = self.builder(stdio)?;
        let container = builder
            .with_executor(executor)
            .as_init(&own)
            .with_systemd(false)
            .with_detach(true)
            .build()
            .map_err(failed("create the container"))?;
        outcome.handed_over();
        let pid = container.pid().map(|pid| pid.as_raw()).ok_or_else(|| Error::Runtime {
            runtime: "youki".to_owned(),
            doing: "create the container",
            said: "it has no process".to_owned(),
        })?;
        let terminal = console.map(super::Console::take).transpose()?;
        self.created = Some(outcome);
        Ok(Running { pid, terminal })
    }

    fn start(&mut self) -> Result<()> {
        self.container()?.start().map_err(failed("start the container"))?;
        match self.created.take() {
            Some(outcome) => outcome.wait(),
            None => Ok(()),
        }
    }

    fn state(&self) -> Result<RuntimeStatus> {
        let mut container = self.container()?;
        container.refresh_status().map_err(failed("look at the container"))?;
        Ok(match container.status() {
            ContainerStatus::Creating | ContainerStatus::Created => RuntimeStatus::Created,
            ContainerStatus::Running => RuntimeStatus::Running,
            ContainerStatus::Paused => RuntimeStatus::Paused,
            ContainerStatus::Stopped => RuntimeStatus::Stopped,
        })
    }

    fn pause(&mut self) -> Result<()> {
        self.container()?.pause().map_err(failed("pause the container"))
    }

    fn resume(&mut self) -> Result<()> {
        self.container()?.resume().map_err(failed("resume the container"))
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Running> {
        let spec = self.bundle.spec()?;
        let (executor, mut outcome) = executor(process, &spec, Place::Later)?;
        let path = tempfile::Builder::new()
            .prefix("exec-")
            .suffix(".json")
            .tempfile_in(&self.bundle.state)
            .doing("create a file in", &self.bundle.state)?;
        files::write_json(path.path(), &as_root(process), Lasting::Unsynced)?;
        let (builder, console) = self.builder(stdio)?;
        let alone = self.alone()?;
        let built = builder
            .with_executor(executor)
            .as_tenant()
            .with_process(Some(path.path()))
            .with_detach(true)
            .build();
        outcome.handed_over();
        self.remove_sockets();
        drop(alone);
        match built {
            Ok(pid) => {
                outcome.wait()?;
                let terminal = console.map(super::Console::take).transpose()?;
                Ok(Running { pid: pid.as_raw(), terminal })
            }
            // The library tells that it failed; the executor knows more, if it got as far as that.
            Err(error) => match outcome.wait() {
                Err(told @ Error::Program { .. }) => Err(told),
                _ => Err(failed("execute in the container")(error)),
            },
        }
    }

    fn delete(&mut self) -> Result<()> {
        if !self.root().join(&self.bundle.id).exists() {
            return Ok(());
        }
        self.container()?.delete(true).map_err(failed("delete the container"))
    }
}
