//! Images that are cut off, flipped, overwritten: the reader gives errors or values, and always comes back.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use layerstone_erofs::format::{SUPER_OFFSET, superblock_checksum};
use layerstone_erofs::{Error, FileType, Image, Nid, Node, ReadAt, Tree};
use proptest::prelude::*;

use crate::model::{Item, Kind, Model};
use crate::random::{self, pattern};

/// A small image with everything in it.
fn sample() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut model = Model::new();
        for i in 0..150u8 {
            let file =
                Item::file(pattern(usize::from(i) * 20, i)).xattr("user.a", "shared").xattr("trusted.i", [i]);
            model.add(0, format!("file number {i}"), file);
        }
        let dir = model.mkdir(0, "dir");
        model.mkdir(dir, "sub");
        model.add(dir, "link", Item::new(Kind::Symlink(b"target".to_vec())));
        model.add(dir, "long link", Item::new(Kind::Symlink(vec![b'l'; 4090])));
        model.add(dir, "null", Item::new(Kind::Char(1, 3)));
        let pieces = vec![(5, pattern(10, 1)), (100_000, pattern(5000, 2)), (300_000, pattern(1, 3))];
        model.add(dir, "sparse", Item::new(Kind::Sparse { size: 400_000, pieces }));
        let split = Item::file(pattern(9000, 1)).xattr("user.big", pattern(6000, 1));
        model.add(dir, "split", split);
        model.build().output
    })
}

