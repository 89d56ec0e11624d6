//! Bringing an input that cannot be read at random (a pipe, a compressed archive) into an unnamed file that can.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use crate::compress::decoder;
use crate::{Compression, Error, Result, sniff_compression};

/// Bytes that tell the compression.
pub(super) const MAGIC: usize = 6;
const BUFFER: usize = 256 << 10;

/// Copies `input`, inflated if it is compressed, to an unnamed file in `dir`.
pub(super) fn spool(input: &mut (dyn Read + Send), what: &str, dir: &Path, limit: u64) -> Result<File> {
    let mut start = Vec::with_capacity(MAGIC);
    Read::take(&mut *input, MAGIC as u64).read_to_end(&mut start).map_err(Error::stream("read", what))?;
    let compression = sniff_compression(&start);
    let whole = BufReader::with_capacity(BUFFER, io::Cursor::new(start).chain(input));
    let mut inflated = decoder(compression, whole).map_err(Error::stream("inflate", what))?;

    let mut file = tempfile::tempfile_in(dir).map_err(Error::file("create a file in", dir))?;
    let doing = if compression == Compression::None { "read" } else { "inflate" };
    let mut buffer = vec![0; BUFFER];
    let mut written = 0_u64;
    loop {
        let n = match inflated.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::stream(doing, what)(error)),
        };
        written += n as u64;
        if written > limit {
            return Err(Error::SpoolLimit { what: what.to_owned(), limit });
        }
        file.write_all(&buffer[..n]).map_err(Error::file("write a file in", dir))?;
    }
}
