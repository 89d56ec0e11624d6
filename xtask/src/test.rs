//! `cargo xtask test`: runs all tests, and says at the end what was not tested.
//!
//! A test that lacks a program or a right prints `SKIP <test>: <reason>` and returns, so that `cargo test` alone takes it
//! for passed. With `--show-output` the test harness prints at the end of each test program what its successful tests
//! said; that is where these lines are found, and nothing else of it is shown.
//!
//! A test marked `#[ignore]` counts as skipped, unless its reason says that it is none: `helper: ...` is started by another
//! test, `bench: ...` measures.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus};

use crate::command::{Failure, cargo, require_all};

/// Runs `cargo test` with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let (ours, theirs) = split(arguments);
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    if !chooses_packages(ours) {
        command.arg("--workspace");
    }
    command.args(ours).args(["--", "--show-output"]).args(theirs);
    run_all(vec![command])
}

/// The arguments for cargo, and those for the test programs.
pub(crate) fn split(arguments: &[String]) -> (&[String], &[String]) {
    match arguments.iter().position(|argument| argument == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[]),
    }
}

/// Whether the arguments for cargo say which packages are meant.
pub(crate) fn chooses_packages(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument == "-p" || argument.starts_with("--package"))
}

/// Runs these calls of `cargo test`, with `--show-output`, one after the other, and sums them up.
pub(crate) fn run_all(commands: Vec<Command>) -> Result<(), Failure> {
    let mut summary = Summary::default();
    let mut unsuccessful = None;
    for command in commands {
        let status = follow(command, &mut summary)?;
        if !status.success() {
            unsuccessful = Some(status);
        }
    }
    print!("{}", summary.text());
    let failed = summary.failed();
    let refused = if require_all() { summary.skipped() } else { 0 };
    if failed > 0 || refused > 0 {
        return Err(Failure::Tests { failed, refused });
    }
    match unsuccessful {
        Some(status) => Err(Failure::Status { command: "cargo test".into(), status: status.to_string() }),
        None => Ok(()),
    }
}

/// Runs one `cargo test` and reads what it says.
fn follow(mut command: Command, summary: &mut Summary) -> Result<ExitStatus, Failure> {
    let io = |doing| move |source| Failure::Io { doing, source };
    let (reader, writer) = std::io::pipe().map_err(io("making a pipe"))?;
    let errors = writer.try_clone().map_err(io("making a pipe"))?;
    let program = command.get_program().to_owned();
    let mut child =
        command.stdout(writer).stderr(errors).spawn().map_err(|source| Failure::Start { program, source })?;
    // The command holds the pipe's writing end; the reader would wait for it for ever.
    drop(command);

    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(io("reading what the tests say"))? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if summary.line(text) {
            println!("{text}");
        }
        line.clear();
    }
    child.wait().map_err(io("waiting for the tests"))
}

/// How the reason of an ignored test begins that `cargo test` is not meant to run.
const NO_TESTS: [&str; 2] = ["helper: ", "bench: "];

/// What the lines so far have said.
#[derive(Debug, Default)]
struct Summary {
    section: Section,
    /// The test program that is running.
    program: String,
    /// The test whose output is being shown.
    test: Option<String>,
    reported_passed: usize,
    reported_failed: usize,
    ignored: usize,
    /// Tests that passed only in name: program and test.
    skipped: BTreeSet<(String, String)>,
    /// Skips that no test of this harness owns.
    loose: usize,
    /// What was skipped and why.
    reasons: Vec<String>,
    failures: Vec<String>,
}

/// Which part of a test program's output the line belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Running,
    Successes,
    Failures,
}