fn repair_checksum(image: &mut [u8]) {
    if let Some(block) = image.get_mut(..4096) {
        let checksum = superblock_checksum(block);
        block[SUPER_OFFSET + 4..SUPER_OFFSET + 8].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Calls everything there is to call. Results do not matter, coming back does.
fn exercise(bytes: &[u8]) {
    let Ok(image) = Image::open(bytes) else { return };
    let _ = image.check();
    let _ = image.resolve(b"/dir/sub/../sparse");
    let inodes = bytes.len() as u64 / 32;
    for nid in (0..inodes).chain([image.root().0, u64::MAX, u64::MAX / 32, 1 << 40]) {
        let Ok(inode) = image.inode(Nid(nid)) else { continue };
        let _ = image.xattrs(&inode);
        let _ = image.xattr(&inode, b"user.a");
        let _ = image.lookup(&inode, b"file number 77");
        match inode.file_type() {
            FileType::Directory => drop(image.read_dir(&inode)),
            FileType::Symlink => drop(image.read_link(&inode)),
            FileType::Regular => {
                let mut buf = [0; 5000];
                for at in [0, 4000, inode.size / 2, inode.size.saturating_sub(10), u64::MAX] {
                    let _ = image.read_at(&inode, &mut buf, at);
                }
                drop(image.extents(&inode));
            }
            _ => {}
        }
    }
}

#[test]
fn an_image_that_is_cut_off_is_refused() {
    let image = sample();
    Image::open(image).unwrap().check().unwrap();
    for len in (0..image.len()).step_by(97).chain([image.len() - 1]) {
        let error = Image::open(&image[..len]).map(drop).expect_err("bytes are missing");
        assert!(matches!(error, Error::OutOfBounds { .. }), "{len}: {error}");
    }
}

#[test]
fn every_flipped_bit_of_the_superblock_is_noticed() {
    for bit in 0..(4096 - SUPER_OFFSET) * 8 {
        let mut image = sample().to_vec();
        image[SUPER_OFFSET + bit / 8] ^= 1 << (bit % 8);
        // Without the bit that says so, there is no checksum to look at.
        let says_checksum = bit == 8 * 8;
        assert!(says_checksum || Image::open(&image).is_err(), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(random::config())]

    #[test]
    fn flipped_bits_lead_to_errors_at_most(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..30)) {
        let mut image = sample().to_vec();
        let meta_start = Image::open(sample()).unwrap().meta_start() as usize;
        for (index, bit) in flips {
            let at = meta_start + index.index(image.len() - meta_start);
            image[at] ^= 1 << bit;
        }
        exercise(&image);
    }

    #[test]
    fn a_superblock_with_any_fields_leads_to_errors_at_most(
        writes in prop::collection::vec((8..128usize, any::<u8>()), 1..8),
    ) {
        let mut image = sample().to_vec();
        for (at, byte) in writes {
            image[SUPER_OFFSET + at] = byte;
        }
        repair_checksum(&mut image);
        exercise(&image);
    }

    #[test]
    fn inodes_with_any_fields_lead_to_errors_at_most(
        writes in prop::collection::vec((any::<prop::sample::Index>(), 0..8usize, any::<u32>()), 1..20),
    ) {
        let mut image = sample().to_vec();
        let meta_start = Image::open(sample()).unwrap().meta_start() as usize;
        let count = (image.len() - meta_start) / 32;
        for (index, field, value) in writes {
            let at = meta_start + index.index(count) * 32 + field * 4;
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        exercise(&image);
    }

    #[test]
    fn any_bytes_behind_a_good_superblock_lead_to_errors_at_most(seed in any::<u8>(), text in any::<bool>()) {
        let mut image = sample().to_vec();
        let noise = pattern(image.len() - 4096, seed);
        image[4096..].copy_from_slice(&noise);
        if text {
            image[4096..].iter_mut().for_each(|b| *b &= 3);
        }
        exercise(&image);
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let image = Image::open(sample()).unwrap();
    let nid = image.resolve(b"dir/link").unwrap().unwrap();
    let offset = image.meta_start() + nid.0 * 32;
    let mut bytes = sample().to_vec();
    bytes[offset as usize + 5] = 0xF0;
    let error = Image::open(&bytes).unwrap().check().unwrap_err().to_string();
    let expected = format!("inode at offset {offset}: i_mode is ");
    assert!(error.starts_with(&expected), "{error}");
}

/// A directory that is its own child, a child of two, or whose children are other inodes than it says.
#[test]
fn directories_in_a_circle_are_found() {
    let mut model = Model::new();
    let a = model.mkdir(0, "aaaa");
    let b = model.mkdir(a, "bbbb");
    model.add(b, "cccc", Item::new(Kind::Dir(BTreeMap::new())));
    let finished = model.build();
    let nids: Vec<u64> = finished.nids.iter().map(|nid| nid.0).collect();
    // Three entries of 12 bytes, "." and "..": the name "cccc" starts at byte 39 of its directory.
    for target in [nids[0], nids[1], nids[2]] {
        let mut image = finished.output.clone();
        let child = nids[3].to_le_bytes();
        let at = image
            .windows(12)
            .rposition(|w| w[..8] == child && w[10] == FileType::Directory as u8 && w[8..10] == [39, 0])
            .unwrap();
        image[at..at + 8].copy_from_slice(&target.to_le_bytes());
        let error = Image::open(&image).unwrap().check().unwrap_err();
        assert!(matches!(error, Error::Corrupt { structure: "directory", field: "nid", .. }), "{error}");
        exercise(&image);
    }
}

#[test]
fn inodes_within_each_others_attributes_do_not_keep_the_check_busy() {
    // Each inode takes 64 bytes: 32, a header of 12, and an entry of 4 + 1 + 15.
    let mut model = Model::new();
    for i in 0..10_000u32 {
        model.add(0, format!("{i:05}"), Item::file([]).xattr("user.x", format!("{i:015}")));
    }
    let finished = model.build();
    let mut image = finished.output;
    for pair in finished.nids[1..].windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, 2);
        let at = (finished.meta_start + pair[0].0 * 32) as usize;
        // Each value swallows the next inode and its header, each body the next 4,000 inodes.
        image[at + 2..at + 4].copy_from_slice(&(16 * 4000 + 1u16).to_le_bytes());
        image[at + 46..at + 48].copy_from_slice(&59u16.to_le_bytes());
    }
    let image = Image::open(&image).unwrap();
    assert_eq!(image.xattrs(&image.inode(finished.nids[1]).unwrap()).unwrap().len(), 4000);
    let error = image.check().unwrap_err();
    assert!(matches!(error, Error::Corrupt { field: "size of its metadata", .. }), "{error}");
}

#[test]
fn a_source_that_fails_is_an_error_with_the_place() {
    struct Failing;
    impl ReadAt for Failing {
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
        fn size(&self) -> std::io::Result<u64> {
            Ok(1 << 20)
        }
    }
    assert!(matches!(Image::open(Failing), Err(Error::Input { structure: "superblock", offset: 0, .. })));
}

#[test]
fn an_unfinished_image_is_none() {
    let mut image = sample().to_vec();
    image[..4096].fill(0);
    assert!(matches!(Image::open(&image), Err(Error::Corrupt { field: "magic", .. })));
    // These are part of the public interface, and cheap to move around.
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Image<std::fs::File>>();
    is_send_and_sync::<(Tree, Node, Error)>();
}
