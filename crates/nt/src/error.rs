use thiserror::Error;

/// What is wrong with the bytes or the text, where, and what would have been right.
///
/// Positions count bytes from the start of the structure that was handed to the parser (for SDDL and PAX values:
/// bytes of the text).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ends inside a structure.
    #[error(
        "{structure} ends too early: at byte {position}, {needed} more bytes are needed, {available} are there"
    )]
    Truncated {
        /// The structure that was read.
        structure: &'static str,
        /// Where the missing part starts.
        position: usize,
        /// Bytes needed from there.
        needed: usize,
        /// Bytes available from there.
        available: usize,
    },
    /// A field holds a value that the format forbids.
    #[error("{structure} is malformed at byte {position}: expected {expected}, found {found}")]
    Malformed {
        /// The structure that was read.
        structure: &'static str,
        /// Where the field starts.
        position: usize,
        /// What the format allows there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A value does not fit the field or limit that the format gives it.
    #[error("{what} is too long: the limit is {limit}, found {found}")]
    TooLong {
        /// What was to be written.
        what: &'static str,
        /// The largest size that the format allows.
        limit: usize,
        /// The size that was asked for.
        found: usize,
    },
    /// A point in time that a FILETIME cannot hold (before 1601 or after 30828).
    #[error("{seconds}.{nanoseconds:09} s since 1970 is outside the range of a FILETIME")]
    TimeOutOfRange {
        /// Seconds since 1970.
        seconds: i64,
        /// Nanoseconds, counted forward from `seconds`.
        nanoseconds: u32,
    },
    /// SDDL text that stands for a SID of a machine or domain, which a layer on its own does not have.
    #[error("SDDL alias {alias} at byte {position} needs the SID of a domain; none was given")]
    NeedsDomain {
        /// The two-letter alias.
        alias: String,
        /// Where it stands in the text.
        position: usize,
    },
    /// SDDL text with a part that this crate does not interpret (conditional expressions, resource attributes).
    #[error(
        "SDDL at byte {position}: {feature} is not supported; pass the binary security descriptor instead"
    )]
    UnsupportedSddl {
        /// Where the part stands in the text.
        position: usize,
        /// The feature's name.
        feature: &'static str,
    },
    /// A tar record whose value cannot be used.
    #[error("record {key}: {reason}")]
    Record {
        /// The record's key.
        key: String,
        /// What is wrong with its value.
        reason: Box<Error>,
    },
    /// Something that the form it is to be written in has no place for.
    #[error("{what} cannot be expressed in {form}: {detail}")]
    NotRepresentable {
        /// The kind of thing.
        what: &'static str,
        /// The form: a layer tar, SDDL.
        form: &'static str,
        /// Which one, and why.
        detail: String,
    },
}

impl Error {
    pub(crate) fn malformed(
        structure: &'static str,
        position: usize,
        expected: &'static str,
        found: impl ToString,
    ) -> Self {
        Self::Malformed { structure, position, expected, found: found.to_string() }
    }

    pub(crate) fn in_record(self, key: &str) -> Self {
        Self::Record { key: key.to_owned(), reason: Box::new(self) }
    }
}

/// The result of this crate's parsers and encoders.
pub type Result<T, E = Error> = std::result::Result<T, E>;
