//! What every layer storage has to do.
//!
//! One suite runs over each implementation of [`LayerStorage`]: the portable engine on the host, the Host Compute Service's
//! calls under Wine against a DLL that stands in for it, and the same calls on a Windows host. A [`Bench`] is a storage to
//! be tested with a directory to work in; [`conformance!`] makes a `#[test]` of each case.
//!
//! A case asks for what callers can count on: what comes out, the [kind](layerstone_hcs::ErrorKind) of each refusal, and
//! that a refusal leaves nothing behind. Codes and texts are a storage's own and tested there.

#![forbid(unsafe_code)]

pub mod cases;
mod folder;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use folder::{Content, Item, base_content, contents, write_transport};
use layerstone_hcs::{ErrorKind, LayerChain, WritableLayerOptions};
use layerstone_store::storage::{Error, LayerStorage, NewDisk, Result, SANDBOX_DISK, ScratchForm};

/// A storage to be tested.
pub trait Bench: Sync {
    /// Its type.
    type Storage: LayerStorage;

    /// The storage.
    fn storage(&self) -> &Self::Storage;

    /// An empty directory of this case's own.
    fn root(&self) -> &Path;

    /// Attached scratches can be seen and written as files of this host.
    fn shows_files(&self) -> bool;

    /// Makes the `nth` call (from 1) of `function` fail with this HRESULT. False where calls cannot be made to fail.
    fn fail(&self, function: &str, nth: u32, code: u32) -> bool {
        let _ = (function, nth, code);
        false
    }

    /// What the storage still holds that it should have given back: memory, handles, attached disks. Empty when nothing.
    fn held(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A layer that a case has made, with its parents.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its folder.
    pub path: PathBuf,
    /// The layers below it.
    pub parents: LayerChain,
    /// What it was made from.
    pub source: PathBuf,
}

/// What cases do with a bench.
pub trait BenchExt: Bench {
    /// A path in the case's directory.
    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A transport folder with the parts of a layer that have to be there and this content.
    fn transport(&self, name: &str, content: &[Item]) -> PathBuf {
        let folder = self.path(name);
        write_transport(&folder, content);
        folder
    }

    /// Imports a layer of this content.
    fn layer(&self, name: &str, content: &[Item], parents: &LayerChain) -> Made {
        let source = self.transport(&format!("{name}.transport"), content);
        let path = self.path(name);
        self.storage()
            .import_layer(&path, &source, parents)
            .unwrap_or_else(|error| panic!("import: {}", chain_of(&error)));
        Made { path, parents: parents.clone(), source }
    }

    /// The chain of a layer above `layer`.
    fn above(&self, layer: &Made) -> LayerChain {
        let id = self.storage().layer_id(&layer.path).expect("the folder has a name");
        layer.parents.child(id, &layer.path)
    }

    /// A base layer and one above it.
    fn two_layers(&self) -> (Made, Made) {
        let base = self.layer("base", &base_content(), &LayerChain::base());
        let upper = self.layer(
            "upper",
            &[Item::file("Files/added.txt", b"added"), Item::removed("Files/Windows/old.txt")],
            &self.above(&base),
        );
        (base, upper)
    }

    /// The path by which the calls know a new, empty scratch in `folder`, which is made: with its disk, formatted and
    /// attached, where scratches have one.
    fn vacant_scratch(&self, folder: &Path) -> PathBuf {
        match self.storage().scratch_form() {
            ScratchForm::Folder => folder.to_path_buf(),
            ScratchForm::Disk => {
                std::fs::create_dir(folder).expect("the folder is new");
                let storage = self.storage();
                let disk = storage
                    .create_disk(&folder.join(SANDBOX_DISK), &NewDisk::Empty { size: 20 << 30 })
                    .expect("the disk is new");
                storage.format_writable_layer_vhd(&disk).expect("it is not formatted");
                storage.attach_disk(&disk).expect("it is not attached");
                let volume = storage.layer_vhd_mount_path(&disk).expect("it is attached");
                storage.close_disk(disk).expect("it can be closed");
                let mut volume = volume.into_os_string();
                volume.push("\\");
                volume.into()
            }
        }
    }

    /// A scratch that is initialized over these parents.
    fn scratch(&self, name: &str, parents: &LayerChain) -> PathBuf {
        let path = self.vacant_scratch(&self.path(name));
        self.storage()
            .initialize_writable_layer(&path, parents, &WritableLayerOptions::default())
            .unwrap_or_else(|error| panic!("initialize: {}", chain_of(&error)));
        path
    }

    /// Detaches the disk of a scratch, where it has one, so that it can be removed.
    fn release_disk(&self, name: &str) {
        if self.storage().scratch_form() == ScratchForm::Disk {
            let storage = self.storage();
            let disk = storage.open_disk(&self.path(name).join(SANDBOX_DISK)).expect("it has a disk");
            storage.detach_disk(&disk).expect("it is attached");
            storage.close_disk(disk).expect("it can be closed");
        }
    }

    /// Everything in the case's directory: names, two levels deep.
    fn listing(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        list(self.root(), 2, &mut found);
        found
    }

    /// Nothing is held that should have been given back.
    fn assert_nothing_held(&self) {
        assert_eq!(self.held(), Vec::<String>::new());
    }
}

impl<B: Bench> BenchExt for B {}

fn list(directory: &Path, depth: u32, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if depth > 1 && path.is_dir() {
            list(&path, depth - 1, found);
        }
        found.insert(path);
    }
}

/// An error with all its causes.
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The call was refused in this way.
///
/// # Panics
/// When it was not.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    match result {
        Ok(value) => panic!("it was not refused, but gave {value:?}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{}", chain_of(&error));
            error
        }
    }
}
