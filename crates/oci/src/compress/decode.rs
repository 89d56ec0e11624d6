//! Inflating, with errors that say what is wrong and where.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Compression, DecodeError};

/// A reader of what `input` holds, inflated.
///
/// A gzip stream may have several members and a zstd stream several frames, one after the other. Nothing else may follow:
/// zero padding after the last gzip member is an error, as it is for Go's `compress/gzip`, which docker, containerd and
/// skopeo inflate with; a registry's blob has none. A stream must have at least one member or frame.
///
/// Errors carry a [`DecodeError`]: truncated or corrupt, and at which offset of the compressed stream. Errors of the input
/// itself come through as they are. zstd windows of more than 128 MiB are refused, as `zstd` does by default.
pub fn decoder<'a, R>(compression: Compression, input: R) -> io::Result<Box<dyn Read + Send + 'a>>
where
    R: BufRead + Send + 'a,
{
    let offset = Arc::new(AtomicU64::new(0));
    let input = Counting { inner: input, offset: Arc::clone(&offset) };
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => {
            let inner =
                Explaining { inner: flate2::bufread::MultiGzDecoder::new(input), compression, offset };
            Box::new(inner)
        }
        Compression::Zstd => {
            let inner = zstd::stream::read::Decoder::with_buffer(input)?;
            Box::new(Explaining { inner, compression, offset })
        }
    })
}

/// Counts what is consumed.
struct Counting<R> {
    inner: R,
    offset: Arc<AtomicU64>,
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf).map_err(from_input)?;
        self.offset.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf().map_err(from_input)
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.offset.fetch_add(amount as u64, Ordering::Relaxed);
    }
}

/// Marks an error as the input's own, so that it is not taken for the decoder's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct InputError(io::Error);

fn from_input(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, InputError(error)),
    }
}

/// Turns a decoder's errors into [`DecodeError`]s.
struct Explaining<R> {
    inner: R,
    compression: Compression,
    offset: Arc<AtomicU64>,
}

impl<R> Explaining<R> {
    fn explain(&self, error: io::Error) -> io::Error {
        if error.get_ref().is_some_and(|inner| inner.is::<InputError>()) {
            return match error.downcast::<InputError>() {
                Ok(InputError(own)) => own,
                Err(error) => error,
            };
        }
        let (compression, offset) = (self.compression, self.offset.load(Ordering::Relaxed));
        match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind @ io::ErrorKind::UnexpectedEof => {
                io::Error::new(kind, DecodeError::Truncated { compression, offset })
            }
            _ => {
                let reason = error.to_string();
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    DecodeError::Corrupt { compression, offset, reason },
                )
            }
        }
    }
}

impl<R: Read> Read for Explaining<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf).map_err(|error| self.explain(error))?;
        let nothing_at_all = n == 0 && !buf.is_empty() && self.offset.load(Ordering::Relaxed) == 0;
        if nothing_at_all {
            return Err(self.explain(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(n)
    }
}
