//! Transport folders. Any archive is laid out inside its folder or refused, and what was laid out reads back; any blob, description
//! and list of removed paths is read or refused.

#![no_main]

use std::fs;
use std::path::Path;

use layerstone_fuzz::{Bound, bounded};
use layerstone_layer::tar::{TarReader, TarWriter};
use layerstone_layer::transport::{
    ReadOptions, TransportReader, TransportWriter, WriteOptions, copy_from_tar_with, copy_to_tar,
};
use libfuzzer_sys::fuzz_target;

/// What a run may allocate.
const BOUND: Bound = Bound { per_byte: 96, constant: 4 << 20 };

fuzz_target!(|input: &[u8]| bounded(input.len(), BOUND, || run(input)));

fn run(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    match choice % 3 {
        0 => lay_out(&mend(input), directory.path(), WriteOptions::hcs()),
        1 => lay_out(&mend(input), directory.path(), WriteOptions::hcsshim()),
        _ => read(input, directory.path()),
    }
}

/// Puts right checksums into what may be headers: an input that is refused for its checksum shows nothing else.
fn mend(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if block[0] != 0 && &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

fn lay_out(archive: &[u8], directory: &Path, options: WriteOptions) {
    let root = directory.join("root");
    let writer = TransportWriter::create(&root, options).expect("an empty folder");
    let result = copy_from_tar_with(&mut TarReader::new(archive), writer, &mut |_| Ok(()));
    let beside = fs::read_dir(directory).expect("the directory").count();
    assert_eq!(beside, 1, "something was written beside the folder");
    if result.is_ok() {
        let options = ReadOptions { require_sidecars: true, ..ReadOptions::lenient() };
        let mut reader = TransportReader::open(&root, options).expect("a folder");
        let mut buffer = [0; 512];
        while reader.next_entry().expect("what was laid out reads").is_some() {
            while reader.read_data(&mut buffer).expect("what was laid out reads") > 0 {}
        }
    }
}

/// Three files, each with its length before it, and the rest a fourth.
fn read(mut input: &[u8], root: &Path) {
    fs::create_dir_all(root.join("Files/d")).expect("a directory");
    fs::create_dir_all(root.join("Hives")).expect("a directory");
    for name in ["Files.$wcidirs$", "Files/d.$wcidirs$", "tombstones.txt", "Files/d/a"] {
        let length = input.first().map_or(0, |&length| usize::from(length));
        let rest = input.get(1..).unwrap_or_default();
        let length = if name == "Files/d/a" { rest.len() } else { length.min(rest.len()) };
        fs::write(root.join(name), &rest[..length]).expect("a file");
        input = &rest[length..];
    }
    for options in [ReadOptions::lenient(), ReadOptions::base_layer()] {
        if let Ok(mut reader) = TransportReader::open(root, options) {
            let _ = copy_to_tar(&mut reader, &mut TarWriter::new(Limited(1 << 20)));
        }
    }
}

/// Takes so many bytes: a hole may be of any size.
struct Limited(usize);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
