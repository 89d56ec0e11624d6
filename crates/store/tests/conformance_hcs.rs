//! The conformance suite over the calls of the Host Compute Service: against the DLL that stands in for it, or, with
//! `LAYERSTONE_REAL_HCS=1` on a Windows host with the Containers feature and in an elevated process, against the real ones.
#![cfg(windows)]

#[path = "../../hcs/tests/standin/mod.rs"]
mod standin;

use std::path::{Path, PathBuf};

use layerstone_conformance::Bench;
use layerstone_store::storage::Hcs;
use standin::Standin;
use tempfile::TempDir;

/// Asks for the DLLs of this Windows.
const REAL: &str = "LAYERSTONE_REAL_HCS";

struct HcsBench {
    storage: Hcs<'static>,
    /// Whose DLL the storage calls; `None` for those of this Windows.
    standin: Option<Standin>,
    root: PathBuf,
    _directory: TempDir,
}

impl Bench for HcsBench {
    type Storage = Hcs<'static>;

    fn storage(&self) -> &Hcs<'static> {
        &self.storage
    }

    fn root(&self) -> &Path {
        &self.root
    }

    /// No file system filter stands in for Windows's.
    fn shows_files(&self) -> bool {
        self.standin.is_none()
    }

    fn fail(&self, function: &str, nth: u32, code: u32) -> bool {
        match &self.standin {
            Some(standin) => {
                standin.fail(function, nth, code);
                true
            }
            None => false,
        }
    }

    fn held(&self) -> Vec<String> {
        match self.standin.as_ref().map_or(0, Standin::live_allocations) {
            0 => Vec::new(),
            n => vec![format!("{n} mount paths that were never freed")],
        }
    }
}

fn bench(case: &str) -> Option<HcsBench> {
    let (storage, standin) = if std::env::var_os(REAL).is_some_and(|value| value == "1") {
        (Hcs::system(), None)
    } else {
        let standin = Standin::new(case)?;
        standin.engine(2);
        // A few hundred bytes a test, for as long as the program runs.
        let storage = Box::leak(Box::new(standin.storage()));
        let vm = Box::leak(Box::new(standin.vmcompute()));
        let disks = Box::leak(Box::new(standin.virtdisk()));
        (Hcs::with(storage, vm, disks), Some(standin))
    };
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let root = directory.path().join("case");
    std::fs::create_dir(&root).expect("the directory is new");
    Some(HcsBench { storage, standin, root, _directory: directory })
}

layerstone_conformance::conformance!(bench);
layerstone_conformance::conformance_of_views!(
    bench,
    #[ignore = "helper: no filter stands in for that of Windows; docs/windows-host.md runs it"]
);

#[test]
fn a_scratch_that_fails_at_any_call_leaves_nothing() {
    const TEST: &str = "a_scratch_that_fails_at_any_call_leaves_nothing";
    match bench(TEST) {
        Some(bench) if bench.standin.is_none() => {
            layerstone_testing::skip(TEST, "the functions of Windows cannot be told to fail");
        }
        Some(bench) => {
            layerstone_conformance::cases::orchestration::a_scratch_that_fails_at_any_call_leaves_nothing(
                &bench,
            )
        }
        None => {}
    }
}
