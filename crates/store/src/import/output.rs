//! The file behind an image in the making: large sequential writes on a thread of their own.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use layerstone_erofs::ImageOutput;

use crate::direct::{self, ALIGN, Aligned};

/// Buffers in flight.
const BUFFERS: usize = 4;

/// Writes an image file.
pub(super) struct DirectOutput {
    current: Aligned,
    to_writer: Option<SyncSender<Aligned>>,
    from_writer: Receiver<Aligned>,
    writer: Option<JoinHandle<io::Result<File>>>,
    block0: Option<Box<[u8; 4096]>>,
}

impl DirectOutput {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = direct::create(path)?;
        let (to_writer, work) = sync_channel::<Aligned>(BUFFERS);
        let (give_back, from_writer) = sync_channel::<Aligned>(BUFFERS);
        for _ in 1..BUFFERS {
            // The channel has room for all of them.
            let _ = give_back.try_send(Aligned::new());
        }
        let writer = std::thread::Builder::new().name("layer-write".into()).spawn(move || {
            let mut offset = ALIGN as u64;
            for mut buffer in work {
                direct::write_all_at(&file, buffer.filled(), offset)?;
                offset += buffer.filled().len() as u64;
                buffer.clear();
                let _ = give_back.try_send(buffer);
            }
            Ok(file)
        })?;
        Ok(DirectOutput {
            current: Aligned::new(),
            to_writer: Some(to_writer),
            from_writer,
            writer: Some(writer),
            block0: None,
        })
    }

    fn submit(&mut self) -> io::Result<()> {
        let next = match self.from_writer.recv() {
            Ok(next) => next,
            Err(_) => return Err(self.failure()),
        };
        let full = std::mem::replace(&mut self.current, next);
        match self.to_writer.as_ref().map(|writer| writer.send(full)) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Why the writer is gone.
    fn failure(&mut self) -> io::Error {
        self.to_writer = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            _ => io::Error::new(io::ErrorKind::BrokenPipe, "the thread that writes the image ended"),
        }
    }

    /// Waits for all writes, writes block 0 last, and makes the file durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.current.is_empty() {
            self.submit()?;
        }
        self.to_writer = None;
        let writer = self.writer.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let file = writer.join().map_err(|_| {
            io::Error::new(io::ErrorKind::BrokenPipe, "the thread that writes the image ended")
        })??;
        let block0 = self.block0.take().ok_or(io::ErrorKind::UnexpectedEof)?;
        // One sync for all of it: nobody sees the image before its directory is renamed into place.
        let mut aligned = Aligned::new();
        aligned.take(&block0[..]);
        direct::write_all_at(&file, aligned.filled(), 0)?;
        file.sync_all()
    }
}

impl Drop for DirectOutput {
    /// Waits for the thread, which has the file open: whoever gives up removes its directory next, and Windows keeps a name
    /// for as long as anybody has the file open.
    fn drop(&mut self) {
        self.to_writer = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl ImageOutput for DirectOutput {
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.current.take(bytes);
            bytes = &bytes[n..];
            if self.current.is_full() {
                self.submit()?;
            }
        }
        Ok(())
    }

    fn write_block0(&mut self, block: &[u8; 4096]) -> io::Result<()> {
        self.block0 = Some(Box::new(*block));
        Ok(())
    }
}
