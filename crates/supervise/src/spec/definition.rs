//! What a container of the file means: the options to make it with, and a digest that tells whether they have changed.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use layerstone_agent::options::{
    HealthOptions, Limits, Network, RestartPolicy, RunOptions, RuntimeChoice, Seccomp, Volume,
};
use layerstone_agent::{caps, env, id, seccomp};
use layerstone_oci::Digest;
use serde::Serialize;

use super::{ContainerSpec, DependsOn};

/// The label that says which file a container belongs to.
pub const LABEL_PROJECT: &str = "layerstone.project";
/// The label that says by which definition a container was made.
pub const LABEL_DEFINITION: &str = "layerstone.definition";
/// The label that says what a container depends on: names with commas between them.
pub const LABEL_DEPENDS_ON: &str = "layerstone.depends-on";
/// How such labels begin.
const LABELS: &str = "layerstone.";

/// The largest file of variables that is read, in bytes.
const MAX_ENV_FILE: u64 = 1 << 20;

/// What one container is to be.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The image's name.
    pub image: String,
    /// Everything else that it is made with, except for what is looked up when that is done.
    spec: ContainerSpec,
    /// Variables of files and of the file.
    env: Vec<String>,
    /// The text of its seccomp profile.
    seccomp: Seccomp,
    /// Changes with everything that makes it another container.
    pub digest: String,
    /// What it waits for.
    pub depends_on: DependsOn,
    /// Whether it is started again.
    pub restart: RestartPolicy,
    /// Of which project; nothing for one that the API was asked for.
    project: Option<String>,
}

impl Definition {
    /// What a container of a file means. Relative paths are those of `here`.
    ///
    /// # Errors
    /// When something in it cannot be, as a text.
    pub fn new(name: &str, spec: &ContainerSpec, project: &str, here: &Path) -> Result<Self, String> {
        let restart = spec.restart.unwrap_or(RestartPolicy::Always);
        Self::build(name, spec, restart, Some(project), here)
    }

    /// What a container means that nobody keeps running.
    ///
    /// # Errors
    /// When something in it cannot be, or a path is relative, as a text.
    pub fn alone(name: &str, spec: &ContainerSpec) -> Result<Self, String> {
        let paths = spec.env_file.texts().iter().map(String::as_str);
        let paths = paths.chain(spec.volumes.iter().map(|volume| volume.split(':').next().unwrap_or(volume)));
        if let Some(relative) = paths.into_iter().find(|path| !path.starts_with('/')) {
            return Err(format!("`{relative}` has to be an absolute path"));
        }
        if !spec.depends_on.0.is_empty() {
            return Err("`depends_on` is for containers of a file".to_owned());
        }
        Self::build(name, spec, spec.restart.unwrap_or_default(), None, Path::new("/"))
    }

