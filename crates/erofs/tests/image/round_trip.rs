//! What the writer wrote, the reader reads.

use layerstone_erofs::{Image, Layout};
use proptest::prelude::*;

use crate::model::{Item, Kind, Model};
use crate::random::{self, pattern};

proptest! {
    #![proptest_config(random::config())]

    #[test]
    fn any_tree_comes_back(model in random::models()) {
        let finished = model.build();
        let image = Image::open(&finished.output).unwrap();
        prop_assert_eq!(image.meta_start(), finished.meta_start);
        prop_assert_eq!(image.image_size(), finished.image_size);
        model.compare(&image);
        // Nodes without a name, too.
        for (index, &nid) in finished.nids.iter().enumerate() {
            model.compare_item(&image, nid, index);
        }
        prop_assert_eq!(model.build().output, finished.output);
    }
}

/// The trees that each went wrong in some writer once.
pub(crate) fn hard_cases() -> Vec<(&'static str, Model)> {
    vec![
        ("an empty root", Model::new()),
        ("file sizes around borders", borders()),
        ("huge attributes", huge_xattrs()),
        ("many attributes", many_xattrs()),
        ("tails that do not fit", displaced_tails()),
        ("holes", holes()),
        ("times", times()),
        ("names", names()),
        ("directory sizes around borders", directory_borders()),
        ("everything shared", everything_shared()),
    ]
}

#[test]
fn hard_cases_come_back() {
    for (name, model) in hard_cases() {
        eprintln!("{name}");
        let finished = model.build();
        model.compare(&Image::open(&finished.output).unwrap());
        assert_eq!(model.build().output, finished.output, "{name}");
    }
}

fn borders() -> Model {
    let mut model = Model::new();
    for blocks in [0usize, 1, 2, 16] {
        for rest in [0, 1, 2047, 2048, 2049, 4095] {
            let len = blocks * 4096 + rest;
            model.add(0, format!("{len}"), Item::file(pattern(len, rest as u8)));
        }
    }
    model
}

fn huge_xattrs() -> Model {
    let mut model = Model::new();
    let value = pattern(65_535, 1);
    for i in 0..3 {
        let item = Item::file(pattern(100, i))
            .xattr("user.shared", value.clone())
            .xattr("trusted.own", pattern(65_535, i + 10));
        model.add(0, format!("{i}"), item);
    }
    // Five of them do not fit behind one inode.
    let mut crowded = Item::file(pattern(5000, 1));
    for i in 0..5u8 {
        crowded = crowded.xattr(&format!("user.{i}"), pattern(65_535, 100 + i));
    }
    model.add(0, "crowded", crowded);
    let link = Item::new(Kind::Symlink(vec![b'x'; 40])).xattr("trusted.own", pattern(60_000, 9));
    model.add(0, "link", link);
    let dir = model.mkdir(0, "dir");
    model.0[dir] = model.0[dir].clone().xattr("user.own", pattern(5000, 3)).xattr("user.shared", value);
    model.add(dir, "child", Item::file("x"));
    model
}

fn many_xattrs() -> Model {
    let mut model = Model::new();
    for twin in ["a", "b"] {
        let mut item = Item::file("content");
        for i in 0..400 {
            item = item.xattr(&format!("user.{i:03}"), format!("{i}"));
        }
        model.add(0, twin, item);
    }
    model
}

fn displaced_tails() -> Model {
    let mut model = Model::new();
    for blocks in [0usize, 1, 2, 3, 4, 12, 64, 100] {
        for xattr in [1900, 2000, 2040, 2100, 4000, 9000] {
            let item = Item::file(pattern(blocks * 4096 + 2000, blocks as u8))
                .xattr("user.x", pattern(xattr, blocks as u8 + 1));
            model.add(0, format!("{blocks}-{xattr}"), item);
        }
    }
    model
}

fn holes() -> Model {
    let mut model = Model::new();
    let sparse = |size, pieces: &[(u64, usize)]| {
        let pieces = pieces.iter().map(|&(at, len)| (at, pattern(len, at as u8))).collect();
        Item::new(Kind::Sparse { size, pieces })
    };
    model.add(0, "all hole", sparse(100, &[]));
    model.add(0, "large all hole", sparse((5 << 30) + 7, &[]));
    model.add(0, "hole first", sparse(10_000, &[(9000, 1000)]));
    model.add(0, "hole last", sparse(1_000_000, &[(0, 10)]));
    model.add(0, "two in one block", sparse(50_000, &[(20_481, 10), (20_600, 3000), (30_000, 1)]));
    model.add(
        0,
        "past 4 GiB",
        sparse((6 << 30) + 5, &[(10, 10_000), ((5 << 30) + 3, 100), ((6 << 30) + 4, 1)]),
    );
    model.add(0, "a terabyte", sparse(1 << 40, &[((1 << 39) + 5, 100_000)]));
    model.add(0, "the largest file", sparse(i64::MAX as u64, &[]));
    model.add(0, "no hole", sparse(9_000, &[(0, 4000), (4000, 5000)]));
    model
}

