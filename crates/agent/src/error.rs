//! What can go wrong with a container, with what was being done and on what.

use std::io;
use std::path::PathBuf;

/// Result of an operation on a container.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// podman's exit code for a failure that is not the program's: the container could not be made or started.
pub const EXIT_FAILED: u8 = 125;
/// podman's exit code for a program that is there but cannot be executed.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// podman's exit code for a program that is not there.
pub const EXIT_NOT_FOUND: u8 = 127;

/// What can go wrong with a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layer store.
    #[error(transparent)]
    Store(#[from] layerstone_store::Error),
    /// The layer storage of Windows.
    #[error(transparent)]
    Storage(#[from] layerstone_store::storage::Error),
    /// The Host Compute Service.
    #[cfg(windows)]
    #[error(transparent)]
    Hcs(#[from] layerstone_hcs::Error),
    /// The system refused something.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of a container is damaged.
    #[error("`{}` is damaged", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of a later version of this program.
    #[error("`{}` has format version {found}; this program knows up to {known}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The host cannot do what was asked for.
    #[error("this host cannot {doing}: {missing}")]
    Unsupported {
        /// What was asked for.
        doing: &'static str,
        /// What is missing, and how to get it.
        missing: String,
    },
    /// No container has this name or id.
    #[error("there is no container `{0}`")]
    NoContainer(String),
    /// A short id fits more than one container.
    #[error("`{id}` fits more than one container: {}", fits.join(", "))]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// What it fits.
        fits: Vec<String>,
    },
    /// The name is another container's.
    #[error("the name `{name}` is that of container {by}")]
    NameTaken {
        /// Which name.
        name: String,
        /// The id of the container that has it.
        by: String,
    },
    /// A container is in a state in which this cannot be done.
    #[error("cannot {doing} container `{name}`: it is {state}")]
    State {
        /// What was asked for.
        doing: &'static str,
        /// Which container.
        name: String,
        /// The state it is in.
        state: &'static str,
    },
    /// A value that was given makes no sense.
    #[error("`{value}` is not {expected}: {what}")]
    Invalid {
        /// Which value: the flag, or the part of the image's configuration.
        what: &'static str,
        /// The value.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A user or group that the image does not have.
    #[error("{kind} `{name}` is not in the image's `{file}`")]
    NoUser {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// The image says no program, and none was given.
    #[error("image `{0}` has neither an entrypoint nor a command, and no command was given")]
    NoCommand(String),
    /// The image is for another system.
    #[error("image `{image}` is for {os}: containers of it need a {os} host")]
    ForeignImage {
        /// Which image.
        image: String,
        /// Its operating system.
        os: String,
    },
    /// Nobody said how to look at a container's health.
    #[error("container `{0}` has no health check: neither its image nor --health-cmd said what to execute")]
    NoHealthCheck(String),
    /// A seccomp profile cannot be applied.
    #[error("the seccomp profile")]
    Seccomp(#[from] crate::seccomp::Error),
    /// The program cannot be executed.
    #[error("cannot execute `{program}`: {why}")]
    Program {
        /// 126 or 127.
        code: u8,
        /// Which program.
        program: String,
        /// Why.
        why: String,
    },
    /// The runtime failed.
    #[error("{runtime} cannot {doing}: {said}")]
    Runtime {
        /// Which runtime.
        runtime: String,
        /// What it was asked for.
        doing: &'static str,
        /// What it said.
        said: String,
    },
    /// The shim of a container has failed; its words.
    #[error("{message}")]
    Shim {
        /// The exit code that goes with it: 125, 126 or 127.
        code: u8,
        /// The failure, causes included.
        message: String,
    },
    /// The shim of a container has ended without a word.
    #[error("the shim of container `{name}` has ended unexpectedly{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    ShimDied {
        /// Which container.
        name: String,
        /// The end of what it had written to its own log.
        said: String,
    },
    /// A message of the protocol between client and shim is wrong.
    #[error("a message of {size} bytes and kind {kind} makes no sense here")]
    Protocol {
        /// Its kind.
        kind: u8,
        /// Its size.
        size: u32,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {seconds} s")]
    Timeout {
        /// What.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Whoever read standard output has gone; the container goes on.
    #[error("standard output is closed; container `{name}` goes on without it")]
    OutputClosed {
        /// Which container.
        name: String,
    },
}

impl Error {
    /// The exit code of `run` and `exec` for this error: 125, 126 or 127, as podman has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Program { code, .. } | Error::Shim { code, .. } => *code,
            _ => EXIT_FAILED,
        }
    }

    /// The error and its causes in one line.
    pub fn in_one_line(&self) -> String {
        in_one_line(self)
    }
}

/// An error and its causes in one line; what repeats is left out.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

/// Adds what was being done, on which path.
pub(crate) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.into(), source })
    }
}

#[cfg(target_os = "linux")]
impl<T> IoContext<T> for rustix::io::Result<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|errno| Error::Io { doing, path: path.into(), source: errno.into() })
    }
}
