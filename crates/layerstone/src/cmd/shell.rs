//! `completions` and `man`.

use std::io;

use crate::args::{Cli, Completions, Man};
use crate::error::{IoContext as _, Result};

pub(crate) fn completions(args: &Completions) -> Result<()> {
    clap_complete::generate(args.shell, &mut Cli::whole_command(), "layerstone", &mut io::stdout());
    Ok(())
}

pub(crate) fn man(args: &Man) -> Result<()> {
    std::fs::create_dir_all(&args.dir).doing("create", &args.dir)?;
    clap_mangen::generate_to(Cli::whole_command(), &args.dir).doing("write manual pages to", &args.dir)
}
