//! Garbage collection frees what nothing needs, only that, and all of it however often it dies.

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::{Fixture, du, files, layer, noise};
#[cfg(target_os = "linux")]
use common::{have, skip};
use layerstone_oci::{ChainId, Descriptor, Index, MediaType};
#[cfg(target_os = "linux")]
use layerstone_store::fsck::Problem;
use layerstone_store::{Error, FsckOptions, GcOptions, Store};

/// Two images on one base, and one by itself. Gives the base, what `a`, `b` have of their own, and the single one.
fn three_images(fixture: &Fixture, keep_blobs: bool) -> [ChainId; 4] {
    let base = layer(&[("etc/base", &noise(1, 100_000))]);
    let a = fixture.add("a:1", &[base.clone(), layer(&[("a", &noise(2, 50_000))])], keep_blobs);
    let b = fixture.add("b:1", &[base, layer(&[("b", &noise(3, 50_000))])], keep_blobs);
    let single = fixture.add("single", &[layer(&[("c", &noise(4, 10_000))])], keep_blobs);
    assert_eq!(a[0], b[0]);
    [a[0], a[1], b[1], single[0]]
}

fn gc(store: &Store) -> layerstone_store::GcOutcome {
    store.gc(GcOptions { wait: true, ..GcOptions::default() }, &[], &|_| {}).unwrap()
}

fn sorted(mut chains: Vec<ChainId>) -> Vec<ChainId> {
    chains.sort();
    chains
}

#[test]
fn nothing_is_freed_while_everything_is_named() {
    let fixture = Fixture::new();
    three_images(&fixture, true);
    let before = files(fixture.root());
    let outcome = gc(&fixture.store);
    assert_eq!(outcome, Default::default());
    assert_eq!(files(fixture.root()), before);
}

#[test]
fn a_removed_image_frees_its_own_layers_and_leaves_the_shared_base() {
    let fixture = Fixture::new();
    let [base, a, b, single] = three_images(&fixture, true);
    let image = fixture.store.image("a:1", None).unwrap();
    let removed = fixture.store.remove_image("a:1", false).unwrap();
    assert_eq!(removed.names, ["a:1"]);
    assert_eq!(removed.digests, [image.descriptor.digest]);

    let dry = fixture.store.gc(GcOptions { dry_run: true, wait: true }, &[], &|_| {}).unwrap();
    assert!(fixture.store.has_layer(&a).unwrap(), "a dry run removes nothing");
    let before = du(fixture.root());
    let outcome = gc(&fixture.store);
    assert_eq!(dry, outcome);
    assert_eq!(outcome.layers.iter().map(|(chain, _)| *chain).collect::<Vec<_>>(), [a]);
    let mut blobs = vec![image.descriptor.digest, image.config.digest(), image.manifest.layers()[1].digest];
    blobs.sort();
    assert_eq!(outcome.blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(), blobs);
    assert_eq!(outcome.locks, 1);
    if let (Some(before), Some(after)) = (before, du(fixture.root())) {
        assert_eq!(before - after, outcome.bytes_freed);
    }
    assert_eq!(fixture.store.layer_ids().unwrap(), sorted(vec![base, b, single]));
    let deep = FsckOptions { verify_content: true, ..Default::default() };
    assert_eq!(fixture.store.fsck(deep, &|_| {}).unwrap().problems, []);

    fixture.store.remove_image("b:1", false).unwrap();
    let freed: Vec<_> = gc(&fixture.store).layers.into_iter().map(|(chain, _)| chain).collect();
    assert_eq!(freed, [b, base], "a layer goes before the one it lies on");
}

#[test]
fn a_freed_image_can_be_imported_again() {
    let fixture = Fixture::new();
    let [_, a, ..] = three_images(&fixture, false);
    fixture.store.remove_image("a:1", false).unwrap();
    gc(&fixture.store);
    assert!(!fixture.store.has_layer(&a).unwrap());
    fixture.import_to(&fixture.store, "a:1", false);
    assert!(fixture.store.layer(&a).unwrap().verify(&|_| {}).unwrap().damage.is_empty());
}

