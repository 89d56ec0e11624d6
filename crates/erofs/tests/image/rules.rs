//! What the writer refuses, and in which words.

use std::io::{self, Cursor};

use layerstone_erofs::{
    Content, Error, FileData, FileOutput, FinishOptions, Finished, Image, ImageOutput, ImageWriter, Node,
    NodeId, Segment, Tree, Xattr,
};

type Entries = Vec<(Vec<u8>, NodeId)>;

fn writer() -> ImageWriter<Vec<u8>> {
    ImageWriter::new(Vec::new(), Cursor::new(Vec::new()))
}

fn node(content: Content) -> Node {
    let mode = content.file_type().mode_bits() | 0o644;
    Node { mode, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: Vec::new(), content }
}

fn dir(entries: &[(&str, u32)]) -> Node {
    let entries: Entries = entries.iter().map(|&(name, id)| (name.as_bytes().to_vec(), NodeId(id))).collect();
    node(Content::Directory(entries))
}

fn finish(nodes: Vec<Node>) -> Result<Finished<Vec<u8>>, Error> {
    writer().finish(Tree { nodes }, FinishOptions::default())
}

fn refused(nodes: Vec<Node>) -> Error {
    finish(nodes).expect_err("the tree breaks a rule")
}

fn empty() -> Node {
    node(Content::File(FileData::empty()))
}

#[test]
fn trees_that_are_none_are_refused() {
    assert!(matches!(refused(vec![]), Error::NoRoot));
    assert!(matches!(refused(vec![empty()]), Error::NoRoot));
    let missing = refused(vec![dir(&[("a", 1)])]);
    assert!(matches!(missing, Error::NoSuchNode { directory: NodeId(0), target: NodeId(1) }));
    for nodes in [
        vec![dir(&[("root", 0)])],
        vec![dir(&[("a", 1), ("b", 1)]), dir(&[])],
        vec![dir(&[("a", 1)]), dir(&[("up", 0)])],
        vec![dir(&[]), dir(&[("self", 1)])],
        vec![dir(&[]), dir(&[("b", 2)]), dir(&[("c", 3)]), dir(&[("a", 1)])],
        vec![dir(&[("a", 1)]), dir(&[]), dir(&[("a", 1)])],
    ] {
        assert!(matches!(refused(nodes), Error::DirectoryLoop { .. }));
    }
}

#[test]
fn directories_without_a_name_are_allowed() {
    let finished = finish(vec![dir(&[]), dir(&[("f", 2), ("d", 3)]), empty(), dir(&[])]).unwrap();
    let image = Image::open(&finished.output).unwrap();
    image.check().unwrap();
    let hidden = image.inode(finished.nids[1]).unwrap();
    assert_eq!(image.lookup(&hidden, b"d").unwrap(), Some(finished.nids[3]));
    assert_eq!(image.lookup(&hidden, b"..").unwrap(), Some(finished.nids[1]));
    assert_eq!(hidden.nlink, 3);
}

#[test]
fn names_that_cannot_be_stored_are_refused() {
    for name in ["", ".", "..", "a/b", "a\0", &"x".repeat(256)] {
        let error = refused(vec![dir(&[(name, 1)]), empty()]);
        assert!(matches!(error, Error::BadName { directory: NodeId(0), .. }), "{error}");
    }
    let error = refused(vec![dir(&[("x", 1), ("y", 1), ("x", 1)]), empty()]);
    assert_eq!(error.to_string(), "the name \"x\" occurs twice in node 0");
}

