//! What a call does, when all its arguments have been read.

mod files;
mod on_disk;
mod portable;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use uuid::Uuid;

use crate::code::Code;
use crate::compute::document::Layer;
use on_disk::OnDisk;
use portable::Portable;

/// A parent in a call of vmcompute.dll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) id: Uuid,
    pub(crate) flags: u32,
    pub(crate) path: PathBuf,
}

/// An operation, named as its function. Documents are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    HcsImportLayer {
        layer: PathBuf,
        source: PathBuf,
        layer_data: String,
    },
    HcsExportLayer {
        layer: PathBuf,
        destination: PathBuf,
        layer_data: String,
        options: Option<String>,
    },
    HcsExportLegacyWritableLayer {
        mount: PathBuf,
        folder: PathBuf,
        destination: PathBuf,
        layer_data: String,
    },
    HcsDestroyLayer {
        layer: PathBuf,
    },
    HcsSetupBaseOSLayer {
        layer: PathBuf,
        has_disk: bool,
        options: Option<String>,
    },
    HcsSetupBaseOSVolume {
        layer: PathBuf,
        volume: PathBuf,
        options: Option<String>,
    },
    HcsInitializeWritableLayer {
        layer: PathBuf,
        layer_data: String,
        options: Option<String>,
    },
    HcsInitializeLegacyWritableLayer {
        mount: PathBuf,
        folder: PathBuf,
        layer_data: String,
        options: Option<String>,
    },
    HcsAttachLayerStorageFilter {
        layer: PathBuf,
        layer_data: String,
    },
    HcsDetachLayerStorageFilter {
        layer: PathBuf,
    },
    HcsAttachOverlayFilter {
        volume: PathBuf,
        layer_data: String,
    },
    HcsDetachOverlayFilter {
        volume: PathBuf,
        layer_data: String,
    },
    ActivateLayer {
        layer: PathBuf,
    },
    CopyLayer {
        source: PathBuf,
        destination: PathBuf,
        parents: Vec<Parent>,
    },
    CreateLayer {
        layer: PathBuf,
        parent: PathBuf,
    },
    CreateSandboxLayer {
        layer: PathBuf,
        parents: Vec<Parent>,
    },
    ExpandSandboxSize {
        layer: PathBuf,
        size: u64,
    },
    DeactivateLayer {
        layer: PathBuf,
    },
    DestroyLayer {
        layer: PathBuf,
    },
    ExportLayer {
        layer: PathBuf,
        destination: PathBuf,
        parents: Vec<Parent>,
    },
    ImportLayer {
        layer: PathBuf,
        source: PathBuf,
        parents: Vec<Parent>,
    },
    PrepareLayer {
        layer: PathBuf,
        parents: Vec<Parent>,
    },
    UnprepareLayer {
        layer: PathBuf,
    },
    ProcessBaseImage {
        layer: PathBuf,
    },
    ProcessUtilityImage {
        layer: PathBuf,
    },
    GrantVmAccess {
        machine: String,
        path: PathBuf,
    },
}

/// Something that carries operations out.
pub(crate) trait Engine: Sync {
    /// Does it, or says why not.
    fn perform(&self, operation: Operation) -> Result<(), Code>;

    /// There is a new file system on the volume.
    fn formatted(&self, volume: Uuid) -> Result<(), Code> {
        let _ = volume;
        Ok(())
    }

    /// What becomes of a call on a disk that is none of the stand-in's, about which `code` was found.
    fn foreign_disk(&self, code: Code) -> Result<(), Code>;

    /// Whether a container can be started on that volume, over these layers.
    fn container_storage(&self, volume: &Path, layers: &[Layer]) -> Result<(), Code> {
        let _ = (volume, layers);
        Ok(())
    }

    /// Where the files are that were written to that volume.
    fn changes(&self, volume: &Path) -> Option<PathBuf> {
        let _ = volume;
        None
    }

    /// Where the files of a layer are seen; empty when nowhere.
    fn mount_path(&self, layer: PathBuf) -> Result<PathBuf, Code>;
}

/// Does nothing and says that it was done: for tests of what is sent.
#[derive(Debug)]
pub(crate) struct RecordOnly;

impl Engine for RecordOnly {
    fn perform(&self, _operation: Operation) -> Result<(), Code> {
        Ok(())
    }

    fn foreign_disk(&self, _code: Code) -> Result<(), Code> {
        Ok(())
    }

    /// A finished layer is seen in its own folder.
    fn mount_path(&self, layer: PathBuf) -> Result<PathBuf, Code> {
        Ok(layer)
    }
}

/// The engine of this process: the one that `STANDIN_ENGINE` names, or the one that only answers.
pub(crate) fn current() -> &'static dyn Engine {
    static PORTABLE: LazyLock<Portable> = LazyLock::new(Portable::new);
    static NAMED: LazyLock<u32> = LazyLock::new(|| match std::env::var("STANDIN_ENGINE").as_deref() {
        Ok("portable") => 2,
        Ok("files") => 3,
        _ => 1,
    });
    let number = match CHOSEN.load(Ordering::Relaxed) {
        0 => *NAMED,
        chosen => chosen,
    };
    match number {
        2 => &*PORTABLE,
        3 => &OnDisk,
        _ => &RecordOnly,
    }
}

/// What a test has chosen instead: 1 the one that only answers, 2 the portable one, 3 the one that makes real files, 0 none of them.
static CHOSEN: AtomicU32 = AtomicU32::new(0);

pub(crate) fn choose(engine: u32) {
    CHOSEN.store(engine, Ordering::Relaxed);
}
