//! What the tests of transport folders share: entries with their bytes, laid out and read back.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::path::Path;

use layerstone_layer::transport::{
    Error, Outcome, Placement, ReadOptions, TransportReader, TransportWriter, WriteOptions,
};
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata, Report};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime};

/// An entry and its bytes.
pub(crate) type Item = (Entry, Vec<u8>);

/// 2020-01-01 and so many ticks of 100 ns.
pub(crate) fn time(ticks: i64) -> FileTime {
    FileTime(132_223_104_000_000_000 + ticks)
}

/// Windows metadata with these attributes and one time for everything.
pub(crate) fn windows(attributes: u32) -> WindowsMetadata {
    let basic = BasicInfo {
        creation: time(7),
        last_access: time(7),
        last_write: time(7),
        change: FileTime::NOT_SET,
        attributes: FileAttributes(attributes),
    };
    WindowsMetadata { basic, ..WindowsMetadata::default() }
}

/// An entry as a reader of Windows layers gives it.
pub(crate) fn entry(path: &str, kind: EntryKind, windows: WindowsMetadata) -> Entry {
    let meta = Metadata {
        mode: if kind == EntryKind::Directory { 0o755 } else { 0o644 },
        mtime: windows.basic.last_write.to_unix(),
        windows: Some(Box::new(windows)),
        ..Metadata::default()
    };
    Entry { path: LayerPath::from(path), kind, meta }
}

pub(crate) fn directory(path: &str) -> Item {
    (entry(path, EntryKind::Directory, windows(0x10)), Vec::new())
}

pub(crate) fn file(path: &str, bytes: &[u8]) -> Item {
    let kind = EntryKind::File { size: bytes.len() as u64, segments: None };
    (entry(path, kind, windows(0x20)), bytes.to_vec())
}

pub(crate) fn stream(path: &str, name: &str, bytes: &[u8]) -> Item {
    let kind = EntryKind::Stream { name: name.into(), size: bytes.len() as u64 };
    (entry(path, kind, windows(0x20)), bytes.to_vec())
}

pub(crate) fn whiteout(path: &str) -> Item {
    let meta = Metadata::default();
    (Entry { path: LayerPath::from(path), kind: EntryKind::Whiteout, meta }, Vec::new())
}

pub(crate) fn link(path: &str, target: &str) -> Item {
    (entry(path, EntryKind::HardLink { target: LayerPath::from(target) }, windows(0x20)), Vec::new())
}

/// A folder with `Files` and `Hives` as every layer has them.
pub(crate) fn roots() -> Vec<Item> {
    vec![directory("Files"), directory("Hives")]
}

/// Writes items; their bytes in small pieces. Bytes of what is handed back are not given.
pub(crate) fn lay_out(root: &Path, options: WriteOptions, items: &[Item]) -> Result<Outcome, Error> {
    let mut writer = TransportWriter::create(root, options)?;
    for (entry, bytes) in items {
        if writer.entry(entry)? != Placement::HandedBack {
            for piece in bytes.chunks(7) {
                writer.data(piece)?;
            }
        }
    }
    writer.finish()
}

/// Reads everything, the bytes in small pieces.
pub(crate) fn read_back(root: &Path, options: ReadOptions) -> Result<(Vec<Item>, Report), Error> {
    let mut reader = TransportReader::open(root, options)?;
    let mut items = Vec::new();
    let mut buffer = [0; 5];
    while let Some(entry) = reader.next_entry()? {
        let mut bytes = Vec::new();
        loop {
            match reader.read_data(&mut buffer)? {
                0 => break,
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
        assert_eq!(bytes.len() as u64, entry.kind.payload(), "{}", entry.path);
        items.push((entry, bytes));
    }
    assert!(reader.next_entry()?.is_none(), "the end stays the end");
    Ok((items, reader.into_report()))
}

/// The paths, with the kind where it is not a file or directory.
pub(crate) fn paths(items: &[Item]) -> Vec<String> {
    let shown = |entry: &Entry| match &entry.kind {
        EntryKind::File { .. } | EntryKind::Directory => entry.path.to_string(),
        EntryKind::Stream { name, .. } => format!("{}:{}", entry.path, String::from_utf8_lossy(name)),
        EntryKind::HardLink { target } => format!("{} => {target}", entry.path),
        kind => format!("{} ({})", entry.path, kind.name()),
    };
    items.iter().map(|(entry, _)| shown(entry)).collect()
}