    fn build(
        name: &str,
        spec: &ContainerSpec,
        restart: RestartPolicy,
        project: Option<&str>,
        here: &Path,
    ) -> Result<Self, String> {
        let told = |error: layerstone_agent::Error| error.in_one_line();
        if !name.is_empty() || project.is_some() {
            id::check_name(name).map_err(told)?;
        }
        let mut spec = spec.clone();
        spec.restart = Some(restart);
        for volume in &mut spec.volumes {
            if volume.starts_with('.') {
                *volume = here.join(&*volume).to_string_lossy().into_owned();
            }
        }
        if let Some(label) = spec.labels.keys().find(|label| label.starts_with(LABELS)) {
            return Err(format!(
                "the label `{label}` is not free: those that begin with `{LABELS}` are the agent's own"
            ));
        }
        caps::resolve(&spec.cap_add, &spec.cap_drop).map_err(told)?;
        let mut destinations = Vec::new();
        for volume in &spec.volumes {
            let mut parts = volume.split(':');
            match (parts.next(), parts.next()) {
                (Some(source), Some(destination))
                    if source.starts_with('/') && destination.starts_with('/') =>
                {
                    destinations.push(destination.to_owned());
                }
                _ => {
                    return Err(format!(
                        "`{volume}` is no volume: SOURCE:DESTINATION[:OPTIONS], where the source begins with / or ."
                    ));
                }
            }
        }
        for tmpfs in &spec.tmpfs {
            destinations.push(Volume::parse_tmpfs(tmpfs).map_err(told)?.destination);
        }
        destinations.sort_unstable();
        if let Some(twice) = destinations.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two volumes are to be at `{}`", twice[0]));
        }
        let mut variables = Vec::new();
        for file in spec.env_file.texts() {
            let text = text_file(&here.join(file), MAX_ENV_FILE)?;
            variables.extend(env::of_file(&text, own_variable).map_err(told)?);
        }
        let flags: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Some(name) = spec.env.keys().find(|name| name.contains('=')) {
            return Err(format!("`{name}` cannot be the name of a variable"));
        }
        variables.extend(env::of_flags(&flags, own_variable).map_err(told)?);
        let seccomp = match spec.security.seccomp.as_deref() {
            None | Some("default") => Seccomp::Default,
            Some("unconfined") => Seccomp::Unconfined,
            Some(path) => Seccomp::Profile(text_file(&here.join(path), seccomp::MAX_PROFILE)?),
        };
        let digest = digest(&spec, &variables, &seccomp)?;
        Ok(Definition {
            name: name.to_owned(),
            image: spec.image.clone(),
            env: variables,
            seccomp,
            digest,
            depends_on: spec.depends_on.clone(),
            restart,
            project: project.map(str::to_owned),
            spec,
        })
    }

    /// The options to make it with. Paths of the host are looked up now.
    ///
    /// # Errors
    /// When a volume's source or the runtime does not exist.
    pub fn options(&self) -> layerstone_agent::Result<RunOptions> {
        let spec = &self.spec;
        let mut volumes = Vec::new();
        for volume in &spec.volumes {
            volumes.push(Volume::parse_bind(volume, Path::new("/"))?);
        }
        for tmpfs in &spec.tmpfs {
            volumes.push(Volume::parse_tmpfs(tmpfs)?);
        }
        let mut labels = spec.labels.clone();
        if let Some(project) = &self.project {
            labels.insert(LABEL_PROJECT.to_owned(), project.clone());
            labels.insert(LABEL_DEFINITION.to_owned(), self.digest.clone());
            if !self.depends_on.0.is_empty() {
                let names: Vec<&str> = self.depends_on.0.keys().map(String::as_str).collect();
                labels.insert(LABEL_DEPENDS_ON.to_owned(), names.join(","));
            }
        }
        Ok(RunOptions {
            name: Some(self.name.clone()).filter(|name| !name.is_empty()),
            tty: spec.tty,
            env: self.env.clone(),
            workdir: spec.workdir.clone(),
            user: spec.user.clone(),
            entrypoint: spec.entrypoint.clone(),
            command: spec.command.clone(),
            volumes,
            read_only: spec.read_only,
            limits: Limits { memory: spec.memory, cpus: spec.cpus, pids: spec.pids },
            cap_add: spec.cap_add.clone(),
            cap_drop: spec.cap_drop.clone(),
            seccomp: self.seccomp.clone(),
            no_new_privileges: spec.security.no_new_privileges,
            network: spec.network.as_deref().map(Network::parse).transpose()?.unwrap_or_default(),
            hostname: spec.hostname.clone(),
            stop_signal: spec.stop_signal.clone(),
            stop_timeout: spec.stop_timeout.and_then(|period| u32::try_from(period.0.as_secs()).ok()),
            runtime: runtime(spec.runtime.as_deref())?,
            restart: self.restart,
            health: self.health(),
            init: spec.init,
            labels,
            ..RunOptions::default()
        })
    }

    fn health(&self) -> HealthOptions {
        let Some(health) = &self.spec.health else { return HealthOptions::default() };
        HealthOptions {
            disabled: health.disable,
            command: health.command.as_ref().map(|command| command.texts().to_vec()),
            interval: health.interval.map(|period| period.0),
            timeout: health.timeout.map(|period| period.0),
            retries: health.retries,
            start_period: health.start_period.map(|period| period.0),
            on_unhealthy: health.on_failure.unwrap_or_default(),
        }
    }
}

/// Tells a definition from every other one. It has to be the same in every version of this program for the same file: otherwise an
/// upgrade would replace all containers. So only what is set is part of it, and new keys change nothing where they are not set.
fn digest(spec: &ContainerSpec, env: &[String], seccomp: &Seccomp) -> Result<String, String> {
    #[derive(Serialize)]
    struct Whole<'a> {
        spec: &'a ContainerSpec,
        env: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        seccomp: Option<&'a str>,
    }
    let seccomp = if let Seccomp::Profile(text) = seccomp { Some(text.as_str()) } else { None };
    let bytes = serde_json::to_vec(&Whole { spec, env, seccomp }).map_err(|error| error.to_string())?;
    Ok(Digest::of(&bytes).to_string())
}

fn own_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn text_file(path: &Path, most: u64) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let read = file.take(most + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > most {
        return Err(format!("`{}` has more than {most} bytes", path.display()));
    }
    Ok(text)
}

/// The built-in runtime, a program of `PATH`, or the path of one.
fn runtime(name: Option<&str>) -> layerstone_agent::Result<RuntimeChoice> {
    let name = match name {
        None | Some("youki") => return Ok(RuntimeChoice::Youki),
        Some(name) => name,
    };
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![name.into()]
    } else {
        // Administrators' programs are not in everybody's PATH.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&path).chain(["/usr/local/sbin".into(), "/usr/sbin".into()]);
        directories.map(|directory| directory.join(name)).collect()
    };
    let found =
        candidates.into_iter().filter(|path| path.is_file()).find_map(|path| path.canonicalize().ok());
    found.map(RuntimeChoice::Program).ok_or_else(|| layerstone_agent::Error::Invalid {
        what: "a runtime",
        value: name.to_owned(),
        expected: "youki, a program in PATH, or the path of one".to_owned(),
    })
}
