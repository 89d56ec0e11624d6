use std::fmt;

use crate::error::Error;
use crate::time::UnixTime;

/// Something unusual about an entry that does not stop it from being read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The entry has no time of this kind; it is "not set" in the metadata.
    TimeAbsent {
        /// `atime` or `ctime`.
        key: &'static str,
    },
    /// The time is the nonsense that Microsoft's writer makes of FILETIME 0; it is "not set" in the metadata.
    TimeWrapped {
        /// The record's key.
        key: &'static str,
    },
    /// No FILETIME can hold the time; it is "not set" in the metadata.
    TimeOutOfRange {
        /// The record's key.
        key: &'static str,
        /// The time.
        time: UnixTime,
    },
    /// The time has digits below 100 ns; the metadata hold it rounded down.
    TimeRounded {
        /// The record's key.
        key: &'static str,
    },
    /// The time's nanoseconds are the modification time's, written without leading zeroes (5 ns as `.5`), as BuildKit does; the
    /// metadata hold the modification time.
    TimeUnpadded {
        /// The record's key.
        key: &'static str,
    },
    /// Both forms of the descriptor are there; the raw one was taken.
    SddlIgnored,
    /// The raw descriptor is kept but is not one that Windows takes.
    InvalidSecurityDescriptor(Error),
    /// A directory whose attributes lack FILE_ATTRIBUTE_DIRECTORY.
    DirectoryBitMissing,
    /// An entry that is no directory and no link, whose attributes have FILE_ATTRIBUTE_DIRECTORY.
    DirectoryBitUnexpected,
    /// A link whose attributes, which are there, lack FILE_ATTRIBUTE_REPARSE_POINT.
    ReparseBitMissing,
    /// FILE_ATTRIBUTE_REPARSE_POINT on an entry that is no link: whatever the point held was lost on the way.
    ReparseBitUnexpected,
    /// `MSWINDOWS.mountpoint` on an entry that is no link; Microsoft's reader passes over it.
    MountPointIgnored,
    /// The link's target is not UTF-8; what is not became U+FFFD, as in Microsoft's reader.
    LinkNameNotUtf8,
    /// The extended attributes are kept but are more than NTFS takes.
    EasOverNtfs(Error),
    /// A record of Microsoft's name space that nobody reads.
    UnknownRecord {
        /// Its key.
        key: String,
    },
    /// Writing: the flags of an extended attribute have no place in a tar.
    EaFlagsLost {
        /// The attribute's name.
        name: String,
        /// Its flags.
        flags: u8,
    },
    /// Writing: the target was taken from the substitute name, as the print name is empty; reading gives another buffer.
    SubstituteNameTaken,
    /// Writing: a tar has the print name only; from it reading makes another substitute name, or other flags, than these.
    SubstituteNameRebuilt,
    /// Writing: the creation time is not set, and a tar without one reads as created when last written.
    CreationNotSet,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeAbsent { key } => write!(f, "no {key}: left as not set"),
            Self::TimeWrapped { key } => write!(f, "{key} is a wrapped zero: read as not set"),
            Self::TimeOutOfRange { key, time } => write!(f, "{key} {time} fits no FILETIME: read as not set"),
            Self::TimeRounded { key } => write!(f, "{key} has digits below 100 ns: rounded down"),
            Self::TimeUnpadded { key } => {
                write!(f, "{key} lacks the zeroes of its fraction: taken from the modification time")
            }
            Self::SddlIgnored => f.write_str("MSWINDOWS.sd is ignored, as MSWINDOWS.rawsd is there"),
            Self::InvalidSecurityDescriptor(error) => write!(f, "MSWINDOWS.rawsd: {error}"),
            Self::DirectoryBitMissing => f.write_str("a directory without the directory attribute"),
            Self::DirectoryBitUnexpected => f.write_str("the directory attribute on an entry that is none"),
            Self::ReparseBitMissing => f.write_str("a link without the reparse point attribute"),
            Self::ReparseBitUnexpected => {
                f.write_str("the reparse point attribute on an entry that is no link")
            }
            Self::MountPointIgnored => f.write_str("MSWINDOWS.mountpoint on an entry that is no link"),
            Self::LinkNameNotUtf8 => f.write_str("the link's target is not UTF-8"),
            Self::EasOverNtfs(error) => write!(f, "NTFS would not take the attributes: {error}"),
            Self::UnknownRecord { key } => write!(f, "unknown record {key}"),
            Self::EaFlagsLost { name, flags } => {
                write!(f, "flags {flags:#04x} of the attribute {name} are lost")
            }
            Self::SubstituteNameRebuilt => {
                f.write_str("the substitute name is not what reading makes of the print name")
            }
            Self::CreationNotSet => f.write_str("no creation time: reads as the time of the last write"),
            Self::SubstituteNameTaken => {
                f.write_str("no print name: the substitute name was taken as target")
            }
        }
    }
}
