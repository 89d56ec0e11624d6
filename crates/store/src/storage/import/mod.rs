//! A layer from its archive, where layers are real files.
//!
//! ```text
//! base layer     folder ─► real files, in the order of the archive ─► times of directories ─► set up
//! other layers   transport folder beside the layer ─► import_layer ─► removed paths ─► utility VM ─► hard links
//!                ─► copies of the boot configuration ─► times of directories ─► set up the utility VM
//! ```
//!
//! What a transport folder has no word for is done to the imported layer: hard links, also to files of parent layers;
//! removed paths, which the import fills with placeholders; the times of directories, which both of these change.
//! Windows has no layered utility VMs: a layer that touches it gets a copy of the nearest parent's, whose files are hard links
//! but for the boot configuration, which the setup edits.
//!
//! Nothing is ever written through a link: directories are made by this import, or looked at on the way.

mod boot;
mod links;
mod removed;
mod tree;
mod utility_vm;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_layer::tar::source::{Mapper, is_windows_root};
use layerstone_layer::tar::{Event, TarReader};
use layerstone_layer::transport::{
    self, CopyError, DirectoryTimes, HandedBack, Outcome, Style, TransportWriter,
};
use layerstone_layer::{Finding, Os, Report};
use layerstone_nt::hive::HiveWriter;

use self::links::{Link, Places};
use self::tree::{Rule, Tree};
use super::base::{self, BaseOptions};
use super::error::{Error, Result, io_kind};
use super::in_place::InPlaceWriter;
use super::places::{self, Claimed};
use super::scratch::destroy;
use super::staging::Staging;
use super::steps::Steps;
use super::{LayerForm, LayerStorage};
use crate::error::IoContext as _;

/// What marks the folder of a base layer while its files are written: two imports cannot have the same folder.
const MARK: &str = ".layerstone-importing";
/// Bytes read from an archive at once.
const CHUNK: usize = 256 << 10;
/// What the name of a folder for an import in flight begins with. It is beside the layer's. What a crash left there goes with
/// the next import beside it.
pub const STAGING_PREFIX: &str = ".layerstone-import-";

/// How an archive is imported.
#[derive(Debug, Clone, Default)]
pub struct ImportArchiveOptions {
    /// How a base layer, or a utility VM, is set up.
    pub base: BaseOptions,
    /// What is put in the place of delta hives that the archive lacks: a registry file that changes nothing. Archives that were made
    /// elsewhere than on Windows lack all five, and Windows imports no layer without them. Without a file given, the hive is
    /// [`HiveWriter::empty_delta`]. Each one is a [`Finding::EmptyHive`] of the report.
    pub empty_hive: Option<Vec<u8>>,
}

/// What an import did, and what there is to tell.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// What was unusual about the archive, or could not be kept.
    pub report: Report,
    /// The layer has a utility VM of its own.
    pub utility_vm: bool,
    /// How many hard links were made, and found to be that.
    pub hard_links: u64,
    /// A folder of the import that could not be removed. The layer is complete.
    pub left_behind: Option<PathBuf>,
}

/// Makes the layer folder `layer` from the layer's uncompressed archive. `layer` must be absent or empty.
///
/// The layer and its parents have to be in one file system: hard links lead from one to the other.
///
/// # Errors
/// [`Error::Step`], which says what could not be done. What was done is undone: there is no half layer, and nothing is left beside it,
/// unless the error says so.
pub fn import_archive<S: LayerStorage>(
    storage: &S,
    layer: &Path,
    mut archive: impl Read + Send,
    chain: &LayerChain,
    options: &ImportArchiveOptions,
) -> Result<Imported> {
    match storage.layer_form() {
        LayerForm::Packed => {
            storage.import_archive(layer, &mut archive, chain)?;
            Ok(Imported::default())
        }
        LayerForm::Files => {
            let archive = BufReader::with_capacity(CHUNK, archive);
            if chain.is_empty() {
                import_base(storage, layer, archive, options)
            } else {
                Import { storage, layer, chain, options }.run(archive)
            }
        }
    }
}

