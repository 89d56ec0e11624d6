//! Layers come in and go out: as transport folders, as archives.
//!
//! ```text
//! transport folder ─► archive ─► stored layer ─► archive ─► transport folder
//!                                  scratch ─► changes ─┘          ▲
//!                         hard links, hidden directories ─────────┘ from the merged view
//! ```

use std::io::{BufReader, Read};
use std::path::Path;
use std::thread;

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_layer::merge::{Merged, MergedNode};
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader, TarWriter};
use layerstone_layer::transport::{
    self, CopyError, ReadOptions, TransportReader, TransportWriter, WriteOptions, copy_to_tar,
};
use layerstone_layer::view::{LayerView as _, NodeKind};
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata, Os, Report};

use super::Portable;
use super::attached::canonical;
use super::folder::{check_vacant, open_chain, open_layer, write_parents};
use super::writable::{self, Folders};
use crate::chain::{ChainLayer, ChainNode};
use crate::error::{Error as StoreError, IoContext};
use crate::layer::StoredLayer;
use crate::pipe::{PipeReader, pipe};
use crate::root::read_dir_or_empty;
use crate::storage::staging::{self, Staging};
use crate::storage::{Error, Result};
use crate::upper::UpperLayer;

/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Makes a layer from its archive.
pub(super) fn import_archive(
    storage: &Portable,
    folder: &Path,
    archive: &mut (dyn Read + Send),
    chain: &LayerChain,
) -> Result<()> {
    check_vacant(folder)?;
    let parents = open_chain(chain)?;
    let staging = Staging::beside(folder, staging::PREFIX)?;
    let made = staging.folder()?;
    write_parents(&made, chain)?;
    crate::import::store_archive(&made, archive, parents, Os::Windows, storage.limits)?;
    staging.publish(&made, folder)
}

/// Makes a layer from a transport folder.
pub(super) fn import_folder(
    storage: &Portable,
    folder: &Path,
    source: &Path,
    chain: &LayerChain,
) -> Result<()> {
    if !source.is_dir() {
        return Err(Error::Missing { what: "source folder", path: source.to_path_buf() });
    }
    let (from, to) = (canonical(source)?, canonical(folder)?);
    if from.starts_with(&to) || to.starts_with(&from) {
        return Err(Error::Invalid {
            path: folder.to_path_buf(),
            why: format!("the layer and its source `{}` must be different folders", source.display()),
        });
    }
    let wrong = |error: CopyError| transport_error(source, error);
    let mut reader =
        TransportReader::open(source, ReadOptions::strict()).map_err(|error| wrong(error.into()))?;
    let (writer, mut archive) = pipe();
    thread::scope(|scope| {
        let reading = thread::Builder::new()
            .name("read-transport".into())
            .spawn_scoped(scope, move || {
                let mut tar = TarWriter::new(writer);
                copy_to_tar(&mut reader, &mut tar)?;
                let end = |source| transport_end(0, source);
                tar.finish()?.finish().map_err(end)
            })
            .doing("start a thread for", source)?;
        let imported = import_archive(storage, folder, &mut archive, chain);
        // When the import has failed, the writer has to learn that nobody reads any more.
        drop(archive);
        let read = reading.join().map_err(|_| StoreError::Worker("reading a transport folder"))?;
        match (read, imported) {
            (Err(error), Err(cause)) if is_broken_pipe(&error) => Err(cause),
            (Err(error), _) => Err(wrong(error)),
            (Ok(()), imported) => imported,
        }
    })
}

fn transport_end(offset: u64, source: std::io::Error) -> CopyError {
    CopyError::TarWrite(layerstone_layer::tar::write::Error::Write { offset, source })
}

