//! What no tool at hand writes: headers made by hand, sound ones and malformed ones.

mod common;

use common::{Archive, Block, archive, error, expand, padded, pax, read};
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Error, Segment};
use layerstone_layer::{Entry, EntryKind, Finding, Os, Report};

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    [Block::new(name, b'0', bytes.len() as u64).sum(), padded(bytes)].concat()
}

fn entries(archive: &[u8], os: Os) -> (Vec<Entry>, Report) {
    let (mut mapper, mut report) = (Mapper::new(os), Report::default());
    let read = read(archive);
    let entries = read.members.iter().filter_map(|(m, _)| mapper.entry(m, &mut report).unwrap()).collect();
    (entries, report)
}

#[test]
fn global_records_last_until_replaced_and_never_rename_a_file() {
    let bytes = archive(&[
        pax(b'g', &[("uid", b"7"), ("path", b"wrong"), ("SCHILY.xattr.user.a", b"1")]),
        file("one", b"1"),
        pax(b'x', &[("uid", b"8")]),
        file("two", b"2"),
        pax(b'g', &[("uid", b"")]),
        file("three", b"3"),
    ]);
    let read = read(&bytes);
    let uid = |name| read.member(name).0.uid;
    assert_eq!((uid("one"), uid("two"), uid("three")), (7, 8, 0));
    let (entries, report) = entries(&bytes, Os::Linux);
    assert_eq!(report.count(Finding::IgnoredGlobal), 3);
    assert!(entries.iter().all(|entry| entry.meta.xattr(b"user.a") == Some(b"1")));
}

#[test]
fn an_empty_value_takes_the_field_back_to_the_header() {
    let bytes = archive(&[pax(b'x', &[("uid", b"5"), ("uid", b"")]), file("a", b"")]);
    // POSIX: an empty value deletes the record, so that the header counts again.
    assert_eq!(read(&bytes).member("a").0.uid, 0);
    let bytes = archive(&[pax(b'g', &[("gid", b"9")]), pax(b'x', &[("gid", b"")]), file("a", b"")]);
    assert_eq!(read(&bytes).member("a").0.gid, 0);
}

#[test]
fn a_pax_path_outranks_a_gnu_long_name() {
    let long = [Block::gnu("././@LongLink", b'L', 9).sum(), padded(b"long-name")].concat();
    let bytes = archive(&[long.clone(), pax(b'x', &[("path", b"pax-name")]), file("short", b"")]);
    assert_eq!(read(&bytes).members[0].0.name, b"pax-name");
    let bytes = archive(&[long, file("short", b"")]);
    assert_eq!(read(&bytes).members[0].0.name, b"long-name");
}

#[test]
fn checksums_of_signed_bytes_are_taken() {
    let mut block = Block::new("caf\u{e9}", b'0', 0);
    block.0[148..156].fill(b' ');
    let sum: i64 = block.0.iter().map(|&b| i64::from(b as i8)).sum();
    block.set(148, format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read(&archive(&[block.0.to_vec()])).members.len(), 1);
}

