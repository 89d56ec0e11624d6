//! Backup streams: what is written is read back, from any source and in any pieces; what is malformed is an error that says where.

use std::io::{self, Cursor, Read, Write};

use layerstone_nt::backup::{
    BackupReader, BackupWriter, Contents, DataReader, Error, Extent, HEADER, MAX_NAME, StreamAttributes,
    StreamHeader, StreamId,
};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{Ea, WideString, reparse};
use proptest::prelude::*;

/// Gives at most so many bytes at once.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn header(id: u32, attributes: u32, size: i64, name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&attributes.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(name);
    out
}

fn block(offset: i64, data: &[u8]) -> Vec<u8> {
    [header(9, 0, 8 + data.len() as i64, b""), offset.to_le_bytes().to_vec(), data.to_vec()].concat()
}

/// Reads everything; both kinds of sources must agree.
fn scan(bytes: &[u8]) -> Result<Contents, Error> {
    let seeking = Contents::scan(&mut BackupReader::seekable(Cursor::new(bytes)));
    let reading = Contents::scan(&mut BackupReader::new(Dribble(bytes, 3)));
    assert_eq!(format!("{seeking:?}"), format!("{reading:?}"));
    seeking
}

fn content(bytes: &[u8], layout: &layerstone_nt::backup::DataLayout) -> Vec<u8> {
    let mut out = vec![0; layout.size as usize];
    for placed in &layout.extents {
        let data = &bytes[placed.position as usize..][..placed.extent.len as usize];
        out[placed.extent.offset as usize..][..data.len()].copy_from_slice(data);
    }
    out
}

#[test]
fn headers_are_the_bytes_that_windows_writes() {
    let mut writer = BackupWriter::new(Vec::new());
    writer.begin_data(5, None).unwrap();
    writer.write_all(b"hello").unwrap();
    writer.begin(&StreamHeader::alternate(&"s".into(), 3)).unwrap();
    writer.write_all(b"abc").unwrap();
    let written = writer.finish().unwrap();
    let data = [&hex("0100000000000000050000000000000000000000")[..], b"hello"].concat();
    let name = "3a0073003a0024004400410054004100";
    let alternate = [hex(&format!("0400000000000000 0300000000000000 10000000 {name}")), b"abc".to_vec()];
    assert_eq!(written, [data, alternate.concat()].concat());

    let mut writer = BackupWriter::new(Vec::new());
    writer.begin_data(1 << 20, Some(&[])).unwrap();
    let end = hex("0900000000000000 0800000000000000 00000000 0000100000000000");
    assert_eq!(writer.finish().unwrap(), [header(1, 8, 0, b""), end].concat());
}

#[test]
fn all_four_shapes_of_a_sparse_file_are_read() {
    let empty = scan(&[]).unwrap();
    assert_eq!(empty.data, None);
    let empty = scan(&header(1, 8, 0, b"")).unwrap().data.unwrap();
    assert_eq!((empty.size, empty.sparse_extents()), (0, Some(vec![])));
    let hole = [header(1, 8, 0, b""), block(10, b"")].concat();
    assert_eq!(content(&hole, &scan(&hole).unwrap().data.unwrap()), [0; 10]);
    let whole = [header(1, 8, 4, b""), b"AB\0\0".to_vec()].concat();
    assert_eq!(content(&whole, &scan(&whole).unwrap().data.unwrap()), b"AB\0\0");
    let ranges = [header(1, 8, 0, b""), block(2, b"AB"), block(6, b"CD"), block(10, b"")].concat();
    let scanned = scan(&ranges).unwrap().data.unwrap();
    assert_eq!(content(&ranges, &scanned), b"\0\0AB\0\0CD\0\0");
    assert_eq!(scanned.stored(), 4);
}

#[test]
fn a_sparse_alternate_stream_is_read() {
    let name: Vec<u8> = WideString::from(":s:$DATA").to_le_bytes();
    let bytes = [header(1, 0, 0, b""), header(4, 8, 0, &name), block(1, b"x"), block(3, b"")].concat();
    let contents = scan(&bytes).unwrap();
    assert_eq!(content(&bytes, &contents.alternates[0].data), b"\0x\0");
}

