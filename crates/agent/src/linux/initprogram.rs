//! The program that is a container's first process with `--init`, where the runtime is another program: one of the host's.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::spec::Mount;

/// Programs that do it, and take the program to execute after `--`.
// Debian has both kinds of tini.
const PROGRAMS: [&str; 5] = ["catatonit", "tini-static", "tini", "docker-init", "dumb-init"];
/// Where they are, besides the directories of `PATH`.
const DIRECTORIES: [&str; 7] = [
    "/usr/local/bin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/libexec/podman",
    "/usr/lib/podman",
    "/usr/libexec/catatonit",
    "/usr/libexec/docker",
];
/// Where it is in the container: below a file system that is made anew each time, so that nothing of it stays in the scratch.
const INSIDE: &str = "/dev/init";

/// `PT_INTERP`: a program header of this kind names the loader of a program that is not static.
const INTERPRETER: u32 = 3;

/// Finds a program on this host that needs nothing of the image.
///
/// # Errors
/// When there is none.
pub(super) fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> =
        std::env::split_paths(&path).chain(DIRECTORIES.iter().map(PathBuf::from)).collect();
    let mut dynamic: Option<PathBuf> = None;
    for program in PROGRAMS {
        for directory in directories.iter().filter(|directory| directory.is_absolute()) {
            let Ok(candidate) = directory.join(program).canonicalize() else { continue };
            let is_executable = candidate
                .metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
            if !is_executable {
                continue;
            }
            if is_static(&candidate) {
                return Ok(candidate);
            }
            dynamic.get_or_insert(candidate);
        }
    }
    let others = match dynamic {
        Some(found) => {
            format!("`{}` is not static, so it could not be executed in the container; ", found.display())
        }
        None => String::new(),
    };
    Err(Error::Unsupported {
        doing: "give a container an init with another runtime than the built-in one",
        missing: format!(
            "{others}none of {} is installed as a static program; install one, or leave --runtime out",
            PROGRAMS.join(", ")
        ),
    })
}

/// How it is seen in the container.
pub(super) fn mount(program: &Path) -> Mount {
    let options = ["bind", "rprivate", "ro", "nosuid", "nodev"];
    Mount::new(INSIDE, "bind", &program.to_string_lossy(), &options)
}

/// The words in front of the container's command.
pub(super) fn words() -> [String; 2] {
    [INSIDE.to_owned(), "--".to_owned()]
}

/// Whether a file is a program that names no loader (System V ABI, "Program Header"). Of 64 bits and little-endian, as the machines
/// are that this program is built for.
fn is_static(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut header = [0; 64];
    if file.read_exact_at(&mut header, 0).is_err() || header[..6] != *b"\x7fELF\x02\x01" {
        return false;
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (table, size, count) = (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    (0..count).all(|at| {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, table.saturating_add(at * size)).is_ok()
            && u32::from_le_bytes(kind) != INTERPRETER
    })
}
