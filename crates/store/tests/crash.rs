//! A store's whole life, killed at random moments: import, scratch, commit, export, removal, collection.

// Scratches are changed and committed on Linux only.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{Fixture, layer, noise};
use layerstone_oci::{ArchiveFormat, open_source};
use layerstone_store::{
    CommitOptions, Error, ExportDest, ExportOptions, FsckOptions, GcOptions, ImportOptions, Store, usage,
};

const CHECK: FsckOptions = FsckOptions { repair: false, verify_content: true };

/// What the child does, from wherever an earlier one was stopped. In the end the store holds one image of two layers.
fn live(root: &Path, source: &Path) {
    let store = Store::create(root).unwrap();
    let source = open_source(source, &store.staging_root()).unwrap();
    for name in ["kept:1", "gone:1"] {
        let image = source.resolve(Some(name), None).unwrap();
        store.import_image(&source, &image, name, &ImportOptions::default(), &|_| {}).unwrap();
    }
    let image = store.image("gone:1", None).unwrap();
    let scratch = match store.create_scratch("work", &image) {
        Err(Error::ScratchExists(_)) => store.scratch("work").unwrap(),
        made => made.unwrap(),
    };
    fs::write(scratch.upper().join("new"), noise(9, 200_000)).unwrap();
    let options = CommitOptions { created: "2024-01-01T00:00:00Z".into(), ..CommitOptions::default() };
    let committed = store.commit(&scratch, "committed:1", &options).unwrap().image;
    let archive = Box::new(std::io::sink());
    store
        .export(&committed, ExportDest::Archive(archive, ArchiveFormat::Oci), &ExportOptions::default())
        .unwrap();
    store.remove_scratch("work").unwrap();
    store.remove_image("gone:1", false).unwrap();
    store.remove_image("committed:1", false).unwrap();
    store.gc(GcOptions { wait: true, dry_run: false }, &[], &|_| {}).unwrap();
}

#[test]
#[ignore = "helper: the test below runs it in processes of its own"]
fn child_lives() {
    let Some(root) = std::env::var_os("CRASH_STORE") else { return };
    live(Path::new(&root), Path::new(&std::env::var_os("CRASH_SOURCE").unwrap()));
}

fn child(root: &Path, source: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_lives", "--include-ignored"]);
    command.env("CRASH_STORE", root).env("CRASH_SOURCE", source);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn killed_at_any_moment_of_its_life_the_store_is_sound_and_no_space_leaks() {
    let rounds = std::env::var("LAYERSTONE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let fixture = Fixture::new();
    let base = layer(&[("base", &noise(1, 300_000))]);
    fixture.build("kept:1", &[base.clone(), layer(&[("kept", &noise(2, 100_000))])]);
    fixture.build("gone:1", &[base, layer(&[("gone", &noise(3, 400_000))])]);
    let source = fixture.source.root();

    let whole = fixture.dir.path().join("whole");
    let started = Instant::now();
    assert!(child(&whole, source).status().unwrap().success());
    let mut length = started.elapsed();
    let sound = usage::of(&whole).unwrap();

    let root = fixture.dir.path().join("killed");
    let moments = noise(11, 2 * rounds);
    let mut killed = 0;
    for round in 0..rounds {
        let part = u32::from(moments[2 * round]) * 256 + u32::from(moments[2 * round + 1]);
        let mut running = child(&root, source).spawn().unwrap();
        std::thread::sleep(length * part / 65_536);
        running.kill().unwrap();
        let was_done = running.wait().unwrap().success();
        killed += usize::from(!was_done);
        // How long a life takes changes with what else the machine does; this keeps four of five kills within it.
        length = if was_done { length * 7 / 8 } else { length * 33 / 32 };
        if let Ok(store) = Store::open(&root) {
            let outcome = store.fsck(CHECK, &|_| {}).unwrap();
            assert!(outcome.is_sound(), "round {round}: {:?}", outcome.problems);
        }
        // Every other round goes on from where the last one was stopped, and may be stopped again.
        if round % 2 == 0 {
            assert!(child(&root, source).status().unwrap().success(), "round {round}: the retry");
            let outcome = Store::open(&root).unwrap().fsck(CHECK, &|_| {}).unwrap();
            assert!(outcome.problems.is_empty(), "round {round}: {:?}", outcome.problems);
            assert_eq!(usage::of(&root).unwrap(), sound, "round {round}: disk that did not come back");
            fs::remove_dir_all(&root).unwrap();
        }
    }
    assert!(killed > rounds / 2, "only {killed} of {rounds} processes were killed before they were done");
}
