//! A tree as the tests think of it, its image, and the comparison of the two through the crate's own reader.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;

use layerstone_erofs::{
    Content, FileType, FinishOptions, Finished, Image, ImageWriter, Inode, Nid, Node, NodeId, ReadAt,
    Segment, Tree, Xattr,
};

#[derive(Clone, PartialEq)]
pub(crate) enum Kind {
    Dir(BTreeMap<Vec<u8>, usize>),
    File(Vec<u8>),
    Sparse { size: u64, pieces: Vec<(u64, Vec<u8>)> },
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) perm: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) kind: Kind,
}

/// Items by index; item 0 is the root.
#[derive(Debug, Clone)]
pub(crate) struct Model(pub(crate) Vec<Item>);

/// Short: a failing test prints a whole tree.
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(entries) => {
                let names = entries.iter().map(|(name, index)| (name.escape_ascii().to_string(), index));
                f.write_str("Dir ")?;
                f.debug_map().entries(names).finish()
            }
            Self::File(bytes) => write!(f, "File of {}", bytes.len()),
            Self::Sparse { size, pieces } => {
                let pieces: Vec<_> = pieces.iter().map(|(at, bytes)| (at, bytes.len())).collect();
                write!(f, "Sparse of {size} with {pieces:?}")
            }
            Self::Symlink(target) => write!(f, "Symlink of {}", target.len()),
            Self::Char(major, minor) => write!(f, "Char {major}:{minor}"),
            Self::Block(major, minor) => write!(f, "Block {major}:{minor}"),
            Self::Fifo => f.write_str("Fifo"),
            Self::Socket => f.write_str("Socket"),
        }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { perm, uid, gid, mtime, kind, .. }, xattrs) = (self, &self.xattrs);
        write!(f, "{kind:?} {perm:o} {uid}:{gid} {mtime:?} ")?;
        f.debug_map().entries(xattrs.iter().map(|(n, v)| (n.escape_ascii().to_string(), v.len()))).finish()
    }
}