fn times() -> Model {
    let mut model = Model::new();
    for (i, mtime) in [
        (0, 0),
        (0, 999_999_999),
        (-1, 0),
        (-1, 999_999_999),
        (-2_208_988_800, 1),
        (i64::from(u32::MAX) + 1, 3),
        (253_402_300_799, 100),
    ]
    .into_iter()
    .enumerate()
    {
        // Twice the same, so that the most frequent time is a negative one in some images.
        for j in 0..=i % 3 {
            let mut item = Item::file("t");
            item.mtime = mtime;
            model.add(0, format!("{i}-{j}"), item);
        }
    }
    model.0[0].mtime = (-1, 999_999_999);
    model
}

fn names() -> Model {
    let mut model = Model::new();
    for name in
        [&b"\xFF\xFE"[..], b"\x01", b"!", b"...", b"..a", b".a", b"-", b" ", b"\xC3\x28", &[b'n'; 255]]
    {
        model.add(0, name, Item::file("n"));
    }
    model
}

fn directory_borders() -> Model {
    let mut model = Model::new();
    let file = model.add(0, "file", Item::file("x"));
    // With "." and ".." a directory takes 27 bytes, and 12 + 100 for each of these names.
    for count in [0, 1, 35, 36, 37, 72, 73, 200] {
        let dir = model.mkdir(0, format!("{count}"));
        for i in 0..count {
            model.link(dir, format!("{i:0100}"), file);
        }
    }
    // Sizes of exactly a block, and around it.
    for last in 1..40 {
        let dir = model.mkdir(0, format!("last {last}"));
        for i in 0..36 {
            model.link(dir, format!("{i:0100}"), file);
        }
        model.link(dir, "z".repeat(last), file);
    }
    model
}

fn everything_shared() -> Model {
    let mut model = Model::new();
    for i in 0..2000 {
        let item = Item::file(pattern(i % 50, 1))
            .xattr("user.a", "the same")
            .xattr("security.b", vec![b'b'; i % 7])
            .xattr("system.posix_acl_access", random::acl());
        model.add(0, format!("{i}"), item);
    }
    model
}

#[test]
fn a_directory_of_100_000_names_is_written_and_searched_quickly() {
    let mut model = Model::new();
    let dir = model.mkdir(0, "dir");
    for i in 0..100_000 {
        model.add(dir, format!("file number {i}"), Item::file([]));
    }
    let start = std::time::Instant::now();
    let finished = model.build();
    let image = Image::open(&finished.output).unwrap();
    let dir = image.inode(image.resolve(b"dir").unwrap().unwrap()).unwrap();
    assert_eq!(image.read_dir(&dir).unwrap().len(), 100_000);
    for i in (0..100_000).step_by(17) {
        let name = format!("file number {i}");
        assert_eq!(image.lookup(&dir, name.as_bytes()).unwrap(), Some(finished.nids[i + 2]));
        assert_eq!(image.lookup(&dir, format!("{name}x").as_bytes()).unwrap(), None);
    }
    assert_eq!(image.check().unwrap().inodes, 100_002);
    assert!(start.elapsed().as_secs() < 20, "took {:?}", start.elapsed());
}

#[test]
fn inodes_are_small_when_they_can_be_and_small_files_take_no_blocks() {
    let mut model = Model::new();
    for i in 0..1000 {
        model.add(0, format!("{i:04}"), Item::file(vec![b'x'; 20]));
    }
    let finished = model.build();
    assert_eq!(finished.meta_start, 4096);
    // 32 bytes of inode, 20 of content, 16 of directory entry, each padded a little.
    assert!(finished.image_size < 1000 * (64 + 17) + 6 * 4096, "{}", finished.image_size);
    let image = Image::open(&finished.output).unwrap();
    assert!(
        finished
            .nids
            .iter()
            .skip(1)
            .all(|&nid| matches!(image.inode(nid).unwrap().layout, Layout::Inline { start: 0, .. }))
    );
}

#[test]
fn only_file_data_lies_before_the_metadata() {
    for (name, model) in hard_cases() {
        let finished = model.build();
        let image = Image::open(&finished.output).unwrap();
        for (item, &nid) in model.0.iter().zip(&finished.nids) {
            let inode = image.inode(nid).unwrap();
            if !matches!(item.kind, Kind::File(_) | Kind::Sparse { .. }) {
                match inode.layout {
                    Layout::Flat { start } => assert!(start >= finished.meta_start, "{name}"),
                    Layout::Inline { start, tail } => {
                        assert!((start == 0 || start >= finished.meta_start) && tail >= finished.meta_start);
                    }
                    Layout::None | Layout::Chunks { .. } => {}
                }
            }
        }
    }
}
