//! The writer: file data as it streams in, then everything else.
//!
//! 1. [`ImageWriter::begin_file`], [`write`](ImageWriter::write) and [`end_file`](ImageWriter::end_file) append the
//!    blocks of one file after the other and keep short tails aside; the result stands for the content in the tree.
//! 2. [`ImageWriter::finish`] takes the tree, lays out all inodes in one pass over it (`layout`), and writes them in a
//!    second one (`emit`), each inode with its tail. The superblock comes last.

mod dir;
mod emit;
mod layout;
mod output;
mod sparse;
mod spill;
mod tree;
mod xattr;

pub use output::{FileOutput, ImageOutput};
pub use sparse::Segment;
pub use spill::Spill;
pub use tree::{Content, Node, NodeId, Tree};

use crate::format::{BLOCK_SIZE, FILE_MAX};
use crate::{Error, Nid};
use output::Sink;
use sparse::Chunks;
use spill::Tails;

/// The longest tail that is stored behind its inode; longer ones fill more than half a block anyway.
const INLINE_TAIL_MAX: u64 = BLOCK_SIZE / 2;

/// Content of a file that was written; put it into [`Content::File`] of the same image's tree, or drop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileData {
    size: u64,
    stored: Stored,
}

impl FileData {
    /// Content of an empty file.
    pub fn empty() -> Self {
        Self { size: 0, stored: Stored::Flat { first: None, tail: None } }
    }

    /// Size of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the content costs the image: blocks, or the tail without padding, and the map of a file with holes. For
    /// callers that limit what an archive may claim.
    pub fn image_bytes(&self) -> u64 {
        match &self.stored {
            Stored::Flat { tail: Some(_), .. } => self.size,
            Stored::Flat { tail: None, .. } => self.size.next_multiple_of(BLOCK_SIZE),
            Stored::Chunked(chunks) => chunks.image_bytes(self.size),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stored {
    /// Consecutive blocks from `first`, and maybe a tail at an offset of the scratch space.
    Flat {
        first: Option<u32>,
        tail: Option<u64>,
    },
    Chunked(Chunks),
}

impl FileData {
    /// Bytes of the tail that was kept aside.
    fn tail(&self) -> Option<(u64, u64)> {
        match self.stored {
            Stored::Flat { tail: Some(offset), .. } => Some((offset, self.size % BLOCK_SIZE)),
            _ => None,
        }
    }
}

/// Writes an image from a stream: first the content of files, then, at once, the tree.
#[derive(Debug)]
pub struct ImageWriter<W> {
    sink: Sink<W>,
    tails: Tails,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    data: FileData,
    announced: u64,
    received: u64,
    /// Bytes of a flat file that go to blocks; the rest is its tail.
    body: u64,
    /// For a sparse file, zeros and data to come, in reverse order.
    pieces: Vec<(u64, u64)>,
    padding: u64,
}

/// What the image says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FinishOptions {
    /// Identity of the volume. Nothing is random here: for identical images take it from the input.
    pub uuid: [u8; 16],
}

impl FinishOptions {
    /// Options with an identity.
    pub fn new(uuid: [u8; 16]) -> Self {
        Self { uuid }
    }
}

/// A finished image.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished<W> {
    /// Where each node's inode is, by [`NodeId`].
    pub nids: Vec<Nid>,
    /// Image offset of the metadata: inodes, shared attributes, directories. Before it is only file data, apart from
    /// the superblock in block 0.
    pub meta_start: u64,
    /// Size of the image.
    pub image_size: u64,
    /// Number of inodes.
    pub inode_count: u64,
    /// The output, with everything handed to it; not synced.
    pub output: W,
}

impl<W: ImageOutput> ImageWriter<W> {
    /// Starts an image. `spill` is scratch space, used once more than 4 MiB of file tails wait for their inodes.
    pub fn new(out: W, spill: impl Spill + 'static) -> Self {
        Self { sink: Sink::new(out), tails: Tails::new(Box::new(spill)), open: None }
    }

    /// Begins a file of exactly `size` bytes.
    pub fn begin_file(&mut self, size: u64) -> Result<(), Error> {
        self.expect_closed("begin_file")?;
        if size > FILE_MAX {
            return Err(Error::FileTooLarge { size });
        }
        let rest = size % BLOCK_SIZE;
        let tail = (1..=INLINE_TAIL_MAX).contains(&rest).then(|| self.tails.len());
        let body = if tail.is_some() { size - rest } else { size };
        let first = self.sink.reserve(body)?;
        let stored = Stored::Flat { first: (body > 0).then_some(first), tail };
        self.open = Some(OpenFile {
            data: FileData { size, stored },
            announced: size,
            received: 0,
            body,
            pieces: Vec::new(),
            padding: 0,
        });
        Ok(())
    }

