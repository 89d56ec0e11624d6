//! Inodes.

use super::{Image, ReadAt, corrupt};
use crate::format::{
    BLOCK_BITS, BLOCK_SIZE, CHUNK_BLKBITS_MASK, CHUNK_INDEXES, FILE_MAX, FORMAT_ALL, FORMAT_EXTENDED,
    FORMAT_LAYOUT_MASK, FORMAT_LAYOUT_SHIFT, InodeCompact, InodeExtended, LAYOUT_CHUNK_BASED,
    LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN, NULL_ADDR, SYMLINK_MAX, decode_device,
};
use crate::{Error, FileType, Nid};

/// An inode, checked: what [`layout`](Self::layout) says lies inside the image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inode {
    /// Its number.
    pub nid: Nid,
    /// Type and permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nsec: u32,
    /// Number of names.
    pub nlink: u32,
    /// Size in bytes.
    pub size: u64,
    /// Major and minor number of a device; zeros for everything else.
    pub rdev: (u32, u32),
    /// Where the content is.
    pub layout: Layout,
    pub(super) file_type: FileType,
    pub(super) xattr_offset: u64,
    pub(super) xattr_size: u64,
}

/// Where the content of an inode is. Offsets are bytes of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Nowhere: no content, or a file that is one hole.
    None,
    /// In one piece.
    Flat {
        /// Where it starts.
        start: u64,
    },
    /// Whole blocks in one piece, the rest behind the inode.
    Inline {
        /// Where the blocks start; they may be none.
        start: u64,
        /// Where the rest is.
        tail: u64,
    },
    /// In chunks.
    Chunks {
        /// Where the map of chunks is.
        map: u64,
        /// log2 of the size of a chunk in bytes.
        bits: u8,
        /// Size of an entry of the map: 4 or 8 bytes.
        entry_size: u8,
    },
}

impl Inode {
    /// The type.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    pub(super) fn expect(&self, expected: FileType) -> Result<(), Error> {
        if self.file_type == expected {
            Ok(())
        } else {
            Err(Error::WrongType { nid: self.nid, found: self.file_type, expected })
        }
    }
}

/// The fields of both versions of an inode.
struct Raw {
    len: u64,
    xattr_icount: u16,
    mode: u16,
    size: u64,
    u: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    nlink: u32,
}

impl<R: ReadAt> Image<R> {
    /// Reads an inode. Any number may be asked for; what is no inode gives an error or, if its bytes happen to look
    /// like one, an inode that is safe to use.
    pub fn inode(&self, nid: Nid) -> Result<Inode, Error> {
        let offset = self.inode_offset(nid)?;
        let bad = |field, found: u64, expected| corrupt("inode", field, offset, found, expected);
        let mut bytes = [0; size_of::<InodeExtended>()];
        // The last inode of an image may be a compact one.
        let available = self.size.saturating_sub(offset).clamp(32, 64) as usize;
        self.read("inode", offset, &mut bytes[..available])?;

        let format = u16::from_le_bytes([bytes[0], bytes[1]]);
        if format & !FORMAT_ALL != 0 {
            return Err(bad("i_format", format.into(), "no bits above the lowest four"));
        }
        let raw = if format & FORMAT_EXTENDED == 0 {
            self.compact(&bytes)
        } else {
            self.inside("inode", offset, 64)?;
            extended(&bytes)
        };
        let file_type = FileType::from_mode(raw.mode)
            .ok_or_else(|| bad("i_mode", raw.mode.into(), "a mode with one of the seven file types"))?;
        if raw.mtime.1 >= 1_000_000_000 {
            return Err(bad("i_mtime_nsec", raw.mtime.1.into(), "below 1,000,000,000"));
        }
        if raw.size > FILE_MAX {
            return Err(bad("i_size", raw.size, "at most 2^63 - 1"));
        }
        let xattr_offset = offset + raw.len;
        let xattr_size = match raw.xattr_icount {
            0 => 0,
            n => 12 + 4 * (u64::from(n) - 1),
        };
        self.inside("extended attributes of an inode", xattr_offset, xattr_size)?;

        let data_layout = (format >> FORMAT_LAYOUT_SHIFT) & FORMAT_LAYOUT_MASK;
        let layout = match file_type {
            FileType::Regular | FileType::Directory | FileType::Symlink => {
                let place = Placement {
                    offset,
                    behind: xattr_offset + xattr_size,
                    size: raw.size,
                    u: raw.u,
                    file_type,
                };
                self.layout(data_layout, place)?
            }
            _ => Layout::None,
        };
        if file_type == FileType::Symlink && !(1..=SYMLINK_MAX as u64).contains(&raw.size) {
            return Err(bad("i_size", raw.size, "1 to 4095 bytes for a symbolic link"));
        }
        let device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        Ok(Inode {
            nid,
            mode: raw.mode,
            uid: raw.uid,
            gid: raw.gid,
            mtime: raw.mtime.0,
            mtime_nsec: raw.mtime.1,
            nlink: raw.nlink,
            size: raw.size,
            rdev: if device { decode_device(raw.u) } else { (0, 0) },
            layout,
            file_type,
            xattr_offset,
            xattr_size,
        })
    }

