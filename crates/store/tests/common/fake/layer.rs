//! What the fake does to layers of files.

use std::fs;
use std::path::{Path, PathBuf};

use layerstone_hcs::LayerChain;
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

/// `HcsImportLayer`.
pub(super) fn import(layer: &Path, source: &Path, chain: &LayerChain) -> Result<()> {
    let refuse = |code| refuse("import_layer", layer, code);
    let _ = (source, chain);
    refuse(PATH_NOT_FOUND)
}