/// A base layer: its files are written where they stay.
fn import_base<S: LayerStorage>(
    storage: &S,
    layer: &Path,
    archive: impl BufRead,
    options: &ImportArchiveOptions,
) -> Result<Imported> {
    let mut files = storage.in_place_writer();
    Steps::run(layer, (), |steps| {
        let claimed = steps.step("make the folder", |()| places::claim(layer))?;
        steps.undo("remove the folder", move |()| places::unclaim(layer, claimed));
        let mark = layer.join(MARK);
        steps.step("take the folder", |()| take(layer, &mark))?;
        steps.undo("remove the layer", move |()| discard(storage, layer, claimed));
        let root = steps.step("find the folder", |()| places::literal(layer))?;
        let mut tree = Tree::new(layer, root.clone(), Rule::Base, root);
        let mut report = Report::default();
        steps.step("write the layer's files", |()| {
            let read = read_archive(layer, archive, files.as_mut(), &mut tree, &mut report);
            // An open file could not be removed.
            read.inspect_err(|_| tree.abandon(files.as_mut()))
        })?;
        steps.step("set the times of directories", |()| {
            for (path, basic) in tree.directories() {
                files.set_basic_info(path, basic)?;
            }
            Ok(())
        })?;
        steps.step("release the folder", |()| places::remove(&mark))?;
        let made = steps
            .step("set up the base layer", |()| base::process_base_layer(storage, layer, &options.base))?;
        report.merge(tree.report());
        report.merge(&files.take_report());
        let hard_links = tree.made_links();
        Ok(Imported { report, utility_vm: made.utility_vm, hard_links, left_behind: None })
    })
}

/// Makes the mark; an error when somebody else has, or had it and has written files since the folder was seen empty.
fn take(layer: &Path, mark: &Path) -> Result<()> {
    match File::create_new(mark) {
        // On Windows the name of an open file cannot go.
        Ok(file) => drop(file),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists(layer.to_path_buf()));
        }
        Err(error) => return Err(error).doing("make the file", mark).map_err(Into::into),
    }
    let alone = is_alone(layer, mark);
    if !matches!(alone, Ok(true)) {
        // A mark that stayed would keep everybody out of the folder, and be part of the layer of somebody else.
        places::remove(mark)?;
    }
    if alone? { Ok(()) } else { Err(Error::Exists(layer.to_path_buf())) }
}