#[test]
fn sparse_blocks_out_of_order_or_without_an_end_are_errors() {
    let sparse = header(1, 8, 0, b"");
    let error = |blocks: &[Vec<u8>]| scan(&[sparse.clone(), blocks.concat()].concat()).unwrap_err();
    assert!(matches!(
        error(&[block(6, b"CD"), block(0, b"AB"), block(10, b"")]),
        Error::SparseOrder { offset: 50, start: 0, end: 8 }
    ));
    assert!(matches!(error(&[block(0, b"AB")]), Error::NoSparseEnd { offset: 50 }));
    assert!(matches!(error(&[block(0, b"AB"), header(3, 0, 0, b"")]), Error::NoSparseEnd { .. }));
    assert!(matches!(error(&[block(0, b"AB"), block(1, b"")]), Error::SparseOrder { start: 1, end: 2, .. }));
    assert!(matches!(error(&[block(-1, b"AB")]), Error::Negative { offset: 20, field: "Offset", value: -1 }));
    assert!(matches!(error(&[block(i64::MAX, b"AB")]), Error::SparseBlock { offset: 20, .. }));
    assert!(matches!(error(&[header(9, 0, 7, b""), vec![0; 7]]), Error::SparseBlock { offset: 20, .. }));
    assert!(matches!(error(&[block(2, b""), block(3, b"")]), Error::SparseBlock { offset: 48, .. }));
    // Data without the attribute is not followed by blocks.
    let plain = [header(1, 0, 0, b""), block(2, b"")].concat();
    assert!(matches!(scan(&plain).unwrap_err(), Error::SparseBlock { offset: 20, .. }));
    assert!(matches!(scan(&block(2, b"")).unwrap_err(), Error::SparseBlock { offset: 0, .. }));
}

#[test]
fn a_stream_that_ends_early_says_where() {
    let bytes =
        [header(3, 2, 4, b""), b"abcd".to_vec(), header(4, 0, 9000, &[b':', 0, b'x', 0]), vec![7; 9000]];
    let bytes = bytes.concat();
    let ends = [0, 24, bytes.len()];
    for cut in 0..bytes.len() {
        for seekable in [false, true] {
            let mut reader = Headers::of(&bytes[..cut], seekable);
            match (reader.count(), ends.contains(&cut)) {
                (Ok(_), true) => {}
                (Err(Error::Truncated { offset, missing, .. }), false) => {
                    assert_eq!(offset, cut as u64, "cut at {cut}");
                    assert!(missing > 0, "cut at {cut}");
                }
                (other, _) => panic!("cut at {cut}: {other:?}"),
            }
        }
    }
}

