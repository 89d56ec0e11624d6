//! What the tests of this crate share: reading an archive whole, making headers by hand, finding samples and tools.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::io::{BufReader, Read};
use std::process::Command;

use layerstone_layer::tar::{Error, Event, Member, TarReader};

/// Sizes of the input's buffer: events must not depend on where the input happens to be cut.
pub(crate) const BUFFERS: [usize; 3] = [61, 512, 64 << 10];

/// An archive as the reader gives it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Archive {
    /// All bytes of all events.
    pub(crate) bytes: Vec<u8>,
    /// The members, with their stored payload.
    pub(crate) members: Vec<(Member, Vec<u8>)>,
    pub(crate) end_marker: bool,
}

impl Archive {
    /// Reads everything; what came before an error is in `self`.
    pub(crate) fn read(&mut self, archive: &[u8], buffer: usize) -> Result<(), Error> {
        let mut reader = TarReader::new(BufReader::with_capacity(buffer, archive));
        loop {
            match reader.next_event()? {
                Event::Raw(bytes) => self.bytes.extend_from_slice(bytes),
                Event::Member(member) => self.members.push((*member, Vec::new())),
                Event::Data(bytes) => {
                    self.bytes.extend_from_slice(bytes);
                    let (_, payload) = self.members.last_mut().expect("data follows a member");
                    payload.extend_from_slice(bytes);
                }
                Event::End => break,
            }
        }
        assert_eq!(reader.offset(), self.bytes.len() as u64);
        self.end_marker = reader.has_end_marker();
        Ok(())
    }

    pub(crate) fn member(&self, name: &str) -> &(Member, Vec<u8>) {
        let found = self.members.iter().rev().find(|(m, _)| m.name == name.as_bytes());
        found.unwrap_or_else(|| {
            let names: Vec<_> = self.members.iter().map(|(m, _)| String::from_utf8_lossy(&m.name)).collect();
            panic!("no member {name} in {names:?}")
        })
    }
}

/// Reads a sound archive with every buffer size; no byte may be lost.
pub(crate) fn read(archive: &[u8]) -> Archive {
    let mut first: Option<Archive> = None;
    for buffer in BUFFERS {
        let mut read = Archive::default();
        read.read(archive, buffer).unwrap_or_else(|error| panic!("{error}"));
        assert!(read.bytes == archive, "the events are not the archive");
        if let Some(first) = &first {
            assert!(*first == read, "the events depend on the buffer");
        }
        first = Some(read);
    }
    first.unwrap_or_default()
}

pub(crate) fn error(archive: &[u8]) -> Error {
    let mut read = Archive::default();
    read.read(archive, 512).expect_err("the archive is malformed")
}

/// The bytes of a file, its holes filled.
pub(crate) fn expand((member, payload): &(Member, Vec<u8>)) -> Vec<u8> {
    let Some(segments) = &member.segments else { return payload.clone() };
    let mut out = vec![0; member.size as usize];
    let mut rest = payload.as_slice();
    for segment in segments {
        let (now, later) = rest.split_at(segment.len as usize);
        out[segment.offset as usize..][..now.len()].copy_from_slice(now);
        rest = later;
    }
    assert!(rest.is_empty());
    out
}

/// A header block made by hand: ustar, name, size and type; the checksum is set last.
pub(crate) struct Block(pub(crate) [u8; 512]);

impl Block {
    pub(crate) fn new(name: &str, typeflag: u8, size: u64) -> Self {
        let mut block = Block([0; 512]);
        block.set(0, name.as_bytes());
        block.set(100, b"0000644\0").set(108, b"0000000\0").set(116, b"0000000\0");
        block.set(124, format!("{size:011o}\0").as_bytes()).set(136, b"00000000000\0");
        block.set(156, &[typeflag]).set(257, b"ustar\x0000");
        block
    }

    pub(crate) fn gnu(name: &str, typeflag: u8, size: u64) -> Self {
        let mut block = Self::new(name, typeflag, size);
        block.set(257, b"ustar  \0");
        block
    }

    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn sum(&mut self) -> Vec<u8> {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|&b| u32::from(b)).sum();
        self.set(148, format!("{sum:06o}\0 ").as_bytes());
        self.0.to_vec()
    }
}

/// `bytes` and the zeros up to the next block.
pub(crate) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// An extended header of the given type with these records.
pub(crate) fn pax(typeflag: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        layerstone_layer::tar::pax::write(&mut body, key.as_bytes(), value);
    }
    [Block::new("PaxHeaders/x", typeflag, body.len() as u64).sum(), padded(&body)].concat()
}

/// A finished archive of these pieces.
pub(crate) fn archive(pieces: &[Vec<u8>]) -> Vec<u8> {
    [pieces.concat(), vec![0; 1024]].concat()
}

/// Runs a tool; its output, or why it could not be had.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(output.stdout)
}

/// Tells that a test could not run; with `REQUIRE_ALL=1` that is a failure.
pub(crate) fn skip(test: &str, reason: &str) {
    layerstone_testing::skip(test, reason);
}

/// True when the tool is there.
pub(crate) fn have(tool: &str, test: &str) -> bool {
    layerstone_testing::tool(test, tool).is_some()
}

/// All archives below the sample directory, inflated, with their names.
pub(crate) fn samples() -> Vec<(String, Vec<u8>)> {
    let root = layerstone_testing::samples();
    let mut found = Vec::new();
    let mut todo = vec![root.join("linux"), root.join("layers")];
    while let Some(path) = todo.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                todo.push(path);
            } else if name.ends_with(".tar") {
                found.push((name, std::fs::read(&path).unwrap()));
            } else if name.ends_with(".tar.gz") {
                let mut inflated = Vec::new();
                let file = std::fs::File::open(&path).unwrap();
                flate2::read::MultiGzDecoder::new(file).read_to_end(&mut inflated).unwrap();
                found.push((name, inflated));
            }
        }
    }
    found.sort();
    found
}
