//! From an image and what was asked for to a container's `container.json` and `process.json`.
//!
//! What Windows has no like of is refused: nothing that was asked for is left out without a word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layerstone_hcs::compute::{
    ContainerProcessor, ContainerSystem, MappedDirectory, ProcessParameters, command_line, quote_argument,
};
use layerstone_hcs::{Guid, LayerChain};
use layerstone_layer::Os;
use layerstone_store::StoredImage;

use super::process;
use crate::error::{Error, Result};
use crate::model::{Config, FORMAT, short};
use crate::options::{
    HealthOptions, Network, OnUnhealthy, RestartPolicy, RunOptions, RuntimeChoice, Seccomp, Volume,
};
use crate::signal;

/// podman's time between the stop signal and the kill.
const DEFAULT_STOP_TIMEOUT: u32 = 10;
/// Of how many cycles a limit of processor time speaks.
const CYCLES: f64 = 10_000.0;

fn unsupported(doing: &'static str, missing: &str) -> Error {
    Error::Unsupported { doing, missing: missing.to_owned() }
}

/// Refuses what containers of Windows do not have.
fn check(options: &RunOptions) -> Result<()> {
    let later = "this version does it on Linux alone";
    let none = "containers of Windows have no like of it";
    let refused: [(bool, &'static str, &str); 13] = [
        (options.runtime != RuntimeChoice::Hcs, "use this runtime", "the one of Windows is `--runtime hcs`"),
        (
            options.tty,
            "give a container a terminal",
            "consoles of Windows are not passed on yet: leave out --tty",
        ),
        (options.read_only, "make a container's root read-only", none),
        (options.init, "give a container an init", none),
        (options.restart != RestartPolicy::No, "start a container again by itself", later),
        (asks_for_health(&options.health), "look at a container's health", later),
        (options.limits.pids.is_some(), "limit the number of processes", none),
        (!options.cap_add.is_empty() || !options.cap_drop.is_empty(), "change capabilities", none),
        (options.seccomp != Seccomp::Default, "apply a seccomp profile", none),
        (options.no_new_privileges, "apply no-new-privileges", none),
        (options.volumes.iter().any(|volume| volume.source.is_none()), "mount a tmpfs", none),
        (
            options.network == Network::Host,
            "give a container the host's network",
            "containers of Windows have a network namespace of their own: use none, or ns:GUID of one that the Host Compute Network \
             service has",
        ),
        (
            options.limits.cpus.is_some_and(|cpus| cpus <= 0.0),
            "limit the processors to none",
            "give a number above 0",
        ),
    ];
    match refused.into_iter().find(|(asked, ..)| *asked) {
        Some((_, doing, missing)) => Err(unsupported(doing, missing)),
        None => Ok(()),
    }
}

/// Whether a check is asked for; that there should be none is what happens here anyway.
fn asks_for_health(health: &HealthOptions) -> bool {
    !health.disabled
        && (health.command.is_some()
            || health.interval.is_some()
            || health.timeout.is_some()
            || health.retries.is_some()
            || health.start_period.is_some()
            || health.on_unhealthy != OnUnhealthy::None)
}

/// The two documents of a container.
pub(super) fn build(
    image: &StoredImage,
    options: &RunOptions,
    id: &str,
    name: &str,
) -> Result<(Config, ProcessParameters)> {
    if image.os() != Os::Windows {
        return Err(Error::ForeignImage { image: image.name.clone(), os: image.config.os().to_owned() });
    }
    check(options)?;
    let (command, line) = command(image, options)?;
    let config = &image.config;
    if let Network::Namespace(namespace) = &options.network {
        namespace_id(namespace)?;
    }
    let stop_signal = options.stop_signal.as_deref().or(config.stop_signal());
    let container = Config {
        format: FORMAT,
        id: id.to_owned(),
        name: name.to_owned(),
        created: super::now(),
        image: image.name.clone(),
        manifest: image.manifest.digest(),
        image_id: config.digest(),
        scratch: format!("container-{}", short(id)),
        command,
        user: options.user.as_deref().or(config.user()).unwrap_or_default().to_owned(),
        workdir: options.workdir.as_deref().or(config.working_dir()).unwrap_or(r"C:\").to_owned(),
        image_volumes: config.volumes(),
        volumes: options.volumes.clone(),
        network: options.network.clone(),
        hostname: options.hostname.clone().unwrap_or_else(|| short(id).to_owned()),
        limits: options.limits.clone(),
        read_only: false,
        tty: false,
        interactive: options.interactive,
        auto_remove: options.auto_remove,
        stop_signal: stop_signal.map_or(Ok(signal::TERM), signal::parse)?,
        stop_timeout: options.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
        runtime: RuntimeChoice::Hcs,
        restart: options.restart,
        health: None,
        init: false,
        labels: options.labels.clone(),
        creator: process::identify_self()?,
    };
    let parameters = ProcessParameters {
        command_line: line,
        user: container.user.clone(),
        // The service does not take slashes everywhere.
        working_directory: container.workdir.replace('/', r"\"),
        environment: environment(config.env().into_iter().chain(options.env.iter().cloned())),
        create_std_in_pipe: options.interactive,
        create_std_out_pipe: true,
        create_std_err_pipe: true,
        ..ProcessParameters::default()
    };
    Ok((container, parameters))
}

/// The program and its arguments, as words and as one line.
///
/// The first word of an image whose command is marked as escaped is the beginning of a command line, and stays what it is.
fn command(image: &StoredImage, options: &RunOptions) -> Result<(Vec<String>, String)> {
    let config = &image.config;
    let mut words: Vec<String> = match &options.entrypoint {
        Some(entrypoint) => entrypoint.iter().filter(|word| !word.is_empty()).cloned().collect(),
        None => config.entrypoint().unwrap_or_default(),
    };
    let mut of_image = options.entrypoint.is_none() && !words.is_empty();
    if !options.command.is_empty() {
        words.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        of_image = true;
        words.extend(config.cmd().unwrap_or_default());
    }
    let Some((first, rest)) = words.split_first().filter(|(first, _)| !first.is_empty()) else {
        return Err(Error::NoCommand(image.name.clone()));
    };
    let line = if of_image && config.args_escaped() {
        let mut line = first.clone();
        for word in rest {
            line.push(' ');
            line.push_str(&quote_argument(word)?);
        }
        line
    } else {
        command_line(&words)?
    };
    Ok((words, line))
}

/// Variables of Windows have no case: the last one that names a variable wins, whichever way it writes the name.
fn environment(variables: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for variable in variables {
        let Some((name, value)) = variable.split_once('=') else { continue };
        all.retain(|known, _| !known.eq_ignore_ascii_case(name));
        all.insert(name.to_owned(), value.to_owned());
    }
    all
}

/// The compute system of a container.
pub(super) fn system<'a>(
    container: &'a Config,
    chain: &'a LayerChain,
    volume: &'a Path,
) -> Result<ContainerSystem<'a>> {
    let directory = |volume: &Volume| -> Result<MappedDirectory> {
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| Error::from(layerstone_hcs::Error::NotUnicode(path.to_owned())))
        };
        Ok(MappedDirectory {
            host_path: volume.source.as_deref().map(text).transpose()?.unwrap_or_default(),
            container_path: volume.destination.clone(),
            read_only: volume.options.iter().any(|option| option == "ro"),
        })
    };
    Ok(ContainerSystem {
        host_name: Some(&container.hostname),
        mapped_directories: container.volumes.iter().map(directory).collect::<Result<_>>()?,
        memory: container.limits.memory,
        processor: container.limits.cpus.map(processor),
        network_namespace: match &container.network {
            Network::Namespace(namespace) => Some(namespace_id(namespace)?),
            _ => None,
        },
        ..ContainerSystem::new(super::OWNER, chain, volume)
    })
}

