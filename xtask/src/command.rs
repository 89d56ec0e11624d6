//! Starting other programs.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of the Windows build.
pub(crate) const WINDOWS: &str = "x86_64-pc-windows-gnu";
/// The linker and C compiler that it needs.
pub(crate) const WINDOWS_CC: &str = "x86_64-w64-mingw32-gcc";

/// Why a word did not succeed. What a program had to say, it has said on the terminal.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program could not be started.
    Start { program: OsString, source: std::io::Error },
    /// A program ended with a failure.
    Status { command: String, status: String },
    /// Reading a program's output, or preparing its input.
    Io { doing: &'static str, source: std::io::Error },
    /// Tests failed, or were skipped where none may be.
    Tests { failed: usize, refused: usize },
    /// Steps that failed.
    Steps(Vec<&'static str>),
    /// Not one of the names that exist.
    Unknown { what: &'static str, name: String, known: &'static [&'static str] },
    /// Wrong arguments.
    Usage(&'static str),
    /// A program that is needed is not installed.
    Missing { program: &'static str, how: &'static str },
    /// A crash of a fuzz target.
    Crash { target: &'static str, inputs: PathBuf },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, source } => write!(f, "cannot start {}: {source}", program.display()),
            Self::Status { command, status } => write!(f, "{command}: {status}"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Tests { failed, refused: 0 } => write!(f, "{failed} tests failed"),
            Self::Tests { failed, refused } => {
                write!(f, "{failed} tests failed; {refused} were skipped, and REQUIRE_ALL=1 allows none")
            }
            Self::Steps(steps) => write!(f, "failed: {}", steps.join(", ")),
            Self::Unknown { what, name, known } => {
                write!(f, "there is no {what} `{name}`; there are {}", known.join(", "))
            }
            Self::Usage(usage) => write!(f, "usage: {usage}"),
            Self::Missing { program, how } => write!(f, "{program} is not installed: {how}"),
            Self::Crash { target, inputs } => {
                write!(f, "fuzz target {target} crashed; the inputs are in {}", inputs.display())
            }
        }
    }
}

/// The cargo that runs this program, in the workspace's directory.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).stdin(Stdio::null());
    // What cargo tells the programs that it runs is about this program, not about theirs.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// The workspace's directory.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where builds go.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => workspace().join(directory),
        None => workspace().join("target"),
    }
}

/// Whether what cannot run here is a failure.
pub(crate) fn require_all() -> bool {
    std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// Whether a program is there.
pub(crate) fn present(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What needs a program that is missing is skipped, or fails where nothing may be.
pub(crate) fn without(program: &'static str, how: &'static str) -> Result<(), Failure> {
    if require_all() {
        return Err(Failure::Missing { program, how });
    }
    println!("SKIP {program} is not installed: {how}");
    Ok(())
}

/// Runs a program, which must succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .status()
        .map_err(|source| Failure::Start { program: command.get_program().to_owned(), source })?;
    if status.success() {
        return Ok(());
    }
    let words = command.get_args().map(|word| word.to_string_lossy());
    let command = std::iter::once(command.get_program().to_string_lossy()).chain(words);
    Err(Failure::Status { command: command.collect::<Vec<_>>().join(" "), status: status.to_string() })
}
