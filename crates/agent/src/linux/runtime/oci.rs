//! Any program with the command line of runc: runc, crun, youki.
//!
//! The program sets up the container and ends; the container's first process then becomes a child of the shim, which has made itself
//! the reaper of its descendants. What the program has to say it writes to a log file, as JSON lines; its standard output
//! and error are the container's.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio as Redirect};
use std::time::Duration;

use rustix::process::{PidfdFlags, pidfd_open};

use super::{Bundle, Running, Runtime, RuntimeStatus, Stdio};
use crate::error::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Error, IoContext as _, Result};
use crate::linux::files::{self, Lasting, if_there};
use crate::linux::process;
use crate::spec::Process;

/// How long one call of the runtime may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most that is read of what a runtime says.
const MAX_SAID: u64 = 64 << 10;

/// A container of another program's.
#[derive(Debug)]
pub(super) struct Oci {
    program: PathBuf,
    bundle: Bundle,
}

impl Oci {
    pub(super) fn new(program: PathBuf, bundle: Bundle) -> Self {
        Oci { program, bundle }
    }

    fn log(&self) -> PathBuf {
        // Several processes may be started in a container at once.
        self.bundle.state.join(format!("runtime-{}.log", std::process::id()))
    }

    fn command(&self) -> Result<Command> {
        let root = self.bundle.state.join("oci");
        fs::create_dir_all(&root).doing("create", &root)?;
        if_there(fs::remove_file(self.log())).doing("remove", self.log())?;
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(root).arg("--log").arg(self.log()).args(["--log-format", "json"]);
        Ok(command)
    }

    fn failed(&self, doing: &'static str, said: String) -> Error {
        Error::Runtime { runtime: self.program.display().to_string(), doing, said }
    }

    /// Runs a command that prints little. What it has printed.
    fn call(&self, doing: &'static str, command: &mut Command) -> Result<String> {
        command.stdin(Redirect::null()).stdout(Redirect::piped()).stderr(Redirect::piped());
        let mut child = command.spawn().doing("execute", &self.program)?;
        let descriptor = pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty())
            .doing("watch", &self.program)?;
        let mut said = String::new();
        if process::wait(&descriptor, Some(PATIENCE))? {
            if let Some(output) = child.stdout.take() {
                // Only what is there: a process that it has left behind may have the pipe.
                said = read_available(output.into())?;
            }
        } else {
            process::kill(&descriptor)?;
        }
        let status = child.wait().doing("wait for", &self.program)?;
        if status.success() {
            return Ok(said);
        }
        let mut why = self.last_message()?;
        if why.is_empty()
            && let Some(errors) = child.stderr.take()
        {
            why = read_available(errors.into())?.trim().to_owned();
        }
        Err(self.failed(doing, if why.is_empty() { format!("{status}") } else { why }))
    }

    /// Runs a command whose output is the container's.
    fn call_with(&self, doing: &'static str, command: &mut Command, stdio: Stdio) -> Result<Option<OwnedFd>> {
        let console = match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
                None
            }
            Stdio::Terminal(console) => {
                command.stdin(Redirect::null()).stdout(Redirect::null()).stderr(Redirect::null());
                Some(console)
            }
        };
        let mut child = command.spawn().doing("execute", &self.program)?;
        let descriptor = pidfd_open(rustix::process::Pid::from_child(&child), PidfdFlags::empty())
            .doing("watch", &self.program)?;
        if !process::wait(&descriptor, Some(PATIENCE))? {
            process::kill(&descriptor)?;
        }
        let status = child.wait().doing("wait for", &self.program)?;
        if !status.success() {
            let why = self.last_message()?;
            return Err(self.failed(doing, if why.is_empty() { format!("{status}") } else { why }));
        }
        console.map(super::Console::take).transpose()
    }

    /// The last error in the log.
    fn last_message(&self) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Line {
            #[serde(default)]
            level: String,
            #[serde(default)]
            msg: String,
        }
        let mut text = String::new();
        match File::open(self.log()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            file => {
                let file = file.doing("open", self.log())?;
                file.take(MAX_SAID).read_to_string(&mut text).doing("read", self.log())?;
            }
        }
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let mut errors = lines.filter(|line| !matches!(line.level.as_str(), "debug" | "info" | "warning"));
        Ok(errors.next_back().map(|line| line.msg.trim().to_owned()).unwrap_or_default())
    }

    fn read_pid(&self, path: &PathBuf) -> Result<i32> {
        let text = fs::read_to_string(path).doing("read", path)?;
        if_there(fs::remove_file(path)).doing("remove", path)?;
        text.trim()
            .parse()
            .map_err(|_| self.failed("start a process", format!("its number is `{}`", text.trim())))
    }
}

