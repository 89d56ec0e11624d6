//! Unpacking: the merged tree of an image as plain files.
//!
//! The names in an image are anybody's. Nothing is ever resolved outside of the directory that is filled, and no
//! symbolic link is followed: see `beneath`. A file gets its owner first, then its attributes, which a change of
//! owner takes away, then its mode, then its times; directories get theirs at the end, when nothing more goes into them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use layerstone_erofs::Nid;
use layerstone_layer::merge::{Merged, MergedNode};
use layerstone_layer::view::{Node, NodeKind};
use layerstone_layer::{Finding, LayerPath, Metadata, Os, Report, encode};

use crate::beneath::{Beneath, FileKind, Found, is_privileged};
use crate::error::{Error, IoContext, Result};
use crate::image::StoredImage;
use crate::layer::StoredLayer;
use crate::root::{Store, read_dir_or_empty};

/// Bytes copied at once.
const CHUNK: usize = 512 << 10;
/// Set-user-ID and set-group-ID.
const SET_ID: u16 = 0o6000;

/// How to unpack.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// Of a Windows image, everything that is in its layers, and not what is in `Files` alone.
    pub raw: bool,
}

impl Store {
    /// Writes the merged tree of an image to `directory`, which is made or must be empty. Of a Windows image that is
    /// drive C:, and its metadata become extended attributes `user.winnt.*`.
    ///
    /// Only root can set owners and make devices; what could not be set is in the report.
    ///
    /// # Errors
    /// When a layer is damaged or the directory cannot be filled: what has been written stays. [`Error::Unsupported`]
    /// on systems other than Linux.
    pub fn unpack(&self, image: &StoredImage, directory: &Path, options: &UnpackOptions) -> Result<Report> {
        let _shared = self.lock_shared()?;
        if !cfg!(target_os = "linux") {
            let missing = "safe ways to reach files beneath a directory, which Linux has".to_owned();
            return Err(Error::Unsupported { doing: "unpack an image", missing });
        }
        let view = self.merged(&image.chain_ids(), image.os())?;
        let mut report = Report::default();
        let start = start(image, &view, options, &mut report)?;
        fs::create_dir_all(directory).doing("create", directory)?;
        if !read_dir_or_empty(directory)?.is_empty() {
            return Err(Error::NotEmpty(directory.to_path_buf()));
        }
        let Some(start) = start else { return Ok(report) };
        let mut unpacker = Unpacker {
            view: &view,
            beneath: Beneath::open(directory).doing("open", directory)?,
            privileged: is_privileged(),
            parent: None,
            links: HashMap::new(),
            directories: Vec::new(),
            buffer: vec![0; CHUNK],
            report,
        };
        for visited in view.walk(LayerPath::root(), start) {
            let (path, node) = visited?;
            unpacker.entry(path, &node)?;
        }
        unpacker.finish()
    }
}

/// The directory of the view that becomes the root.
fn start(
    image: &StoredImage,
    view: &Merged<StoredLayer>,
    options: &UnpackOptions,
    report: &mut Report,
) -> Result<Option<MergedNode<Nid>>> {
    let Some(root) = view.root()? else { return Ok(None) };
    if view.os() != Os::Windows || options.raw {
        return Ok(Some(root));
    }
    let found = view.lookup_any_case(&root, b"Files")?;
    let Some((files, start)) = found.filter(|(_, node)| node.node.kind.is_directory()) else {
        return Err(Error::NoPath { path: LayerPath::from("Files"), place: format!("`{}`", image.name) });
    };
    for (name, _) in view.read_dir(&root)? {
        if name != files {
            report.note(Finding::OutsideFiles, LayerPath::root().join(&name));
        }
    }
    Ok(Some(start))
}

struct Unpacker<'a> {
    view: &'a Merged<StoredLayer>,
    beneath: Beneath,
    privileged: bool,
    /// The directory that was last written to.
    parent: Option<(LayerPath, Found)>,
    /// Files with several names: where the first one is.
    links: HashMap<(usize, Nid), LayerPath>,
    /// What directories get at the end, parents before children.
    directories: Vec<(LayerPath, Node)>,
    buffer: Vec<u8>,
    report: Report,
}

