//! Compressing layers for export, and inflating them.
//!
//! The encoders give the same bytes for the same input and level, however many threads work and however the input is
//! cut into writes: a layer that is exported twice has one digest.

mod decode;
mod gzip;

use std::io::{self, Write};
use std::num::NonZeroUsize;

use crate::Compression;

pub use decode::decoder;
pub use gzip::ParallelGzip;

/// The level at which gzip works when none is asked for, as `gzip` and Docker have it.
pub const DEFAULT_GZIP_LEVEL: u32 = 6;
/// The level at which zstd works when none is asked for, as `zstd` has it.
pub const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// Compresses what is written to it. [`finish`](Self::finish) must be called: dropping leaves the stream truncated.
#[derive(Debug)]
pub struct Encoder<W: Write>(Kind<W>);

enum Kind<W: Write> {
    None(W),
    Gzip(ParallelGzip<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> std::fmt::Debug for Kind<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None(_) => "None",
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl<W: Write> Encoder<W> {
    /// An encoder to `output`. Levels are 0 to 9 for gzip and 1 to 22 for zstd; others are brought into range. `threads`
    /// compress, besides the one that writes; `None` takes one for each processor.
    pub fn new(
        compression: Compression,
        level: Option<i32>,
        threads: Option<NonZeroUsize>,
        output: W,
    ) -> io::Result<Self> {
        let threads = match threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        Ok(Self(match compression {
            Compression::None => Kind::None(output),
            Compression::Gzip => {
                let level = level.map_or(DEFAULT_GZIP_LEVEL, |level| level.clamp(0, 9).unsigned_abs());
                Kind::Gzip(ParallelGzip::new(output, level, threads)?)
            }
            Compression::Zstd => {
                let level = level.unwrap_or(DEFAULT_ZSTD_LEVEL).clamp(1, 22);
                let mut encoder = zstd::stream::write::Encoder::new(output, level)?;
                encoder.include_checksum(true)?;
                // Always the multi-threaded frame layout, with one worker too: libzstd cuts its jobs by level alone, so the
                // number of workers does not show in the output, while its single-threaded mode cuts differently.
                encoder
                    .multithread(u32::try_from(threads.get()).unwrap_or(u32::MAX).min(MAX_ZSTD_WORKERS))?;
                Kind::Zstd(encoder)
            }
        }))
    }

    /// Writes what is left, and gives the output back.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Kind::None(output) => Ok(output),
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// libzstd allows 256 workers on 64-bit machines, and 64 on 32-bit ones.
const MAX_ZSTD_WORKERS: u32 = 64;

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::None(output) => output.write(buf),
            Kind::Gzip(encoder) => encoder.write(buf),
            Kind::Zstd(encoder) => encoder.write(buf),
        }
    }

    /// Flushes the output only. The encoders hold back what is not yet a whole block, because where a stream is flushed
    /// would show in its bytes.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::None(output) => output.flush(),
            Kind::Gzip(_) | Kind::Zstd(_) => Ok(()),
        }
    }
}
