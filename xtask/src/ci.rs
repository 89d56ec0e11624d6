//! `cargo xtask ci`: what a change has to pass.

use std::time::Instant;

use crate::command::{self, Failure, WINDOWS, WINDOWS_CC, cargo, present, without};
use crate::{docs, fuzz, wine};

/// What has to build for Windows.
const WINDOWS_PACKAGES: [&str; 10] = [
    "layerstone-agent",
    "layerstone",
    "layerstone-erofs",
    "layerstone-hcs",
    "layerstone-layer",
    "layerstone-nt",
    "layerstone-oci",
    "layerstone-registry",
    "layerstone-standin",
    "layerstone-store",
];
/// How long each fuzz target runs.
const FUZZ_SECONDS: &str = "20";

/// A name, and what is to be done.
type Step<'a> = (&'static str, &'a dyn Fn() -> Result<(), Failure>);

/// Runs every step, also after one has failed.
fn run_steps(steps: &[Step<'_>]) -> Result<(), Failure> {
    let mut failed = Vec::new();
    let mut table = String::new();
    for (name, step) in steps {
        eprintln!("== {name}");
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs();
        let outcome = match &result {
            Ok(()) => "ok".to_owned(),
            Err(failure) => {
                eprintln!("xtask: {failure}");
                failed.push(*name);
                failure.to_string()
            }
        };
        table.push_str(&format!("{name:12} {seconds:5} s  {outcome}\n"));
    }
    eprint!("\n{table}");
    if failed.is_empty() { Ok(()) } else { Err(Failure::Steps(failed)) }
}

/// All steps.
pub(crate) fn run() -> Result<(), Failure> {
    run_steps(&[
        ("format", &format),
        ("lints", &|| run_cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        ("docs", &docs),
        ("dependencies", &dependencies),
        ("windows", &windows),
        ("wine", &|| wine::run(&[])),
        ("tests", &|| run_cargo(&["xtask", "test"])),
        ("fuzz", &|| fuzz::run(&[FUZZ_SECONDS.to_owned()])),
    ])
}

fn run_cargo(arguments: &[&str]) -> Result<(), Failure> {
    command::run(cargo().args(arguments))
}

/// The workspace, and the fuzz targets, which are not in it.
fn format() -> Result<(), Failure> {
    run_cargo(&["fmt", "--all", "--check"])?;
    run_cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])
}

/// Licences, sources and known faults of the dependencies.
fn dependencies() -> Result<(), Failure> {
    if !present("cargo-deny", "--version") {
        return without("cargo-deny", "cargo install --locked cargo-deny");
    }
    run_cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"])?;
    // The database of known faults is a git repository elsewhere, which not every machine may reach. What is wrong with
    // the dependencies is no fault of the change, either.
    let fetched = cargo().args(["deny", "fetch", "db"]).output();
    if !fetched.is_ok_and(|output| output.status.success()) {
        println!(
            "NOTE the dependencies' known faults were not checked: their database cannot be fetched from here"
        );
        return Ok(());
    }
    run_cargo(&["deny", "--all-features", "check", "advisories"])
}

/// The same lints over the code that only Windows sees, and a linked binary.
fn windows() -> Result<(), Failure> {
    if !present(WINDOWS_CC, "--version") {
        return without(WINDOWS_CC, "apt-get install gcc-mingw-w64-x86-64");
    }
    let packages = WINDOWS_PACKAGES.iter().flat_map(|package| ["--package", package]);
    let mut clippy = cargo();
    clippy
        .args(["clippy", "--all-targets", "--target", WINDOWS])
        .args(packages)
        .args(["--", "-D", "warnings"]);
    command::run(&mut clippy)?;
    run_cargo(&["build", "--target", WINDOWS, "--package", "layerstone"])
}
