//! What client and shim say to each other over a socket: frames of one byte kind, four bytes length (little-endian), and as
//! many bytes.
//!
//! | kind | from | what |
//! | --- | --- | --- |
//! | 1 | client | [`Start`], JSON: the first frame |
//! | 2, 3 | client | bytes for standard input; its end |
//! | 4 | client | [`Request`], JSON |
//! | 16, 17 | shim | bytes of standard output, of standard error |
//! | 18 | shim | the program runs |
//! | 19 | shim | [`Failure`], JSON: it could not be started |
//! | 20 | shim | [`Exit`](crate::model::Exit), JSON: it has ended; the last frame |
//! | 21 | shim | one frame of standard input has been taken |
//! | 22 | shim | [`Answer`] to a request, JSON |
//! | 23 | shim | [`HealthLook`](crate::model::HealthLook), JSON: what came of [`Request::Check`] |
//!
//! A client sends at most [`STDIN_WINDOW`] frames of input ahead of their acknowledgements, so that requests never wait behind
//! input that the program does not read.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::spec::Process;

/// The most bytes of a frame: environments of processes are in some.
const MAX_FRAME: u32 = 8 << 20;
/// How many bytes of input or output are sent in one frame.
pub(crate) const CHUNK: usize = 32 << 10;
/// How many frames of input may be under way.
pub(crate) const STDIN_WINDOW: usize = 4;

/// A frame's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Start = 1,
    Stdin = 2,
    StdinEnd = 3,
    Request = 4,
    Stdout = 16,
    Stderr = 17,
    Started = 18,
    Failed = 19,
    Exit = 20,
    StdinTaken = 21,
    Answer = 22,
    Look = 23,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::*;
        [Start, Stdin, StdinEnd, Request, Stdout, Stderr, Started, Failed, Exit, StdinTaken, Answer, Look]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// What a shim is for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The store.
    pub(crate) root: PathBuf,
    /// Its runtime directory.
    pub(crate) runtime_dir: PathBuf,
    /// The container.
    pub(crate) id: String,
    /// The client wants the output, and has the input.
    pub(crate) attach: bool,
    /// Of the client's terminal.
    pub(crate) size: Option<Size>,
    /// Another process in a container that runs, instead of its first.
    pub(crate) exec: Option<Exec>,
}

/// Another process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    pub(crate) process: Process,
    /// Its standard input is the client's.
    pub(crate) interactive: bool,
}

/// What can be asked of a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Send a signal to the first process.
    Kill {
        signal: i32,
    },
    /// Send the stop signal to the first process, and do not start it again when it has ended.
    Stop,
    /// Kill a process that was executed in a container, and those of its session that are in its process group.
    KillGroup,
    /// Look at its health now.
    Check,
    Pause,
    Resume,
    Resize(Size),
    /// Tell when it has ended.
    Wait,
}

/// What came of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) error: Option<String>,
}

/// Why a program could not be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// 125, 126 or 127.
    pub(crate) code: u8,
    pub(crate) message: String,
}

/// One end of a conversation. Writing never blocks; what the other side does not take yet is kept.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// The other side is gone.
    pub(crate) closed: bool,
}

impl Conn {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Conn { stream, input: Vec::new(), output: VecDeque::new(), closed: false })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// How many bytes the other side has not taken yet.
    pub(crate) fn pending(&self) -> usize {
        self.output.len()
    }

    /// Queues a frame, and sends what can be sent.
    pub(crate) fn send(&mut self, kind: Kind, payload: &[u8]) {
        if self.closed {
            return;
        }
        self.output.push_back(kind as u8);
        self.output.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.output.extend(payload);
        self.flush();
    }

    pub(crate) fn send_json(&mut self, kind: Kind, value: &impl Serialize) {
        // Our own types always have a JSON form.
        self.send(kind, &serde_json::to_vec(value).unwrap_or_default());
    }

    /// Sends what can be sent.
    pub(crate) fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(self.output.as_slices().0) {
                Ok(0) => self.closed = true,
                Ok(sent) => {
                    self.output.drain(..sent);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
            if self.closed {
                self.output.clear();
            }
        }
    }

    /// Reads what is there: at most so much that input does not pile up.
    pub(crate) fn fill(&mut self) {
        let mut buffer = [0; CHUNK];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_) => self.closed = true,
        }
    }

    /// The next whole frame that has been read.
    pub(crate) fn next(&mut self) -> Result<Option<(Kind, Vec<u8>)>> {
        let Some((header, rest)) = self.input.split_at_checked(5) else { return Ok(None) };
        let [kind, a, b, c, d] = header else { return Ok(None) };
        let size = u32::from_le_bytes([*a, *b, *c, *d]);
        let known = Kind::of(*kind).filter(|_| size <= MAX_FRAME);
        let known = known.ok_or(Error::Protocol { kind: *kind, size })?;
        let size = size as usize;
        if rest.len() < size {
            return Ok(None);
        }
        let payload = rest[..size].to_vec();
        self.input.drain(..5 + size);
        Ok(Some((known, payload)))
    }
}

/// Reads the JSON of a frame.
pub(crate) fn json<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|source| Error::Json { path: "a message".into(), source })
}
