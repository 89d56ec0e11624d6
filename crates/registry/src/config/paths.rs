//! Where configuration and credentials are, as podman and docker have it.

use std::env;
use std::path::{Path, PathBuf};

/// The files and directories that a client reads. [`from_environment`](Self::from_environment) is what the tools use; tests
/// and embedders may set each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// `registries.conf`: the first that exists is read.
    pub registries: Vec<PathBuf>,
    /// Directories of further `*.conf` files, in the order in which they are read; later ones win.
    pub registries_dirs: Vec<PathBuf>,
    /// Credentials, in the order in which they are asked.
    pub auth_files: Vec<PathBuf>,
    /// Where `login` writes.
    pub login_file: PathBuf,
    /// Directories with a subdirectory for each registry that has certificates of its own. The first that has one for a
    /// registry counts.
    pub certificate_dirs: Vec<PathBuf>,
}

impl Paths {
    /// What the environment says: `CONTAINERS_REGISTRIES_CONF`, `CONTAINERS_REGISTRIES_CONF_DIR`, `REGISTRY_AUTH_FILE`,
    /// `XDG_RUNTIME_DIR`, `XDG_CONFIG_HOME`, `DOCKER_CONFIG`, `HOME`.
    pub fn from_environment() -> Self {
        let home = variable("HOME").or_else(|| variable("USERPROFILE")).unwrap_or_else(|| PathBuf::from("."));
        let config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("containers");
        let system = Path::new("/etc/containers");
        let registries = match variable("CONTAINERS_REGISTRIES_CONF") {
            Some(path) => vec![path],
            None => vec![config.join("registries.conf"), system.join("registries.conf")],
        };
        let registries_dirs = match variable("CONTAINERS_REGISTRIES_CONF_DIR") {
            Some(path) => vec![path],
            None => vec![system.join("registries.conf.d"), config.join("registries.conf.d")],
        };
        let (auth_files, login_file) = match variable("REGISTRY_AUTH_FILE") {
            Some(path) => (vec![path.clone()], path),
            None => {
                let docker = variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
                let mut files: Vec<PathBuf> = runtime_auth_file().into_iter().collect();
                files.extend([config.join("auth.json"), docker.join("config.json")]);
                let login = files.first().cloned().unwrap_or_default();
                (files, login)
            }
        };
        let certificate_dirs =
            vec![config.join("certs.d"), system.join("certs.d"), PathBuf::from("/etc/docker/certs.d")];
        Self { registries, registries_dirs, auth_files, login_file, certificate_dirs }
    }

    /// The same, with one file of credentials only.
    #[must_use]
    pub fn with_auth_file(mut self, path: PathBuf) -> Self {
        self.login_file.clone_from(&path);
        self.auth_files = vec![path];
        self
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Credentials that are gone after a restart: podman's default on Linux.
#[cfg(target_os = "linux")]
fn runtime_auth_file() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    match variable("XDG_RUNTIME_DIR") {
        Some(directory) => Some(directory.join("containers").join("auth.json")),
        // Whoever runs this owns its /proc entry.
        None => {
            let uid = std::fs::metadata("/proc/self").ok()?.uid();
            Some(PathBuf::from(format!("/run/containers/{uid}/auth.json")))
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn runtime_auth_file() -> Option<PathBuf> {
    None
}
