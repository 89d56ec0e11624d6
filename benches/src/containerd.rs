//! containerd as a peer: a daemon of our own, on directories of our own, for the time of one import.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layerstone_oci::{ArchiveFormat, ArchiveImage, ArchiveWriter, open_source};

use crate::Result;
use crate::measure::{Sample, timed};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether daemon and client are there, and may be used: only root's containerd unpacks as others do.
pub fn available() -> bool {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    #[cfg(target_os = "linux")]
    let root = rustix::process::geteuid().is_root();
    #[cfg(not(target_os = "linux"))]
    let root = false;
    root && there("containerd") && there("ctr")
}

/// Writes one image of a layout as the archive that containerd imports.
///
/// # Errors
/// When the layout cannot be read or the archive not be written.
pub fn archive(layout: &Path, image: &str, to: PathBuf) -> Result<PathBuf> {
    let spool = to.parent().unwrap_or(Path::new("."));
    let source = open_source(layout, spool)?;
    let resolved = source.resolve(Some(image), None)?;
    let mut archive = ArchiveWriter::new(BufWriter::new(File::create(&to)?), ArchiveFormat::Oci)?;
    archive.add_blob_bytes(resolved.config.bytes())?;
    for layer in &resolved.layers {
        let blob = source.open_layer_unverified(layer)?;
        archive.add_blob(&layer.descriptor.digest, layer.descriptor.size, blob)?;
    }
    let platform = Some(resolved.config.platform());
    let names = vec!["bench.invalid/image:1".to_owned()];
    archive.finish(&[ArchiveImage { manifest: resolved.manifest, platform, names }])?;
    Ok(to)
}

/// Starts a daemon, times the import of `archive`, and ends the daemon.
///
/// # Errors
/// When the daemon does not answer or the import fails.
pub fn import(archive: &Path, work: &Path) -> Result<Sample> {
    with_daemon(work, |ctr| ctr.args(["images", "import"]).arg(archive))
}

/// Starts a daemon, times the pull of `reference` from a registry without TLS, unpacking included, and ends the daemon.
///
/// # Errors
/// When the daemon does not answer or the pull fails.
pub fn pull(reference: &str, work: &Path) -> Result<Sample> {
    with_daemon(work, |ctr| ctr.args(["images", "pull", "--plain-http", reference]))
}

/// Times one command of the client, until what it wrote is on the disk.
fn with_daemon(work: &Path, arguments: impl Fn(&mut Command) -> &mut Command) -> Result<Sample> {
    let home = work.join("containerd");
    fs::create_dir(&home)?;
    let socket = home.join("socket");
    let daemon = Command::new("containerd")
        .args(["--config", "/dev/null", "--log-level", "error", "--root"])
        .arg(home.join("root"))
        .arg("--state")
        .arg(home.join("state"))
        .arg("--address")
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let daemon = Daemon(daemon);
    let ctr = || {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&socket).stdin(Stdio::null());
        command
    };
    let started = Instant::now();
    while !ctr().arg("version").output()?.status.success() {
        if started.elapsed() > PATIENCE {
            return Err("containerd does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let sample = timed(|| {
        let output = arguments(&mut ctr()).output()?;
        crate::measure::settle();
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("ctr images: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    });
    drop(daemon);
    fs::remove_dir_all(home)?;
    sample
}

/// Ended when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
