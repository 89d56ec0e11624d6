//! Where an entry goes in the folder.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, WideString, name};

use super::blob::Open;
use super::error::{BadName, Doing, Error};
use super::names::{self, Id, Kind, Names};
use super::outcome::{DirectoryTimes, HardLink, Placement};
use super::windows_part::windows_part;
use super::write::{HIVES_DEFAULT, IMPLICIT, Payload, Style, TransportWriter, UtilityVm};
use super::{Area, canonical, host, tombstones};
use crate::entry::{Entry, EntryKind};
use crate::path::{LayerPath, display_name};
use crate::report::Finding;

impl TransportWriter {
    pub(super) fn removal(&mut self, entry: &Entry, area: Area) -> Result<Placement, Error> {
        let misplaced = |reason| {
            let (path, kind) = (entry.path.clone(), entry.kind.name());
            Err(Error::Misplaced { path, kind, reason })
        };
        let opaque = entry.kind == EntryKind::Opaque;
        match area {
            Area::InFiles | Area::Files if opaque => {
                self.outcome.report.note(Finding::OpaqueNotStaged, &entry.path);
                self.outcome.opaque.push(entry.path.clone());
                Ok(Placement::Deferred)
            }
            Area::InFiles => {
                if self.options.style == Style::Hcs {
                    tombstones::check(&entry.path)?;
                }
                if self.removed_folded.insert(name::fold(entry.path.as_bytes())) {
                    self.removed.push(entry.path.clone());
                }
                Ok(Placement::Deferred)
            }
            Area::InUtilityVmFiles if self.options.utility_vm == UtilityVm::HandedBack => {
                Ok(self.hand_back(entry))
            }
            Area::InUtilityVmFiles => misplaced("tombstones.txt is about Files only"),
            _ => misplaced("only what is in Files can be removed"),
        }
    }

    pub(super) fn hard_link(
        &mut self,
        entry: &Entry,
        target: &LayerPath,
        area: Area,
    ) -> Result<Placement, Error> {
        let linkable = |area| matches!(area, Area::InFiles | Area::InUtilityVmFiles);
        if !linkable(area) || !linkable(Area::of(target)) {
            return Err(Error::Misplaced {
                path: entry.path.clone(),
                kind: "hard link",
                reason: "name and target must be in Files or UtilityVM/Files",
            });
        }
        names::check_all(target)?;
        if area == Area::InUtilityVmFiles && self.options.utility_vm == UtilityVm::HandedBack {
            return Ok(self.hand_back(entry));
        }
        self.outcome.counts.hard_links += 1;
        self.outcome.hard_links.push(HardLink {
            name: entry.path.clone(),
            target: target.clone(),
            target_in_layer: false,
        });
        Ok(Placement::Deferred)
    }

    pub(super) fn utility_vm(&mut self, entry: &Entry, area: Area) -> Result<Placement, Error> {
        if area == Area::UtilityVmOther {
            let reason = "of UtilityVM only Files and what is in it can be in a layer";
            return Err(Error::Misplaced { path: entry.path.clone(), kind: entry.kind.name(), reason });
        }
        match self.options.utility_vm {
            UtilityVm::HandedBack => Ok(self.hand_back(entry)),
            UtilityVm::Staged => self.blob(entry),
        }
    }

    /// `Hives` is described as directories are, what is in it is plain.
    pub(super) fn hive(&mut self, entry: &Entry, area: Area) -> Result<Placement, Error> {
        if area == Area::Hives {
            return self.blob(entry);
        }
        const ORDINARY: FileAttributes = FileAttributes(
            FileAttributes::ARCHIVE.0 | FileAttributes::NORMAL.0 | FileAttributes::DIRECTORY.0,
        );
        let part = windows_part(entry, &mut self.outcome.report)?;
        let is_ordinary = part.basic.attributes & !ORDINARY == FileAttributes::NONE;
        if part.security_descriptor.is_some() || !part.eas.is_empty() || !is_ordinary {
            self.outcome.report.note(Finding::HiveMetadata, &entry.path);
        }
        match &entry.kind {
            EntryKind::Directory => {
                let (id, added) = self.place(&entry.path, Kind::Directory)?;
                if added {
                    let host = self.host(id)?;
                    fs::create_dir(&host).doing("create the directory", &host)?;
                }
                self.outcome.counts.directories += 1;
                Ok(Placement::Staged)
            }
            EntryKind::File { size, segments } => {
                let (id, _) = self.place(&entry.path, Kind::File)?;
                self.note_times(entry, &part.basic);
                self.outcome.counts.files += 1;
                let host = self.host(id)?;
                self.open = Some(Open::plain(&entry.path, host, part.basic, *size, segments.as_deref())?);
                Ok(Placement::Staged)
            }
            kind => Err(Error::Misplaced {
                path: entry.path.clone(),
                kind: kind.name(),
                reason: "Hives holds plain files",
            }),
        }
    }

