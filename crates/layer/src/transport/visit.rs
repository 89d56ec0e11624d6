//! One name of the folder to an entry.

use std::fs;
use std::path::{Path, PathBuf};

use layerstone_nt::backup::{Contents, DataLayout};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, ReparsePoint, SecurityDescriptor, name};

use super::error::{Doing, Error};
use super::open::{BLOB_BASE, Opened, Payload};
use super::read::{Pending, TransportReader};
use super::walk::{Item, Level};
use super::{Area, FILES, SIDECAR};
use crate::entry::{Entry, EntryKind, Metadata};
use crate::path::LayerPath;
use crate::report::Finding;
use crate::tar::Segment;

impl TransportReader {
    pub(super) fn visit(&mut self, item: &Item) -> Result<Option<Entry>, Error> {
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
            if self.options.base_layer {
                level.items.retain(|item| item.name == FILES.as_bytes());
            }
        }
        level.blobs = match area {
            _ if self.options.base_layer => false,
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
        if !described && !self.options.base_layer {
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
        if !self.options.base_layer {
            write_time_for_all(&mut opened.basic);
        }
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

    pub(super) fn stream(
        &mut self,
        owner: LayerPath,
        name: Vec<u8>,
        layout: DataLayout,
        basic: BasicInfo,
    ) -> Entry {
        let kind = EntryKind::Stream { name, size: layout.size };
        self.payload = Some(Payload::filled(layout));
        entry(owner, kind, WindowsMetadata { basic, ..WindowsMetadata::default() })
    }
}

/// Outside of `Files` creation and access are the last write: the import makes these files anew.
pub(super) fn write_time_for_all(basic: &mut BasicInfo) {
    basic.creation = basic.last_write;
    basic.last_access = basic.last_write;
}

pub(super) fn folded(path: &LayerPath) -> Vec<u8> {
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
