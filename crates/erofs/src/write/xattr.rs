//! Extended attributes: which are shared, and how the bodies behind inodes look.

use std::collections::HashMap;

use zerocopy::IntoBytes;

use super::{Node, NodeId, Tree};
use crate::format::{BLOCK_SIZE, XATTR_BODY_MAX, XATTR_SHARED_MAX, XattrBodyHeader, XattrEntry};
use crate::types::split_xattr_name;
use crate::{Error, Xattr};

/// Attributes from here on move to the shared area when a node's own do not fit behind its inode.
const MOVABLE: u64 = 1024;

/// The shared attributes of an image: those that several nodes have, in the order of first use.
#[derive(Debug)]
pub(super) struct Shared<'t> {
    ids: HashMap<&'t Xattr, u32>,
    order: Vec<&'t Xattr>,
    size: u64,
}

impl<'t> Shared<'t> {
    pub(super) fn collect(tree: &'t Tree) -> Result<Self, Error> {
        let mut users: HashMap<&'t Xattr, bool> = HashMap::new();
        for xattr in tree.nodes.iter().flat_map(|node| &node.xattrs) {
            users.entry(xattr).and_modify(|several| *several = true).or_insert(false);
        }
        let mut shared = Self { ids: HashMap::new(), order: Vec::new(), size: 0 };
        for (index, node) in tree.nodes.iter().enumerate() {
            let total: u64 = node.xattrs.iter().map(entry_size).sum();
            let crowded = body_header_size(node) + total > XATTR_BODY_MAX;
            for xattr in &node.xattrs {
                if users[xattr] || (crowded && entry_size(xattr) >= MOVABLE) {
                    shared.add(xattr)?;
                }
            }
            let len = shared.body_size(node);
            if len > XATTR_BODY_MAX {
                return Err(Error::XattrsTooLarge { node: NodeId(index as u32), len });
            }
        }
        Ok(shared)
    }

    fn add(&mut self, xattr: &'t Xattr) -> Result<(), Error> {
        // Ids count in units of 4 bytes; an area too large for them is an image too large for block addresses, too.
        let id = u32::try_from(self.size / 4)
            .map_err(|_| Error::ImageTooLarge { blocks: self.size.div_ceil(BLOCK_SIZE) })?;
        if let std::collections::hash_map::Entry::Vacant(slot) = self.ids.entry(xattr) {
            slot.insert(id);
            self.order.push(xattr);
            self.size += entry_size(xattr);
        }
        Ok(())
    }

    /// Size of the shared area.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The entries of the shared area, one after the other.
    pub(super) fn entries(&self) -> impl Iterator<Item = &'t Xattr> + '_ {
        self.order.iter().copied()
    }

    /// The attributes of a node: ids of the shared ones, and the inline ones.
    fn split<'n>(&self, node: &'n Node) -> (Vec<u32>, Vec<&'n Xattr>) {
        let (mut ids, mut inline) = (Vec::new(), Vec::new());
        for xattr in &node.xattrs {
            match self.ids.get(xattr) {
                Some(&id) if ids.len() < XATTR_SHARED_MAX => ids.push(id),
                _ => inline.push(xattr),
            }
        }
        (ids, inline)
    }

    /// Bytes behind the inode.
    pub(super) fn body_size(&self, node: &Node) -> u64 {
        if node.xattrs.is_empty() {
            return 0;
        }
        let (ids, inline) = self.split(node);
        size_of::<XattrBodyHeader>() as u64
            + 4 * ids.len() as u64
            + inline.iter().map(|xattr| entry_size(xattr)).sum::<u64>()
    }

    /// The bytes behind the inode.
    pub(super) fn write_body(&self, node: &Node, out: &mut Vec<u8>) {
        if node.xattrs.is_empty() {
            return;
        }
        let (ids, inline) = self.split(node);
        let header =
            XattrBodyHeader { name_filter: 0.into(), shared_count: ids.len() as u8, reserved: [0; 7] };
        out.extend_from_slice(header.as_bytes());
        for id in ids {
            out.extend_from_slice(&id.to_le_bytes());
        }
        for xattr in inline {
            write_entry(xattr, out);
        }
    }
}

fn body_header_size(node: &Node) -> u64 {
    size_of::<XattrBodyHeader>() as u64 + 4 * node.xattrs.len().min(XATTR_SHARED_MAX) as u64
}

fn suffix(xattr: &Xattr) -> (u8, &[u8]) {
    split_xattr_name(&xattr.name).expect("names were checked with the tree")
}

fn entry_size(xattr: &Xattr) -> u64 {
    let (_, name) = suffix(xattr);
    (size_of::<XattrEntry>() + name.len() + xattr.value.len()).next_multiple_of(4) as u64
}

/// An entry with its padding.
pub(super) fn write_entry(xattr: &Xattr, out: &mut Vec<u8>) {
    let (name_index, name) = suffix(xattr);
    let start = out.len();
    let entry =
        XattrEntry { name_len: name.len() as u8, name_index, value_size: (xattr.value.len() as u16).into() };
    out.extend_from_slice(entry.as_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&xattr.value);
    out.resize(start + (out.len() - start).next_multiple_of(4), 0);
}
