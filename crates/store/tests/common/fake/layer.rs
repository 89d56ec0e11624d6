//! What the fake does to layers of files.

use std::fs;
use std::path::{Path, PathBuf};

use layerstone_hcs::LayerChain;
use layerstone_layer::transport::{ReadOptions, TransportReader};
use layerstone_layer::{EntryKind, LayerPath};
use layerstone_store::storage::Result;

use super::disk::{Content, FakeDisk};
use super::state::State;
use super::{
    ALREADY_EXISTS, FILE_NOT_FOUND, GEN_FAILURE, INVALID_PARAMETER, PATH_NOT_FOUND, SHARING_VIOLATION, refuse,
};

/// The registry files of a base layer, and what is made of each.
pub(crate) const HIVES: [(&str, &str); 5] = [
    ("DEFAULT", "DefaultUser"),
    ("SAM", "Sam"),
    ("SECURITY", "Security"),
    ("SOFTWARE", "Software"),
    ("SYSTEM", "System"),
];

/// What is called `name` in a folder, whatever the case.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().is_some_and(|found| found.to_string_lossy().eq_ignore_ascii_case(name)))
}

fn find_path(folder: &Path, path: &str) -> Option<PathBuf> {
    path.split('/').try_fold(folder.to_path_buf(), |at, name| find(&at, name))
}

/// `HcsSetupBaseOSLayer` for containers.
pub(super) fn setup_container(state: &State, layer: &Path) -> Result<()> {
    let refuse = |code| refuse("setup_base_os_layer", layer, code);
    if find(layer, "Hives").is_some() || find(layer, "layout").is_some() {
        return refuse(ALREADY_EXISTS);
    }
    let blank = layer.join("blank-base.vhdx");
    let Some(content) = Content::read(&blank) else { return refuse(FILE_NOT_FOUND) };
    if !content.formatted {
        return refuse(INVALID_PARAMETER);
    }
    if !state.is_closed(&blank) {
        return refuse(SHARING_VIOLATION);
    }
    let Some(config) = find_path(layer, "Files/Windows/System32/config") else {
        return refuse(PATH_NOT_FOUND);
    };
    fs::create_dir(layer.join("Hives")).unwrap();
    for (file, hive) in HIVES {
        let Some(file) = find(&config, file) else { return refuse(FILE_NOT_FOUND) };
        fs::hard_link(file, layer.join("Hives").join(format!("{hive}_Base"))).unwrap();
    }
    fs::write(layer.join("layout"), "vhd-with-hives\n").unwrap();
    Ok(())
}

/// `HcsSetupBaseOSLayer` for utility VMs. It edits the boot configuration.
pub(super) fn setup_vm(state: &State, layer: &Path, disk: &FakeDisk) -> Result<()> {
    let refuse = |code| refuse("setup_base_os_layer", layer, code);
    if layer.file_name().is_none_or(|name| !name.eq_ignore_ascii_case("UtilityVM")) {
        return refuse(GEN_FAILURE);
    }
    if !state.is_attached(disk.path()) || disk.path().parent() != Some(layer) {
        return refuse(INVALID_PARAMETER);
    }
    let content = Content::read(disk.path()).unwrap();
    if content.formatted {
        return refuse(INVALID_PARAMETER);
    }
    let Some(boot) = find_path(layer, "Files/EFI/Microsoft/Boot/BCD") else {
        return refuse(PATH_NOT_FOUND);
    };
    let mut edited = fs::read(&boot).unwrap();
    edited.extend_from_slice(b" edited");
    fs::write(boot, edited).unwrap();
    Content { formatted: true, ..content }.write(disk.path());
    Ok(())
}

/// `HcsImportLayer`. What the parents have in directories that the layer has too gets a placeholder, as Windows leaves
/// it there: paths that the layer removes are no exception.
pub(super) fn import(layer: &Path, source: &Path, chain: &LayerChain) -> Result<()> {
    let refuse = |code| refuse("import_layer", layer, code);
    let is_empty = |folder: &Path| fs::read_dir(folder).unwrap().next().is_none();
    if !source.is_dir() || !chain.parents().iter().all(|parent| parent.path.is_dir()) {
        return refuse(PATH_NOT_FOUND);
    }
    if layer.exists() && !is_empty(layer) {
        return refuse(ALREADY_EXISTS);
    }
    if !source.join("Hives").is_dir() {
        return refuse(PATH_NOT_FOUND);
    }
    for wanted in ["Files.$wcidirs$", "Hives.$wcidirs$", "tombstones.txt"] {
        if !source.join(wanted).is_file() {
            return refuse(FILE_NOT_FOUND);
        }
    }
    let Ok(mut reader) = TransportReader::open(source, ReadOptions::strict()) else {
        return refuse(FILE_NOT_FOUND);
    };
    fs::create_dir_all(layer).unwrap();
    let mut directories = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let path = layer.join(entry.path.to_string());
        match &entry.kind {
            EntryKind::Directory => {
                fs::create_dir(&path).unwrap();
                directories.push(entry.path.clone());
            }
            EntryKind::File { segments, .. } => {
                assert!(segments.is_none(), "the fake knows no sparse files");
                let mut content = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    match reader.read_data(&mut buffer).unwrap() {
                        0 => break,
                        count => content.extend_from_slice(&buffer[..count]),
                    }
                }
                fs::write(&path, content).unwrap();
            }
            #[cfg(unix)]
            EntryKind::Symlink { target } => {
                use std::os::unix::ffi::OsStrExt as _;
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &path).unwrap();
            }
            _ => {}
        }
    }
    let in_files = |path: &&LayerPath| path.starts_with(&LayerPath::from("Files"));
    for directory in directories.iter().filter(in_files) {
        for parent in chain.parents() {
            skeleton(&parent.path.join(directory.to_string()), &layer.join(directory.to_string()));
        }
    }
    Ok(())
}

fn skeleton(of: &Path, layer: &Path) {
    let Ok(entries) = fs::read_dir(of) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        if find(layer, &entry.file_name().to_string_lossy()).is_some() {
            continue;
        }
        let path = layer.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&path).unwrap();
            skeleton(&entry.path(), &path);
        } else {
            fs::write(path, "placeholder").unwrap();
        }
    }
}
