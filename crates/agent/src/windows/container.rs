//! One container's files.
//!
//! ```text
//! <root>/containers/<id>/         kept until the container is removed
//!   container.json                what it is; written once
//!   process.json                  its program, as the service takes it
//!   state.json                    how it is; replaced by its shim, or by whoever finds that its shim is dead
//!   exit.json                     how it ended; written by its shim, synced
//!   log.jsonl, log.jsonl.1, ...   its output
//! <root>/containers/<id>.shim.log what its shim had to complain about
//! <root>/scratch/container-<12 digits>/hcs/   its scratch: sandbox.vhdx
//! ```
//!
//! The shim's log is beside the directory and not in it: a directory with an open file in it cannot be renamed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{self, Lasting};
use crate::error::{Error, IoContext as _, Result};
use crate::model::{Config, Exit, State};

/// How often what somebody else has open at this moment is tried again, and how long to wait in between.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    pub(super) directory: PathBuf,
    pub(super) config: Config,
    pub(super) state: State,
}

/// `exit.json`: how a container ended, and the whole of its exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// As on every system. Its code is 255 where the program's own is larger.
    #[serde(flatten)]
    pub exit: Exit,
    /// The program's own exit code, where it is larger than 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_code: Option<u32>,
}

impl Ended {
    pub(super) fn of_code(code: u32) -> Self {
        let small = u8::try_from(code).ok();
        Ended {
            exit: Exit {
                code: small.unwrap_or(u8::MAX),
                signal: None,
                oom_killed: false,
                error: None,
                finished: super::now(),
            },
            windows_code: small.is_none().then_some(code),
        }
    }

    pub(super) fn failed(code: u8, error: String) -> Self {
        let ended = Ended::of_code(code.into());
        Ended { exit: Exit { error: Some(error), ..ended.exit }, ..ended }
    }

    /// The whole exit code.
    pub fn code(&self) -> u32 {
        self.windows_code.unwrap_or(self.exit.code.into())
    }
}

impl Container {
    /// Reads what is in `directory`; `None` when the container is gone.
    pub(super) fn load(directory: &Path) -> Result<Option<Self>> {
        let Some(config) = files::read_versioned::<Config>(&directory.join("container.json"))? else {
            return Ok(None);
        };
        let state = files::read_versioned(&directory.join("state.json"))?.unwrap_or_else(State::created);
        Ok(Some(Container { directory: directory.to_path_buf(), config, state }))
    }

    /// What it is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How it was when it was looked at.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its directory, in which its log is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its [log](crate::log) is.
    pub fn log_directory(&self) -> &Path {
        &self.directory
    }

    /// What it is called, for messages.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub(super) fn shim_log(&self) -> PathBuf {
        self.directory.with_extension("shim.log")
    }

    /// Its program, as the service takes it: JSON.
    pub fn process_file(&self) -> PathBuf {
        self.directory.join("process.json")
    }

    /// How it ended, as its shim has noted it.
    pub(super) fn noted_exit(&self) -> Result<Option<Ended>> {
        files::read_json(&self.directory.join("exit.json"))
    }

    pub(super) fn write_exit(&self, exit: &Ended) -> Result<()> {
        files::write_json(&self.directory.join("exit.json"), exit, Lasting::Synced)
    }

    /// Whoever reads the file at this moment keeps it from being replaced.
    pub(super) fn write_state(&self) -> Result<()> {
        patiently(|| files::write_json(&self.directory.join("state.json"), &self.state, Lasting::Unsynced))
    }

    pub(super) fn reload_state(&mut self) -> Result<()> {
        if let Some(state) = files::read_versioned(&self.directory.join("state.json"))? {
            self.state = state;
        }
        Ok(())
    }

    pub(super) fn state_error(&self, doing: &'static str) -> Error {
        Error::State { doing, name: self.config.name.clone(), state: self.state.status.name() }
    }
}

/// Tries again what another process keeps from being done by having a file open.
pub(super) fn patiently<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        match work() {
            Err(Error::Io { source, .. }) if tries < TRIES && is_in_use(&source) => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

fn is_in_use(error: &io::Error) -> bool {
    const SHARING_VIOLATION: i32 = 32;
    const DIRECTORY_NOT_EMPTY: i32 = 145;
    error.kind() == io::ErrorKind::PermissionDenied
        || matches!(error.raw_os_error(), Some(SHARING_VIOLATION | DIRECTORY_NOT_EMPTY))
}

/// Removes a container's directory. It vanishes by one rename; the name it has then is swept when this dies.
pub(super) fn remove_directory(directory: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else { return Ok(()) };
    let aside = parent.join(format!(".removed-{}", name.to_string_lossy()));
    if !directory.try_exists().doing("look for", directory)? {
        return Ok(());
    }
    patiently(|| std::fs::rename(directory, &aside).doing("remove", directory))?;
    patiently(|| files::if_there(std::fs::remove_dir_all(&aside)).doing("remove", &aside))
}
