//! Directory blocks.

use std::ops::Range;

use zerocopy::IntoBytes;

use super::NodeId;
use crate::format::{BLOCK_SIZE, DIRENT_SIZE, Dirent};
use crate::{FileType, Nid};

/// Sorted names, `.` and `..` among them.
pub(super) type Entries = [(Vec<u8>, NodeId)];

/// How the entries fall into blocks, and how many bytes of each block they take.
pub(super) fn blocks(entries: &Entries) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let (mut end, mut used) = (start, 0);
        while let Some((name, _)) = entries.get(end) {
            let size = DIRENT_SIZE + name.len();
            if used + size > BLOCK_SIZE as usize {
                break;
            }
            used += size;
            end += 1;
        }
        let range = start..end;
        start = end;
        (!range.is_empty()).then_some((range, used))
    })
}

/// Size of the directory: whole blocks, and what the last one uses.
pub(super) fn size(entries: &Entries) -> u64 {
    let (count, last) = blocks(entries).fold((0, 0), |(count, _), (_, used)| (count + 1, used as u64));
    u64::saturating_sub(count, 1) * BLOCK_SIZE + last
}

/// Appends the bytes of one block, without padding.
pub(super) fn write_block(entries: &Entries, target: impl Fn(NodeId) -> (Nid, FileType), out: &mut Vec<u8>) {
    let mut name_offset = entries.len() * DIRENT_SIZE;
    for (name, node) in entries {
        let (nid, file_type) = target(*node);
        let dirent = Dirent {
            nid: nid.0.into(),
            nameoff: (name_offset as u16).into(),
            file_type: file_type as u8,
            reserved: 0,
        };
        out.extend_from_slice(dirent.as_bytes());
        name_offset += name.len();
    }
    for (name, _) in entries {
        out.extend_from_slice(name);
    }
}
