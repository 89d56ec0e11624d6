//! From an image and what was asked for to a container's `container.json` and its bundle's `config.json`.
//!
//! Defaults are podman's: capabilities, masked and read-only paths, mounts, the environment. What the image names (users,
//! groups) is looked up in the image.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use layerstone_layer::merge::Merged;
use layerstone_layer::view::{LayerView as _, NodeKind};
use layerstone_layer::{LayerPath, Os};
use layerstone_store::{ChainLayer, Store, StoredImage};

use super::{cgroup, initprogram, process};
use crate::env::{DEFAULT_PATH, Environment};
use crate::error::{Error, IoContext as _, Result};
use crate::model::{Config, FORMAT};
use crate::options::{Limits, Network, RestartPolicy, RunOptions, RuntimeChoice, Seccomp, Volume, absolute};
use crate::spec::{
    Capabilities, Cpu, DeviceRule, Linux, Memory, Mount, Namespace, Pids, Process, Resources, Rlimit, Root,
    Spec, User, VERSION,
};
use crate::{caps, health, seccomp, signal, user};

/// podman's limit of processes.
const DEFAULT_PIDS: i64 = 2048;
/// podman's limit of open files.
const DEFAULT_FILES: u64 = 1_048_576;
/// podman's time between the stop signal and the kill.
const DEFAULT_STOP_TIMEOUT: u32 = 10;
/// Microseconds; the kernel's default.
const CPU_PERIOD: u64 = 100_000;
/// The least quota that the kernel takes, in microseconds.
const MIN_CPU_QUOTA: f64 = 1000.0;

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/fs/selinux",
    "/sys/dev/block",
];
const READ_ONLY: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Directories that podman keeps writable in a container whose root is not.
const WRITABLE: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// Where a container's files will be.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// Its directory in the store.
    pub(super) directory: &'a Path,
    /// Where its root file system will be attached.
    pub(super) rootfs: &'a Path,
}

/// The two documents of a container. `id` and `name` are given; all else comes from the image and the options.
pub(super) fn build(
    store: &Store,
    image: &StoredImage,
    options: &RunOptions,
    id: &str,
    name: &str,
    places: &Places<'_>,
) -> Result<(Config, Spec)> {
    if image.os() != Os::Linux {
        return Err(Error::ForeignImage { image: image.name.clone(), os: "Windows".to_owned() });
    }
    if options.auto_remove && options.restart == RestartPolicy::Always {
        return Err(Error::Invalid {
            what: "a restart policy together with --rm",
            value: options.restart.to_string(),
            expected: "no or on-failure: what is always started again never has an end after which it could be removed"
                .to_owned(),
        });
    }
    let config = &image.config;
    let command = command(image, options)?;
    let user = options.user.as_deref().or(config.user()).unwrap_or_default().to_owned();
    let view = store.chain_view(&image.chain_ids(), image.os())?;
    let identity = identity(&view, &user)?;
    let workdir = options.workdir.as_deref().or(config.working_dir()).unwrap_or("/");
    let workdir = if workdir == "/" { Some("/".to_owned()) } else { absolute(workdir) };
    let workdir = workdir.ok_or_else(|| Error::Invalid {
        what: "the working directory",
        value: options.workdir.clone().or(config.working_dir().map(str::to_owned)).unwrap_or_default(),
        expected: "an absolute path".to_owned(),
    })?;
    let hostname = match (&options.hostname, &options.network) {
        (Some(hostname), _) => checked_hostname(hostname)?,
        (None, Network::Host) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        (None, _) => crate::model::short(id).to_owned(),
    };
    let stop_signal = options.stop_signal.as_deref().or(config.stop_signal());
    let image_volumes = config.volumes().iter().filter_map(|volume| absolute(volume)).collect();
    let container = Config {
        format: FORMAT,
        id: id.to_owned(),
        name: name.to_owned(),
        created: super::now(),
        image: image.name.clone(),
        manifest: image.manifest.digest(),
        image_id: config.digest(),
        scratch: format!("container-{}", crate::model::short(id)),
        command,
        user,
        workdir,
        image_volumes,
        volumes: options.volumes.clone(),
        network: options.network.clone(),
        hostname,
        limits: options.limits.clone(),
        read_only: options.read_only,
        tty: options.tty,
        interactive: options.interactive,
        auto_remove: options.auto_remove,
        stop_signal: stop_signal.map_or(Ok(signal::TERM), signal::parse)?,
        stop_timeout: options.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
        runtime: options.runtime.clone(),
        restart: options.restart,
        health: health::resolve(&options.health, config.healthcheck().as_ref())?,
        init: options.init,
        labels: options.labels.clone(),
        creator: process::identify_self()?,
    };
    let mut spec = spec(&container, image, options, identity, places)?;
    if container.init && container.runtime != RuntimeChoice::Youki {
        spec.mounts.push(initprogram::mount(&initprogram::find()?));
        spec.process.args.splice(0..0, initprogram::words());
    }
    Ok((container, spec))
}

