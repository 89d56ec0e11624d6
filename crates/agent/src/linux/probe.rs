//! What this host lacks for containers, found out by trying.
//!
//! Versions, distributions and names of sandboxes say little: so each thing that a container takes is done, in a process of its
//! own that ends with it. That is only asked for when a container could not be started, or cannot be: what works costs nothing.
//!
//! An ordinary user cannot run containers today: layers are EROFS images, and the kernel lets nobody mount those in a user
//! namespace. What else would be missing is told with it.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::cgroup;

/// The second word of the command line of a process that tries; the first is `shim`.
pub(super) const PROBE: &str = "probe";
/// The same for a process that is the first of its namespace.
const PROBE_PROC: &str = "probe-proc";

/// The capabilities without which nothing can be set up, by their numbers (`linux/capability.h`).
const CAPABILITIES: [(&str, u32); 4] =
    [("CAP_SYS_ADMIN", 21), ("CAP_SETUID", 7), ("CAP_SETGID", 6), ("CAP_SETPCAP", 8)];

/// What this host lacks for containers, or this process, a sentence each; empty when nothing is missing that was tried. An ordinary
/// user always lacks something, as things are.
pub fn missing() -> Vec<String> {
    let tried = Command::new("/proc/self/exe")
        .args(["shim", PROBE])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = tried.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Tries, if this process was started for that.
pub(super) fn run_if_asked() -> bool {
    let found = match std::env::args().nth(2).as_deref() {
        Some(PROBE) if rustix::process::geteuid().is_root() => as_root(),
        Some(PROBE) => as_user(),
        Some(PROBE_PROC) => without_proc().into_iter().collect(),
        _ => return false,
    };
    let mut out = std::io::stdout().lock();
    for line in found {
        // The one who asked is the only reader.
        let _ = writeln!(out, "{line}");
    }
    true
}

fn as_root() -> Vec<String> {
    let mut missing = without_capabilities();
    missing.extend(without_cgroups());
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP;
    match unshare(namespaces) {
        Err(errno) => missing.push(format!("namespaces cannot be made ({})", errno.desc())),
        Ok(()) => {
            missing.extend(["erofs", "overlay"].into_iter().filter_map(without_file_system));
            // The first process of the new namespace shows whether its own /proc can be mounted.
            let inside = Command::new("/proc/self/exe").args(["shim", PROBE_PROC]).output();
            let said = inside.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            missing.extend(said.ok().filter(|said| !said.is_empty()));
        }
    }
    missing
}

fn as_user() -> Vec<String> {
    let mut missing = Vec::new();
    let uid = rustix::process::getuid().as_raw();
    let user = std::env::var("USER").unwrap_or_else(|_| uid.to_string());
    for file in ["/etc/subuid", "/etc/subgid"] {
        if !has_subordinate_ids(file, &user, uid) {
            missing.push(format!(
                "`{user}` has no range of ids in {file} (usermod --add-subuids and --add-subgids)"
            ));
        }
    }
    for program in ["newuidmap", "newgidmap"] {
        let directories = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&directories).any(|directory| directory.join(program).is_file()) {
            missing.push(format!("{program} is not installed (package uidmap)"));
        }
    }
    missing.extend(without_own_cgroup());
    match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
        Err(errno) => missing.insert(0, format!("user namespaces cannot be made ({})", errno.desc())),
        Ok(()) => {
            let found: Vec<String> =
                ["erofs", "overlay"].into_iter().filter_map(without_file_system).collect();
            missing.splice(0..0, found);
        }
    }
    missing
}

fn without_capabilities() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) else {
        return vec!["/proc does not tell which capabilities this process has".to_owned()];
    };
    let lacks = CAPABILITIES.into_iter().filter(|(_, number)| effective & (1 << number) == 0);
    lacks.map(|(name, _)| format!("this process has no {name}")).collect()
}

/// Whether a file system cannot be mounted, or is not a part of the kernel. Nothing is mounted for that: whether the caller may is
/// asked first, and without a source the kernel gets no further.
fn without_file_system(name: &str) -> Option<String> {
    let context = match fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(rustix::io::Errno::NODEV) => {
            return Some(format!("the kernel has no {name} (modprobe {name}, or another kernel)"));
        }
        Err(errno) => return Some(format!("{name} cannot be mounted ({errno})")),
        Ok(context) => context,
    };
    match fsconfig_create(context.as_fd()) {
        Err(errno @ (rustix::io::Errno::PERM | rustix::io::Errno::ACCESS)) => {
            let inside = if rustix::process::geteuid().is_root() { "here" } else { "in a user namespace" };
            Some(format!("{name} cannot be mounted {inside} ({errno})"))
        }
        _ => None,
    }
}

fn without_proc() -> Option<String> {
    let mounted = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)
        .and_then(|context| {
            fsconfig_create(context.as_fd())?;
            fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        })
        .map(drop);
    let errno = mounted.err()?;
    Some(format!(
        "a new /proc cannot be mounted ({errno}): something covers parts of this one, as in many sandboxes"
    ))
}

/// Hierarchies of control groups in which none can be made.
fn without_cgroups() -> Vec<String> {
    let points = match cgroup::mount_points() {
        Err(error) => return vec![error.in_one_line()],
        Ok(points) if points.is_empty() => {
            return vec!["no control groups are mounted at /sys/fs/cgroup".to_owned()];
        }
        Ok(points) => points,
    };
    let mut refused: Vec<(String, Vec<String>)> = Vec::new();
    for point in points {
        let Some(why) = cannot_make_in(&point) else { continue };
        let point = point.display().to_string();
        match refused.iter_mut().find(|(known, _)| *known == why) {
            Some((_, points)) => points.push(point),
            None => refused.push((why, vec![point])),
        }
    }
    let line = |(why, points): (String, Vec<String>)| in_no_group(&points.join(", "), &why);
    refused.into_iter().map(line).collect()
}

/// The group of this process, in which an ordinary user may make others only if it was delegated.
fn without_own_cgroup() -> Option<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unified = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some(path) = unified.filter(|_| Path::new("/sys/fs/cgroup/cgroup.controllers").exists()) else {
        return Some("control groups of version 1 cannot be delegated to users".to_owned());
    };
    let own = Path::new("/sys/fs/cgroup").join(path);
    cannot_make_in(&own).map(|why| in_no_group(&own.display().to_string(), &why))
}

fn in_no_group(directories: &str, why: &str) -> String {
    format!("no control group can be made in {directories} ({why})")
}

/// Why the system refuses to make a directory there.
fn cannot_make_in(directory: &Path) -> Option<String> {
    let name = directory.join(format!("layerstone-probe-{}", std::process::id()));
    let made = fs::create_dir(&name);
    let _ = fs::remove_dir(&name);
    made.err().map(|error| error.to_string())
}

fn has_subordinate_ids(file: &str, user: &str, uid: u32) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| {
        let mut fields = line.split(':');
        let owner = fields.next();
        let count = fields.nth(1).and_then(|count| count.trim().parse::<u64>().ok());
        (owner == Some(user) || owner == Some(&uid.to_string())) && count.is_some_and(|count| count >= 65_536)
    })
}
