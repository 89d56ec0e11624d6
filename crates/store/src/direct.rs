//! Large reads and writes past the page cache.
//!
//! A layer is written once and proven now and then; both touch every byte. Through the page cache that costs several
//! times what the disk itself takes, and pushes out what others have cached. Where the file system has no direct access,
//! the cached one is used.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// What direct access must be aligned to: the largest sector size in use.
pub(crate) const ALIGN: usize = 4096;

/// Size of one read or write.
pub(crate) const BUFFER: usize = 1 << 20;

/// A buffer of [`BUFFER`] bytes that starts at an aligned address.
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; BUFFER + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Aligned { bytes, start, len: 0 }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == BUFFER
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes as much of `input` as fits, and says how much that was.
    pub(crate) fn take(&mut self, input: &[u8]) -> usize {
        let n = input.len().min(BUFFER - self.len);
        let at = self.start + self.len;
        self.bytes[at..at + n].copy_from_slice(&input[..n]);
        self.len += n;
        n
    }

    /// Fills itself from `offset` on, as far as `file` goes.
    pub(crate) fn fill_from(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.len = 0;
        while self.len < BUFFER {
            let at = self.start + self.len;
            let n = read_at(file, &mut self.bytes[at..self.start + BUFFER], offset + self.len as u64)?;
            self.len += n;
            // A direct read ends at an unaligned place only at the end of the file.
            if n == 0 || n % ALIGN != 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Opens `path` as `options` say, for direct access where that is possible.
#[cfg(target_os = "linux")]
fn open_direct(options: &OpenOptions, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    options.clone().custom_flags(flags).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_options: &OpenOptions, _path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::InvalidInput.into())
}

/// Makes a file that must not exist yet.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    match open_direct(&options, path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            // Some file systems make the file before they refuse the flag.
            let _ = std::fs::remove_file(path);
            options.open(path)
        }
        other => other,
    }
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    match open_direct(&options, path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => options.open(path),
        other => other,
    }
}

/// Some file systems take the flag at open and refuse it at the first access: then it is taken back.
#[cfg(target_os = "linux")]
fn or_cached<T>(file: &File, access: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match access() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let flags = rustix::fs::fcntl_getfl(file)?;
            rustix::fs::fcntl_setfl(file, flags.difference(rustix::fs::OFlags::DIRECT))?;
            access()
        }
        other => other,
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn or_cached<T>(_file: &File, access: impl Fn() -> io::Result<T>) -> io::Result<T> {
    access()
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let bytes = std::cell::RefCell::new(bytes);
    or_cached(file, || {
        loop {
            match file.read_at(*bytes.borrow_mut(), offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    })
}

#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    or_cached(file, || file.write_all_at(bytes, offset))
}

#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, offset)
}

#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}
