//! The reader: total on any bytes, and usable from several threads through `&self`.
//!
//! Nothing is cached and nothing is believed: each call reads the structures that it needs, checks every offset
//! against the image, and allocates no more than a small multiple of bytes that the image really has.

mod check;
mod data;
mod dir;
mod inode;
mod source;
mod xattr;

pub use check::CheckReport;
pub use data::Extent;
pub use dir::DirEntry;
pub use inode::{Inode, Layout};
pub use source::ReadAt;

use zerocopy::FromBytes;

use crate::format::{
    BLOCK_BITS, BLOCK_SIZE, COMPAT_SB_CHKSUM, INCOMPAT_SUPPORTED, MAGIC, NID_SIZE, SUPER_OFFSET, SuperBlock,
    superblock_checksum,
};
use crate::{Error, FileType, Nid};

/// An image that is being read.
#[derive(Debug)]
pub struct Image<R> {
    input: R,
    size: u64,
    meta_start: u64,
    shared_start: u64,
    root: Nid,
    inode_count: u64,
    build_time: (i64, u32),
    uuid: [u8; 16],
}

impl<R: ReadAt> Image<R> {
    /// Reads and checks the superblock.
    pub fn open(input: R) -> Result<Self, Error> {
        const AT: u64 = SUPER_OFFSET as u64;
        let file_size = input.size().map_err(|source| Error::Input {
            structure: "image size",
            offset: 0,
            len: 0,
            source,
        })?;
        let mut block = [0; BLOCK_SIZE as usize];
        read_exact(&input, file_size, "superblock", 0, &mut block)?;
        let raw = SuperBlock::read_from_prefix(&block[SUPER_OFFSET..])
            .map(|(raw, _)| raw)
            .map_err(|_| corrupt("superblock", "length", AT, 0u8, "128 bytes"))?;

        if raw.magic.get() != MAGIC {
            return Err(corrupt("superblock", "magic", AT, raw.magic.get(), "0xe0f5e1e2"));
        }
        let unsupported =
            |feature, found| Error::Unsupported { structure: "superblock", feature, offset: AT, found };
        if raw.blkszbits != BLOCK_BITS {
            return Err(unsupported("a block size other than 4 KiB", raw.blkszbits.into()));
        }
        let checked = raw.feature_compat.get() & COMPAT_SB_CHKSUM != 0;
        if checked && raw.checksum.get() != superblock_checksum(&block) {
            return Err(corrupt("superblock", "checksum", AT, raw.checksum.get(), "the CRC-32C of block 0"));
        }
        let unknown = raw.feature_incompat.get() & !INCOMPAT_SUPPORTED;
        if unknown != 0 {
            return Err(unsupported("compression, several devices or an unknown feature", unknown.into()));
        }
        if raw.dirblkbits != 0 {
            return Err(unsupported("directory blocks other than 4 KiB", raw.dirblkbits.into()));
        }
        let build_time_nsec = raw.build_time_nsec.get();
        if build_time_nsec >= 1_000_000_000 {
            return Err(corrupt("superblock", "build_time_nsec", AT, build_time_nsec, "below 1,000,000,000"));
        }
        let size = u64::from(raw.blocks.get()) * BLOCK_SIZE;
        if size > file_size {
            return Err(Error::OutOfBounds {
                structure: "end of the image",
                offset: size,
                len: 0,
                image_size: file_size,
            });
        }
        let start = |block: u32, field| match u64::from(block) * BLOCK_SIZE {
            start if start <= size => Ok(start),
            _ => Err(corrupt("superblock", field, AT, block, "a block of the image")),
        };
        Ok(Self {
            size,
            meta_start: start(raw.meta_blkaddr.get(), "meta_blkaddr")?,
            shared_start: start(raw.xattr_blkaddr.get(), "xattr_blkaddr")?,
            root: Nid(raw.root_nid.get().into()),
            inode_count: raw.inos.get(),
            build_time: (raw.build_time.get() as i64, build_time_nsec),
            uuid: raw.uuid,
            input,
        })
    }

    /// The root directory.
    pub fn root(&self) -> Nid {
        self.root
    }

    /// Image offset of node number 0. In images of this crate everything from here on is metadata.
    pub fn meta_start(&self) -> u64 {
        self.meta_start
    }

    /// Size of the image as its superblock tells it.
    pub fn image_size(&self) -> u64 {
        self.size
    }

    /// Number of inodes as the superblock tells it: a claim, not a count.
    pub fn inode_count(&self) -> u64 {
        self.inode_count
    }

    /// Identity of the volume.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The input.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// The input, and no image any more.
    pub fn into_input(self) -> R {
        self.input
    }

    /// The inode at the end of a path from the root. Slashes at the ends and in a row do not matter; symbolic links
    /// are not followed. `None` when a component does not exist or is no directory.
    pub fn resolve(&self, path: &[u8]) -> Result<Option<Nid>, Error> {
        let mut at = self.root;
        for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            let inode = self.inode(at)?;
            if inode.file_type() != FileType::Directory {
                return Ok(None);
            }
            match self.lookup(&inode, name)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn read(&self, structure: &'static str, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        read_exact(&self.input, self.size, structure, offset, buf)
    }

    /// Bytes of the image, allocated only once they are known to be inside.
    fn read_vec(&self, structure: &'static str, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
        self.inside(structure, offset, len)?;
        let len = usize::try_from(len).map_err(|_| self.outside(structure, offset, len))?;
        let mut bytes = vec![0; len];
        self.read(structure, offset, &mut bytes)?;
        Ok(bytes)
    }

    fn inside(&self, structure: &'static str, offset: u64, len: u64) -> Result<(), Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(self.outside(structure, offset, len)),
        }
    }

    fn outside(&self, structure: &'static str, offset: u64, len: u64) -> Error {
        Error::OutOfBounds { structure, offset, len, image_size: self.size }
    }

    fn inode_offset(&self, nid: Nid) -> Result<u64, Error> {
        nid.0
            .checked_mul(NID_SIZE)
            .and_then(|offset| offset.checked_add(self.meta_start))
            .ok_or_else(|| self.outside("inode", u64::MAX, 0))
    }
}

fn read_exact(
    input: &impl ReadAt,
    size: u64,
    structure: &'static str,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), Error> {
    let len = buf.len();
    if offset.checked_add(len as u64).is_none_or(|end| end > size) {
        return Err(Error::OutOfBounds { structure, offset, len: len as u64, image_size: size });
    }
    input.read_exact_at(buf, offset).map_err(|source| Error::Input { structure, offset, len, source })
}

fn corrupt(
    structure: &'static str,
    field: &'static str,
    offset: u64,
    found: impl Into<u64>,
    expected: &'static str,
) -> Error {
    Error::Corrupt { structure, field, offset, found: found.into(), expected }
}