/// Names the step and the path of an error.
fn at<'a>(doing: &'static str, path: &'a LayerPath) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::Unpack { doing, path: path.clone(), source }
}

impl Unpacker<'_> {
    fn entry(&mut self, path: LayerPath, merged: &MergedNode<Nid>) -> Result<()> {
        let node = &merged.node;
        let Some((parent, name)) = path.split_last() else {
            self.directories.push((path, node.clone()));
            return Ok(());
        };
        self.enter(&parent)?;
        let Some((_, directory)) = &self.parent else { return Ok(()) };
        let source = merged.sources.first().copied();
        let linked = source.filter(|_| node.nlink > 1 && !node.kind.is_directory());
        if let Some(first) = linked.and_then(|source| self.links.get(&source)) {
            return self.link(&path, directory, name, first);
        }
        for (stream, _) in &node.streams {
            let stream = layerstone_layer::path::display_name(stream);
            self.report.note(Finding::StreamLeftOut, format_args!("{path}:{stream}"));
        }
        match &node.kind {
            NodeKind::Directory { .. } => {
                directory.make_directory(name).map_err(at("create the directory", &path))?;
                self.directories.push((path, node.clone()));
                return Ok(());
            }
            NodeKind::File { size } => {
                let file = directory.make_file(name).map_err(at("create", &path))?;
                if let Some((layer, nid)) = source {
                    copy(&self.view.layers()[layer], nid, *size, file, &path, &mut self.buffer)?;
                }
            }
            NodeKind::Symlink { target } => {
                directory.make_symlink(name, target).map_err(at("create the link", &path))?;
            }
            NodeKind::Fifo => {
                let made = directory.make_node(name, FileKind::Fifo, (0, 0));
                made.map_err(at("create the fifo", &path))?;
            }
            NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                let kind = match node.kind {
                    NodeKind::CharDevice { .. } => FileKind::CharDevice,
                    _ => FileKind::BlockDevice,
                };
                match directory.make_node(name, kind, (*major, *minor)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        self.report.note(Finding::DeviceLeftOut, &path);
                        return Ok(());
                    }
                    Err(error) => return Err(at("create the device", &path)(error)),
                }
            }
            NodeKind::Socket | NodeKind::Whiteout => {
                self.report.note(Finding::Socket, &path);
                return Ok(());
            }
        }
        let made = directory.child(name).map_err(at("look up", &path))?;
        self.dress(&path, node, &made)?;
        if let Some(source) = linked {
            self.links.insert(source, path);
        }
        Ok(())
    }

    fn link(&self, path: &LayerPath, directory: &Found, name: &[u8], first: &LayerPath) -> Result<()> {
        let missing = || at("find the first name of", path)(io::ErrorKind::NotFound.into());
        let (parent, target) = first.split_last().ok_or_else(missing)?;
        let found = self.beneath.find(&parent).map_err(at("look up", &parent))?.ok_or_else(missing)?;
        directory.make_link(name, &found, target).map_err(at("create the link", path))
    }

    /// Opens the directory that the next entry is in, unless it is open already.
    fn enter(&mut self, path: &LayerPath) -> Result<()> {
        if self.parent.as_ref().is_none_or(|(open, _)| open != path) {
            let found = self.beneath.find(path).map_err(at("look up", path))?;
            let found = found.ok_or_else(|| at("look up", path)(io::ErrorKind::NotFound.into()))?;
            self.parent = Some((path.clone(), found));
        }
        Ok(())
    }

    /// Gives a file its owner, attributes, mode and time, in the order in which they do not undo each other.
    fn dress(&mut self, path: &LayerPath, node: &Node, made: &Found) -> Result<()> {
        let meta = &node.meta;
        let owned = self.set_owner(path, meta, made)?;
        let plain = matches!(node.kind, NodeKind::File { .. } | NodeKind::Directory { .. });
        self.set_xattrs(path, meta, plain, made)?;
        if !matches!(node.kind, NodeKind::Symlink { .. }) {
            // A program must not run as somebody whom the image does not name.
            let mode = if owned { meta.mode } else { meta.mode & !SET_ID };
            made.set_mode(mode).map_err(at("set the mode of", path))?;
        }
        made.set_mtime(meta.mtime).map_err(at("set the times of", path))
    }

    /// Whether the file belongs to whom it should.
    fn set_owner(&mut self, path: &LayerPath, meta: &Metadata, made: &Found) -> Result<bool> {
        let refused = if self.privileged {
            match made.set_owner(meta.uid, meta.gid) {
                Ok(()) => false,
                // In a user namespace, an owner that is not mapped is invalid.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
                    ) =>
                {
                    true
                }
                Err(error) => return Err(at("set the owner of", path)(error)),
            }
        } else {
            let stat = made.stat().map_err(at("look at", path))?;
            (stat.uid, stat.gid) != (meta.uid, meta.gid)
        };
        if refused {
            self.report.note(Finding::OwnerNotSet, path);
        }
        Ok(!refused)
    }

    fn set_xattrs(&mut self, path: &LayerPath, meta: &Metadata, plain: bool, made: &Found) -> Result<()> {
        let set = |name: &[u8], value: &[u8]| match made.set_xattr(name, value) {
            Ok(()) => Ok(true),
            // What a file system holds, and who may set it, differs; a full attribute block is no full disk.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::Unsupported
                        | io::ErrorKind::StorageFull
                        | io::ErrorKind::ArgumentListTooLong
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(at("set an attribute of", path)(error)),
        };
        for xattr in &meta.xattrs {
            if !set(&xattr.name, &xattr.value)? {
                let name = layerstone_layer::path::display_name(&xattr.name);
                self.report.note(Finding::XattrNotSet, format_args!("{path}: {name}"));
            }
        }
        if meta.windows.is_some() {
            let windows = Metadata { xattrs: Vec::new(), ..meta.clone() };
            let mut all = true;
            for xattr in encode::to_xattrs(&windows, plain, &[], path, &mut self.report) {
                all &= set(&xattr.name, &xattr.value)?;
            }
            if !all {
                self.report.note(Finding::WindowsMetadataNotSet, path);
            }
        }
        Ok(())
    }

    /// Gives the directories what they should have, children before parents.
    fn finish(mut self) -> Result<Report> {
        for (path, node) in std::mem::take(&mut self.directories).into_iter().rev() {
            let found = self.beneath.find(&path).map_err(at("look up", &path))?;
            let found = found.ok_or_else(|| at("look up", &path)(io::ErrorKind::NotFound.into()))?;
            self.dress(&path, &node, &found)?;
        }
        Ok(self.report)
    }
}

/// Writes the bytes of a file where it has any; holes stay holes.
fn copy(
    layer: &StoredLayer,
    nid: Nid,
    size: u64,
    mut file: fs::File,
    path: &LayerPath,
    buffer: &mut [u8],
) -> Result<()> {
    let image = layer.image();
    let broken = |source| Error::Image { chain: *layer.chain_id(), source };
    let inode = image.inode(nid).map_err(broken)?;
    for extent in image.extents(&inode).map_err(broken)? {
        if extent.image_offset.is_none() {
            continue;
        }
        file.seek(SeekFrom::Start(extent.file_offset)).map_err(at("write", path))?;
        let (mut offset, end) = (extent.file_offset, extent.file_offset + extent.len);
        while offset < end {
            let want = usize::try_from(end - offset).unwrap_or(buffer.len()).min(buffer.len());
            let n = image.read_at(&inode, &mut buffer[..want], offset).map_err(broken)?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n]).map_err(at("write", path))?;
            offset += n as u64;
        }
    }
    // A hole at the end has no bytes that would have made the file this long.
    file.set_len(size).map_err(at("write", path))
}
