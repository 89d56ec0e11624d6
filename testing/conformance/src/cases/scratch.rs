//! `initialize_writable_layer`, `attach_layer_storage_filter`, `detach_layer_storage_filter`.

use std::fs;
use std::path::{Path, PathBuf};

use layerstone_hcs::{ErrorKind, Guid, LayerChain, WritableLayerOptions};
use layerstone_store::storage::LayerStorage as _;

use crate::{Bench, BenchExt as _, Item, assert_refused, base_content};

/// A chain of two layers, and a scratch over it.
fn prepared(bench: &impl Bench) -> (LayerChain, PathBuf) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let scratch = bench.scratch("scratch", &chain);
    (chain, scratch)
}

fn finished(bench: &impl Bench) {
    bench.release_disk("scratch");
    bench.storage().destroy_layer(&bench.path("scratch")).expect("nobody uses it");
    bench.assert_nothing_held();
}

fn initialize_refused(bench: &impl Bench, chain: &LayerChain, kind: ErrorKind) {
    let scratch = bench.vacant_scratch(&bench.path("scratch"));
    let before = bench.listing();
    let result = bench.storage().initialize_writable_layer(&scratch, chain, &WritableLayerOptions::default());
    assert_refused(result, kind);
    assert_eq!(bench.listing(), before);
}

/// Attached, detached, and both again.
pub fn is_attached_and_detached_again_and_again(bench: &impl Bench) {
    let (chain, scratch) = prepared(bench);
    for _ in 0..3 {
        bench.storage().attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
        bench.storage().detach_layer_storage_filter(&scratch).expect("it is attached");
    }
    finished(bench);
}

/// What it shows: the parents merged, and what was written into it; also after it was attached anew. The parents stay.
pub fn shows_its_parents_and_keeps_what_is_written(bench: &impl Bench) {
    let (chain, scratch) = prepared(bench);
    let storage = bench.storage();
    let view = storage.scratch_files(&scratch);
    let read = |path: &str| fs::read(view.join(path)).ok();
    storage.attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
    assert_eq!(read("added.txt").as_deref(), Some(&b"added"[..]));
    assert_eq!(read("License.txt").map(|bytes| bytes.len()), Some(10_000));
    assert_eq!(read("Windows/old.txt"), None, "the upper layer removes it");
    fs::write(view.join("Windows/written.txt"), "written").expect("it is writable");
    storage.detach_layer_storage_filter(&scratch).expect("it is attached");
    assert_eq!(read("Windows/written.txt"), None);
    storage.attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
    assert_eq!(read("Windows/written.txt").as_deref(), Some(&b"written"[..]));
    let other = bench.scratch("other", &chain);
    storage.attach_layer_storage_filter(&other, &chain).expect("it is initialized");
    assert!(!storage.scratch_files(&other).join("Windows/written.txt").exists());
    storage.detach_layer_storage_filter(&other).expect("it is attached");
    storage.detach_layer_storage_filter(&scratch).expect("it is attached");
    bench.release_disk("other");
    finished(bench);
}

/// A scratch over one hundred layers.
pub fn lies_over_a_hundred_layers(bench: &impl Bench) {
    let mut top = bench.layer("base", &base_content(), &LayerChain::base());
    for depth in 1..100 {
        let content = [Item::file(&format!("Files/{depth}"), b"x")];
        top = bench.layer(&format!("layer{depth}"), &content, &bench.above(&top));
    }
    let chain = bench.above(&top);
    assert_eq!(chain.len(), 100);
    let scratch = bench.scratch("scratch", &chain);
    bench.storage().attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
    if bench.shows_files() {
        let view = bench.storage().scratch_files(&scratch);
        assert!((1..100).all(|depth| view.join(depth.to_string()).is_file()));
    }
    bench.storage().detach_layer_storage_filter(&scratch).expect("it is attached");
    finished(bench);
}

/// Two over the same parents at the same time.
pub fn two_share_their_parents(bench: &impl Bench) {
    let (chain, one) = prepared(bench);
    let two = bench.scratch("two", &chain);
    let storage = bench.storage();
    storage.attach_layer_storage_filter(&one, &chain).expect("it is initialized");
    storage.attach_layer_storage_filter(&two, &chain).expect("parents can be shared");
    storage.detach_layer_storage_filter(&one).expect("it is attached");
    storage.detach_layer_storage_filter(&two).expect("it is attached");
    bench.release_disk("two");
    finished(bench);
}

