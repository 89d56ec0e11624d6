//! Setting a container up, and taking it down.

use std::os::unix::net::UnixListener;

use layerstone_store::{AttachOptions, DiscardedScratch};

use super::events::{Events, Peer, reap_others, watch};
use super::output;
use super::rootfs;
use crate::error::{Error, IoContext as _, Result};
use crate::linux::agent::{Agent, private_directory};
use crate::linux::cgroup::Cgroup;
use crate::linux::container::Container;
use crate::linux::files::{self, Lasting};
use crate::linux::frame::{Conn, Exec, Failure, Kind, Start};
use crate::linux::runtime::{self, Bundle, Runtime, short_path};
use crate::linux::{now, process, reconcile};
use crate::log::{self, Writer};
use crate::model::{Exit, Status};
use crate::spec::Spec;

impl Container {
    fn runtime(&self) -> Result<Box<dyn Runtime>> {
        let state = self.runtime_directory();
        private_directory(&state)?;
        let bundle = Bundle { id: self.config.id.clone(), directory: self.bundle(), state };
        Ok(runtime::of(&self.config.runtime, bundle))
    }
}

/// Runs a container from its beginning to its end.
pub(super) fn run_container(agent: &Agent, start: &Start, mut conn: Conn) -> Result<()> {
    let container = claim(agent, start);
    let mut container = match container {
        Ok(container) => container,
        Err(error) => {
            conn.send_json(Kind::Failed, &failure(&error));
            return Err(error);
        }
    };
    let mut peers = vec![Peer { conn, attached: start.attach, waiting: true }];
    let outcome = live(agent, start, &mut container, &mut peers);
    let exit = match &outcome {
        Ok(exit) => exit.clone(),
        Err(error) => Exit {
            code: error.exit_code(),
            signal: None,
            oom_killed: false,
            error: Some(error.in_one_line()),
            finished: now(),
        },
    };
    let taken_down = take_down(agent, &mut container, &exit);
    for peer in &mut peers {
        match &outcome {
            Err(error) if peer.waiting => peer.conn.send_json(Kind::Failed, &failure(error)),
            Ok(exit) if peer.waiting => peer.conn.send_json(Kind::Exit, exit),
            _ => {}
        }
    }
    say_the_rest(&mut peers);
    // Nobody has to wait for this.
    let removed = taken_down.and_then(|scratch| Ok(scratch.map_or(Ok(()), DiscardedScratch::remove)?));
    outcome.and(removed)
}

fn failure(error: &Error) -> Failure {
    Failure { code: error.exit_code(), message: error.in_one_line() }
}

/// Notes that this process looks after the container.
fn claim(agent: &Agent, start: &Start) -> Result<Container> {
    let gone = || Error::NoContainer(start.id.clone());
    let mut container = agent.load(&start.id)?.ok_or_else(gone)?;
    let _lock = container.lock()?.ok_or_else(gone)?;
    container.reload_state()?;
    if container.state.status != Status::Created || container.state.shim.is_some() {
        return Err(container.state_error("start"));
    }
    container.state.shim = Some(process::identify_self()?);
    container.state.rootfs = Some(container.rootfs());
    container.write_state()?;
    Ok(container)
}

/// Sets the container up and looks after it until its program has ended.
fn live(agent: &Agent, start: &Start, container: &mut Container, peers: &mut Vec<Peer>) -> Result<Exit> {
    let root = container.rootfs();
    private_directory(&root)?;
    let directory = super::open_directory(&container.run_directory)?;
    let listener =
        UnixListener::bind(short_path(&directory, "control")).doing("listen on", container.control())?;
    listener.set_nonblocking(true).doing("listen on", container.control())?;

    let scratch = agent.store().scratch(&container.config.scratch)?;
    // What nobody will see again need not reach the disk: with a busy disk, that is most of the time a short container takes.
    let options = AttachOptions { volatile: container.config.is_brief(), ..AttachOptions::default() };
    agent.store().attach_scratch(&scratch, &root, options)?;
    let bundle = container.bundle().join("config.json");
    let mut spec: Spec = files::read_json(&bundle)?.ok_or_else(|| Error::NoContainer(start.id.clone()))?;
    let mounts = spec.mounts.len();
    rootfs::prepare(&root, &container.config, &mut spec)?;
    if spec.mounts.len() != mounts {
        files::write_json(&bundle, &spec, Lasting::Unsynced)?;
    }

    let log = Writer::open(container.log_directory(), log::FULL)?;
    let mut runtime = container.runtime()?;
    let (stdio, mut pipes) = output::make(
        container.config.tty,
        container.config.interactive,
        &container.run_directory,
        "console",
    )?;
    let running = runtime.create(stdio)?;
    // Noted before it is started: whoever finds this shim dead has to know what else to end.
    container.state.init = process::identify(running.pid)?;
    container.write_state()?;
    let (pid, pidfd) = watch(running.pid)?;
    pipes.take_terminal(running.terminal, start.size)?;
    runtime.start()?;
    container.state.status = Status::Running;
    container.state.started = Some(now());
    container.write_state()?;
    tell_started(peers);
    let mut events = Events {
        pid,
        pidfd,
        pipes,
        peers: std::mem::take(peers),
        listener: Some(listener),
        log: Some(log),
        runtime: runtime.as_mut(),
        container: Some(container),
    };
    let ended = events.run();
    *peers = events.peers;
    ended
}