/// A number of processors as a share of all that the host has.
fn processor(cpus: f64) -> ContainerProcessor {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let share = (cpus / all as f64 * CYCLES).clamp(1.0, CYCLES);
    ContainerProcessor { maximum: share as u32, ..ContainerProcessor::default() }
}

fn namespace_id(namespace: &Path) -> Result<&str> {
    let text = namespace.to_str().filter(|text| Guid::try_parse(text).is_ok());
    text.ok_or_else(|| Error::Invalid {
        what: "a network namespace",
        value: namespace.display().to_string(),
        expected: "the GUID of a namespace of the Host Compute Network service".to_owned(),
    })
}

/// From `-v`: `C:\SOURCE:C:\DESTINATION[:ro]`.
///
/// # Errors
/// When it has another form, or the source is no directory of the host.
pub fn parse_volume(text: &str) -> Result<Volume> {
    let invalid = |expected: &str| Error::Invalid {
        what: "a volume",
        value: text.to_owned(),
        expected: expected.to_owned(),
    };
    const FORM: &str = r"C:\SOURCE:C:\DESTINATION, with :ro behind it where wanted";
    let (rest, options) = match text.strip_suffix(":ro") {
        Some(rest) => (rest, vec!["ro".to_owned()]),
        None => (text.strip_suffix(":rw").unwrap_or(text), Vec::new()),
    };
    // The colon between the two, and not those of the drives.
    let middle = rest.char_indices().skip(2).find(|(_, character)| *character == ':').map(|(at, _)| at);
    let (source, destination) = middle
        .map(|at| (&rest[..at], &rest[at + 1..]))
        .filter(|(source, destination)| is_absolute(source) && is_absolute(destination))
        .ok_or_else(|| invalid(FORM))?;
    let source = PathBuf::from(source);
    if !source.is_dir() {
        return Err(invalid("a directory of this host (files cannot be mapped)"));
    }
    Ok(Volume { source: Some(source), destination: destination.replace('/', r"\"), options })
}

/// `C:\...`, and no other colon.
fn is_absolute(path: &str) -> bool {
    let mut characters = path.chars();
    characters.next().is_some_and(|drive| drive.is_ascii_alphabetic())
        && characters.next() == Some(':')
        && matches!(characters.next(), Some('\\' | '/'))
        && !characters.any(|character| character == ':')
}
