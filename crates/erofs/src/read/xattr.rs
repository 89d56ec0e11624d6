//! Extended attributes.

use zerocopy::FromBytes;

use super::{Image, Inode, ReadAt, corrupt};
use crate::format::{XATTR_PREFIXES, XattrBodyHeader, XattrEntry};
use crate::types::split_xattr_name;
use crate::{Error, Xattr};

const HEADER: u64 = size_of::<XattrBodyHeader>() as u64;
const ENTRY: u64 = size_of::<XattrEntry>() as u64;

/// An attribute in the image whose value was not read.
pub(super) struct Found {
    pub(super) name: Vec<u8>,
    value_offset: u64,
    pub(super) value_len: u64,
}

impl<R: ReadAt> Image<R> {
    /// All extended attributes of an inode, sorted by name.
    pub fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>, Error> {
        let mut xattrs = Vec::new();
        let mut total = 0;
        self.for_each_xattr(inode, |found| {
            // Each attribute has its own bytes in the image; ids that repeat one would multiply them.
            total += found.value_len;
            self.inside("extended attributes of an inode", 0, total)?;
            let value = self.read_vec("extended attribute", found.value_offset, found.value_len)?;
            xattrs.push(Xattr { name: found.name, value });
            Ok(true)
        })?;
        // Stable: of two with the same name, which only a damaged image has, the one the kernel finds stays first.
        xattrs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(xattrs)
    }

    /// The value of one extended attribute.
    pub fn xattr(&self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut value = None;
        if split_xattr_name(name).is_some() {
            self.for_each_xattr(inode, |found| {
                if found.name != name {
                    return Ok(true);
                }
                value = Some(self.read_vec("extended attribute", found.value_offset, found.value_len)?);
                Ok(false)
            })?;
        }
        Ok(value)
    }

    /// Inline attributes first, then the shared ones, as the kernel looks for them. `each` tells whether to go on.
    pub(super) fn for_each_xattr(
        &self,
        inode: &Inode,
        mut each: impl FnMut(Found) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let (start, size) = (inode.xattr_offset, inode.xattr_size);
        if size == 0 {
            return Ok(());
        }
        let mut header = [0; HEADER as usize];
        self.read("extended attributes of an inode", start, &mut header)?;
        let header: XattrBodyHeader = zerocopy::transmute!(header);
        let ids = u64::from(header.shared_count) * 4;
        if HEADER + ids > size {
            return Err(corrupt(
                "extended attributes of an inode",
                "h_shared_count",
                start,
                header.shared_count,
                "as many ids as there is room for",
            ));
        }
        let end = start + size;
        let mut at = start + HEADER + ids;
        while at < end {
            let found = self.xattr_entry(at, end)?;
            at = (found.value_offset + found.value_len).next_multiple_of(4);
            if !each(found)? {
                return Ok(());
            }
        }
        let ids = self.read_vec("ids of shared extended attributes", start + HEADER, ids)?;
        for id in ids.chunks_exact(4) {
            let id = <[u8; 4]>::try_from(id).map_or(0, u32::from_le_bytes);
            let found = self.xattr_entry(self.shared_start + u64::from(id) * 4, self.size)?;
            if !each(found)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn xattr_entry(&self, at: u64, end: u64) -> Result<Found, Error> {
        let mut bytes = [0; ENTRY as usize + u8::MAX as usize];
        let available = end.saturating_sub(at).min(bytes.len() as u64) as usize;
        let bytes = &mut bytes[..available];
        self.read("extended attribute", at, bytes)?;
        let bad = |field, found: u64, expected| corrupt("extended attribute", field, at, found, expected);
        let (entry, rest) = XattrEntry::read_from_prefix(bytes)
            .map_err(|_| bad("length", available as u64, "at least 4 bytes"))?;
        let name = rest
            .get(..entry.name_len.into())
            .ok_or_else(|| bad("e_name_len", entry.name_len.into(), "a name within its area"))?;
        let (_, prefix) = XATTR_PREFIXES.iter().find(|(index, _)| *index == entry.name_index).ok_or(
            Error::Unsupported {
                structure: "extended attribute",
                feature: "an unknown name prefix",
                offset: at,
                found: entry.name_index.into(),
            },
        )?;
        let value_offset = at + ENTRY + u64::from(entry.name_len);
        let value_len = u64::from(entry.value_size.get());
        if value_offset + value_len > end {
            return Err(bad("e_value_size", value_len, "a value within its area"));
        }
        let name = [*prefix, name].concat();
        if split_xattr_name(&name).is_none() {
            return Err(bad("e_name_len", entry.name_len.into(), "a name that its prefix allows"));
        }
        Ok(Found { name, value_offset, value_len })
    }
}
