//! Whatever the bytes: opening, checking and reading them as an image ends, without a panic and within bounds.

#![no_main]

use std::collections::HashSet;

use layerstone_erofs::format::{COMPAT_SB_CHKSUM, SUPER_OFFSET};
use layerstone_erofs::{FileType, Image, Nid};
use layerstone_fuzz::{Bound, bounded};
use libfuzzer_sys::fuzz_target;

/// Inodes that one input is walked through, and bytes that are read of a file: a hostile image may state any number.
const MAX_INODES: usize = 500;
const MAX_BYTES: u64 = 1 << 20;

/// What a run may allocate.
const BOUND: Bound = Bound { per_byte: 96, constant: 8 << 20 };

fuzz_target!(|input: &[u8]| bounded(input.len(), BOUND, || run(input)));

fn run(input: &[u8]) {
    // Without the checksum of the superblock, which would refuse nearly every input.
    let mut input = input.to_vec();
    if let Some(features) = input.get_mut(SUPER_OFFSET + 8) {
        *features &= !(COMPAT_SB_CHKSUM as u8);
    }
    let Ok(image) = Image::open(input.as_slice()) else { return };
    let checked = image.check();
    let _ = image.resolve(b"/a/b");
    let mut seen = HashSet::new();
    let mut todo = vec![image.root()];
    let mut buffer = vec![0; 64 << 10];
    let mut sound = true;
    while let Some(nid) = todo.pop() {
        if seen.len() < MAX_INODES && seen.insert(nid) {
            sound &= walk(&image, nid, &mut todo, &mut buffer).is_ok();
        }
    }
    if checked.is_ok() {
        assert!(sound, "the check found nothing, but reading did");
    }
}

fn walk(
    image: &Image<&[u8]>,
    nid: Nid,
    todo: &mut Vec<Nid>,
    buffer: &mut [u8],
) -> Result<(), layerstone_erofs::Error> {
    let inode = image.inode(nid)?;
    for attribute in image.xattrs(&inode)? {
        // The first of a name is the one that is found.
        assert!(image.xattr(&inode, &attribute.name)?.is_some(), "a listed attribute is not found");
    }
    match inode.file_type() {
        FileType::Directory => {
            for entry in image.read_dir(&inode)? {
                let _ = image.lookup(&inode, &entry.name);
                todo.push(entry.nid);
            }
        }
        FileType::Symlink => {
            image.read_link(&inode)?;
        }
        FileType::Regular => {
            image.extents(&inode)?;
            let mut at = 0;
            while at < MAX_BYTES {
                let n = image.read_at(&inode, buffer, at)?;
                if n == 0 {
                    break;
                }
                assert!(n <= buffer.len());
                at += n as u64;
            }
        }
        _ => {}
    }
    Ok(())
}