#[test]
fn an_image_is_removed_by_digest_and_a_second_name_keeps_it() {
    let fixture = Fixture::new();
    let [_, a, ..] = three_images(&fixture, false);
    let image = fixture.store.image("a:1", None).unwrap();
    fixture.store.layout().set_image("again:2", &image.descriptor).unwrap();
    let digits = image.config.digest().hex()[..12].to_owned();
    assert!(matches!(fixture.store.remove_image(&digits, false), Err(Error::Ambiguous { .. })));
    assert_eq!(fixture.store.remove_image("again:2", false).unwrap().names, ["again:2"]);
    assert_eq!(gc(&fixture.store).layers, []);
    assert_eq!(fixture.store.remove_image(&digits, false).unwrap().names, ["a:1"]);
    assert!(gc(&fixture.store).layers.iter().any(|(chain, _)| *chain == a));
    assert!(matches!(fixture.store.remove_image("a:1", false), Err(Error::NoImage(_))));
    assert!(matches!(fixture.store.remove_image(&digits, false), Err(Error::NoImage(_))));
}

#[test]
fn a_scratch_keeps_its_image_from_removal_and_its_layers_from_collection() {
    let fixture = Fixture::new();
    let [base, a, ..] = three_images(&fixture, false);
    let image = fixture.store.image("a:1", None).unwrap();
    fixture.store.create_scratch("work", &image).unwrap();
    let refused = fixture.store.remove_image("a:1", false).unwrap_err();
    assert!(matches!(&refused, Error::InUse { by, .. } if by.contains("work")), "{refused}");
    assert_eq!(fixture.store.remove_image("a:1", true).unwrap().scratches, ["work"]);
    let outcome = gc(&fixture.store);
    assert_eq!((outcome.layers, outcome.blobs), (vec![], vec![]));
    assert_eq!(fixture.store.fsck(FsckOptions::default(), &|_| {}).unwrap().problems, []);

    fixture.store.remove_scratch("work").unwrap();
    let freed: Vec<_> = gc(&fixture.store).layers.into_iter().map(|(chain, _)| chain).collect();
    assert_eq!(freed, [a]);
    assert!(fixture.store.has_layer(&base).unwrap());
}

#[test]
fn what_is_attached_stays_with_all_below_it() {
    let fixture = Fixture::new();
    let [base, a, b, single] = three_images(&fixture, false);
    for name in ["a", "b:1", "single"] {
        let name = if name == "a" { "a:1" } else { name };
        fixture.store.remove_image(name, false).unwrap();
    }
    let outcome = fixture.store.gc(GcOptions::default(), &[a], &|_| {}).unwrap();
    let freed = sorted(outcome.layers.into_iter().map(|(chain, _)| chain).collect());
    assert_eq!(freed, sorted(vec![b, single]));
    assert_eq!(fixture.store.layer_ids().unwrap(), sorted(vec![base, a]));
}

#[test]
fn an_image_below_a_nested_index_stays_and_an_absent_platform_is_no_damage() {
    let fixture = Fixture::new();
    let [_, a, ..] = three_images(&fixture, true);
    let layout = fixture.store.layout();
    let image = layout.find("a:1").unwrap().unwrap();
    let mut index = Index::new();
    index.manifests.push(image);
    index.manifests.push(Descriptor::of(MediaType::OCI_MANIFEST, b"for another platform"));
    layout.put_blob_bytes(&index.to_bytes().unwrap()).unwrap();
    layout.set_image("many", &index.descriptor().unwrap()).unwrap();
    fixture.store.remove_image("a:1", false).unwrap();
    let outcome = gc(&fixture.store);
    assert_eq!((outcome.layers, outcome.blobs), (vec![], vec![]));
    assert!(fixture.store.has_layer(&a).unwrap());
    assert_eq!(fixture.store.fsck(FsckOptions::default(), &|_| {}).unwrap().problems, []);
}