    /// Begins a file of `size` bytes of which only `segments` hold data: ascending and without overlap. The bytes of
    /// all segments follow, one segment after the other.
    pub fn begin_sparse(&mut self, size: u64, segments: &[Segment]) -> Result<(), Error> {
        self.expect_closed("begin_sparse")?;
        let segments = sparse::checked(size, segments)?;
        let announced = segments.iter().map(|s| s.len).sum();
        if announced == size {
            return self.begin_file(size);
        }
        let first = self.sink.reserve(0)?;
        let plan = sparse::plan(size, &segments, first)?;
        let zeros: u64 = plan.pieces.iter().map(|&(zeros, _)| zeros).sum();
        self.sink.reserve(announced + zeros + plan.padding)?;
        let mut pieces = plan.pieces;
        pieces.reverse();
        self.open = Some(OpenFile {
            data: FileData { size, stored: Stored::Chunked(plan.chunks) },
            announced,
            received: 0,
            body: 0,
            pieces,
            padding: plan.padding,
        });
        Ok(())
    }

    /// Takes the next bytes of the file that was begun.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let open = self.open.as_mut().ok_or(Error::OutOfOrder { call: "write", state: "no file is open" })?;
        let received = open.received.saturating_add(bytes.len() as u64);
        if received > open.announced {
            return Err(Error::TooManyBytes { announced: open.announced, received });
        }
        if matches!(open.data.stored, Stored::Flat { .. }) {
            let body = (open.body.saturating_sub(open.received)).min(bytes.len() as u64) as usize;
            self.sink.append(&bytes[..body])?;
            self.tails.append(&bytes[body..])?;
        } else {
            let mut bytes = bytes;
            while let Some((zeros, left)) = open.pieces.last_mut().filter(|_| !bytes.is_empty()) {
                self.sink.zeros(std::mem::take(zeros))?;
                let n = (*left).min(bytes.len() as u64);
                self.sink.append(&bytes[..n as usize])?;
                bytes = &bytes[n as usize..];
                *left -= n;
                if *left == 0 {
                    open.pieces.pop();
                }
            }
        }
        open.received = received;
        Ok(())
    }

    /// Ends the file, which must have got all its bytes. When it has not, it stays open.
    pub fn end_file(&mut self) -> Result<FileData, Error> {
        let open =
            self.open.take().ok_or(Error::OutOfOrder { call: "end_file", state: "no file is open" })?;
        if open.received < open.announced {
            let error = Error::TooFewBytes { announced: open.announced, received: open.received };
            self.open = Some(open);
            return Err(error);
        }
        self.sink.zeros(open.padding)?;
        self.sink.pad_to_block()?;
        Ok(open.data)
    }

    /// Gives up the file that was begun. The blocks that it already has stay in the image, unused.
    pub fn abort_file(&mut self) -> Result<(), Error> {
        self.open = None;
        self.sink.pad_to_block()
    }

    /// Bytes of the image so far.
    pub fn position(&self) -> u64 {
        self.sink.pos
    }

    /// Writes the tree and the superblock.
    pub fn finish(mut self, mut tree: Tree, options: FinishOptions) -> Result<Finished<W>, Error> {
        self.expect_closed("finish")?;
        let nlinks = tree::prepare(&mut tree)?;
        let xattrs = xattr::Shared::collect(&tree)?;
        let layout = layout::Layout::plan(&tree, &nlinks, &xattrs, self.sink.pos)?;
        emit::emit(&mut self.sink, &mut self.tails, &tree, &xattrs, &layout, options)?;
        Ok(Finished {
            nids: layout.inodes.iter().map(|inode| inode.nid()).collect(),
            meta_start: layout.meta_start,
            image_size: layout.image_size,
            inode_count: tree.nodes.len() as u64,
            output: self.sink.out,
        })
    }

    fn expect_closed(&self, call: &'static str) -> Result<(), Error> {
        match self.open {
            Some(_) => Err(Error::OutOfOrder { call, state: "a file is open" }),
            None => Ok(()),
        }
    }
}
