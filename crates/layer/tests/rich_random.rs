//! Layers with everything that Windows has, through each form and back: what comes back is what went in, and what a form cannot hold
//! is refused or counted, each thing once.

#[path = "common/layers.rs"]
mod layers;
#[path = "common/rich.rs"]
mod rich;

use layerstone_layer::tar::TarWriter;
use layerstone_layer::tar::write::Error;
use layerstone_layer::transport::{ReadOptions, TransportReader, TransportWriter, WriteOptions};
use layerstone_layer::{Entry, EntryKind, Finding, Os};
use layerstone_nt::backup::{BackupReader, BackupWriter, Contents, Extent, StreamHeader};
use layerstone_nt::{FileTime, WideString, WindowsMetadata};
use proptest::prelude::*;
use rich::{Item, fits_tar, layer, through_tar};

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if cfg!(windows) { 16 } else { 256 })
    }
}

fn write_tar(items: &[Item]) -> (Vec<u8>, u64) {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, bytes) in items {
        writer.entry(entry).unwrap();
        // Holes are the caller's to fill.
        let ((_, whole), _) = through_tar(&(entry.clone(), bytes.clone()));
        writer.data(&whole).unwrap();
    }
    let lost = writer.take_report().count(Finding::NotInTar);
    (writer.finish().unwrap(), lost)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tar_gives_back_what_it_holds_and_counts_what_it_does_not(items in layer()) {
        let (fit, unfit): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|(entry, _)| fits_tar(entry));
        for (entry, _) in &unfit {
            let refused = TarWriter::new(Vec::new()).entry(entry);
            let is_named = matches!(
                refused,
                Err(Error::Windows { source: layerstone_nt::Error::NotRepresentable { .. }, .. })
            );
            prop_assert!(is_named, "{:?}", refused);
        }
        let (archive, lost) = write_tar(&fit);
        let (expected, losses): (Vec<Item>, Vec<u64>) = fit.iter().map(through_tar).unzip();
        prop_assert_eq!(lost, losses.into_iter().sum::<u64>());
        let (read, _) = layers::entries(&archive, Os::Windows);
        prop_assert_eq!(&read, &expected);
    }

    #[test]
    fn a_backup_stream_gives_back_all_of_a_file(items in layer()) {
        for group in items.chunk_by(|_, (next, _)| matches!(next.kind, EntryKind::Stream { .. })) {
            let (entry, bytes) = &group[0];
            let Some(windows) = &entry.meta.windows else { continue };
            let mut writer = BackupWriter::new(Vec::new());
            writer.metadata(windows).unwrap();
            if let EntryKind::File { size, segments } = &entry.kind {
                let extents: Option<Vec<Extent>> = segments.as_ref().map(|segments| {
                    segments.iter().map(|segment| Extent { offset: segment.offset, len: segment.len }).collect()
                });
                writer.begin_data(*size, extents.as_deref()).unwrap();
                writer.data(bytes).unwrap();
            }
            for (stream, bytes) in &group[1..] {
                let EntryKind::Stream { name, size } = &stream.kind else { panic!() };
                writer.begin(&StreamHeader::alternate(&WideString::from_wtf8(name).unwrap(), *size)).unwrap();
                writer.data(bytes).unwrap();
            }
            let written = writer.finish().unwrap();
            let mut contents = Contents::scan(&mut BackupReader::new(written.as_slice())).unwrap();
            let mut read = WindowsMetadata { basic: windows.basic, ..WindowsMetadata::default() };
            contents.move_metadata(&mut read);
            prop_assert_eq!(&read, &**windows);
            if let (Some(layout), EntryKind::File { size, .. }) = (&contents.data, &entry.kind) {
                prop_assert_eq!(layout.size, *size);
                let stored: Vec<u8> = layout
                    .extents
                    .iter()
                    .flat_map(|placed| &written[placed.position as usize..][..placed.extent.len as usize])
                    .copied()
                    .collect();
                prop_assert_eq!(&stored, bytes);
            }
            let names: Vec<_> = contents.alternates.iter().map(|alternate| alternate.name.to_wtf8()).collect();
            let expected: Vec<_> = group[1..]
                .iter()
                .map(|(entry, _)| match &entry.kind {
                    EntryKind::Stream { name, .. } => name.clone(),
                    _ => panic!(),
                })
                .collect();
            prop_assert_eq!(names, expected);
        }
    }

    #[test]
    fn a_transport_folder_gives_back_all_but_times_that_the_host_lacks(items in layer()) {
        // A host has no time before 1970 or far in the future everywhere; which it keeps is tested where times are.
        let items: Vec<Item> = items.into_iter().map(within_reach).collect();
        let root = tempfile::tempdir().unwrap();
        let mut writer = TransportWriter::create(root.path(), WriteOptions::hcs()).unwrap();
        for (entry, bytes) in &items {
            writer.entry(entry).unwrap();
            writer.data(bytes).unwrap();
        }
        let outcome = writer.finish().unwrap();
        let links: Vec<_> = outcome.hard_links.iter().map(|link| (&link.name, &link.target, link.target_in_layer)).collect();
        let expected_links: Vec<_> = items
            .iter()
            .filter_map(|(entry, _)| match &entry.kind {
                EntryKind::HardLink { target } => Some((&entry.path, target, true)),
                _ => None,
            })
            .collect();
        prop_assert_eq!(links, expected_links);
        let options = ReadOptions { require_hives: false, ..ReadOptions::strict() };
        let mut reader = TransportReader::open(root.path(), options).unwrap();
        let mut read = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            read.push((entry, bytes));
        }
        let sorted = |items: &[Item]| {
            let mut items: Vec<Item> = items
                .iter()
                .filter(|(entry, _)| !matches!(entry.kind, EntryKind::HardLink { .. }) && entry.path.as_bytes() != b"Hives")
                .map(|item| as_kept(item.clone()))
                .collect();
            items.sort_by_key(|(entry, _)| (entry.path.clone(), stream_name(entry)));
            items
        };
        prop_assert_eq!(sorted(&read), sorted(&items));
    }
}

fn stream_name(entry: &Entry) -> Option<Vec<u8>> {
    match &entry.kind {
        EntryKind::Stream { name, .. } => Some(name.clone()),
        _ => None,
    }
}

/// With the times of a day in 2020 for those that not every file system holds.
fn within_reach((mut entry, bytes): Item) -> Item {
    if let Some(part) = &mut entry.meta.windows {
        let reach = |time: FileTime| FileTime(132_223_104_000_000_000 + time.0 % 864_000_000_000);
        let basic = &mut part.basic;
        (basic.last_access, basic.last_write) = (reach(basic.last_access), reach(basic.last_write));
        entry.meta.mtime = basic.last_write.to_unix();
    }
    (entry, bytes)
}

/// What a folder keeps of the times: access and write; and of ranges those with bytes.
fn as_kept((mut entry, bytes): Item) -> Item {
    if let Some(part) = &mut entry.meta.windows {
        part.basic.creation = FileTime::NOT_SET;
        part.basic.change = FileTime::NOT_SET;
    }
    if let EntryKind::File { segments: Some(segments), .. } = &mut entry.kind {
        segments.retain(|segment| segment.len > 0);
    }
    (entry, bytes)
}
