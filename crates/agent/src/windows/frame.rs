//! What a shim and the client that has started it say to each other, over the shim's standard input and output.
//!
//! ```text
//! kind u8 | length u32, little-endian | payload
//! ```
//!
//! Both sides read on threads of their own, so nothing has to be kept that the other does not take.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext as _, Result};

/// The most bytes of a frame.
const MAX_FRAME: u32 = 1 << 20;
/// How many bytes of input or output are sent in one frame.
pub(super) const CHUNK: usize = 32 << 10;

/// A frame's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the shim: what it is for.
    Start = 1,
    /// To the shim: input of the program.
    Stdin = 2,
    /// To the shim: the end of it.
    StdinEnd = 3,
    /// To the shim: a signal's number.
    Signal = 4,
    /// From the shim: output.
    Stdout = 16,
    /// From the shim: output on standard error.
    Stderr = 17,
    /// From the shim: the program runs.
    Started = 18,
    /// From the shim: it could not be started.
    Failed = 19,
    /// From the shim: it has ended, and everything is taken down.
    Exit = 20,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::*;
        [Start, Stdin, StdinEnd, Signal, Stdout, Stderr, Started, Failed, Exit]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// What a shim is for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// The store.
    pub(super) root: PathBuf,
    /// The container.
    pub(super) id: String,
    /// The client wants the output.
    pub(super) attach: bool,
    /// The client has input.
    pub(super) interactive: bool,
}

/// Why a program could not be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Failure {
    /// 125, 126 or 127.
    pub(super) code: u8,
    /// The failure, causes included.
    pub(super) message: String,
    /// This host lacks something.
    pub(super) unsupported: bool,
}

/// Sends a frame.
pub(super) fn send(out: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut frame = Vec::with_capacity(5 + payload.len());
    frame.push(kind as u8);
    frame.extend(length.to_le_bytes());
    frame.extend(payload);
    out.write_all(&frame)?;
    out.flush()
}

/// Sends a frame of JSON.
pub(super) fn send_json(out: &mut impl Write, kind: Kind, value: &impl Serialize) -> io::Result<()> {
    send(out, kind, &serde_json::to_vec(value)?)
}

/// The next frame; `None` when the other side has gone.
pub(super) fn receive(input: &mut impl Read) -> Result<Option<(Kind, Vec<u8>)>> {
    let mut header = [0; 5];
    if !fill(input, &mut header)? {
        return Ok(None);
    }
    let [kind, a, b, c, d] = header;
    let size = u32::from_le_bytes([a, b, c, d]);
    let known = Kind::of(kind).filter(|_| size <= MAX_FRAME).ok_or(Error::Protocol { kind, size })?;
    let mut payload = vec![0; size as usize];
    Ok(fill(input, &mut payload)?.then_some((known, payload)))
}

/// False when the other side has gone before it has said all of it.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            Ok(false)
        }
        Err(error) => Err(error).doing("read from", "the other side"),
    }
}

/// Reads the JSON of a frame.
pub(super) fn json<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|source| Error::Json { path: "a message".into(), source })
}
