//! Walking a whole image to find damage.

use std::collections::HashSet;

use super::{Image, ReadAt, corrupt};
use crate::{Error, FileType, Nid};

/// What a check without findings has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Inodes with a name.
    pub inodes: u64,
    /// Directories among them.
    pub directories: u64,
    /// Bytes of extended attribute values.
    pub xattr_bytes: u64,
    /// Bytes of file content, holes left out.
    pub file_bytes: u64,
}

impl<R: ReadAt> Image<R> {
    /// Reads everything that can be reached from the root, file content excepted, and gives the first damage.
    pub fn check(&self) -> Result<CheckReport, Error> {
        let mut report = CheckReport::default();
        // An inode takes 32 bytes of the image, so this cannot outgrow the image.
        let mut seen = HashSet::from([self.root()]);
        let mut directories = vec![(self.root(), self.root())];
        let root = self.inode(self.root())?;
        root.expect(FileType::Directory)?;
        self.check_inode(&root, &mut report)?;
        while let Some((nid, parent)) = directories.pop() {
            for (child, file_type) in self.check_directory(nid, parent)? {
                let first = seen.insert(child);
                if file_type == FileType::Directory {
                    if !first {
                        return Err(self.bad_directory(
                            nid,
                            "nid",
                            child.0,
                            "directories with one name each",
                        ));
                    }
                    directories.push((child, nid));
                }
                if !first {
                    continue;
                }
                let inode = self.inode(child)?;
                if inode.file_type() != file_type {
                    let found = file_type as u64;
                    return Err(self.bad_directory(nid, "file_type", found, "the type of the inode"));
                }
                self.check_inode(&inode, &mut report)?;
            }
        }
        Ok(report)
    }

    /// Checks `.` and `..` and gives the rest.
    fn check_directory(&self, nid: Nid, parent: Nid) -> Result<Vec<(Nid, FileType)>, Error> {
        let (mut own, mut up) = (None, None);
        let mut children = Vec::new();
        self.for_each_entry(&self.inode(nid)?, |entry| match entry.name.as_slice() {
            b"." => own = Some(entry.nid),
            b".." => up = Some(entry.nid),
            _ => children.push((entry.nid, entry.file_type)),
        })?;
        if own != Some(nid) {
            return Err(self.bad_directory(nid, ".", own.map_or(0, |n| n.0), "the directory itself"));
        }
        if up != Some(parent) {
            return Err(self.bad_directory(nid, "..", up.map_or(0, |n| n.0), "the parent"));
        }
        Ok(children)
    }

    fn check_inode(&self, inode: &super::Inode, report: &mut CheckReport) -> Result<(), Error> {
        report.inodes += 1;
        report.xattr_bytes += self.xattrs(inode)?.iter().map(|xattr| xattr.value.len() as u64).sum::<u64>();
        match inode.file_type() {
            FileType::Directory => report.directories += 1,
            FileType::Symlink => drop(self.read_link(inode)?),
            FileType::Regular => self.for_each_extent(inode, |extent| {
                let stored = if extent.image_offset.is_some() { extent.len } else { 0 };
                report.file_bytes = report.file_bytes.saturating_add(stored);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    }

    fn bad_directory(&self, nid: Nid, field: &'static str, found: u64, expected: &'static str) -> Error {
        let offset = self.inode_offset(nid).unwrap_or(u64::MAX);
        corrupt("directory", field, offset, found, expected)
    }
}
