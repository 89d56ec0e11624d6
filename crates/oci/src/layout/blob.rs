//! Writing one blob: hashed as it is written, and there only when it is whole.

use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::layout::{Layout, TEMPORARY_PREFIX};
use crate::{Digest, Error, Result, Sha256Hasher, VerifyError, sys};

/// A blob that is being written. [`commit`](Self::commit) makes it appear under its digest; dropping it without leaves
/// nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    file: NamedTempFile,
    hasher: Sha256Hasher,
}

impl BlobWriter {
    pub(super) fn new(layout: Layout, staging: &Path) -> Result<Self> {
        let file = sys::temporary_file(staging, TEMPORARY_PREFIX)
            .map_err(Error::file("create a file in", staging))?;
        Ok(Self { layout, file, hasher: Sha256Hasher::new() })
    }

    /// Bytes written so far.
    pub const fn len(&self) -> u64 {
        self.hasher.len()
    }

    /// Whether nothing was written yet.
    pub const fn is_empty(&self) -> bool {
        self.hasher.is_empty()
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Makes the blob appear, durably, and gives its digest and size. If it is there already it is replaced by this one,
    /// which is known to be right.
    pub fn commit(self) -> Result<(Digest, u64)> {
        let Self { layout, file, hasher } = self;
        let size = hasher.len();
        let digest = hasher.finish();
        let path = layout.blob_path(&digest);
        file.as_file().sync_all().map_err(Error::file("sync", file.path()))?;
        if let Err(error) = file.persist(&path) {
            // Windows does not replace a file that somebody has open; then the blob is there, as whole as this one.
            if layout.blob_size(&digest)? != Some(size) {
                return Err(Error::file("put in place", &path)(error.error));
            }
        }
        let dir = layout.blobs_dir();
        sys::sync_directory(&dir).map_err(Error::file("sync", &dir))?;
        Ok((digest, size))
    }

    /// The same, but fails, leaving nothing, unless digest and size are these.
    pub fn commit_as(self, expected: &Digest, size: Option<u64>) -> Result<()> {
        expected.require_sha256()?;
        let (found, len) = (self.digest(), self.len());
        let error = match size {
            Some(size) if len < size => {
                VerifyError::TooShort { digest: *expected, expected: size, found: len }
            }
            Some(size) if len > size => VerifyError::TooLong { digest: *expected, expected: size },
            _ if found != *expected => VerifyError::Mismatch { expected: *expected, found },
            _ => return self.commit().map(drop),
        };
        Err(Error::Verify { what: format!("blob {expected}"), source: Box::new(error) })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
