//! The log of a container's output: a JSON record a line, in files that are rotated.
//!
//! ```text
//! {"time":"2026-11-26T23:38:44.123456789Z","stream":"stdout","text":"ready\n"}
//! {"time":"2026-11-26T23:38:45.023456789Z","stream":"stderr","bytes":"//4="}
//! ```
//!
//! A record holds what the program wrote, as it came: usually one line, line break included; a part of one where the program
//! has written no more yet. Put together in order, the records are the output, byte for byte: what is not UTF-8 is kept in
//! Base64.
//!
//! `log.jsonl` is the newest file; when it is full it becomes `log.jsonl.1`, and that `log.jsonl.2`; older records go.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext as _, Result};

/// The newest file's name.
const FILE: &str = "log.jsonl";
/// When a file is full, in bytes.
pub const FULL: u64 = 16 << 20;
/// How many full files are kept.
pub const KEPT: usize = 2;
/// The longest piece of output in one record.
const MAX_PIECE: usize = 16 << 10;
/// The longest record: each byte may take six characters (`\u0000`), and there is something around them.
const MAX_RECORD: u64 = 6 * MAX_PIECE as u64 + 256;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output; of a terminal, everything.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was written.
    pub time: Timestamp,
    /// Where to.
    pub stream: Stream,
    /// What, where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// What, in Base64, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

impl Record {
    fn new(stream: Stream, piece: &[u8]) -> Self {
        let (text, bytes) = match std::str::from_utf8(piece) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(BASE64.encode(piece))),
        };
        Record { time: Timestamp::now(), stream, text, bytes }
    }

    /// What was written.
    pub fn data(&self) -> Vec<u8> {
        match (&self.text, &self.bytes) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(bytes)) => BASE64.decode(bytes).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

fn rotated(directory: &Path, number: usize) -> PathBuf {
    if number == 0 { directory.join(FILE) } else { directory.join(format!("{FILE}.{number}")) }
}

/// Writes a container's log.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    file: File,
    size: u64,
    full: u64,
    /// The beginnings of characters whose rest has not come yet, of each stream.
    unfinished: [Vec<u8>; 2],
}

impl Writer {
    /// Goes on with the log in `directory`; a file is full at `full` bytes.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(directory: &Path, full: u64) -> Result<Self> {
        let file = Self::open_file(directory)?;
        let size = file.metadata().doing("look at", directory)?.len();
        Ok(Writer { directory: directory.to_path_buf(), file, size, full, unfinished: Default::default() })
    }

    fn open_file(directory: &Path) -> Result<File> {
        let path = rotated(directory, 0);
        File::options().create(true).append(true).open(&path).doing("open", path)
    }

    /// Adds output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, stream: Stream, data: &[u8]) -> Result<()> {
        let unfinished = &mut self.unfinished[stream as usize];
        let mut all = std::mem::take(unfinished);
        all.extend_from_slice(data);
        // A character that is cut in two is put together again, so that it can be text.
        if let Err(error) = std::str::from_utf8(&all[all.len().saturating_sub(3)..])
            && error.error_len().is_none()
        {
            let keep = all.len() - all.len().saturating_sub(3) - error.valid_up_to();
            *unfinished = all.split_off(all.len() - keep);
        }
        self.write_records(stream, &all)
    }

    /// Adds what was held back of a stream that has ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&mut self, stream: Stream) -> Result<()> {
        let rest = std::mem::take(&mut self.unfinished[stream as usize]);
        self.write_records(stream, &rest)
    }

    fn write_records(&mut self, stream: Stream, data: &[u8]) -> Result<()> {
        let mut lines = Vec::new();
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            let mut rest = line;
            while !rest.is_empty() {
                let mut at = rest.len().min(MAX_PIECE);
                // Not inside of a character, where there is one.
                while at < rest.len() && at > MAX_PIECE - 4 && rest[at] & 0xc0 == 0x80 {
                    at -= 1;
                }
                let (piece, after) = rest.split_at(at);
                serde_json::to_writer(&mut lines, &Record::new(stream, piece))
                    .map_err(|source| Error::Json { path: rotated(&self.directory, 0), source })?;
                lines.push(b'\n');
                rest = after;
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + lines.len() as u64 > self.full {
            self.rotate()?;
        }
        self.file.write_all(&lines).doing("write", rotated(&self.directory, 0))?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        for number in (0..KEPT).rev() {
            let from = rotated(&self.directory, number);
            match fs::rename(&from, rotated(&self.directory, number + 1)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.doing("rename", from)?,
            }
        }
        self.file = Self::open_file(&self.directory)?;
        self.size = 0;
        Ok(())
    }
}

/// Reads a container's log from its oldest record on.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    /// The file that is being read, and those after it.
    files: std::collections::VecDeque<BufReader<File>>,
    /// The beginning of a record whose rest is not written yet.
    partial: Vec<u8>,
}

impl Reader {
    /// Opens the log in `directory`; there may be none yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(directory: &Path) -> Result<Self> {
        let mut files = std::collections::VecDeque::new();
        for number in (0..=KEPT).rev() {
            let path = rotated(directory, number);
            match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => files.push_back(BufReader::new(file.doing("open", path)?)),
            }
        }
        Ok(Reader { directory: directory.to_path_buf(), files, partial: Vec::new() })
    }

    /// The next record that is there; `None` when all were read. More may follow as long as the container runs.
    ///
    /// # Errors
    /// When the log cannot be read, or a record is damaged.
    pub fn next_record(&mut self) -> Result<Option<Record>> {
        loop {
            let Some(file) = self.files.front_mut() else {
                return Ok(None);
            };
            let path = rotated(&self.directory, 0);
            let mut limited = io::Read::take(&mut *file, MAX_RECORD);
            limited.read_until(b'\n', &mut self.partial).doing("read", &path)?;
            if self.partial.last() == Some(&b'\n') {
                let record = serde_json::from_slice(&self.partial);
                self.partial.clear();
                return record.map(Some).map_err(|source| Error::Json { path, source });
            }
            if self.partial.len() as u64 >= MAX_RECORD {
                let error = io::Error::from(io::ErrorKind::InvalidData);
                return Err(error).doing("read a record of", path);
            }
            // The end of this file: of the newest one, unless it has been rotated meanwhile.
            if self.files.len() == 1 && !self.is_rotated()? {
                return Ok(None);
            }
            // A record that a killed shim has not finished.
            self.partial.clear();
            self.files.pop_front();
        }
    }

    /// The last file is not the newest any more; then the newer ones are opened.
    fn is_rotated(&mut self) -> Result<bool> {
        let Some(last) = self.files.back_mut() else { return Ok(false) };
        let path = rotated(&self.directory, 0);
        let newest = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.doing("open", &path)?,
        };
        if is_same(last.get_ref(), &newest).doing("look at", &path)? {
            return Ok(false);
        }
        // What was written before the rotation comes first.
        let position = last.stream_position().doing("read", &path)?;
        if last.get_ref().metadata().doing("look at", &path)?.len() > position {
            last.seek(SeekFrom::Start(position)).doing("read", &path)?;
        }
        self.files.push_back(BufReader::new(newest));
        Ok(true)
    }
}

#[cfg(unix)]
fn is_same(a: &File, b: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (a, b) = (a.metadata()?, b.metadata()?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Only Linux writes logs.
#[cfg(not(unix))]
fn is_same(_: &File, _: &File) -> io::Result<bool> {
    Ok(true)
}
