//! What the machine and the user have configured: where files are, and what they say.

mod paths;
mod registries;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::{Error, Result};
use crate::limits::MAX_CONFIG_FILE;
pub use paths::Paths;
pub use registries::{Endpoint, Registries};

/// Reads a file that people write.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CONFIG_FILE + 1).read_to_end(&mut bytes));
    read.map_err(Error::file("read", path))?;
    if bytes.len() as u64 > MAX_CONFIG_FILE {
        let reason = format!("it has more than {MAX_CONFIG_FILE} bytes");
        return Err(Error::Config { path: path.to_owned(), reason });
    }
    Ok(bytes)
}
