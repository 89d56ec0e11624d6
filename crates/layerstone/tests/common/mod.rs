//! Runs the binary as a user would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory with a store in it, and the binary to call on it.
pub(crate) struct Dir {
    temporary: tempfile::TempDir,
}

/// What a call gave.
pub(crate) struct Called {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) bytes: Vec<u8>,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Dir { temporary: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Calls `layerstone` with the words of `line`; a word `@x` is the path `x` in this directory.
    pub(crate) fn call(&self, line: &str) -> Called {
        self.call_with(line, None)
    }

    /// Calls with these words as they are.
    pub(crate) fn call_words(&self, words: &[String]) -> Called {
        Called::of(self.command().args(words).stdin(Stdio::null()).output().expect("the binary runs"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerstone"));
        command.env("LAYERSTONE_ROOT", self.path("store")).env("LAYERSTONE_RUNTIME_DIR", self.path("run"));
        command
    }

    pub(crate) fn call_with(&self, line: &str, stdin: Option<&Path>) -> Called {
        let mut command = self.command();
        for word in line.split(' ') {
            match word.strip_prefix('@') {
                Some(name) => command.arg(self.path(name)),
                None => command.arg(word),
            };
        }
        command.stdin(match stdin {
            Some(file) => Stdio::from(std::fs::File::open(file).expect("the file for stdin")),
            None => Stdio::null(),
        });
        Called::of(command.output().expect("the binary runs"))
    }

    /// Calls and expects success.
    pub(crate) fn ok(&self, line: &str) -> Called {
        let called = self.call(line);
        assert_eq!(called.code, 0, "`{line}`\n{}\n{}", called.stdout, called.stderr);
        called
    }

    /// Calls with --json and parses what comes.
    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        let called = self.ok(&format!("--json {line}"));
        serde_json::from_str(&called.stdout)
            .unwrap_or_else(|error| panic!("`{line}`: {error}\n{}", called.stdout))
    }

    /// Calls and expects a failure with this exit code, whose message holds all of `words`, and a hint.
    pub(crate) fn fails(&self, line: &str, code: i32, words: &[&str]) {
        let called = self.call(line);
        assert_eq!(called.code, code, "`{line}`\n{}\n{}", called.stdout, called.stderr);
        for word in words {
            assert!(called.stderr.contains(word), "`{line}` does not say `{word}`:\n{}", called.stderr);
        }
    }
}

impl Called {
    fn of(output: Output) -> Self {
        Called {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }
}

/// One of the images that the demo carries.
pub(crate) fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(format!("{name}.oci.tar"))
}
