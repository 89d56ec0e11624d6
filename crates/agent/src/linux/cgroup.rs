//! The control group of a container: what it uses, and getting rid of it when its shim no longer can.
//!
//! Containers are in `/layerstone/<id>` of each hierarchy (version 1) or of the one there is (version 2). Runtimes make and
//! remove it. Only that path is ever touched: a path of somebody else's would mean killing somebody else's processes.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use super::process;
use crate::error::{Error, IoContext as _, Result};

/// How long processes may take to go after they were killed, and the group after them.
const PATIENCE: Duration = Duration::from_secs(10);

/// One hierarchy that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    point: PathBuf,
    /// Version 2.
    unified: bool,
    /// Of version 1, its controllers.
    controllers: Vec<String>,
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    const MOUNTS: &str = "/proc/self/mounts";
    let text = fs::read_to_string(MOUNTS).doing("read", MOUNTS)?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(point), Some(kind), Some(options)) = (fields.nth(1), fields.next(), fields.next()) else {
            continue;
        };
        if !matches!(kind, "cgroup" | "cgroup2") || !point.starts_with("/sys/fs/cgroup") {
            continue;
        }
        let controllers = options.split(',').map(str::to_owned).collect();
        found.push(Hierarchy { point: point.into(), unified: kind == "cgroup2", controllers });
    }
    Ok(found)
}

/// Where hierarchies are mounted in which a container has a group: those of version 1 with controllers, or the one of version 2.
pub(crate) fn mount_points() -> Result<Vec<PathBuf>> {
    let all = hierarchies()?;
    let named =
        |hierarchy: &Hierarchy| hierarchy.controllers.iter().any(|option| option.starts_with("name="));
    let has_first = all.iter().any(|hierarchy| !hierarchy.unified && !named(hierarchy));
    let used = all.into_iter().filter(|hierarchy| hierarchy.unified != has_first && !named(hierarchy));
    Ok(used.map(|hierarchy| hierarchy.point).collect())
}

