//! The client's side: starting a shim, and the streams of an attached program.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::windows::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::agent::Agent;
use super::container::{Container, Ended};
use super::frame::{self, CHUNK, Failure, Kind, Start};
use super::process::{self, Key};
use crate::error::{Error, IoContext as _, Result};

/// A shim has no console, so that no key ends it.
const CREATION_FLAGS: u32 = 0x0000_0200 | 0x0800_0000;
/// How often keys are looked for.
const INTERVAL: Duration = Duration::from_millis(50);
/// The most of a shim's own log that is shown.
const MAX_SAID: usize = 2000;

/// How an attached client wants its streams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attached {
    /// Standard input is sent.
    pub interactive: bool,
}

/// A conversation with a shim that was started by this process.
#[derive(Debug)]
pub struct Client {
    container: Container,
    child: Child,
    interactive: bool,
}

impl Agent {
    /// Starts a container that was made: its program runs when this returns. With `attached`, its output comes to the client.
    ///
    /// # Errors
    /// When it cannot be started; its state then says why, unless it removes itself.
    pub fn start(&self, container: &Container, attached: Option<Attached>) -> Result<Client> {
        process::keep_streams();
        let log = container.shim_log();
        let errors = File::options().create(true).append(true).open(&log).doing("open", log)?;
        let mut command = Command::new(&self.shim.path);
        command.args(&self.shim.arguments).creation_flags(CREATION_FLAGS);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let child = command.spawn().doing("start a shim from", &self.shim.path)?;
        let interactive = attached.is_some_and(|attached| attached.interactive);
        let start = Start {
            root: std::path::absolute(self.store.root()).doing("find", self.store.root())?,
            id: container.config.id.clone(),
            attach: attached.is_some(),
            interactive,
        };
        let mut client = Client { container: container.clone(), child, interactive };
        if let Err(error) = client.started(&start) {
            if matches!(error, Error::ShimDied { .. }) {
                // Nobody else looks after what it has left. The error that led here is the one to tell.
                let _ = self.find(&container.config.id);
            }
            return Err(error);
        }
        Ok(client)
    }
}

impl Client {
    /// Says what the shim is for, and waits until the program runs.
    fn started(&mut self, start: &Start) -> Result<()> {
        if let Some(stdin) = &mut self.child.stdin
            && frame::send_json(stdin, Kind::Start, start).is_err()
        {
            return Err(self.died());
        }
        match self.receive()? {
            Some((Kind::Started, _)) => Ok(()),
            Some((Kind::Failed, payload)) => Err(self.failed(&payload)),
            Some((kind, payload)) => Err(unexpected(kind, &payload)),
            None => Err(self.died()),
        }
    }

    fn receive(&mut self) -> Result<Option<(Kind, Vec<u8>)>> {
        match &mut self.child.stdout {
            Some(stdout) => frame::receive(stdout),
            None => Ok(None),
        }
    }

    fn failed(&mut self, payload: &[u8]) -> Error {
        // It tidies up, and then ends.
        let _ = self.child.wait();
        match frame::json::<Failure>(payload) {
            Ok(failure) if failure.unsupported => {
                Error::Unsupported { doing: "run the container", missing: failure.message }
            }
            Ok(failure) => Error::Shim { code: failure.code, message: failure.message },
            Err(error) => error,
        }
    }

    /// The shim has gone without a word.
    fn died(&mut self) -> Error {
        let _ = self.child.wait();
        let said = std::fs::read(self.container.shim_log()).unwrap_or_default();
        let tail = &said[said.len().saturating_sub(MAX_SAID)..];
        let said = String::from_utf8_lossy(tail).trim().to_owned();
        Error::ShimDied { name: self.container.config.name.clone(), said }
    }

    /// Connects the caller's streams with the program's until that has ended: output to standard output and error, input from standard
    /// input, Ctrl-C and Ctrl-Break to the program.
    ///
    /// # Errors
    /// When the shim dies, or standard output is closed; the program goes on in the second case.
    pub fn attach(mut self) -> Result<Ended> {
        let shim = Arc::new(Mutex::new(self.child.stdin.take()));
        process::take_keys()?;
        let keys = Arc::clone(&shim);
        std::thread::spawn(move || pass_keys(&keys));
        if self.interactive {
            std::thread::spawn(move || pass_input(&shim));
        }
        loop {
            match self.receive()? {
                Some((Kind::Stdout, payload)) => self.write(&mut io::stdout().lock(), &payload)?,
                Some((Kind::Stderr, payload)) => self.write(&mut io::stderr().lock(), &payload)?,
                Some((Kind::Exit, payload)) => {
                    let _ = self.child.wait();
                    return frame::json(&payload);
                }
                Some((Kind::Failed, payload)) => return Err(self.failed(&payload)),
                Some((kind, payload)) => return Err(unexpected(kind, &payload)),
                None => return Err(self.died()),
            }
        }
    }

    fn write(&self, out: &mut impl Write, data: &[u8]) -> Result<()> {
        match out.write_all(data).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Error::OutputClosed { name: self.container.config.name.clone() })
            }
            written => written.doing("write to", "standard output"),
        }
    }
}

type Shim = Mutex<Option<ChildStdin>>;

/// False when the shim has gone.
fn tell(shim: &Shim, kind: Kind, payload: &[u8]) -> bool {
    let mut shim = shim.lock().unwrap_or_else(PoisonError::into_inner);
    shim.as_mut().is_some_and(|shim| frame::send(shim, kind, payload).is_ok())
}

fn pass_input(shim: &Shim) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match io::stdin().read(&mut buffer) {
            Ok(0) => break,
            Ok(read) if tell(shim, Kind::Stdin, &buffer[..read]) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    tell(shim, Kind::StdinEnd, &[]);
}

fn pass_keys(shim: &Shim) {
    const INTERRUPT: u8 = 2;
    const QUIT: u8 = 3;
    loop {
        std::thread::sleep(INTERVAL);
        while let Some(key) = process::next_key() {
            let signal = if key == Key::Interrupt { INTERRUPT } else { QUIT };
            if !tell(shim, Kind::Signal, &[signal]) {
                return;
            }
        }
    }
}

fn unexpected(kind: Kind, payload: &[u8]) -> Error {
    Error::Protocol { kind: kind as u8, size: u32::try_from(payload.len()).unwrap_or(u32::MAX) }
}
