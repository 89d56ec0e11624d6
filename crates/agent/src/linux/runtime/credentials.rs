//! Becoming the container's user, with its capabilities and its filter of system calls.
//!
//! libcontainer gives up privileges before it hands over to an executor. A filter can only be installed with `CAP_SYS_ADMIN`,
//! though, unless executing must not give privileges. So libcontainer is told to stay root with what the steps below need, and they
//! are done here, in the order of runc.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::error::{Error, Result};
use crate::seccomp::Program;
use crate::spec::{Capabilities, Process};

/// What the steps need: the filter, the user, the groups, the bounding set, the owner of standard output.
pub(super) const NEEDED: [&str; 5] =
    ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN"];

/// What a process is to become.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    uid: u32,
    gid: u32,
    groups: Vec<Gid>,
    bounding: CapsHashSet,
    effective: CapsHashSet,
    permitted: CapsHashSet,
    inheritable: CapsHashSet,
    ambient: CapsHashSet,
    no_new_privileges: bool,
    filter: Option<Program>,
}

fn set(names: &[String]) -> Result<CapsHashSet> {
    let parse = |name: &String| {
        name.parse::<Capability>().map_err(|_| Error::Invalid {
            what: "a capability",
            value: name.clone(),
            expected: "known".to_owned(),
        })
    };
    names.iter().map(parse).collect()
}

/// A step that failed, and why.
pub(super) type Failed = (&'static str, String);

fn failed<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> Failed {
    move |error| (step, error.to_string())
}

impl Credentials {
    /// Those of a process, with the filter of its container.
    pub(super) fn of(process: &Process, filter: Option<Program>) -> Result<Self> {
        let Capabilities { bounding, effective, permitted, inheritable, ambient } = &process.capabilities;
        Ok(Credentials {
            uid: process.user.uid,
            gid: process.user.gid,
            groups: process.user.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            bounding: set(bounding)?,
            effective: set(effective)?,
            permitted: set(permitted)?,
            inheritable: set(inheritable)?,
            ambient: set(ambient)?,
            no_new_privileges: process.no_new_privileges,
            filter,
        })
    }

    /// Takes them on. Allocates, and so must only be called where this process has one thread.
    pub(super) fn assume(&self) -> Result<(), Failed> {
        self.own_stdio()?;
        if !self.no_new_privileges {
            self.install_filter()?;
        }
        for cap in caps::all().difference(&self.bounding) {
            // What the kernel does not know is not in its set either.
            if caps::has_cap(None, CapSet::Bounding, *cap).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, *cap).map_err(failed("limit the capabilities"))?;
            }
        }
        rustix::thread::set_keep_capabilities(true).map_err(failed("keep the capabilities"))?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setgroups(&self.groups).map_err(failed("set the groups"))?;
        setresgid(gid, gid, gid).map_err(failed("set the group"))?;
        setresuid(uid, uid, uid).map_err(failed("set the user"))?;
        rustix::thread::set_keep_capabilities(false).map_err(failed("keep the capabilities"))?;
        // Changing the user has cleared the effective ones. What is permitted goes last: the others need it.
        let held = caps::read(None, CapSet::Permitted).map_err(failed("read the capabilities"))?;
        caps::set(None, CapSet::Effective, &held).map_err(failed("set the capabilities"))?;
        caps::set(None, CapSet::Inheritable, &self.inheritable).map_err(failed("set the capabilities"))?;
        caps::set(None, CapSet::Effective, &self.effective).map_err(failed("set the capabilities"))?;
        caps::set(None, CapSet::Permitted, &self.permitted).map_err(failed("set the capabilities"))?;
        caps::clear(None, CapSet::Ambient).map_err(failed("clear the ambient capabilities"))?;
        if !self.ambient.is_empty() {
            caps::set(None, CapSet::Ambient, &self.ambient)
                .map_err(failed("set the ambient capabilities"))?;
        }
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(failed("give up new privileges"))?;
            self.install_filter()?;
        }
        Ok(())
    }

    fn install_filter(&self) -> Result<(), Failed> {
        match &self.filter {
            Some(filter) => crate::seccomp::install(filter).map_err(failed("install the seccomp filter")),
            None => Ok(()),
        }
    }

    /// A program may open its own output again by name (`/dev/stdout`), which takes more than having it open.
    fn own_stdio(&self) -> Result<(), Failed> {
        use std::os::fd::AsFd as _;
        let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        for descriptor in [input.as_fd(), output.as_fd(), errors.as_fd()] {
            let stat = rustix::fs::fstat(descriptor).map_err(failed("look at its output"))?;
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            let is_null = kind == rustix::fs::FileType::CharacterDevice
                && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (1, 3);
            if is_null || stat.st_uid == self.uid {
                continue;
            }
            let owner = Some(rustix::fs::Uid::from_raw(self.uid));
            rustix::fs::fchown(descriptor, owner, None).map_err(failed("give it its output"))?;
        }
        Ok(())
    }
}
