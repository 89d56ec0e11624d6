//! A stored layer: `layer.erofs`, `layer.split` and `layer.json` in one directory.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layerstone_erofs::{FileType, Image, Inode, Nid};
use layerstone_layer::encode::{self, STREAM_DIRECTORY};
use layerstone_layer::split::SplitReader;
use layerstone_layer::view::{LayerView, Node, NodeKind};
use layerstone_layer::{Metadata, Os, Report, UnixTime, Xattr};
use layerstone_oci::{ChainId, DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::root::read_json;

/// Name of the image file.
pub const IMAGE: &str = "layer.erofs";
/// Name of the split stream.
pub const SPLIT: &str = "layer.split";
/// Name of the description.
pub const DESCRIPTION: &str = "layer.json";

/// Version of the stored form that this program writes.
pub const FORMAT: u32 = 1;

/// What `layer.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of the stored form.
    pub format: u32,
    /// SHA-256 of the uncompressed archive.
    pub diff_id: DiffId,
    /// The identity of the layer: its DiffID together with all below.
    pub chain_id: ChainId,
    /// The layer below.
    pub parent: Option<ChainId>,
    /// The operating system whose rules were applied.
    pub os: Os,
    /// Length of the uncompressed archive in bytes.
    pub archive_size: u64,
    /// Size of the image file in bytes.
    pub image_size: u64,
    /// Byte of the image from which on everything is metadata.
    pub metadata_offset: u64,
    /// SHA-256 of block 0 of the image followed by everything from `metadata_offset` on.
    pub metadata_digest: Digest,
    /// What is in it.
    pub counts: Counts,
    /// What was out of the ordinary.
    pub report: Report,
}

/// How much of what a layer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Members of the archive.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links and other reparse points.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Devices and fifos.
    pub special: u64,
    /// Alternate data streams.
    pub streams: u64,
    /// Whiteouts and opaque markers.
    pub whiteouts: u64,
    /// Bytes of all files and streams.
    pub bytes: u64,
}

/// A stored layer, open for reading.
#[derive(Debug, Clone)]
pub struct StoredLayer {
    path: PathBuf,
    description: Arc<Description>,
    image: Arc<Image<File>>,
    /// The directory of alternate streams, where there is one.
    streams: Option<Nid>,
}

impl StoredLayer {
    /// Opens the layer in a directory.
    ///
    /// # Errors
    /// When something is missing or damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let json = path.join(DESCRIPTION);
        let description: Description = read_json(&json)?;
        if description.format > FORMAT {
            return Err(Error::Version { path: json, found: description.format, known: FORMAT });
        }
        let image_path = path.join(IMAGE);
        let file = File::open(&image_path).doing("open", &image_path)?;
        let chain = description.chain_id;
        let damaged = |source| Error::Image { chain, source };
        let image = Image::open(file).map_err(damaged)?;
        let streams = if description.os == Os::Windows {
            let root = image.inode(image.root()).map_err(damaged)?;
            image.lookup(&root, STREAM_DIRECTORY).map_err(damaged)?
        } else {
            None
        };
        Ok(StoredLayer { path, description: Arc::new(description), image: Arc::new(image), streams })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its image file.
    pub fn image_path(&self) -> PathBuf {
        self.path.join(IMAGE)
    }

    /// What `layer.json` says.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Its identity.
    pub fn chain_id(&self) -> &ChainId {
        &self.description.chain_id
    }

    /// The image.
    pub fn image(&self) -> &Image<File> {
        &self.image
    }

    /// Opens the split stream.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn split(&self) -> Result<SplitReader<File>> {
        let path = self.path.join(SPLIT);
        let open = || File::open(&path).doing("open", &path);
        SplitReader::open(open()?, open()?).map_err(|source| Error::Split { chain: *self.chain_id(), source })
    }

    /// Bytes that the layer takes on disk.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn disk_usage(&self) -> Result<u64> {
        crate::usage::of(&self.path)
    }

    fn damaged(&self, source: layerstone_erofs::Error) -> Error {
        Error::Image { chain: *self.chain_id(), source }
    }

    fn inode(&self, nid: Nid) -> Result<Inode> {
        self.image.inode(nid).map_err(|source| self.damaged(source))
    }

    /// The alternate stream with this key, if the layer has it.
    pub(crate) fn open_stream(&self, key: &[u8]) -> Result<Option<FileReader<'_>>> {
        let Some(streams) = self.streams else { return Ok(None) };
        let directory = self.inode(streams)?;
        let found = self.image.lookup(&directory, key).map_err(|source| self.damaged(source))?;
        found.map(|nid| Ok(self.file_reader(self.inode(nid)?))).transpose()
    }

    /// A reader of the bytes of an inode.
    pub(crate) fn file_reader(&self, inode: Inode) -> FileReader<'_> {
        FileReader { image: &self.image, inode, offset: 0 }
    }
}