/// Whether nothing but the mark is in a folder.
fn is_alone(layer: &Path, mark: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(layer).doing("read the folder", layer)? {
        if entry.doing("read the folder", layer)?.path() != mark {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_archive(
    layer: &Path,
    archive: impl BufRead,
    files: &mut dyn InPlaceWriter,
    tree: &mut Tree,
    report: &mut Report,
) -> Result<()> {
    let mut reader = TarReader::new(archive);
    let mut mapper = Mapper::new(Os::Windows);
    let mut payload = false;
    loop {
        let event =
            reader.next_event().map_err(|source| Error::Archive { path: layer.to_path_buf(), source })?;
        match event {
            Event::Raw(_) => {}
            Event::Member(member) => {
                let entry = mapper
                    .entry(&member, report)
                    .map_err(|source| Error::ArchiveEntry { path: layer.to_path_buf(), source })?;
                payload = entry.as_ref().is_some_and(|entry| entry.kind.payload() > 0);
                if let Some(entry) = entry {
                    tree.entry(files, &entry)?;
                }
            }
            Event::Data(bytes) if payload => tree.data(files, bytes)?,
            Event::Data(_) => {}
            Event::End => break,
        }
    }
    tree.finish(files)?;
    if !reader.has_end_marker() {
        report.note(Finding::NoEndMarker, layer.display());
    }
    Ok(())
}

/// An import of a layer that has parents.
struct Import<'a, S: LayerStorage> {
    storage: &'a S,
    layer: &'a Path,
    chain: &'a LayerChain,
    options: &'a ImportArchiveOptions,
}

/// Whether the layer in the folder is that of this import: another one may have come first.
struct Ours(bool);

/// What is on the way to be a layer.
struct Staged {
    outcome: Outcome,
    /// The copy of the utility VM, when the layer touches it.
    vm: Option<Tree>,
}

impl<S: LayerStorage> Import<'_, S> {
    fn run(&self, archive: impl BufRead) -> Result<Imported> {
        let (storage, layer) = (self.storage, self.layer);
        let mut files = storage.in_place_writer();
        let files = files.as_mut();
        let (mut imported, temporary) = Steps::run(layer, Ours(true), |steps| {
            let claimed = steps.step("look at the folder", |_| vacant(layer))?;
            let mut staging =
                steps.step("make a staging folder", |_| Staging::beside(layer, STAGING_PREFIX))?;
            let made = staging.path().to_path_buf();
            steps.undo("remove the staging folder", move |_| staging.remove());
            let temporary = steps.step("find the staging folder", |_| places::literal(&made))?;
            let folder = temporary.join("transport");
            let staged = steps.step("stage the archive", |_| {
                self.stage(files, archive, &temporary, &folder).inspect_err(|_| files.abandon())
            })?;
            let Staged { mut outcome, vm } = staged;

            // An import that fails may have made the layer in part.
            steps.undo("remove the layer", move |Ours(ours)| match ours {
                true => discard(storage, layer, claimed),
                false => Ok(()),
            });
            steps.step("import the staged layer", |Ours(ours)| {
                let imported = storage.import_layer(layer, &folder, self.chain);
                imported.inspect_err(|error| *ours = error.kind() != ErrorKind::AlreadyExists)
            })?;
            let real = steps.step("find the imported layer", |_| places::literal(layer))?;
            steps
                .step("remove what the layer removes", |_| removed::apply(files, &real, &folder, &outcome))?;
            if let Some(vm) = &vm {
                steps.step("put the utility VM into the layer", |_| {
                    files.rename(&vm.root().join(base::UTILITY_VM), &real.join(base::UTILITY_VM))
                })?;
            }
            let links = links_of(&outcome, vm.as_ref());
            let hard_links = links.len() as u64;
            steps.step("make the hard links", |_| {
                Places { layer: &real, chain: self.chain, staged: &folder }.make(files, links)
            })?;
            steps.step("keep copies of the boot configuration", |_| {
                boot::put_in_place(files, &temporary, &real)
            })?;
            steps.step("set the times of directories", |_| {
                set_directory_times(files, &real, &outcome.directories)?;
                for (path, basic) in vm.iter().flat_map(Tree::directories) {
                    let moved = path.strip_prefix(&temporary).unwrap_or(path);
                    files.set_basic_info(&real.join(moved), basic)?;
                }
                Ok(())
            })?;
            if let Some(vm) = &vm {
                outcome.report.merge(vm.report());
                steps.step("set up the utility VM", |_| match base::utility_vm(layer)? {
                    Some(folder) => base::set_up_vm(storage, &folder, &self.options.base),
                    None => Ok(()),
                })?;
            }
            outcome.report.merge(&files.take_report());
            let utility_vm = vm.is_some();
            Ok((Imported { report: outcome.report, utility_vm, hard_links, left_behind: None }, temporary))
        })?;
        if let Err(error) = places::remove(&temporary) {
            tracing::warn!(folder = %temporary.display(), %error, "the folder of a finished import stays");
            imported.left_behind = Some(temporary);
        }
        Ok(imported)
    }

    /// Writes the archive into a transport folder, and into a copy of the utility VM.
    fn stage(
        &self,
        files: &mut dyn InPlaceWriter,
        archive: impl BufRead,
        temporary: &Path,
        folder: &Path,
    ) -> Result<Staged> {
        let options = transport::WriteOptions {
            style: Style::Hcs,
            utility_vm: transport::UtilityVm::HandedBack,
            set_times: files.set_times(),
        };
        let writer =
            TransportWriter::create(folder, options).map_err(|error| transport_error(folder, error))?;
        let mut vm: Option<Tree> = None;
        let mut failed = None;
        let mut payload = false;
        let mut take = |item: HandedBack<'_>| -> Result<()> {
            match item {
                HandedBack::Entry(entry) => {
                    payload = entry.kind.payload() > 0;
                    let vm = match &mut vm {
                        Some(vm) => vm,
                        None => vm.insert(utility_vm::copy(files, self.layer, self.chain, temporary)?),
                    };
                    vm.entry(files, entry)
                }
                HandedBack::Data(bytes) if payload => match &mut vm {
                    Some(vm) => vm.data(files, bytes),
                    None => Ok(()),
                },
                HandedBack::Data(_) => Ok(()),
            }
        };
        let mut tar = TarReader::new(archive);
        let copied = transport::copy_from_tar_with(&mut tar, writer, &mut |item| {
            take(item).map_err(|error| {
                failed = Some(error);
                std::io::ErrorKind::Other.into()
            })
        });
        let mut outcome = match (copied, failed) {
            (_, Some(error)) => return Err(error),
            (Err(error), None) => return Err(self.copy_error(folder, error)),
            (Ok(outcome), None) => outcome,
        };
        if let Some(vm) = &mut vm {
            vm.finish(files)?;
        }
        if !tar.has_end_marker() {
            outcome.report.note(Finding::NoEndMarker, self.layer.display());
        }
        self.stand_in(folder, &mut outcome)?;
        Ok(Staged { outcome, vm })
    }

    /// Puts an empty hive in the place of each that is missing.
    fn stand_in(&self, folder: &Path, outcome: &mut Outcome) -> Result<()> {
        if outcome.missing_hives.is_empty() {
            return Ok(());
        }
        let empty = match &self.options.empty_hive {
            Some(given) => Cow::Borrowed(given.as_slice()),
            None => Cow::Owned(
                HiveWriter::empty_delta()
                    .map_err(|source| Error::EmptyHive { path: self.layer.to_path_buf(), source })?,
            ),
        };
        for hive in &outcome.missing_hives {
            let path = folder.join(transport::HIVES).join(hive);
            std::fs::write(&path, &empty).doing("write", &path)?;
            outcome.report.note(Finding::EmptyHive, format_args!("{}/{hive}", transport::HIVES));
        }
        Ok(())
    }

    fn copy_error(&self, folder: &Path, error: CopyError) -> Error {
        let path = self.layer.to_path_buf();
        match error {
            CopyError::TarRead(source) => Error::Archive { path, source },
            CopyError::Entry(source) => Error::ArchiveEntry { path, source },
            CopyError::Transport(error) => transport_error(folder, error),
            other => Error::Transport {
                path: folder.to_path_buf(),
                source: Box::new(other),
                kind: ErrorKind::Other,
            },
        }
    }
}

