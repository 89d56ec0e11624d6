//! What the tests of every crate share: what they need from the host, and how they say that it is not there.
//!
//! A test that cannot run here prints `SKIP <test>: <reason>` and returns; `cargo xtask test` counts and lists these lines.
//! With `REQUIRE_ALL=1` it panics instead, so that a machine which has to run everything does.
//!
//! ```no_run
//! # fn the_kernel_mounts_it() {
//! use layerstone_testing::{root, sample, skip, tool};
//!
//! const TEST: &str = "the_kernel_mounts_it";
//! if !root(TEST) {
//!     return;
//! }
//! let Some(mut umoci) = tool(TEST, "umoci") else { return };
//! let Some(image) = sample(TEST, "linux/alpine") else { return };
//! # let _ = (umoci.arg("unpack"), image);
//! # }
//! ```

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says that a test does not run, and why.
///
/// # Panics
/// With `REQUIRE_ALL=1`.
#[track_caller]
pub fn skip(test: &str, reason: impl std::fmt::Display) {
    let required = std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{test} has to run, but {reason}");
    // To the harness's buffer, which `cargo xtask test` has shown.
    eprintln!("SKIP {test}: {reason}");
}

/// Whether this process may mount file systems and own files as anybody: is root. Says so when it is not.
#[track_caller]
pub fn root(test: &str) -> bool {
    #[cfg(unix)]
    let root = rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    let root = false;
    if !root {
        skip(test, "it needs root");
    }
    root
}

/// A program of the host, or `None` after having said that it is missing.
#[track_caller]
pub fn tool(test: &str, program: &str) -> Option<Command> {
    if !installed(program) {
        skip(test, format_args!("{program} is not installed"));
        return None;
    }
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    Some(command)
}

fn installed(program: &str) -> bool {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&directories).any(|directory| directory.join(&name).is_file())
}

/// Where the sample images are: `LAYERSTONE_TEST_DATA`, or `shared/data` beside the project.
pub fn samples() -> PathBuf {
    match std::env::var_os("LAYERSTONE_TEST_DATA") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    }
}

/// A sample, or `None` after having said that it is missing.
#[track_caller]
pub fn sample(test: &str, name: &str) -> Option<PathBuf> {
    let path = samples().join(name);
    if !path.exists() {
        skip(
            test,
            format_args!("there is no {}; LAYERSTONE_TEST_DATA says where the samples are", path.display()),
        );
        return None;
    }
    Some(path)
}

/// Checks that a page of `docs/` says what a test has found: the lines between `<!-- begin SECTION -->` and `<!-- end SECTION -->` are
/// those of `found`. What a page says of the tests cannot become stale that way.
///
/// # Panics
/// When the page, or the section, says something else: with what it has to say.
#[track_caller]
pub fn documented(page: &str, section: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let between = text
        .split_once(&format!("<!-- begin {section} -->\n"))
        .and_then(|(_, rest)| rest.split_once(&format!("<!-- end {section} -->")))
        .map(|(lines, _)| lines.trim());
    assert!(
        between == Some(found.trim()),
        "docs/{page} has to say between `<!-- begin {section} -->` and `<!-- end {section} -->`:\n\n{found}"
    );
}
