//! The shim: the process that holds a container.
//!
//! ```text
//! client ══ stdin, stdout ══► shim ─► scratch ─► compute system ─► process
//!  (may die)                   ├─ thread: output   ─► log, and the client while it is there
//!                              ├─ thread: errors   ─► log, and the client while it is there
//!                              └─ thread: client   ─► input, signals
//! ```

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use layerstone_hcs::ErrorKind;
use layerstone_hcs::compute::{PipeReader, PipeWriter, Process, ProcessParameters, StartedProcess, System};
use layerstone_store::Store;
use layerstone_store::storage::{Hcs, ScratchLayer, ScratchOptions};

use super::agent::{Agent, scratch_folder};
use super::container::{Container, Ended};
use super::frame::{self, CHUNK, Failure, Kind, Start};
use super::host::{Host, ShimProgram};
use super::{config, files, layers, process, reconcile};
use crate::error::{EXIT_FAILED, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Error, IoContext as _, Result};
use crate::log::{self, Stream};
use crate::model::Status;

/// The client's end of the conversation. It may go at any time, which keeps nobody from anything.
#[derive(Clone)]
struct Conn(Arc<Mutex<Option<io::Stdout>>>);

impl Conn {
    fn with(&self, send: impl FnOnce(&mut io::Stdout) -> io::Result<()>) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if out.as_mut().is_some_and(|out| send(out).is_err()) {
            *out = None;
        }
    }
}

