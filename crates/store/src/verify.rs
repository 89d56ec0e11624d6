//! Proving a stored layer: its archive is written again from what is stored, and hashed.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread;

use layerstone_erofs::{Inode, Layout, Nid, ReadAt as _};
use layerstone_layer::LayerPath;
use layerstone_layer::split::{Op, Payload};
use layerstone_layer::view::{LayerView as _, NodeKind};
use layerstone_oci::{DiffId, Digest, Sha256Hasher};
use xxhash_rust::xxh3::Xxh3;

use crate::ahead::Ahead;
use crate::error::{Error, IoContext, Result};
use crate::layer::StoredLayer;
use crate::pipe::{PipeReader, pipe};

/// Bytes read from an image at once.
const CHUNK: usize = 512 << 10;
/// A block of an image.
const BLOCK: u64 = 4096;
/// Chunks that wait to be hashed.
const DEPTH: usize = 4;

/// SHA-256 of block 0 of an image and of everything from `offset` to `size`: all that is not a payload of the archive.
pub(crate) fn metadata_digest(image: &File, offset: u64, size: u64) -> io::Result<Digest> {
    let mut hasher = Sha256Hasher::new();
    let mut buffer = vec![0; CHUNK];
    let block0 = &mut buffer[..4096];
    image.read_exact_at(block0, 0)?;
    hasher.update(block0);
    let mut at = offset;
    while at < size {
        let n = usize::try_from(size - at).unwrap_or(CHUNK).min(CHUNK);
        image.read_exact_at(&mut buffer[..n], at)?;
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(hasher.finish())
}

/// What is wrong with a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The bytes of one file are not those of the archive.
    File {
        /// The names that lead to it; none for bytes that a later entry of the archive replaced.
        paths: Vec<LayerPath>,
        /// Its inode in the image.
        nid: u64,
    },
    /// The image's metadata (names, owners, times, attributes, small files) changed since it was written.
    Metadata,
    /// Something cannot be read at all.
    Unreadable {
        /// What, and why.
        what: String,
    },
    /// The archive that comes out has another digest.
    DiffId {
        /// What `layer.json` says.
        expected: DiffId,
        /// What comes out.
        actual: DiffId,
    },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::File { paths, nid } if paths.is_empty() => {
                write!(f, "the bytes of inode {nid} (replaced later in the layer) changed")
            }
            Damage::File { paths, .. } => {
                f.write_str("the bytes of ")?;
                for (at, path) in paths.iter().enumerate() {
                    write!(f, "{}`{path}`", if at > 0 { ", " } else { "" })?;
                }
                f.write_str(" changed")
            }
            Damage::Metadata => f.write_str("the image's metadata changed"),
            Damage::Unreadable { what } => write!(f, "unreadable: {what}"),
            Damage::DiffId { expected, actual } => {
                write!(f, "the archive that comes out is {actual}, not {expected}")
            }
        }
    }
}

/// Outcome of verifying a layer.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What is wrong; nothing, for a sound layer.
    pub damage: Vec<Damage>,
    /// Bytes of the archive that were written again.
    pub bytes: u64,
}

impl StoredLayer {
    /// Writes the layer's archive again, byte for byte, to `output`.
    ///
    /// # Errors
    /// When the layer cannot be read, a file's bytes are not those of the archive, or the output fails. The output's
    /// bytes are only good when this succeeds *and* their SHA-256 is the DiffID.
    pub fn write_archive(&self, output: &mut dyn Write) -> Result<u64> {
        let mut changed = Vec::new();
        let bytes = self.regenerate(&mut |bytes| output.write_all(bytes), &mut changed)?;
        match changed.first() {
            None => Ok(bytes),
            Some(&nid) => {
                Err(self.damage(format!("the bytes of inode {nid} changed since the layer was imported")))
            }
        }
    }

    /// A reader of the layer's archive, which a thread of its own writes again meanwhile.
    pub fn archive_reader(&self) -> PipeReader {
        let (mut writer, reader) = pipe();
        let layer = self.clone();
        thread::spawn(move || {
            // When nobody reads any more, there is nobody to tell.
            let _ = match layer.write_archive(&mut writer) {
                Ok(_) => writer.finish(),
                Err(error) => {
                    writer.fail(io::Error::new(io::ErrorKind::InvalidData, error));
                    Ok(())
                }
            };
        });
        reader
    }

    fn damage(&self, what: String) -> Error {
        Error::Damaged { chain: *self.chain_id(), what }
    }