fn is_broken_pipe(error: &CopyError) -> bool {
    use layerstone_layer::tar::write::Error as Tar;
    matches!(error, CopyError::TarWrite(Tar::Write { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What is wrong with a transport folder, in the terms of Windows: incomplete or badly framed is "not found" there, too.
fn transport_error(folder: &Path, error: CopyError) -> Error {
    use transport::Error as Transport;
    let kind = match &error {
        CopyError::Transport(
            Transport::Missing { .. } | Transport::Blob { .. } | Transport::Backup { .. },
        ) => ErrorKind::NotFound,
        CopyError::Transport(Transport::Io { source, .. }) => match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::AccessDenied,
            _ => ErrorKind::Other,
        },
        CopyError::Transport(_) => ErrorKind::InvalidArgument,
        _ => ErrorKind::Other,
    };
    Error::Transport { path: folder.to_path_buf(), source: Box::new(error), kind }
}

/// The tree that a layer or a scratch stands for.
pub(super) fn view(folder: &Path, chain: &LayerChain) -> Result<Merged<ChainLayer>> {
    let (top, parents) = if writable::is_writable(folder)? {
        let parents = writable::open(folder, chain)?;
        (ChainLayer::Upper(open_upper(folder, &parents)?), parents)
    } else {
        let parents = open_chain(chain)?;
        (ChainLayer::Stored(open_layer(folder, chain, &parents)?), parents)
    };
    let layers = std::iter::once(top).chain(parents.into_iter().map(ChainLayer::Stored));
    Ok(Merged::new(layers.collect(), Os::Windows))
}

fn open_upper(scratch: &Path, parents: &[StoredLayer]) -> Result<UpperLayer> {
    Ok(UpperLayer::open(&Folders::of(scratch).upper, Os::Windows, parents.to_vec())?)
}

/// Writes a layer, or the changes of an attached scratch, as a transport folder.
pub(super) fn export(
    storage: &Portable,
    folder: &Path,
    destination: &Path,
    chain: &LayerChain,
    is_writable: bool,
) -> Result<()> {
    if !destination.is_dir() {
        return Err(Error::Missing { what: "export folder", path: destination.to_path_buf() });
    }
    if !read_dir_or_empty(destination)?.is_empty() {
        return Err(Error::NotEmpty(destination.to_path_buf()));
    }
    if !is_writable {
        let parents = open_chain(chain)?;
        let layer = open_layer(folder, chain, &parents)?;
        let below = Merged::new(parents, Os::Windows);
        return write_folder(layer.archive_reader(), destination, &view(folder, chain)?, &below);
    }
    writable::check_attached(storage, folder)?;
    let parents = writable::open(folder, chain)?;
    let upper = open_upper(folder, &parents)?;
    let lower = Merged::new(parents, Os::Windows);
    let shown = view(folder, chain)?;
    let (writer, archive) = pipe();
    thread::scope(|scope| {
        let changes = thread::Builder::new()
            .name("read-scratch".into())
            .spawn_scoped(scope, || crate::commit::write_archive(&upper, &lower, writer))
            .doing("start a thread for", folder)?;
        let written = write_folder(archive, destination, &shown, &lower);
        let read = changes.join().map_err(|_| StoreError::Worker("reading a scratch"))?;
        // The folder's error is the cause when its side ended first; otherwise it only says that the archive ended early.
        match (read, written) {
            (Err(StoreError::TarWrite(_)), Err(cause)) => Err(cause),
            (Err(error), _) => Err(error.into()),
            (Ok(_), written) => written,
        }
    })
}

/// Writes the entries of an archive into a transport folder. What the folder has no word for is made of what the layer
/// shows together with its parents (`view`): a hard link becomes a file of its own, a directory that hides what is below
/// it removes each name by itself.
fn write_folder(
    archive: PipeReader,
    folder: &Path,
    view: &Merged<ChainLayer>,
    below: &Merged<StoredLayer>,
) -> Result<()> {
    let wrong = |error: CopyError| transport_error(folder, error);
    let mut tar = TarReader::new(BufReader::with_capacity(CHUNK, archive));
    let mut mapper = Mapper::new(Os::Windows);
    let mut report = Report::default();
    let mut out = Output {
        writer: TransportWriter::create(folder, WriteOptions::hcs()).map_err(|error| wrong(error.into()))?,
        folder,
        view,
        below,
        links: Vec::new(),
    };
    let mut takes_data = false;
    loop {
        match tar.next_event().map_err(|error| wrong(error.into()))? {
            Event::Raw(_) => {}
            Event::Data(bytes) if takes_data => {
                out.writer.data(bytes).map_err(|error| wrong(error.into()))?;
            }
            Event::Data(_) => {}
            Event::End => break,
            Event::Member(member) => {
                let entry = mapper.entry(&member, &mut report).map_err(|error| wrong(error.into()))?;
                takes_data = entry.as_ref().is_some_and(|entry| entry.kind.payload() > 0);
                if let Some(entry) = entry {
                    out.entry(entry)?;
                }
            }
        }
    }
    out.finish()
}

struct Output<'a> {
    writer: TransportWriter,
    folder: &'a Path,
    view: &'a Merged<ChainLayer>,
    below: &'a Merged<StoredLayer>,
    /// Written at the end: what they lead to may come later.
    links: Vec<LayerPath>,
}

impl Output<'_> {
    fn wrong(&self, error: transport::Error) -> Error {
        transport_error(self.folder, error.into())
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        self.writer.entry(entry).map(drop).map_err(|error| self.wrong(error))
    }

    fn entry(&mut self, entry: Entry) -> Result<()> {
        match entry.kind {
            EntryKind::HardLink { .. } => {
                self.links.push(entry.path);
                Ok(())
            }
            EntryKind::Opaque => self.hide(&entry.path),
            _ => self.write(&entry),
        }
    }

    /// Removes each name that the parents have in a directory, unless the layer has it too (then it stands).
    fn hide(&mut self, path: &LayerPath) -> Result<()> {
        let Some(directory) = self.below.resolve(path, false)? else { return Ok(()) };
        for (name, _) in self.below.read_dir(&directory)? {
            let entry =
                Entry { path: path.join(&name), kind: EntryKind::Whiteout, meta: Metadata::default() };
            self.write(&entry)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        for path in std::mem::take(&mut self.links) {
            // A link that leads nowhere is not in the view, and was counted when the layer was imported.
            if let Some(node) = self.view.resolve(&path, false)? {
                self.copy(&path, &node)?;
            }
        }
        self.writer.finish().map(drop).map_err(|error| transport_error(self.folder, error.into()))
    }

    /// Writes a file of the view under one of its names.
    fn copy(&mut self, path: &LayerPath, node: &MergedNode<ChainNode>) -> Result<()> {
        let Some((at, id)) = node.sources.first() else { return Ok(()) };
        let layer = &self.view.layers()[*at];
        let kind = match &node.node.kind {
            NodeKind::File { size } => EntryKind::File { size: *size, segments: None },
            NodeKind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
            _ => {
                return Err(StoreError::WrongKind {
                    path: path.clone(),
                    wanted: "something that can have two names",
                }
                .into());
            }
        };
        let has_data = matches!(kind, EntryKind::File { .. });
        self.write(&Entry { path: path.clone(), kind, meta: node.node.meta.clone() })?;
        if has_data {
            self.bytes(path, layer.open(id, None)?)?;
        }
        for (name, size) in &node.node.streams {
            let kind = EntryKind::Stream { name: name.clone(), size: *size };
            self.write(&Entry { path: path.clone(), kind, meta: Metadata::default() })?;
            self.bytes(path, layer.open(id, Some(name))?)?;
        }
        Ok(())
    }

    fn bytes(&mut self, path: &LayerPath, mut from: impl Read) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => self.writer.data(&buffer[..n]).map_err(|error| self.wrong(error))?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::Compare { path: path.clone(), source }.into()),
            }
        }
    }
}
