//! One container's files.
//!
//! ```text
//! <root>/containers/<id>/         kept until the container is removed
//!   container.json                what it is; written once
//!   state.json                    how it is; replaced by its shim, or by whoever finds that its shim is dead
//!   exit.json                     how it ended; written by its shim, synced
//!   log.jsonl, log.jsonl.1, ...   its output
//!   shim.log                      what its shim had to complain about
//!   files/                        hostname, hosts, resolv.conf
//!   bundle/config.json            for the runtime
//! <runtime dir>/<store>/brief/<boot id>/<id>/    the same of one that goes with the end of its program, but for the log, which
//!                                 is with its scratch, on the disk
//! <runtime dir>/containers/<id>/  while it runs
//!   rootfs/                       its scratch, attached
//!   control                       the socket of its shim
//!   runtime/                      the runtime's own state
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use layerstone_store::Store;

use super::files::{self, Lasting};
use crate::error::{Error, IoContext as _, Result};
use crate::model::{Config, Exit, State};

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    pub(super) directory: PathBuf,
    pub(super) run_directory: PathBuf,
    pub(super) log_directory: PathBuf,
    pub(super) config: Config,
    pub(super) state: State,
}

impl Container {
    /// Reads what is in `directory`; `None` when the container is gone.
    pub(super) fn load(store: &Store, directory: &Path, run_directory: &Path) -> Result<Option<Self>> {
        let Some(config) = files::read_versioned::<Config>(&directory.join("container.json"))? else {
            return Ok(None);
        };
        let state = files::read_versioned(&directory.join("state.json"))?.unwrap_or_else(State::created);
        Self::new(store, directory.to_path_buf(), run_directory.to_path_buf(), config, state).map(Some)
    }

    pub(super) fn new(
        store: &Store,
        directory: PathBuf,
        run_directory: PathBuf,
        config: Config,
        state: State,
    ) -> Result<Self> {
        // What it prints may be more than belongs in memory.
        let log_directory =
            if config.auto_remove { store.volatile_place(&config.scratch)? } else { directory.clone() };
        Ok(Container { directory, run_directory, log_directory, config, state })
    }

    /// What it is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How it was when it was looked at.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its [log](crate::log) is.
    pub fn log_directory(&self) -> &Path {
        &self.log_directory
    }

    /// Its bundle, for an OCI runtime.
    pub fn bundle(&self) -> PathBuf {
        self.directory.join("bundle")
    }

    /// Where its root file system is attached while it runs.
    pub fn rootfs(&self) -> PathBuf {
        self.run_directory.join("rootfs")
    }

    pub(super) fn control(&self) -> PathBuf {
        self.run_directory.join("control")
    }

    pub(super) fn runtime_directory(&self) -> PathBuf {
        self.run_directory.join("runtime")
    }

    pub(super) fn shim_log(&self) -> PathBuf {
        self.directory.join("shim.log")
    }

    pub(super) fn exit_file(&self) -> PathBuf {
        self.directory.join("exit.json")
    }

    /// How it ended, as its shim has noted it.
    pub(super) fn noted_exit(&self) -> Result<Option<Exit>> {
        files::read_json(&self.exit_file())
    }

    pub(super) fn write_state(&self) -> Result<()> {
        files::write_json(&self.directory.join("state.json"), &self.state, Lasting::Unsynced)
    }

    pub(super) fn reload_state(&mut self) -> Result<()> {
        if let Some(state) = files::read_versioned(&self.directory.join("state.json"))? {
            self.state = state;
        }
        Ok(())
    }

    /// Keeps others from tidying up or removing it; `None` when it is gone.
    pub(super) fn lock(&self) -> Result<Option<File>> {
        let path = self.directory.join("container.json");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.doing("open", &path)?,
        };
        file.lock().doing("lock", &path)?;
        // It may have been removed while the lock was another one's.
        Ok(path.try_exists().doing("look for", &path)?.then_some(file))
    }

    /// What it is called, for messages.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub(super) fn state_error(&self, doing: &'static str) -> Error {
        Error::State { doing, name: self.config.name.clone(), state: self.state.status.name() }
    }

    /// Removes what is only there while it runs.
    pub(super) fn remove_run_directory(&self) -> Result<()> {
        // A directory that is still a mount point keeps its contents: only empty directories and the runtime's own files go.
        files::if_there(fs::remove_dir(self.rootfs())).doing("remove", self.rootfs())?;
        files::if_there(fs::remove_dir_all(&self.run_directory)).doing("remove", &self.run_directory)
    }
}
