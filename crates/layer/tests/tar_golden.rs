//! Archives of Windows layers, byte for byte against those that Microsoft's code wrote (recorded in `backuptar.json`): each recorded
//! file is read from its backup stream, made entries, and written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerstone_layer::tar::TarWriter;
use layerstone_layer::{Entry, EntryKind, LayerPath, Metadata};
use layerstone_nt::backup::{BackupReader, Contents, DataLayout};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime};
use serde_json::Value;

const NO_DATA: &str = "a file without a data stream is one of size 0 and has the mode of a regular file";

/// Where ours differ on purpose: vector, why. The page `docs/deviations.md` has the same list.
const DEVIATIONS: &[(&str, &str)] = &[
    (
        "alternate stream on a directory",
        "alternate streams are kept; theirs loses those that no data stream precedes",
    ),
    ("times: zero FILETIME", "FILETIME 0 is left out; theirs wraps to the year 2185"),
    ("times: 1970 exactly", NO_DATA),
    ("times: before 1970", NO_DATA),
    ("times: 100 ns", NO_DATA),
    ("attributes 0x0", NO_DATA),
    ("attributes 0x1", NO_DATA),
    ("attributes 0x27", NO_DATA),
    ("attributes 0x80", NO_DATA),
    ("attributes 0x2020", NO_DATA),
];

/// Bytes of a header's mode and of its checksum.
const MODE: std::ops::Range<usize> = 100..108;
const CHECKSUM: std::ops::Range<usize> = 148..156;

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value["b64"].as_str().unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn content(stream: &[u8], layout: &DataLayout) -> Vec<u8> {
    let mut out = vec![0; layout.size as usize];
    for placed in &layout.extents {
        let data = &stream[placed.position as usize..][..placed.extent.len as usize];
        out[placed.extent.offset as usize..][..data.len()].copy_from_slice(data);
    }
    out
}

/// The archive of a vector's files, as an export writes it.
fn write(files: &[Value]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    let mut links: Vec<(&str, LayerPath)> = Vec::new();
    for file in files {
        let (path, _) = LayerPath::normalise(text(&file["name"]).replace('\\', "/").as_bytes()).unwrap();
        if file["deleted"].as_bool() == Some(true) {
            writer.entry(&Entry { path, kind: EntryKind::Whiteout, meta: Metadata::default() }).unwrap();
            continue;
        }
        let stream = bytes(&file["stream"]);
        let mut contents = Contents::scan(&mut BackupReader::new(stream.as_slice())).unwrap();
        let time = |field: &str| FileTime(file[field].as_i64().unwrap());
        let basic = BasicInfo {
            creation: time("creation"),
            last_access: time("access"),
            last_write: time("write"),
            change: time("change"),
            attributes: FileAttributes(file["attr"].as_u64().unwrap() as u32),
        };
        let mut windows = WindowsMetadata { basic, ..WindowsMetadata::default() };
        contents.move_metadata(&mut windows);
        let data = contents.data.as_ref().map(|layout| content(&stream, layout)).unwrap_or_default();
        let id = text(&file["file_id"]);
        let kind = match windows.tar_link_name() {
            _ if links.iter().any(|(known, _)| !id.is_empty() && *known == id) => {
                let (_, target) = links.iter().find(|(known, _)| *known == id).unwrap();
                EntryKind::HardLink { target: target.clone() }
            }
            Some(target) => EntryKind::Symlink { target },
            None if basic.attributes.is_directory() => EntryKind::Directory,
            None => EntryKind::File { size: data.len() as u64, segments: None },
        };
        links.push((id, path.clone()));
        let is_file = matches!(kind, EntryKind::File { .. });
        let meta = Metadata {
            mtime: basic.last_write.to_unix(),
            windows: Some(Box::new(windows)),
            ..Metadata::default()
        };
        writer.entry(&Entry { path: path.clone(), kind, meta: meta.clone() }).unwrap();
        if is_file {
            writer.data(&data).unwrap();
        }
        for alternate in &contents.alternates {
            let data = content(&stream, &alternate.data);
            let kind = EntryKind::Stream { name: alternate.name.to_wtf8(), size: data.len() as u64 };
            writer.entry(&Entry { path: path.clone(), kind, meta: meta.clone() }).unwrap();
            writer.data(&data).unwrap();
        }
    }
    writer.finish().unwrap()
}

#[test]
fn archives_are_microsofts_to_the_byte_or_the_difference_is_on_record() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../nt/tests/golden/backuptar.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let written = |vector: &&Value| {
        matches!(text(&vector["op"]), "to_tar" | "oci_export") && text(&vector["error"]).is_empty()
    };
    let (mut agreed, mut deviated) = (0, Vec::new());
    for vector in file["vectors"].as_array().unwrap().iter().filter(written) {
        let case = text(&vector["case"]);
        let (ours, theirs) = (write(vector["files"].as_array().unwrap()), bytes(&vector["tar"]));
        if ours == theirs {
            agreed += 1;
            continue;
        }
        let known = DEVIATIONS.iter().find(|(known, _)| *known == case);
        let (_, reason) = known.unwrap_or_else(|| panic!("{case} differs, and no deviation is on record"));
        if *reason == NO_DATA {
            // Nothing but that differs.
            assert_eq!(ours.len(), theirs.len(), "{case}");
            for at in (0..ours.len()).filter(|&at| ours[at] != theirs[at]) {
                assert!(MODE.contains(&(at % 512)) || CHECKSUM.contains(&(at % 512)), "{case}: byte {at}");
            }
        }
        deviated.push(format!("| {case} | {reason} |"));
    }
    assert_eq!(deviated.len(), DEVIATIONS.len(), "a deviation on record is none any more");
    let found = format!(
        "{agreed} archives to the byte, {} not:\n\n| archive | ours |\n| --- | --- |\n{}",
        deviated.len(),
        deviated.join("\n")
    );
    layerstone_testing::documented("deviations.md", "archives", &found);
}
