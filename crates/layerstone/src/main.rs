//! The command line of Layerstone: it parses, calls the library, and prints.

mod args;
mod cmd;
mod error;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A shim has to be one before anything else happens: it must have one thread.
    #[cfg(target_os = "linux")]
    if std::env::args_os().nth(1).is_some_and(|word| word == "shim") {
        return layerstone_agent::shim_main();
    }
    #[cfg(windows)]
    if std::env::args_os().nth(1).is_some_and(|word| word == "shim") {
        return layerstone_agent::shim_main(layerstone_agent::Host::system());
    }
    match cmd::run(args::Cli::read()) {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.report());
            ExitCode::from(error.exit_code())
        }
    }
}
