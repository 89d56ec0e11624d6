//! The layouts on disk, as the Linux kernel's `fs/erofs/erofs_fs.h` declares them.
//!
//! Every structure is little-endian and has no padding; the field names are the kernel's without their prefixes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the superblock starts in the image (`EROFS_SUPER_OFFSET`).
pub const SUPER_OFFSET: usize = 1024;
/// `EROFS_SUPER_MAGIC_V1`.
pub const MAGIC: u32 = 0xE0F5_E1E2;
/// log2 of the only block size this crate writes and reads.
pub const BLOCK_BITS: u8 = 12;
/// The block size.
pub const BLOCK_SIZE: u64 = 1 << BLOCK_BITS;
/// The unit of node numbers: an inode starts at `meta_start + nid * 32`.
pub const NID_SIZE: u64 = 32;
/// "No block": a hole in a chunk map, or a file without blocks (`EROFS_NULL_ADDR`).
pub const NULL_ADDR: u32 = u32::MAX;

/// The superblock carries a checksum (`EROFS_FEATURE_COMPAT_SB_CHKSUM`).
pub const COMPAT_SB_CHKSUM: u32 = 0x1;
/// Inode times are modification times (`EROFS_FEATURE_COMPAT_MTIME`).
pub const COMPAT_MTIME: u32 = 0x2;
/// Compressed data is padded in front; means nothing to an image without compression.
pub const INCOMPAT_ZERO_PADDING: u32 = 0x1;
/// Some inodes are chunk-based (`EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`).
pub const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
/// What the reader understands.
pub const INCOMPAT_SUPPORTED: u32 = INCOMPAT_ZERO_PADDING | INCOMPAT_CHUNKED_FILE;

/// `struct erofs_super_block`, 128 bytes at [`SUPER_OFFSET`].
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SuperBlock {
    /// [`MAGIC`].
    pub magic: U32,
    /// CRC-32C of the rest of block 0 from [`SUPER_OFFSET`] on, this field as zero, without the final inversion.
    pub checksum: U32,
    /// Features that a reader may ignore.
    pub feature_compat: U32,
    /// log2 of the block size.
    pub blkszbits: u8,
    /// Extra superblock bytes, in units of 16.
    pub sb_extslots: u8,
    /// Node number of the root directory.
    pub root_nid: U16,
    /// Number of inodes.
    pub inos: U64,
    /// The time of every compact inode, in seconds.
    pub build_time: U64,
    /// Its nanoseconds.
    pub build_time_nsec: U32,
    /// Image size in blocks.
    pub blocks: U32,
    /// First block of the inodes: node number 0.
    pub meta_blkaddr: U32,
    /// First block of the shared extended attributes.
    pub xattr_blkaddr: U32,
    /// Identity of the volume.
    pub uuid: [u8; 16],
    /// Label, ended by NUL.
    pub volume_name: [u8; 16],
    /// Features that a reader must know.
    pub feature_incompat: U32,
    /// Compression algorithms in use.
    pub available_compr_algs: U16,
    /// Number of further devices.
    pub extra_devices: U16,
    /// Where their table starts.
    pub devt_slotoff: U16,
    /// log2 of directory block size over block size.
    pub dirblkbits: u8,
    /// Number of long attribute name prefixes.
    pub xattr_prefix_count: u8,
    /// Where they start.
    pub xattr_prefix_start: U32,
    /// Node number of the packed inode.
    pub packed_nid: U64,
    /// Not used here.
    pub reserved: [u8; 24],
}

/// Bits of `i_format`: bit 0 the inode's version, bits 1 to 3 the data layout.
pub const FORMAT_EXTENDED: u16 = 1;
/// Shift of the data layout in `i_format`.
pub const FORMAT_LAYOUT_SHIFT: u16 = 1;
/// Mask of the data layout once shifted.
pub const FORMAT_LAYOUT_MASK: u16 = 7;
/// All bits of `i_format` that have a meaning here.
pub const FORMAT_ALL: u16 = 0xF;

/// All data in consecutive blocks (`EROFS_INODE_FLAT_PLAIN`).
pub const LAYOUT_FLAT_PLAIN: u16 = 0;
/// Whole blocks apart, the rest behind inode and attributes (`EROFS_INODE_FLAT_INLINE`).
pub const LAYOUT_FLAT_INLINE: u16 = 2;
/// A table of equal chunks behind inode and attributes (`EROFS_INODE_CHUNK_BASED`).
pub const LAYOUT_CHUNK_BASED: u16 = 4;

/// Bits of a chunk format: log2 of blocks in a chunk.
pub const CHUNK_BLKBITS_MASK: u16 = 0x1F;
/// The table has 8-byte [`ChunkIndex`] entries instead of 4-byte block addresses.
pub const CHUNK_INDEXES: u16 = 0x20;

/// `struct erofs_inode_compact`, 32 bytes; its time is the superblock's `build_time`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeCompact {
    /// See [`FORMAT_EXTENDED`].
    pub format: U16,
    /// Size of the attributes behind the inode: 0, or 12 + (n - 1) * 4 bytes.
    pub xattr_icount: U16,
    /// Type and permissions.
    pub mode: U16,
    /// Number of names.
    pub nlink: U16,
    /// Size in bytes.
    pub size: U32,
    /// Zero.
    pub reserved: U32,
    /// First block, device number, or chunk format.
    pub u: U32,
    /// Inode number for 32-bit `stat`.
    pub ino: U32,
    /// Owner.
    pub uid: U16,
    /// Group.
    pub gid: U16,
    /// Zero.
    pub reserved2: U32,
}

