//! A transport folder to entries.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use layerstone_nt::backup::{Contents, DataLayout};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, ReparsePoint, SecurityDescriptor, name};

use super::error::{Doing, Error};
use super::host::Identity;
use super::open::{BLOB_BASE, Opened, Payload};
use super::walk::{Item, Level, Listing};
use super::{Area, FILES, GetBasicInfo, HIVE_DELTAS, HIVES, SIDECAR, TOMBSTONES, tombstones};
use crate::entry::{Entry, EntryKind, Metadata};
use crate::path::LayerPath;
use crate::report::{Finding, Report};
use crate::tar::Segment;

/// What a folder must have to be read. `Files` it must have in any case.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// `Hives` and in it the five delta hives. Layers that were made on Linux have an empty `Hives`, or none.
    pub require_hives: bool,
    /// `tombstones.txt`. Folders in the hcsshim style have none.
    pub require_tombstones: bool,
    /// A `.$wcidirs$` for `Files` and each directory in it. Those without get the directory attribute, and are counted.
    pub require_sidecars: bool,
    /// Tells times and attributes of a file; `None` for what the standard library knows.
    pub basic_info: Option<GetBasicInfo>,
}

impl ReadOptions {
    /// Everything that an exported layer has.
    pub fn strict() -> Self {
        ReadOptions {
            require_hives: true,
            require_tombstones: true,
            require_sidecars: true,
            basic_info: None,
        }
    }

    /// Nothing but `Files`.
    pub fn lenient() -> Self {
        ReadOptions {
            require_hives: false,
            require_tombstones: false,
            require_sidecars: false,
            basic_info: None,
        }
    }
}

/// Reads a transport folder. See the module's documentation for the order, and for what is read from where.
///
/// Of plain files (in `Hives`, and `UtilityVM` where it has no blobs) content, attributes and times are read. Their
/// descriptors, EAs and streams take a call of Windows that needs a privilege.
#[derive(Debug)]
pub struct TransportReader {
    root: PathBuf,
    options: ReadOptions,
    levels: Vec<Level>,
    /// What follows from the last item of the walk.
    pending: VecDeque<Pending>,
    /// The file whose entry, or a stream of which, was given last.
    file: Option<(File, u64, PathBuf)>,
    payload: Option<Payload>,
    /// Removed paths by the directory that they are in, folded.
    removed: BTreeMap<Vec<u8>, Vec<LayerPath>>,
    /// Files with several names: the first.
    links: HashMap<Identity, LayerPath>,
    /// The times of `System_Delta`.
    delta_times: Option<BasicInfo>,
    report: Report,
}

#[derive(Debug)]
enum Pending {
    Stream { owner: LayerPath, name: Vec<u8>, layout: DataLayout, basic: BasicInfo },
    Removed(LayerPath),
    Descend(Level),
}

impl TransportReader {
    /// Opens a folder and checks that it has what it must have.
    ///
    /// # Errors
    /// When something is missing, `tombstones.txt` is malformed, or the folder cannot be read.
    pub fn open(root: &Path, options: ReadOptions) -> Result<Self, Error> {
        let root = super::host::root(root).doing("resolve", root)?;
        let mut level = Level::new(LayerPath::root(), root.clone(), false)?;
        level.fix_names()?;
        let tombstones = level.take(TOMBSTONES)?;
        let mut reader = TransportReader {
            root,
            options,
            levels: Vec::new(),
            pending: VecDeque::new(),
            file: None,
            payload: None,
            removed: BTreeMap::new(),
            links: HashMap::new(),
            delta_times: None,
            report: Report::default(),
        };
        let there = |name: &str| level.items.iter().find(|item| item.name == name.as_bytes());
        reader.expect_directory(there(FILES).ok_or_else(|| reader.missing(FILES))?)?;
        match there(HIVES) {
            Some(hives) => reader.look_at_hives(hives)?,
            None if options.require_hives => return Err(reader.missing(HIVES)),
            None => {}
        }
        match tombstones {
            Some(item) => reader.read_tombstones(&item)?,
            None if options.require_tombstones => return Err(reader.missing(TOMBSTONES)),
            None => {}
        }
        reader.levels.push(level);
        Ok(reader)
    }