fn transport_error(folder: &Path, error: transport::Error) -> Error {
    let kind = match &error {
        transport::Error::Io { source, .. } => io_kind(source.kind()),
        _ => ErrorKind::InvalidLayer,
    };
    Error::Transport { path: folder.to_path_buf(), source: Box::new(error), kind }
}

/// All hard links of the layer.
fn links_of(outcome: &Outcome, vm: Option<&Tree>) -> Vec<Link> {
    let of_files = outcome.hard_links.iter().map(|link| (&link.name, &link.target));
    let of_vm = vm.map(Tree::links).unwrap_or_default().iter().map(|(name, target)| (name, target));
    of_files.chain(of_vm).map(|(name, target)| Link { name: name.clone(), target: target.clone() }).collect()
}

/// The folder is absent or empty; which of the two.
fn vacant(layer: &Path) -> Result<Claimed> {
    match places::stat(layer)? {
        None => Ok(Claimed::Made),
        Some(_) => places::claim(layer),
    }
}

/// Removes a layer that is perhaps not there, or only in part.
fn discard<S: LayerStorage>(storage: &S, layer: &Path, claimed: Claimed) -> Result<()> {
    if places::stat(layer)?.is_some() {
        match destroy(storage, layer) {
            Ok(()) => {}
            // Not enough of a layer for the storage to see one.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidLayer) => {
                places::remove(layer)?;
            }
            Err(error) => return Err(error),
        }
    }
    match claimed {
        Claimed::Made => Ok(()),
        Claimed::Empty => places::claim(layer).map(drop),
    }
}

fn set_directory_times(
    files: &mut dyn InPlaceWriter,
    layer: &Path,
    directories: &[DirectoryTimes],
) -> Result<()> {
    let mut set = HashSet::new();
    for DirectoryTimes { path, basic } in directories.iter().rev() {
        // Of a directory that came twice, the later times stand.
        if !set.insert(path) {
            continue;
        }
        match places::walk(layer, path.components())? {
            Some((host, _)) => files.set_basic_info(&host, basic)?,
            // What is outside of the known trees, which has been counted, Windows need not import.
            None if !path.components().next().is_some_and(is_windows_root) => {}
            None => {
                let path = layer.join(path.to_string());
                return Err(Error::Missing { what: "directory of the layer", path });
            }
        }
    }
    Ok(())
}