fn command(image: &StoredImage, options: &RunOptions) -> Result<Vec<String>> {
    let config = &image.config;
    let mut command = match &options.entrypoint {
        Some(entrypoint) => entrypoint.iter().filter(|word| !word.is_empty()).cloned().collect(),
        None => config.entrypoint().unwrap_or_default(),
    };
    if !options.command.is_empty() {
        command.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        command.extend(config.cmd().unwrap_or_default());
    }
    if command.is_empty() || command[0].is_empty() {
        return Err(Error::NoCommand(image.name.clone()));
    }
    Ok(command)
}

/// Who `user` is in a view of an image.
pub(super) fn identity(view: &Merged<ChainLayer>, user: &str) -> Result<user::Identity> {
    let passwd = text_file(view, "etc/passwd")?;
    let group = text_file(view, "etc/group")?;
    user::resolve(user, &passwd, &group)
}

/// A small text file of an image; empty when there is none.
fn text_file(view: &Merged<ChainLayer>, path: &str) -> Result<String> {
    let Some(found) = view.resolve(&LayerPath::from(path), true)? else { return Ok(String::new()) };
    let (NodeKind::File { .. }, Some((layer, id))) = (&found.node.kind, found.sources.first()) else {
        return Ok(String::new());
    };
    let mut bytes = Vec::new();
    view.layers()[*layer]
        .open(id, None)?
        .take(user::MAX_FILE)
        .read_to_end(&mut bytes)
        .doing("read", format!("/{path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn checked_hostname(hostname: &str) -> Result<String> {
    let fine = !hostname.is_empty()
        && hostname.len() <= 64
        && hostname.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if fine {
        return Ok(hostname.to_owned());
    }
    Err(Error::Invalid {
        what: "a host name",
        value: hostname.to_owned(),
        expected: "at most 64 letters, digits, `-`, `.` and `_`".to_owned(),
    })
}

fn spec(
    container: &Config,
    image: &StoredImage,
    options: &RunOptions,
    identity: user::Identity,
    places: &Places<'_>,
) -> Result<Spec> {
    let bounding = capabilities(options, container)?;
    let mut env = Environment::default();
    env.set_default("PATH", DEFAULT_PATH);
    if container.tty {
        env.set_default("TERM", "xterm");
    }
    env.set_all(image.config.env());
    env.set_all(options.env.iter().cloned());
    env.set_default("HOSTNAME", &container.hostname);
    env.set_default("HOME", &identity.home);
    let explicit = caps::resolve(&options.cap_add, &["all".to_owned()]);
    let explicit = if options.cap_add.iter().any(|cap| cap.eq_ignore_ascii_case("all")) {
        bounding.clone()
    } else {
        explicit?
    };
    let process = Process {
        terminal: container.tty,
        console_size: None,
        capabilities: capability_sets(&bounding, identity.uid, &explicit),
        user: User { uid: identity.uid, gid: identity.gid, additional_gids: identity.groups },
        args: container.command.clone(),
        env: env.into_vec(),
        cwd: container.workdir.clone(),
        rlimits: vec![files_limit()],
        no_new_privileges: options.no_new_privileges,
    };
    let seccomp = match &options.seccomp {
        Seccomp::Unconfined => None,
        Seccomp::Default => Some(filter(None, &bounding)?),
        Seccomp::Profile(text) => Some(filter(Some(text), &bounding)?),
    };
    Ok(Spec {
        oci_version: VERSION.to_owned(),
        process,
        root: Root { path: places.rootfs.to_path_buf(), readonly: container.read_only },
        hostname: container.hostname.clone(),
        mounts: mounts(container, places),
        linux: Linux {
            namespaces: namespaces(&container.network),
            cgroups_path: container.cgroup(),
            resources: resources(&container.limits)?,
            masked_paths: MASKED.map(str::to_owned).to_vec(),
            readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
            seccomp,
        },
    })
}

fn capabilities(options: &RunOptions, container: &Config) -> Result<Vec<&'static str>> {
    let wanted = caps::resolve(&options.cap_add, &options.cap_drop)?;
    let own = own_bounding_set()?;
    let is = |cap: &str, add: &str| cap == add || cap.get(4..) == Some(add);
    let named = |cap: &str| options.cap_add.iter().any(|add| is(cap, &add.to_ascii_uppercase()));
    // What this process cannot give: an error where it was asked for by name, and no part of "all".
    if let Some(missing) = wanted.iter().find(|cap| !own.contains(cap) && named(cap)) {
        return Err(Error::Unsupported {
            doing: "give a container a capability that it lacks itself",
            missing: format!("{missing} is not in the bounding set of this process"),
        });
    }
    if wanted.contains(&"CAP_MKNOD")
        && container.runtime == RuntimeChoice::Youki
        && cgroup::is_unified_only()?
    {
        return Err(Error::Unsupported {
            doing: "restrict devices with the built-in runtime on cgroup version 2, so CAP_MKNOD would open all of them",
            missing: "use --runtime runc or crun for this container".to_owned(),
        });
    }
    Ok(wanted.into_iter().filter(|cap| own.contains(cap)).collect())
}

fn own_bounding_set() -> Result<Vec<&'static str>> {
    const STATUS: &str = "/proc/self/status";
    let text = std::fs::read_to_string(STATUS).doing("read", STATUS)?;
    let mask =
        text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
    let mask = mask.unwrap_or(0);
    Ok(caps::ALL
        .into_iter()
        .enumerate()
        .filter(|(number, _)| mask >> number & 1 == 1)
        .map(|(_, cap)| cap)
        .collect())
}

