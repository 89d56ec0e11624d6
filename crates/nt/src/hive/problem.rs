//! What [`check`](super::Hive::check) finds.

use thiserror::Error as ThisError;

use super::error::Error;

/// Something in a hive that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("byte {position}: {kind}")]
pub struct Problem {
    /// Where in the file.
    pub position: u64,
    /// What it is.
    pub kind: ProblemKind,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The base block's checksum.
    #[error("the checksum of the base block is {found:#010x} instead of {expected:#010x}")]
    Checksum {
        /// The right one.
        expected: u32,
        /// The one in the file.
        found: u32,
    },
    /// A write to the hive did not end; the rest of it is in the logs.
    #[error("the hive is dirty: sequence numbers {primary} and {secondary}")]
    Dirty {
        /// The one raised before a write.
        primary: u32,
        /// The one raised after it.
        secondary: u32,
    },
    /// The file ends before the bins do.
    #[error("the file lacks {bytes} bytes of the hive bins")]
    Missing {
        /// How many.
        bytes: u64,
    },
    /// No bin where one has to begin.
    #[error("expected a hive bin, found {found:02x?}")]
    BinSignature {
        /// What is there.
        found: [u8; 4],
    },
    /// A bin that says it is elsewhere.
    #[error("the hive bin says it is at {found:#x} instead of {expected:#x}")]
    BinOffset {
        /// Where it is.
        expected: u32,
        /// Where it says it is.
        found: u32,
    },
    /// A bin of an impossible size.
    #[error("the hive bin has a size of {found}: not a multiple of 4096, or behind the end")]
    BinSize {
        /// Its size.
        found: u32,
    },
    /// A cell that does not fit between its neighbours. What follows in the bin is not looked at.
    #[error("a cell of size {found}: not a multiple of 8, or more than the {left} bytes left in the bin")]
    CellSize {
        /// The size field; negative in use.
        found: i32,
        /// What its bin has left.
        left: u32,
    },
    /// A reference that leads into the middle of a cell, or nowhere.
    #[error("{what} is referred to, but no cell starts here")]
    NotACell {
        /// What should be there.
        what: &'static str,
    },
    /// Something that two things refer to as their own.
    #[error("the cell of {what} is in use by something else as well")]
    Shared {
        /// What the second reference takes it for.
        what: &'static str,
    },
    /// A part that cannot be read.
    #[error("{0}")]
    Unreadable(Error),
    /// A key without a name.
    #[error("a key has no name")]
    EmptyName,
    /// A key that no path leads to.
    #[error("the name of the key {name:?} has a backslash")]
    Backslash {
        /// Its name.
        name: String,
    },
    /// UTF-16 of an odd number of bytes.
    #[error("a name ends in half a character")]
    OddName,
    /// A key that should not have been written.
    #[error("a volatile key is in the file")]
    Volatile,
    /// A count that differs from the list.
    #[error("the key counts {expected} subkeys, its list has {found}")]
    SubkeyCount {
        /// The key's count.
        expected: u64,
        /// The list's.
        found: u64,
    },
    /// A key that says that it is below another one.
    #[error("the key says it is below the key at {found:#x}, it is below {expected:#x}")]
    Parent {
        /// The cell of the key that it is below.
        expected: u32,
        /// The cell that it names.
        found: u32,
    },
    /// A hash of another name.
    #[error(
        "the hash of the key's name is {found:#010x} instead of {expected:#010x}: Windows will not find it"
    )]
    Hash {
        /// The right one.
        expected: u32,
        /// The one in the list.
        found: u32,
    },
    /// The first letters of another name.
    #[error("the list has {found:02x?} for the key's name instead of {expected:02x?}")]
    NameHint {
        /// The right ones.
        expected: [u8; 4],
        /// Those in the list.
        found: [u8; 4],
    },
    /// A list that is not sorted.
    #[error("the key is listed behind a greater name: Windows may not find it")]
    Order,
    /// Two keys of the same name.
    #[error("the key {name:?} is there twice")]
    DuplicateKey {
        /// The name of the second.
        name: String,
    },
    /// Two values of the same name.
    #[error("the value {name:?} is there twice")]
    DuplicateValue {
        /// The name of the second.
        name: String,
    },
    /// A security descriptor that counts its keys wrongly.
    #[error("the security descriptor counts {found} keys, {expected} refer to it")]
    SecurityCount {
        /// The keys that there are.
        expected: u32,
        /// The count.
        found: u32,
    },
    /// A break in the ring of security descriptors.
    #[error("the next security descriptor, at {next:#x}, does not point back here")]
    SecurityRing {
        /// The cell named as the next one.
        next: u32,
    },
}