impl Summary {
    /// Takes a line; says whether it is for the terminal.
    fn line(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.section = Section::Successes;
        } else if line == "failures:" {
            self.section = Section::Failures;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.section = Section::Running;
            self.test = None;
            self.result(result);
            return true;
        }
        match self.section {
            Section::Successes => {
                if let Some(name) = line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----")) {
                    self.test = Some(name.to_owned());
                } else if let Some(skip) = line.strip_prefix("SKIP ") {
                    self.skip(skip);
                }
                false
            }
            Section::Failures => true,
            Section::Running => self.running(line),
        }
    }

    fn running(&mut self, line: &str) -> bool {
        let trimmed = line.trim_start();
        if let Some(skip) = line.strip_prefix("SKIP ") {
            self.skip(skip);
            return false;
        } else if let Some(program) = trimmed.strip_prefix("Running ") {
            self.program = program.split(" (").next().unwrap_or(program).to_owned();
        } else if let Some(package) = trimmed.strip_prefix("Doc-tests ") {
            self.program = format!("doc-tests of {package}");
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|l| l.rsplit_once(" ... "))
        {
            if outcome == "FAILED" {
                self.failures.push(format!("{name} ({})", self.program));
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                let reason = reason.strip_prefix(", ").unwrap_or("marked as ignored");
                if !NO_TESTS.iter().any(|kind| reason.starts_with(kind)) {
                    self.ignored += 1;
                    self.reasons.push(format!("{name}: {reason}"));
                }
            }
        }
        true
    }

    fn skip(&mut self, reason: &str) {
        let new = match &self.test {
            Some(test) => self.skipped.insert((self.program.clone(), test.clone())),
            None => {
                self.loose += 1;
                true
            }
        };
        if new || !self.reasons.iter().any(|known| known == reason) {
            self.reasons.push(reason.to_owned());
        }
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s`
    fn result(&mut self, result: &str) {
        let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((number, word)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match word {
                "passed" => self.reported_passed += number,
                "failed" => self.reported_failed += number,
                _ => {}
            }
        }
    }

    fn passed(&self) -> usize {
        self.reported_passed.saturating_sub(self.skipped.len())
    }

    /// A test program that dies prints no result; each failure counts at least once.
    fn failed(&self) -> usize {
        self.reported_failed.max(self.failures.len())
    }

    fn skipped(&self) -> usize {
        self.skipped.len() + self.loose + self.ignored
    }

    fn text(&self) -> String {
        let mut text = String::from("\n");
        for (title, lines) in [("skipped", &self.reasons), ("failed", &self.failures)] {
            if !lines.is_empty() {
                text.push_str(title);
                text.push_str(":\n");
                for line in lines {
                    text.push_str("  ");
                    text.push_str(line);
                    text.push('\n');
                }
                text.push('\n');
            }
        }
        text.push_str(&format!(
            "{} passed, {} failed, {} skipped\n",
            self.passed(),
            self.failed(),
            self.skipped()
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    const OUTPUT: &str = "\
     Running tests/image/main.rs (target/debug/deps/image-0)

running 5 tests
test killed ... ignored, helper: another test starts it
test linux::the_kernel_mounts_it ... ok
test slow ... ignored, takes an hour
test round_trip ... ok
test wrong ... FAILED

successes:

---- linux::the_kernel_mounts_it stdout ----
some noise
SKIP the_kernel_mounts_it: not root
SKIP the_kernel_mounts_it: no umoci


successes:
    linux::the_kernel_mounts_it
    round_trip

failures:

---- wrong stdout ----
it is wrong

failures:
    wrong

test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_skipped_test_counts_once_and_not_as_passed() {
        let mut summary = Summary::default();
        let shown: Vec<_> = OUTPUT.lines().filter(|line| summary.line(line)).collect();
        assert_eq!((summary.passed(), summary.failed(), summary.skipped()), (1, 1, 2));
        assert!(summary.text().ends_with("\n1 passed, 1 failed, 2 skipped\n"), "{}", summary.text());
        assert!(summary.text().contains("  the_kernel_mounts_it: not root\n"));
        assert!(summary.text().contains("  slow: takes an hour\n"));
        assert!(summary.text().contains("  wrong (tests/image/main.rs)\n"));
        assert!(shown.contains(&"it is wrong"));
        assert!(!shown.contains(&"some noise"));
    }
}
