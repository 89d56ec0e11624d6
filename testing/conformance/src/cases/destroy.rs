//! `destroy_layer`.

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::storage::LayerStorage as _;

use crate::{Bench, BenchExt as _, assert_refused, base_content};

/// The folder is gone, and only that.
pub fn removes_a_layer_and_nothing_else(bench: &impl Bench) {
    let before = {
        bench.layer("other", &base_content(), &LayerChain::base());
        bench.listing()
    };
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    bench.storage().destroy_layer(&base.path).expect("nobody uses it");
    std::fs::remove_dir_all(&base.source).expect("it is this test's");
    assert_eq!(bench.listing(), before);
    bench.assert_nothing_held();
}

/// There is nothing to remove.
pub fn refuses_a_missing_layer(bench: &impl Bench) {
    assert_refused(bench.storage().destroy_layer(&bench.path("nowhere")), ErrorKind::NotFound);
}

/// The same folder can be filled again.
pub fn makes_room_for_another_layer(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    bench.storage().destroy_layer(&base.path).expect("nobody uses it");
    bench.storage().import_layer(&base.path, &base.source, &base.parents).expect("there is room");
}

/// A layer that an attached scratch lies over is in use; afterwards it is not.
pub fn refuses_a_layer_in_use(bench: &impl Bench) {
    let (base, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let scratch = bench.scratch("scratch", &chain);
    let storage = bench.storage();
    storage.attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
    for layer in [&base, &upper] {
        assert_refused(storage.destroy_layer(&layer.path), ErrorKind::InUse);
        assert!(layer.path.is_dir());
    }
    storage.detach_layer_storage_filter(&scratch).expect("it is attached");
    bench.release_disk("scratch");
    storage.destroy_layer(&upper.path).expect("nobody uses it any more");
}

/// A scratch that is attached is in use; afterwards it can be removed.
pub fn refuses_an_attached_scratch(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let chain = bench.above(&base);
    let scratch = bench.scratch("scratch", &chain);
    let storage = bench.storage();
    storage.attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
    assert_refused(storage.destroy_layer(&bench.path("scratch")), ErrorKind::InUse);
    storage.detach_layer_storage_filter(&scratch).expect("it is still attached");
    bench.release_disk("scratch");
    storage.destroy_layer(&bench.path("scratch")).expect("nobody uses it any more");
    assert!(!bench.path("scratch").exists());
}