/// A scratch needs something to be written over.
pub fn refuses_to_be_initialized_without_parents(bench: &impl Bench) {
    initialize_refused(bench, &LayerChain::base(), ErrorKind::InvalidArgument);
}

/// Its parents have to be there.
pub fn refuses_to_be_initialized_over_a_missing_parent(bench: &impl Bench) {
    let chain = bench.storage().chain(&[bench.path("nowhere")]).expect("it has a name");
    initialize_refused(bench, &chain, ErrorKind::NotFound);
}

/// Its parents have to be in their order.
pub fn refuses_to_be_initialized_over_the_wrong_order(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let mut parents = bench.above(&upper).parents().to_vec();
    parents.reverse();
    initialize_refused(bench, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// What has been written would be lost.
pub fn refuses_to_be_initialized_twice(bench: &impl Bench) {
    let (chain, scratch) = prepared(bench);
    let result =
        bench.storage().initialize_writable_layer(&scratch, &chain, &WritableLayerOptions::default());
    assert_refused(result, ErrorKind::AlreadyExists);
    bench.storage().attach_layer_storage_filter(&scratch, &chain).expect("it is still whole");
    bench.storage().detach_layer_storage_filter(&scratch).expect("it is attached");
    finished(bench);
}

/// It has to be initialized first.
pub fn refuses_to_be_attached_uninitialized(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let scratch = bench.vacant_scratch(&bench.path("scratch"));
    assert_refused(bench.storage().attach_layer_storage_filter(&scratch, &chain), ErrorKind::NotFound);
}

fn attach_refused(bench: &impl Bench, scratch: &Path, chain: &LayerChain, kind: ErrorKind) {
    assert_refused(bench.storage().attach_layer_storage_filter(scratch, chain), kind);
    assert_refused(bench.storage().detach_layer_storage_filter(scratch), ErrorKind::NotFound);
    finished(bench);
}

/// It belongs to the parents that it was initialized over.
pub fn refuses_to_be_attached_over_other_parents(bench: &impl Bench) {
    let (_, scratch) = prepared(bench);
    let stranger = bench.layer("stranger", &[Item::file("Files/other", b"other")], &LayerChain::base());
    attach_refused(bench, &scratch, &bench.above(&stranger), ErrorKind::InvalidArgument);
}

/// All of them.
pub fn refuses_to_be_attached_over_some_of_its_parents(bench: &impl Bench) {
    let (chain, scratch) = prepared(bench);
    let base = LayerChain::from_parents(chain.parents()[1..].to_vec());
    attach_refused(bench, &scratch, &base, ErrorKind::InvalidArgument);
}

/// In their order.
pub fn refuses_to_be_attached_over_the_wrong_order(bench: &impl Bench) {
    let (chain, scratch) = prepared(bench);
    let mut parents = chain.parents().to_vec();
    parents.reverse();
    attach_refused(bench, &scratch, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// And by their ids.
pub fn refuses_to_be_attached_by_another_id(bench: &impl Bench) {
    let (chain, scratch) = prepared(bench);
    let mut parents = chain.parents().to_vec();
    parents[0].id = Guid::from_u128(0x1234);
    attach_refused(bench, &scratch, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// Once at a time.
pub fn refuses_to_be_attached_twice(bench: &impl Bench) {
    let (chain, scratch) = prepared(bench);
    let storage = bench.storage();
    storage.attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
    assert_refused(storage.attach_layer_storage_filter(&scratch, &chain), ErrorKind::InUse);
    storage.detach_layer_storage_filter(&scratch).expect("it is still attached, once");
    assert_refused(storage.detach_layer_storage_filter(&scratch), ErrorKind::NotFound);
    finished(bench);
}

/// There is nothing to detach.
pub fn refuses_to_be_detached_unattached(bench: &impl Bench) {
    let (_, scratch) = prepared(bench);
    assert_refused(bench.storage().detach_layer_storage_filter(&scratch), ErrorKind::NotFound);
    finished(bench);
}

/// Nor where nothing is at all.
pub fn refuses_to_be_detached_when_it_is_missing(bench: &impl Bench) {
    let result = bench.storage().detach_layer_storage_filter(&bench.path("nowhere"));
    assert_refused(result, ErrorKind::NotFound);
}

/// A finished layer is no scratch.
pub fn a_finished_layer_cannot_be_attached(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let result = bench.storage().attach_layer_storage_filter(&base.path, &bench.above(&base));
    assert_refused(result, ErrorKind::NotFound);
}