#[test]
fn attributes_that_cannot_be_stored_are_refused() {
    let with = |xattrs: &[(&str, usize)]| {
        let xattrs =
            xattrs.iter().map(|(n, len)| Xattr { name: n.as_bytes().to_vec(), value: vec![1; *len] });
        refused(vec![Node { xattrs: xattrs.collect(), ..dir(&[]) }])
    };
    for name in ["", "user", "user.", "system.foo", "system.posix_acl_access2", "USER.a", "lustre.x"] {
        assert!(matches!(with(&[(name, 0)]), Error::BadXattrName { .. }), "{name}");
    }
    let long = format!("user.{}", "x".repeat(251));
    assert!(matches!(with(&[(&long, 0)]), Error::BadXattrName { .. }));
    assert!(matches!(with(&[("user.a", 65_536)]), Error::XattrTooLarge { len: 65_536, .. }));
    assert!(matches!(with(&[("user.a", 0), ("user.a", 1)]), Error::DuplicateXattr { .. }));
    let many: Vec<_> = (0..5000).map(|i| (format!("user.{i}"), 100)).collect();
    let many: Vec<_> = many.iter().map(|(name, len)| (name.as_str(), *len)).collect();
    assert!(matches!(with(&many), Error::XattrsTooLarge { .. }));
}

#[test]
fn other_values_out_of_range_are_refused() {
    let one = |node: Node| refused(vec![dir(&[("a", 1)]), node]);
    assert!(matches!(one(Node { mode: 0o100644, ..node(Content::Fifo) }), Error::WrongMode { .. }));
    assert!(matches!(one(Node { mtime_nsec: 1_000_000_000, ..empty() }), Error::BadTime { .. }));
    for target in [vec![], vec![b'x'; 4096], b"a\0b".to_vec()] {
        assert!(matches!(one(node(Content::Symlink(target))), Error::BadSymlink { .. }));
    }
    for (major, minor) in [(4096, 0), (0, 1 << 20)] {
        let error = one(node(Content::CharDevice { major, minor }));
        assert!(matches!(error, Error::BadDevice { node: NodeId(1), .. }), "{error}");
    }
}

#[test]
fn a_file_must_have_the_bytes_that_were_announced() {
    let mut writer = writer();
    assert!(matches!(writer.write(b"x"), Err(Error::OutOfOrder { .. })));
    assert!(matches!(writer.end_file(), Err(Error::OutOfOrder { .. })));
    writer.begin_file(3).unwrap();
    assert!(matches!(writer.begin_file(3), Err(Error::OutOfOrder { .. })));
    assert!(matches!(writer.write(b"four"), Err(Error::TooManyBytes { announced: 3, received: 4 })));
    writer.write(b"ab").unwrap();
    assert!(matches!(writer.end_file(), Err(Error::TooFewBytes { announced: 3, received: 2 })));
    writer.write(b"c").unwrap();
    assert_eq!(writer.end_file().unwrap().size(), 3);
    assert!(matches!(writer.begin_file(u64::MAX), Err(Error::FileTooLarge { .. })));
    assert!(matches!(writer.begin_file(1 << 60), Err(Error::ImageTooLarge { .. })));
    let segments = [Segment { offset: 10, len: 5 }, Segment { offset: 12, len: 5 }];
    assert!(matches!(writer.begin_sparse(100, &segments), Err(Error::BadSegment { index: 1, .. })));
    let scattered: Vec<_> = (0..1000).map(|i| Segment { offset: i << 30, len: 1 }).collect();
    assert!(matches!(writer.begin_sparse(1 << 40, &scattered), Err(Error::SparseTooLarge { .. })));
    // Nothing of all this hurt the image.
    writer.begin_file(2).unwrap();
    writer.write(b"ok").unwrap();
    let data = writer.end_file().unwrap();
    let tree = Tree { nodes: vec![dir(&[("a", 1)]), node(Content::File(data))] };
    let finished = writer.finish(tree, FinishOptions::default()).unwrap();
    let image = Image::open(&finished.output).unwrap();
    let mut bytes = [0; 8];
    let file = image.inode(finished.nids[1]).unwrap();
    assert_eq!((image.read_at(&file, &mut bytes, 0).unwrap(), &bytes[..2]), (2, &b"ok"[..]));
}

