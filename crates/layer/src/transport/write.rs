//! Entries to a transport folder.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, WideString, name};

use super::blob::Open;
use super::error::{BadName, Doing, Error};
use super::names::{self, Id, Kind, Names};
use super::outcome::{DirectoryTimes, HardLink, Outcome, Placement};
use super::windows_part::windows_part;
use super::{Area, FILES, HIVE_DELTAS, HIVES, SetTimes, TOMBSTONES, host, tombstones};
use crate::entry::{Entry, EntryKind};
use crate::path::{LayerPath, display_name};
use crate::report::Finding;

/// Attributes of a directory that no entry speaks of.
const IMPLICIT: FileAttributes = FileAttributes::DIRECTORY;
/// What HCS clients write for `Hives` when the layer has none: 10 20 00 00.
const HIVES_DEFAULT: FileAttributes =
    FileAttributes(FileAttributes::DIRECTORY.0 | FileAttributes::NOT_CONTENT_INDEXED.0);

/// For whom the folder is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// For `HcsImportLayer` as its documented clients call it: removed paths stand in `tombstones.txt`, which is always there.
    Hcs,
    /// For vmcompute's `ImportLayer` as hcsshim calls it: no `tombstones.txt`; the caller removes the paths afterwards.
    Hcsshim,
}

/// What becomes of `UtilityVM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UtilityVm {
    /// Its entries become blobs in the folder, as those of `Files` do.
    Staged,
    /// They are given back to the caller, who writes them into a copy of the parent's utility VM; none is in the folder.
    HandedBack,
}

/// How a folder is written.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions {
    /// For whom.
    pub style: Style,
    /// What becomes of `UtilityVM`.
    pub utility_vm: UtilityVm,
    /// Sets a file's times; `None` for what the standard library can do.
    pub set_times: Option<SetTimes>,
}

impl WriteOptions {
    /// A folder that `HcsImportLayer` takes.
    pub fn hcs() -> Self {
        WriteOptions { style: Style::Hcs, utility_vm: UtilityVm::Staged, set_times: None }
    }

    /// The folder that hcsshim makes.
    pub fn hcsshim() -> Self {
        WriteOptions { style: Style::Hcsshim, utility_vm: UtilityVm::HandedBack, set_times: None }
    }
}

/// Writes a transport folder. See the module's documentation for what goes where.
#[derive(Debug)]
pub struct TransportWriter {
    root: PathBuf,
    options: WriteOptions,
    names: Names,
    open: Option<Open>,
    payload: Payload,
    /// Directories that are reparse points; made at the end, so that nothing is written through them meanwhile.
    reparse_directories: Vec<PathBuf>,
    /// Whiteouts, each once, in their order.
    removed: Vec<LayerPath>,
    removed_folded: HashSet<name::FoldedName>,
    outcome: Outcome,
}

/// What becomes of the bytes that follow the last entry.
#[derive(Debug)]
enum Payload {
    /// They go into the open file, if there is one.
    Open,
    /// They are the caller's: this entry was handed back.
    HandedBack(LayerPath),
    /// They are left out, which has been reported.
    Discarded { path: LayerPath, left: u64 },
}

