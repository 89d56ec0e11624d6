//! A split stream written from any archive gives that archive back; any bytes read as a split stream end in operations
//! of bounded size, or in an error.

#![no_main]

use std::io::Cursor;

use layerstone_fuzz::{Bound, bounded};
use layerstone_layer::split::{Op, PayloadId, SplitReader, SplitWriter};
use layerstone_layer::tar::Segment;
use libfuzzer_sys::fuzz_target;

/// More operations than an input of the fuzzer's size can hold would mean that the reader does not advance; a zstd frame
/// can hold many times its size.
const MAX_OPS: u64 = 1 << 20;

/// What a run may allocate.
const BOUND: Bound = Bound { per_byte: 96, constant: 64 << 20 };

fuzz_target!(|input: &[u8]| bounded(input.len(), BOUND, || run(input)));

fn run(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    if choice & 1 == 0 {
        read(input);
    } else {
        round_trip(input);
    }
}

fn read(input: &[u8]) {
    let Ok(mut reader) = SplitReader::open(Cursor::new(input), Cursor::new(input)) else { return };
    let payloads = reader.payloads();
    for _ in 0..MAX_OPS {
        match reader.next_op() {
            Ok(Op::Literal(bytes)) => assert!(!bytes.is_empty() && bytes.len() <= 64 << 10),
            Ok(Op::Payload(payload)) => assert!(payload.number < payloads),
            Ok(Op::End) | Err(_) => return,
        }
    }
}

/// What the writer was told, in the reader's words.
#[derive(Debug, PartialEq)]
enum Piece {
    Literal(Vec<u8>),
    Payload { nid: u64, ranges: Vec<(u64, u64)>, hash: u64 },
}

/// Takes the input for instructions: a tag, a length, the bytes.
fn round_trip(mut input: &[u8]) {
    let mut writer = SplitWriter::new(Vec::new()).expect("writing to memory");
    let mut expected = Vec::new();
    while let [tag, len, rest @ ..] = input {
        let (bytes, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        input = rest;
        let size = bytes.len() as u64;
        if tag & 1 == 0 {
            writer.literal(bytes).expect("writing to memory");
            match expected.last_mut() {
                Some(Piece::Literal(last)) => last.extend_from_slice(bytes),
                _ if bytes.is_empty() => {}
                _ => expected.push(Piece::Literal(bytes.to_vec())),
            }
            continue;
        }
        let gap = u64::from(*tag) << 20;
        let segments = [Segment { offset: gap, len: size }];
        let sparse = tag & 2 != 0 && size > 0;
        let id: PayloadId = writer
            .begin_payload(if sparse { gap + size } else { size }, sparse.then_some(&segments[..]))
            .expect("writing to memory");
        writer.payload_bytes(bytes);
        writer.end_payload();
        let ranges = if sparse { vec![(gap, size)] } else { vec![(0, size)] };
        expected.push(Piece::Payload { nid: nid(id), ranges, hash: xxhash_rust::xxh3::xxh3_64(bytes) });
    }
    let bytes = writer.finish(nid).expect("writing to memory");
    let mut reader =
        SplitReader::open(Cursor::new(&bytes), Cursor::new(&bytes)).expect("what was written opens");
    let mut found = Vec::new();
    loop {
        match reader.next_op().expect("what was written reads") {
            Op::Literal(bytes) => match found.last_mut() {
                Some(Piece::Literal(last)) => last.extend_from_slice(bytes),
                _ => found.push(Piece::Literal(bytes.to_vec())),
            },
            Op::Payload(payload) => {
                let mut ranges: Vec<_> =
                    payload.ranges.iter().map(|range| (range.offset, range.len)).collect();
                if ranges.is_empty() {
                    ranges.push((0, 0));
                }
                found.push(Piece::Payload { nid: payload.nid, ranges, hash: payload.hash });
            }
            Op::End => break,
        }
    }
    assert_eq!(found, expected);
}

fn nid(id: PayloadId) -> u64 {
    id.0 as u64 * 7 + 1
}