#[test]
fn leftovers_of_dead_processes_go_and_work_in_flight_stays() {
    let fixture = Fixture::new();
    three_images(&fixture, false);
    let staging = fixture.store.staging_root();
    fs::create_dir(staging.join("dead")).unwrap();
    fs::write(staging.join("dead/lock"), b"").unwrap();
    fs::write(staging.join("dead/layer.erofs"), noise(9, 9000)).unwrap();
    fs::create_dir(staging.join("dead-before-its-lock")).unwrap();
    fs::write(staging.join(".tmp-blob"), noise(9, 9000)).unwrap();
    fs::write(fixture.root().join("blobs/sha256/.tmp-blob"), b"x").unwrap();
    fs::write(fixture.root().join(".tmp-index"), b"x").unwrap();
    let alive = fixture.store.stage().unwrap();

    let found = fixture.store.fsck(FsckOptions::default(), &|_| {}).unwrap();
    assert_eq!(found.problems.len(), 5, "{:?}", found.problems);
    assert!(found.is_sound());
    let outcome = gc(&fixture.store);
    assert_eq!(outcome.staging.len(), 5);
    assert!(outcome.bytes_freed >= 18_000);
    assert!(alive.path().is_dir());
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 1);
    assert_eq!(fixture.store.fsck(FsckOptions::default(), &|_| {}).unwrap().problems, []);
}

