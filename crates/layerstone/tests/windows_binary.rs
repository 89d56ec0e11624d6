//! The Windows program does what the native one does.

#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The Windows program, ready for arguments.
fn windows() -> Command {
    let setting = |name| std::env::var(name).unwrap_or_else(|_| panic!("`cargo xtask wine` sets {name}"));
    let runner = setting("LAYERSTONE_WINDOWS_RUNNER");
    let mut words = runner.split(' ');
    let mut command = Command::new(words.next().expect("a runner"));
    command.args(words).arg(PathBuf::from(setting("LAYERSTONE_WINDOWS_EXE"))).stdin(Stdio::null());
    command
}

#[test]
#[ignore = "helper: cargo xtask wine runs it"]
fn it_says_the_same_version() {
    let version = |mut command: Command| {
        let output = command.arg("--version").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let native = version(Command::new(env!("CARGO_BIN_EXE_layerstone")));
    assert_eq!(version(windows()).trim_end(), native.trim_end());
}
