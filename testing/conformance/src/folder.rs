//! Transport folders for tests.

use std::path::Path;

use layerstone_layer::transport::{HIVE_DELTAS, ReadOptions, TransportReader, TransportWriter, WriteOptions};
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata};
use layerstone_nt::ea::Ea;
use layerstone_nt::reparse::TargetKind;
use layerstone_nt::security::default_descriptor;
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime, ReparsePoint, WideString};

/// One thing in a layer.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is.
    pub entry: Entry,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Names and bytes of its alternate streams.
    pub streams: Vec<(Vec<u8>, Vec<u8>)>,
}

/// 2019-12-31, with all of a FILETIME's digits.
const TIME: i64 = 132_223_104_001_234_567;

fn windows(attributes: FileAttributes, directory: bool) -> Option<Box<WindowsMetadata>> {
    Some(Box::new(WindowsMetadata {
        basic: BasicInfo {
            creation: FileTime(TIME),
            last_access: FileTime(TIME + 10),
            last_write: FileTime(TIME + 20),
            change: FileTime(TIME + 30),
            attributes,
        },
        security_descriptor: default_descriptor(directory).to_bytes().ok(),
        eas: Vec::new(),
        reparse: None,
    }))
}

impl Item {
    fn new(path: &str, kind: EntryKind, attributes: FileAttributes) -> Self {
        let directory = attributes.0 & FileAttributes::DIRECTORY.0 != 0;
        let meta = Metadata {
            mtime: FileTime(TIME + 20).to_unix(),
            windows: windows(attributes, directory),
            ..Metadata::default()
        };
        Item {
            entry: Entry { path: LayerPath::from(path), kind, meta },
            bytes: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// A directory.
    pub fn directory(path: &str) -> Self {
        Self::new(path, EntryKind::Directory, FileAttributes::DIRECTORY)
    }

    /// A file.
    pub fn file(path: &str, bytes: &[u8]) -> Self {
        let kind = EntryKind::File { size: bytes.len() as u64, segments: None };
        let mut item = Self::new(path, kind, FileAttributes::ARCHIVE);
        item.bytes = bytes.to_vec();
        item
    }

    /// A path of the parents that the layer removes.
    pub fn removed(path: &str) -> Self {
        Item {
            entry: Entry {
                path: LayerPath::from(path),
                kind: EntryKind::Whiteout,
                meta: Metadata::default(),
            },
            bytes: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// A junction or, without `junction`, a symbolic link to a file.
    pub fn link(path: &str, target: &str, junction: bool) -> Self {
        let target = WideString::from(target);
        let kind = if junction { TargetKind::MountPoint } else { TargetKind::Symlink };
        let mut attributes = FileAttributes::REPARSE_POINT;
        if junction {
            attributes |= FileAttributes::DIRECTORY;
        }
        let link = EntryKind::Symlink { target: target.to_wtf8() };
        let mut item = Self::new(path, link, attributes);
        if let Some(windows) = &mut item.entry.meta.windows {
            windows.reparse = Some(ReparsePoint::from_target(&target, kind));
        }
        item
    }

    /// With these attributes instead.
    #[must_use]
    pub fn attributes(mut self, attributes: FileAttributes) -> Self {
        if let Some(windows) = &mut self.entry.meta.windows {
            windows.basic.attributes = attributes;
        }
        self
    }

    /// With an extended attribute.
    #[must_use]
    pub fn ea(mut self, name: &str, value: &[u8]) -> Self {
        if let Some(windows) = &mut self.entry.meta.windows {
            windows.eas.push(Ea::new(name, value));
        }
        self
    }

    /// With an alternate data stream.
    #[must_use]
    pub fn stream(mut self, name: &str, bytes: &[u8]) -> Self {
        self.streams.push((name.into(), bytes.to_vec()));
        self
    }
}

/// What a small base layer has.
pub fn base_content() -> Vec<Item> {
    let mut content = vec![
        Item::directory("Files/Windows"),
        Item::directory("Files/Windows/System32"),
        Item::directory("Files/Windows/System32/config"),
    ];
    for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"] {
        content.push(Item::file(&format!("Files/Windows/System32/config/{hive}"), b"regf"));
    }
    content.push(Item::file("Files/Windows/old.txt", b"from the base"));
    content.push(Item::file("Files/License.txt", &vec![b'x'; 10_000]));
    content
}

/// Writes a transport folder with `content`, and all that has to be in one beside.
///
/// # Panics
/// When that fails.
pub fn write_transport(folder: &Path, content: &[Item]) {
    let mut writer =
        TransportWriter::create(folder, WriteOptions::hcs()).expect("a transport folder can be made");
    let mut all = vec![Item::directory("Files"), Item::directory("Hives")];
    all.extend(HIVE_DELTAS.map(|hive| Item::file(&format!("Hives/{hive}"), b"regf delta")));
    for item in all.iter().chain(content) {
        writer.entry(&item.entry).expect("it has a place in a transport folder");
        if matches!(item.entry.kind, EntryKind::File { .. }) {
            writer.data(&item.bytes).expect("it can be written");
        }
        for (name, bytes) in &item.streams {
            let kind = EntryKind::Stream { name: name.clone(), size: bytes.len() as u64 };
            let entry = Entry { path: item.entry.path.clone(), kind, meta: Metadata::default() };
            writer.entry(&entry).expect("a stream behind its file");
            writer.data(bytes).expect("it can be written");
        }
    }
    writer.finish().expect("the folder is complete");
}

/// What a transport folder says about one path, without what hosts change by themselves: the time of the last access, and
/// those that not every host can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Where.
    pub path: LayerPath,
    /// What it is.
    pub kind: EntryKind,
    /// Attributes.
    pub attributes: Option<FileAttributes>,
    /// When it was last written.
    pub last_write: Option<FileTime>,
    /// Security descriptor.
    pub security_descriptor: Option<Vec<u8>>,
    /// Extended attributes.
    pub eas: Vec<Ea>,
    /// Reparse point.
    pub reparse: Option<ReparsePoint>,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// Everything in a transport folder that has all that must be there, in the order of its paths.
///
/// # Panics
/// When it cannot be read.
pub fn contents(folder: &Path) -> Vec<Content> {
    let mut reader =
        TransportReader::open(folder, ReadOptions::strict()).expect("the transport folder is complete");
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().expect("the transport folder is sound") {
        let mut bytes = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match reader.read_data(&mut buffer).expect("its files can be read") {
                0 => break,
                n => bytes.extend_from_slice(&buffer[..n]),
            }
        }
        let windows = entry.meta.windows.unwrap_or_default();
        let is_stream = matches!(entry.kind, EntryKind::Stream { .. });
        found.push(Content {
            path: entry.path,
            kind: entry.kind,
            attributes: (!is_stream).then_some(windows.basic.attributes),
            last_write: (!is_stream).then_some(windows.basic.last_write),
            security_descriptor: windows.security_descriptor,
            eas: windows.eas,
            reparse: windows.reparse,
            bytes,
        });
    }
    // A directory's removed names come first here and last there.
    found.sort_by_key(|content| (content.path.clone(), content.kind.name()));
    found
}
