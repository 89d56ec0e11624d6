//! A transport folder to entries.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use layerstone_nt::BasicInfo;
use layerstone_nt::backup::DataLayout;

use super::error::{Doing, Error};
use super::host::Identity;
use super::open::{Opened, Payload};
use super::visit::{folded, write_time_for_all};
use super::walk::{Item, Level, Listing, find_ignoring_case};
use super::{FILES, GetBasicInfo, HIVE_DELTAS, HIVES, TOMBSTONES, UTILITY_VM, tombstones};
use crate::entry::{Entry, EntryKind, Metadata};
use crate::path::{LayerPath, display_name};
use crate::report::{Finding, Report};

/// What a folder must have to be read. `Files` it must have in any case.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// `Hives` and in it the five delta hives. Layers that were made on Linux have an empty `Hives`, or none.
    pub require_hives: bool,
    /// `tombstones.txt`. Folders in the hcsshim style have none.
    pub require_tombstones: bool,
    /// A `.$wcidirs$` for `Files` and each directory in it. Those without get the directory attribute, and are counted.
    pub require_sidecars: bool,
    /// The folder is that of a base layer, with the files themselves in it and no blobs: `Files`, and `UtilityVM\Files` where it is
    /// there. What Windows keeps beside them (`Hives`, `layout`, disks, copies of the boot configuration) is not part of the layer.
    pub base_layer: bool,
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
            base_layer: false,
            basic_info: None,
        }
    }

    /// Nothing but `Files`.
    pub fn lenient() -> Self {
        ReadOptions {
            require_hives: false,
            require_tombstones: false,
            require_sidecars: false,
            base_layer: false,
            basic_info: None,
        }
    }

    /// The folder of a base layer, as hcsshim's `baseLayerReader` reads it.
    pub fn base_layer() -> Self {
        ReadOptions { base_layer: true, ..Self::lenient() }
    }
}

/// Reads a transport folder. See the module's documentation for the order, and for what is read from where.
///
/// Of plain files (in `Hives`, and `UtilityVM` where it has no blobs) content, attributes and times are read. Their
/// descriptors, EAs and streams take a call of Windows that needs a privilege.
#[derive(Debug)]
pub struct TransportReader {
    pub(super) root: PathBuf,
    pub(super) options: ReadOptions,
    pub(super) levels: Vec<Level>,
    /// What follows from the last item of the walk.
    pub(super) pending: VecDeque<Pending>,
    /// The file whose entry, or a stream of which, was given last.
    pub(super) file: Option<(File, u64, PathBuf)>,
    pub(super) payload: Option<Payload>,
    /// Removed paths by the directory that they are in, folded.
    pub(super) removed: BTreeMap<Vec<u8>, Vec<LayerPath>>,
    /// Files with several names: the first.
    pub(super) links: HashMap<Identity, LayerPath>,
    /// The times of `System_Delta`.
    pub(super) delta_times: Option<BasicInfo>,
    pub(super) report: Report,
}

#[derive(Debug)]
pub(super) enum Pending {
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
        if options.base_layer {
            reader.keep_base_trees(&mut level)?;
            reader.levels.push(level);
            return Ok(reader);
        }
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

    /// Leaves the two trees that a base layer's folder gives: a utility VM only where it has files.
    fn keep_base_trees(&mut self, level: &mut Level) -> Result<(), Error> {
        let utility_vm = level.items.iter().find(|item| item.name == UTILITY_VM.as_bytes());
        let has_files = match utility_vm.map(|item| level.host.join(&item.host)) {
            Some(folder) if folder.is_dir() => {
                find_ignoring_case(&folder, FILES)?.is_some_and(|files| files.is_dir())
            }
            _ => false,
        };
        level.items.retain(|item| {
            let is = |name: &str| item.name == name.as_bytes();
            if !is_beside(&item.name) && !is(FILES) && !is(UTILITY_VM) {
                self.report.note(Finding::OutsideWindowsRoots, display_name(&item.name));
            }
            is(FILES) || (is(UTILITY_VM) && has_files)
        });
        Ok(())
    }

    pub(super) fn missing(&self, what: impl Into<String>) -> Error {
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
}

/// What Windows and its clients keep in the folder of a layer beside the layer.
fn is_beside(name: &[u8]) -> bool {
    const BESIDE: [&str; 12] = [
        HIVES,
        TOMBSTONES,
        "layout",
        "layerchain.json",
        "uvmbuildversion",
        "blank-base.vhdx",
        "blank.vhdx",
        "sandbox.vhdx",
        "bcd.bak",
        "bcd.log.bak",
        "bcd.log1.bak",
        "bcd.log2.bak",
    ];
    BESIDE.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
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
