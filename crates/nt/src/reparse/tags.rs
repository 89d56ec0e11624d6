use std::fmt;

/// A reparse tag ([MS-FSCC] 2.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReparseTag(pub u32);

macro_rules! tags {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        impl ReparseTag {
            $(#[doc = $doc] pub const $name: Self = Self($value);)*

            const TABLE: &[(Self, &str)] = &[$((Self::$name, stringify!($name))),*];
        }
    };
}

tags! {
    MOUNT_POINT = 0xA000_0003, "Junction or mounted volume.";
    SYMLINK = 0xA000_000C, "Symbolic link.";
    HSM = 0xC000_0004, "Hierarchical storage management, obsolete.";
    HSM2 = 0x8000_0006, "Hierarchical storage management, obsolete.";
    SIS = 0x8000_0007, "Single instance storage.";
    WIM = 0x8000_0008, "File of a mounted WIM.";
    CSV = 0x8000_0009, "Cluster shared volume.";
    DFS = 0x8000_000A, "Distributed file system.";
    DFSR = 0x8000_0012, "Distributed file system replication.";
    DEDUP = 0x8000_0013, "Deduplicated file.";
    NFS = 0x8000_0014, "NFS special file.";
    FILE_PLACEHOLDER = 0x8000_0015, "Placeholder, obsolete.";
    WOF = 0x8000_0017, "Windows overlay filter: compressed system file.";
    WCI = 0x8000_0018, "Windows container isolation: placeholder of a layer's file.";
    WCI_1 = 0x9000_1018, "Windows container isolation: newer directory placeholder.";
    GLOBAL_REPARSE = 0xA000_0019, "Named pipe forwarding into a silo.";
    CLOUD = 0x9000_001A, "Cloud files; the digit before the last three tells the kind.";
    CLOUD_1 = 0x9000_101A, "Cloud files.";
    CLOUD_2 = 0x9000_201A, "Cloud files.";
    CLOUD_3 = 0x9000_301A, "Cloud files.";
    CLOUD_4 = 0x9000_401A, "Cloud files.";
    CLOUD_5 = 0x9000_501A, "Cloud files.";
    CLOUD_6 = 0x9000_601A, "Cloud files.";
    CLOUD_7 = 0x9000_701A, "Cloud files.";
    CLOUD_8 = 0x9000_801A, "Cloud files.";
    CLOUD_9 = 0x9000_901A, "Cloud files.";
    CLOUD_A = 0x9000_A01A, "Cloud files.";
    CLOUD_B = 0x9000_B01A, "Cloud files.";
    CLOUD_C = 0x9000_C01A, "Cloud files.";
    CLOUD_D = 0x9000_D01A, "Cloud files.";
    CLOUD_E = 0x9000_E01A, "Cloud files.";
    CLOUD_F = 0x9000_F01A, "Cloud files.";
    APPEXECLINK = 0x8000_001B, "Alias of a packaged application.";
    PROJFS = 0x9000_001C, "Projected file system.";
    LX_SYMLINK = 0xA000_001D, "Symbolic link made in WSL.";
    STORAGE_SYNC = 0x8000_001E, "Azure File Sync.";
    STORAGE_SYNC_FOLDER = 0x9000_0027, "Azure File Sync folder.";
    WCI_TOMBSTONE = 0xA000_001F, "Windows container isolation: deletion marker.";
    UNHANDLED = 0x8000_0020, "Windows container isolation: left to the filter below.";
    ONEDRIVE = 0x8000_0021, "OneDrive, obsolete.";
    PROJFS_TOMBSTONE = 0xA000_0022, "Projected file system: deletion marker.";
    AF_UNIX = 0x8000_0023, "Unix domain socket.";
    LX_FIFO = 0x8000_0024, "WSL named pipe.";
    LX_CHR = 0x8000_0025, "WSL character device.";
    LX_BLK = 0x8000_0026, "WSL block device.";
    WCI_LINK = 0xA000_0027, "Windows container isolation: hard link bookkeeping.";
    WCI_LINK_1 = 0xA000_1027, "Windows container isolation: hard link bookkeeping.";
}

impl ReparseTag {
    /// Whether the tag is Microsoft's: others carry a GUID.
    pub const fn is_microsoft(self) -> bool {
        self.0 & 0x8000_0000 != 0
    }

    /// Whether the file stands for another named object (links, mount points).
    pub const fn is_name_surrogate(self) -> bool {
        self.0 & 0x2000_0000 != 0
    }

    /// Whether a directory with this tag may have children.
    pub const fn is_directory(self) -> bool {
        self.0 & 0x1000_0000 != 0
    }

    /// Whether this is one of the sixteen tags of cloud files.
    pub const fn is_cloud(self) -> bool {
        self.0 & !0xF000 == Self::CLOUD.0
    }

    /// Whether this is one of the two tags that this crate takes apart and that a layer tar can hold.
    pub(super) fn is_link(self) -> bool {
        self == Self::SYMLINK || self == Self::MOUNT_POINT
    }

    /// The name without `IO_REPARSE_TAG_`.
    pub fn name(self) -> Option<&'static str> {
        Self::TABLE.iter().find(|(tag, _)| *tag == self).map(|&(_, name)| name)
    }
}

impl fmt::Display for ReparseTag {
    /// Name and value, or the value alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#010x})", self.0),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}
