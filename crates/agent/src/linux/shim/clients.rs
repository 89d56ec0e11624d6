//! The clients of a shim: the one that has started it, and those that come to its control socket.
//!
//! They outlive the program: one that is attached stays so while the program is started again.

use std::os::unix::net::UnixListener;

use crate::error::{Error, Result};
use crate::linux::frame::{Answer, Conn, Failure, Kind, Size, Start};
use crate::model::{Exit, HealthLook};

/// The most clients at once.
const MAX_PEERS: usize = 64;

/// A client.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) conn: Conn,
    /// Has the output, and the input.
    pub(super) attached: bool,
    /// Wants to know how it ended.
    pub(super) waiting: bool,
    /// Wants to know what comes of the check that is being made.
    pub(super) looking: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) peers: Vec<Peer>,
    listener: Option<UnixListener>,
    /// Nothing more comes for standard input.
    pub(super) input_over: bool,
    /// Of the terminal of the client that has said it last.
    pub(super) size: Option<Size>,
}

impl Clients {
    /// The one that has started the shim.
    pub(super) fn of(conn: Conn, start: &Start) -> Self {
        let first = Peer { conn, attached: start.attach, waiting: true, looking: false };
        Clients { peers: vec![first], listener: None, input_over: false, size: start.size }
    }

    /// Others may come from now on.
    pub(super) fn listen(&mut self, listener: UnixListener) {
        self.listener = Some(listener);
    }

    /// Where others come, as long as there is room for them.
    pub(super) fn listener(&self) -> Option<&UnixListener> {
        self.listener.as_ref().filter(|_| self.peers.len() < MAX_PEERS)
    }

    pub(super) fn accept(&mut self) {
        let Some((stream, _)) = self.listener.as_ref().and_then(|listener| listener.accept().ok()) else {
            return;
        };
        if let Ok(conn) = Conn::new(stream) {
            self.peers.push(Peer { conn, attached: false, waiting: false, looking: false });
        }
    }

    /// Those that have the output.
    pub(super) fn attached(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut().filter(|peer| peer.attached)
    }

    /// Forgets those that are gone. True when one of them had the input.
    pub(super) fn drop_closed(&mut self) -> bool {
        let lost_input = self.peers.iter().any(|peer| peer.attached && peer.conn.closed);
        self.peers.retain(|peer| !peer.conn.closed);
        lost_input
    }

    pub(super) fn tell_started(&mut self) {
        for peer in &mut self.peers {
            peer.conn.send(Kind::Started, &[]);
            // A client that has no use for the output only waits for the start.
            peer.waiting = peer.attached;
        }
    }

    /// Tells those that have asked what was seen of the container's health.
    pub(super) fn tell_look(&mut self, look: &HealthLook) {
        for peer in self.peers.iter_mut().filter(|peer| peer.looking) {
            peer.looking = false;
            peer.conn.send_json(Kind::Look, look);
        }
    }

    /// Tells them that nothing will be seen.
    pub(super) fn tell_no_look(&mut self) {
        for peer in self.peers.iter_mut().filter(|peer| peer.looking) {
            peer.looking = false;
            let error = Some("the container's program has ended before the check has".to_owned());
            peer.conn.send_json(Kind::Answer, &Answer { error });
        }
    }

    /// Tells those that wait how it ended, until they have taken it.
    pub(super) fn tell_the_end(&mut self, outcome: &Result<Exit>) {
        for peer in self.peers.iter_mut().filter(|peer| peer.waiting) {
            match outcome {
                Err(error) => peer.conn.send_json(Kind::Failed, &failure(error)),
                Ok(exit) => peer.conn.send_json(Kind::Exit, exit),
            }
        }
        say_the_rest(&mut self.peers);
    }
}

pub(super) fn failure(error: &Error) -> Failure {
    Failure { code: error.exit_code(), message: error.in_one_line() }
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
