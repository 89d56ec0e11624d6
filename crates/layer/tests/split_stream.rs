//! The split stream: what goes in comes out, and damage is found.

use std::io::Cursor;

use layerstone_layer::split::{Error, Op, Payload, Range, SplitReader, SplitWriter};
use layerstone_layer::tar::Segment;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Literal(Vec<u8>),
    File(Vec<u8>),
    /// Gap before and bytes of each range.
    Ranges(Vec<(u64, Vec<u8>)>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || vec(any::<u8>(), 0..300);
    let literal = prop_oneof![
        4 => bytes(),
        1 => (0usize..200_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let step = prop_oneof![
        literal.prop_map(Step::Literal),
        bytes().prop_map(Step::File),
        vec((0u64..1 << 40, vec(any::<u8>(), 1..50)), 0..5).prop_map(Step::Ranges),
    ];
    vec(step, 0..20)
}

/// An inode for a payload: anything, also what takes all 64 bits.
fn nid(number: usize) -> u64 {
    (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn write(steps: &[Step]) -> Vec<u8> {
    let mut writer = SplitWriter::new(Vec::new()).unwrap();
    for step in steps {
        match step {
            Step::Literal(bytes) => writer.literal(bytes).unwrap(),
            Step::File(bytes) => {
                writer.begin_payload(bytes.len() as u64, None).unwrap();
                writer.payload_bytes(bytes);
                writer.end_payload();
            }
            Step::Ranges(ranges) => {
                let mut end = 0;
                let mut segments = Vec::new();
                for (gap, bytes) in ranges {
                    segments.push(Segment { offset: end + gap, len: bytes.len() as u64 });
                    end += gap + bytes.len() as u64;
                }
                writer.begin_payload(end, Some(&segments)).unwrap();
                for (_, bytes) in ranges {
                    writer.payload_bytes(bytes);
                }
                writer.end_payload();
            }
        }
    }
    writer.finish(|id| nid(id.0)).unwrap()
}

/// Literals joined, between them the payloads.
type Outcome = (Vec<Vec<u8>>, Vec<Payload>, u64);

fn read(file: &[u8]) -> Result<Outcome, Error> {
    let mut reader = SplitReader::open(Cursor::new(file), Cursor::new(file))?;
    let (mut literals, mut payloads) = (vec![Vec::new()], Vec::new());
    loop {
        match reader.next_op()? {
            Op::Literal(bytes) => literals.last_mut().unwrap().extend_from_slice(bytes),
            Op::Payload(payload) => {
                payloads.push(payload);
                literals.push(Vec::new());
            }
            Op::End => return Ok((literals, payloads, reader.archive_length())),
        }
    }
}

fn expected(steps: &[Step]) -> Outcome {
    let (mut literals, mut payloads, mut length) = (vec![Vec::new()], Vec::new(), 0);
    for step in steps {
        let (ranges, bytes) = match step {
            Step::Literal(bytes) => {
                literals.last_mut().unwrap().extend_from_slice(bytes);
                length += bytes.len() as u64;
                continue;
            }
            Step::File(bytes) => (vec![Range { offset: 0, len: bytes.len() as u64 }], bytes.clone()),
            Step::Ranges(ranges) => {
                let (mut out, mut all, mut end) = (Vec::new(), Vec::new(), 0);
                for (gap, bytes) in ranges {
                    out.push(Range { offset: end + gap, len: bytes.len() as u64 });
                    end += gap + bytes.len() as u64;
                    all.extend_from_slice(bytes);
                }
                (out, all)
            }
        };
        length += bytes.len() as u64;
        let number = payloads.len();
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        payloads.push(Payload { number: number as u64, nid: nid(number), hash, ranges });
        literals.push(Vec::new());
    }
    (literals, payloads, length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_sequence_of_operations_comes_back(steps in steps()) {
        prop_assert_eq!(read(&write(&steps)).unwrap(), expected(&steps));
    }

    #[test]
    fn a_flipped_bit_is_found(steps in steps(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut file = write(&steps);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        // Some bits of a zstd frame's header carry nothing: then the outcome must be unchanged.
        if let Ok(outcome) = read(&file) {
            prop_assert_eq!(outcome, expected(&steps), "byte {} bit {}", at, bit);
        }
    }

    #[test]
    fn a_truncated_stream_is_found(steps in steps(), at in any::<prop::sample::Index>()) {
        let file = write(&steps);
        prop_assert!(read(&file[..at.index(file.len())]).is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes);
    }

    #[test]
    fn random_operations_behind_a_sound_footer_never_panic(ops in vec(any::<u8>(), 0..500), table in vec(any::<u8>(), 0..100), numbers in any::<(u64, u64)>()) {
        let mut file = b"LSPLIT01".to_vec();
        file.extend(zstd::encode_all(&ops[..], 1).unwrap());
        let table_offset = file.len() as u64;
        file.extend(zstd::encode_all(&table[..], 1).unwrap());
        let mut footer = Vec::new();
        for number in [table_offset, file.len() as u64 - table_offset, numbers.0, numbers.1] {
            footer.extend_from_slice(&number.to_le_bytes());
        }
        let sum = xxhash_rust::xxh3::xxh3_64(&footer);
        footer.extend_from_slice(&sum.to_le_bytes());
        footer.extend_from_slice(b"LSPLIT01");
        file.extend(footer);
        let _ = read(&file);
    }
}

#[test]
fn every_flipped_bit_of_a_small_stream_is_found() {
    let steps = [
        Step::Literal(b"header of a file, and much more of it".repeat(9)),
        Step::File(vec![7; 100]),
        Step::Literal(vec![0; 1024]),
    ];
    let file = write(&steps);
    let want = expected(&steps);
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(outcome) = read(&damaged) {
                assert!(outcome == want, "byte {at} bit {bit} changed the archive unseen");
            }
        }
    }
}
