//! The pipes of a program, on the shim's side.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::error::{IoContext as _, Result};
use crate::linux::frame::{CHUNK, Size};
use crate::linux::runtime::{Console, Stdio};
use crate::log::Stream;

/// The shim's ends, and the program's.
pub(super) fn make(tty: bool, interactive: bool, directory: &Path, name: &str) -> Result<(Stdio, Pipes)> {
    if tty {
        return Ok((Stdio::Terminal(Console::new(directory, name)?), Pipes::default()));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).doing("create", "a pipe");
    let (out_read, stdout) = pipe()?;
    let (error_read, stderr) = pipe()?;
    let (stdin, input) = if interactive {
        let (read, write) = pipe()?;
        (read, Some(Input::new(write)?))
    } else {
        let null = openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .doing("open", "/dev/null")?;
        (null, None)
    };
    let outputs = vec![Output::new(out_read, Stream::Stdout)?, Output::new(error_read, Stream::Stderr)?];
    Ok((Stdio::Pipes { stdin, stdout, stderr }, Pipes { outputs, input, terminal: None }))
}

/// The shim's ends.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pub(super) outputs: Vec<Output>,
    pub(super) input: Option<Input>,
    /// Where the size is set.
    pub(super) terminal: Option<OwnedFd>,
}

impl Pipes {
    /// Takes the other end of the program's terminal, if it has one, and gives it the client's size.
    pub(super) fn take_terminal(&mut self, terminal: Option<OwnedFd>, size: Option<Size>) -> Result<()> {
        if let Some(terminal) = terminal {
            let copy = || terminal.try_clone().doing("duplicate", "a terminal");
            self.outputs = vec![Output::new(copy()?, Stream::Stdout)?];
            self.input = Some(Input::new(copy()?)?);
            self.terminal = Some(terminal);
        }
        size.map_or(Ok(()), |size| self.resize(size))
    }

    /// Sets the size of the terminal, if there is one.
    pub(super) fn resize(&self, size: Size) -> Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal, size).doing("set the size of", "the terminal")
    }
}

/// Something that the program writes to.
#[derive(Debug)]
pub(super) struct Output {
    fd: OwnedFd,
    pub(super) stream: Stream,
    /// Everything was read.
    pub(super) ended: bool,
}

/// What came of reading.
#[derive(Debug)]
pub(super) enum Read {
    Data(Vec<u8>),
    Nothing,
    /// Nobody can write to it any more.
    End,
}

impl Output {
    fn new(fd: OwnedFd, stream: Stream) -> Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true).doing("set up", "a pipe")?;
        Ok(Output { fd, stream, ended: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn read(&self) -> Read {
        let mut buffer = vec![0; CHUNK];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(0) => Read::End,
            Ok(read) => {
                buffer.truncate(read);
                Read::Data(buffer)
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // A terminal that nobody has open says EIO.
            Err(_) => Read::End,
        }
    }
}

/// What the program reads from.
#[derive(Debug)]
pub(super) struct Input {
    fd: OwnedFd,
    queue: VecDeque<u8>,
    /// How many bytes of each frame are still in the queue.
    frames: VecDeque<usize>,
    /// Nothing follows.
    pub(super) ended: bool,
}

impl Input {
    fn new(fd: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true).doing("set up", "a pipe")?;
        Ok(Input { fd, queue: VecDeque::new(), frames: VecDeque::new(), ended: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn add(&mut self, data: &[u8]) {
        self.queue.extend(data);
        self.frames.push_back(data.len());
    }

    /// Writes what can be written. How many frames were taken, and whether the program can still read.
    pub(super) fn flush(&mut self) -> (usize, bool) {
        let mut taken = 0;
        while !self.queue.is_empty() {
            match rustix::io::write(&self.fd, self.queue.as_slices().0) {
                Ok(written) => {
                    self.queue.drain(..written);
                    let mut left = written;
                    while let Some(frame) = self.frames.front_mut() {
                        let part = left.min(*frame);
                        *frame -= part;
                        left -= part;
                        if *frame > 0 {
                            break;
                        }
                        self.frames.pop_front();
                        taken += 1;
                        if left == 0 {
                            break;
                        }
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return (taken, true),
                // The program has closed its end.
                Err(_) => return (taken + self.frames.len(), false),
            }
        }
        (taken, true)
    }
}
