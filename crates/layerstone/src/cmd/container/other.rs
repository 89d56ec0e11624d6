//! Where there are no containers.

use crate::args::Inspect;
use crate::args::container::ContainerVerb;
use crate::cmd::App;
use crate::error::{Error, Result};

pub(crate) fn run(_: &App, _: &ContainerVerb) -> Result<u8> {
    Err(Error::NeedsLinux)
}

/// There is no container to inspect.
pub(crate) fn inspect(_: &App, _: &Inspect) -> Result<bool> {
    Ok(false)
}
