//! The file behind an image in the making: large sequential writes past the page cache, on a thread of their own.
//!
//! Buffered writes of a fresh file cost several times what the disk itself takes, and push out everything else that is
//! cached. Where the file system has no direct writes, buffered ones are used.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use layerstone_erofs::ImageOutput;

/// Size of one write.
const BUFFER: usize = 1 << 20;
/// Buffers in flight.
const BUFFERS: usize = 4;
/// What direct writes must be aligned to: the largest sector size in use.
const ALIGN: usize = 4096;

/// A buffer whose bytes start at an aligned address.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; BUFFER + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Aligned { bytes, start, len: 0 }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// Takes as much of `input` as fits.
    fn take(&mut self, input: &[u8]) -> usize {
        let n = input.len().min(BUFFER - self.len);
        let at = self.start + self.len;
        self.bytes[at..at + n].copy_from_slice(&input[..n]);
        self.len += n;
        n
    }
}

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
        let (file, direct) = open(path)?;
        let (to_writer, work) = sync_channel::<Aligned>(BUFFERS);
        let (give_back, from_writer) = sync_channel::<Aligned>(BUFFERS);
        for _ in 1..BUFFERS {
            // The channel has room for all of them.
            let _ = give_back.try_send(Aligned::new());
        }
        let writer = std::thread::Builder::new().name("layer-write".into()).spawn(move || {
            let mut offset = ALIGN as u64;
            for mut buffer in work {
                write_at(&file, direct, buffer.filled(), offset)?;
                offset += buffer.len as u64;
                buffer.len = 0;
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
        if self.current.len > 0 {
            self.submit()?;
        }
        self.to_writer = None;
        let writer = self.writer.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let file = writer.join().map_err(|_| {
            io::Error::new(io::ErrorKind::BrokenPipe, "the thread that writes the image ended")
        })??;
        let block0 = self.block0.take().ok_or(io::ErrorKind::UnexpectedEof)?;
        // The data must be on disk before the superblock that speaks of it.
        file.sync_data()?;
        let mut aligned = Aligned::new();
        aligned.take(&block0[..]);
        write_at(&file, true, aligned.filled(), 0)?;
        file.sync_all()
    }
}

impl ImageOutput for DirectOutput {
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.current.take(bytes);
            bytes = &bytes[n..];
            if self.current.len == BUFFER {
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

#[cfg(target_os = "linux")]
fn open(path: &Path) -> io::Result<(File, bool)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o644);
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    match options.clone().custom_flags(direct).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let _ = std::fs::remove_file(path);
            Ok((options.open(path)?, false))
        }
        Err(error) => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
fn open(path: &Path) -> io::Result<(File, bool)> {
    Ok((OpenOptions::new().read(true).write(true).create_new(true).open(path)?, false))
}

#[cfg(unix)]
fn write_at(file: &File, direct: bool, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    match file.write_all_at(bytes, offset) {
        // Some file systems take O_DIRECT at open and refuse it at the first write.
        #[cfg(target_os = "linux")]
        Err(error) if direct && error.kind() == io::ErrorKind::InvalidInput => {
            let flags = rustix::fs::fcntl_getfl(file)?;
            rustix::fs::fcntl_setfl(file, flags.difference(rustix::fs::OFlags::DIRECT))?;
            file.write_all_at(bytes, offset)
        }
        other => {
            let _ = direct;
            other
        }
    }
}

#[cfg(windows)]
fn write_at(file: &File, _direct: bool, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt as _;
    while !bytes.is_empty() {
        let n = file.seek_write(bytes, offset)?;
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}
