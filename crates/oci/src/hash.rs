//! SHA-256 while bytes pass by, and readers that refuse content which is not what its descriptor states.

use std::fmt;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::{Digest, Result, VerifyError};

/// A running SHA-256 and byte count.
#[derive(Clone, Default)]
pub struct Sha256Hasher {
    state: Sha256,
    len: u64,
}

impl Sha256Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Bytes hashed so far.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was hashed yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digest of all bytes.
    pub fn finish(self) -> Digest {
        Digest::from_sha256(self.state.finalize().into())
    }
}

impl fmt::Debug for Sha256Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha256Hasher").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Hashes what is written through it.
#[derive(Debug)]
pub struct Sha256Writer<W> {
    inner: W,
    hasher: Sha256Hasher,
}

impl<W: Write> Sha256Writer<W> {
    /// Writes go on to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256Hasher::new() }
    }

    /// Bytes written so far.
    pub const fn len(&self) -> u64 {
        self.hasher.len()
    }

    /// Whether nothing was written yet.
    pub const fn is_empty(&self) -> bool {
        self.hasher.is_empty()
    }

    /// The writer below.
    pub const fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// The writer below, the digest and the number of the bytes written.
    pub fn finish(self) -> (W, Digest, u64) {
        let len = self.hasher.len();
        (self.inner, self.hasher.finish(), len)
    }
}

impl<W: Write> Write for Sha256Writer<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes what is read through it.
#[derive(Debug)]
pub struct Sha256Reader<R> {
    inner: R,
    hasher: Sha256Hasher,
}

impl<R: Read> Sha256Reader<R> {
    /// Reads come from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256Hasher::new() }
    }

    /// The reader below, the digest and the number of the bytes read so far.
    pub fn finish(self) -> (R, Digest, u64) {
        let len = self.hasher.len();
        (self.inner, self.hasher.finish(), len)
    }
}

impl<R: Read> Read for Sha256Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }
}

/// Reads content and fails, with a [`VerifyError`] in the [`io::Error`], unless it has the stated digest and size.
///
/// The digest is checked before the last bytes are handed out, when the size is known, so a caller that reads exactly
/// the stated size never holds wrong content as if it were right. Content that goes on is found at the next read: read
/// to the end, or call [`verify_to_end`](Self::verify_to_end).
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    expected: Digest,
    size: Option<u64>,
    hasher: Option<Sha256Hasher>,
    outcome: Option<Result<(), VerifyError>>,
}

impl<R: Read> VerifyingReader<R> {
    /// Expects `expected`, and `size` bytes if given. Fails where the algorithm is not computed here.
    pub fn new(inner: R, expected: Digest, size: Option<u64>) -> Result<Self> {
        expected.require_sha256()?;
        Ok(Self { inner, expected, size, hasher: Some(Sha256Hasher::new()), outcome: None })
    }

    /// Whether the content was read to its end and is right.
    pub const fn is_verified(&self) -> bool {
        matches!(self.outcome, Some(Ok(())))
    }

    /// Reads the rest, keeping none of it, and says whether all of the content was right.
    pub fn verify_to_end(mut self) -> io::Result<R> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.inner)
    }

    fn settle(&mut self, outcome: Result<(), VerifyError>) -> io::Result<()> {
        self.hasher = None;
        self.outcome = Some(outcome.clone());
        outcome.map_err(invalid)
    }

    fn check_digest(&mut self, found: Digest) -> io::Result<()> {
        let expected = self.expected;
        self.settle(if found == expected { Ok(()) } else { Err(VerifyError::Mismatch { expected, found }) })
    }

    fn check_nothing_follows(&mut self) -> io::Result<usize> {
        let (digest, Some(expected)) = (self.expected, self.size) else { return Ok(0) };
        match read_retrying(&mut self.inner, &mut [0])? {
            0 => Ok(0),
            _ => self.settle(Err(VerifyError::TooLong { digest, expected })).map(|()| 0),
        }
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        match &self.outcome {
            Some(Ok(())) => return self.check_nothing_follows(),
            Some(Err(error)) => return Err(invalid(error.clone())),
            None => {}
        }
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        let left = self.size.map(|size| size - hasher.len());
        if left == Some(0) {
            // An empty blob: nothing was read, so nothing has been checked yet.
            let found = hasher.clone().finish();
            self.check_digest(found)?;
            return self.check_nothing_follows();
        }
        let want = left.map_or(buf.len(), |left| buf.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        let n = self.inner.read(&mut buf[..want])?;
        hasher.update(&buf[..n]);
        let len = hasher.len();
        match self.size {
            Some(size) if n == 0 => {
                let digest = self.expected;
                self.settle(Err(VerifyError::TooShort { digest, expected: size, found: len }))?;
            }
            Some(size) if len < size => {}
            None if n > 0 => {}
            _ => {
                let found = hasher.clone().finish();
                self.check_digest(found)?;
            }
        }
        Ok(n)
    }
}

fn invalid(error: VerifyError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn read_retrying(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
