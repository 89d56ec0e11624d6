//! What can go wrong in layer storage.

use std::fmt;
use std::path::PathBuf;

use layerstone_hcs::{ErrorKind, HResult};
use layerstone_layer::LayerPath;

/// Result of an operation of layer storage.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in layer storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Host Compute Service, or the way to it.
    #[error(transparent)]
    Hcs(#[from] layerstone_hcs::Error),
    /// Something that has to be there is not.
    #[error("there is no {what} `{}`", path.display())]
    Missing {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// A layer of the chain is not there.
    #[error("the parent layer `{}` is not there: parent {position} of {count}, nearest first", path.display())]
    MissingParent {
        /// Its folder.
        path: PathBuf,
        /// Which one of the chain, from 1.
        position: usize,
        /// How many the chain has.
        count: usize,
    },
    /// The chain is not that of its layers.
    #[error(
        "`{}` is not the parent of `{}`: a chain goes from child to parent, the base layer last, with none left out",
        parent.display(),
        layer.display()
    )]
    WrongParent {
        /// A layer.
        layer: PathBuf,
        /// What the chain has below it.
        parent: PathBuf,
    },
    /// The chain ends above the base layer.
    #[error("the chain ends with `{}`, which has a parent itself", .0.display())]
    ChainTooShort(PathBuf),
    /// The chain names a layer by another id than before.
    #[error("the chain calls `{}` {found}, but `{}` was made over it as {expected}", path.display(), layer.display())]
    WrongId {
        /// The layer.
        path: PathBuf,
        /// The id in the chain.
        found: layerstone_hcs::Guid,
        /// The id from before.
        expected: layerstone_hcs::Guid,
        /// The layer or scratch that was made with that id.
        layer: PathBuf,
    },
    /// A scratch was initialized for other parents.
    #[error("the scratch `{}` was initialized over other parents", .0.display())]
    OtherChain(PathBuf),
    /// What is to be made is there already.
    #[error("`{}` exists already, and is not an empty folder", .0.display())]
    Exists(PathBuf),
    /// A folder that has to be empty is not.
    #[error("`{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// Somebody uses it.
    #[error("`{}` is in use: {by}", path.display())]
    InUse {
        /// What.
        path: PathBuf,
        /// By whom.
        by: String,
    },
    /// A scratch is not attached.
    #[error("`{}` is not attached", .0.display())]
    NotAttached(PathBuf),
    /// An argument that makes no sense there.
    #[error("`{}`: {why}", path.display())]
    Invalid {
        /// On what.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The folder holds no layer of a known form.
    #[error("`{}` is damaged, or no layer of this storage", path.display())]
    InvalidLayer {
        /// Which folder.
        path: PathBuf,
        /// What was found.
        source: Box<crate::Error>,
    },
    /// This storage cannot do it.
    #[error("cannot {operation} `{}` here: {why}", path.display())]
    Unsupported {
        /// What was asked for.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// The engine or the file system failed.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// A transport folder is wrong, or cannot be written.
    #[error("the transport folder `{}`", path.display())]
    Transport {
        /// Which folder.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What sort of failure that is.
        kind: ErrorKind,
    },
    /// The layer's archive is no tar.
    #[error("the archive of the layer `{}`", path.display())]
    Archive {
        /// The folder that the layer was for.
        path: PathBuf,
        /// What is wrong with it.
        source: layerstone_layer::tar::Error,
    },
    /// The layer's archive has an entry that cannot exist.
    #[error("the archive of the layer `{}`", path.display())]
    ArchiveEntry {
        /// The folder that the layer was for.
        path: PathBuf,
        /// What is wrong with it.
        source: layerstone_layer::tar::source::Error,
    },
    /// An entry of a layer has no place where it is to go.
    #[error("the layer `{}` cannot have the {kind} `{entry}`: {why}", layer.display())]
    Entry {
        /// The layer's folder.
        layer: PathBuf,
        /// The entry.
        entry: LayerPath,
        /// What it is.
        kind: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A hard link to something that neither the layer nor a parent has.
    #[error("the layer `{}` makes `{name}` a name of `{target}`, which neither it nor a parent has", layer.display())]
    MissingLinkTarget {
        /// The layer's folder.
        layer: PathBuf,
        /// The link.
        name: LayerPath,
        /// What it is to be a name of.
        target: LayerPath,
    },
    /// A hard link was made, and is none.
    #[error("`{}` was made a name of `{}`, but is another file", name.display(), target.display())]
    NotLinked {
        /// The link.
        name: PathBuf,
        /// What it is to be a name of.
        target: PathBuf,
    },
    /// An empty registry hive for a layer that has none could not be made.
    #[error("an empty registry hive for `{}` could not be made", path.display())]
    EmptyHive {
        /// The layer's folder.
        path: PathBuf,
        /// What stood in the way.
        source: layerstone_nt::hive::Error,
    },
    /// A disk is attached, but the system names no volume on it.
    #[error(
        "the disk `{}` was attached, but the system names no volume on it: it does so for administrators only",
        .0.display()
    )]
    NoVolume(PathBuf),
    /// The system said that it removed a folder, and did not.
    #[error("`{}` is still there, although the system said that it was removed", .0.display())]
    StillThere(PathBuf),
    /// A step of several failed. What had been done before is undone.
    #[error("cannot {step} for `{}`{}", path.display(), Undone(undo))]
    Step {
        /// Which step, as a verb.
        step: &'static str,
        /// The layer or scratch that the steps were for.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<Error>,
        /// What could not be undone; usually nothing.
        undo: Vec<UndoFailure>,
    },
}

