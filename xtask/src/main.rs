//! The habits of the project, one word each. `cargo xtask` lists them.

#![forbid(unsafe_code)]

mod ci;
mod command;
mod fuzz;
mod test;
mod wine;

use std::process::ExitCode;

use command::{Failure, cargo};

const USAGE: &str = "\
usage: cargo xtask WORD

  test [ARGS]            every test that this host can run; says which ones it could not, and why.
                         ARGS go to `cargo test`. REQUIRE_ALL=1 makes each skipped test a failure
  ci                     what a change has to pass: format, lints, documentation, dependencies, the Windows
                         build, the tests under Wine and here, a short run of each fuzz target
  wine [ARGS]            builds for Windows, runs those tests and the program under Wine, and compares the program with
                         the native one. ARGS go to `cargo test`, and leave the comparison out
  docs                   the API documentation; warnings are errors
  fuzz SECONDS [TARGET]  runs each fuzz target, or one, for so long
  bench [NAME] [ARGS]    the measurements that the performance page speaks of, or one of them
";

/// The programs of `benches/`.
const BENCHES: [&str; 8] = ["import", "pull", "verify", "export", "mount", "run", "tar", "hive"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let word = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let result = match word.as_deref() {
        Some("test") => test::run(&rest),
        Some("ci") => ci::run(),
        Some("wine") => wine::run(&rest),
        Some("docs") => docs(),
        Some("fuzz") => fuzz::run(&rest),
        Some("bench") => bench(&rest),
        Some("help" | "-h" | "--help") => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the documentation of the libraries. A program is documented by its help, whose text is not that of a page.
fn docs() -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["doc", "--workspace", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "-D warnings");
    command::run(&mut command)
}

/// Runs all benches, or one of them.
fn bench(arguments: &[String]) -> Result<(), Failure> {
    let (names, rest) = match arguments.split_first() {
        None => (BENCHES.to_vec(), arguments),
        Some((name, rest)) if BENCHES.contains(&name.as_str()) => (vec![name.as_str()], rest),
        Some((name, _)) => {
            return Err(Failure::Unknown { what: "bench", name: name.clone(), known: &BENCHES });
        }
    };
    for name in names {
        let mut command = cargo();
        command.args(["run", "--release", "--quiet", "--package", "layerstone-benches", "--bin"]);
        command.arg(format!("bench-{name}")).arg("--").args(rest);
        command::run(&mut command)?;
    }
    Ok(())
}