    /// Proves the layer: writes its archive again and compares its digest with the DiffID, and the image's metadata with
    /// the digest that was taken when it was written.
    ///
    /// # Errors
    /// Only when the work itself fails. Damage is no error but the outcome.
    pub fn verify(&self, progress: &dyn Fn(u64)) -> Result<Verified> {
        let mut damage = Vec::new();
        let description = self.description();
        let (chunks, receiver) = sync_channel::<Vec<u8>>(DEPTH);
        let mut changed = Vec::new();
        let (written, digest) = thread::scope(|scope| {
            let hasher = thread::Builder::new().name("layer-hash".into()).spawn_scoped(scope, move || {
                let mut hasher = Sha256Hasher::new();
                for chunk in receiver {
                    hasher.update(&chunk);
                }
                hasher.finish()
            });
            let mut given = 0;
            let mut buffer = Vec::with_capacity(CHUNK);
            let written = self.regenerate(
                &mut |bytes| {
                    buffer.extend_from_slice(bytes);
                    if buffer.len() >= CHUNK {
                        given += buffer.len() as u64;
                        progress(given);
                        let full = std::mem::replace(&mut buffer, Vec::with_capacity(CHUNK));
                        chunks.send(full).map_err(|_| io::ErrorKind::BrokenPipe)?;
                    }
                    Ok(())
                },
                &mut changed,
            );
            let _ = chunks.send(buffer);
            drop(chunks);
            let digest = hasher.ok().and_then(|hasher| hasher.join().ok());
            (written, digest)
        });
        let actual = DiffId(digest.ok_or(Error::Worker("hashing a layer"))?);
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                damage.push(Damage::Unreadable { what: chain_of(&error) });
                0
            }
        };
        if !changed.is_empty() {
            let mut paths = self.paths_of(&changed).unwrap_or_default();
            for nid in changed {
                damage.push(Damage::File { paths: paths.remove(&nid).unwrap_or_default(), nid });
            }
        }
        match metadata_digest(self.image().input(), description.metadata_offset, description.image_size) {
            Ok(digest) if digest == description.metadata_digest => {}
            Ok(_) => damage.push(Damage::Metadata),
            Err(error) => {
                damage.push(Damage::Unreadable { what: format!("{}: {error}", self.image_path().display()) });
            }
        }
        if damage.is_empty() && actual != description.diff_id {
            damage.push(Damage::DiffId { expected: description.diff_id, actual });
        }
        Ok(Verified { damage, bytes })
    }

    /// Writes the archive to `output`, and the inodes whose bytes are not those of the archive to `changed`.
    fn regenerate(
        &self,
        output: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        changed: &mut Vec<u64>,
    ) -> Result<u64> {
        let mut split = self.split()?;
        let data_end = self.description().metadata_offset;
        let mut source = PayloadSource {
            layer: self,
            ahead: Ahead::start(&self.image_path(), BLOCK, data_end).doing("read", self.image_path())?,
            buffer: vec![0; CHUNK],
        };
        loop {
            let op = split.next_op().map_err(|source| Error::Split { chain: *self.chain_id(), source })?;
            match op {
                Op::Literal(bytes) => output(bytes).doing("write", "the archive")?,
                Op::Payload(payload) => {
                    let hash = source.payload(&payload, output)?;
                    if hash != payload.hash {
                        changed.push(payload.nid);
                    }
                }
                Op::End => return Ok(split.archive_length()),
            }
        }
    }

    /// The names of some inodes.
    fn paths_of(&self, nids: &[u64]) -> Result<std::collections::HashMap<u64, Vec<LayerPath>>> {
        let mut found = std::collections::HashMap::<u64, Vec<LayerPath>>::new();
        let mut todo = vec![(LayerPath::root(), self.root())];
        while let Some((path, nid)) = todo.pop() {
            if nids.contains(&nid.0) {
                found.entry(nid.0).or_default().push(path.clone());
            }
            if matches!(self.node(&nid)?.kind, NodeKind::Directory { .. }) {
                for (name, child) in self.read_dir(&nid)? {
                    todo.push((path.join(&name), child));
                }
            }
        }
        Ok(found)
    }
}

/// Reads payloads out of an image.
struct PayloadSource<'a> {
    layer: &'a StoredLayer,
    ahead: Ahead,
    buffer: Vec<u8>,
}

impl PayloadSource<'_> {
    /// Writes a payload to `output` and gives its hash.
    fn payload(&mut self, payload: &Payload, output: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<u64> {
        let broken = |source| Error::Image { chain: *self.layer.chain_id(), source };
        let inode = self.layer.image().inode(Nid(payload.nid)).map_err(broken)?;
        let mut hasher = Xxh3::new();
        for range in &payload.ranges {
            let (mut at, end) = (range.offset, range.offset + range.len);
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let n = self.read(&inode, at, want)?;
                if n == 0 {
                    let what = format!("inode {} is shorter than its payload", payload.nid);
                    return Err(self.layer.damage(what));
                }
                hasher.update(&self.buffer[..n]);
                output(&self.buffer[..n]).doing("write", "the archive")?;
                at += n as u64;
            }
        }
        Ok(hasher.digest())
    }

    /// Reads up to `want` bytes of a file: whole blocks as they come, everything else where it is.
    fn read(&mut self, inode: &Inode, at: u64, want: usize) -> Result<usize> {
        // What lies in one piece, and where that piece ends.
        let piece = match inode.layout {
            Layout::Flat { start } => Some((start, inode.size)),
            Layout::Inline { start, .. } => Some((start, inode.size - inode.size % BLOCK)),
            Layout::None | Layout::Chunks { .. } => None,
        };
        if let Some((start, end)) = piece
            && at < end
        {
            let want = usize::try_from(end - at).unwrap_or(want).min(want);
            let read = self.ahead.read(start + at, &mut self.buffer[..want]);
            let read = read.doing("read", self.layer.image_path())?;
            if read > 0 {
                return Ok(read);
            }
        }
        let broken = |source| Error::Image { chain: *self.layer.chain_id(), source };
        self.layer.image().read_at(inode, &mut self.buffer[..want], at).map_err(broken)
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
