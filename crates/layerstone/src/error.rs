//! Errors as the user sees them: what was being done, what went wrong, what to do about it.

pub(crate) mod storage;

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

/// What a verb can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] layerstone_store::Error),
    /// Layer storage.
    #[error(transparent)]
    Storage(#[from] layerstone_store::storage::Error),
    /// Layer storage by a service that this system does not have.
    #[error("the Host Compute Service is a part of Windows, and this is {}", std::env::consts::OS)]
    #[cfg_attr(windows, expect(dead_code, reason = "there it is"))]
    NoService,
    /// An image source.
    #[error(transparent)]
    Oci(#[from] layerstone_oci::Error),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] layerstone_registry::Error),
    /// A container.
    #[error(transparent)]
    Agent(#[from] layerstone_agent::Error),
    /// Keeping containers.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Supervise(#[from] layerstone_supervise::Error),
    /// Running a container, or a program in one: the exit codes are podman's.
    #[error(transparent)]
    #[cfg_attr(not(any(target_os = "linux", windows)), expect(dead_code, reason = "there are no containers"))]
    Run(Box<Error>),
    /// Containers, on a system that has none.
    #[error("containers need Linux or Windows, and this is {}", std::env::consts::OS)]
    #[cfg_attr(any(target_os = "linux", windows), expect(dead_code, reason = "there they are"))]
    NeedsLinux,
    /// Several things were to be done, and some failed; each has been told.
    #[error("{failed} of {all} failed")]
    #[cfg_attr(not(any(target_os = "linux", windows)), expect(dead_code, reason = "there are no containers"))]
    Some {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
    /// Comparing.
    #[error(transparent)]
    Diff(#[from] layerstone_layer::diff::Error<layerstone_store::Error>),
    /// No layer of the object has the hive.
    #[error("`{object}` has no registry hive for {hives}")]
    NoHive {
        /// Where the hives would be mounted.
        hives: String,
        /// The image, layer or scratch.
        object: String,
    },
    /// The registry has no such key.
    #[error("the registry of `{object}` has no key `{key}`")]
    NoKey {
        /// Which key.
        key: String,
        /// The image, layer or scratch.
        object: String,
    },
    /// The key has no such value.
    #[error("the key `{key}` in the registry of `{object}` has no value `{value}`")]
    NoValue {
        /// Which value; empty for that without a name.
        value: String,
        /// Of which key.
        key: String,
        /// The image, layer or scratch.
        object: String,
    },
    /// The system.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user asked for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Verification found damage; it has been printed.
    #[error("{0}")]
    Damage(String),
    /// The demo found that something was not as it must be.
    #[error("the demo failed: {0}")]
    Demo(String),
    /// JSON output.
    #[error("writing JSON")]
    Json(#[from] serde_json::Error),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was being done, on which path.
pub(crate) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.into(), source })
    }
}

impl Error {
    /// 1 failed, 2 wrong usage, 3 damage, 4 the host lacks what is needed.
    pub(crate) fn exit_code(&self) -> u8 {
        use layerstone_agent::Error as Agent;
        use layerstone_store::Error as Store;
        match (self, self.store()) {
            (Error::Run(error), _) => match &**error {
                Error::Agent(Agent::Unsupported { .. }) | Error::NeedsLinux => 4,
                #[cfg(windows)]
                Error::Agent(Agent::Hcs(error)) if error.kind() == layerstone_hcs::ErrorKind::Unsupported => {
                    4
                }
                Error::Agent(error) => error.exit_code(),
                other if other.exit_code() == 4 => 4,
                _ => layerstone_agent::EXIT_FAILED,
            },
            (Error::Agent(Agent::Unsupported { .. }) | Error::NeedsLinux, _) => 4,
            #[cfg(windows)]
            (Error::Agent(Agent::Hcs(error)), _)
                if error.kind() == layerstone_hcs::ErrorKind::Unsupported =>
            {
                4
            }
            (Error::Agent(Agent::Storage(error)), _) if storage::is_of_the_host(error) => 4,
            (Error::Agent(Agent::Invalid { .. }), _) => 2,
            #[cfg(target_os = "linux")]
            (Error::Supervise(error), _) => match error {
                layerstone_supervise::Error::Syntax { .. }
                | layerstone_supervise::Error::Impossible { .. } => 2,
                layerstone_supervise::Error::Agent(Agent::Unsupported { .. }) => 4,
                _ => 1,
            },
            (Error::Usage(_), _)
            | (Error::Registry(layerstone_registry::Error::InvalidReference { .. }), _) => 2,
            (Error::Damage(_), _) | (_, Some(Store::Damaged { .. })) => 3,
            (_, Some(Store::Unsupported { .. })) | (Error::NoService, _) => 4,
            (Error::Storage(error), _) if storage::is_of_the_host(error) => 4,
            _ => 1,
        }
    }

    /// What the store says is wrong; not that it was committing meanwhile.
    fn store(&self) -> Option<&layerstone_store::Error> {
        match self {
            Error::Store(layerstone_store::Error::Commit { source, .. }) => Some(source),
            Error::Store(error) => Some(error),
            Error::Agent(layerstone_agent::Error::Store(error)) => Some(error),
            Error::Run(error) => error.store(),
            Error::Storage(error) => storage::store(error),
            _ => None,
        }
    }

    /// Standard output was closed by whoever read it: no error worth a word.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        causes(self).any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
        })
    }

    /// The error, its causes and a hint, as lines.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("error: {self}");
        let mut last = self.to_string();
        for cause in causes(self).skip(1) {
            let message = cause.to_string();
            // Some libraries repeat their cause in their own message.
            if !last.contains(&message) {
                text.push_str(&format!("\n  caused by: {message}"));
            }
            last = message;
        }
        if let Some(layerstone_registry::Error::AllFailed { attempts, .. }) = self.registry() {
            for attempt in attempts {
                text.push_str(&format!("\n  {attempt}"));
            }
        }
        if let Error::Storage(error) = self
            && let Some(known) = storage::known(error)
        {
            text.push_str(&storage::explanation(known));
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }

    /// What a registry did, also where it broke off while a layer was read.
    fn registry(&self) -> Option<&layerstone_registry::Error> {
        causes(self).find_map(|cause| match cause.downcast_ref::<io::Error>() {
            Some(error) => layerstone_registry::Error::of_io(error),
            None => cause.downcast_ref(),
        })
    }

    fn hint(&self) -> Option<String> {
        use layerstone_agent::Error as Agent;
        use layerstone_oci::Error as Oci;
        use layerstone_store::Error as Store;
        match self {
            Error::Run(error) => return error.hint(),
            Error::NeedsLinux => {
                return Some("run it on a Linux host; images and layers can be worked with here".into());
            }
            #[cfg(windows)]
            Error::Agent(Agent::Hcs(layerstone_hcs::Error::Unavailable { .. })) => {
                return Some(format!(
                    "{}; `layerstone doctor` shows what is there",
                    storage::ENABLE_CONTAINERS
                ));
            }
            #[cfg(windows)]
            Error::Agent(Agent::Hcs(error)) if error.known().is_some() => {
                return error.known().map(|known| known.remedy.into());
            }
            Error::Agent(Agent::Storage(error)) if storage::store(error).is_none() => {
                return storage::hint(error).or_else(|| self.hint_by_errno());
            }
            Error::Agent(Agent::NoContainer(_)) => {
                return Some("`layerstone ps -a` lists what is there".into());
            }
            Error::Agent(Agent::NameTaken { name, .. }) => {
                return Some(format!("choose another name, or remove that one with `layerstone rm {name}`"));
            }
            Error::Agent(Agent::Ambiguous { .. }) => return Some("give more digits".into()),
            Error::Agent(Agent::State { doing: "remove", .. }) => {
                return Some("stop it first, or remove it with -f".into());
            }
            Error::Agent(Agent::OutputClosed { name }) => {
                return Some(format!(
                    "`layerstone stop {name}` ends it, `layerstone logs -f {name}` shows the rest"
                ));
            }
            Error::Agent(Agent::Unsupported { .. }) => {
                return Some("`layerstone doctor` shows what this host can do".into());
            }
            Error::Agent(Agent::NoCommand(image)) => {
                return Some(format!("say what to run: `layerstone run {image} COMMAND`"));
            }
            #[cfg(target_os = "linux")]
            Error::Supervise(error) => {
                return error.hint().map(str::to_owned).or_else(|| self.hint_by_errno());
            }
            Error::Registry(error) => return error.hint().or_else(|| self.hint_by_errno()),
            _ if self.registry().is_some() => {
                return self.registry().and_then(layerstone_registry::Error::hint);
            }
            // What the store says is wrong has its hint below.
            Error::Storage(error) if storage::store(error).is_none() => {
                return storage::hint(error).or_else(|| self.hint_by_errno());
            }
            Error::NoHive { .. } => {
                return Some(
                    "only Windows images have a registry; a layer above the base may change none of it"
                        .into(),
                );
            }
            Error::NoKey { .. } | Error::NoValue { .. } => {
                return Some(
                    "`layerstone tree OBJECT --registry KEY --depth 1` lists what is in a key".into(),
                );
            }
            Error::NoService => {
                return Some(
                    "`--portable` does it with the engine that runs on every system; what takes virtual disks needs Windows"
                        .into(),
                );
            }
            _ => {}
        }
        let oci = match self {
            Error::Oci(error) | Error::Store(Store::Oci(error)) => Some(error),
            _ => None,
        };
        if let Some(error) = oci {
            match error {
                Oci::NotALayout { .. } => {
                    return Some(
                        "`layerstone import SRC` makes a store; --root or LAYERSTONE_ROOT says where it is"
                            .into(),
                    );
                }
                Oci::SeveralImages { .. } => return Some("choose one with --image NAME".into()),
                Oci::NoMatchingPlatform { .. } => return Some("choose one with --platform".into()),
                Oci::ForeignLayer { .. } => {
                    return Some(
                        "this layer is not in the file: fetch it from one of its addresses first".into(),
                    );
                }
                Oci::BlobMissing { .. } => {
                    return Some(
                        "the file holds only a part of the image: copy it again with all its layers".into(),
                    );
                }
                _ => {}
            }
        }
        match self.store() {
            Some(Store::NoImage(_)) => Some("`layerstone images` lists what is there".into()),
            Some(Store::NoScratch(_)) => Some("`layerstone scratch ls` lists what is there".into()),
            Some(Store::NoLayer(_)) => {
                Some("import the image again: a layer that is missing is unpacked again".into())
            }
            Some(Store::ScratchExists(name)) => {
                Some(format!("choose another name, or remove it with `layerstone scratch rm {name}`"))
            }
            Some(Store::Ambiguous { what: "platform", .. }) => {
                Some("choose one with --platform".into())
            }
            Some(Store::Ambiguous { .. }) => Some("give more digits".into()),
            Some(Store::DiffIdMismatch { .. }) => {
                Some("the image was put together wrongly, or its configuration belongs to another one".into())
            }
            Some(Store::Limit { .. }) => Some(
                "if the layer is meant to be that large, raise --max-layer-size or --max-layer-entries"
                    .into(),
            ),
            Some(Store::Tar { .. } | Store::Entry { .. }) => self.hint_by_errno().or_else(|| {
                Some("the layer is damaged or was made wrongly: fetch or copy the image again; nothing of it was stored".into())
            }),
            Some(
                Store::Damaged { .. }
                | Store::Image { .. }
                | Store::Attribute { .. }
                | Store::Split { .. }
                | Store::Json { .. },
            ) => Some("`layerstone fsck` shows all damage, `fsck --repair` mends or sets aside".into()),
            Some(Store::Unsupported { .. }) => {
                Some("`layerstone doctor` shows what this host can do and how to get the rest".into())
            }
            Some(Store::InUse { .. }) => Some("detach or finish that first".into()),
            Some(Store::Version { .. }) => Some("use a newer layerstone for this store".into()),
            _ => self.hint_by_errno(),
        }
    }

    fn hint_by_errno(&self) -> Option<String> {
        let kind = causes(self).find_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind))?;
        Some(match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space (`layerstone gc` frees what no image needs); nothing half-done was left".into()
            }
            io::ErrorKind::PermissionDenied => {
                "run as the store's owner, or choose another store with --root".into()
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "the store lies on a read-only file system: choose another with --root".into()
            }
            _ => return None,
        })
    }
}

/// An error and its causes.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |&error| error.source())
}
