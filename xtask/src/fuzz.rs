//! `cargo xtask fuzz`: builds the fuzz targets with the compiler at hand, and runs them.
//!
//! `cargo fuzz` wants a nightly compiler for its sanitizers. The code is safe Rust, where a sanitizer finds next to
//! nothing; what finds faults is coverage, which the stable compiler can instrument as well.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::{self, Failure, cargo, target, workspace};

/// The targets, by the name of their file in `fuzz/fuzz_targets`.
const TARGETS: [&str; 9] =
    ["tar", "split", "erofs_reader", "nt", "hive", "backup", "transport", "versions", "registry"];

/// What `cargo fuzz` passes for coverage, without its sanitizers.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
];

/// Inputs above this size find nothing that smaller ones do not.
const MAX_LEN: &str = "-max_len=65536";
/// An input that takes this many seconds is a fault.
const TIMEOUT: &str = "-timeout=20";
/// So is one that takes this much memory, in MiB.
const MEMORY: &str = "-rss_limit_mb=1024";

/// Runs each target, or the one that is named.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    const USAGE: Failure = Failure::Usage("cargo xtask fuzz SECONDS [TARGET]");
    let (seconds, targets) = match arguments {
        [seconds] => (seconds, TARGETS.to_vec()),
        [seconds, name] => match TARGETS.iter().find(|target| *target == name) {
            Some(target) => (seconds, vec![*target]),
            None => {
                return Err(Failure::Unknown { what: "fuzz target", name: name.clone(), known: &TARGETS });
            }
        },
        _ => return Err(USAGE),
    };
    let Ok(seconds) = seconds.parse::<u32>() else { return Err(USAGE) };

    let build = target().join("fuzz");
    let host = host()?;
    let mut command = cargo();
    command.args(["build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml", "--target"]);
    // With a target named, build scripts and procedural macros are built without the flags.
    command.arg(&host).arg("--target-dir").arg(&build).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    command::run(&mut command)?;
    let programs = build.join(host).join("release");

    let corpus = build.join("corpus");
    command::run(Command::new(programs.join("seeds")).arg(&corpus).current_dir(workspace()))?;
    for target in targets {
        run_target(&programs.join(target), target, seconds, &corpus.join(target), &build)?;
    }
    Ok(())
}

fn run_target(
    program: &Path,
    target: &'static str,
    seconds: u32,
    corpus: &Path,
    build: &Path,
) -> Result<(), Failure> {
    let crashes = build.join("crashes").join(target);
    for directory in [corpus, crashes.as_path()] {
        fs::create_dir_all(directory)
            .map_err(|source| Failure::Io { doing: "making a directory for the fuzz target", source })?;
    }
    let log_path = build.join(format!("{target}.log"));
    let log = fs::File::create(&log_path)
        .map_err(|source| Failure::Io { doing: "making a log for the fuzz target", source })?;
    let mut command = Command::new(program);
    command.current_dir(workspace()).stdin(Stdio::null()).stderr(log);
    command.arg(format!("-max_total_time={seconds}")).args([MAX_LEN, TIMEOUT, MEMORY]);
    command.args(["-print_final_stats=1", "-verbosity=0", "-close_fd_mask=1"]);
    command.arg(format!("-artifact_prefix={}/", crashes.display())).arg(corpus);
    let result = command::run(&mut command);
    let log = fs::read(&log_path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    if let Err(failure) = result {
        eprint!("{log}");
        return Err(match failure {
            Failure::Status { .. } => Failure::Crash { target, inputs: crashes },
            other => other,
        });
    }
    let stat = |name| log.lines().find_map(|line| line.strip_prefix(name)).map_or("?", str::trim);
    println!(
        "{target:12} {seconds} s, {} inputs, {} of them new, {} MiB at most, no crash",
        stat("stat::number_of_executed_units:"),
        stat("stat::new_units_added:"),
        stat("stat::peak_rss_mb:"),
    );
    Ok(())
}

/// The compiler's own target.
fn host() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "host-tuple"])
        .output()
        .map_err(|source| Failure::Start { program: rustc, source })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
