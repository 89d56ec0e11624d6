//! Whatever the bytes: reading them as an archive ends, the events give back each byte read, and whatever members there
//! are can be mapped, put into a tree and written again, or are refused.

#![no_main]

use layerstone_fuzz::{Bound, bounded};
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader, TarWriter};
use layerstone_layer::tree::LayerTree;
use layerstone_layer::{EntryKind, Os, Report};
use libfuzzer_sys::fuzz_target;

/// What a run may allocate.
const BOUND: Bound = Bound { per_byte: 96, constant: 1 << 20 };

fuzz_target!(|input: &[u8]| bounded(input.len(), BOUND, || run(input)));

fn run(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    let os = if choice & 1 == 0 { Os::Linux } else { Os::Windows };
    if choice & 2 == 0 {
        read(&mend(input), os);
    } else {
        read(input, os);
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

fn read(input: &[u8], os: Os) {
    let mut reader = TarReader::new(input);
    let mut mapper = Mapper::new(os);
    let mut report = Report::default();
    let mut tree = LayerTree::<u64>::new(os);
    let mut rebuilt = Vec::new();
    let mut entries = Vec::new();
    loop {
        match reader.next_event() {
            Ok(Event::Raw(bytes) | Event::Data(bytes)) => {
                assert!(!bytes.is_empty(), "an event without bytes");
                rebuilt.extend_from_slice(bytes);
            }
            Ok(Event::Member(member)) => {
                if let Ok(Some(entry)) = mapper.entry(&member, &mut report) {
                    entries.push(entry);
                }
            }
            Ok(Event::End) => {
                assert!(rebuilt == input, "the events are not the archive");
                break;
            }
            Err(_) => {
                assert!(input.starts_with(&rebuilt), "the events are not the archive's beginning");
                break;
            }
        }
    }
    for entry in entries {
        let content = matches!(entry.kind, EntryKind::File { .. } | EntryKind::Stream { .. }).then_some(0);
        // A refusal is fine; so is an entry whose bytes never come.
        let _ = TarWriter::new(std::io::sink()).entry(&entry);
        tree.insert(entry, content, &mut report);
    }
    for (path, target) in tree.pending_links() {
        match tree.find(&target) {
            Some(node) => tree.link(&path, node, &mut report),
            None => tree.unlink(&path),
        }
    }
}
