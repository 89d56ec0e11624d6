//! What can go wrong in a call.

use std::path::PathBuf;

use crate::hresult::HResult;

/// Result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure an error is: the same for every implementation of layer storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A layer, a parent, or a part of what is imported is not there. Windows says the same of parents in the wrong
    /// order, and of ids that are not those of the folders.
    NotFound,
    /// What is to be made is there already.
    AlreadyExists,
    /// Somebody uses it.
    InUse,
    /// The process may not do it.
    AccessDenied,
    /// A privilege is not held, or not enabled on the thread.
    PrivilegeNotHeld,
    /// An argument that makes no sense there.
    InvalidArgument,
    /// A layer of a form that is not known, or damaged.
    InvalidLayer,
    /// This host cannot do it.
    Unsupported,
    /// A device is not ready yet; trying again may help.
    NotReady,
    /// Anything else.
    Other,
}

/// What can go wrong in a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service refused.
    #[error("{function} on `{}`: {code}", subject.display())]
    Call {
        /// The function that was called.
        function: &'static str,
        /// On what.
        subject: PathBuf,
        /// What it returned.
        code: HResult,
    },
    /// A path has a NUL in it; nothing was called.
    #[error("`{}` has a NUL character in it, so no function of Windows can take it whole", .0.display())]
    Nul(PathBuf),
    /// A path cannot be put into a JSON document; nothing was called.
    #[error("`{}` is not Unicode, so the document cannot name it", .0.display())]
    NotUnicode(PathBuf),
    /// A document cannot be written.
    #[error("cannot write the document {name}")]
    Document {
        /// Which one.
        name: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Call { code, .. } => code.kind(),
            Error::Nul(_) | Error::NotUnicode(_) | Error::Document { .. } => ErrorKind::InvalidArgument,
        }
    }
}
