//! What a transport folder does not hold, for whoever asked for one.

use layerstone_nt::BasicInfo;

use crate::entry::Entry;
use crate::path::LayerPath;
use crate::report::Report;

/// Where an entry went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Into the folder.
    Staged,
    /// Into the [`Outcome`]: hard links, whiteouts, opaque markers.
    Deferred,
    /// Back to the caller, with its bytes, and into [`Outcome::utility_vm`].
    HandedBack,
    /// Nowhere; the report counts it. Its bytes, if any, are still to be given, and go nowhere either.
    LeftOut,
}

/// What is left to do after a folder was written and imported, and what there is to tell.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Links to be made in the imported layer, in this order, each replacing what is there.
    pub hard_links: Vec<HardLink>,
    /// Paths that the layer removes, without those that it also adds. In the HCS style they are in `tombstones.txt`; in the hcsshim
    /// style the caller removes them from the imported layer.
    pub tombstones: Vec<LayerPath>,
    /// Directories of which nothing may show that parent layers have in them. A transport folder has no word for it but a
    /// tombstone for each name that the parents have there: the caller, who knows the parents, has to find them.
    pub opaque: Vec<LayerPath>,
    /// The times of directories, which making links and removing paths changes: to be set again at the end, in
    /// reverse order.
    pub directories: Vec<DirectoryTimes>,
    /// Entries of `UtilityVM` that were handed back, alternate streams, links and whiteouts included, in their order.
    pub utility_vm: Vec<Entry>,
    /// Which of the five delta hives are not there.
    pub missing_hives: Vec<&'static str>,
    /// What was written.
    pub counts: Counts,
    /// What was unusual, or is not as the entries said.
    pub report: Report,
}

/// A hard link to be made in the imported layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HardLink {
    /// The new name.
    pub name: LayerPath,
    /// The name that the file has.
    pub target: LayerPath,
    /// Whether this layer has the target. If not, it is in the nearest parent that has it.
    pub target_in_layer: bool,
}

/// The times and attributes of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DirectoryTimes {
    /// The directory.
    pub path: LayerPath,
    /// Its times and attributes.
    pub basic: BasicInfo,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files and links that are no directories.
    pub files: u64,
    /// Directories that have an entry.
    pub directories: u64,
    /// Alternate data streams.
    pub streams: u64,
    /// Hard links, which are in the outcome.
    pub hard_links: u64,
    /// Bytes of content.
    pub bytes: u64,
}
