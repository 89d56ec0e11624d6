//! Registry hives: the files that the Windows registry is kept in ("regf"), and what layers make of them.
//!
//! # The format
//!
//! ```text
//!  0     base block: version, sequence numbers, root key, checksum              base_block
//!  4096  bins, multiples of 4096 bytes, divided into cells                      cell
//!          nk key ──► list of subkeys (li lf lh, or ri of these) ──► nk ...     key, subkeys
//!             ├─────► list of values ──► vk value ──► data                      value
//!             │                                └────► db ──► segments           big_data
//!             ├─────► sk security descriptor, shared                            security
//!             └─────► class name
//!  end   padding
//! ```
//!
//! Cells are named by their offset from byte 4096. Positions in errors and problems are those in the file. Microsoft has not
//! published the format; the descriptions followed are Maxim Suhanov's ("Windows registry file format specification") and Joachim
//! Metz's ("Windows NT Registry File (REGF) format").
//!
//! # Reading
//!
//! ```
//! use layerstone_nt::hive::{Content, Hive, HiveWriter, KeyTree, ValueTree, ValueType, Version};
//!
//! let mut root = KeyTree::root("ROOT");
//! let mut version = KeyTree::new("CurrentVersion");
//! version.values.push(ValueTree::text("ProductName", ValueType::Sz, "Windows"));
//! root.subkeys.push(version);
//! let bytes = HiveWriter::new(Version::V1_5).write(&root)?;
//!
//! let hive = Hive::open(bytes)?;
//! let key = hive.key(r"currentversion")?.expect("names are compared without case");
//! let value = key.value("PRODUCTNAME")?.expect("those of values as well");
//! assert_eq!(value.content()?, Content::Text("Windows".into()));
//! assert!(hive.check().is_clean());
//! # Ok::<(), layerstone_nt::hive::Error>(())
//! ```
//!
//! - [`Hive::open`] takes damaged hives. Each part is read when it is asked for, and an error there leaves the rest usable;
//!   [`Hive::check`] looks at everything and lists what is wrong.
//! - A hive that was in use when it was copied is dirty. [`recover`] applies its transaction logs.
//! - Nothing loops or grows without bound, whatever the bytes: [`Hive::walk`] gives each key once, paths end at level 512, and
//!   no memory is taken on the word of a size field.
//!
//! # Layers
//!
//! A layer above the base carries the changes of each of the five hives ([`SystemHive`]) as a hive with layered keys. [`Merged`]
//! shows what they make together; its module says by which rules. [`HiveWriter::empty_delta`] makes the hive of a layer that changes
//! nothing.

mod base_block;
mod big_data;
mod cell;
mod check;
mod content;
mod error;
mod key;
mod layered;
mod log;
mod marvin;
pub mod merge;
mod merged_walk;
mod name;
mod names;
mod open;
mod problem;
mod recover;
mod security;
mod subkeys;
mod tree;
mod value;
mod walk;
mod write;

pub use base_block::{BASE_BLOCK, BaseBlock, Version};
pub use big_data::SEGMENT;
pub use cell::NO_CELL;
pub use check::{Check, MAX_PROBLEMS};
pub use content::Content;
pub use error::{Error, NameProblem, Result};
pub use key::{Key, KeyFlags, MAX_DEPTH, Subkeys, Values};
pub use layered::{Layer, LayerSemantics};
pub use log::Unused;
pub use merge::{HiveError, Merged, MergedKey, MergedValue};
pub use merged_walk::MergedWalk;
pub use name::{MAX_KEY_NAME, MAX_VALUE_NAME, Name};
pub use names::{CONFIG_DIRECTORY, HIVES_DIRECTORY, SystemHive};
pub use open::Hive;
pub use problem::{Problem, ProblemKind};
pub use recover::{Applied, Recovered, recover};
pub use tree::{KeyTree, ValueTree};
pub use value::{Value, ValueType};
pub use walk::Walk;
pub use write::HiveWriter;
