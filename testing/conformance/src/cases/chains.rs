//! Chains of parents, and the ids of layers. What is shown with imports goes for every call that takes a chain.

use layerstone_hcs::{ErrorKind, Guid, LayerChain};
use layerstone_store::storage::LayerStorage as _;

use crate::{Bench, BenchExt as _, Item, assert_refused, base_content};

/// The id of a layer comes from the name of its folder, wherever that is.
pub fn an_id_depends_on_the_last_component_only(bench: &impl Bench) {
    let id = |path: &str| bench.storage().layer_id(&bench.path(path)).expect("it has a name");
    assert_eq!(id("a/layer"), id("b/c/layer"));
    assert_ne!(id("a/layer"), id("a/layer2"));
    assert_ne!(id("layer"), Guid::nil());
}

/// A chain made from folders has them in their order, each with its id.
pub fn a_chain_goes_from_child_to_parent(bench: &impl Bench) {
    let folders = ["upper", "middle", "base"].map(|name| bench.path(name));
    let chain = bench.storage().chain(&folders).expect("they have names");
    assert_eq!(chain.parents().iter().map(|parent| parent.path.clone()).collect::<Vec<_>>(), folders);
    for parent in chain.parents() {
        assert_eq!(parent.id, bench.storage().layer_id(&parent.path).expect("it has a name"));
    }
}

/// A parent that is not there.
pub fn refuses_a_missing_parent(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let mut folders: Vec<_> =
        bench.above(&upper).parents().iter().map(|parent| parent.path.clone()).collect();
    folders[1] = bench.path("nowhere");
    let chain = bench.storage().chain(&folders).expect("they have names");
    refused(bench, &chain, ErrorKind::NotFound);
}

/// Base first is wrong.
pub fn refuses_the_wrong_order(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let mut parents = bench.above(&upper).parents().to_vec();
    parents.reverse();
    refused(bench, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// A chain without its base.
pub fn refuses_a_chain_without_its_base(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let parents = bench.above(&upper).parents()[..1].to_vec();
    refused(bench, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// A chain that leaves a layer out.
pub fn refuses_a_chain_with_a_gap(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let top = bench.layer("top", &[Item::file("Files/top", b"")], &bench.above(&upper));
    let mut parents = bench.above(&top).parents().to_vec();
    parents.remove(1);
    refused(bench, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// A layer of another image in the middle.
pub fn refuses_a_parent_of_another_chain(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let stranger = bench.layer("stranger", &[Item::file("Files/other", b"other")], &LayerChain::base());
    let mut parents = bench.above(&upper).parents().to_vec();
    parents[1] = bench.above(&stranger).parents()[0].clone();
    refused(bench, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// A parent by another id than the one under which the layer above was made.
pub fn refuses_another_id_of_a_parent(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let mut parents = bench.above(&upper).parents().to_vec();
    parents[1].id = Guid::from_u128(0x1234);
    refused(bench, &LayerChain::from_parents(parents), ErrorKind::NotFound);
}

/// Two layers of a chain under one id.
pub fn refuses_an_id_that_comes_twice(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let mut parents = bench.above(&upper).parents().to_vec();
    parents[1].id = parents[0].id;
    refused(bench, &LayerChain::from_parents(parents), ErrorKind::InvalidArgument);
}

/// One hundred layers over each other; the last one is as good as the first.
pub fn a_hundred_layers_over_each_other(bench: &impl Bench) {
    let mut top = bench.layer("base", &base_content(), &LayerChain::base());
    for depth in 1..=100 {
        let content = [Item::file(&format!("Files/{depth}"), format!("{depth}").as_bytes())];
        top = bench.layer(&format!("layer{depth}"), &content, &bench.above(&top));
    }
    assert_eq!(top.parents.len(), 100);
    let out = bench.path("out");
    std::fs::create_dir(&out).expect("it is new");
    bench
        .storage()
        .export_layer(&top.path, &out, &top.parents, &Default::default())
        .expect("the chain is whole");
    let exported = crate::contents(&out);
    assert!(exported.iter().any(|content| content.bytes == b"100"));
}

fn refused(bench: &impl Bench, chain: &LayerChain, kind: ErrorKind) {
    let source = bench.transport("source", &[Item::file("Files/a", b"a")]);
    let before = bench.listing();
    assert_refused(bench.storage().import_layer(&bench.path("layer"), &source, chain), kind);
    assert_eq!(bench.listing(), before);
}
