//! What an import has to tell: everything that was not plain, named and counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many examples of each finding are kept.
const EXAMPLES: usize = 8;

/// Kinds of findings. Whatever is named here is *kept*: the bytes of the archive are in the split stream in any case,
/// so a finding says how the attached view differs from what a reader of the tar might have expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// A name started with `/`; it was taken relative to the root.
    AbsoluteName,
    /// A name held `..`; it was resolved inside the root.
    DotDotName,
    /// A directory was needed by an entry below it but has none of its own.
    ImplicitDirectory,
    /// A later entry replaced an earlier one of the same name.
    Duplicate,
    /// A file, link or device stood where an entry needs a directory, and was replaced by one.
    ReplacedByDirectory,
    /// An entry was reached through a symbolic link of the same layer.
    ThroughSymlink,
    /// A directory that only exists because of its children covers a symbolic link of a parent layer.
    CoversParentSymlink,
    /// A hard link whose target is nowhere; it is not in the view.
    MissingLinkTarget,
    /// A hard link to a directory, or to itself; it is not in the view.
    ImpossibleLink,
    /// A hard link into a parent layer: the file's bytes were copied into this layer.
    LinkToParent,
    /// A whiteout or opaque marker that hides nothing.
    HidesNothing,
    /// A character device 0:0, which overlayfs takes for a whiteout.
    DeviceZero,
    /// An entry of a type that no file system has (volume label, multi-volume part, ...); not in the view.
    UnsupportedType,
    /// An extended attribute under a prefix that Linux does not store; kept under an escaped name.
    EscapedXattr,
    /// An extended attribute longer than Linux can store; not in the view.
    OversizedXattr,
    /// An extended attribute whose encoded value cannot be decoded; not in the view.
    MalformedXattr,
    /// An ACL in text form; it is not applied.
    AclText,
    /// Global PAX records that only make sense for one entry were ignored.
    IgnoredGlobal,
    /// The archive ends without its two zero blocks.
    NoEndMarker,
    /// A socket in a scratch: sockets cannot be stored in a layer.
    Socket,
    /// A file whose owner could not be set: only root may.
    OwnerNotSet,
    /// A device that could not be made: only root may. It is left out.
    DeviceLeftOut,
    /// An extended attribute that the file system, or the lack of privilege, does not allow.
    XattrNotSet,
    /// Windows metadata that the file system cannot hold as extended attributes.
    WindowsMetadataNotSet,
    /// An alternate data stream, which only NTFS can hold.
    StreamLeftOut,
    /// An entry that is none of the tree that was asked for: Hives, UtilityVM.
    OutsideFiles,
    /// A name that Windows cannot hold.
    WindowsName,
    /// Two names in one directory that Windows takes for the same.
    CaseClash,
    /// An entry of a Windows layer outside of `Files`, `Hives` and `UtilityVM`.
    OutsideWindowsRoots,
    /// A hard-link target without its `Files/` prefix; it was added.
    UnprefixedLink,
    /// A link target with the `Files/` that BuildKit puts before every target; it was taken off.
    PrefixedLinkTarget,
    /// A directory of a Windows layer whose name ends with a slash, which Microsoft's tools do not write.
    TrailingSlash,
    /// A name of a Windows layer with backslashes, which were taken for separators.
    BackslashName,
    /// A creation time whose nanoseconds were written without leading zeroes, as BuildKit does; it is the modification time.
    UnpaddedTime,
    /// A name that was given the spelling of the parent chain.
    Respelled,
    /// Windows metadata that was not as Microsoft writes it, read with the meaning intended.
    WindowsDeviation,
    /// An opaque marker, which a transport folder cannot hold; it is returned to the caller.
    OpaqueNotStaged,
    /// A whiteout of a name that the layer also has: in a transport folder only the name can be said.
    RemovedAndAdded,
    /// A descriptor or extended attributes of a registry hive, of which a transport folder holds the content only.
    HiveMetadata,
    /// A registry hive with a layer's changes that the archive does not have; an empty one was put in its place.
    EmptyHive,
    /// A creation or change time that could not be set here.
    TimesNotSet,
    /// The description of a directory that a transport folder does not have.
    OrphanSidecar,
    /// An object id or other stream of a backup stream that no layer carries.
    BackupStreamLeftOut,
    /// A directory of the recycle bin; it is left out.
    RecycleBin,
    /// Something that a layer tar has no place for: flags of extended attributes, holes, substitute names.
    NotInTar,
}

