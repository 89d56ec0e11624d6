//! What can go wrong in a call.

use std::path::PathBuf;

use crate::catalogue::Known;
use crate::compute::ResultError;
use crate::functions::Build;
use crate::hresult::HResult;
use crate::privilege_names::Privilege;

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
    /// The disk is full.
    NoSpace,
    /// It took too long.
    TimedOut,
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
    /// An operation of the service failed, and it has said why.
    #[error("{function} on `{}`: {code}: {details}", subject.display())]
    Operation {
        /// The function that began it.
        function: &'static str,
        /// On what.
        subject: PathBuf,
        /// What it ended with.
        code: HResult,
        /// What the service said.
        details: Box<ResultError>,
    },
    /// The DLL, or this function of it, is not on this host. Nothing was called.
    #[error("{function} of {} is not available: {code}{}{}", library.display(), since_sentence(*since), feature_sentence(library))]
    Unavailable {
        /// The DLL.
        library: PathBuf,
        /// The function that was wanted.
        function: &'static str,
        /// The first build of Windows that has it, where that is published.
        since: Option<Build>,
        /// What loading it returned.
        code: HResult,
    },
    /// This build of Windows is too old for the function, although it has it. Nothing was called.
    #[error("{function} needs build {needed} of Windows or a later one; this is {}", found.0)]
    Build {
        /// The function.
        function: &'static str,
        /// The build that it needs.
        needed: Build,
        /// The one that runs.
        found: Build,
    },
    /// A privilege cannot be enabled, because the account does not hold it.
    #[error(
        "{privilege} is not held: run elevated (\"Run as administrator\"), or have an administrator assign the user right \
         \"{}\" and log on again",
        privilege.user_right()
    )]
    Privilege {
        /// Which one.
        privilege: Privilege,
    },
    /// The service said that it destroyed a layer, and the folder is there still.
    #[error(
        "{function} reported success, but `{}` is still there; part of it may be gone. Detach what uses it (a virtual \
         disk, a filter) and destroy it again",
        path.display()
    )]
    StillThere {
        /// The function that was called.
        function: &'static str,
        /// What should be gone.
        path: PathBuf,
    },
    /// An argument that the function cannot take. Nothing was called.
    #[error("{function} on `{}`: {reason}", subject.display())]
    Argument {
        /// The function that would have been called.
        function: &'static str,
        /// On what.
        subject: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A function reported success and returned something that cannot be.
    #[error("{function} on `{}`: {reason}", subject.display())]
    Answer {
        /// The function that was called.
        function: &'static str,
        /// On what.
        subject: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A path has a NUL in it; nothing was called.
    #[error("`{}` has a NUL character in it, so no function of Windows can take it whole", .0.display())]
    Nul(PathBuf),
    /// A document has a NUL in it; nothing was called.
    #[error("the document {0:?} has a NUL character in it, so no function of Windows can take it whole")]
    NulInDocument(String),
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

fn since_sentence(since: Option<Build>) -> String {
    since.map_or_else(String::new, |build| format!("; Windows has it since build {build}"))
}

/// Which feature of Windows brings a DLL, where it is no part of every Windows.
fn feature_sentence(library: &std::path::Path) -> &'static str {
    const OF_CONTAINERS: [&str; 3] = ["computecore.dll", "computestorage.dll", "vmcompute.dll"];
    // Its name on every system: no other one has backslashes in its paths.
    let name = library.to_str().and_then(|path| path.rsplit(['\\', '/']).next()).unwrap_or_default();
    if OF_CONTAINERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        "; the Windows feature `Containers` brings it"
    } else {
        ""
    }
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Call { code, .. } | Error::Operation { code, .. } => code.kind(),
            Error::Unavailable { .. } | Error::Build { .. } => ErrorKind::Unsupported,
            Error::Privilege { .. } => ErrorKind::PrivilegeNotHeld,
            Error::StillThere { .. } => ErrorKind::InUse,
            Error::Answer { .. } => ErrorKind::Other,
            Error::Argument { .. }
            | Error::Nul(_)
            | Error::NulInDocument(_)
            | Error::NotUnicode(_)
            | Error::Document { .. } => ErrorKind::InvalidArgument,
        }
    }

    /// What a function returned, when one was called or wanted.
    pub fn code(&self) -> Option<HResult> {
        match self {
            Error::Call { code, .. } | Error::Operation { code, .. } | Error::Unavailable { code, .. } => {
                Some(*code)
            }
            _ => None,
        }
    }

    /// What the code usually means here, what causes it, and what to do about it.
    pub fn known(&self) -> Option<&'static Known> {
        match self {
            Error::Call { code, .. } | Error::Operation { code, .. } => code.known(),
            _ => None,
        }
    }
}
