//! gzip on several threads, as pigz does it.
//!
//! ```text
//! input   | block 0 (128 KiB) | block 1        | block 2 ...   |
//!                       '32K'->|         '32K'->|               each block is primed with the 32 KiB before it
//! deflate | ... sync flush    | ... sync flush | ... final     |
//! output  gzip header, the three deflate streams end to end, CRC-32 and length
//! ```
//!
//! Each block is deflated by itself, with the end of the one before as its dictionary, and ends with a sync flush, which
//! brings it to a byte boundary; so the blocks can be joined, and are one deflate stream in one gzip member (RFC 1952).
//! The checksums of the blocks are combined. Nothing depends on which thread did what: block `i` goes to worker `i mod n`,
//! and results are taken in the same order.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Input of one block: pigz's default.
const BLOCK: usize = 128 << 10;
/// The window of deflate (RFC 1951), and so the longest dictionary.
const WINDOW: usize = 32 << 10;
/// Blocks that may wait for, or in, each worker. With the block in the making this bounds memory to about
/// `threads * 2 * 300 KiB`.
const QUEUE: usize = 2;
/// RFC 1952, 2.3: magic, deflate, no flags, no time, no extra flags, unknown operating system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A gzip encoder that compresses on several threads, as pigz does: the input is cut into blocks of 128 KiB, each deflated
/// with the 32 KiB before it as dictionary, and joined in one gzip member. The bytes depend on the input and the level
/// only. [`Encoder`](super::Encoder) also knows the other compressions.
#[derive(Debug)]
pub struct ParallelGzip<W: Write> {
    output: W,
    block: Vec<u8>,
    previous: Option<Arc<Vec<u8>>>,
    workers: Vec<Worker>,
    /// Workers that owe a block, oldest first.
    owing: VecDeque<usize>,
    next_worker: usize,
    crc: Crc,
}

#[derive(Debug)]
struct Worker {
    jobs: SyncSender<Job>,
    results: Receiver<io::Result<Deflated>>,
}

#[derive(Debug)]
struct Job {
    block: Arc<Vec<u8>>,
    previous: Option<Arc<Vec<u8>>>,
    last: bool,
}

#[derive(Debug)]
struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

impl<W: Write> ParallelGzip<W> {
    /// Writes the gzip header to `output` and starts `threads` workers. `level` is 0 to 9.
    pub fn new(mut output: W, level: u32, threads: NonZeroUsize) -> io::Result<Self> {
        let level = level.min(9);
        output.write_all(&HEADER)?;
        let start = |n: usize| {
            let (jobs, work) = sync_channel::<Job>(QUEUE);
            let (done, results) = sync_channel(QUEUE);
            let deflate = move || {
                // Ends when the encoder is finished or dropped: then one of the channels is closed.
                while let Ok(job) = work.recv() {
                    if done.send(deflate_block(level, &job)).is_err() {
                        break;
                    }
                }
            };
            thread::Builder::new().name(format!("gzip-{n}")).spawn(deflate)?;
            Ok(Worker { jobs, results })
        };
        let workers = (0..threads.get()).map(start).collect::<io::Result<_>>()?;
        Ok(Self {
            output,
            block: Vec::with_capacity(BLOCK),
            previous: None,
            workers,
            owing: VecDeque::new(),
            next_worker: 0,
            crc: Crc::new(),
        })
    }

    /// Compresses what is left, writes the trailer, and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.submit(true)?;
        while !self.owing.is_empty() {
            self.write_oldest()?;
        }
        // RFC 1952, 2.3.1: the checksum, and the length modulo 2^32.
        self.output.write_all(&self.crc.sum().to_le_bytes())?;
        self.output.write_all(&self.crc.amount().to_le_bytes())?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn submit(&mut self, last: bool) -> io::Result<()> {
        if self.owing.len() >= self.workers.len() * QUEUE {
            self.write_oldest()?;
        }
        let next = if last { Vec::new() } else { Vec::with_capacity(BLOCK) };
        let block = Arc::new(mem::replace(&mut self.block, next));
        let previous = self.previous.replace(Arc::clone(&block));
        let worker = self.next_worker;
        self.workers[worker].jobs.send(Job { block, previous, last }).map_err(|_| worker_gone())?;
        self.owing.push_back(worker);
        self.next_worker = (worker + 1) % self.workers.len();
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(worker) = self.owing.pop_front() else { return Ok(()) };
        let deflated = self.workers[worker].results.recv().map_err(|_| worker_gone())??;
        self.crc.combine(&deflated.crc);
        self.output.write_all(&deflated.bytes)
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A full block is only handed on when more follows, so that the last one is never empty unless the input is.
        if self.block.len() == BLOCK {
            self.submit(false)?;
        }
        let n = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    /// Does nothing: where a stream is flushed would show in its bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn deflate_block(level: u32, job: &Job) -> io::Result<Deflated> {
    let input = &job.block[..];
    let mut crc = Crc::new();
    crc.update(input);

    // A new one for each block: zlib-rs's `reset` leaves something of the last block behind that shows in the output,
    // which would then depend on which worker had which blocks before.
    let mut deflater = Compress::new(Compression::new(level), false);
    if let Some(previous) = &job.previous {
        let window = &previous[previous.len().saturating_sub(WINDOW)..];
        deflater.set_dictionary(window)?;
    }
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut bytes = Vec::with_capacity(input.len() + input.len() / 512 + 64);
    loop {
        let read = usize::try_from(deflater.total_in()).unwrap_or(usize::MAX);
        let status = deflater.compress_vec(input.get(read..).unwrap_or_default(), &mut bytes, flush)?;
        // With room left over, the deflater has no more to say.
        if status == Status::StreamEnd || (!job.last && bytes.len() < bytes.capacity()) {
            return Ok(Deflated { bytes, crc });
        }
        bytes.reserve(4096);
    }
}

fn worker_gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "a gzip worker ended before its work was done")
}
