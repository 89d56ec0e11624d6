//! The operations by the Host Compute Service, over the DLL that stands in for it.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use layerstone_hcs::virtdisk::VirtDisk;
use layerstone_hcs::{ComputeStorage, VmCompute};
use layerstone_store::storage::Hcs;

use super::*;
use crate::args::{Cli, Verb};

/// The stand-in, or `None` after having said that it was not built.
fn standin(test: &str) -> Option<PathBuf> {
    let beside = || {
        let program = std::env::current_exe().ok()?;
        Some(program.ancestors().nth(2)?.join("layerstone_standin.dll"))
    };
    let path = std::env::var_os("LAYERSTONE_STANDIN").map(PathBuf::from).or_else(beside)?;
    if path.exists() {
        return Some(path);
    }
    layerstone_testing::skip(test, format_args!("there is no {}", path.display()));
    None
}

/// Does what `layerstone hcs WORDS` does, with other DLLs.
fn call(dll: &Path, words: &[&str]) -> Result<Done> {
    let cli = Cli::try_parse_from(["layerstone", "-q", "hcs"].iter().chain(words)).unwrap();
    let Verb::Hcs(args) = cli.verb else { panic!("{words:?} is no operation") };
    let (storage, vm, disks) = (ComputeStorage::load(dll), VmCompute::load(dll), VirtDisk::load(dll));
    perform(&App::new(cli.global), &Hcs::with(&storage, &vm, &disks), &args.op)
}

#[test]
fn a_scratch_goes_through_all_operations_one_by_one() {
    const TEST: &str = "a_scratch_goes_through_all_operations_one_by_one";
    let Some(dll) = standin(TEST) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let call =
        |words: &[&str]| call(&dll, words).unwrap_or_else(|error| panic!("{words:?}: {}", error.report()));
    fs::create_dir(path("scratch")).unwrap();
    let disk = path(r"scratch\sandbox.vhdx");
    call(&["create-vhd", &disk, "--size", "20G"]);
    call(&["format", &disk]);
    call(&["attach-vhd", &disk]);
    let volume = call(&["mount-path", &disk]).mount_path.unwrap();
    assert!(volume.starts_with(r"\\?\Volume{") && volume.ends_with('}'), "{volume}");

    let parents = ["--parent", &path("app"), "--parent", &path("base")];
    let over = |words: &[&str]| call(&[words, &parents].concat());
    let done = over(&["initialize", &volume]);
    assert_eq!(done.path, format!(r"{volume}\"), "the calls want a backslash");
    let named: Vec<_> = done.parents.unwrap().into_iter().map(|parent| (parent.id, parent.path)).collect();
    let id = |name: &str| call(&["id", &path(name)]).id.unwrap();
    assert_eq!(named, [(id("app"), path("app")), (id("base"), path("base"))]);
    assert_eq!(over(&["attach", &volume]).mount_path.unwrap(), format!(r"{volume}\"));
    over(&["export", "--writable", &volume, &path("out")]);
    assert!(Path::new(&path("out")).is_dir());
    call(&["detach", &volume]);
    call(&["detach-vhd", &disk]);
    call(&["setup-base", &path("base")]);
    call(&["setup-base", &path("base"), "--vm", &disk]);
}

#[test]
fn a_layer_that_windows_did_not_destroy_is_told_with_what_to_do() {
    const TEST: &str = "a_layer_that_windows_did_not_destroy_is_told_with_what_to_do";
    let Some(dll) = standin(TEST) else { return };
    let dir = tempfile::tempdir().unwrap();
    // The stand-in says that it did and does nothing.
    let report = call(&dll, &["destroy", dir.path().to_str().unwrap()]).unwrap_err().report();
    for part in ["HcsDestroyLayer", "is still there", "hint: `layerstone hcs detach`"] {
        assert!(report.contains(part), "{part}: {report}");
    }
}
