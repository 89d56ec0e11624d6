//! Scratches that do not outlive the boot that made them.

#![cfg(target_os = "linux")]

mod common;

use std::fs;

use common::{Fixture, layer};
use layerstone_store::{Error, FsckOptions, GcOptions};

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.add("a", &[layer(&[("etc/base", b"b")]), layer(&[("top", b"t")])], true);
    fixture
}

#[test]
fn it_is_a_scratch_like_any_other_until_it_is_removed() {
    let fixture = fixture();
    let store = &fixture.store;
    let image = store.image("a", None).unwrap();
    let scratch = store.create_volatile_scratch("work", &image).unwrap();
    fs::write(scratch.upper().join("new"), "n").unwrap();

    assert_eq!(store.scratch("work").unwrap().description(), scratch.description());
    let names: Vec<_> = store.scratches().unwrap().iter().map(|scratch| scratch.name().to_owned()).collect();
    assert_eq!(names, ["work"]);
    for again in [store.create_scratch("work", &image), store.create_volatile_scratch("work", &image)] {
        assert!(matches!(again, Err(Error::ScratchExists(name)) if name == "work"));
    }
    assert!(matches!(store.remove_image("a", false), Err(Error::InUse { .. })));
    assert_eq!(store.df(&[]).unwrap().scratches[0].name, "work");
    // The image goes, but not the layers below the scratch.
    store.remove_image("a", true).unwrap();
    assert!(store.gc(GcOptions::default(), &[], &|_| {}).unwrap().layers.is_empty());
    assert!(scratch.upper().join("new").exists());

    store.remove_scratch("work").unwrap();
    assert!(!scratch.path().exists());
    assert!(matches!(store.scratch("work"), Err(Error::NoScratch(_))));
    assert_eq!(store.gc(GcOptions::default(), &[], &|_| {}).unwrap().layers.len(), 2);
}

#[test]
fn a_lasting_scratch_keeps_its_name_from_a_volatile_one() {
    let fixture = fixture();
    let image = fixture.store.image("a", None).unwrap();
    fixture.store.create_scratch("work", &image).unwrap();
    let again = fixture.store.create_volatile_scratch("work", &image);
    assert!(matches!(again, Err(Error::ScratchExists(name)) if name == "work"));
}

/// A power cut keeps names and loses contents, or the other way round: none of it may be in the way.
#[test]
fn what_an_earlier_boot_has_left_is_garbage_in_any_state() {
    let fixture = fixture();
    let store = &fixture.store;
    let past = fixture.root().join("volatile").join("00000000-0000-0000-0000-000000000000");
    for name in ["whole", "empty", "half"] {
        fs::create_dir_all(past.join(name).join("upper")).unwrap();
    }
    fs::write(past.join("empty/scratch.json"), "").unwrap();
    fs::write(past.join("whole/upper/file"), vec![1; 100_000]).unwrap();

    assert!(store.scratches().unwrap().is_empty());
    assert!(store.fsck(FsckOptions::default(), &|_| {}).unwrap().is_sound());
    store.remove_image("a", false).unwrap();
    let outcome = store.gc(GcOptions::default(), &[], &|_| {}).unwrap();
    assert_eq!((outcome.layers.len(), outcome.staging.len()), (2, 1));
    assert!(outcome.bytes_freed > 100_000 && !past.exists());
}

#[test]
fn one_whose_maker_has_died_on_the_way_is_in_nobodys_way() {
    let fixture = fixture();
    let store = &fixture.store;
    let image = store.image("a", None).unwrap();
    let scratch = store.create_volatile_scratch("work", &image).unwrap();
    fs::remove_file(scratch.path().join("scratch.json")).unwrap();

    assert!(store.scratches().unwrap().is_empty());
    store.remove_scratch("work").unwrap();
    let scratch = store.create_volatile_scratch("work", &image).unwrap();
    fs::remove_file(scratch.path().join("scratch.json")).unwrap();
    assert_eq!(store.gc(GcOptions::default(), &[], &|_| {}).unwrap().staging.len(), 1);
    store.create_volatile_scratch("work", &image).unwrap();
}

#[test]
fn one_that_was_discarded_is_gone_before_it_is_removed() {
    let fixture = fixture();
    let store = &fixture.store;
    let image = store.image("a", None).unwrap();
    let scratch = store.create_volatile_scratch("work", &image).unwrap();
    fs::write(scratch.upper().join("file"), vec![1; 100_000]).unwrap();

    let discarded = store.discard_volatile_scratch("work").unwrap().unwrap();
    assert!(store.scratches().unwrap().is_empty());
    // Nothing is collected while somebody removes it.
    assert!(matches!(store.gc(GcOptions::default(), &[], &|_| {}), Err(Error::InUse { .. })));
    drop(discarded);
    let outcome = store.gc(GcOptions::default(), &[], &|_| {}).unwrap();
    assert!(outcome.bytes_freed > 100_000 && !scratch.path().exists());
    assert!(store.discard_volatile_scratch("work").unwrap().is_none());
}