    fn compact(&self, bytes: &[u8; 64]) -> Raw {
        let raw: InodeCompact = zerocopy::transmute!(*bytes.first_chunk::<32>().unwrap_or(&[0; 32]));
        Raw {
            len: 32,
            xattr_icount: raw.xattr_icount.get(),
            mode: raw.mode.get(),
            size: raw.size.get().into(),
            u: raw.u.get(),
            uid: raw.uid.get().into(),
            gid: raw.gid.get().into(),
            mtime: self.build_time,
            nlink: raw.nlink.get().into(),
        }
    }

    fn layout(&self, data_layout: u16, place: Placement) -> Result<Layout, Error> {
        let Placement { offset, behind, size, u, file_type } = place;
        let start = u64::from(u) * BLOCK_SIZE;
        let within = match file_type {
            FileType::Directory => "directory",
            FileType::Symlink => "symbolic link",
            _ => "file",
        };
        match data_layout {
            LAYOUT_FLAT_PLAIN if size == 0 => Ok(Layout::None),
            LAYOUT_FLAT_PLAIN if u == NULL_ADDR && file_type == FileType::Regular => Ok(Layout::None),
            LAYOUT_FLAT_PLAIN => {
                self.inside(within, start, size)?;
                Ok(Layout::Flat { start })
            }
            LAYOUT_FLAT_INLINE => {
                let tail = size % BLOCK_SIZE;
                let whole = size - tail;
                if whole > 0 {
                    self.inside(within, start, whole)?;
                }
                self.inside("tail of an inode", behind, tail)?;
                if behind % BLOCK_SIZE + tail > BLOCK_SIZE {
                    return Err(corrupt("inode", "tail", offset, tail, "a tail within one block"));
                }
                Ok(Layout::Inline { start: if whole > 0 { start } else { 0 }, tail: behind })
            }
            LAYOUT_CHUNK_BASED if file_type == FileType::Regular => {
                let format = u as u16;
                if format & !(CHUNK_BLKBITS_MASK | CHUNK_INDEXES) != 0 {
                    return Err(corrupt(
                        "inode",
                        "chunk format",
                        offset,
                        format,
                        "no bits above the lowest six",
                    ));
                }
                let bits = (format & CHUNK_BLKBITS_MASK) as u8 + BLOCK_BITS;
                let entry_size = if format & CHUNK_INDEXES != 0 { 8 } else { 4 };
                let map = behind.next_multiple_of(entry_size.into());
                let entries = size.div_ceil(1 << bits);
                self.inside("chunk map", map, entries.saturating_mul(entry_size.into()))?;
                Ok(Layout::Chunks { map, bits, entry_size })
            }
            LAYOUT_CHUNK_BASED => Err(Error::Unsupported {
                structure: "inode",
                feature: "chunks for something other than a file",
                offset,
                found: data_layout.into(),
            }),
            _ => Err(Error::Unsupported {
                structure: "inode",
                feature: "a compressed or unknown data layout",
                offset,
                found: data_layout.into(),
            }),
        }
    }
}

/// What the place of content follows from.
struct Placement {
    offset: u64,
    behind: u64,
    size: u64,
    u: u32,
    file_type: FileType,
}

fn extended(bytes: &[u8; 64]) -> Raw {
    let raw: InodeExtended = zerocopy::transmute!(*bytes);
    Raw {
        len: 64,
        xattr_icount: raw.xattr_icount.get(),
        mode: raw.mode.get(),
        size: raw.size.get(),
        u: raw.u.get(),
        uid: raw.uid.get(),
        gid: raw.gid.get(),
        mtime: (raw.mtime.get() as i64, raw.mtime_nsec.get()),
        nlink: raw.nlink.get(),
    }
}
