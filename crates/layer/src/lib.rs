//! Container image layers as streams of entries.
//!
//! A layer says what changed against the layers below it. It travels as a tar archive ([`tar`]), goes to and comes
//! from Windows as a folder ([`transport`]), is kept as an image file with a [`split`] stream beside it, and is looked at as
//! a tree ([`tree`] for one layer, [`merge`] for a chain).
//! Every format is a way to read or write the one model in [`entry`], so a conversion is a source and a sink:
//!
//! ```text
//! tar ─► TarReader ─► Mapper ─► Entry ─► LayerTree ─► image
//! image, scratch ─► LayerView ─► Merged ─► diff ─► Entry ─► TarWriter ─► tar
//! transport folder ─► TransportReader ─► Entry ─► TransportWriter ─► transport folder
//! ```
//!
//! What is unusual about a layer is never dropped: it is an error, or a [`report::Finding`] with a count.

#![forbid(unsafe_code)]

pub mod diff;
pub mod encode;
pub mod entry;
pub mod merge;
pub mod path;
pub mod report;
pub mod split;
pub mod tar;
pub mod transport;
pub mod tree;
pub mod view;

pub use entry::{Entry, EntryKind, Metadata, Os, Xattr};
pub use layerstone_nt::UnixTime;
pub use path::LayerPath;
pub use report::{Finding, Report};