    /// A file or directory that is described by a blob.
    pub(super) fn blob(&mut self, entry: &Entry) -> Result<Placement, Error> {
        let part = windows_part(entry, &mut self.outcome.report)?;
        let mut attributes = part.basic.attributes;
        let is_directory = match entry.kind {
            EntryKind::Directory => true,
            EntryKind::Symlink { .. } => attributes.is_directory(),
            _ => false,
        };
        if is_directory != attributes.is_directory() {
            // The mapper has counted the deviation; the folder's readers go by the attribute.
            attributes = match is_directory {
                true => attributes | FileAttributes::DIRECTORY,
                false => attributes & !FileAttributes::DIRECTORY,
            };
            self.outcome.report.note(Finding::WindowsDeviation, &entry.path);
        }
        let kind = match (is_directory, &part.reparse) {
            (true, None) => Kind::Directory,
            (true, Some(_)) => Kind::Reparse,
            (false, _) => Kind::File,
        };
        let (id, added) = self.place(&entry.path, kind)?;
        let path = self.names.path(id);
        self.note_times(entry, &part.basic);
        if is_directory {
            self.outcome.counts.directories += 1;
            self.outcome.directories.push(DirectoryTimes { path: path.clone(), basic: part.basic });
            self.directory(&entry.path, attributes, &part, added)?;
            return Ok(Placement::Staged);
        }
        self.outcome.counts.files += 1;
        let host = self.host(id)?;
        if !added {
            fs::remove_file(&host).doing("replace", &host)?;
        }
        let mut open = Open::blob(&entry.path, host, attributes, &part)?;
        if let EntryKind::File { size, segments } = &entry.kind {
            open.begin_data(*size, segments.as_deref())?;
        }
        self.open = Some(open);
        Ok(Placement::Staged)
    }

    /// Makes a directory whose name is placed already, and opens its description. An old description is replaced.
    pub(super) fn directory(
        &mut self,
        path: &LayerPath,
        attributes: FileAttributes,
        part: &WindowsMetadata,
        added: bool,
    ) -> Result<(), Error> {
        let Some(id) = self.names.find(path) else { return Ok(()) };
        let host = self.host(id)?;
        let Some((_, component)) = path.split_last() else { return Ok(()) };
        let spelled = self.names.path(id);
        let component = spelled.split_last().map_or(component, |(_, name)| name).to_vec();
        let sidecar = names::sidecar(path, &component)?;
        let sidecar = host.with_file_name(self.host_component(path, &sidecar)?);
        match added {
            false => fs::remove_file(&sidecar).doing("replace", &sidecar)?,
            true if self.names.kind(id) == Kind::Reparse => self.reparse_directories.push(host),
            true => fs::create_dir(&host).doing("create the directory", &host)?,
        }
        self.open = Some(Open::blob(path, sidecar, attributes, part)?);
        Ok(())
    }

    pub(super) fn stream(&mut self, entry: &Entry, stream: &[u8], size: u64) -> Result<Placement, Error> {
        match &self.payload {
            Payload::HandedBack(path) if *path == entry.path => return Ok(self.hand_back(entry)),
            _ => {}
        }
        let orphan =
            || Error::OrphanStream { path: entry.path.clone(), stream: display_name(stream).to_string() };
        let Some(open) = self.open.as_mut().filter(|open| open.path == entry.path) else {
            return Err(orphan());
        };
        if !open.takes_streams() {
            self.outcome
                .report
                .note(Finding::StreamLeftOut, format_args!("{}:{}", entry.path, display_name(stream)));
            self.close()?;
            self.payload = Payload::Discarded { path: entry.path.clone(), left: size };
            return Ok(Placement::LeftOut);
        }
        let wide = WideString::from_wtf8(stream)
            .map_err(|source| Error::Metadata { path: entry.path.clone(), source })?;
        open.begin_stream(&wide, size)?;
        self.outcome.counts.streams += 1;
        Ok(Placement::Staged)
    }

