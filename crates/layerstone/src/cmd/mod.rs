//! What the verbs do, one file each (or one for verbs that belong together).

mod bytes;
mod container;
mod demo;
mod doctor;
mod hcs;
mod hive;
mod import;
mod inspect;
mod keep;
mod list;
mod login;
mod mount;
mod object;
mod out;
mod pull;
mod push;
mod registry;
mod remote;
mod scratch;
mod shell;
mod tree;
mod verify;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use layerstone_store::Store;
use serde::Serialize;

use crate::args::{Cli, Global, ScratchVerb, Verb};
use crate::error::{Error, Result};

/// What every verb needs.
pub(crate) struct App {
    root: PathBuf,
    json: bool,
    quiet: bool,
    verbose: u8,
}

impl App {
    fn new(global: Global) -> Self {
        App {
            root: global.root.unwrap_or_else(default_root),
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// The store, made when there is none: for verbs that put something in.
    fn store(&self) -> Result<Store> {
        Ok(Store::create(&self.root)?)
    }

    /// The store as it is: for all others.
    fn existing_store(&self) -> Result<Store> {
        Ok(Store::open(&self.root)?)
    }

    /// Progress is shown to people, not to programs.
    fn shows_progress(&self) -> bool {
        !self.quiet && !self.json
    }

    /// A remark on standard error.
    fn remark(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// A remark that only --verbose shows.
    fn detail(&self, text: impl std::fmt::Display) {
        if self.verbose > 0 {
            eprintln!("{text}");
        }
    }

    /// Prints `value` as one line of JSON, for work that tells what it does while it does it.
    fn event<T: Serialize>(&self, value: &T) -> Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value)?;
        writeln!(out).and_then(|()| out.flush()).map_err(stdout_failed)
    }

    /// Prints `value` as JSON, or lets `human` print.
    fn print<T: Serialize>(
        &self,
        value: &T,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        if self.json {
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out).map_err(stdout_failed)?;
        } else {
            human(&mut out).map_err(stdout_failed)?;
        }
        out.flush().map_err(stdout_failed)
    }
}

fn stdout_failed(source: io::Error) -> Error {
    Error::Io { doing: "write to", path: "standard output".into(), source }
}

/// /var/lib/layerstone as root, else below the user's data directory. On Windows that is where other programs, brought along
/// from elsewhere, have set `HOME` too.
fn default_root() -> PathBuf {
    #[cfg(unix)]
    if is_root() {
        return "/var/lib/layerstone".into();
    }
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("LOCALAPPDATA").filter(|_| cfg!(windows)).map(PathBuf::from))
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    data.unwrap_or_else(|| ".".into()).join("layerstone")
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // Whoever runs this owns its /proc entry; where there is no /proc, the answer of an ordinary user is the safe one.
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Runs the verb. The exit code: 0, or that of a container's program.
pub(crate) fn run(cli: Cli) -> Result<u8> {
    let app = App::new(cli.global);
    match cli.verb {
        Verb::Container(verb) => return container::run(&app, &verb),
        Verb::Demo(args) => demo::run(&app, &args),
        Verb::Import(args) => import::run(&app, &args),
        Verb::Export(args) => out::export(&app, &args),
        Verb::Pull(args) => pull::run(&app, &args),
        Verb::Push(args) => push::run(&app, &args),
        Verb::Login(args) => login::login(&app, &args),
        Verb::Logout(args) => login::logout(&app, &args),
        Verb::Images => list::images(&app),
        Verb::Layers => list::layers(&app),
        Verb::Inspect(args) => inspect::run(&app, &args),
        Verb::Tree(args) => tree::run(&app, &args),
        Verb::Cat(args) => bytes::cat(&app, &args),
        Verb::Diff(args) => scratch::diff(&app, &args),
        Verb::Verify(args) => verify::run(&app, &args),
        Verb::Unpack(args) => out::unpack(&app, &args),
        Verb::Scratch(ScratchVerb::Create(args)) => scratch::create(&app, &args),
        Verb::Scratch(ScratchVerb::Rm { names }) => scratch::remove(&app, &names),
        Verb::Scratch(ScratchVerb::Ls) => scratch::list(&app),
        Verb::Mount(args) => mount::mount(&app, &args),
        Verb::Umount(args) => mount::umount(&app, &args),
        Verb::Commit(args) => scratch::commit(&app, &args),
        Verb::Rmi(args) => keep::rmi(&app, &args),
        Verb::Gc(args) => keep::gc(&app, &args),
        Verb::Df => keep::df(&app),
        Verb::Fsck(args) => keep::fsck(&app, &args),
        Verb::Doctor => doctor::run(&app),
        Verb::Hcs(args) => hcs::run(&app, &args),
        Verb::Completions(args) => shell::completions(&args),
        Verb::Man(args) => shell::man(&args),
    }?;
    Ok(0)
}
