//! Entries to a transport folder.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{FileAttributes, name};

use super::blob::Open;
use super::error::{Doing, Error};
use super::names::{self, Kind, Names};
use super::outcome::{Outcome, Placement};
use super::{Area, FILES, HIVE_DELTAS, HIVES, SetTimes, TOMBSTONES, host, tombstones};
use crate::entry::{Entry, EntryKind};
use crate::path::LayerPath;
use crate::report::Finding;

/// Attributes of a directory that no entry speaks of.
pub(super) const IMPLICIT: FileAttributes = FileAttributes::DIRECTORY;
/// What HCS clients write for `Hives` when the layer has none: 10 20 00 00.
pub(super) const HIVES_DEFAULT: FileAttributes =
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
    pub(super) root: PathBuf,
    pub(super) options: WriteOptions,
    pub(super) names: Names,
    pub(super) open: Option<Open>,
    pub(super) payload: Payload,
    /// Directories that are reparse points; made at the end, so that nothing is written through them meanwhile.
    pub(super) reparse_directories: Vec<PathBuf>,
    /// Whiteouts, each once, in their order.
    pub(super) removed: Vec<LayerPath>,
    pub(super) removed_folded: HashSet<name::FoldedName>,
    pub(super) outcome: Outcome,
}

/// What becomes of the bytes that follow the last entry.
#[derive(Debug)]
pub(super) enum Payload {
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
        // Also of what is handed back: on Windows a backslash in a name would lead elsewhere.
        if names::check_all(&entry.path)? {
            self.outcome.report.note(Finding::WindowsName, &entry.path);
        }
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

    pub(super) fn close(&mut self) -> Result<(), Error> {
        if let Payload::Discarded { path, left: left @ 1.. } = &self.payload {
            return Err(Error::Size { path: path.clone(), announced: *left, given: 0 });
        }
        match self.open.take() {
            Some(open) => open.close(self.options.set_times),
            None => Ok(()),
        }
    }

    pub(super) fn hand_back(&mut self, entry: &Entry) -> Placement {
        self.payload = Payload::HandedBack(entry.path.clone());
        self.outcome.utility_vm.push(entry.clone());
        Placement::HandedBack
    }
}
