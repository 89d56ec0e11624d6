//! Walking a whole image to find damage.

use std::collections::HashMap;

use super::{Image, Inode, Layout, ReadAt, corrupt};
use crate::format::NID_SIZE;
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
    /// Reads everything that can be reached from the root, but for the bytes of files and of attribute values, and gives
    /// the first damage. The work is bounded by the size of the image.
    pub fn check(&self) -> Result<CheckReport, Error> {
        let mut report = CheckReport::default();
        let mut budget = self.image_size();
        // An inode takes 32 bytes of the image, so this cannot outgrow the image.
        let mut seen = HashMap::from([(self.root(), FileType::Directory)]);
        let mut directories = vec![(self.root(), self.root())];
        let root = self.inode(self.root())?;
        root.expect(FileType::Directory)?;
        self.check_inode(&root, &mut report, &mut budget)?;
        while let Some((nid, parent)) = directories.pop() {
            for (child, named_type) in self.check_directory(nid, parent)? {
                let known = seen.get(&child).copied();
                let file_type = match known {
                    Some(FileType::Directory) => {
                        let expected = "directories with one name each";
                        return Err(self.bad_directory(nid, "nid", child.0, expected));
                    }
                    Some(file_type) => file_type,
                    None => {
                        let inode = self.inode(child)?;
                        self.check_inode(&inode, &mut report, &mut budget)?;
                        seen.insert(child, inode.file_type());
                        inode.file_type()
                    }
                };
                if named_type != file_type {
                    let found = named_type as u64;
                    return Err(self.bad_directory(nid, "file_type", found, "the type of the inode"));
                }
                if file_type == FileType::Directory {
                    directories.push((child, nid));
                }
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

    fn check_inode(&self, inode: &Inode, report: &mut CheckReport, budget: &mut u64) -> Result<(), Error> {
        self.spend(inode, budget)?;
        report.inodes += 1;
        self.for_each_xattr(inode, |found| {
            report.xattr_bytes += found.value_len;
            Ok(true)
        })?;
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

    /// Counts the metadata that belongs to an inode alone. All of it together fits into the image unless inodes
    /// overlap, which would let a small image ask for work without end.
    fn spend(&self, inode: &Inode, budget: &mut u64) -> Result<(), Error> {
        let content = match (inode.file_type(), inode.layout) {
            (FileType::Directory, _) => inode.size,
            (_, Layout::Chunks { bits, entry_size, .. }) => {
                inode.size.div_ceil(1 << bits) * u64::from(entry_size)
            }
            _ => 0,
        };
        let own = NID_SIZE + inode.xattr_size + content;
        *budget = budget.checked_sub(own).ok_or_else(|| {
            let offset = self.inode_offset(inode.nid).unwrap_or(u64::MAX);
            corrupt("inode", "size of its metadata", offset, own, "metadata that does not overlap")
        })?;
        Ok(())
    }

    fn bad_directory(&self, nid: Nid, field: &'static str, found: u64, expected: &'static str) -> Error {
        let offset = self.inode_offset(nid).unwrap_or(u64::MAX);
        corrupt("directory", field, offset, found, expected)
    }
}