/// `struct erofs_inode_extended`, 64 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeExtended {
    /// See [`FORMAT_EXTENDED`].
    pub format: U16,
    /// Size of the attributes behind the inode: 0, or 12 + (n - 1) * 4 bytes.
    pub xattr_icount: U16,
    /// Type and permissions.
    pub mode: U16,
    /// Zero.
    pub reserved: U16,
    /// Size in bytes.
    pub size: U64,
    /// First block, device number, or chunk format.
    pub u: U32,
    /// Inode number for 32-bit `stat`.
    pub ino: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Modification time, seconds since 1970, two's complement.
    pub mtime: U64,
    /// Its nanoseconds.
    pub mtime_nsec: U32,
    /// Number of names.
    pub nlink: U32,
    /// Zero.
    pub reserved2: [u8; 16],
}

/// `struct erofs_xattr_ibody_header`: in front of the attributes of an inode, followed by `shared_count` ids of shared
/// attributes (32 bits each, in units of 4 bytes from the start of the shared area), then by the inline ones.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct XattrBodyHeader {
    /// Bloom filter of names; zero when the feature is off.
    pub name_filter: U32,
    /// Number of shared ids.
    pub shared_count: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// `struct erofs_xattr_entry`: followed by name (without prefix) and value, padded to 4 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct XattrEntry {
    /// Length of the name without its prefix.
    pub name_len: u8,
    /// Number of the prefix, see [`XATTR_PREFIXES`].
    pub name_index: u8,
    /// Length of the value.
    pub value_size: U16,
}

/// Prefixes of attribute names and their numbers. The two ACLs are whole names: nothing may follow them.
pub const XATTR_PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// `struct erofs_inode_chunk_index`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ChunkIndex {
    /// Zero.
    pub advise: U16,
    /// Device that holds the chunk; 0 is the image itself.
    pub device_id: U16,
    /// First block, or [`NULL_ADDR`].
    pub blkaddr: U32,
}

/// `struct erofs_dirent`: a directory block starts with these, sorted by name; the names follow, without terminators.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Dirent {
    /// Node number.
    pub nid: U64,
    /// Start of the name within the block. The first one also tells how many entries the block has.
    pub nameoff: U16,
    /// See [`crate::FileType`].
    pub file_type: u8,
    /// Zero.
    pub reserved: u8,
}

/// Size of a [`Dirent`].
pub const DIRENT_SIZE: usize = size_of::<Dirent>();

/// Longest name in a directory (`EROFS_NAME_LEN`).
pub const NAME_MAX: usize = 255;
/// Longest full name of an attribute (Linux `XATTR_NAME_MAX`).
pub const XATTR_NAME_MAX: usize = 255;
/// Longest value of an attribute (`e_value_size` has 16 bits).
pub const XATTR_VALUE_MAX: usize = u16::MAX as usize;
/// Largest attribute body behind an inode (`i_xattr_icount` has 16 bits).
pub const XATTR_BODY_MAX: u64 = 12 + 4 * (u16::MAX as u64 - 1);
/// Most shared attributes of one inode (`h_shared_count` has 8 bits).
pub const XATTR_SHARED_MAX: usize = u8::MAX as usize;
/// Longest target of a symbolic link (Linux `PATH_MAX` without the terminator).
pub const SYMLINK_MAX: usize = 4095;
/// Largest file (Linux `loff_t`).
pub const FILE_MAX: u64 = i64::MAX as u64;
/// Largest device numbers (the kernel's `new_encode_dev`).
pub const MAJOR_MAX: u32 = 0xFFF;
/// See [`MAJOR_MAX`].
pub const MINOR_MAX: u32 = 0xF_FFFF;

/// Mask of the type in a mode.
pub const S_IFMT: u16 = 0o170000;
/// Socket.
pub const S_IFSOCK: u16 = 0o140000;
/// Symbolic link.
pub const S_IFLNK: u16 = 0o120000;
/// Regular file.
pub const S_IFREG: u16 = 0o100000;
/// Block device.
pub const S_IFBLK: u16 = 0o060000;
/// Directory.
pub const S_IFDIR: u16 = 0o040000;
/// Character device.
pub const S_IFCHR: u16 = 0o020000;
/// Fifo.
pub const S_IFIFO: u16 = 0o010000;

/// The checksum of a superblock: `block0` from [`SUPER_OFFSET`] on, its checksum field taken as zero. The kernel does
/// not invert the result at the end, so this is the complement of the usual CRC-32C.
pub fn superblock_checksum(block0: &[u8]) -> u32 {
    let area = block0.get(SUPER_OFFSET..).unwrap_or_default();
    let (head, tail) = area.split_at(area.len().min(8));
    let crc = crc32c::crc32c(head.get(..4).unwrap_or_default());
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    !crc32c::crc32c_append(crc, tail)
}

/// A device number as the kernel's `new_encode_dev` packs it.
pub fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xFF) | (major << 8) | ((minor & !0xFF) << 12)
}

/// The inverse of [`encode_device`].
pub fn decode_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xF_FF00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_the_kernel_checks() {
        assert_eq!(size_of::<SuperBlock>(), 128);
        assert_eq!(size_of::<InodeCompact>(), 32);
        assert_eq!(size_of::<InodeExtended>(), 64);
        assert_eq!(size_of::<XattrBodyHeader>(), 12);
        assert_eq!(size_of::<XattrEntry>(), 4);
        assert_eq!(size_of::<ChunkIndex>(), 8);
        assert_eq!(size_of::<Dirent>(), 12);
    }

    #[test]
    fn device_numbers_survive_the_kernels_encoding() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (8, 256), (MAJOR_MAX, MINOR_MAX)] {
            assert_eq!(decode_device(encode_device(major, minor)), (major, minor));
        }
    }
}