fn read_available(pipe: OwnedFd) -> Result<String> {
    rustix::io::ioctl_fionbio(pipe.as_fd(), true).doing("read", "a pipe")?;
    let mut bytes = Vec::new();
    match File::from(pipe).take(MAX_SAID).read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        read => {
            read.doing("read", "a pipe")?;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Tells from a runtime's words whether it was the program that could not be executed: there is no other sign of it.
fn classify(error: Error, program: &str) -> Error {
    let Error::Runtime { said, .. } = &error else { return error };
    let lower = said.to_ascii_lowercase();
    // A mount of something that is missing is told in the same words.
    let about_program = (lower.contains("exec") || lower.contains("start container process"))
        && !lower.contains("error mounting");
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let code = if !about_program {
        return error;
    } else if has(&[
        "executable file not found",
        "executable file `",
        "no such file or directory",
        "not a directory",
    ]) {
        EXIT_NOT_FOUND
    } else if has(&["permission denied", "exec format error", "is a directory", "operation not permitted"]) {
        EXIT_NOT_EXECUTABLE
    } else {
        return error;
    };
    Error::Program { code, program: program.to_owned(), why: said.clone() }
}

impl Drop for Oci {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.log());
    }
}

impl Runtime for Oci {
    fn create(&mut self, stdio: Stdio) -> Result<Running> {
        let pid_file = self.bundle.state.join("init.pid");
        let program = self.bundle.spec()?.process.args.first().cloned().unwrap_or_default();
        let mut command = self.command()?;
        command.arg("create").arg("--bundle").arg(&self.bundle.directory).arg("--pid-file").arg(&pid_file);
        if let Stdio::Terminal(console) = &stdio {
            command.arg("--console-socket").arg(console.path_for_others());
        }
        command.arg(&self.bundle.id);
        let terminal = self
            .call_with("create the container", &mut command, stdio)
            .map_err(|error| classify(error, &program))?;
        Ok(Running { pid: self.read_pid(&pid_file)?, terminal })
    }

    fn start(&mut self) -> Result<()> {
        let program = self.bundle.spec()?.process.args.first().cloned().unwrap_or_default();
        let mut command = self.command()?;
        command.arg("start").arg(&self.bundle.id);
        self.call("start the container", &mut command).map_err(|error| classify(error, &program)).map(drop)
    }

    fn state(&self) -> Result<RuntimeStatus> {
        #[derive(serde::Deserialize)]
        struct State {
            status: String,
        }
        let mut command = self.command()?;
        command.arg("state").arg(&self.bundle.id);
        let said = self.call("look at the container", &mut command)?;
        let state: State = serde_json::from_str(&said)
            .map_err(|source| Error::Json { path: "the runtime's state".into(), source })?;
        match state.status.as_str() {
            "creating" | "created" => Ok(RuntimeStatus::Created),
            "running" => Ok(RuntimeStatus::Running),
            "paused" => Ok(RuntimeStatus::Paused),
            "stopped" => Ok(RuntimeStatus::Stopped),
            other => Err(self.failed("look at the container", format!("its state is `{other}`"))),
        }
    }

    fn pause(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command.arg("pause").arg(&self.bundle.id);
        self.call("pause the container", &mut command).map(drop)
    }

    fn resume(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command.arg("resume").arg(&self.bundle.id);
        self.call("resume the container", &mut command).map(drop)
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Running> {
        let described = tempfile::Builder::new()
            .prefix("exec-")
            .suffix(".json")
            .tempfile_in(&self.bundle.state)
            .doing("create a file in", &self.bundle.state)?;
        files::write_json(described.path(), process, Lasting::Unsynced)?;
        let pid_file = described.path().with_extension("pid");
        let mut command = self.command()?;
        command.arg("exec").arg("--detach").arg("--process").arg(described.path());
        command.arg("--pid-file").arg(&pid_file);
        if let Stdio::Terminal(console) = &stdio {
            command.arg("--console-socket").arg(console.path_for_others());
        }
        command.arg(&self.bundle.id);
        let program = process.args.first().map(String::as_str).unwrap_or_default();
        let terminal = self
            .call_with("execute in the container", &mut command, stdio)
            .map_err(|error| classify(error, program))?;
        Ok(Running { pid: self.read_pid(&pid_file)?, terminal })
    }

    fn delete(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command.arg("delete").arg("--force").arg(&self.bundle.id);
        self.call("delete the container", &mut command).map(drop)
    }
}
