//! overlayfs's upper directory, seen as a layer.
//!
//! What overlayfs leaves there (Documentation/filesystems/overlayfs.rst of Linux):
//!
//! | what | means |
//! | --- | --- |
//! | character device 0:0 | whiteout |
//! | empty file with `overlay.whiteout`, in a directory with `overlay.whiteouts` or `overlay.opaque` = `x` | whiteout |
//! | `overlay.opaque` = `y` | nothing of the lower directories shows |
//! | `overlay.redirect`, `overlay.metacopy` | the rest is elsewhere: refused, scratches are mounted without these |
//! | everything else named `overlay.` | book-keeping |
//!
//! Each in the name space `trusted.`, or `user.` for mounts made without privilege.

use std::io::Read;
use std::path::Path;

use layerstone_layer::encode::{self, STREAM_DIRECTORY};
use layerstone_layer::view::{LayerView, Node, NodeKind};
use layerstone_layer::{LayerPath, Metadata, Os, Report, Xattr};

use crate::beneath::{Beneath, FileKind, Found, Stat, is_privileged};
use crate::error::{Error, IoContext, Result};
use crate::layer::StoredLayer;

/// The names after `user.overlay.` that are overlayfs's; others are somebody's data.
const OWN: [&[u8]; 11] = [
    b"opaque",
    b"redirect",
    b"origin",
    b"impure",
    b"nlink",
    b"upper",
    b"metacopy",
    b"protattr",
    b"uuid",
    b"whiteout",
    b"whiteouts",
];

/// Attributes that the host puts on every file it makes, and that are no part of the layer.
const HOST: [&[u8]; 2] = [b"security.selinux", b"system.nfs4_acl"];

/// True for the attributes that [`UpperLayer`] leaves out.
pub(crate) fn is_host_attribute(name: &[u8]) -> bool {
    HOST.contains(&name)
}

/// An upper directory.
#[derive(Debug)]
pub struct UpperLayer {
    root: Beneath,
    os: Os,
    /// The layers below, topmost first: they have the alternate streams of copied-up files.
    lowers: Vec<StoredLayer>,
    /// Without privilege, files of the container's root belong to the user: what is to be read as root.
    own: Option<(u32, u32)>,
}

/// overlayfs's attributes of one file.
#[derive(Default)]
struct Marks {
    opaque: Option<Vec<u8>>,
    whiteout: bool,
    whiteouts: bool,
}

impl Marks {
    /// The directory may hold whiteouts that are files.
    fn has_file_whiteouts(&self) -> bool {
        self.whiteouts || self.opaque.as_deref() == Some(b"x")
    }
}

impl UpperLayer {
    /// Opens the upper directory at `path`, which lies over `lowers`, topmost first.
    ///
    /// # Errors
    /// When it cannot be opened. [`Error::Unsupported`] on systems other than Linux.
    pub fn open(path: &Path, os: Os, lowers: Vec<StoredLayer>) -> Result<Self> {
        if !cfg!(target_os = "linux") {
            let missing = "the changes of a scratch are overlayfs's, a part of the Linux kernel".to_owned();
            return Err(Error::Unsupported { doing: "look into a scratch", missing });
        }
        let root = Beneath::open(path).doing("open", path)?;
        let own = if is_privileged() {
            None
        } else {
            root.find(&LayerPath::root())
                .and_then(|found| found.map(|found| found.stat()).transpose())
                .doing("look at", path)?
                .map(|stat| (stat.uid, stat.gid))
        };
        Ok(UpperLayer { root, os, lowers, own })
    }

    fn find(&self, path: &LayerPath) -> Result<Found> {
        self.root
            .find(path)
            .doing("look up", self.root.shown(path))?
            .ok_or_else(|| Error::NoPath { path: path.clone(), place: "the scratch".into() })
    }

    /// What is at `path`, without its attributes.
    pub(crate) fn stat(&self, path: &LayerPath) -> Result<Stat> {
        self.find(path)?.stat().doing("look at", self.root.shown(path))
    }

    /// What is at `path`, if anything.
    pub(crate) fn node_if_there(&self, path: &LayerPath) -> Result<Option<Node>> {
        match self.root.find(path).doing("look up", self.root.shown(path))? {
            Some(_) => self.node(path).map(Some),
            None => Ok(None),
        }
    }

    /// Takes overlayfs's attributes, and the host's, from those of the layer.
    fn split_xattrs(&self, path: &LayerPath, found: &Found) -> Result<(Vec<Xattr>, Marks)> {
        let mut marks = Marks::default();
        let mut rest = Vec::new();
        for xattr in found.xattrs().doing("read the attributes of", self.root.shown(path))? {
            let name = match (
                xattr.name.strip_prefix(b"trusted.overlay."),
                xattr.name.strip_prefix(b"user.overlay."),
            ) {
                (Some(name), _) => name,
                (None, Some(name)) if OWN.contains(&name) => name,
                (None, Some(name)) if name.starts_with(b"overlay.") => {
                    rest.push(Xattr { name: [b"user.", name].concat(), value: xattr.value });
                    continue;
                }
                _ => {
                    if !is_host_attribute(&xattr.name) {
                        rest.push(xattr);
                    }
                    continue;
                }
            };
            match name {
                b"opaque" => marks.opaque = Some(xattr.value),
                b"whiteout" => marks.whiteout = true,
                b"whiteouts" => marks.whiteouts = true,
                b"redirect" | b"metacopy" => {
                    let feature = String::from_utf8_lossy(name).into_owned();
                    return Err(Error::OverlayFeature { path: path.clone(), feature });
                }
                // A layer's own attribute of that name space, escaped.
                name if name.starts_with(b"overlay.") => rest.push(xattr),
                _ => {}
            }
        }
        Ok((rest, marks))
    }

