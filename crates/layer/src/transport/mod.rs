//! The transport folder: the form in which Windows takes and gives a layer (`HcsImportLayer`, `HcsExportLayer`, and
//! vmcompute's `ImportLayer`, `ExportLayer`). Read and written on any system.
//!
//! # The folder
//!
//! Files of the layer are not files here but *blobs* that describe them, so that no privilege is needed to make the folder:
//!
//! ```text
//! Files\                    a directory for each directory of the layer
//! Files.$wcidirs$           what describes Files
//! Files\d\  Files\d.$wcidirs$
//! Files\d\a.txt             blob
//! Hives\  Hives.$wcidirs$
//! Hives\System_Delta        registry hives: plain files; five of them
//! tombstones.txt            removed paths: byte order mark, `Version 1.0`, then `\d\gone`, relative to Files
//! UtilityVM\                see below
//!
//! blob, *.$wcidirs$  =  u32 attributes | Win32 backup stream (security, EAs, reparse point, data, alternate data)
//! ```
//!
//! A blob's own times are the times of what it describes. A directory that is a reparse point has its description only,
//! until everything is written; then an empty directory is made for it. Rules: hcsshim's `legacyLayerWriter` and
//! `legacyLayerReader`, whose recorded answers the tests compare with.
//!
//! # Writing
//!
//! [`TransportWriter`] takes entries in the order of a layer tar, and the bytes of each behind it:
//!
//! ```no_run
//! # use layerstone_layer::transport::{TransportWriter, WriteOptions};
//! # use layerstone_layer::Entry;
//! # fn entries() -> Vec<(Entry, Vec<u8>)> { Vec::new() }
//! let mut writer = TransportWriter::create("staging/1".as_ref(), WriteOptions::hcs())?;
//! for (entry, bytes) in entries() {
//!     writer.entry(&entry)?;
//!     writer.data(&bytes)?; // in any pieces
//! }
//! let outcome = writer.finish()?;
//! for link in &outcome.hard_links { /* after the import: make link.name a name of link.target */ }
//! # Ok::<(), layerstone_layer::transport::Error>(())
//! ```
//!
//! What the folder cannot hold comes back in the [`Outcome`]: hard links, opaque markers, the times of directories, entries
//! of the utility VM where that is asked for. Parents without an entry are made, and counted. Names are compared as NTFS
//! compares them, also on Linux; for that all names of the layer are kept in memory, and nothing else is.
//!
//! # Reading
//!
//! [`TransportReader`] gives a directory, then what was removed in it, then what is in it, by the bytes of the names:
//!
//! ```no_run
//! # use layerstone_layer::transport::{ReadOptions, TransportReader};
//! let mut reader = TransportReader::open("export/1".as_ref(), ReadOptions::strict())?;
//! let mut buffer = vec![0; 64 << 10];
//! while let Some(entry) = reader.next_entry()? {
//!     while reader.read_data(&mut buffer)? > 0 { /* the bytes of a file or stream */ }
//! }
//! # Ok::<(), layerstone_layer::transport::Error>(())
//! ```
//!
//! The folder of a *base* layer has the files themselves in it. [`ReadOptions::base_layer`] reads `Files` and `UtilityVM\Files` of one, and
//! leaves out what Windows keeps beside them: `Hives`, `layout`, the disks, `bcd*.bak`. What only Windows tells of a plain file
//! (descriptor, EAs, streams) is not read.
//!
//! [`copy_to_tar`] and [`copy_from_tar`] turn a folder into a layer tar and back.
//!
//! Links and devices in a folder are errors, and no link is followed. All the same a folder is private to whoever works on it: names
//! are looked up by path, so nobody else may exchange directories meanwhile. A path must fit the host (on Linux 4,096 bytes).
//!
//! # Where this differs from hcsshim
//!
//! - Sparse files in several ranges, alternate streams on directories and on files without data, EAs behind the data, and
//!   tombstones in a directory that has no entry: theirs fail or lose them, ours keep them.
//! - `Files` and `Hives` get attributes and descriptor from their `.$wcidirs$`, which theirs does not look at. Their
//!   times are those of `System_Delta`, as there.
//! - A path that the layer both removes and adds: theirs removes it, ours keeps it, as OCI wants it.
//! - `UtilityVM`: plain files, as there, unless there is `UtilityVM\Files.$wcidirs$`: then blobs, as [`UtilityVm::Staged`]
//!   writes them.
//! - Entries outside of the three trees are written as blobs and read as plain files, both as there; so they do not survive. They
//!   are counted.
//!
//! # Times
//!
//! | | written | read |
//! |---|---|---|
//! | last write, last access | set | as they are |
//! | creation | Windows only | elsewhere: the last write |
//! | change | with [`WriteOptions::set_times`] only | with [`ReadOptions::basic_info`] only; else not set |
//!
//! Outside of `Files` creation and access are the last write, as in hcsshim's reader. An entry without creation or access time is
//! written with its last write for it, so that nothing depends on when the folder is made.

