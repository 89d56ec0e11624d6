//! The socket of the API, and the locks that keep two agents apart.
//!
//! A lock of the kernel on a file beside the socket says whether the agent that made it lives: it goes with the process, however that
//! ends. So the socket of a dead one is replaced without asking it, and that of a living one never is, also when it is busy.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, IoContext as _, Result};

/// What `sockaddr_un` has room for, without the byte that ends it (`unix(7)`).
const MAX_PATH: usize = 107;
/// By how much a socket's path is longer before it is moved to where it goes.
const STAGING: usize = ".new/s".len();

/// How long a lock that is held is tried again. A program that an agent was starting when it was killed has its locks until it
/// executes.
const PATIENCE: Duration = Duration::from_millis(500);

/// A file that is locked as long as this is there.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Locks a file. The error is the number of the process that has done so already, if it has said it.
pub(crate) fn lock(path: &Path) -> Result<Result<Lock, Option<i32>>> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).doing("create", parent)?;
    }
    let mut file =
        File::options().create(true).read(true).write(true).truncate(false).open(path).doing("open", path)?;
    let deadline = Instant::now() + PATIENCE;
    let mut locked = file.try_lock();
    while matches!(locked, Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
        std::thread::sleep(PATIENCE / 50);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = (&mut file).take(32).read_to_string(&mut text);
            return Ok(Err(read.ok().and_then(|_| text.trim().parse().ok())));
        }
        Err(TryLockError::Error(error)) => return Err(error).doing("lock", path),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).doing("write", path)?;
    Ok(Ok(Lock { _file: file }))
}

/// A socket that is listened on. It goes when this does.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
    _lock: Lock,
}

impl Socket {
    /// Listens at `path`; only its owner can connect.
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).doing("find", path)?;
        let length = path.as_os_str().len() + STAGING;
        if length > MAX_PATH {
            let most = MAX_PATH - STAGING;
            return Err(Error::LongPath { length: length - STAGING, path, most });
        }
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = lock(Path::new(&lock_path))?.map_err(|pid| Error::Served { path: path.clone(), pid })?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(Error::NoSocket { path }),
            _ => {}
        }
        // Nobody sees it before its mode is right, and it takes the place of an old one at once.
        let mut staging = path.as_os_str().to_owned();
        staging.push(".new");
        let staging = PathBuf::from(staging);
        // What one has left that was killed here; while the lock is held, there is nobody else.
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).doing("remove", &staging),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&staging).doing("create", &staging)?;
        let staged = staging.join("s");
        let listener = UnixListener::bind(&staged).doing("listen on", &staged)?;
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o600)).doing("set the mode of", &staged)?;
        listener.set_nonblocking(true).doing("listen on", &path)?;
        fs::rename(&staged, &path).doing("move into place", &path)?;
        fs::remove_dir(&staging).doing("remove", &staging)?;
        Ok(Socket { path, listener: Some(listener), _lock: lock })
    }

    /// The listener, once.
    pub(crate) fn take(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // While the lock is held, it is this one's.
        let _ = fs::remove_file(&self.path);
    }
}
