//! What can go wrong with supervising, with what was being done and on what.

use std::io;
use std::path::PathBuf;

/// Result of supervising.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with supervising.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Containers.
    #[error(transparent)]
    Agent(#[from] layerstone_agent::Error),
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
    /// The file of wanted containers is larger than anybody would write.
    #[error("`{}` has {size} bytes; at most {most} are read", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How many bytes it has.
        size: u64,
        /// How many it may have.
        most: u64,
    },
    /// The file of wanted containers cannot be read as what it should be.
    #[error("`{}`{}: {message}", path.display(), at(*line, *column))]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// In which line, from 1; 0 where that is not known.
        line: u64,
        /// In which column, from 1.
        column: u64,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// The file can be read, but what it wants is impossible; everything that is wrong, each in a line.
    #[error("`{}` wants what cannot be: {}", path.display(), problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Impossible {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Another process serves on the socket.
    #[error("another agent{} serves on `{}`", pid.map_or_else(String::new, |pid| format!(" (process {pid})")), path.display())]
    Served {
        /// The socket.
        path: PathBuf,
        /// Which process, where it has said so.
        pid: Option<i32>,
    },
    /// Another process keeps the containers of the project.
    #[error("another agent{} keeps the containers of project `{project}`", pid.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    Kept {
        /// Which project.
        project: String,
        /// Which process, where it has said so.
        pid: Option<i32>,
    },
    /// Where the socket should be is something else.
    #[error("`{}` is no socket, and is not replaced by one", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// A socket's path is longer than the system can take.
    #[error("the socket's path `{}` has {length} bytes; the system takes at most {most}", path.display())]
    LongPath {
        /// Which path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// What the system takes.
        most: usize,
    },
}

fn at(line: u64, column: u64) -> String {
    if line == 0 { String::new() } else { format!(", line {line}, column {column}") }
}

/// What is impossible about one wanted container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A value makes no sense.
    #[error("container `{container}`: {message}")]
    Value {
        /// Which container.
        container: String,
        /// What is wrong.
        message: String,
    },
    /// It depends on what is not in the file.
    #[error("container `{container}` depends on `{on}`, which is not in the file")]
    Unknown {
        /// Which container.
        container: String,
        /// On what.
        on: String,
    },
    /// Containers wait for each other.
    #[error("containers wait for each other: {}", cycle.join(" -> "))]
    Cycle {
        /// Their names, the first one once more at the end.
        cycle: Vec<String>,
    },
    /// It waits for something that never comes.
    #[error("container `{container}` waits until `{on}` is {condition}, but {why}")]
    Never {
        /// Which container.
        container: String,
        /// On what.
        on: String,
        /// Until when.
        condition: &'static str,
        /// Why that never comes.
        why: &'static str,
    },
}

impl Error {
    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Error::Syntax { .. } | Error::Impossible { .. } => {
                "docs/agent.md describes the file; `layerstone agent --spec FILE --check` checks it without doing anything"
            }
            Error::Served { .. } => "stop that one first, or choose another socket with --socket",
            Error::Kept { .. } => "stop that one first, or give this file another `project:`",
            Error::NoSocket { .. } => "remove it, or choose another path with --socket",
            Error::LongPath { .. } => "choose a shorter path with --socket",
            Error::TooLarge { .. } => "is it the right file?",
            _ => return None,
        })
    }

    /// The error and its causes in one line.
    pub fn in_one_line(&self) -> String {
        layerstone_agent::in_one_line(self)
    }
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

impl<T> IoContext<T> for rustix::io::Result<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|errno| Error::Io { doing, path: path.into(), source: errno.into() })
    }
}
