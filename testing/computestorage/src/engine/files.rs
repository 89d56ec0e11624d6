//! What Windows makes of a layer beside what the portable storage keeps: its files, as files.
//!
//! Content and times only. Descriptors, streams, links and placeholders for what the parents have are left out: what calls
//! this library looks for none of them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use layerstone_layer::EntryKind;
use layerstone_layer::transport::{ReadOptions, TransportReader, find_ignoring_case};

use crate::code::Code;

/// `ERROR_FILE_NOT_FOUND`
const FILE_NOT_FOUND: Code = Code::win32(2);
/// `ERROR_ALREADY_EXISTS`
const ALREADY_EXISTS: Code = Code::win32(183);

/// The hives of a base layer: in its `Files\Windows\System32\config`, and in its `Hives`.
const HIVES: [(&str, &str); 5] = [
    ("DEFAULT", "DefaultUser_Base"),
    ("SAM", "Sam_Base"),
    ("SECURITY", "Security_Base"),
    ("SOFTWARE", "Software_Base"),
    ("SYSTEM", "System_Base"),
];

/// Lays the files of a transport folder out in the layer's folder.
pub(super) fn lay_out(source: &Path, layer: &Path) -> io::Result<()> {
    let wrong = |error: layerstone_layer::transport::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut reader = TransportReader::open(source, ReadOptions::lenient()).map_err(wrong)?;
    for tree in ["Files", "Hives"] {
        fs::create_dir_all(layer.join(tree))?;
    }
    let mut buffer = vec![0; 64 << 10];
    while let Some(entry) = reader.next_entry().map_err(wrong)? {
        let Ok(path) = std::str::from_utf8(entry.path.as_bytes()) else { continue };
        if !path.starts_with("Files/") && !path.starts_with("Hives/") {
            continue;
        }
        let target: PathBuf = path.split('/').fold(layer.to_path_buf(), |folder, name| folder.join(name));
        match entry.kind {
            EntryKind::Directory => fs::create_dir_all(target)?,
            EntryKind::File { .. } => {
                let mut file = File::create(target)?;
                loop {
                    match reader.read_data(&mut buffer).map_err(wrong)? {
                        0 => break,
                        n => file.write_all(&buffer[..n])?,
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sets a base layer up for containers: its hives become those below `Hives`, and it gets its layout file.
pub(super) fn set_up_base(layer: &Path) -> Result<(), Code> {
    for name in ["Hives", "layout"] {
        if find(layer, name)?.is_some() {
            return Err(ALREADY_EXISTS);
        }
    }
    let config = ["Files", "Windows", "System32", "config"]
        .iter()
        .try_fold(layer.to_path_buf(), |folder, name| find(&folder, name)?.ok_or(FILE_NOT_FOUND))?;
    let hives = HIVES
        .iter()
        .map(|(name, base)| Ok((find(&config, name)?.ok_or(FILE_NOT_FOUND)?, *base)))
        .collect::<Result<Vec<_>, Code>>()?;
    let folder = layer.join("Hives");
    fs::create_dir(&folder)?;
    for (hive, base) in hives {
        fs::hard_link(hive, folder.join(base))?;
    }
    fs::write(layer.join("layout"), "vhd-with-hives\n")?;
    Ok(())
}

fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>, Code> {
    find_ignoring_case(folder, name).map_err(|_| Code::UNEXPECTED)
}
