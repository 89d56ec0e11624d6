//! What can go wrong, and where in the file.

use thiserror::Error;

/// Why a hive, or a part of it, could not be read or written.
///
/// Positions count bytes from the start of the file, so that a hex editor finds them; a cell's own number, as fields of the
/// format hold it, is 4096 less.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not begin as a hive does.
    #[error("not a registry hive: expected \"regf\" at byte 0, found {found:02x?}")]
    NotAHive {
        /// The first bytes, as many as are there.
        found: Vec<u8>,
    },
    /// The file is too short for what every hive has.
    #[error("the hive ends too early: {what} needs {needed} bytes, the file has {available}")]
    TooShort {
        /// The part that does not fit.
        what: &'static str,
        /// How long a file has to be for it.
        needed: usize,
        /// How long this one is.
        available: usize,
    },
    /// A version of the format that this module does not read or write.
    #[error("hive version {major}.{minor} is not supported: 1.3 to 1.6 are")]
    UnsupportedVersion {
        /// The major version.
        major: u32,
        /// The minor version.
        minor: u32,
    },
    /// A base block of something else than a primary file: of a transaction log.
    #[error("the base block is not that of a hive: expected type 0, found {found}")]
    NotPrimary {
        /// The type field.
        found: u32,
    },
    /// A cell lies outside the hive bins.
    #[error("{what} at byte {position} is outside the hive bins, which end at byte {end}")]
    CellOutside {
        /// What the cell should have held.
        what: &'static str,
        /// Where it would be.
        position: u64,
        /// Where the hive bins end.
        end: u64,
    },
    /// A cell whose size field cannot be right.
    #[error("the cell of {what} at byte {position} has size {size}: at least 8 bytes, up to byte {end}")]
    CellSize {
        /// What the cell should have held.
        what: &'static str,
        /// Where it is.
        position: u64,
        /// The size field without its sign.
        size: u32,
        /// Where the hive bins end.
        end: u64,
    },
    /// A reference to a cell that is marked as free.
    #[error("{what} at byte {position} is in a cell that is marked free")]
    CellFree {
        /// What the cell should have held.
        what: &'static str,
        /// Where it is.
        position: u64,
    },
    /// A cell that holds something else.
    #[error("{what} at byte {position}: expected the signature {expected:?}, found {found:02x?}")]
    Signature {
        /// What the cell should have held.
        what: &'static str,
        /// Where its content starts.
        position: u64,
        /// The signature that belongs there.
        expected: &'static str,
        /// What is there.
        found: [u8; 2],
    },
    /// A cell that is too small for what it says it holds.
    #[error("{what} at byte {position} needs {needed} bytes, its cell has {available}")]
    Truncated {
        /// What the cell holds.
        what: &'static str,
        /// Where its content starts.
        position: u64,
        /// The bytes needed.
        needed: usize,
        /// The bytes there.
        available: usize,
    },
    /// A field with a value that the format forbids.
    #[error("{what} at byte {position}: expected {expected}, found {found}")]
    Field {
        /// The field.
        what: &'static str,
        /// Where it is.
        position: u64,
        /// What the format allows.
        expected: &'static str,
        /// What is there.
        found: u64,
    },
    /// A key further down than Windows allows.
    #[error("the key at byte {position} is more than {limit} levels below the root")]
    TooDeep {
        /// The key's position.
        position: u64,
        /// The deepest level.
        limit: u16,
    },
    /// More elements than the hive has room for, which means that lists are used more than once.
    #[error("the {what} at byte {position} bring the count above {limit}, for which this hive is too small")]
    TooMany {
        /// Which elements.
        what: &'static str,
        /// The list or key where the limit was passed.
        position: u64,
        /// The limit that follows from the size of the hive.
        limit: usize,
    },
    /// A key that was met before: the keys are no tree.
    #[error("the key at byte {position} is below more than one key, or below itself")]
    KeyShared {
        /// The key's position.
        position: u64,
    },
    /// A security descriptor that is none.
    #[error("the security descriptor at byte {position} is malformed: {reason}")]
    Security {
        /// Its position.
        position: u64,
        /// What is wrong with it.
        reason: Box<crate::Error>,
    },
    /// A name that a hive cannot have.
    #[error("{what} {name:?} cannot be written: {reason}")]
    Name {
        /// Key or value.
        what: &'static str,
        /// The name.
        name: String,
        /// What stands in the way.
        reason: NameProblem,
    },
    /// Something that does not fit into the format.
    #[error("{what} of {found} does not fit: the limit is {limit}")]
    TooLarge {
        /// What was to be written.
        what: &'static str,
        /// The largest that the format allows.
        limit: u64,
        /// The size asked for.
        found: u64,
    },
    /// Layered keys in a version that has none.
    #[error("key {key:?} has layered-key marks, which version 1.{minor} of the format cannot hold")]
    LayeredVersion {
        /// The key.
        key: String,
        /// The minor version asked for.
        minor: u32,
    },
    /// A stack of hives that cannot be merged.
    #[error("{found} hives in a stack: 1 to {limit} are possible")]
    StackSize {
        /// Hives given.
        found: usize,
        /// The largest stack.
        limit: usize,
    },
}

/// Why a name of a key or value cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// Only a default value has no name.
    #[error("it is empty")]
    Empty,
    /// The separator of paths.
    #[error("it has a backslash in it")]
    Backslash,
    /// Longer than Windows takes.
    #[error("it has {units} UTF-16 units, {limit} are allowed")]
    TooLong {
        /// Its length.
        units: usize,
        /// The limit.
        limit: usize,
    },
    /// The same name twice, in any case.
    #[error("another one beside it has the same name")]
    Duplicate,
}

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
