//! Windows data formats, in pure Rust and without Windows: what a container layer carries beside names and data.
//!
//! # The parts of a Windows file
//!
//! A file of NTFS is more than its bytes. What a layer must keep, and where this crate reads and writes it:
//!
//! | part | binary form | module |
//! |---|---|---|
//! | four times, attributes | FILE_BASIC_INFO | [`basic_info`], [`time`], [`attributes`] |
//! | owner and access | self-relative security descriptor | [`security`], as text: [`sddl`] |
//! | extended attributes | FILE_FULL_EA_INFORMATION | [`ea`] |
//! | links, junctions, placeholders | REPARSE_DATA_BUFFER | [`reparse`] |
//! | the name, any 16-bit units, compared without case | UTF-16 | [`wide`], [`name`] |
//! | all of these and the data in one sequence of bytes | Win32 backup stream | [`backup`] |
//!
//! The registry, which a layer has as files of another kind, is in [`hive`].
//!
//! A layer's tar carries these parts as PAX records; [`tar`] maps between the two:
//!
//! ```text
//!   MSWINDOWS.fileattr, LIBARCHIVE.creationtime, mtime … ─┐                     ┌─ BasicInfo
//!   MSWINDOWS.rawsd | MSWINDOWS.sd ────────────────────────┤   WindowsRecords    ├─ security descriptor
//!   MSWINDOWS.xattr.* ─────────────────────────────────────┼──────────────────►──┼─ EAs
//!   link name, MSWINDOWS.mountpoint ───────────────────────┘   WindowsMetadata   └─ ReparsePoint
//! ```
//!
//! # Example
//!
//! ```
//! use layerstone_nt::tar::{EntryKind, TarFacts, WindowsRecords};
//! use layerstone_nt::time::UnixTime;
//!
//! let records: [(&[u8], &[u8]); 2] =
//!     [(b"MSWINDOWS.fileattr", b"32"), (b"LIBARCHIVE.creationtime", b"1577836800.1234567")];
//! let entry = TarFacts { kind: EntryKind::File, mtime: UnixTime::from_seconds(1_577_836_800), ..TarFacts::default() };
//! let read = WindowsRecords::parse(records, &entry)?;
//! assert_eq!(read.metadata.basic.creation.0, 132_223_104_001_234_567);
//! assert_eq!(read.metadata.basic.attributes.to_string(), "A");
//! # Ok::<(), layerstone_nt::Error>(())
//! ```
//!
//! # Rules
//!
//! - Every parser is total: outside bytes give a value or an [`Error`] that names structure, byte, what was expected and
//!   what is there. Nothing is allocated on the word of a length field.
//! - Bytes that must survive are kept by the caller. Parsing gives meaning, encoding gives one canonical layout, and the
//!   modules say where the two may differ.
//! - Formats are those of Microsoft's open specifications, [MS-DTYP] and [MS-FSCC]; the tar form is that of Microsoft's go-winio,
//!   whose recorded answers the tests compare with.
//!
//! [MS-DTYP]: https://learn.microsoft.com/openspecs/windows_protocols/ms-dtyp/
//! [MS-FSCC]: https://learn.microsoft.com/openspecs/windows_protocols/ms-fscc/

#![forbid(unsafe_code)]

pub mod attributes;
pub mod backup;
pub mod basic_info;
mod bytes;
pub mod ea;
mod error;
mod guid;
pub mod hive;
pub mod name;
pub mod reparse;
pub mod sddl;
pub mod security;
pub mod tar;
pub mod time;
pub mod wide;

pub use attributes::FileAttributes;
pub use basic_info::BasicInfo;
pub use ea::Ea;
pub use error::{Error, Result};
pub use name::{FoldedName, NameProblem};
pub use reparse::{ReparseData, ReparsePoint, ReparseTag};
pub use security::{SecurityDescriptor, Sid};
pub use tar::{WindowsMetadata, WindowsRecords};
pub use time::{FileTime, UnixTime};
pub use wide::WideString;