#[test]
fn an_aborted_file_leaves_only_unused_blocks() {
    let mut writer = writer();
    writer.begin_file(10_000).unwrap();
    writer.write(&[1; 5000]).unwrap();
    writer.abort_file().unwrap();
    writer.begin_file(5000).unwrap();
    writer.write(&[2; 5000]).unwrap();
    let data = writer.end_file().unwrap();
    let tree = Tree { nodes: vec![dir(&[("a", 1)]), node(Content::File(data))] };
    let finished = writer.finish(tree, FinishOptions::default()).unwrap();
    let image = Image::open(&finished.output).unwrap();
    image.check().unwrap();
    let mut bytes = vec![0; 5000];
    image.read_at(&image.inode(finished.nids[1]).unwrap(), &mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|&b| b == 2));
}

#[test]
fn nodes_may_share_their_content() {
    let mut writer = writer();
    let bytes: Vec<u8> = (0..9000u32).map(|i| i as u8).collect();
    writer.begin_file(9000).unwrap();
    writer.write(&bytes).unwrap();
    let data = writer.end_file().unwrap();
    assert_eq!(data.image_bytes(), 9000);
    let plain = node(Content::File(data));
    // The tail of this one does not fit beside its attributes.
    let crowded = Xattr { name: b"user.x".to_vec(), value: vec![1; 4000] };
    let split = Node { xattrs: vec![crowded], ..plain.clone() };
    let nodes = vec![dir(&[("a", 1), ("b", 2), ("c", 3)]), plain.clone(), split, plain];
    let finished = writer.finish(Tree { nodes }, FinishOptions::default()).unwrap();
    let image = Image::open(&finished.output).unwrap();
    image.check().unwrap();
    for &nid in &finished.nids[1..] {
        let mut found = vec![0; 9001];
        assert_eq!(image.read_at(&image.inode(nid).unwrap(), &mut found, 0).unwrap(), 9000);
        assert!(found[..9000] == bytes);
    }
}

#[test]
fn content_of_another_image_is_refused() {
    let mut other = writer();
    other.begin_file(3).unwrap();
    other.write(b"abc").unwrap();
    let data = other.end_file().unwrap();
    let error = refused(vec![dir(&[("a", 1)]), node(Content::File(data))]);
    assert!(matches!(error, Error::ForeignData { node: NodeId(1) }), "{error}");
}

#[test]
fn a_full_disk_is_an_error_with_the_place() {
    struct Full;
    impl ImageOutput for Full {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn write_block0(&mut self, _: &[u8; 4096]) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = ImageWriter::new(Full, Cursor::new(Vec::new()));
    writer.begin_file(4096).unwrap();
    assert!(matches!(writer.write(&[0; 4096]), Err(Error::Output { offset: 4096, .. })));
}

#[test]
fn a_file_output_has_the_same_bytes_as_memory_and_tails_may_spill() {
    fn fill<W: ImageOutput>(mut writer: ImageWriter<W>) -> Finished<W> {
        let mut nodes = vec![dir(&[])];
        let mut entries: Entries = Vec::new();
        for i in 0..6000u32 {
            writer.begin_file(1500).unwrap();
            writer.write(&[i as u8; 1500]).unwrap();
            entries.push((format!("{i}").into_bytes(), NodeId(i + 1)));
            nodes.push(node(Content::File(writer.end_file().unwrap())));
        }
        nodes[0].content = Content::Directory(entries);
        writer.finish(Tree { nodes }, FinishOptions::new([3; 16])).unwrap()
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let output = FileOutput::new(std::fs::File::create(&path).unwrap());
    fill(ImageWriter::new(output, tempfile::tempfile().unwrap()));
    let memory = fill(writer());
    assert!(std::fs::read(&path).unwrap() == memory.output);

    let image = Image::open(std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(image.check().unwrap().file_bytes, 6000 * 1500);
    let mut bytes = [0; 1500];
    for (i, &nid) in memory.nids.iter().skip(1).enumerate() {
        image.read_at(&image.inode(nid).unwrap(), &mut bytes, 0).unwrap();
        assert_eq!(bytes, [i as u8; 1500]);
    }
}

#[test]
fn one_image_is_readable_from_several_threads() {
    let finished = finish(vec![dir(&[("a", 1)]), empty()]).unwrap();
    let image = &Image::open(&finished.output).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| assert!(image.resolve(b"a").unwrap().is_some())));
        }
    });
}
