//! The program that shims run: a copy of this one in memory, which nobody can write to.
//!
//! For a moment a container's first process runs the shim's program, before it executes its own. Through `/proc/PID/exe` of that
//! moment a container could write to the program's file, and with it take over the host (CVE-2019-5736). So shims run from a
//! sealed memory file. It is made once and shared: every shim that runs has it as its executable, and the next is started
//! from there.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

use super::process;
use crate::error::{Error, IoContext as _, Result};
use crate::model::Identity;

/// What keeps a memory file as it is.
fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// A sealed copy of this program.
#[derive(Debug)]
pub(crate) struct Sealed(File);

impl Sealed {
    /// The copy that one of the processes `shims` runs from, if it is of this program; otherwise a new one.
    pub(crate) fn get(shims: impl FnOnce() -> Result<Vec<Identity>>) -> Result<Self> {
        let path = Path::new("/proc/self/exe");
        let own = File::open(path).doing("open", path)?;
        if is_sealed(&own) {
            return Ok(Sealed(own));
        }
        let name = name_of(&own)?;
        for shim in shims()? {
            if let Some(copy) = of_process(&shim, &name)? {
                return Ok(copy);
            }
        }
        Self::make(own, &name)
    }

    fn make(mut own: File, name: &str) -> Result<Self> {
        let failed = |doing| {
            move |errno: rustix::io::Errno| Error::Io {
                doing,
                path: "a memory file".into(),
                source: errno.into(),
            }
        };
        let copy =
            memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(failed("create"))?;
        let mut copy = File::from(copy);
        let loaded = loaded_part(&mut own).doing("read", "/proc/self/exe")?;
        own.seek(SeekFrom::Start(0)).doing("read", "/proc/self/exe")?;
        std::io::copy(&mut own.take(loaded), &mut copy).doing("copy the program to", "a memory file")?;
        fcntl_add_seals(&copy, seals()).map_err(failed("seal"))?;
        // One that was opened for writing cannot be executed.
        let path = descriptor_path(&copy);
        Ok(Sealed(File::open(&path).doing("open", path)?))
    }

    /// Where it can be executed from, in this process and in one that it starts.
    pub(crate) fn path(&self) -> PathBuf {
        descriptor_path(&self.0)
    }
}

/// How much of a program is there to be executed: up to the end of its last segment. What follows are symbols and debugging
/// information, most of the file, which would only take memory. Of a file of another form, everything.
fn loaded_part(program: &mut File) -> std::io::Result<u64> {
    // ELF-64 of little-endian machines (System V ABI, "ELF Header" and "Program Header").
    let whole = program.metadata()?.len();
    let mut header = [0; 64];
    program.seek(SeekFrom::Start(0))?;
    if program.read_exact(&mut header).is_err() || header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(whole);
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (table, size, count) = (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    let mut end = table.saturating_add(size * count);
    for at in 0..count {
        let mut segment = [0; 56];
        program.seek(SeekFrom::Start(table.saturating_add(at * size)))?;
        if size < 56 || program.read_exact(&mut segment).is_err() {
            return Ok(whole);
        }
        end = end.max(number(&segment[8..16]).saturating_add(number(&segment[32..40])));
    }
    Ok(end.min(whole))
}

fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

fn is_sealed(file: &File) -> bool {
    fcntl_get_seals(file).is_ok_and(|found| found.contains(seals()))
}

/// Says which file a copy is of. A file that was replaced or changed has another name.
fn name_of(program: &File) -> Result<String> {
    let metadata = program.metadata().doing("look at", "/proc/self/exe")?;
    Ok(format!(
        "layerstone-{:x}-{:x}-{:x}-{:x}.{:x}",
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec()
    ))
}

fn of_process(shim: &Identity, name: &str) -> Result<Option<Sealed>> {
    // The process is looked at once more after its program was opened: then it was its program.
    let path = PathBuf::from(format!("/proc/{}/exe", shim.pid));
    let Ok(target) = std::fs::read_link(&path) else { return Ok(None) };
    if target.as_os_str() != format!("/memfd:{name} (deleted)").as_str() {
        return Ok(None);
    }
    let Ok(file) = File::open(&path) else { return Ok(None) };
    Ok((process::is_alive(shim)? && is_sealed(&file)).then_some(Sealed(file)))
}
