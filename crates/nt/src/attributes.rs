//! FILE_ATTRIBUTE_* ([MS-FSCC] 2.6).

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// The attribute bits of a file ([MS-FSCC] 2.6). Unknown bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileAttributes(pub u32);

macro_rules! attributes {
    ($($name:ident = $value:literal, $letter:literal, $doc:literal;)*) => {
        impl FileAttributes {
            $(#[doc = $doc] pub const $name: Self = Self($value);)*

            /// Every attribute with a name: value, the letter of [`Display`](fmt::Display), name without `FILE_ATTRIBUTE_`.
            const TABLE: &[(Self, char, &str)] = &[$((Self::$name, $letter, stringify!($name))),*];
        }
    };
}

attributes! {
    READONLY = 0x1, 'R', "The file cannot be written.";
    HIDDEN = 0x2, 'H', "Left out of ordinary listings.";
    SYSTEM = 0x4, 'S', "Part of the operating system.";
    DIRECTORY = 0x10, 'D', "A directory.";
    ARCHIVE = 0x20, 'A', "Changed since the last backup; what ordinary files have.";
    DEVICE = 0x40, 'V', "Reserved.";
    NORMAL = 0x80, 'N', "No other attribute is set; valid only alone.";
    TEMPORARY = 0x100, 'T', "Short-lived data.";
    SPARSE_FILE = 0x200, 'P', "Has unallocated ranges.";
    REPARSE_POINT = 0x400, 'L', "Has a reparse point.";
    COMPRESSED = 0x800, 'C', "Compressed by NTFS.";
    OFFLINE = 0x1000, 'O', "Data are not at hand.";
    NOT_CONTENT_INDEXED = 0x2000, 'I', "Not to be indexed.";
    ENCRYPTED = 0x4000, 'E', "Encrypted by EFS.";
    INTEGRITY_STREAM = 0x8000, 'J', "ReFS integrity.";
    VIRTUAL = 0x1_0000, 'Q', "Reserved.";
    NO_SCRUB_DATA = 0x2_0000, 'X', "Left out by the integrity scanner.";
    RECALL_ON_OPEN = 0x4_0000, 'G', "Virtual until opened (also: has EAs, in some listings).";
    PINNED = 0x8_0000, 'K', "To be kept on the machine.";
    UNPINNED = 0x10_0000, 'U', "May leave the machine.";
    RECALL_ON_DATA_ACCESS = 0x40_0000, 'M', "Data are fetched when read.";
}

impl FileAttributes {
    /// No attribute at all: what Microsoft's reader gives a file without `MSWINDOWS.fileattr`.
    pub const NONE: Self = Self(0);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the directory bit is set.
    pub const fn is_directory(self) -> bool {
        self.contains(Self::DIRECTORY)
    }

    /// Whether the reparse point bit is set.
    pub const fn is_reparse_point(self) -> bool {
        self.contains(Self::REPARSE_POINT)
    }

    /// The names of the set bits, without `FILE_ATTRIBUTE_`, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::TABLE.iter().filter(move |(bit, ..)| self.contains(*bit)).map(|&(.., name)| name)
    }

    /// The set bits that have no name.
    pub fn unknown(self) -> Self {
        Self::TABLE.iter().fold(self, |rest, &(bit, ..)| rest & !bit)
    }
}

impl fmt::Display for FileAttributes {
    /// One letter per bit, `R H S D A` first as `attrib` and Explorer show them; `-` for none; unknown bits as `+0x…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: String = Self::TABLE
            .iter()
            .filter(|(bit, ..)| self.contains(*bit))
            .map(|&(_, letter, _)| letter)
            .collect();
        let unknown = self.unknown();
        match (letters.is_empty(), unknown.0) {
            (true, 0) => f.pad("-"),
            (_, 0) => f.pad(&letters),
            (_, rest) => f.pad(&format!("{letters}+{rest:#x}")),
        }
    }
}

impl BitOr for FileAttributes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for FileAttributes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for FileAttributes {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for FileAttributes {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_show_as_letters_and_names() {
        assert_eq!(FileAttributes(0x27).to_string(), "RHSA");
        assert_eq!(FileAttributes(0x410).to_string(), "DL");
        assert_eq!(FileAttributes(0).to_string(), "-");
        assert_eq!(FileAttributes(0x8000_0020).to_string(), "A+0x80000000");
        assert_eq!(FileAttributes(0x2020).names().collect::<Vec<_>>(), ["ARCHIVE", "NOT_CONTENT_INDEXED"]);
    }
}