#[test]
fn extended_attributes_of_both_schools_are_read() {
    let bytes = archive(&[
        pax(
            b'x',
            &[
                ("SCHILY.xattr.user.raw", b"a\0=\nb"),
                ("SCHILY.xattr.user.a%3Db%25c", b"gnu tar"),
                ("LIBARCHIVE.xattr.user.b%20c", b"AAEC"),
                ("LIBARCHIVE.xattr.user.padded", b"AA=="),
                ("LIBARCHIVE.xattr.user.unpadded", b"AA"),
                ("LIBARCHIVE.xattr.user.both", b"AA"),
                ("SCHILY.xattr.user.both", b"schily"),
                ("LIBARCHIVE.xattr.user.broken", b"*"),
            ],
        ),
        file("f", b""),
    ]);
    let (entries, report) = entries(&bytes, Os::Linux);
    let get = |name: &[u8]| entries[0].meta.xattr(name).map(<[u8]>::to_vec);
    assert_eq!(get(b"user.raw").as_deref(), Some(&b"a\0=\nb"[..]));
    assert_eq!(get(b"user.a=b%c").as_deref(), Some(&b"gnu tar"[..]));
    assert_eq!(get(b"user.b c").as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!(get(b"user.padded").as_deref(), Some(&[0][..]));
    assert_eq!(get(b"user.unpadded").as_deref(), Some(&[0][..]));
    assert_eq!(get(b"user.both").as_deref(), Some(&b"schily"[..]));
    assert_eq!(get(b"user.broken"), None);
    assert_eq!(report.count(Finding::MalformedXattr), 1);
}

#[test]
fn whiteouts_are_told_from_names_that_only_look_like_them() {
    let names = ["d/.wh.gone", "d/.wh..wh..opq", "d/.wh.", "d/.wh..", "d/.wh...", "d/x.wh.y"];
    let (entries, report) = entries(&archive(&names.map(|name| file(name, b""))), Os::Linux);
    let seen: Vec<_> = entries
        .iter()
        .map(|e| (String::from_utf8_lossy(e.path.as_bytes()).into_owned(), e.kind.name()))
        .collect();
    let expected = [("d/gone", "whiteout"), ("d", "opaque marker"), ("d/x.wh.y", "file")];
    assert_eq!(seen, expected.map(|(path, kind)| (path.to_owned(), kind)));
    // `.`, `..` and nothing at all are no names that could be hidden.
    assert_eq!(report.count(Finding::UnsupportedType), 3);
}

#[test]
fn alternate_streams_belong_to_the_entry_before_them_be_it_a_directory() {
    let directory = Block::new("Files/dir", b'5', 0).sum();
    let bytes = archive(&[
        directory,
        file("Files/dir:on-dir", b"abc"),
        file("Files/f", b"x"),
        file("Files/f:one:$DATA", b"1"),
        file("Files/f:two", b"22"),
        file("Files/g", b"y"),
        file("Files/f:late", b"3"),
    ]);
    let (entries, _) = entries(&bytes, Os::Windows);
    let streams: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            EntryKind::Stream { name, size } => Some((entry.path.to_string(), name.as_slice(), *size)),
            _ => None,
        })
        .collect();
    let expected: [(&str, &[u8], u64); 3] =
        [("Files/dir", b"on-dir", 3), ("Files/f", b"one", 1), ("Files/f", b"two", 2)];
    assert_eq!(streams, expected.map(|(path, name, size)| (path.to_owned(), name, size)));
    assert_eq!(entries.last().unwrap().kind.name(), "file");
}

#[test]
fn old_gnu_sparse_maps_go_on_over_several_extension_blocks() {
    let segments: Vec<(u64, u64)> = (0..60).map(|at| (at * 1024, 512)).collect();
    let entry = |&(start, len): &(u64, u64)| format!("{start:011o}\0{len:011o}\0").into_bytes();
    let mut header = Block::gnu("sparse", b'S', 60 * 512);
    header.set(386, &segments[..4].iter().flat_map(entry).collect::<Vec<_>>());
    header.set(482, &[1]).set(483, format!("{:011o}\0", 60 * 1024).as_bytes());
    let mut pieces = vec![header.sum()];
    for (at, chunk) in segments[4..].chunks(21).enumerate() {
        let mut block = Block([0; 512]);
        block.set(0, &chunk.iter().flat_map(entry).collect::<Vec<_>>());
        block.set(504, &[u8::from((at + 1) * 21 < 56)]);
        pieces.push(block.0.to_vec());
    }
    let payload: Vec<u8> = (0..60).flat_map(|at| [at as u8 + 1; 512]).collect();
    pieces.push(payload);
    let read = read(&archive(&pieces));
    let sparse = read.member("sparse");
    assert_eq!(sparse.0.segments.as_ref().map(Vec::len), Some(60));
    assert_eq!(sparse.0.segments.as_ref().unwrap()[59], Segment { offset: 59 * 1024, len: 512 });
    let bytes = expand(sparse);
    assert!((0..60).all(|at| bytes[at * 1024] == at as u8 + 1 && bytes[at * 1024 + 512] == 0));
}

#[test]
fn malformed_headers_are_errors_that_say_where() {
    let mut damaged = file("a", b"");
    damaged[3] ^= 1;
    assert!(matches!(error(&archive(&[file("ok", b"x"), damaged])), Error::Checksum { offset: 1024, .. }));
    let number = Block::new("a", b'0', 0).set(124, b"99999999999\0").sum();
    assert!(matches!(error(&archive(&[number])), Error::Number { field: "size", .. }));
    let negative = Block::new("a", b'0', 0).set(124, &[0xff; 12]).sum();
    assert!(matches!(error(&archive(&[negative])), Error::Number { field: "size", .. }));
    let huge =
        Block::new("a", b'0', 0).set(124, &[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]).sum();
    assert!(matches!(error(&archive(&[huge])), Error::Truncated { .. }));
    let many: Vec<_> = (0..100).map(|_| pax(b'x', &[("a", b"b")])).collect();
    assert!(matches!(error(&archive(&many)), Error::TooLarge { .. }));
    let body = Block::new("PaxHeaders/x", b'x', 1 << 40).sum();
    assert!(matches!(error(&archive(&[body])), Error::TooLarge { .. }));
    for (key, value) in [("size", "-1"), ("size", "x"), ("uid", "1.5"), ("mtime", "soon"), ("gid", " 1")] {
        let bytes = archive(&[pax(b'x', &[(key, value.as_bytes())]), file("a", b"")]);
        assert!(matches!(error(&bytes), Error::PaxValue { .. }), "{key}={value}");
    }
    assert!(matches!(error(&archive(&[pax(b'x', &[("a", b"b")])])), Error::Truncated { .. }));
}

