//! Noticing that something has changed: files, the ends of shims, and whoever calls.
//!
//! A container's `state.json` is replaced by a rename, which the kernel reports (`inotify(7)`). A shim that is killed writes nothing:
//! its end is seen through a descriptor of it (`pidfd_open(2)`). Both only say that it is worth looking; what is not noticed, because a
//! limit of the system was reached, is found by the look that follows some time later.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use layerstone_agent::Container;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{IoContext as _, Result};
use crate::shared::Shared;

/// A process: its number and when it was started.
type Process = (i32, u64);

#[derive(Debug)]
pub(crate) struct Notice {
    inotify: OwnedFd,
    /// The watch of the file's directory, and the file's name: what else is there does not matter.
    spec: Option<(i32, CString)>,
    /// Containers whose directories are watched.
    watched: BTreeSet<String>,
    /// Shims that run; nothing for those whose end was seen, or that cannot be watched.
    shims: BTreeMap<Process, Option<OwnedFd>>,
}

impl Notice {
    /// Watches the directories of containers, and that of the file.
    pub(crate) fn new(containers: [&Path; 2], spec: Option<&Path>) -> Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).doing("watch", containers[0])?;
        let names = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
        for directory in containers {
            add_watch(&inotify, directory, names).doing("watch", directory)?;
        }
        let mut of_spec = None;
        if let Some((parent, name)) = spec.and_then(|path| path.parent().zip(path.file_name())) {
            let written = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::CREATE;
            let watch = add_watch(&inotify, parent, written).doing("watch", parent)?;
            of_spec = CString::new(name.as_bytes()).ok().map(|name| (watch, name));
        }
        Ok(Notice { inotify, spec: of_spec, watched: BTreeSet::new(), shims: BTreeMap::new() })
    }

    /// Watches these containers, and no others any more.
    pub(crate) fn watch(&mut self, containers: &[Container]) {
        let ids: BTreeSet<&str> = containers.iter().map(|c| c.config().id.as_str()).collect();
        // The kernel forgets a directory that is removed.
        self.watched.retain(|id| ids.contains(id.as_str()));
        for container in containers {
            let id = &container.config().id;
            if !self.watched.contains(id)
                && add_watch(&self.inotify, container.directory(), WatchFlags::MOVED_TO).is_ok()
            {
                self.watched.insert(id.clone());
            }
        }
        let shims: BTreeSet<Process> = containers
            .iter()
            .filter_map(|container| container.state().shim.as_ref())
            .map(|shim| (shim.pid, shim.start_time))
            .collect();
        self.shims.retain(|process, _| shims.contains(process));
        for process in shims {
            self.shims.entry(process).or_insert_with(|| {
                Pid::from_raw(process.0).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            });
        }
    }

    /// Waits until something has changed, but no longer than `patience`.
    pub(crate) fn wait(&mut self, shared: &Shared, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.wait_once(shared, left)? || left.is_zero() {
                return Ok(());
            }
        }
    }

    /// True when something has happened that matters.
    fn wait_once(&mut self, shared: &Shared, patience: Duration) -> Result<bool> {
        let order: Vec<Process> =
            self.shims.iter().filter(|(_, shim)| shim.is_some()).map(|(process, _)| *process).collect();
        let mut fds =
            vec![PollFd::new(shared.waker(), PollFlags::IN), PollFd::new(&self.inotify, PollFlags::IN)];
        fds.extend(self.shims.values().flatten().map(|shim| PollFd::new(shim, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing("wait for", "changes"),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ended: Vec<Process> = fds
            .iter()
            .skip(2)
            .zip(order)
            .filter(|(fd, _)| is_ready(fd))
            .map(|(_, process)| process)
            .collect();
        drop(fds);
        let mut matters = !ended.is_empty();
        for process in ended {
            self.shims.insert(process, None);
        }
        let mut count = [0; 8];
        matters |= rustix::io::read(shared.waker(), &mut count).is_ok();
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            matters |= match &self.spec {
                Some((watch, name)) if *watch == event.wd() => event.file_name() == Some(name.as_c_str()),
                _ => true,
            };
        }
        Ok(matters)
    }
}
