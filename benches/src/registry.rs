//! `docker-registry` on the loopback device, for the time of a bench.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A registry. Ended when dropped.
#[derive(Debug)]
pub struct Registry {
    host: String,
    child: Child,
}

/// Whether it is installed.
pub fn available() -> bool {
    Command::new("docker-registry").arg("--version").output().is_ok()
}

impl Registry {
    /// Starts one that keeps everything in `directory`, which must not exist.
    ///
    /// # Errors
    /// When it does not start or answer.
    pub fn start(directory: &Path) -> Result<Self> {
        fs::create_dir(directory)?;
        let host = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = directory.join("data");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            data.display()
        );
        let path = directory.join("config.yml");
        fs::write(&path, config)?;
        let log = File::create(directory.join("log"))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let registry = Self { host, child };
        let started = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            if started.elapsed() > PATIENCE {
                return Err("docker-registry does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