/// What a process may do whose user is `uid`: root has the bounding set, others what was given by name.
pub(super) fn capability_sets(bounding: &[&str], uid: u32, explicit: &[&str]) -> Capabilities {
    let list = |caps: &[&str]| caps.iter().map(|&cap| cap.to_owned()).collect::<Vec<_>>();
    if uid == 0 {
        Capabilities {
            bounding: list(bounding),
            effective: list(bounding),
            permitted: list(bounding),
            ..Capabilities::default()
        }
    } else {
        Capabilities {
            bounding: list(bounding),
            effective: list(explicit),
            permitted: list(explicit),
            inheritable: list(explicit),
            ambient: list(explicit),
        }
    }
}

fn filter(profile: Option<&str>, bounding: &[&'static str]) -> Result<seccomp::Filter> {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let target = seccomp::Target { machine: std::env::consts::ARCH, capabilities: bounding, kernel };
    let filter = seccomp::resolve(profile, &target)?;
    // What cannot be compiled is told now, not when the container has been made half.
    seccomp::compile(&filter)?;
    Ok(filter)
}

/// podman's limit, as far as this process may give it.
fn files_limit() -> Rlimit {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = own.maximum.map_or(DEFAULT_FILES, |hard| hard.min(DEFAULT_FILES));
    Rlimit { kind: "RLIMIT_NOFILE".to_owned(), hard: limit, soft: limit }
}

fn namespaces(network: &Network) -> Vec<Namespace> {
    let own = |kind: &str| Namespace { kind: kind.to_owned(), path: None };
    let mut all = vec![own("pid"), own("ipc"), own("uts"), own("mount"), own("cgroup")];
    match network {
        Network::None => all.push(own("network")),
        Network::Host => {}
        Network::Namespace(path) => {
            all.push(Namespace { kind: "network".to_owned(), path: Some(path.clone()) });
        }
    }
    all
}

fn resources(limits: &Limits) -> Result<Resources> {
    let missing = |controller: &str| Error::Unsupported {
        doing: "limit a container",
        missing: format!("the kernel's cgroup controller `{controller}` is not enabled"),
    };
    let needs = |controller: &str| -> Result<()> {
        if cgroup::has_controller(controller)? { Ok(()) } else { Err(missing(controller)) }
    };
    let mut resources = Resources {
        devices: vec![DeviceRule { allow: false, access: "rwm".to_owned() }],
        ..Resources::default()
    };
    if let Some(bytes) = limits.memory {
        needs("memory")?;
        resources.memory = Some(Memory { limit: i64::try_from(bytes).unwrap_or(i64::MAX) });
    }
    if let Some(cpus) = limits.cpus {
        needs("cpu")?;
        let quota = (cpus * CPU_PERIOD as f64).max(MIN_CPU_QUOTA);
        resources.cpu = Some(Cpu { quota: quota as i64, period: CPU_PERIOD });
    }
    match limits.pids {
        Some(limit) if limit > 0 => {
            needs("pids")?;
            resources.pids = Some(Pids { limit });
        }
        Some(_) => {}
        None if cgroup::has_controller("pids")? => resources.pids = Some(Pids { limit: DEFAULT_PIDS }),
        None => {}
    }
    Ok(resources)
}

/// The name of a file that is made for a container, and where it is seen.
pub(super) const FILES: [(&str, &str); 3] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];