    /// Puts a name among the others; whether it is new. Parents that are missing are made.
    fn place(&mut self, path: &LayerPath, kind: Kind) -> Result<(Id, bool), Error> {
        let Some((parent, name)) = path.split_last() else { return Ok((Names::ROOT, false)) };
        let parent_id = self.parent(path, &parent)?;
        let name = canonical(&parent, name);
        let Some(id) = self.names.child(parent_id, name) else {
            return Ok((self.names.add(parent_id, name, kind), true));
        };
        if self.names.path(id).as_bytes().rsplit(|&b| b == b'/').next() != Some(name) {
            self.outcome.report.note(Finding::CaseClash, path);
        }
        let in_utility_vm = Area::of(path) == Area::InUtilityVmFiles;
        match (self.names.kind(id), kind) {
            (Kind::Implicit, Kind::Directory) => {
                self.names.set_kind(id, kind);
                Ok((id, false))
            }
            (Kind::Directory, Kind::Directory) => {
                self.outcome.report.note(Finding::Duplicate, path);
                Ok((id, false))
            }
            (Kind::File, Kind::File) if in_utility_vm => {
                self.outcome.report.note(Finding::Duplicate, path);
                Ok((id, false))
            }
            _ => Err(Error::Duplicate { path: path.clone() }),
        }
    }

    /// The directory that the entry is in.
    fn parent(&mut self, path: &LayerPath, parent: &LayerPath) -> Result<Id, Error> {
        let mut at = Names::ROOT;
        let mut so_far = LayerPath::root();
        for (depth, component) in parent.components().enumerate() {
            let component = canonical(&so_far, component).to_vec();
            let here = so_far.join(&component);
            at = match self.names.child(at, &component) {
                Some(id) => {
                    let what = match self.names.kind(id) {
                        Kind::Directory | Kind::Implicit => None,
                        Kind::Reparse => Some("reparse point"),
                        Kind::File => Some("file"),
                    };
                    if let Some(what) = what {
                        return Err(Error::BelowNonDirectory { path: path.clone(), parent: here, what });
                    }
                    id
                }
                None => {
                    if names::check(path, depth, &component)? {
                        self.outcome.report.note(Finding::WindowsName, &here);
                    }
                    let id = self.names.add(at, &component, Kind::Implicit);
                    self.outcome.report.note(Finding::ImplicitDirectory, &here);
                    if Area::of(&here) == Area::InHives {
                        let host = self.host(id)?;
                        fs::create_dir(&host).doing("create the directory", &host)?;
                    } else {
                        let attributes =
                            if Area::of(&here) == Area::Hives { HIVES_DEFAULT } else { IMPLICIT };
                        self.directory(&here, attributes, &WindowsMetadata::default(), true)?;
                        self.close()?;
                    }
                    id
                }
            };
            so_far = self.names.path(at);
        }
        Ok(at)
    }

    /// Where the host has it.
    fn host(&self, id: Id) -> Result<PathBuf, Error> {
        let path = self.names.path(id);
        let mut host = self.root.clone();
        for component in path.components() {
            host.push(self.host_component(&path, component)?);
        }
        Ok(host)
    }

    fn host_component(&self, path: &LayerPath, component: &[u8]) -> Result<OsString, Error> {
        host::component(component)
            .map_err(|problem| Error::Name { path: path.clone(), problem: BadName::Windows(problem) })
    }

    /// Counts what the file system cannot be told.
    fn note_times(&mut self, entry: &Entry, basic: &BasicInfo) {
        let creation = !host::KEEPS_CREATION && basic.creation.is_set() && basic.creation != basic.last_write;
        if self.options.set_times.is_none() && (creation || basic.change.is_set()) {
            self.outcome.report.note(Finding::TimesNotSet, &entry.path);
        }
    }
}
