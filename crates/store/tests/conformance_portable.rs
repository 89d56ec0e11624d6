//! The conformance suite over the portable engine.

use std::path::Path;

use layerstone_conformance::Bench;
use layerstone_store::storage::Portable;
use layerstone_testing as testing;
use tempfile::TempDir;

struct PortableBench {
    storage: Portable,
    root: std::path::PathBuf,
    shows_files: bool,
    _directory: TempDir,
}

impl Bench for PortableBench {
    type Storage = Portable;

    fn storage(&self) -> &Portable {
        &self.storage
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn shows_files(&self) -> bool {
        self.shows_files
    }
}

/// Cases whose work is done by a kernel that mounts.
const MOUNTING: [&str; 2] =
    ["export_gives_what_a_scratch_has_changed", "scratch_shows_its_parents_and_keeps_what_is_written"];

fn bench(case: &str) -> Option<PortableBench> {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let root = directory.path().join("case");
    std::fs::create_dir(&root).expect("the directory is new");
    let storage = Portable::new().with_runtime_dir(directory.path().join("run"));
    // Other systems' kernels show nothing, which is how the storage is made there.
    let mounts = cfg!(target_os = "linux");
    if MOUNTING.contains(&case) && !testing::root(case) {
        return None;
    }
    let can_mount = mounts && is_root();
    let storage = if can_mount { storage } else { storage.without_kernel_views() };
    Some(PortableBench { storage, root, shows_files: can_mount, _directory: directory })
}

fn is_root() -> bool {
    #[cfg(target_os = "linux")]
    return rustix::process::geteuid().is_root();
    #[cfg(not(target_os = "linux"))]
    false
}

layerstone_conformance::conformance!(bench);
#[cfg(target_os = "linux")]
layerstone_conformance::conformance_of_views!(bench);
