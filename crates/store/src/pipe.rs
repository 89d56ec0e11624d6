//! Bytes from one thread to another, where the end only counts when the writer says so.
//!
//! With an ordinary pipe a writer that fails looks like one that is done, and an archive that is cut off at the end of
//! a member looks whole.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of one message.
const CHUNK: usize = 512 << 10;
/// Messages that wait.
const DEPTH: usize = 4;

/// The two ends of a pipe.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, receiver) = sync_channel(DEPTH);
    let writer = PipeWriter { sender, buffer: Vec::with_capacity(CHUNK) };
    (writer, PipeReader { receiver, current: Vec::new(), at: 0, ended: false })
}

/// The end that bytes go into. Dropped without [`Self::finish`], the reader fails.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    sender: SyncSender<io::Result<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl PipeWriter {
    /// Says that everything has been written.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        // An empty message is the end.
        self.sender.send(Ok(Vec::new())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Says why there will be no more.
    pub(crate) fn fail(self, error: io::Error) {
        let _ = self.sender.send(Err(error));
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The end that bytes come out of.
#[derive(Debug)]
pub struct PipeReader {
    receiver: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() && !self.ended {
            self.current = self.receiver.recv().map_err(|_| {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the writer of the archive ended early")
            })??;
            self.at = 0;
            self.ended = self.current.is_empty();
        }
        let n = buffer.len().min(self.current.len() - self.at);
        buffer[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
