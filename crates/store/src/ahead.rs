//! Reading the data of an image from front to back, ahead of whoever uses it.
//!
//! File data lies in an image in the order of the archive, so writing the archive again reads it forwards. A thread of
//! its own does that in large direct reads, several buffers ahead.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::direct::{self, Aligned};

/// Buffers in flight.
const BUFFERS: usize = 4;

/// A part of an image, being read.
pub(crate) struct Ahead {
    end: u64,
    filled: Receiver<io::Result<Aligned>>,
    empty: SyncSender<Aligned>,
    /// The buffer at hand, and the byte of the image that it starts at.
    current: Option<(u64, Aligned)>,
    /// Where the next buffer starts.
    next: u64,
}

impl Ahead {
    /// Starts reading bytes `start..end` of the image at `path`; both must be multiples of a block.
    pub(crate) fn start(path: &Path, start: u64, end: u64) -> io::Result<Self> {
        let file = direct::open(path)?;
        let (fill, filled) = sync_channel(BUFFERS);
        let (empty, to_fill) = sync_channel::<Aligned>(BUFFERS);
        for _ in 0..BUFFERS {
            // The channel has room for all of them.
            let _ = empty.try_send(Aligned::new());
        }
        std::thread::Builder::new().name("layer-ahead".into()).spawn(move || {
            let mut offset = start;
            // Ends with the part, with an error, or when nobody wants any more.
            for mut buffer in to_fill {
                let result = buffer.fill_from(&file, offset);
                offset += buffer.filled().len() as u64;
                let last = result.is_err() || offset >= end || buffer.is_empty();
                if fill.send(result.map(|()| buffer)).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Ahead { end, filled, empty, current: None, next: start })
    }

    /// Copies bytes from `offset` on. Gives 0 for what is not in the part or has gone by: that has to be read in another
    /// way.
    pub(crate) fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        if offset >= self.end {
            return Ok(0);
        }
        loop {
            if let Some((start, buffer)) = &self.current {
                let Some(skip) = offset.checked_sub(*start) else { return Ok(0) };
                let bytes = usize::try_from(skip).ok().and_then(|skip| buffer.filled().get(skip..));
                if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                    let n = bytes.len().min(out.len());
                    out[..n].copy_from_slice(&bytes[..n]);
                    return Ok(n);
                }
            }
            let Ok(filled) = self.filled.recv() else { return Ok(0) };
            let buffer = filled?;
            let start = self.next;
            self.next += buffer.filled().len() as u64;
            if let Some((_, used)) = self.current.replace((start, buffer)) {
                let _ = self.empty.try_send(used);
            }
        }
    }
}
