//! From tar members to entries: what names, types and PAX records mean.
//!
//! Sources: OCI image-spec `layer.md` (whiteouts, Windows), POSIX `pax`, libarchive and star for xattr records.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use layerstone_nt::tar as nt;

use super::foreign;
use super::read::Member;
use crate::entry::{Entry, EntryKind, Metadata, Os, Xattr};
use crate::path::{LayerPath, PathError, display_name};
use crate::report::{Finding, Report};

/// Prefix of a whiteout's name.
const WHITEOUT: &[u8] = b".wh.";

/// Name of the opaque marker.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// libarchive writes base64 with or without padding, depending on its age.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// What an entry cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name or link target is not a path.
    #[error("entry `{name}` at byte {offset}")]
    Path {
        /// Start of the entry's headers.
        offset: u64,
        /// The name, shown safely.
        name: String,
        /// Why not.
        source: PathError,
    },
    /// An owner that Linux cannot hold.
    #[error("entry `{name}` at byte {offset}: {field} {value} does not fit 32 bits")]
    Owner {
        /// Start of the entry's headers.
        offset: u64,
        /// The name, shown safely.
        name: String,
        /// `uid` or `gid`.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A symlink or hard link without a target.
    #[error("entry `{name}` at byte {offset}: a link without a target")]
    NoTarget {
        /// Start of the entry's headers.
        offset: u64,
        /// The name, shown safely.
        name: String,
    },
    /// Windows metadata that cannot be read.
    #[error("entry `{name}` at byte {offset}: Windows metadata")]
    Windows {
        /// Start of the entry's headers.
        offset: u64,
        /// The name, shown safely.
        name: String,
        /// What is wrong with it.
        source: layerstone_nt::Error,
    },
}

/// Turns members into entries, in order. (An alternate stream belongs to the file before it, so order counts.)
#[derive(Debug)]
pub struct Mapper {
    os: Os,
    /// The last entry of a Windows layer that can have alternate streams (directories and links can): its raw name and
    /// its path.
    stream_owner: Option<(Vec<u8>, LayerPath)>,
}

impl Mapper {
    /// A mapper for a layer of `os`.
    pub fn new(os: Os) -> Self {
        Mapper { os, stream_owner: None }
    }

    /// The entry that `member` stands for; `None` when it is of a type that no file system has. What is out of the
    /// ordinary is counted in `report`.
    ///
    /// # Errors
    /// When the member cannot exist on any system: see [`Error`].
    pub fn entry(&mut self, member: &Member, report: &mut Report) -> Result<Option<Entry>, Error> {
        if member.ignored_globals {
            report.note(Finding::IgnoredGlobal, display_name(&member.name));
        }
        if self.os == Os::Windows
            && let Some(stream) = self.stream(member)
        {
            return Ok(Some(stream));
        }
        self.stream_owner = None;
        let path = match self.os {
            Os::Linux => self.path(&member.name, member, report)?,
            Os::Windows => self.path(&foreign::name(&member.name, report), member, report)?,
        };
        if let Some((parent, name)) = path.split_last()
            && let Some(hidden) = name.strip_prefix(WHITEOUT)
        {
            let (path, kind) = match hidden {
                _ if name == OPAQUE => (parent, EntryKind::Opaque),
                // No names that could be hidden; no writer means these.
                b"" | b"." | b".." => return Ok(unsupported(report, &path)),
                hidden => (parent.join(hidden), EntryKind::Whiteout),
            };
            return Ok(Some(Entry { path, kind, meta: Metadata::default() }));
        }
        let kind = match member.typeflag {
            b'0' => EntryKind::File { size: member.size, segments: member.segments.clone() },
            b'1' => EntryKind::HardLink { target: self.link_target(member, report)? },
            b'2' => {
                if member.link_name.is_empty() {
                    return Err(Error::NoTarget { offset: member.offset, name: shown(member) });
                }
                if member.link_name.contains(&0) {
                    let (offset, name) = (member.offset, shown(member));
                    return Err(Error::Path { offset, name, source: PathError::Nul });
                }
                let target = match self.os {
                    Os::Linux => &member.link_name,
                    Os::Windows => foreign::symlink_target(member, report),
                };
                EntryKind::Symlink { target: target.to_vec() }
            }
            b'3' => {
                if member.device == (0, 0) {
                    report.note(Finding::DeviceZero, &path);
                }
                EntryKind::CharDevice { major: member.device.0, minor: member.device.1 }
            }
            b'4' => EntryKind::BlockDevice { major: member.device.0, minor: member.device.1 },
            b'5' => {
                if self.os == Os::Windows {
                    foreign::directory(member, report);
                }
                EntryKind::Directory
            }
            b'6' => EntryKind::Fifo,
            _ => return Ok(unsupported(report, &path)),
        };
        let meta = self.metadata(member, &kind, &path, report)?;
        if self.os == Os::Windows && !matches!(kind, EntryKind::HardLink { .. }) {
            self.stream_owner = Some((member.name.clone(), path.clone()));
        }
        Ok(Some(Entry { path, kind, meta }))
    }

    /// `name:stream` right behind `name`.
    fn stream(&self, member: &Member) -> Option<Entry> {
        let (owner_name, owner) = self.stream_owner.as_ref()?;
        let name = member.name.strip_prefix(owner_name.as_slice())?.strip_prefix(b":")?;
        if member.typeflag != b'0' || name.is_empty() || name.contains(&b'/') || member.segments.is_some() {
            return None;
        }
        let name = name.strip_suffix(b":$DATA").unwrap_or(name).to_vec();
        let kind = EntryKind::Stream { name, size: member.size };
        Some(Entry { path: owner.clone(), kind, meta: Metadata::default() })
    }

