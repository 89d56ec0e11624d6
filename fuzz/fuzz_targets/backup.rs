//! Backup streams: any bytes give contents or an error, the same from a source that seeks and from one that does not, and what was
//! read can be written and reads as itself.

#![no_main]

use std::io::{Cursor, Read};

use layerstone_fuzz::{Bound, bounded};
use layerstone_nt::WindowsMetadata;
use layerstone_nt::backup::{
    BackupReader, BackupWriter, Contents, DataLayout, DataReader, StreamHeader, StreamId,
};
use libfuzzer_sys::fuzz_target;

/// What a run may allocate.
const BOUND: Bound = Bound { per_byte: 64, constant: 1 << 20 };

fuzz_target!(|input: &[u8]| bounded(input.len(), BOUND, || run(input)));

fn run(input: &[u8]) {
    let seeking = Contents::scan(&mut BackupReader::seekable(Cursor::new(input)));
    let reading = Contents::scan(&mut BackupReader::new(Pieces(input)));
    assert_eq!(seeking.is_ok(), reading.is_ok(), "sources disagree");
    stream_by_stream(input);
    let (Ok(contents), Ok(again)) = (seeking, reading) else { return };
    assert_eq!(contents, again, "sources disagree");
    assert_eq!(contents.length, input.len() as u64);
    let Some(written) = write(input, contents.clone()) else { return };
    let read = Contents::scan(&mut BackupReader::new(written.as_slice())).expect("what was written reads");
    assert_eq!(read.security_descriptor, contents.security_descriptor);
    assert_eq!((&read.eas, &read.reparse), (&contents.eas, &contents.reparse));
    let shape = |layout: &DataLayout| (layout.size, layout.sparse, layout.stored());
    assert_eq!(read.data.as_ref().map(shape), contents.data.as_ref().map(shape));
}

/// Gives a few bytes at a time.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(5);
        self.0.read(&mut buffer[..most])
    }
}

/// As somebody who copies a file would read it: data by ranges, everything else passed over.
fn stream_by_stream(input: &[u8]) {
    let mut reader = BackupReader::new(input);
    while let Ok(Some(header)) = reader.next_stream() {
        if header.id != StreamId::DATA {
            continue;
        }
        let mut data = DataReader::new(&mut reader, &header);
        let mut end = 0;
        while let Ok(Some(extent)) = data.next_extent() {
            assert!(extent.offset >= end && extent.len > 0, "ranges rise");
            end = extent.end();
            let _ = data.read(&mut [0; 16]);
        }
    }
}

/// Metadata and data in the canonical order; `None` for EAs that cannot be encoded.
fn write(input: &[u8], mut contents: Contents) -> Option<Vec<u8>> {
    let mut writer = BackupWriter::new(Vec::new());
    let mut metadata = WindowsMetadata::default();
    contents.move_metadata(&mut metadata);
    writer.metadata(&metadata).ok()?;
    if let Some(layout) = &contents.data {
        writer.begin_data(layout.size, layout.sparse_extents().as_deref()).expect("ranges that were read");
        for placed in &layout.extents {
            let bytes = &input[placed.position as usize..][..placed.extent.len as usize];
            writer.data(bytes).expect("as many bytes as announced");
        }
    }
    for alternate in &contents.alternates {
        writer.begin(&StreamHeader::alternate(&alternate.name, 0)).ok()?;
    }
    Some(writer.finish().expect("all bytes came"))
}