/// Only headers are read; data are passed over.
enum Headers<'a> {
    Seeking(BackupReader<Cursor<&'a [u8]>>),
    Reading(BackupReader<&'a [u8]>),
}

impl<'a> Headers<'a> {
    fn of(bytes: &'a [u8], seekable: bool) -> Self {
        match seekable {
            true => Headers::Seeking(BackupReader::seekable(Cursor::new(bytes))),
            false => Headers::Reading(BackupReader::new(bytes)),
        }
    }

    fn count(&mut self) -> Result<usize, Error> {
        let mut count = 0;
        loop {
            let header = match self {
                Headers::Seeking(reader) => reader.next_stream()?,
                Headers::Reading(reader) => reader.next_stream()?,
            };
            match header {
                Some(_) => count += 1,
                None => return Ok(count),
            }
        }
    }
}

#[test]
fn headers_that_cannot_be_are_refused_before_anything_is_allocated() {
    let error = |bytes: &[u8]| scan(bytes).unwrap_err();
    assert!(matches!(error(&header(1, 0, -1, b"")), Error::Negative { offset: 0, field: "Size", value: -1 }));
    let long = [&header(1, 0, 0, b"")[..16], &u32::MAX.to_le_bytes()].concat();
    assert!(matches!(error(&long), Error::Name { offset: 0, bytes: 0xFFFF_FFFF }));
    assert!(matches!(error(&header(4, 0, 0, &[0; MAX_NAME + 2])), Error::Name { .. }));
    assert!(matches!(error(&header(4, 0, 0, b"abc")), Error::Name { bytes: 3, .. }));
    let name = |text: &str| header(4, 0, 0, &WideString::from(text).to_le_bytes());
    for bad in ["", "s", ":", "::$DATA", ":a:b:$DATA", ":a:$INDEX_ALLOCATION"] {
        assert!(matches!(error(&name(bad)), Error::AlternateName { offset: 0, .. }), "{bad}");
    }
    for good in [":s", ":s:$DATA", ":s:$data"] {
        assert_eq!(scan(&name(good)).unwrap().alternates[0].name.to_string(), "s", "{good}");
    }
    // Sizes that are announced and not there.
    for id in [1, 2, 3, 4, 8] {
        let bytes = header(id, 0, i64::MAX, if id == 4 { b":\0x\0" } else { b"" });
        assert!(matches!(error(&bytes), Error::Truncated { .. } | Error::TooLarge { .. }), "{id}");
    }
}

#[test]
fn streams_without_meaning_are_listed_and_unknown_ones_are_errors() {
    let bytes = [header(7, 0, 64, b""), vec![1; 64], header(5, 0, 0, b""), header(1, 0, 1, b""), vec![9]];
    let contents = scan(&bytes.concat()).unwrap();
    let ignored: Vec<_> = contents.ignored.iter().map(|ignored| (ignored.id, ignored.size)).collect();
    assert_eq!(ignored, [(StreamId::OBJECT_ID, 64), (StreamId::LINK, 0)]);
    for id in [0, 11, 12, u32::MAX] {
        let error = scan(&header(id, 0, 0, b"")).unwrap_err();
        assert!(matches!(error, Error::UnknownStream { offset: 0, id: found, .. } if found.0 == id));
    }
    let twice = [header(3, 0, 1, b""), vec![1], header(3, 0, 1, b""), vec![1]].concat();
    assert!(matches!(scan(&twice).unwrap_err(), Error::Repeated { offset: 21, .. }));
}

#[test]
fn the_writer_refuses_too_many_and_too_few_bytes() {
    let mut writer = BackupWriter::new(Vec::new());
    writer.begin(&StreamHeader::new(StreamId::DATA, 3)).unwrap();
    writer.data(b"ab").unwrap();
    let error = writer.data(b"cd").unwrap_err();
    assert!(matches!(error, Error::TooMany { announced: 3, .. }), "{error}");

    let mut writer = BackupWriter::new(Vec::new());
    writer.begin(&StreamHeader::new(StreamId::DATA, 3)).unwrap();
    writer.data(b"ab").unwrap();
    let error = writer.begin(&StreamHeader::new(StreamId::EA, 0)).unwrap_err();
    assert!(matches!(error, Error::Missing { announced: 3, given: 2, .. }), "{error}");

    let mut writer = BackupWriter::new(Vec::new());
    let extents = [Extent { offset: 2, len: 2 }, Extent { offset: 6, len: 2 }];
    writer.begin_data(10, Some(&extents)).unwrap();
    writer.data(b"abc").unwrap();
    assert!(matches!(writer.end().unwrap_err(), Error::Missing { announced: 4, given: 3, .. }));

    let mut writer = BackupWriter::new(Vec::new());
    writer.begin_data(10, Some(&extents)).unwrap();
    assert!(matches!(writer.data(b"abcde").unwrap_err(), Error::TooMany { announced: 4, .. }));

    for bad in [[(6, 2), (2, 2)], [(0, 4), (3, 1)], [(0, 1), (9, 2)], [(0, 1), (5, u64::MAX)]] {
        let extents = bad.map(|(offset, len)| Extent { offset, len });
        let error = BackupWriter::new(Vec::new()).begin_data(10, Some(&extents)).unwrap_err();
        assert!(matches!(error, Error::Extent { .. }), "{error}");
    }
    assert!(BackupWriter::new(Vec::new()).data(b"x").is_err());
}

#[test]
fn an_unread_stream_of_any_length_is_passed_over() {
    for length in [0, 1, 4095, 4096, 4097, 100_000] {
        let bytes = [header(1, 0, length as i64, b""), vec![1; length], header(3, 0, 2, b""), b"sd".to_vec()];
        assert_eq!(scan(&bytes.concat()).unwrap().security_descriptor, Some(b"sd".to_vec()), "{length}");
    }
}

/// A file to be written: metadata, data, alternate streams.
#[derive(Debug, Clone)]
struct File {
    metadata: WindowsMetadata,
    data: Option<(Vec<u8>, Option<Vec<Extent>>)>,
    streams: Vec<(WideString, Vec<u8>)>,
}

fn extents(size: usize) -> impl Strategy<Value = Option<Vec<Extent>>> {
    prop::option::of(prop::collection::btree_set(0..=size as u64, 0..8)).prop_map(|cuts| {
        let cuts: Vec<u64> = cuts?.into_iter().collect();
        Some(cuts.chunks_exact(2).map(|pair| Extent { offset: pair[0], len: pair[1] - pair[0] }).collect())
    })
}

fn file() -> impl Strategy<Value = File> {
    let descriptor = prop::option::of(prop::collection::vec(any::<u8>(), 1..40));
    let ea = ("[A-Z]{1,9}", prop::collection::vec(any::<u8>(), 0..9), any::<u8>())
        .prop_map(|(name, value, flags)| Ea { flags, name: name.into_bytes(), value });
    let point = prop::option::of("[a-z:\\\\]{0,9}").prop_map(|target| {
        target.map(|t| {
            layerstone_nt::ReparsePoint::from_target(&t.as_str().into(), reparse::TargetKind::Symlink)
        })
    });
    let data = prop::collection::vec(any::<u8>(), 0..200)
        .prop_flat_map(|data| (extents(data.len()), Just(data)).prop_map(|(extents, data)| (data, extents)));
    let name = prop::collection::vec(prop_oneof![1..0x3Au16, 0x3B..u16::MAX], 1..20)
        .prop_map(WideString::from_units);
    let streams = prop::collection::vec((name, prop::collection::vec(any::<u8>(), 0..50)), 0..3);
    (descriptor, prop::collection::vec(ea, 0..3), point, prop::option::of(data), streams).prop_map(
        |(security_descriptor, eas, reparse, data, streams)| File {
            metadata: WindowsMetadata { security_descriptor, eas, reparse, ..WindowsMetadata::default() },
            data,
            streams,
        },
    )
}

fn write(file: &File, piece: usize) -> Vec<u8> {
    let mut writer = BackupWriter::new(Vec::new());
    writer.metadata(&file.metadata).unwrap();
    if let Some((data, extents)) = &file.data {
        writer.begin_data(data.len() as u64, extents.as_deref()).unwrap();
        let whole = [Extent { offset: 0, len: data.len() as u64 }];
        for extent in extents.as_deref().unwrap_or(&whole) {
            for bytes in data[extent.offset as usize..][..extent.len as usize].chunks(piece) {
                writer.data(bytes).unwrap();
            }
        }
    }
    for (name, data) in &file.streams {
        writer.begin(&StreamHeader::alternate(name, data.len() as u64)).unwrap();
        data.chunks(piece).for_each(|bytes| writer.data(bytes).unwrap());
    }
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(file in file(), piece in 1..64usize) {
        let bytes = write(&file, piece);
        prop_assert_eq!(&bytes, &write(&file, 1 << 20));
        let mut contents = scan(&bytes).unwrap();
        prop_assert_eq!(contents.length, bytes.len() as u64);
        prop_assert!(!contents.reparse_is_unusual);
        let mut metadata = WindowsMetadata::default();
        contents.move_metadata(&mut metadata);
        prop_assert_eq!(&metadata, &file.metadata);
        prop_assert_eq!(contents.data.is_some(), file.data.is_some());
        if let (Some(layout), Some((data, extents))) = (&contents.data, &file.data) {
            let mut expected = data.clone();
            if let Some(extents) = extents {
                expected.fill(0);
                for extent in extents {
                    let range = extent.offset as usize..extent.end() as usize;
                    expected[range.clone()].copy_from_slice(&data[range]);
                }
            }
            prop_assert_eq!(content(&bytes, layout), expected);
            let kept = extents.clone().map(|list| list.into_iter().filter(|e| e.len > 0).collect::<Vec<_>>());
            prop_assert_eq!(layout.sparse_extents(), kept);
        }
        prop_assert_eq!(contents.alternates.len(), file.streams.len());
        for (alternate, (name, data)) in contents.alternates.iter().zip(&file.streams) {
            prop_assert_eq!(&alternate.name, name);
            prop_assert_eq!(&content(&bytes, &alternate.data), data);
        }
    }

    #[test]
    fn data_are_the_same_in_any_pieces_from_a_source_that_cannot_seek(
        (data, extents) in prop::collection::vec(any::<u8>(), 0..300)
            .prop_flat_map(|data| (Just(data.clone()), extents(data.len()))),
        dribble in 1..40usize,
        piece in 1..40usize,
    ) {
        let file = File { metadata: WindowsMetadata::default(), data: Some((data.clone(), extents)), streams: vec![] };
        let bytes = write(&file, 7);
        let mut reader = BackupReader::new(Dribble(&bytes, dribble));
        let header = reader.next_stream().unwrap().unwrap();
        let mut ranges = DataReader::new(&mut reader, &header);
        let mut buffer = vec![0; piece];
        while let Some(extent) = ranges.next_extent().unwrap() {
            let mut found = Vec::new();
            loop {
                match ranges.read(&mut buffer).unwrap() {
                    0 => break,
                    read => found.extend_from_slice(&buffer[..read]),
                }
            }
            prop_assert_eq!(&found[..], &data[extent.offset as usize..extent.end() as usize]);
        }
        prop_assert_eq!(ranges.size(), Some(data.len() as u64));
        prop_assert!(reader.next_stream().unwrap().is_none());
    }

    #[test]
    fn any_bytes_are_contents_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&bytes);
    }

    #[test]
    fn damage_is_contents_or_an_error(file in file(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = write(&file, 64);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = scan(&bytes);
    }
}

#[test]
fn attributes_of_streams_combine() {
    let both = StreamAttributes::SPARSE | StreamAttributes::CONTAINS_SECURITY;
    assert!(both.contains(StreamAttributes::SPARSE) && !StreamAttributes::NORMAL.contains(both));
    assert_eq!(HEADER, 20);
    assert_eq!(format!("{:?}, {}", StreamId::DATA, StreamId(77)), "StreamId(1: DATA), stream id 77");
}
