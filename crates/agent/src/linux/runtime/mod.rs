//! What makes containers of bundles.
//!
//! Two implementations, both only used inside of a shim: [`youki`](self::youki), which is libcontainer as a library, and
//! [`oci`](self::oci), any program with the command line of runc. The one that was chosen when the container was made is the
//! one that is used; nothing falls back to the other.

mod credentials;
mod executor;
mod init;
mod oci;
pub(super) mod raw;
mod youki;

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::error::{IoContext as _, Result};
use crate::options::RuntimeChoice;
use crate::spec::{Process, Spec};

/// What the first three descriptors of a program are to be.
#[derive(Debug)]
pub(super) enum Stdio {
    /// Pipes or files. None may be `/dev/null` for output: libcontainer opens that again for reading.
    Pipes {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal, whose other end comes out of the console socket.
    Terminal(Console),
}

/// A socket on which a runtime hands over the other end of a terminal.
#[derive(Debug)]
pub(super) struct Console {
    listener: UnixListener,
    /// The socket's directory: its path may be longer than an address can be.
    directory: OwnedFd,
    path: PathBuf,
}

impl Console {
    /// Makes the socket `name` in `directory`.
    pub(super) fn new(directory: &Path, name: &str) -> Result<Self> {
        let handle = super::shim::open_directory(directory)?;
        let path = directory.join(name);
        let listener = UnixListener::bind(short_path(&handle, name)).doing("listen on", &path)?;
        Ok(Console { listener, directory: handle, path })
    }

    /// A name of the socket that is short, and that other processes can use as long as this one lives.
    fn path_for_others(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        let process = rustix::process::getpid().as_raw_nonzero();
        let name = self.path.file_name().unwrap_or_default();
        Path::new("/proc")
            .join(process.to_string())
            .join("fd")
            .join(self.directory.as_raw_fd().to_string())
            .join(name)
    }

    /// Takes the terminal that a runtime has sent.
    pub(super) fn take(self) -> Result<OwnedFd> {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let (stream, _) = self.listener.accept().doing("take a terminal from", &self.path)?;
        let mut name = [0; 4096];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        recvmsg(
            stream.as_fd(),
            &mut [std::io::IoSliceMut::new(&mut name)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .doing("take a terminal from", &self.path)?;
        let terminal = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        terminal
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
            .doing("take a terminal from", &self.path)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A path of a socket that fits an address.
pub(super) fn short_path(directory: &OwnedFd, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// What a runtime has to know of a container.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    /// The container's id.
    pub(super) id: String,
    /// The directory with `config.json`.
    pub(super) directory: PathBuf,
    /// Where the runtime may keep its own files; of this boot.
    pub(super) state: PathBuf,
    /// The first process only reaps, and passes signals on. Runtimes that cannot do that themselves get a program for it in the bundle.
    pub(super) init: bool,
}

impl Bundle {
    fn spec(&self) -> Result<Spec> {
        let path = self.directory.join("config.json");
        super::files::read_json(&path)?
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
            .doing("read", path)
    }
}

/// How a runtime thinks a container is (runtime-spec, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuntimeStatus {
    Created,
    Running,
    Paused,
    Stopped,
}

/// A runtime, for one container. Everything that it starts becomes a child of the calling process, which has one thread.
///
/// Signals are no matter of it: the shim is the parent of the first process and has a descriptor of it, while a runtime
/// only knows a number, and not every one takes every signal.
pub(super) trait Runtime {
    /// Sets up the container; its first process waits to execute the program. The number of that process.
    fn create(&mut self, stdio: Stdio) -> Result<Running>;

    /// Has the program executed.
    fn start(&mut self) -> Result<()>;

    /// How it thinks the container is.
    fn state(&self) -> Result<RuntimeStatus>;

    /// Freezes all processes.
    fn pause(&mut self) -> Result<()>;

    /// Lets them go on.
    fn resume(&mut self) -> Result<()>;

    /// Executes another program in a container that runs. The number of its process.
    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Running>;

    /// Removes the container, its control group included. Processes that are left are killed.
    fn delete(&mut self) -> Result<()>;
}

/// A process that a runtime has started.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: i32,
    /// The other end of its terminal.
    pub(super) terminal: Option<OwnedFd>,
}

/// The runtime that was chosen for a container.
pub(super) fn of(choice: &RuntimeChoice, bundle: Bundle) -> Box<dyn Runtime> {
    match choice {
        RuntimeChoice::Youki => Box::new(youki::Youki::new(bundle)),
        RuntimeChoice::Program(program) => Box::new(oci::Oci::new(program.clone(), bundle)),
    }
}