#[test]
fn a_damaged_document_stops_the_collection() {
    let fixture = Fixture::new();
    three_images(&fixture, false);
    fixture.store.remove_image("single", false).unwrap();
    let before = fixture.store.layer_ids().unwrap();
    let image = fixture.store.image("a:1", None).unwrap();
    let index = fixture.root().join("index.json");
    let documents = [
        fixture.store.layout().blob_path(&image.manifest.digest()),
        fixture.store.layout().blob_path(&image.config.digest()),
        index.clone(),
    ];
    for path in documents {
        let sound = fs::read(&path).unwrap();
        for damaged in [Some(sound[..sound.len() / 2].to_vec()), Some(b"{}".to_vec()), None] {
            match damaged {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = fixture.store.gc(GcOptions::default(), &[], &|_| {}).unwrap_err();
            assert!(matches!(error, Error::DamagedIndex { .. } | Error::DamagedImage { .. }), "{error:?}");
            assert!(error.to_string().contains("fsck"), "{error}");
            assert!(fixture.store.df(&[]).unwrap().reclaimable.is_none());
            assert_eq!(fixture.store.layer_ids().unwrap(), before);
        }
        fs::write(&path, sound).unwrap();
    }
    // Opening the store again must not put an empty index in place of a lost one.
    fs::remove_file(&index).unwrap();
    let again = Store::create(fixture.root()).unwrap();
    assert!(matches!(again.gc(GcOptions::default(), &[], &|_| {}), Err(Error::DamagedIndex { .. })));
}

/// The other process of the tests below: holds the store until it is killed, or collects.
#[test]
fn child() {
    let Some(root) = std::env::var_os("GC_TEST_ROOT") else { return };
    let store = Store::open(root).unwrap();
    match std::env::var("GC_TEST_DO").unwrap().as_str() {
        "hold" => {
            let _shared = store.lock_shared().unwrap();
            println!("held");
            std::thread::sleep(Duration::from_secs(600));
        }
        _ => {
            store.gc(GcOptions { wait: true, dry_run: false }, &[], &|_| {}).unwrap();
        }
    }
}

fn child_process(store: &Store, work: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("GC_TEST_ROOT", store.root()).env("GC_TEST_DO", work);
    command
}

#[test]
fn collection_waits_for_others_or_says_that_they_work() {
    use std::io::{BufRead as _, BufReader};
    let fixture = Fixture::new();
    let [_, a, ..] = three_images(&fixture, false);
    fixture.store.remove_image("a:1", false).unwrap();
    let mut holder =
        child_process(&fixture.store, "hold").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")));

    let busy = fixture.store.gc(GcOptions::default(), &[], &|_| {}).unwrap_err();
    assert!(matches!(busy, Error::InUse { .. }), "{busy:?}");
    let store = fixture.store.clone();
    let waiting =
        std::thread::spawn(move || store.gc(GcOptions { wait: true, dry_run: false }, &[], &|_| {}).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished());
    assert!(fixture.store.has_layer(&a).unwrap());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(waiting.join().unwrap().layers.len(), 1);
    assert!(!fixture.store.has_layer(&a).unwrap());
}

/// Kills a collection at every step, as a power cut would, and looks that nothing needed is gone, nothing half is
/// visible, and the next collection frees the rest.
#[cfg(target_os = "linux")]
#[test]
fn a_collection_that_dies_at_any_step_leaves_a_sound_store_and_no_space_is_lost() {
    use std::os::unix::process::ExitStatusExt as _;
    if !cfg!(debug_assertions) {
        return skip("gc crash", "failpoints are in debug builds only");
    }
    for step in ["gc-marked", "gc-renamed", "gc-deleted", "gc-blob-deleted"] {
        let fixture = Fixture::new();
        let base = layer(&[("etc/base", &noise(1, 100_000))]);
        fixture.add("stays", &[base.clone(), layer(&[("s", &noise(5, 20_000))])], true);
        let never_had = du(fixture.root());
        let tops = [layer(&[("x", &noise(2, 50_000))]), layer(&[("y", &noise(3, 50_000))])];
        fixture.add("goes", &[&[base], &tops[..]].concat(), true);
        fixture.store.remove_image("goes", false).unwrap();

        let status = child_process(&fixture.store, "gc").env("LAYERSTONE_FAILPOINT", step).status().unwrap();
        assert_eq!(status.signal(), Some(9), "{step}: the child must die there");
        let deep = FsckOptions { verify_content: true, ..Default::default() };
        let outcome = fixture.store.fsck(deep, &|_| {}).unwrap();
        assert!(outcome.is_sound(), "{step}: {:?}", outcome.problems);
        assert!(outcome.problems.iter().all(|problem| matches!(problem, Problem::Leftover { .. })));

        gc(&fixture.store);
        assert_eq!(fixture.store.fsck(deep, &|_| {}).unwrap().problems, [], "{step}");
        assert_eq!(fixture.store.layer_ids().unwrap().len(), 2);
        assert_eq!(fs::read_dir(fixture.store.staging_root()).unwrap().count(), 0);
        assert_eq!(du(fixture.root()), never_had, "{step}: space was lost");
    }
}

/// Both are programs of Linux.
#[cfg(target_os = "linux")]
#[test]
fn skopeo_and_umoci_read_the_store_and_copy_an_image_whose_blobs_are_kept() {
    let fixture = Fixture::new();
    three_images(&fixture, true);
    let source = format!("oci:{}:a:1", fixture.root().display());
    if have("skopeo") {
        let run = |args: &[&str]| {
            let output = Command::new("skopeo").args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(run(&["inspect", &source]).contains("\"Os\": \"linux\""));
        let other = fixture.dir.path().join("other");
        run(&["copy", "--insecure-policy", &source, &format!("oci:{}:copy:1", other.display())]);
        let copied = Store::create(&other).unwrap();
        let ours = fixture.store.image("a:1", None).unwrap();
        let theirs = copied.image("copy:1", None).unwrap();
        assert_eq!(theirs.manifest.digest(), ours.manifest.digest());
    } else {
        skip("skopeo reads the store", "skopeo is not installed");
    }
    if have("umoci") {
        let output = Command::new("umoci").args(["ls", "--layout"]).arg(fixture.root()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("single"), "{text}");
    } else {
        skip("umoci reads the store", "umoci is not installed");
    }
}