impl TransportWriter {
    /// A writer into `root`: an empty directory, or one that does not exist and is made (its parent must exist).
    ///
    /// # Errors
    /// When it is not empty, or cannot be read or made.
    pub fn create(root: &Path, options: WriteOptions) -> Result<Self, Error> {
        match fs::create_dir(root) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if fs::read_dir(root).doing("read the directory", root)?.next().is_some() {
                    return Err(Error::NotEmpty { path: root.to_path_buf() });
                }
            }
            made => made.doing("create the directory", root)?,
        }
        Ok(TransportWriter {
            root: host::root(root).doing("resolve", root)?,
            options,
            names: Names::new(),
            open: None,
            payload: Payload::Open,
            reparse_directories: Vec::new(),
            removed: Vec::new(),
            removed_folded: HashSet::new(),
            outcome: Outcome::default(),
        })
    }

    /// Takes an entry. The bytes of files and alternate streams follow through [`data`](Self::data): as many as
    /// [`EntryKind::payload`] says, so of a sparse file the stored ranges only.
    ///
    /// # Errors
    /// When the entry has no place in a transport folder, a file system call fails, or bytes of the entry before are missing. The
    /// folder is of no use after an error.
    pub fn entry(&mut self, entry: &Entry) -> Result<Placement, Error> {
        if let EntryKind::Stream { name, size } = &entry.kind {
            return self.stream(entry, name, *size);
        }
        self.close()?;
        self.payload = Payload::Open;
        let area = Area::of(&entry.path);
        match &entry.kind {
            EntryKind::Whiteout | EntryKind::Opaque => return self.removal(entry, area),
            EntryKind::HardLink { target } => return self.hard_link(entry, target, area),
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => {
                self.outcome.report.note(Finding::UnsupportedType, &entry.path);
                return Ok(Placement::LeftOut);
            }
            EntryKind::Directory
            | EntryKind::File { .. }
            | EntryKind::Symlink { .. }
            | EntryKind::Stream { .. } => {}
        }
        if !entry.meta.xattrs.is_empty() {
            self.outcome.report.note(Finding::XattrNotSet, &entry.path);
        }
        let fixed = matches!(area, Area::Files | Area::Hives | Area::UtilityVm | Area::UtilityVmFiles);
        let is_link = entry.meta.windows.as_ref().is_some_and(|part| part.reparse.is_some());
        if fixed && (is_link || entry.kind != EntryKind::Directory) {
            let reason = "it has to be a plain directory";
            return Err(Error::Misplaced { path: entry.path.clone(), kind: entry.kind.name(), reason });
        }
        match area {
            Area::Root => {
                self.outcome.report.note(Finding::OutsideWindowsRoots, &entry.path);
                Ok(Placement::LeftOut)
            }
            Area::UtilityVm | Area::UtilityVmFiles | Area::InUtilityVmFiles | Area::UtilityVmOther => {
                self.utility_vm(entry, area)
            }
            Area::Hives | Area::InHives => self.hive(entry, area),
            Area::Files | Area::InFiles => self.blob(entry),
            Area::Elsewhere => {
                self.outcome.report.note(Finding::OutsideWindowsRoots, &entry.path);
                self.blob(entry)
            }
        }
    }

    /// Bytes of the last entry, in any pieces.
    ///
    /// # Errors
    /// When writing fails, there are more than announced, or the entry was handed back.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let count = bytes.len() as u64;
        match (&mut self.payload, &mut self.open) {
            (Payload::HandedBack(path), _) => Err(Error::UnexpectedData { path: path.clone(), count }),
            (Payload::Discarded { left, .. }, _) if *left >= count => {
                *left -= count;
                Ok(())
            }
            (Payload::Discarded { path, .. }, _) => Err(Error::UnexpectedData { path: path.clone(), count }),
            (Payload::Open, Some(open)) => {
                self.outcome.counts.bytes += count;
                open.data(bytes)
            }
            (Payload::Open, None) => Err(Error::UnexpectedData { path: LayerPath::root(), count }),
        }
    }

    /// The delta hives that have not come, of the five that `HcsImportLayer` wants: an empty delta hive for each can still be
    /// given as an entry `Hives/<name>`.
    pub fn missing_hives(&self) -> Vec<&'static str> {
        let hives = self.names.find(&LayerPath::from(HIVES));
        HIVE_DELTAS
            .into_iter()
            .filter(|name| hives.and_then(|hives| self.names.child(hives, name.as_bytes())).is_none())
            .collect()
    }

    /// Completes the folder: `Files` and `Hives` if no entry spoke of them, directories that are reparse points,
    /// `tombstones.txt`. Nothing is synced to disk.
    ///
    /// # Errors
    /// When bytes of the last entry are missing, or a file system call fails.
    pub fn finish(mut self) -> Result<Outcome, Error> {
        self.close()?;
        for (root, attributes) in [(FILES, IMPLICIT), (HIVES, HIVES_DEFAULT)] {
            let path = LayerPath::from(root);
            if self.names.find(&path).is_none() {
                self.names.add(Names::ROOT, root.as_bytes(), Kind::Implicit);
                self.outcome.report.note(Finding::ImplicitDirectory, &path);
                self.directory(&path, attributes, &WindowsMetadata::default(), true)?;
                self.close()?;
            }
        }
        for path in &self.reparse_directories {
            fs::create_dir(path).doing("create the directory", path)?;
        }
        self.settle_removed();
        if self.options.style == Style::Hcs {
            let path = self.root.join(TOMBSTONES);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .map(std::io::BufWriter::new)
                .doing("create", &path)?;
            tombstones::write(&mut file, &path, self.removed.iter())?;
        }
        self.outcome.missing_hives = self.missing_hives();
        for link in &mut self.outcome.hard_links {
            link.target_in_layer = self.names.find(&link.target).is_some();
        }
        // A link may lead to another one.
        let names: HashSet<_> =
            self.outcome.hard_links.iter().map(|link| name::fold(link.name.as_bytes())).collect();
        for link in &mut self.outcome.hard_links {
            link.target_in_layer |= names.contains(&name::fold(link.target.as_bytes()));
        }
        self.outcome.tombstones = self.removed;
        Ok(self.outcome)
    }

    /// A name that is both removed and there: what is there stands. (OCI: a whiteout hides nothing of its own layer.)
    fn settle_removed(&mut self) {
        let (names, outcome) = (&self.names, &mut self.outcome);
        let links: HashSet<_> =
            outcome.hard_links.iter().map(|link| name::fold(link.name.as_bytes())).collect();
        self.removed.retain(|path| {
            let kind = names.find(path).map(|id| names.kind(id));
            if kind.is_none() && !links.contains(&name::fold(path.as_bytes())) {
                return true;
            }
            outcome.report.note(Finding::RemovedAndAdded, path);
            if matches!(kind, Some(Kind::Directory | Kind::Implicit)) {
                // Of the parents' directory nothing may show.
                outcome.opaque.push(path.clone());
            }
            false
        });
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Payload::Discarded { path, left: left @ 1.. } = &self.payload {
            return Err(Error::Size { path: path.clone(), announced: *left, given: 0 });
        }
        match self.open.take() {
            Some(open) => open.close(self.options.set_times),
            None => Ok(()),
        }
    }

    fn hand_back(&mut self, entry: &Entry) -> Placement {
        self.payload = Payload::HandedBack(entry.path.clone());
        self.outcome.utility_vm.push(entry.clone());
        Placement::HandedBack
    }

    fn removal(&mut self, entry: &Entry, area: Area) -> Result<Placement, Error> {
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
                for (depth, component) in entry.path.components().enumerate() {
                    names::check(&entry.path, depth, component)?;
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

    fn hard_link(&mut self, entry: &Entry, target: &LayerPath, area: Area) -> Result<Placement, Error> {
        let linkable = |area| matches!(area, Area::InFiles | Area::InUtilityVmFiles);
        if !linkable(area) || !linkable(Area::of(target)) {
            return Err(Error::Misplaced {
                path: entry.path.clone(),
                kind: "hard link",
                reason: "name and target must be in Files or UtilityVM/Files",
            });
        }
        if area == Area::InUtilityVmFiles && self.options.utility_vm == UtilityVm::HandedBack {
            return Ok(self.hand_back(entry));
        }
        for (depth, component) in entry.path.components().enumerate() {
            self.check_name(&entry.path, depth, component)?;
        }
        self.outcome.counts.hard_links += 1;
        self.outcome.hard_links.push(HardLink {
            name: entry.path.clone(),
            target: target.clone(),
            target_in_layer: false,
        });
        Ok(Placement::Deferred)
    }

    fn utility_vm(&mut self, entry: &Entry, area: Area) -> Result<Placement, Error> {
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
    fn hive(&mut self, entry: &Entry, area: Area) -> Result<Placement, Error> {
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
    fn blob(&mut self, entry: &Entry) -> Result<Placement, Error> {
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
    fn directory(
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

    fn stream(&mut self, entry: &Entry, stream: &[u8], size: u64) -> Result<Placement, Error> {
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
        let depth = parent.components().count();
        self.check_name(path, depth, name)?;
        let name = super::canonical(&parent, name);
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
            let component = super::canonical(&so_far, component).to_vec();
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
                    self.check_name(path, depth, &component)?;
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

    fn check_name(&mut self, path: &LayerPath, depth: usize, component: &[u8]) -> Result<(), Error> {
        if names::check(path, depth, component)? {
            self.outcome.report.note(Finding::WindowsName, path);
        }
        Ok(())
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

    fn host_component(&self, path: &LayerPath, component: &[u8]) -> Result<std::ffi::OsString, Error> {
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
