//! Paths that are long, foreign or impossible.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::storage::LayerStorage as _;

use crate::{Bench, BenchExt as _, assert_refused, base_content, contents};

/// A path by which Windows takes more than 260 characters; elsewhere as it is.
fn verbatim(path: PathBuf) -> PathBuf {
    if cfg!(windows) && !path.as_os_str().as_encoded_bytes().starts_with(br"\\?\") {
        let mut long = OsString::from(r"\\?\");
        // Nothing is done to what comes after that prefix, so slashes would be parts of names.
        long.push(path.to_str().expect("the paths of tests are Unicode").replace('/', "\\"));
        return long.into();
    }
    path
}

/// In and out and away again, in a folder of this name.
fn round_trip(bench: &impl Bench, folder: &Path) {
    let storage = bench.storage();
    let source = bench.transport("source", &base_content());
    let chain = LayerChain::base();
    storage
        .import_layer(folder, &source, &chain)
        .unwrap_or_else(|error| panic!("{}", crate::chain_of(&error)));
    let above = chain.child(storage.layer_id(folder).expect("it has a name"), folder);
    let scratch = bench.scratch("scratch", &above);
    storage.attach_layer_storage_filter(&scratch, &above).expect("it is initialized");
    storage.detach_layer_storage_filter(&scratch).expect("it is attached");
    bench.release_disk("scratch");
    let out = bench.path("out");
    std::fs::create_dir(&out).expect("it is new");
    storage.export_layer(folder, &out, &chain, &Default::default()).expect("the layer is whole");
    assert_eq!(contents(&source), contents(&out));
    storage.destroy_layer(folder).expect("nobody uses it");
    assert!(!folder.exists());
}

/// Names in other scripts, with what JSON and command lines treat in their own way.
pub fn names_in_any_script(bench: &impl Bench) {
    round_trip(bench, &bench.path("grüße 日本 😀 a&b 'q' %TEMP% {x}"));
}

/// Transport folders by paths that Windows takes as they are.
pub fn transport_folders_by_verbatim_paths(bench: &impl Bench) {
    let storage = bench.storage();
    let source = verbatim(bench.transport("source", &base_content()));
    let (layer, out) = (verbatim(bench.path("layer")), verbatim(bench.path("out")));
    storage
        .import_layer(&layer, &source, &LayerChain::base())
        .unwrap_or_else(|error| panic!("{}", crate::chain_of(&error)));
    std::fs::create_dir(&out).expect("it is new");
    storage
        .export_layer(&layer, &out, &LayerChain::base(), &Default::default())
        .unwrap_or_else(|error| panic!("{}", crate::chain_of(&error)));
    assert_eq!(contents(&source), contents(&out));
}

/// A path of more than 300 characters.
pub fn a_path_of_300_characters(bench: &impl Bench) {
    let mut folder = verbatim(bench.root().to_path_buf());
    while folder.as_os_str().len() < 300 {
        folder.push("a-name-of-forty-characters-and-no-more-x");
        std::fs::create_dir(&folder).expect("long paths are possible");
    }
    round_trip(bench, &folder.join("layer"));
}

/// A name of 200 characters.
pub fn a_long_name(bench: &impl Bench) {
    let folder = verbatim(bench.path(&"n".repeat(200)));
    round_trip(bench, &folder);
}

/// A NUL would end the path before its end.
pub fn a_nul_in_a_path_is_refused(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let before = bench.listing();
    let storage = bench.storage();
    let nul = bench.path("with\0nul");
    let chain = LayerChain::base();
    assert_refused(storage.import_layer(&nul, &source, &chain), ErrorKind::InvalidArgument);
    assert_refused(storage.import_layer(&bench.path("layer"), &nul, &chain), ErrorKind::InvalidArgument);
    assert_refused(storage.destroy_layer(&nul), ErrorKind::InvalidArgument);
    assert_refused(storage.detach_layer_storage_filter(&nul), ErrorKind::InvalidArgument);
    assert_eq!(bench.listing(), before);
    bench.assert_nothing_held();
}