impl Finding {
    /// A sentence for people.
    pub fn explain(self) -> &'static str {
        match self {
            Finding::AbsoluteName => "names started with `/` and were taken relative to the root",
            Finding::DotDotName => "names held `..` and were resolved inside the root",
            Finding::ImplicitDirectory => "directories have no entry of their own",
            Finding::Duplicate => "entries were replaced by a later entry of the same name",
            Finding::ReplacedByDirectory => {
                "entries stood where a directory was needed and were replaced by one"
            }
            Finding::ThroughSymlink => "entries were reached through a symbolic link of the same layer",
            Finding::CoversParentSymlink => {
                "directories without an entry cover a symbolic link of a parent layer"
            }
            Finding::MissingLinkTarget => "hard links have no target anywhere and are left out of the view",
            Finding::ImpossibleLink => "hard links to a directory or to themselves are left out of the view",
            Finding::LinkToParent => {
                "hard links point into a parent layer; the files were copied into this one"
            }
            Finding::HidesNothing => "whiteouts or opaque markers hide nothing",
            Finding::DeviceZero => "character devices 0:0 will act as whiteouts when mounted",
            Finding::UnsupportedType => {
                "entries are of a type that no file system has and are left out of the view"
            }
            Finding::EscapedXattr => {
                "extended attributes have a prefix that Linux cannot store and were escaped"
            }
            Finding::OversizedXattr => {
                "extended attributes are longer than Linux can store and are left out of the view"
            }
            Finding::MalformedXattr => {
                "extended attributes are not the base64 that they should be and are left out of the view"
            }
            Finding::AclText => "ACLs in text form are not applied",
            Finding::IgnoredGlobal => "global PAX records for path, size or sparse maps were ignored",
            Finding::NoEndMarker => "the archive ends without its two zero blocks",
            Finding::Socket => "sockets cannot be stored in a layer and were left out",
            Finding::OwnerNotSet => {
                "files belong to another owner than the image says, and are not set-user-ID: only root can set owners"
            }
            Finding::DeviceLeftOut => "devices were left out: only root can make them",
            Finding::XattrNotSet => "extended attributes could not be set here",
            Finding::WindowsMetadataNotSet => {
                "files have Windows metadata that could not be set as extended attributes"
            }
            Finding::StreamLeftOut => "alternate data streams were left out: only NTFS can hold them",
            Finding::OutsideFiles => "entries outside of Files were left out",
            Finding::WindowsName => "names cannot exist on Windows",
            Finding::CaseClash => "names differ only by case from another one in the same directory",
            Finding::OutsideWindowsRoots => {
                "entries lie outside Files, Hives and UtilityVM; Windows ignores them"
            }
            Finding::UnprefixedLink => "hard-link targets had no Files/ prefix, which was added",
            Finding::PrefixedLinkTarget => "link targets had a Files/ too many, which was taken off",
            Finding::TrailingSlash => "directories are written with a slash behind their name",
            Finding::BackslashName => "names held backslashes, which were taken for separators",
            Finding::UnpaddedTime => {
                "creation times were written without the zeroes of their fraction; the modification time was taken"
            }
            Finding::Respelled => "names were given the spelling of the parent layers",
            Finding::WindowsDeviation => "Windows metadata deviated from what Microsoft's tools write",
            Finding::OpaqueNotStaged => {
                "opaque markers have no form in a transport folder and are left to the caller"
            }
            Finding::RemovedAndAdded => {
                "whiteouts name what the layer also has; a transport folder keeps only the latter"
            }
            Finding::HiveMetadata => "registry hives have metadata, of which a transport folder has no place",
            Finding::EmptyHive => {
                "registry hives with the layer's changes are missing; empty ones are in their place"
            }
            Finding::TimesNotSet => "creation or change times could not be set on this system",
            Finding::OrphanSidecar => {
                "descriptions belong to directories that are not there and are left out"
            }
            Finding::BackupStreamLeftOut => {
                "object ids, properties or other streams have no form in a layer and are left out"
            }
            Finding::RecycleBin => "the recycle bin is left out",
            Finding::NotInTar => "something of an entry has no place in a layer tar",
        }
    }

    /// True when the view is what any unpacker would have made: nothing for a user to act on.
    pub fn is_benign(self) -> bool {
        matches!(
            self,
            Finding::ImplicitDirectory
                | Finding::LinkToParent
                | Finding::HidesNothing
                | Finding::NoEndMarker
                | Finding::UnprefixedLink
                | Finding::PrefixedLinkTarget
                | Finding::TrailingSlash
                | Finding::BackslashName
                | Finding::UnpaddedTime
                | Finding::Respelled
                | Finding::WindowsDeviation
                | Finding::EmptyHive
                | Finding::RemovedAndAdded
                | Finding::BackupStreamLeftOut
                | Finding::RecycleBin
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

/// How often something was found, and where first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// The first few places.
    pub examples: Vec<String>,
}

/// All findings of one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report {
    findings: BTreeMap<Finding, Count>,
}

impl Report {
    /// Counts one finding at `place`.
    pub fn note(&mut self, finding: Finding, place: impl fmt::Display) {
        let entry = self.findings.entry(finding).or_default();
        entry.count += 1;
        if entry.examples.len() < EXAMPLES {
            entry.examples.push(place.to_string());
        }
    }

    /// Adds the findings of another report.
    pub fn merge(&mut self, other: &Report) {
        for (finding, count) in &other.findings {
            let entry = self.findings.entry(*finding).or_default();
            entry.count += count.count;
            let room = EXAMPLES.saturating_sub(entry.examples.len());
            entry.examples.extend(count.examples.iter().take(room).cloned());
        }
    }

    /// How often `finding` was counted.
    pub fn count(&self, finding: Finding) -> u64 {
        self.findings.get(&finding).map_or(0, |c| c.count)
    }

    /// All findings with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Finding, &Count)> {
        self.findings.iter().map(|(finding, count)| (*finding, count))
    }

    /// True when there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }
}
