//! Setting a container up, running its program as often as its restart policy wants, and taking it down.

use std::os::fd::RawFd;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use layerstone_store::AttachOptions;

use super::checks::Checks;
use super::clients::{Clients, failure};
use super::events::{Events, Fate, reap_others, watch};
use super::output::{self, Pipes};
use super::restart::{Ended, Restarts};
use super::rootfs;
use crate::error::{Error, IoContext as _, Result};
use crate::linux::agent::{Agent, private_directory};
use crate::linux::cgroup::Cgroup;
use crate::linux::container::Container;
use crate::linux::exec::ExecOptions;
use crate::linux::files::{self, Lasting};
use crate::linux::frame::{Conn, Exec, Kind, Start};
use crate::linux::runtime::{self, Bundle, Runtime, short_path};
use crate::linux::{now, process, reconcile};
use crate::log::{self, Writer};
use crate::model::{Exit, Health, State, Status};
use crate::spec::{ConsoleSize, Spec};

impl Container {
    fn runtime(&self) -> Result<Box<dyn Runtime>> {
        let state = self.runtime_directory();
        private_directory(&state)?;
        let bundle =
            Bundle { id: self.config.id.clone(), directory: self.bundle(), state, init: self.config.init };
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
    let mut clients = Clients::of(conn, start);
    let outcome = live(agent, &mut container, &mut clients);
    let exit = match &outcome {
        Ok(exit) => exit.clone(),
        Err(error) => failed_to_start(error),
    };
    let taken_down = take_down(agent, &mut container, &exit);
    clients.tell_the_end(&outcome);
    outcome.and(taken_down)
}

/// The end of a program that never ran.
fn failed_to_start(error: &Error) -> Exit {
    Exit {
        code: error.exit_code(),
        signal: None,
        oom_killed: false,
        error: Some(error.in_one_line()),
        finished: now(),
    }
}

/// Notes that this process looks after the container.
fn claim(agent: &Agent, start: &Start) -> Result<Container> {
    let gone = || Error::NoContainer(start.id.clone());
    let mut container = agent.load(&start.id)?.ok_or_else(gone)?;
    let _lock = container.lock()?.ok_or_else(gone)?;
    container.reload_state()?;
    match (container.state.status, &container.state.shim) {
        (Status::Created, None) | (Status::Stopped, _) => {}
        _ => return Err(container.state_error("start")),
    }
    forget_exit(&container)?;
    container.state = State {
        shim: Some(process::identify_self()?),
        rootfs: Some(container.rootfs()),
        kept: container.state.kept,
        ..State::created()
    };
    container.write_state()?;
    Ok(container)
}

/// How a program ended the last time must not be taken for how it ends this time.
fn forget_exit(container: &Container) -> Result<()> {
    let path = container.exit_file();
    files::if_there(std::fs::remove_file(&path)).doing("remove", path)
}

/// Sets the container up and looks after it until its program has ended for good.
fn live(agent: &Agent, container: &mut Container, clients: &mut Clients) -> Result<Exit> {
    let root = container.rootfs();
    private_directory(&root)?;
    let directory = super::open_directory(&container.run_directory)?;
    let listener =
        UnixListener::bind(short_path(&directory, "control")).doing("listen on", container.control())?;
    listener.set_nonblocking(true).doing("listen on", container.control())?;
    clients.listen(listener);

    let scratch = agent.store().scratch(&container.config.scratch)?;
    // What nobody will see again need not reach the disk: with a busy disk, that is most of the time a short container takes.
    let options = AttachOptions { volatile: container.config.auto_remove, ..AttachOptions::default() };
    agent.store().attach_scratch(&scratch, &root, options)?;

    let mut restarts = Restarts::new(container.config.restart);
    loop {
        let began = Instant::now();
        let (exit, fate) = match run_program(agent, container, clients) {
            Ok(ended) => ended,
            Err(error) if container.state.started.is_none() => return Err(error),
            Err(error) => {
                eprintln!("{} {}", now(), error.in_one_line());
                (failed_to_start(&error), Fate::default())
            }
        };
        let ended = Ended {
            code: exit.code,
            ran: began.elapsed(),
            restarts: container.state.restarts,
            stop_wanted: container.state.stop_wanted,
            restart_wanted: fate.restart_wanted,
        };
        let Some(wait) = restarts.after(ended) else { return Ok(exit) };
        let exit = clear_away(container, &exit)?;
        container.state.status = Status::Restarting;
        container.state.init = None;
        container.state.exit = Some(exit.clone());
        container.write_state()?;
        idle(container, clients, Instant::now() + wait)?;
        if container.state.stop_wanted {
            return Ok(exit);
        }
        forget_exit(container)?;
        container.state.restarts = container.state.restarts.saturating_add(1);
    }
}

/// Serves the clients until it is time to start the program again.
fn idle(container: &mut Container, clients: &mut Clients, until: Instant) -> Result<()> {
    let mut events = Events {
        program: None,
        pipes: Pipes::default(),
        clients,
        log: None,
        runtime: None,
        container: Some(container),
        checks: None,
        fate: Fate::default(),
    };
    events.idle(until)
}

/// The numbers of this process's descriptors.
fn descriptors() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Closes what libcontainer has left open when it failed to make a container: this process may try that very often.
fn close_others(known: &[RawFd]) {
    for descriptor in descriptors().into_iter().filter(|descriptor| !known.contains(descriptor)) {
        let _ = nix::unistd::close(descriptor);
    }
}

/// Runs the program of a container that is attached, once.
fn run_program(agent: &Agent, container: &mut Container, clients: &mut Clients) -> Result<(Exit, Fate)> {
    let bundle = container.bundle().join("config.json");
    let mut spec: Spec =
        files::read_json(&bundle)?.ok_or_else(|| Error::NoContainer(container.config.id.clone()))?;
    let mounts = spec.mounts.len();
    rootfs::prepare(&container.rootfs(), &container.config, &mut spec)?;
    if spec.mounts.len() != mounts {
        files::write_json(&bundle, &spec, Lasting::Unsynced)?;
    }

    let log = Writer::open(&container.directory, log::FULL)?;
    let mut runtime = container.runtime()?;
    let (stdio, mut pipes) = output::make(
        container.config.tty,
        container.config.interactive,
        &container.run_directory,
        "console",
    )?;
    let open = descriptors();
    let running = runtime.create(stdio).inspect_err(|_| close_others(&open))?;
    // Noted before it is started: whoever finds this shim dead has to know what else to end.
    container.state.init = process::identify(running.pid)?;
    container.write_state()?;
    let program = watch(running.pid)?;
    pipes.take_terminal(running.terminal, clients.size)?;
    runtime.start()?;
    let is_first = container.state.started.is_none();
    container.state.status = Status::Running;
    container.state.started = Some(now());
    let checks = match container.config.health.clone() {
        Some(check) => {
            container.state.health = Some(Health::starting(container.state.health.take()));
            let options = ExecOptions { command: check.command.clone(), ..ExecOptions::default() };
            let process = agent.process(container, &spec.process, &options)?;
            Some(Checks::new(agent, container, &check, process))
        }
        None => None,
    };
    container.write_state()?;
    if is_first {
        clients.tell_started();
    }
    let mut events = Events {
        program: Some(program),
        pipes,
        clients,
        log: Some(log),
        runtime: Some(runtime.as_mut()),
        container: Some(container),
        checks,
        fate: Fate::default(),
    };
    // Those who gave it input have nothing more to say.
    if events.clients.input_over && events.pipes.terminal.is_none() {
        events.end_input();
    }
    let exit = events.run()?;
    Ok((exit, events.fate))
}

/// Notes how the program ended, and takes away what it alone needed.
fn clear_away(container: &Container, exit: &Exit) -> Result<Exit> {
    let mut exit = exit.clone();
    let cgroup = Cgroup::of(&container.config.id)?;
    exit.oom_killed |= cgroup.ran_out_of_memory();
    files::write_json(&container.exit_file(), &exit, Lasting::Synced)?;
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
    reap_others(None);
    cgroup.remove()?;
    Ok(exit)
}

/// Notes how it ended for good, and takes away everything that it needed to run.
fn take_down(agent: &Agent, container: &mut Container, exit: &Exit) -> Result<()> {
    let _lock = container.lock()?;
    let exit = clear_away(container, exit)?;
    reconcile::detach(agent.store(), container)?;
    container.remove_run_directory()?;
    container.state.status = Status::Stopped;
    container.state.shim = None;
    container.state.init = None;
    container.state.rootfs = None;
    container.state.exit = Some(exit);
    container.write_state()?;
    if container.config.auto_remove {
        reconcile::remove(agent.store(), container)?;
    }
    Ok(())
}

/// Runs another process in a container.
pub(super) fn exec(agent: &Agent, start: &Start, exec: &Exec, conn: Conn) -> Result<()> {
    let mut clients = Clients::of(conn, start);
    let outcome = live_exec(agent, start, exec, &mut clients);
    clients.tell_the_end(&outcome);
    outcome.map(drop)
}

fn live_exec(agent: &Agent, start: &Start, exec: &Exec, clients: &mut Clients) -> Result<Exit> {
    let container = agent.load(&start.id)?.ok_or_else(|| Error::NoContainer(start.id.clone()))?;
    if container.state.status != Status::Running {
        return Err(container.state_error("execute in"));
    }
    let mut runtime = container.runtime()?;
    let console = format!("console-{}", std::process::id());
    let (stdio, mut pipes) =
        output::make(exec.process.terminal, exec.interactive, &container.run_directory, &console)?;
    let mut process = exec.process.clone();
    if let Some(size) = start.size.filter(|_| process.terminal) {
        process.console_size = Some(ConsoleSize { height: size.rows, width: size.columns });
    }
    let running = runtime.exec(&process, stdio)?;
    let program = watch(running.pid)?;
    // A runtime that has not set the size has it set now.
    pipes.take_terminal(running.terminal, start.size)?;
    clients.tell_started();
    let mut events = Events {
        program: Some(program),
        pipes,
        clients,
        log: None,
        runtime: Some(runtime.as_mut()),
        container: None,
        checks: None,
        fate: Fate::default(),
    };
    events.run()
}