/// A step that could not be undone after a later one had failed.
#[derive(Debug)]
pub struct UndoFailure {
    /// What was to be undone, as a verb.
    pub step: &'static str,
    /// Why it was not.
    pub error: Box<Error>,
}

struct Undone<'a>(&'a [UndoFailure]);

impl fmt::Display for Undone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in self.0 {
            write!(f, "; afterwards, cannot {}: {}", failure.step, failure.error)?;
        }
        Ok(())
    }
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Hcs(error) => error.kind(),
            Error::Missing { .. }
            | Error::MissingParent { .. }
            | Error::WrongParent { .. }
            | Error::ChainTooShort(_)
            | Error::WrongId { .. }
            | Error::MissingLinkTarget { .. }
            | Error::NotAttached(_) => ErrorKind::NotFound,
            Error::OtherChain(_) | Error::NotEmpty(_) | Error::Invalid { .. } => ErrorKind::InvalidArgument,
            Error::Exists(_) => ErrorKind::AlreadyExists,
            Error::InUse { .. } => ErrorKind::InUse,
            Error::InvalidLayer { .. }
            | Error::Archive { .. }
            | Error::ArchiveEntry { .. }
            | Error::Entry { .. } => ErrorKind::InvalidLayer,
            Error::NotLinked { .. } | Error::EmptyHive { .. } => ErrorKind::Other,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Store(error) => store_kind(error),
            Error::Transport { kind, .. } => *kind,
            Error::NoVolume(_) => ErrorKind::AccessDenied,
            Error::StillThere(_) => ErrorKind::InUse,
            Error::Step { source, .. } => source.kind(),
        }
    }

    /// The code by which Windows says the same: its own, where Windows said it.
    pub fn hresult(&self) -> HResult {
        if let Error::Hcs(layerstone_hcs::Error::Call { code, .. }) = self {
            return *code;
        }
        if let Error::Step { source, .. } = self {
            return source.hresult();
        }
        let win32 = match (self, self.kind()) {
            (Error::Missing { .. } | Error::Transport { .. }, ErrorKind::NotFound) => 2,
            (_, ErrorKind::NotFound) => 3,
            (_, ErrorKind::AlreadyExists) => 183,
            (_, ErrorKind::InUse) => 32,
            (_, ErrorKind::AccessDenied) => 5,
            (_, ErrorKind::PrivilegeNotHeld) => 1314,
            (_, ErrorKind::InvalidArgument) => 87,
            (_, ErrorKind::Unsupported) => 50,
            (_, ErrorKind::NotReady) => 21,
            (_, ErrorKind::InvalidLayer) => return HResult(0x8037_0112),
            _ => return HResult(0x8000_4005),
        };
        HResult::from_win32(win32)
    }
}

fn store_kind(error: &crate::Error) -> ErrorKind {
    match error {
        crate::Error::Io { source, .. } => io_kind(source.kind()),
        crate::Error::InUse { .. } => ErrorKind::InUse,
        crate::Error::NotAttached(_) => ErrorKind::NotFound,
        crate::Error::Unsupported { .. } => ErrorKind::Unsupported,
        crate::Error::Mount { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            ErrorKind::AccessDenied
        }
        _ => ErrorKind::Other,
    }
}

/// What sort of failure an error of the system is.
pub(super) fn io_kind(kind: std::io::ErrorKind) -> ErrorKind {
    match kind {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::DirectoryNotEmpty => ErrorKind::AlreadyExists,
        std::io::ErrorKind::PermissionDenied => ErrorKind::AccessDenied,
        std::io::ErrorKind::ResourceBusy => ErrorKind::InUse,
        std::io::ErrorKind::InvalidInput => ErrorKind::InvalidArgument,
        std::io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}
