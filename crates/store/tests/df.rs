//! The disk usage of a store is what `du` says.

mod common;

use std::fs;

use common::{Fixture, du, layer, noise, skip};
use layerstone_store::GcOptions;

#[test]
fn the_total_is_that_of_du_and_the_parts_add_up() {
    let fixture = Fixture::new();
    let base = layer(&[("etc/base", &noise(1, 300_000))]);
    let a = fixture.add("a", &[base.clone(), layer(&[("a", &noise(2, 50_000))])], true);
    fixture.add("b", &[base, layer(&[("b", &noise(3, 50_000))])], true);
    let scratch = fixture.store.create_scratch("work", &fixture.store.image("a", None).unwrap()).unwrap();
    fs::write(scratch.upper().join("big"), noise(4, 123_456)).unwrap();
    fs::hard_link(scratch.upper().join("big"), scratch.upper().join("again")).unwrap();
    let staging = fixture.store.stage().unwrap();
    fs::write(staging.path().join("half"), noise(5, 40_000)).unwrap();

    let usage = fixture.store.df(&[]).unwrap();
    if cfg!(unix) {
        match du(fixture.root()) {
            Some(total) => assert_eq!(usage.total, total),
            None => skip("df is du", "there is no du here"),
        }
    }
    let parts = usage.layer_bytes() + usage.blobs + usage.scratch_bytes() + usage.staging + usage.damaged;
    assert!(parts < usage.total && usage.total - parts < 200_000, "{parts} of {}", usage.total);
    assert_eq!(usage.layers.len(), 3);
    let base = usage.layers.iter().find(|layer| layer.chain == a[0]).unwrap();
    assert_eq!(base.images, ["a", "b"]);
    assert!(base.shared && base.bytes > 300_000);
    let top = usage.layers.iter().find(|layer| layer.chain == a[1]).unwrap();
    assert_eq!((top.images.as_slice(), top.shared), (&["a".to_owned()][..], false));
    assert_eq!(usage.scratches[0].name, "work");
    assert!((123_456..250_000).contains(&usage.scratches[0].bytes), "a file of two names counts once");
    assert!(usage.staging >= 40_000);
    assert_eq!(usage.reclaimable, Some(0));
}

#[test]
fn reclaimable_is_what_a_collection_frees() {
    let fixture = Fixture::new();
    let base = layer(&[("etc/base", &noise(1, 300_000))]);
    fixture.add("a", &[base.clone(), layer(&[("a", &noise(2, 50_000))])], true);
    let b = fixture.add("b", &[base, layer(&[("b", &noise(3, 50_000))])], true);
    fixture.store.remove_image("b", false).unwrap();
    let usage = fixture.store.df(&[]).unwrap();
    let with_attached = fixture.store.df(&b).unwrap();
    assert!(with_attached.reclaimable < usage.reclaimable);
    let freed = fixture.store.gc(GcOptions::default(), &[], &|_| {}).unwrap().bytes_freed;
    assert_eq!(usage.reclaimable, Some(freed));
    let after = fixture.store.df(&[]).unwrap();
    assert_eq!(after.reclaimable, Some(0));
    assert_eq!(usage.total - after.total, freed);
}
