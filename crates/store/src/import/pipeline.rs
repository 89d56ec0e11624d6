//! Reading, inflating and hashing a blob on threads of their own, so that an import takes as long as its slowest step.
//!
//! ```text
//! blob ─► [read, sha256 of the blob] ─► [inflate] ─┬─► [sha256: DiffID]
//!                                                  └─► the caller: tar ─► image
//! ```

use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use layerstone_oci::{Compression, DiffId, Digest, Sha256Hasher, compress, sniff_compression};

/// Compressed bytes in one message.
const BLOB_CHUNK: usize = 256 << 10;
/// Inflated bytes in one message.
const CHUNK: usize = 512 << 10;
/// Messages that wait between two steps.
const DEPTH: usize = 6;

/// Bytes, or why there are no more.
type Message = io::Result<Arc<Chunk>>;

/// A buffer and how much of it is filled.
#[derive(Default)]
struct Chunk {
    buffer: Vec<u8>,
    len: usize,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// Buffers of one size. They are filled again once everybody has read them: fresh memory costs as much as hashing it.
struct Pool {
    size: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn new(size: usize) -> Arc<Self> {
        Arc::new(Pool { size, free: Mutex::default() })
    }

    /// Up to a buffer full of bytes from `reader`; fewer only at its end.
    fn fill(&self, reader: &mut impl Read) -> io::Result<Chunk> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = free.unwrap_or_else(|| vec![0; self.size]);
        let mut len = 0;
        while len < buffer.len() {
            match reader.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Chunk { buffer, len })
    }

    /// Takes a chunk back, if this was the last one who read it.
    fn give_back(&self, chunk: Arc<Chunk>) {
        if let Some(chunk) = Arc::into_inner(chunk).filter(|chunk| chunk.buffer.len() == self.size) {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(chunk.buffer);
        }
    }
}

/// Where a blob's own bytes are kept while it is read.
pub(super) type Keep<'a> = Option<&'a mut (dyn Write + Send)>;

/// The inflated bytes of a blob, as a reader.
pub(super) struct Inflated {
    messages: Receiver<Message>,
    pool: Arc<Pool>,
    current: Arc<Chunk>,
    at: usize,
    /// An error is repeated, so that nobody mistakes it for the end.
    failed: Option<io::ErrorKind>,
    /// Bytes of the blob that have been read.
    blob_read: Arc<AtomicU64>,
}

impl Inflated {
    fn new(messages: Receiver<Message>, pool: Arc<Pool>, blob_read: Arc<AtomicU64>) -> Self {
        Inflated { messages, pool, current: Arc::default(), at: 0, failed: None, blob_read }
    }

    /// Bytes of the blob that have been read, by whatever thread.
    pub(super) fn blob_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.blob_read)
    }
}

impl BufRead for Inflated {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        while self.at == self.current.len {
            match self.messages.recv() {
                Ok(Ok(chunk)) => {
                    self.pool.give_back(std::mem::replace(&mut self.current, chunk));
                    self.at = 0;
                }
                Ok(Err(error)) => {
                    self.failed = Some(error.kind());
                    return Err(error);
                }
                Err(_) => return Ok(&[]),
            }
        }
        Ok(&self.current.bytes()[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// The threads of one import.
pub(super) struct Pipeline<'scope> {
    hasher: ScopedJoinHandle<'scope, Digest>,
}

impl Pipeline<'_> {
    /// The DiffID. Only right when the reader has been read to its end.
    pub(super) fn diff_id(self) -> Option<DiffId> {
        self.hasher.join().ok().map(DiffId)
    }
}

/// Starts the threads for `blob`, compressed like this, or else as its first bytes tell. `keep` gets the blob's bytes as they pass.
///
/// What `blob` finds wrong at its end is an error of the reader at its end.
pub(super) fn start<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    blob: Box<dyn Read + Send + 'env>,
    compression: Option<Compression>,
    keep: Keep<'env>,
) -> io::Result<(Inflated, Pipeline<'scope>)> {
    let (blob_out, blob_in) = sync_channel::<Message>(DEPTH);
    let (chunks_out, chunks_in) = sync_channel::<Message>(DEPTH);
    let (hash_out, hash_in) = sync_channel::<Arc<Chunk>>(DEPTH);
    let (blob_pool, pool) = (Pool::new(BLOB_CHUNK), Pool::new(CHUNK));
    let blob_read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&blob_read);
    let reader_pool = Arc::clone(&blob_pool);
    spawn(scope, "layer-read", move || read_blob(blob, &reader_pool, keep, &count, &blob_out))?;
    let inflater_pool = Arc::clone(&pool);
    spawn(scope, "layer-inflate", move || {
        let mut input = Inflated::new(blob_in, blob_pool, Arc::default());
        if let Err(error) = inflate(&mut input, compression, &inflater_pool, &chunks_out, &hash_out) {
            let _ = chunks_out.send(Err(error));
        }
    })?;
    let hasher_pool = Arc::clone(&pool);
    let hasher = thread::Builder::new().name("layer-hash".into()).spawn_scoped(scope, move || {
        let mut hasher = Sha256Hasher::new();
        for chunk in hash_in {
            hasher.update(chunk.bytes());
            hasher_pool.give_back(chunk);
        }
        hasher.finish()
    })?;
    Ok((Inflated::new(chunks_in, pool, blob_read), Pipeline { hasher }))
}

fn spawn<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn_scoped(scope, work).map(drop)
}

/// Reads until the end or until nobody listens any more.
fn read_blob(
    mut blob: impl Read,
    pool: &Pool,
    mut keep: Keep<'_>,
    count: &AtomicU64,
    out: &SyncSender<Message>,
) {
    loop {
        let message = pool.fill(&mut blob).and_then(|chunk| {
            if let Some(keep) = &mut keep {
                keep.write_all(chunk.bytes())?;
            }
            Ok(chunk)
        });
        match message {
            Ok(chunk) if chunk.len == 0 => return,
            Ok(chunk) => {
                count.fetch_add(chunk.len as u64, Ordering::Relaxed);
                if out.send(Ok(Arc::new(chunk))).is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = out.send(Err(error));
                return;
            }
        }
    }
}

fn inflate(
    input: &mut Inflated,
    compression: Option<Compression>,
    pool: &Pool,
    out: &SyncSender<Message>,
    hash: &SyncSender<Arc<Chunk>>,
) -> io::Result<()> {
    {
        let compression = match compression {
            Some(known) => known,
            // The first chunk is a full one, or all that there is.
            None => sniff_compression(input.fill_buf()?),
        };
        let mut inflated = compress::decoder(compression, &mut *input)?;
        loop {
            let chunk = Arc::new(pool.fill(&mut inflated)?);
            if chunk.len == 0 {
                break;
            }
            if hash.send(Arc::clone(&chunk)).is_err() || out.send(Ok(chunk)).is_err() {
                return Ok(());
            }
        }
    }
    // What is behind the compressed stream still belongs to the blob, whose digest is checked at its end.
    loop {
        let n = input.fill_buf()?.len();
        if n == 0 {
            return Ok(());
        }
        input.consume(n);
    }
}
