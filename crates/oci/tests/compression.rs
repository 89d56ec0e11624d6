//! Encoders give the same bytes whatever the threads do; decoders say what is wrong and where.

mod common;

use std::io::{self, BufReader, Read, Write};
use std::num::NonZeroUsize;
#[cfg(unix)]
use std::process::Stdio;

use layerstone_oci::compress::{Encoder, decoder};
use layerstone_oci::{Compression, DecodeError};
use proptest::prelude::*;

#[cfg(unix)]
use common::tool;

/// Text-like data that compresses somewhat, the same each time.
fn data(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 33) % 4000;
        bytes.extend_from_slice(format!("word-{word} ").as_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn encode(
    compression: Compression,
    level: Option<i32>,
    threads: usize,
    chunk: usize,
    data: &[u8],
) -> Vec<u8> {
    let mut encoder = Encoder::new(compression, level, NonZeroUsize::new(threads), Vec::new()).unwrap();
    for piece in data.chunks(chunk) {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

fn decode(compression: Compression, data: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    decoder(compression, BufReader::with_capacity(777, data))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn the_bytes_do_not_depend_on_threads_or_on_how_they_are_written() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        for len in [0, 1, 131_071, 131_072, 131_073, 262_144, 9_000_000] {
            let data = data(len);
            let reference = encode(compression, None, 1, usize::MAX, &data);
            assert_eq!(decode(compression, &reference).unwrap(), data, "{compression} {len}");
            for (threads, chunk) in [(1, 10_000), (2, 131_072), (3, 131_073), (8, 1 << 20)] {
                let again = encode(compression, None, threads, chunk, &data);
                assert!(
                    again == reference,
                    "{compression}, {len} bytes, {threads} threads, written by {chunk}"
                );
            }
        }
    }
}

#[test]
fn every_level_inflates_again() {
    let data = data(700_000);
    for level in 0..=9 {
        let packed = encode(Compression::Gzip, Some(level), 2, usize::MAX, &data);
        assert_eq!(decode(Compression::Gzip, &packed).unwrap(), data, "gzip {level}");
    }
    for level in [1, 3, 9, 19] {
        let packed = encode(Compression::Zstd, Some(level), 2, usize::MAX, &data);
        assert_eq!(decode(Compression::Zstd, &packed).unwrap(), data, "zstd {level}");
    }
}

#[test]
fn blocks_lose_little_against_a_single_stream() {
    let data = data(4 << 20);
    let parallel = encode(Compression::Gzip, Some(6), 2, usize::MAX, &data).len();
    let mut single = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    single.write_all(&data).unwrap();
    let single = single.finish().unwrap().len();
    assert!(parallel < single + single / 100, "{parallel} against {single}");
}

/// Windows has no gzip.
#[cfg(unix)]
#[test]
fn gzip_itself_reads_it_as_one_member() {
    let test = "gzip_itself_reads_it_as_one_member";
    for len in [0, 1, 131_072, 1_000_000] {
        let Some(mut gzip) = tool(test, "gzip") else { return };
        let data = data(len);
        let packed = encode(Compression::Gzip, None, 3, 5000, &data);
        assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

        let mut child = gzip.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = packed.clone();
        let feeder = std::thread::spawn(move || stdin.write_all(&feed).unwrap());
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, data);

        // flate2's single-member reader stops after the first member: all must be in it.
        let mut one = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut one).unwrap();
        assert_eq!(one, data);
    }
}

fn problem(compression: Compression, data: &[u8]) -> DecodeError {
    let error = decode(compression, data).unwrap_err();
    *error.into_inner().unwrap().downcast::<DecodeError>().unwrap()
}

#[test]
fn truncated_streams_are_called_truncated_wherever_they_end() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = encode(compression, None, 1, usize::MAX, &data(300_000));
        for end in [0, 1, 5, 12, packed.len() / 2, packed.len() - 5, packed.len() - 1] {
            let found = problem(compression, &packed[..end]);
            assert!(matches!(found, DecodeError::Truncated { .. }), "{compression} cut at {end}: {found}");
        }
        let DecodeError::Truncated { offset, .. } = problem(compression, &packed[..5000]) else { panic!() };
        assert_eq!(offset, 5000);
    }
}

#[test]
fn damaged_streams_are_called_corrupt() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = encode(compression, None, 1, usize::MAX, &data(300_000));
        for at in [0, packed.len() / 2, packed.len() - 3] {
            let mut bad = packed.clone();
            bad[at] ^= 0x55;
            let result = decode(compression, &bad);
            let error = result.expect_err("damage is found").to_string();
            assert!(error.contains(&compression.to_string()), "{error}");
        }
    }
}

#[test]
fn members_and_frames_may_follow_each_other_but_nothing_else_may() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let one = encode(compression, None, 1, usize::MAX, b"one ");
        let two = encode(compression, None, 1, usize::MAX, b"two");
        let both = [one.clone(), two].concat();
        assert_eq!(decode(compression, &both).unwrap(), b"one two");
        let padded = [&one[..], &[0; 512]].concat();
        let found = problem(compression, &padded);
        assert!(matches!(found, DecodeError::Corrupt { .. }), "{compression}: {found}");
    }
}

#[test]
fn errors_of_the_input_come_through_as_they_are() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the network is gone"))
        }
    }
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let mut reader = decoder(compression, BufReader::new(Failing)).unwrap();
        let error = reader.read(&mut [0; 10]).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::TimedOut, "the network is gone")
        );
    }
}

#[test]
fn a_failing_output_ends_the_encoder_without_hanging() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            if buf.len() == 10 { Ok(10) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut encoder = Encoder::new(Compression::Gzip, None, NonZeroUsize::new(2), Full).unwrap();
    let error = encoder.write_all(&data(4 << 20)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_packed_is_unpacked(
        seed in proptest::collection::vec(any::<u8>(), 0..2000), repeat in 1_usize..400, level in 0..=9, threads in 1_usize..5
    ) {
        let data = seed.repeat(repeat);
        let packed = encode(Compression::Gzip, Some(level), threads, 70_000, &data);
        prop_assert!(decode(Compression::Gzip, &packed).unwrap() == data);
    }

    #[test]
    fn no_input_makes_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for (compression, magic) in [(Compression::Gzip, &[0x1f, 0x8b, 8][..]), (Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd])] {
            let _ = decode(compression, &bytes);
            let _ = decode(compression, &[magic, &bytes].concat());
        }
    }
}