    fn missing(&self, what: impl Into<String>) -> Error {
        Error::Missing { root: self.root.clone(), what: what.into() }
    }

    fn look_at_hives(&mut self, hives: &Item) -> Result<(), Error> {
        let directory = self.expect_directory(hives)?;
        let mut listing = Listing::read(&directory)?;
        for delta in HIVE_DELTAS {
            match listing.take_item(&directory, delta)? {
                None if self.options.require_hives => return Err(self.missing(format!("{HIVES}/{delta}"))),
                Some(item) if delta == "System_Delta" => {
                    let mut opened = Opened::open(&directory.join(item.host), self.options.basic_info)?;
                    write_time_for_all(&mut opened.basic);
                    self.delta_times = Some(opened.basic);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn expect_directory(&self, item: &Item) -> Result<PathBuf, Error> {
        let path = self.root.join(&item.host);
        match fs::symlink_metadata(&path).doing("look at", &path)? {
            found if found.is_dir() && super::host::is_plain(&found) => Ok(path),
            _ => Err(Error::Blob { path, reason: "it has to be a directory" }),
        }
    }

    fn read_tombstones(&mut self, item: &Item) -> Result<(), Error> {
        let path = self.root.join(&item.host);
        let file = Opened::open(&path, None)?.file;
        for removed in tombstones::parse(&mut BufReader::new(file), &path)? {
            let Some((parent, _)) = removed.split_last() else { continue };
            self.removed.entry(folded(&parent)).or_default().push(removed);
        }
        Ok(())
    }

    /// What was unusual so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What was unusual.
    pub fn into_report(self) -> Report {
        self.report
    }

    /// The next entry; `None` at the end. Of files and streams [`EntryKind::payload`] bytes follow through
    /// [`read_data`](Self::read_data), those of a sparse file's stored ranges only. Bytes that are not read are passed over.
    ///
    /// # Errors
    /// When something in the folder cannot be read, or cannot be there.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.payload = None;
        loop {
            match self.pending.pop_front() {
                Some(Pending::Stream { owner, name, layout, basic }) => {
                    return Ok(Some(self.stream(owner, name, layout, basic)));
                }
                Some(Pending::Removed(path)) => {
                    let meta = Metadata::default();
                    return Ok(Some(Entry { path, kind: EntryKind::Whiteout, meta }));
                }
                Some(Pending::Descend(level)) => self.levels.push(level),
                None => {}
            }
            let Some(level) = self.levels.last_mut() else {
                // In directories that have no entry: hcsshim's reader loses these.
                let Some((_, paths)) = self.removed.pop_first() else { return Ok(None) };
                self.pending.extend(paths.into_iter().map(Pending::Removed));
                continue;
            };
            let Some(item) = level.items.pop() else {
                if let Some(level) = self.levels.pop() {
                    for sidecar in level.listing.sidecars {
                        let path = level.path.join(&sidecar.name);
                        self.report.note(Finding::OrphanSidecar, path);
                    }
                }
                continue;
            };
            if let Some(entry) = self.visit(&item)? {
                return Ok(Some(entry));
            }
        }
    }

    /// Bytes of the last entry; 0 at their end.
    ///
    /// # Errors
    /// When the file cannot be read, or has changed since its entry was given.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        match (&mut self.payload, &mut self.file) {
            (Some(payload), Some((file, base, host))) => payload.read(file, *base, buffer, host),
            _ => Ok(0),
        }
    }

    fn visit(&mut self, item: &Item) -> Result<Option<Entry>, Error> {
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        let host = level.host.join(&item.host);
        let (path, _) = LayerPath::normalise(level.path.join(&item.name).as_bytes())
            .map_err(|source| Error::Path { path: host.clone(), source })?;
        let sidecar = level.listing.take_sidecar(&level.host, &item.name)?;
        let sidecar = sidecar.map(|sidecar| level.host.join(sidecar.host));
        let blobs = level.blobs;
        if level.path.as_bytes() == FILES.as_bytes() && item.name.eq_ignore_ascii_case(b"$Recycle.Bin") {
            self.report.note(Finding::RecycleBin, &path);
            return Ok(None);
        }
        if name::check_component(&item.name).is_err() {
            self.report.note(Finding::WindowsName, &path);
        }
        let metadata = fs::symlink_metadata(&host).doing("look at", &host)?;
        if Area::of(&path) == Area::Elsewhere {
            self.report.note(Finding::OutsideWindowsRoots, &path);
        }
        if metadata.is_dir() {
            return self.directory(path, host, sidecar).map(Some);
        }
        if sidecar.is_some() {
            self.report.note(Finding::OrphanSidecar, format_args!("{path}{SIDECAR}"));
        }
        if blobs { self.blob(path, host) } else { self.plain(path, host) }.map(Some)
    }

    fn directory(
        &mut self,
        path: LayerPath,
        host: PathBuf,
        sidecar: Option<PathBuf>,
    ) -> Result<Entry, Error> {
        let area = Area::of(&path);
        let mut own = Opened::open(&host, self.options.basic_info)?;
        own.basic.attributes |= FileAttributes::DIRECTORY;
        let mut level = Level::new(path.clone(), host.clone(), false)?;
        if matches!(area, Area::UtilityVm) {
            level.fix_names()?;
        }
        level.blobs = match area {
            Area::Files | Area::InFiles => true,
            Area::UtilityVm => level.describes(FILES)?,
            Area::UtilityVmFiles | Area::InUtilityVmFiles => self.levels.last().is_some_and(|l| l.blobs),
            _ => false,
        };
        let described = level.blobs || area == Area::Hives;
        let mut windows = WindowsMetadata { basic: own.basic, ..WindowsMetadata::default() };
        let mut contents = Contents::default();
        match sidecar {
            Some(sidecar) if described => {
                let mut opened = Opened::open(&sidecar, self.options.basic_info)?;
                contents = opened.read_blob(&path, &sidecar)?;
                windows.basic = opened.basic;
                self.file = Some((opened.file, BLOB_BASE, sidecar));
            }
            Some(_) => self.report.note(Finding::OrphanSidecar, format_args!("{path}{SIDECAR}")),
            None if level.blobs && self.options.require_sidecars => {
                return Err(self.missing(format!("{path}{SIDECAR}")));
            }
            None if level.blobs => self.report.note(Finding::ImplicitDirectory, &path),
            None => {}
        }
        if !described {
            write_time_for_all(&mut windows.basic);
        }
        if let (Area::Files | Area::Hives, Some(delta)) = (area, &self.delta_times) {
            windows.basic = BasicInfo { attributes: windows.basic.attributes, ..*delta };
        }
        if contents.data.as_ref().is_some_and(|data| data.size > 0) {
            return Err(Error::Blob { path: host, reason: "a directory has data" });
        }
        self.take_metadata(&path, &mut contents, &mut windows);
        if !windows.basic.attributes.is_directory() {
            self.report.note(Finding::WindowsDeviation, format_args!("{path}: no directory attribute"));
        }
        let target = windows.reparse.as_ref().and_then(ReparsePoint::target);
        let kind = match target {
            Some(_) if !level.items.is_empty() || !level.listing.sidecars.is_empty() => {
                return Err(Error::Blob { path: host, reason: "a link that is a directory is not empty" });
            }
            Some(target) => EntryKind::Symlink { target: target.to_wtf8() },
            None => EntryKind::Directory,
        };
        self.queue_streams(&path, contents, &windows.basic);
        let removed = self.removed.remove(&folded(&path)).unwrap_or_default();
        self.pending.extend(removed.into_iter().map(Pending::Removed));
        self.pending.push_back(Pending::Descend(level));
        Ok(entry(path, kind, windows))
    }

    fn blob(&mut self, path: LayerPath, host: PathBuf) -> Result<Entry, Error> {
        let mut opened = Opened::open(&host, self.options.basic_info)?;
        let mut contents = opened.read_blob(&path, &host)?;
        let mut windows = WindowsMetadata { basic: opened.basic, ..WindowsMetadata::default() };
        if let Some(link) = self.link(&path, &host, &opened)? {
            return Ok(link);
        }
        self.take_metadata(&path, &mut contents, &mut windows);
        if windows.basic.attributes.is_directory() {
            self.report.note(Finding::WindowsDeviation, format_args!("{path}: directory attribute"));
        }
        let data = contents.data.take().unwrap_or_default();
        let kind = match windows.reparse.as_ref().and_then(ReparsePoint::target) {
            Some(_) if data.size > 0 => return Err(Error::Blob { path: host, reason: "a link has data" }),
            Some(target) => EntryKind::Symlink { target: target.to_wtf8() },
            None => EntryKind::File { size: data.size, segments: segments(&data) },
        };
        self.queue_streams(&path, contents, &windows.basic);
        self.payload = Some(Payload::stored(data));
        self.file = Some((opened.file, BLOB_BASE, host));
        Ok(entry(path, kind, windows))
    }

    fn plain(&mut self, path: LayerPath, host: PathBuf) -> Result<Entry, Error> {
        let mut opened = Opened::open(&host, self.options.basic_info)?;
        write_time_for_all(&mut opened.basic);
        if let Some(link) = self.link(&path, &host, &opened)? {
            return Ok(link);
        }
        let windows = WindowsMetadata { basic: opened.basic, ..WindowsMetadata::default() };
        let size = opened.metadata.len();
        self.payload = Some(Payload::plain(size));
        self.file = Some((opened.file, 0, host));
        Ok(entry(path, EntryKind::File { size, segments: None }, windows))
    }

    /// A file that was given under another name already.
    fn link(&mut self, path: &LayerPath, host: &Path, opened: &Opened) -> Result<Option<Entry>, Error> {
        let identity = super::host::identity(&opened.file, &opened.metadata).doing("look at", host)?;
        let Some(identity) = identity else { return Ok(None) };
        let Some(target) = self.links.get(&identity) else {
            self.links.insert(identity, path.clone());
            return Ok(None);
        };
        let windows = WindowsMetadata { basic: opened.basic, ..WindowsMetadata::default() };
        Ok(Some(entry(path.clone(), EntryKind::HardLink { target: target.clone() }, windows)))
    }

    fn take_metadata(&mut self, path: &LayerPath, contents: &mut Contents, windows: &mut WindowsMetadata) {
        if contents
            .security_descriptor
            .as_deref()
            .is_some_and(|bytes| SecurityDescriptor::validate(bytes).is_err())
        {
            self.report.note(Finding::WindowsDeviation, format_args!("{path}: security descriptor"));
        }
        if contents.reparse_is_unusual {
            self.report.note(Finding::WindowsDeviation, format_args!("{path}: layout of the reparse point"));
        }
        for ignored in &contents.ignored {
            self.report.note(Finding::BackupStreamLeftOut, format_args!("{path}: {}", ignored.id));
        }
        contents.move_metadata(windows);
    }

    fn queue_streams(&mut self, path: &LayerPath, contents: Contents, basic: &BasicInfo) {
        let streams = contents.alternates.into_iter().map(|alternate| Pending::Stream {
            owner: path.clone(),
            name: alternate.name.to_wtf8(),
            layout: alternate.data,
            basic: *basic,
        });
        self.pending.extend(streams);
    }

    fn stream(&mut self, owner: LayerPath, name: Vec<u8>, layout: DataLayout, basic: BasicInfo) -> Entry {
        let kind = EntryKind::Stream { name, size: layout.size };
        self.payload = Some(Payload::filled(layout));
        entry(owner, kind, WindowsMetadata { basic, ..WindowsMetadata::default() })
    }
}

impl io::Read for TransportReader {
    /// Bytes of the last entry.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_data(buffer).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }
}

/// Outside of `Files` creation and access are the last write: the import makes these files anew.
fn write_time_for_all(basic: &mut BasicInfo) {
    basic.creation = basic.last_write;
    basic.last_access = basic.last_write;
}

fn folded(path: &LayerPath) -> Vec<u8> {
    name::fold(path.as_bytes()).as_bytes().to_vec()
}

fn segments(data: &DataLayout) -> Option<Vec<Segment>> {
    let extents = data.sparse_extents()?;
    Some(extents.into_iter().map(|extent| Segment { offset: extent.offset, len: extent.len }).collect())
}

fn entry(path: LayerPath, kind: EntryKind, windows: WindowsMetadata) -> Entry {
    let meta = Metadata {
        mode: if kind == EntryKind::Directory { 0o755 } else { 0o644 },
        mtime: windows.basic.last_write.to_unix(),
        windows: Some(Box::new(windows)),
        ..Metadata::default()
    };
    Entry { path, kind, meta }
}