    fn path(&self, raw: &[u8], member: &Member, report: &mut Report) -> Result<LayerPath, Error> {
        let (path, notes) = LayerPath::normalise(raw).map_err(|source| Error::Path {
            offset: member.offset,
            name: shown(member),
            source,
        })?;
        if notes.absolute {
            report.note(Finding::AbsoluteName, display_name(raw));
        }
        if notes.dot_dot {
            report.note(Finding::DotDotName, display_name(raw));
        }
        Ok(path)
    }

    fn link_target(&self, member: &Member, report: &mut Report) -> Result<LayerPath, Error> {
        if member.link_name.is_empty() {
            return Err(Error::NoTarget { offset: member.offset, name: shown(member) });
        }
        // Hard-link targets are names of the archive; a leading slash is as common there as in names and not counted.
        let raw = match self.os {
            Os::Linux => Cow::Borrowed(member.link_name.as_slice()),
            Os::Windows => foreign::hard_link_target(member, report),
        };
        let (target, _) = LayerPath::normalise(&raw).map_err(|source| Error::Path {
            offset: member.offset,
            name: shown(member),
            source,
        })?;
        if self.os == Os::Windows && !target.components().next().is_some_and(is_windows_root) {
            // go-containerregistry and imgutil write the target without the prefix that they gave the name.
            report.note(Finding::UnprefixedLink, display_name(&member.link_name));
            return Ok(LayerPath::from("Files").join(target.as_bytes()));
        }
        Ok(target)
    }

    fn metadata(
        &self,
        member: &Member,
        kind: &EntryKind,
        path: &LayerPath,
        report: &mut Report,
    ) -> Result<Metadata, Error> {
        let owner = |field, value: u64| {
            u32::try_from(value).map_err(|_| Error::Owner {
                offset: member.offset,
                name: shown(member),
                field,
                value,
            })
        };
        let mut meta = Metadata {
            mode: (member.mode & 0o7777) as u16,
            uid: owner("uid", member.uid)?,
            gid: owner("gid", member.gid)?,
            mtime: member.mtime,
            xattrs: xattrs(member, path, report),
            windows: None,
        };
        if self.os == Os::Windows {
            if path.components().next().is_some_and(|first| !is_windows_root(first)) {
                report.note(Finding::OutsideWindowsRoots, path);
            }
            let facts = nt::TarFacts {
                kind: match kind {
                    EntryKind::File { .. } => nt::EntryKind::File,
                    EntryKind::Directory => nt::EntryKind::Directory,
                    EntryKind::Symlink { .. } => nt::EntryKind::Symlink,
                    EntryKind::HardLink { .. } => nt::EntryKind::HardLink,
                    _ => nt::EntryKind::Other,
                },
                linkname: match kind {
                    EntryKind::Symlink { target } => target,
                    _ => &member.link_name,
                },
                mtime: member.mtime,
                atime: member.atime,
                ctime: member.ctime,
            };
            let records = member.records.iter().map(|(k, v)| (k.as_slice(), v.as_slice()));
            let read = nt::WindowsRecords::parse(records, &facts).map_err(|source| Error::Windows {
                offset: member.offset,
                name: shown(member),
                source,
            })?;
            for note in &read.notes {
                let finding = match note {
                    nt::Note::TimeUnpadded { .. } => Finding::UnpaddedTime,
                    _ => Finding::WindowsDeviation,
                };
                report.note(finding, format_args!("{path}: {note}"));
            }
            meta.windows = Some(Box::new(read.metadata));
            // Windows writers leave the permission bits empty; a mount on Linux would be unusable.
            if meta.mode == 0 {
                meta.mode = if matches!(kind, EntryKind::Directory) { 0o755 } else { 0o644 };
            }
        }
        Ok(meta)
    }
}

/// The three trees that a Windows layer may have.
pub fn is_windows_root(name: &[u8]) -> bool {
    [&b"Files"[..], b"Hives", b"UtilityVM"].iter().any(|root| name.eq_ignore_ascii_case(root))
}

fn unsupported(report: &mut Report, path: &LayerPath) -> Option<Entry> {
    report.note(Finding::UnsupportedType, path);
    None
}

fn shown(member: &Member) -> String {
    display_name(&member.name).to_string()
}

/// Extended attributes from SCHILY records (value as it is, name as GNU tar encodes it) and LIBARCHIVE ones (name URL-encoded, value base64).
/// Where both carry a name, SCHILY wins: its value cannot have been damaged by an encoding.
fn xattrs(member: &Member, path: &LayerPath, report: &mut Report) -> Vec<Xattr> {
    let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (key, value) in &member.records {
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            match BASE64.decode(value) {
                Ok(value) => {
                    found.insert(percent_decode(name), value);
                }
                Err(_) => report.note(Finding::MalformedXattr, path),
            }
        } else if key.starts_with(b"SCHILY.acl.") {
            report.note(Finding::AclText, path);
        }
    }
    for (key, value) in &member.records {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            found.insert(schily_decode(name), value.clone());
        }
    }
    found
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| Xattr { name, value })
        .collect()
}

/// GNU tar writes `=` and `%` of a name as `%3D` and `%25`, since `=` would end the key; nothing else is encoded.
fn schily_decode(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, used) = match rest {
            [b'%', b'3', b'D', ..] => (b'=', 3),
            [b'%', b'2', b'5', ..] => (b'%', 3),
            _ => (first, 1),
        };
        out.push(byte);
        rest = &tail[used - 1..];
    }
    out
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%'
            && let [high, low, tail @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high << 4 | low);
            rest = tail;
        } else {
            out.push(first);
        }
    }
    out
}