/// Notes how it ended, and takes away everything that it needed to run. What is left to be removed of a container that goes with
/// its end is returned.
fn take_down(agent: &Agent, container: &mut Container, exit: &Exit) -> Result<Option<DiscardedScratch>> {
    let _lock = container.lock()?;
    let mut exit = exit.clone();
    let cgroup = Cgroup::of(&container.config.id)?;
    exit.oom_killed = cgroup.ran_out_of_memory();
    let lasting = if container.config.is_brief() { Lasting::Unsynced } else { Lasting::Synced };
    files::write_json(&container.exit_file(), &exit, lasting)?;
    let deleted = container.runtime().and_then(|mut runtime| runtime.delete());
    if let Err(error) = deleted {
        // What the runtime cannot take away is taken away without it.
        eprintln!("{} {}", now(), error.in_one_line());
    }
    if let Some(init) = &container.state.init
        && let Some(descriptor) = process::open(init)?
    {
        process::kill(&descriptor)?;
    }
    cgroup.kill()?;
    if let Some(pid) = rustix::process::Pid::from_raw(i32::MAX) {
        reap_others(pid);
    }
    cgroup.remove()?;
    reconcile::detach(agent.store(), container)?;
    container.remove_run_directory()?;
    container.state.status = Status::Stopped;
    container.state.shim = None;
    container.state.init = None;
    container.state.rootfs = None;
    container.state.exit = Some(exit);
    container.write_state()?;
    if container.config.auto_remove { reconcile::vanish(agent.store(), container) } else { Ok(None) }
}

/// Runs another process in a container.
pub(super) fn exec(agent: &Agent, start: &Start, exec: &Exec, conn: Conn) -> Result<()> {
    let mut peers = vec![Peer { conn, attached: start.attach, waiting: true }];
    let outcome = live_exec(agent, start, exec, &mut peers);
    for peer in &mut peers {
        match &outcome {
            Err(error) if peer.waiting => peer.conn.send_json(Kind::Failed, &failure(error)),
            Ok(exit) if peer.waiting => peer.conn.send_json(Kind::Exit, exit),
            _ => {}
        }
    }
    say_the_rest(&mut peers);
    outcome.map(drop)
}

fn live_exec(agent: &Agent, start: &Start, exec: &Exec, peers: &mut Vec<Peer>) -> Result<Exit> {
    let container = agent.load(&start.id)?.ok_or_else(|| Error::NoContainer(start.id.clone()))?;
    if container.state.status != Status::Running {
        return Err(container.state_error("execute in"));
    }
    let mut runtime = container.runtime()?;
    let console = format!("console-{}", std::process::id());
    let (stdio, mut pipes) =
        output::make(exec.process.terminal, exec.interactive, &container.run_directory, &console)?;
    let running = runtime.exec(&exec.process, stdio)?;
    let (pid, pidfd) = watch(running.pid)?;
    pipes.take_terminal(running.terminal, start.size)?;
    tell_started(peers);
    let mut events = Events {
        pid,
        pidfd,
        pipes,
        peers: std::mem::take(peers),
        listener: None,
        log: None,
        runtime: runtime.as_mut(),
        container: None,
    };
    let ended = events.run();
    *peers = events.peers;
    ended
}

fn tell_started(peers: &mut [Peer]) {
    for peer in peers {
        peer.conn.send(Kind::Started, &[]);
        // A client that has no use for the output only waits for the start.
        peer.waiting = peer.attached;
    }
}

/// Sends what clients have not taken yet. One that is only stopped gets it when it goes on; one that has died does not.
fn say_the_rest(peers: &mut [Peer]) {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        for peer in peers.iter_mut() {
            peer.conn.flush();
        }
        let waiting = peers.iter().filter(|peer| !peer.conn.closed && peer.conn.pending() > 0);
        let mut fds: Vec<PollFd<'_>> =
            waiting.map(|peer| PollFd::from_borrowed_fd(peer.conn.fd(), PollFlags::OUT)).collect();
        if fds.is_empty() || !matches!(poll(&mut fds, None), Ok(_) | Err(rustix::io::Errno::INTR)) {
            return;
        }
    }
}