#[test]
fn sparse_maps_that_cannot_be_are_refused() {
    let sparse = |records: &[(&str, &[u8])], stored: usize| {
        archive(&[pax(b'x', records), Block::new("s", b'0', stored as u64).sum(), padded(&vec![1; stored])])
    };
    for (map, size, stored) in [
        ("0,10,5,10", "20", 20),
        ("10,5,0,5", "20", 10),
        ("0,10", "5", 10),
        ("0,10", "10", 9),
        ("0", "10", 0),
        ("18446744073709551615,1", "18446744073709551615", 1),
        ("x,1", "1", 1),
    ] {
        let bytes =
            sparse(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes())], stored);
        assert!(matches!(error(&bytes), Error::Sparse { .. }), "{map}");
    }
    let numbytes = sparse(&[("GNU.sparse.size", b"1"), ("GNU.sparse.numbytes", b"1")], 1);
    assert!(matches!(error(&numbytes), Error::Sparse { .. }));
    let one_zero: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"10")];
    for map in ["9223372036854775807\n", "99999999999999999999999\n", "-1\n", "2\n0\n1\n", "\n"] {
        let bytes =
            archive(&[pax(b'x', &one_zero), Block::new("s", b'0', 512).sum(), padded(map.as_bytes())]);
        assert!(matches!(error(&bytes), Error::Sparse { .. }), "{map:?}");
    }
}

#[test]
fn cut_at_every_byte_an_archive_is_an_error_or_ends_clean() {
    let bytes = archive(&[
        pax(b'g', &[("comment", b"c")]),
        pax(b'x', &[("path", b"name"), ("mtime", b"1.5")]),
        file("a", b"payload"),
        Block::new("d/", b'5', 0).sum(),
        [Block::gnu("././@LongLink", b'L', 9).sum(), padded(b"long-name")].concat(),
        file("b", &[9; 700]),
    ]);
    let whole = read(&bytes);
    for cut in 0..bytes.len() {
        let mut part = Archive::default();
        let result = part.read(&bytes[..cut], 512);
        assert!(bytes.starts_with(&part.bytes), "cut at {cut}");
        // Whatever was given before the cut is what the whole archive gives.
        let complete = part.members.len().saturating_sub(1);
        assert!(whole.members[..complete] == part.members[..complete], "cut at {cut}");
        if result.is_ok() {
            assert_eq!(part.bytes.len(), cut);
            assert!(!part.end_marker, "cut at {cut}");
            let last = part.members.last().map_or(0, |(m, payload)| m.stored_size - payload.len() as u64);
            assert_eq!(last, 0, "a payload was cut at {cut} without an error");
        }
    }
}

#[test]
fn a_header_of_a_million_records_is_read_in_one_pass() {
    let started = std::time::Instant::now();
    let numbered: Vec<_> = (0..250_000).map(|n| format!("k{n}")).collect();
    let mut records: Vec<(&str, &[u8])> = numbered.iter().map(|key| (key.as_str(), &b"v"[..])).collect();
    records.extend((0..250_000).map(|_| ("uid", &b"1"[..])));
    let read = read(&archive(&[pax(b'x', &records), file("a", b"")]));
    assert_eq!((read.members[0].0.uid, read.members[0].0.records.len()), (1, 250_000));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    let globals: Vec<_> = (0..10).map(|n| pax(b'g', &[(&format!("k{n}"), &[b'v'; 10_000])])).collect();
    assert!(matches!(error(&archive(&globals)), Error::TooLarge { .. }));
}

#[test]
fn a_symlink_target_with_a_nul_is_an_error() {
    let bytes = archive(&[pax(b'x', &[("linkpath", b"a\0b")]), Block::new("l", b'2', 0).sum()]);
    let read = read(&bytes);
    assert!(Mapper::new(Os::Linux).entry(&read.members[0].0, &mut Report::default()).is_err());
}
