use std::io;
use std::path::PathBuf;

use layerstone_nt::{NameProblem, backup};

use crate::path::LayerPath;

/// Why a transport folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system failed.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file of the host.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing: the folder is not empty, and what is in it might be written through.
    #[error("{} is not empty; a transport folder is made in an empty one", .path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The backup stream of an entry, read or written.
    #[error("`{path}`")]
    Backup {
        /// Which entry.
        path: LayerPath,
        /// What is wrong.
        source: backup::Error,
    },
    /// A name that a transport folder cannot hold.
    #[error("`{path}`: {problem}")]
    Name {
        /// The path it is a part of.
        path: LayerPath,
        /// Why not.
        problem: BadName,
    },
    /// Writing: the same name twice (NTFS compares without case).
    #[error("`{path}` comes twice in the layer")]
    Duplicate {
        /// The name.
        path: LayerPath,
    },
    /// Writing: an entry below something that is no directory.
    #[error("`{path}` lies below `{parent}`, which is a {what}")]
    BelowNonDirectory {
        /// The entry.
        path: LayerPath,
        /// What it lies below.
        parent: LayerPath,
        /// What that is.
        what: &'static str,
    },
    /// An entry of a kind that has no place where it is.
    #[error("`{path}`: a {kind} cannot be there: {reason}")]
    Misplaced {
        /// The entry.
        path: LayerPath,
        /// What it is.
        kind: &'static str,
        /// Why it cannot be there.
        reason: &'static str,
    },
    /// Writing: an alternate data stream that does not follow its file.
    #[error("the alternate data stream `{path}:{stream}` does not follow its file")]
    OrphanStream {
        /// The file.
        path: LayerPath,
        /// The stream.
        stream: String,
    },
    /// Writing: bytes for an entry that was handed back, or that has none.
    #[error("{count} bytes were given for `{path}`, which takes none")]
    UnexpectedData {
        /// The entry.
        path: LayerPath,
        /// How many.
        count: u64,
    },
    /// Writing: too few or too many bytes for a file that is not stored as a backup stream.
    #[error("`{path}`: {given} bytes were given for {announced}")]
    Size {
        /// The entry.
        path: LayerPath,
        /// What was announced.
        announced: u64,
        /// What came.
        given: u64,
    },
    /// Windows metadata that cannot be made from what the entry says.
    #[error("`{path}`: Windows metadata")]
    Metadata {
        /// The entry.
        path: LayerPath,
        /// What is wrong.
        source: layerstone_nt::Error,
    },
    /// Reading: something that must be there is missing.
    #[error("{} has no `{what}`", .root.display())]
    Missing {
        /// The folder.
        root: PathBuf,
        /// What is missing.
        what: String,
    },
    /// Reading: two names of which only one can be meant.
    #[error("{} has both `{one}` and `{other}`", .directory.display())]
    Ambiguous {
        /// The folder.
        directory: PathBuf,
        /// One spelling.
        one: String,
        /// The other.
        other: String,
    },
    /// Reading: a symbolic link, device or other thing that a transport folder does not have.
    #[error("{} is neither a file nor a directory", .path.display())]
    Special {
        /// What it is about.
        path: PathBuf,
    },
    /// Reading: a blob that is no description of what it belongs to.
    #[error("{}: {reason}", .path.display())]
    Blob {
        /// The blob.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Reading: a name of the host that is no name of a layer.
    #[error("{}", .path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: crate::path::PathError,
    },
    /// `tombstones.txt` is malformed.
    #[error("tombstones.txt, line {line}: {problem}")]
    Tombstones {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: TombstoneProblem,
    },
}

/// Why a transport folder cannot hold a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadName {
    /// It ends in `.$wcidirs$`, which is how the descriptions of directories are called.
    #[error("names that end in `.$wcidirs$` are reserved")]
    Reserved,
    /// It is that of a file of the folder itself.
    #[error("`tombstones.txt` is a part of the folder itself")]
    Tombstones,
    /// A backslash, which separates names in the folder.
    #[error("it holds a backslash")]
    Backslash,
    /// With `.$wcidirs$` behind it, it is longer than a file system takes.
    #[error("with `.$wcidirs$` behind it, it has {0} bytes, and 255 are allowed")]
    SidecarTooLong(usize),
    /// Windows refuses it, and this is Windows.
    #[error("{0}")]
    Windows(NameProblem),
}

/// What is wrong with a line of `tombstones.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TombstoneProblem {
    /// The first line is not a byte order mark and `Version 1.0`.
    #[error("expected a byte order mark and `Version 1.0`")]
    Version,
    /// The line is empty.
    #[error("the line is empty")]
    Empty,
    /// The path does not begin with a backslash.
    #[error("the path does not begin with a backslash")]
    NoBackslash,
    /// The path has an empty component, `.` or `..`, a slash, or a NUL.
    #[error("the path is none below Files")]
    Path,
    /// The line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The line is longer than readers take.
    #[error("the line is longer than 65,535 bytes")]
    TooLong,
}

/// Adds what was being done to an error of the file system.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing, path: path.into(), source })
    }
}