/// Is a shim until its container has ended. For programs whose first argument is `shim`, before they do anything else.
pub fn shim_main(host: Host) -> ExitCode {
    let conn = Conn(Arc::new(Mutex::new(Some(io::stdout()))));
    match run(host, &conn) {
        Ok(code) => {
            // A whole exit code, which `ExitCode` cannot say.
            std::process::exit(code.cast_signed())
        }
        Err(error) => {
            eprintln!("layerstone shim: {}", error.in_one_line());
            conn.with(|out| frame::send_json(out, Kind::Failed, &failure(&error)));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn failure(error: &Error) -> Failure {
    let lacks = match error {
        Error::Hcs(error) => error.kind() == ErrorKind::Unsupported,
        Error::Storage(error) => error.kind() == ErrorKind::Unsupported,
        Error::Unsupported { .. } => true,
        _ => false,
    };
    Failure { code: error.exit_code(), message: error.in_one_line(), unsupported: lacks }
}

fn run(host: Host, conn: &Conn) -> Result<u32> {
    let mut input = io::stdin();
    let Some((Kind::Start, payload)) = frame::receive(&mut input)? else {
        return Err(Error::Protocol { kind: 0, size: 0 });
    };
    let start: Start = frame::json(&payload)?;
    let agent = Agent::with(Store::open(&start.root)?, host, ShimProgram::this()?)?;
    let Some(mut container) = agent.load(&start.id)? else { return Err(Error::NoContainer(start.id)) };
    if container.state.status != Status::Created || container.state.shim.is_some() {
        return Err(container.state_error("start"));
    }
    container.state.shim = Some(process::identify_self()?);
    container.write_state()?;

    let mut started = false;
    let ended = match hold(&agent, &mut container, conn, &start, &mut started) {
        Ok(code) => Ended::of_code(code),
        Err(error) => {
            eprintln!("layerstone shim: {}", error.in_one_line());
            if !started {
                conn.with(|out| frame::send_json(out, Kind::Failed, &failure(&error)));
            }
            Ended::failed(error.exit_code(), error.in_one_line())
        }
    };
    container.write_exit(&ended)?;
    let code = ended.code();
    reconcile::stopped(&mut container, ended.clone())?;
    if container.config.auto_remove {
        let _lock = agent.lock()?;
        reconcile::remove(&agent.store, &agent.host, &container)?;
    }
    if started {
        conn.with(|out| frame::send_json(out, Kind::Exit, &ended));
    }
    Ok(code)
}

/// Attaches the scratch, and detaches it when what runs on it is over.
fn hold(
    agent: &Agent,
    container: &mut Container,
    conn: &Conn,
    start: &Start,
    started: &mut bool,
) -> Result<u32> {
    let stored = agent.store.scratch(&container.config.scratch)?;
    let chain = layers::ensure(&agent.host, &agent.store, &stored.description().chain_ids)?;
    let folder = scratch_folder(&agent.store, container)?;
    let scratch: ScratchLayer<'_, Hcs<'static>> =
        ScratchLayer::create(&agent.host.storage, &folder, &chain, &ScratchOptions::default())?;
    container.state.rootfs = Some(scratch.mount_path());
    let ended = run_system(agent, container, &scratch, conn, start, started);
    let detached = scratch.detach().map_err(|failed| Error::from(failed.error));
    // What went wrong first is what to tell.
    let code = ended?;
    detached?;
    Ok(code)
}

/// Runs the compute system until its first process has ended.
fn run_system(
    agent: &Agent,
    container: &mut Container,
    scratch: &ScratchLayer<'_, Hcs<'static>>,
    conn: &Conn,
    start: &Start,
    started: &mut bool,
) -> Result<u32> {
    let parameters: ProcessParameters = match files::read_json(&container.process_file())? {
        Some(parameters) => parameters,
        None => return Err(io::Error::from(io::ErrorKind::NotFound)).doing("read", container.process_file()),
    };
    // Input is the client's who is there from the beginning.
    let interactive = parameters.create_std_in_pipe && start.interactive;
    let parameters = ProcessParameters { create_std_in_pipe: interactive, ..parameters };
    let volume = scratch.mount_path();
    let document = config::system(&container.config, scratch.chain(), &volume)?.document()?;
    let system = agent.host.core.create_system(&container.config.id, &document)?;
    let result = system.start().map_err(Error::from).and_then(|()| {
        let process = system.create_process(&parameters).map_err(|error| not_started(container, error))?;
        run_process(container, process, conn, start, started, &system)
    });
    // Whatever has happened: nothing of it goes on.
    end(&system);
    result
}

/// A container whose program has ended has ended, with all that the program has started.
fn end(system: &System) {
    match system.terminate() {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            eprintln!("layerstone shim: {}", Error::from(error).in_one_line());
        }
        _ => {}
    }
}

/// Why the program was not started, with the exit code that podman has for it.
fn not_started(container: &Container, error: layerstone_hcs::Error) -> Error {
    const FILE_NOT_FOUND: u32 = 2;
    const PATH_NOT_FOUND: u32 = 3;
    const ACCESS_DENIED: u32 = 5;
    const BAD_EXE_FORMAT: u32 = 193;
    let code = match error.code().and_then(layerstone_hcs::HResult::win32) {
        Some(FILE_NOT_FOUND | PATH_NOT_FOUND) => EXIT_NOT_FOUND,
        Some(ACCESS_DENIED | BAD_EXE_FORMAT) => EXIT_NOT_EXECUTABLE,
        _ => return error.into(),
    };
    let program = container.config.command.first().cloned().unwrap_or_default();
    Error::Program { code, program, why: error.to_string() }
}

fn run_process(
    container: &mut Container,
    started_process: StartedProcess,
    conn: &Conn,
    start: &Start,
    started: &mut bool,
    system: &System,
) -> Result<u32> {
    let StartedProcess { process, stdio } = started_process;
    let process = Arc::new(process);
    let log = Arc::new(Mutex::new(log::Writer::open(&container.directory, log::FULL)?));
    container.state.status = Status::Running;
    container.state.started = Some(super::now());
    container.state.init = Some(process::identify(process.pid()));
    container.write_state()?;
    *started = true;
    conn.with(|out| frame::send(out, Kind::Started, &[]));
    let attached = start.attach.then(|| conn.clone());
    let output = stdio.stdout.map(|pipe| take_output(pipe, Stream::Stdout, log.clone(), attached.clone()));
    let errors = stdio.stderr.map(|pipe| take_output(pipe, Stream::Stderr, log.clone(), attached));
    if start.attach {
        let (process, stdin) = (Arc::clone(&process), stdio.stdin);
        std::thread::spawn(move || listen(&process, stdin));
    }
    let status = process.wait(None)?;
    // What it has started may still have its pipes.
    end(system);
    for thread in [output, errors].into_iter().flatten() {
        if thread.join().is_err() {
            eprintln!("layerstone shim: a thread has panicked");
        }
    }
    match status.and_then(|status| status.code()) {
        Some(Ok(code)) => Ok(code),
        Some(Err(code)) => Err(layerstone_hcs::Error::Call {
            function: "HcsWaitForProcessExit",
            subject: container.config.id.clone().into(),
            code,
        }
        .into()),
        None => Err(layerstone_hcs::Error::Answer {
            function: "HcsWaitForProcessExit",
            subject: container.config.id.clone().into(),
            reason: "it returned before the process had ended",
        }
        .into()),
    }
}

/// Takes what the program prints until it has ended: into the log, and to the client.
fn take_output(
    mut pipe: PipeReader,
    stream: Stream,
    log: Arc<Mutex<log::Writer>>,
    client: Option<Conn>,
) -> JoinHandle<()> {
    let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let lock = || log.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let read = match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    eprintln!("layerstone shim: cannot read the program's output: {error}");
                    break;
                }
            };
            if let Err(error) = lock().write(stream, &buffer[..read]) {
                eprintln!("layerstone shim: {}", error.in_one_line());
            }
            if let Some(client) = &client {
                client.with(|out| frame::send(out, kind, &buffer[..read]));
            }
        }
        if let Err(error) = lock().end(stream) {
            eprintln!("layerstone shim: {}", error.in_one_line());
        }
    })
}

/// Does what the client says, until it has gone. Its end is the end of the program's input.
fn listen(process: &Process, mut stdin: Option<PipeWriter>) {
    let mut client = io::stdin();
    while let Ok(Some((kind, payload))) = frame::receive(&mut client) {
        match kind {
            Kind::Stdin => {
                // A program that does not read any more.
                if stdin.as_mut().is_some_and(|pipe| pipe.write_all(&payload).is_err()) {
                    stdin = None;
                }
            }
            Kind::StdinEnd => close(process, stdin.take()),
            Kind::Signal => {
                let number = payload.first().copied().map_or(0, i32::from);
                if let Ok(signal) = super::agent::console_signal(number)
                    && let Err(error) = process.signal(signal)
                {
                    eprintln!("layerstone shim: {}", Error::from(error).in_one_line());
                }
            }
            _ => break,
        }
    }
    close(process, stdin);
}

fn close(process: &Process, stdin: Option<PipeWriter>) {
    // It may have ended.
    if let Some(pipe) = stdin
        && let Err(error) = process.close_stdin(pipe)
        && error.kind() != ErrorKind::NotFound
    {
        eprintln!("layerstone shim: {}", Error::from(error).in_one_line());
    }
}