/// Reads a file of an image from start to end.
#[derive(Debug)]
pub struct FileReader<'a> {
    image: &'a Image<File>,
    inode: Inode,
    offset: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self
            .image
            .read_at(&self.inode, buffer, self.offset)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl LayerView for StoredLayer {
    type Id = Nid;
    type Error = Error;

    fn root(&self) -> Nid {
        self.image.root()
    }

    fn node(&self, &nid: &Nid) -> Result<Node> {
        let inode = self.inode(nid)?;
        let stored = self.image.xattrs(&inode).map_err(|source| self.damaged(source))?;
        let stored = stored.into_iter().map(|x| Xattr { name: x.name, value: x.value }).collect();
        let decoded = encode::from_xattrs(stored, self.description.os)
            .map_err(|source| Error::Attribute { chain: *self.chain_id(), nid: nid.0, source })?;
        let (major, minor) = inode.rdev;
        let kind = match inode.file_type() {
            FileType::Directory => NodeKind::Directory { opaque: decoded.opaque },
            FileType::Regular => NodeKind::File { size: inode.size },
            FileType::Symlink => NodeKind::Symlink {
                target: self.image.read_link(&inode).map_err(|source| self.damaged(source))?,
            },
            FileType::CharDevice if (major, minor) == (0, 0) => NodeKind::Whiteout,
            FileType::CharDevice => NodeKind::CharDevice { major, minor },
            FileType::BlockDevice => NodeKind::BlockDevice { major, minor },
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
        };
        let meta = Metadata {
            mode: inode.mode & 0o7777,
            uid: inode.uid,
            gid: inode.gid,
            mtime: UnixTime::new(inode.mtime, inode.mtime_nsec).unwrap_or_default(),
            xattrs: decoded.xattrs,
            windows: decoded.windows,
        };
        let streams = decoded.streams.into_iter().map(|s| (s.name, s.size)).collect();
        Ok(Node { kind, meta, nlink: inode.nlink, inode: nid.0, streams })
    }

    fn lookup(&self, &directory: &Nid, name: &[u8]) -> Result<Option<Nid>> {
        if directory == self.root() && self.streams.is_some() && name == STREAM_DIRECTORY {
            return Ok(None);
        }
        let inode = self.inode(directory)?;
        self.image.lookup(&inode, name).map_err(|source| self.damaged(source))
    }

    fn read_dir(&self, &directory: &Nid) -> Result<Vec<(Vec<u8>, Nid)>> {
        let inode = self.inode(directory)?;
        let entries = self.image.read_dir(&inode).map_err(|source| self.damaged(source))?;
        let hide = directory == self.root() && self.streams.is_some();
        Ok(entries
            .into_iter()
            .filter(|entry| !(hide && entry.name == STREAM_DIRECTORY))
            .map(|entry| (entry.name, entry.nid))
            .collect())
    }

    fn open<'a>(&'a self, &nid: &Nid, stream: Option<&[u8]>) -> Result<Box<dyn Read + 'a>> {
        let inode = self.inode(nid)?;
        let Some(stream) = stream else { return Ok(Box::new(self.file_reader(inode))) };
        let missing = || Error::Damaged {
            chain: *self.chain_id(),
            what: format!("inode {nid} has no stream `{}`", String::from_utf8_lossy(stream)),
        };
        let stored = self.image.xattrs(&inode).map_err(|source| self.damaged(source))?;
        let stored = stored.into_iter().map(|x| Xattr { name: x.name, value: x.value }).collect();
        let decoded = encode::from_xattrs(stored, self.description.os)
            .map_err(|source| Error::Attribute { chain: *self.chain_id(), nid: nid.0, source })?;
        let reference = decoded.streams.into_iter().find(|s| s.name == stream).ok_or_else(missing)?;
        Ok(Box::new(self.open_stream(&reference.key)?.ok_or_else(missing)?))
    }
}
