//! A program whose streams are wanted by another program, piece by piece, and not by a terminal.
//!
//! [`Client::attach`](super::Client::attach) connects a program with the caller's own streams until it has ended. A
//! program that serves others has none to give away: it hands over the input that it has, and takes output when it can. What it
//! does not take waits in the shim, and then the program waits too.

use std::collections::VecDeque;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::poll;

use super::client::{Client, heard, unexpected};
use super::frame::{CHUNK, Kind, STDIN_WINDOW, json};
use super::process;
use crate::error::{IoContext as _, Result};
use crate::log::Stream;
use crate::model::Exit;

/// What an attached program has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It has written something.
    Output(Stream, Vec<u8>),
    /// It has ended, and everything that it wrote was heard.
    Exit(Exit),
    /// Nothing, for as long as the caller wanted to wait.
    Nothing,
}

/// An attached program.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// What it has not been sent yet; `None` when its input is not the caller's, or has ended.
    input: Option<VecDeque<u8>>,
    /// Frames of input that the shim has not taken yet.
    under_way: usize,
}

impl Client {
    /// Talks with an attached program. `input` is everything that it can read; nothing where its standard input is not the
    /// caller's.
    pub fn converse(self, input: Option<Vec<u8>>) -> Session {
        Session { client: self, input: input.map(VecDeque::from), under_way: 0 }
    }

    /// Ends the conversation, not the program. The shim, where this process has started it: a program that goes on for long has to
    /// wait for it some time, or it stays in the table of processes when it has ended.
    pub fn into_child(self) -> Option<Child> {
        self.child
    }
}

impl Session {
    /// The next that is heard, if it comes within `patience`.
    ///
    /// # Errors
    /// When the program could not be started, or its shim dies.
    pub fn hear(&mut self, patience: Duration) -> Result<Heard> {
        let deadline = Instant::now() + patience;
        loop {
            self.feed();
            while let Some((kind, payload)) = self.client.conn.next()? {
                match kind {
                    Kind::Stdout => return Ok(Heard::Output(Stream::Stdout, payload)),
                    Kind::Stderr => return Ok(Heard::Output(Stream::Stderr, payload)),
                    Kind::StdinTaken => {
                        self.under_way = self.under_way.saturating_sub(1);
                        self.feed();
                    }
                    Kind::Exit => {
                        self.client.reap_later();
                        return Ok(Heard::Exit(json(&payload)?));
                    }
                    Kind::Failed => return Err(self.client.failed(&payload)),
                    Kind::Answer | Kind::Started => {}
                    other => return Err(unexpected(other, &payload)),
                }
            }
            if self.client.conn.closed {
                return Err(self.client.died());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Heard::Nothing);
            }
            self.client.conn.flush();
            let mut fds = self.client.conversation();
            match poll(&mut fds, Some(&process::timespec(left))) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno).doing("wait for", "the shim"),
            }
            let (said, gone) = heard(&fds);
            self.client.take(said, gone);
        }
    }

    /// Sends as much input as may be under way, and its end after the last of it.
    fn feed(&mut self) {
        while let Some(input) = self.input.as_mut().filter(|_| self.under_way < STDIN_WINDOW) {
            if input.is_empty() {
                self.client.conn.send(Kind::StdinEnd, &[]);
                self.input = None;
                return;
            }
            let piece: Vec<u8> = input.drain(..input.len().min(CHUNK)).collect();
            self.client.conn.send(Kind::Stdin, &piece);
            self.under_way += 1;
        }
    }

    /// Ends the conversation; the program goes on. The shim, as [`Client::into_child`] has it.
    pub fn into_child(self) -> Option<Child> {
        self.client.into_child()
    }
}