/// A container's control group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// Its directory in each hierarchy where it can be.
    directories: Vec<(Hierarchy, PathBuf)>,
}

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Processor time, in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Memory, in bytes, without what is only cached.
    pub memory: Option<u64>,
    /// The most that it may use; nothing when there is no limit.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Cgroup {
    /// The group of the container `id`.
    pub(crate) fn of(id: &str) -> Result<Self> {
        // Removing it kills whatever is in it: never a path that could be another one's.
        if !crate::id::is_id(id) {
            return Err(Error::Invalid {
                what: "the id of a container",
                value: id.to_owned(),
                expected: "64 hexadecimal digits".to_owned(),
            });
        }
        let directories = hierarchies()?.into_iter().map(|hierarchy| {
            let directory = hierarchy.point.join("layerstone").join(id);
            (hierarchy, directory)
        });
        Ok(Cgroup { directories: directories.collect() })
    }

    fn existing(&self) -> impl Iterator<Item = &(Hierarchy, PathBuf)> {
        self.directories.iter().filter(|(_, directory)| directory.is_dir())
    }

    fn controller(&self, name: &str) -> Option<&PathBuf> {
        self.existing()
            .find(|(hierarchy, _)| hierarchy.controllers.iter().any(|controller| controller == name))
            .map(|(_, directory)| directory)
    }

    fn unified(&self) -> Option<&PathBuf> {
        self.existing().find(|(hierarchy, _)| hierarchy.unified).map(|(_, directory)| directory)
    }

    /// All processes in it.
    fn processes(&self) -> Result<BTreeSet<i32>> {
        let mut processes = BTreeSet::new();
        for (_, directory) in self.existing() {
            for directory in tree(directory)? {
                let path = directory.join("cgroup.procs");
                match fs::read_to_string(&path) {
                    Ok(text) => processes.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error).doing("read", path),
                }
            }
        }
        Ok(processes)
    }

    /// Lets frozen processes run: they could not die otherwise.
    fn thaw(&self) {
        if let Some(directory) = self.controller("freezer") {
            let _ = fs::write(directory.join("freezer.state"), "THAWED");
        }
        if let Some(directory) = self.unified() {
            let _ = fs::write(directory.join("cgroup.freeze"), "0");
        }
    }

    /// Kills every process in it and waits until they are gone.
    pub(crate) fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.thaw();
            let processes = self.processes()?;
            if processes.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!("the end of {} killed processes", processes.len());
                return Err(Error::Timeout { what, seconds: PATIENCE.as_secs() });
            }
            for number in processes {
                let Some(pid) = Pid::from_raw(number) else { continue };
                let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
                // The number may have been given away between listing and opening.
                if self.processes()?.contains(&number) {
                    process::kill(&descriptor)?;
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Removes it; it may be gone.
    pub(crate) fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for (_, directory) in &self.directories {
            for path in tree(directory)?.into_iter().rev() {
                loop {
                    match fs::remove_dir(&path) {
                        Ok(()) => break,
                        // What is not there cannot be removed from a hierarchy that is read-only either.
                        Err(error) if is_gone(&error) || !path.exists() => break,
                        // Processes that are ending count a moment longer.
                        Err(error)
                            if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline =>
                        {
                            std::thread::sleep(Duration::from_millis(2));
                        }
                        Err(error) => return Err(error).doing("remove the control group", path),
                    }
                }
            }
        }
        Ok(())
    }

    /// What it uses.
    pub(crate) fn usage(&self) -> Usage {
        let number =
            |path: PathBuf| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let of_stat = |path: PathBuf, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
        };
        let mut usage = Usage::default();
        if let Some(directory) = self.controller("memory") {
            let used = number(directory.join("memory.usage_in_bytes"));
            let cached = of_stat(directory.join("memory.stat"), "total_inactive_file").unwrap_or(0);
            usage.memory = used.map(|used| used.saturating_sub(cached));
            // Without a limit the file holds the largest multiple of a page.
            usage.memory_limit = number(directory.join("memory.limit_in_bytes"))
                .filter(|limit| *limit < i64::MAX as u64 - 65_536);
        }
        if let Some(directory) = self.controller("cpuacct") {
            usage.cpu_ns = number(directory.join("cpuacct.usage"));
        }
        if let Some(directory) = self.controller("pids") {
            usage.pids = number(directory.join("pids.current"));
        }
        if let Some(directory) = self.unified() {
            let used = number(directory.join("memory.current"));
            let cached = of_stat(directory.join("memory.stat"), "inactive_file").unwrap_or(0);
            usage.memory = usage.memory.or(used.map(|used| used.saturating_sub(cached)));
            usage.memory_limit = usage.memory_limit.or_else(|| number(directory.join("memory.max")));
            usage.cpu_ns = usage
                .cpu_ns
                .or_else(|| of_stat(directory.join("cpu.stat"), "usage_usec").map(|us| us * 1000));
            usage.pids = usage.pids.or_else(|| number(directory.join("pids.current")));
        }
        usage
    }

    /// Whether the kernel has killed a process of it for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let counted = |directory: &PathBuf, file: &str| {
            fs::read_to_string(directory.join(file)).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
            })
        };
        self.controller("memory").is_some_and(|directory| counted(directory, "memory.oom_control"))
            || self.unified().is_some_and(|directory| counted(directory, "memory.events"))
    }
}

/// A controller can limit containers on this host.
pub(crate) fn has_controller(name: &str) -> Result<bool> {
    Ok(hierarchies()?.into_iter().any(|hierarchy| {
        if hierarchy.unified {
            // What version 1 has taken does not show here.
            fs::read_to_string(hierarchy.point.join("cgroup.controllers"))
                .is_ok_and(|text| text.split_ascii_whitespace().any(|known| known == name))
        } else {
            hierarchy.controllers.iter().any(|known| known == name)
        }
    }))
}

/// The only hierarchy is version 2, where libcontainer as it is built here does not restrict devices.
pub(crate) fn is_unified_only() -> Result<bool> {
    Ok(hierarchies()?.iter().all(|hierarchy| hierarchy.unified))
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// A directory and those below it, parents first.
fn tree(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![directory.to_path_buf()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let entries = match fs::read_dir(&directory) {
            Err(error) if is_gone(&error) => continue,
            entries => entries.doing("list", &directory)?,
        };
        for entry in entries {
            let entry = entry.doing("list", &directory)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}
