//! Reading, inflating and hashing a blob on threads of their own, so that an import takes as long as its slowest step.
//!
//! ```text
//! blob ─► [read, sha256 of the blob] ─► [inflate] ─┬─► [sha256: DiffID]
//!                                                  └─► the caller: tar ─► image
//! ```

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use layerstone_oci::{Compression, DiffId, Digest, Sha256Hasher, compress};

/// Compressed bytes in one message.
const BLOB_CHUNK: usize = 256 << 10;
/// Inflated bytes in one message.
const CHUNK: usize = 512 << 10;
/// Messages that wait between two steps.
const DEPTH: usize = 6;

/// Bytes, or why there are no more.
type Message = io::Result<Arc<Vec<u8>>>;

/// Where a blob's own bytes are kept while it is read.
pub(super) type Keep<'a> = Option<&'a mut (dyn Write + Send)>;

/// The inflated bytes of a blob, as a reader.
pub(super) struct Inflated {
    messages: Receiver<Message>,
    current: Arc<Vec<u8>>,
    at: usize,
    /// An error is repeated, so that nobody mistakes it for the end.
    failed: Option<io::ErrorKind>,
    /// Bytes of the blob that have been read.
    blob_read: Arc<AtomicU64>,
}

impl Inflated {
    fn new(messages: Receiver<Message>, blob_read: Arc<AtomicU64>) -> Self {
        Inflated { messages, current: Arc::default(), at: 0, failed: None, blob_read }
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
        while self.at == self.current.len() {
            match self.messages.recv() {
                Ok(Ok(chunk)) => {
                    self.current = chunk;
                    self.at = 0;
                }
                Ok(Err(error)) => {
                    self.failed = Some(error.kind());
                    return Err(error);
                }
                Err(_) => return Ok(&[]),
            }
        }
        Ok(&self.current[self.at..])
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

/// Starts the threads for `blob`, compressed like this. `keep` gets the blob's bytes as they pass.
///
/// What `blob` finds wrong at its end is an error of the reader at its end.
pub(super) fn start<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    blob: Box<dyn Read + Send + 'env>,
    compression: Compression,
    keep: Keep<'env>,
) -> io::Result<(Inflated, Pipeline<'scope>)> {
    let (blob_out, blob_in) = sync_channel::<Message>(DEPTH);
    let (chunks_out, chunks_in) = sync_channel::<Message>(DEPTH);
    let (hash_out, hash_in) = sync_channel::<Arc<Vec<u8>>>(DEPTH);
    let blob_read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&blob_read);
    spawn(scope, "layer-read", move || read_blob(blob, keep, &count, &blob_out))?;
    spawn(scope, "layer-inflate", move || {
        let mut input = Inflated::new(blob_in, Arc::default());
        if let Err(error) = inflate(&mut input, compression, &chunks_out, &hash_out) {
            let _ = chunks_out.send(Err(error));
        }
    })?;
    let hasher = thread::Builder::new().name("layer-hash".into()).spawn_scoped(scope, move || {
        let mut hasher = Sha256Hasher::new();
        for chunk in hash_in {
            hasher.update(&chunk);
        }
        hasher.finish()
    })?;
    Ok((Inflated::new(chunks_in, blob_read), Pipeline { hasher }))
}

fn spawn<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn_scoped(scope, work).map(drop)
}

/// Reads until the end or until nobody listens any more.
fn read_blob(mut blob: impl Read, mut keep: Keep<'_>, count: &AtomicU64, out: &SyncSender<Message>) {
    loop {
        let message = next_chunk(&mut blob, BLOB_CHUNK).and_then(|chunk| {
            if let Some(keep) = &mut keep {
                keep.write_all(&chunk)?;
            }
            Ok(chunk)
        });
        match message {
            Ok(chunk) if chunk.is_empty() => return,
            Ok(chunk) => {
                count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
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
    compression: Compression,
    out: &SyncSender<Message>,
    hash: &SyncSender<Arc<Vec<u8>>>,
) -> io::Result<()> {
    let mut listening = true;
    {
        let mut inflated = compress::decoder(compression, &mut *input)?;
        while listening {
            let chunk = Arc::new(next_chunk(&mut inflated, CHUNK)?);
            if chunk.is_empty() {
                break;
            }
            listening = hash.send(Arc::clone(&chunk)).is_ok() && out.send(Ok(chunk)).is_ok();
        }
    }
    // What is behind the compressed stream still belongs to the blob, whose digest is checked at its end.
    while listening {
        let n = input.fill_buf()?.len();
        if n == 0 {
            break;
        }
        input.consume(n);
    }
    Ok(())
}

/// Up to `size` bytes; fewer only at the end.
fn next_chunk(reader: &mut impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(size);
    reader.by_ref().take(size as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}