impl Item {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { perm: 0o644, uid: 0, gid: 0, mtime: (1_700_000_000, 0), xattrs: BTreeMap::new(), kind }
    }

    pub(crate) fn file(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Kind::File(bytes.into()))
    }

    pub(crate) fn xattr(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.xattrs.insert(name.as_bytes().to_vec(), value.into());
        self
    }

    pub(crate) fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Dir(_) => FileType::Directory,
            Kind::File(_) | Kind::Sparse { .. } => FileType::Regular,
            Kind::Symlink(_) => FileType::Symlink,
            Kind::Char(..) => FileType::CharDevice,
            Kind::Block(..) => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
        }
    }

    pub(crate) fn mode(&self) -> u16 {
        self.file_type().mode_bits() | self.perm
    }

    /// Size, unless it is a directory.
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(bytes) | Kind::Symlink(bytes) => bytes.len() as u64,
            Kind::Sparse { size, .. } => *size,
            _ => 0,
        }
    }

    /// Content at an offset, as far as it fits.
    pub(crate) fn content(&self, offset: u64, buf: &mut [u8]) -> usize {
        let len = self.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..len];
        match &self.kind {
            Kind::File(bytes) => buf.copy_from_slice(&bytes[offset as usize..][..len]),
            Kind::Sparse { pieces, .. } => {
                buf.fill(0);
                for (start, bytes) in pieces {
                    for (i, byte) in bytes.iter().enumerate() {
                        let at = (start + i as u64).wrapping_sub(offset);
                        if at < len as u64 {
                            buf[at as usize] = *byte;
                        }
                    }
                }
            }
            _ => return 0,
        }
        len
    }

    /// Ranges to look at: everything of a small file, the surroundings of the data of a large one.
    pub(crate) fn samples(&self) -> Vec<(u64, usize)> {
        let size = self.size();
        match &self.kind {
            Kind::Sparse { pieces, .. } if size > 4 << 20 => {
                let mut samples = vec![(0, 9000), (size - 5000, 9000), (size / 2, 9000)];
                samples
                    .extend(pieces.iter().map(|(at, bytes)| (at.saturating_sub(5000), bytes.len() + 10_000)));
                samples
            }
            _ => (0..size.max(1)).step_by(1 << 20).map(|at| (at, 1 << 20)).collect(),
        }
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        let mut root = Item::new(Kind::Dir(BTreeMap::new()));
        root.perm = 0o755;
        Self(vec![root])
    }

    pub(crate) fn add(&mut self, dir: usize, name: impl AsRef<[u8]>, item: Item) -> usize {
        let index = self.0.len();
        self.0.push(item);
        self.link(dir, name, index);
        index
    }

    pub(crate) fn mkdir(&mut self, dir: usize, name: impl AsRef<[u8]>) -> usize {
        self.add(dir, name, Item::new(Kind::Dir(BTreeMap::new())))
    }

    pub(crate) fn link(&mut self, dir: usize, name: impl AsRef<[u8]>, target: usize) {
        let Kind::Dir(entries) = &mut self.0[dir].kind else { panic!("{dir} is no directory") };
        assert!(entries.insert(name.as_ref().to_vec(), target).is_none());
    }

    pub(crate) fn nlink(&self, index: usize) -> u64 {
        let is_dir = |i: usize| matches!(self.0[i].kind, Kind::Dir(_));
        if let Kind::Dir(entries) = &self.0[index].kind {
            return 2 + entries.values().filter(|&&child| is_dir(child)).count() as u64;
        }
        let named = self.0.iter().map(|item| match &item.kind {
            Kind::Dir(entries) => entries.values().filter(|&&child| child == index).count() as u64,
            _ => 0,
        });
        named.sum::<u64>().max(1)
    }

    /// Every path with its item, the root first.
    pub(crate) fn paths(&self) -> Vec<(Vec<u8>, usize)> {
        let mut paths = vec![(Vec::new(), 0)];
        let mut next = 0;
        while next < paths.len() {
            let (path, index) = paths[next].clone();
            if let Kind::Dir(entries) = &self.0[index].kind {
                paths.extend(entries.iter().map(|(name, &child)| ([&path, &b"/"[..], name].concat(), child)));
            }
            next += 1;
        }
        paths
    }

    pub(crate) fn build(&self) -> Finished<Vec<u8>> {
        let mut writer = ImageWriter::new(Vec::new(), Cursor::new(Vec::new()));
        let mut tree = Tree::default();
        for item in &self.0 {
            let content = match &item.kind {
                // Backwards, so that the writer has something to sort.
                Kind::Dir(entries) => Content::Directory(
                    entries.iter().rev().map(|(name, &i)| (name.clone(), NodeId(i as u32))).collect(),
                ),
                Kind::File(bytes) => {
                    writer.begin_file(bytes.len() as u64).unwrap();
                    bytes.chunks(3001).for_each(|part| writer.write(part).unwrap());
                    Content::File(writer.end_file().unwrap())
                }
                Kind::Sparse { size, pieces } => {
                    let segments: Vec<_> = pieces
                        .iter()
                        .map(|(offset, bytes)| Segment { offset: *offset, len: bytes.len() as u64 })
                        .collect();
                    writer.begin_sparse(*size, &segments).unwrap();
                    let all: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                    all.chunks(3001).for_each(|part| writer.write(part).unwrap());
                    Content::File(writer.end_file().unwrap())
                }
                Kind::Symlink(target) => Content::Symlink(target.clone()),
                &Kind::Char(major, minor) => Content::CharDevice { major, minor },
                &Kind::Block(major, minor) => Content::BlockDevice { major, minor },
                Kind::Fifo => Content::Fifo,
                Kind::Socket => Content::Socket,
            };
            tree.push(Node {
                mode: item.mode(),
                uid: item.uid,
                gid: item.gid,
                mtime: item.mtime.0,
                mtime_nsec: item.mtime.1,
                xattrs: item
                    .xattrs
                    .iter()
                    .map(|(n, v)| Xattr { name: n.clone(), value: v.clone() })
                    .collect(),
                content,
            });
        }
        let finished = writer.finish(tree, FinishOptions::new(*b"layerstone-tests")).unwrap();
        assert_eq!(finished.image_size, finished.output.len() as u64);
        assert_eq!(finished.inode_count, self.0.len() as u64);
        finished
    }

    /// Compares an image with the model through the crate's own reader.
    pub(crate) fn compare<R: ReadAt>(&self, image: &Image<R>) {
        image.check().unwrap();
        for (path, index) in self.paths() {
            let nid = image.resolve(&path).unwrap().unwrap_or_else(|| panic!("{path:?} is missing"));
            self.compare_item(image, nid, index);
        }
    }

    pub(crate) fn compare_item<R: ReadAt>(&self, image: &Image<R>, nid: Nid, index: usize) -> Inode {
        let item = &self.0[index];
        let inode = image.inode(nid).unwrap();
        let label = format!("item {index}: {inode:?}");
        assert_eq!(inode.mode, item.mode(), "{label}");
        assert_eq!((inode.uid, inode.gid), (item.uid, item.gid), "{label}");
        assert_eq!((inode.mtime, inode.mtime_nsec), item.mtime, "{label}");
        assert_eq!(u64::from(inode.nlink), self.nlink(index), "{label}");
        let xattrs: Vec<_> = image.xattrs(&inode).unwrap().into_iter().map(|x| (x.name, x.value)).collect();
        assert_eq!(xattrs, item.xattrs.clone().into_iter().collect::<Vec<_>>(), "{label}");
        for (name, value) in &item.xattrs {
            assert_eq!(image.xattr(&inode, name).unwrap().as_ref(), Some(value), "{label}");
        }
        assert_eq!(image.xattr(&inode, b"user.nobody has this").unwrap(), None);

        match &item.kind {
            Kind::Dir(entries) => {
                let listed = image.read_dir(&inode).unwrap();
                assert!(listed.iter().map(|e| &e.name).eq(entries.keys()), "{label}");
                for (entry, &child) in listed.iter().zip(entries.values()) {
                    assert_eq!(entry.file_type, self.0[child].file_type());
                }
                assert_eq!(image.lookup(&inode, b".").unwrap(), Some(nid));
                assert_eq!(image.lookup(&inode, b"nobody has this").unwrap(), None);
            }
            Kind::Symlink(target) => assert_eq!(&image.read_link(&inode).unwrap(), target, "{label}"),
            Kind::File(_) | Kind::Sparse { .. } => {
                assert_eq!(inode.size, item.size(), "{label}");
                for (at, len) in item.samples() {
                    let (mut found, mut expected) = (vec![1; len], vec![2; len]);
                    let n = image.read_at(&inode, &mut found, at).unwrap();
                    assert_eq!(n, item.content(at, &mut expected), "{label} at {at}");
                    assert!(found[..n] == expected[..n], "{label} at {at}");
                }
                let extents = image.extents(&inode).unwrap();
                let mut end = 0;
                for extent in &extents {
                    assert_eq!(extent.file_offset, end, "{label}");
                    end += extent.len;
                }
                assert_eq!(end, inode.size, "{label}: {extents:?}");
            }
            &Kind::Char(major, minor) | &Kind::Block(major, minor) => {
                assert_eq!(inode.rdev, (major, minor), "{label}");
            }
            Kind::Fifo | Kind::Socket => {}
        }
        inode
    }
}