mod blob;
mod copy;
mod error;
mod host;
mod names;
mod open;
mod outcome;
mod read;
mod stage;
mod tombstones;
mod visit;
mod walk;
mod windows_part;
mod write;

pub use copy::{CopyError, HandedBack, copy_from_tar, copy_from_tar_with, copy_to_tar};
pub use error::{BadName, Error, TombstoneProblem};
pub use outcome::{Counts, DirectoryTimes, HardLink, Outcome, Placement};
pub use read::{ReadOptions, TransportReader};
pub use walk::find_ignoring_case;
pub use write::{Style, TransportWriter, UtilityVm, WriteOptions};

use std::fs::File;
use std::io;

use layerstone_nt::BasicInfo;

use crate::path::LayerPath;

/// The file tree.
pub const FILES: &str = "Files";
/// The registry hives.
pub const HIVES: &str = "Hives";
/// The utility VM.
pub const UTILITY_VM: &str = "UtilityVM";
/// What is behind the name of a directory in the name of its description.
pub const SIDECAR: &str = ".$wcidirs$";
/// The list of removed paths.
pub const TOMBSTONES: &str = "tombstones.txt";
/// The registry hives of a layer that is not a base layer.
pub const HIVE_DELTAS: [&str; 5] =
    ["DefaultUser_Delta", "Sam_Delta", "Security_Delta", "Software_Delta", "System_Delta"];

/// Sets all four times of a file (attributes stay): for programs that can call `SetFileInformationByHandle`.
pub type SetTimes = fn(&File, &BasicInfo) -> io::Result<()>;
/// Tells times and attributes of a file or directory: for programs that can call `GetFileInformationByHandleEx`.
pub type GetBasicInfo = fn(&File) -> io::Result<BasicInfo>;

/// Where in a layer a path is. The names are compared without case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Root,
    Files,
    InFiles,
    Hives,
    InHives,
    UtilityVm,
    UtilityVmFiles,
    InUtilityVmFiles,
    /// In UtilityVM, not in its Files.
    UtilityVmOther,
    Elsewhere,
}

impl Area {
    fn of(path: &LayerPath) -> Self {
        let mut components = path.components();
        let Some(first) = components.next() else { return Area::Root };
        let is = |name: &[u8], what: &str| name.eq_ignore_ascii_case(what.as_bytes());
        let second = components.next();
        if is(first, FILES) {
            if second.is_some() { Area::InFiles } else { Area::Files }
        } else if is(first, HIVES) {
            if second.is_some() { Area::InHives } else { Area::Hives }
        } else if is(first, UTILITY_VM) {
            match (second, components.next()) {
                (None, _) => Area::UtilityVm,
                (Some(name), None) if is(name, FILES) => Area::UtilityVmFiles,
                (Some(name), Some(_)) if is(name, FILES) => Area::InUtilityVmFiles,
                _ => Area::UtilityVmOther,
            }
        } else {
            Area::Elsewhere
        }
    }
}

/// The spelling of the names that the format fixes: the three trees, and `Files` in `UtilityVM`.
fn canonical<'a>(parent: &LayerPath, name: &'a [u8]) -> &'a [u8] {
    match Area::of(&parent.join(name)) {
        Area::Files | Area::UtilityVmFiles => FILES.as_bytes(),
        Area::Hives => HIVES.as_bytes(),
        Area::UtilityVm => UTILITY_VM.as_bytes(),
        _ => name,
    }
}