    fn is_file_whiteout(&self, path: &LayerPath) -> Result<bool> {
        let Some((parent, _)) = path.split_last() else { return Ok(false) };
        let (_, marks) = self.split_xattrs(&parent, &self.find(&parent)?)?;
        Ok(marks.has_file_whiteouts())
    }

    fn owner(&self, stat: &Stat) -> (u32, u32) {
        match self.own {
            None => (stat.uid, stat.gid),
            Some((uid, gid)) => {
                let root_if = |id, own| if id == own { 0 } else { id };
                (root_if(stat.uid, uid), root_if(stat.gid, gid))
            }
        }
    }

    fn decode(&self, path: &LayerPath, xattrs: Vec<Xattr>) -> Result<encode::Decoded> {
        encode::from_xattrs(xattrs, self.os)
            .map_err(|source| Error::ScratchAttribute { path: path.clone(), source })
    }
}

impl LayerView for UpperLayer {
    type Id = LayerPath;
    type Error = Error;

    fn root(&self) -> LayerPath {
        LayerPath::root()
    }

    fn node(&self, path: &LayerPath) -> Result<Node> {
        let found = self.find(path)?;
        let stat = found.stat().doing("look at", self.root.shown(path))?;
        let (xattrs, marks) = self.split_xattrs(path, &found)?;
        let decoded = self.decode(path, xattrs)?;
        let (major, minor) = stat.device;
        let kind = match stat.kind {
            FileKind::Directory => NodeKind::Directory { opaque: marks.opaque.as_deref() == Some(b"y") },
            FileKind::File if stat.size == 0 && marks.whiteout && self.is_file_whiteout(path)? => {
                NodeKind::Whiteout
            }
            FileKind::File => NodeKind::File { size: stat.size },
            FileKind::Symlink => {
                NodeKind::Symlink { target: found.read_link().doing("read the link", self.root.shown(path))? }
            }
            FileKind::CharDevice if (major, minor) == (0, 0) => NodeKind::Whiteout,
            FileKind::CharDevice => NodeKind::CharDevice { major, minor },
            FileKind::BlockDevice => NodeKind::BlockDevice { major, minor },
            FileKind::Fifo => NodeKind::Fifo,
            FileKind::Socket => NodeKind::Socket,
        };
        let (uid, gid) = self.owner(&stat);
        let meta = Metadata {
            mode: stat.mode,
            uid,
            gid,
            mtime: stat.mtime,
            xattrs: decoded.xattrs,
            windows: decoded.windows,
        };
        let streams = decoded.streams.into_iter().map(|s| (s.name, s.size)).collect();
        Ok(Node { kind, meta, nlink: stat.nlink, inode: stat.inode, streams })
    }

    fn lookup(&self, directory: &LayerPath, name: &[u8]) -> Result<Option<LayerPath>> {
        if self.os == Os::Windows && directory.is_root() && name == STREAM_DIRECTORY {
            return Ok(None);
        }
        let path = directory.join(name);
        let found = self.root.find(&path).doing("look up", self.root.shown(&path))?;
        Ok(found.map(|_| path))
    }

    fn read_dir(&self, directory: &LayerPath) -> Result<Vec<(Vec<u8>, LayerPath)>> {
        let names = self.find(directory)?.names().doing("list", self.root.shown(directory))?;
        let hide = self.os == Os::Windows && directory.is_root();
        Ok(names
            .into_iter()
            .filter(|name| !(hide && name == STREAM_DIRECTORY))
            .map(|name| {
                let path = directory.join(&name);
                (name, path)
            })
            .collect())
    }

    fn open<'a>(&'a self, path: &LayerPath, stream: Option<&[u8]>) -> Result<Box<dyn Read + 'a>> {
        let found = self.find(path)?;
        let Some(stream) = stream else {
            return Ok(Box::new(found.read().doing("open", self.root.shown(path))?));
        };
        let (xattrs, _) = self.split_xattrs(path, &found)?;
        let missing = || Error::NoPath {
            path: path.join(&[b":", stream].concat()),
            place: "the scratch and the layers below".into(),
        };
        let streams = self.decode(path, xattrs)?.streams;
        let reference = streams.into_iter().find(|s| s.name == stream).ok_or_else(missing)?;
        // overlayfs copies a file up with the attribute that names its streams; their bytes stay in the layer below.
        for lower in &self.lowers {
            if let Some(reader) = lower.open_stream(&reference.key)? {
                return Ok(Box::new(reader));
            }
        }
        Err(missing())
    }
}

/// Gives a new upper directory what the root directory of the chain has: overlayfs shows the upper's own.
pub(crate) fn prepare_root(path: &Path, root: &Node) -> Result<()> {
    if cfg!(not(target_os = "linux")) {
        return Ok(());
    }
    let open = || Beneath::open(path)?.find(&LayerPath::root());
    let Some(upper) = open().doing("open", path)? else { return Ok(()) };
    let meta = &root.meta;
    if is_privileged() {
        upper.set_owner(meta.uid, meta.gid).doing("set the owner of", path)?;
    }
    upper.set_mode(meta.mode).doing("set the mode of", path)?;
    let mut report = Report::default();
    for xattr in encode::to_xattrs(meta, true, &[], &LayerPath::root(), &mut report) {
        // Attributes of the root directory matter little, and a host that cannot hold them can still run containers.
        let _ = upper.set_xattr(&xattr.name, &xattr.value);
    }
    upper.set_mtime(meta.mtime).doing("set the times of", path)
}