fn mounts(container: &Config, places: &Places<'_>) -> Vec<Mount> {
    let mut all = vec![
        Mount::new("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        Mount::new("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        Mount::new(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        Mount::new("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        Mount::new("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        Mount::new("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ];
    if container.read_only {
        let options = ["nosuid", "nodev", "mode=1777"];
        all.extend(WRITABLE.iter().map(|path| Mount::new(path, "tmpfs", "tmpfs", &options)));
    }
    let files = places.directory.join("files");
    for (name, destination) in FILES {
        let covered =
            container.volumes.iter().any(|volume| Path::new(destination).starts_with(&volume.destination));
        if !covered {
            let source = files.join(name).to_string_lossy().into_owned();
            let access = if container.read_only { "ro" } else { "rw" };
            all.push(Mount::new(destination, "bind", &source, &["bind", "rprivate", access]));
        }
    }
    for Volume { source, destination, options } in &container.volumes {
        all.retain(|mount| mount.destination != *destination);
        let (kind, source) = match source {
            Some(source) => ("bind", source.to_string_lossy().into_owned()),
            None => ("tmpfs", "tmpfs".to_owned()),
        };
        all.push(Mount {
            destination: destination.clone(),
            kind: kind.to_owned(),
            source,
            options: options.clone(),
        });
    }
    // A mount point that lies in another mount has to come after it.
    all.sort_by_key(|mount| mount.destination.matches('/').count());
    all
}

/// The contents of the files that are made for a container: host name, hosts, name servers.
pub(super) fn files(container: &Config) -> Vec<(PathBuf, String)> {
    let hostname = &container.hostname;
    let own = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut hosts =
        "127.0.0.1\tlocalhost localhost.localdomain\n::1\tlocalhost localhost.localdomain\n".to_owned();
    let resolv = match container.network {
        Network::None => {
            hosts.push_str(&format!("127.0.1.1\t{hostname} {}\n", container.name));
            String::new()
        }
        Network::Host | Network::Namespace(_) => {
            let host = own("/etc/hosts");
            if !host.trim().is_empty() {
                hosts = host;
                if !hosts.ends_with('\n') {
                    hosts.push('\n');
                }
            }
            hosts.push_str(&format!("127.0.1.1\t{hostname} {}\n", container.name));
            own("/etc/resolv.conf")
        }
    };
    vec![
        ("hostname".into(), format!("{hostname}\n")),
        ("hosts".into(), hosts),
        ("resolv.conf".into(), resolv),
    ]
}
