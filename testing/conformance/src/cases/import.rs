//! `import_layer`.

use std::fs;
use std::path::Path;

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::storage::LayerStorage as _;

use crate::{Bench, BenchExt as _, Item, assert_refused, base_content, contents};

/// A base layer comes out of a transport folder.
pub fn makes_a_base_layer(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    assert!(base.path.is_dir());
    bench.assert_nothing_held();
}

/// A layer above another one, too.
pub fn makes_a_layer_over_a_parent(bench: &impl Bench) {
    let (base, upper) = bench.two_layers();
    assert!(base.path.is_dir() && upper.path.is_dir());
}

/// An empty folder is as good as none.
pub fn takes_an_empty_folder(bench: &impl Bench) {
    fs::create_dir(bench.path("base")).expect("it is new");
    bench.layer("base", &base_content(), &LayerChain::base());
}

/// A layer of nothing but what has to be there.
pub fn takes_a_layer_without_files(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    bench.layer("empty", &[], &bench.above(&base));
}

/// What is in the folder stays as it is.
pub fn refuses_a_folder_with_something_in_it(bench: &impl Bench) {
    let layer = bench.path("base");
    fs::create_dir(&layer).expect("it is new");
    fs::write(layer.join("precious"), "bytes").expect("it is writable");
    let source = bench.transport("source", &base_content());
    let result = bench.storage().import_layer(&layer, &source, &LayerChain::base());
    assert_refused(result, ErrorKind::AlreadyExists);
    assert_eq!(fs::read(layer.join("precious")).expect("it is still there"), b"bytes");
}

/// The layer that was there stays.
pub fn refuses_to_import_twice(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let result = bench.storage().import_layer(&base.path, &base.source, &LayerChain::base());
    assert_refused(result, ErrorKind::AlreadyExists);
    let out = bench.path("out");
    fs::create_dir(&out).expect("it is new");
    bench
        .storage()
        .export_layer(&base.path, &out, &LayerChain::base(), &Default::default())
        .expect("the layer is still whole");
}

/// No source, no layer.
pub fn refuses_a_missing_source(bench: &impl Bench) {
    refused(bench, &bench.path("nowhere"), &LayerChain::base(), ErrorKind::NotFound);
}

/// The folder around the layer is not made up.
pub fn refuses_a_missing_folder_around_the_layer(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let layer = bench.path("missing").join("base");
    assert_refused(bench.storage().import_layer(&layer, &source, &LayerChain::base()), ErrorKind::NotFound);
}

/// A folder is not the source of itself.
pub fn refuses_its_own_source(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let before = contents(&source);
    let result = bench.storage().import_layer(&source, &source, &LayerChain::base());
    assert_refused(result, ErrorKind::InvalidArgument);
    assert_eq!(contents(&source), before);
}

/// Nor of a folder inside of it.
pub fn refuses_a_layer_inside_its_source(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let before = contents(&source);
    let result = bench.storage().import_layer(&source.join("Files/layer"), &source, &LayerChain::base());
    assert_refused(result, ErrorKind::InvalidArgument);
    assert_eq!(contents(&source), before);
}

/// `Files.$wcidirs$` has to be there.
pub fn refuses_a_source_without_the_description_of_files(bench: &impl Bench) {
    without(bench, "Files.$wcidirs$");
}

/// The description of each directory has to be there.
pub fn refuses_a_source_without_the_description_of_a_directory(bench: &impl Bench) {
    without(bench, "Files/Windows.$wcidirs$");
}

/// `Hives` has to be there.
pub fn refuses_a_source_without_hives(bench: &impl Bench) {
    without(bench, "Hives");
}

/// All five delta hives have to be there.
pub fn refuses_a_source_without_one_of_the_hives(bench: &impl Bench) {
    without(bench, "Hives/Sam_Delta");
}

/// `Files` has to be there.
pub fn refuses_a_source_without_files(bench: &impl Bench) {
    without(bench, "Files");
}

/// `tombstones.txt` has to be there.
pub fn refuses_a_source_without_tombstones(bench: &impl Bench) {
    without(bench, "tombstones.txt");
}

/// A blob that is cut off makes no layer.
pub fn refuses_a_blob_that_is_cut_off(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let blob = source.join("Files/License.txt");
    let bytes = fs::read(&blob).expect("it is there");
    fs::write(&blob, &bytes[..bytes.len() - 1]).expect("it is writable");
    refused(bench, &source, &LayerChain::base(), ErrorKind::NotFound);
}

/// A blob without even its attributes makes no layer.
pub fn refuses_an_empty_blob(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    fs::write(source.join("Files/License.txt"), b"").expect("it is writable");
    refused(bench, &source, &LayerChain::base(), ErrorKind::NotFound);
}

/// A list of removed paths of another version is not guessed at.
pub fn refuses_tombstones_of_another_version(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    fs::write(source.join("tombstones.txt"), "\u{feff}Version 9.0\n").expect("it is writable");
    refused(bench, &source, &LayerChain::base(), ErrorKind::InvalidArgument);
}

/// The source is only read.
pub fn leaves_the_source_as_it_is(bench: &impl Bench) {
    let source = bench.transport("source", &base_content());
    let before = contents(&source);
    bench
        .storage()
        .import_layer(&bench.path("base"), &source, &LayerChain::base())
        .expect("the source is complete");
    assert_eq!(contents(&source), before);
}

/// Two layers of the same content in two folders are two layers.
pub fn the_same_source_makes_two_layers(bench: &impl Bench) {
    let source = bench.transport("source", &[Item::file("Files/a", b"a")]);
    for name in ["one", "two"] {
        bench
            .storage()
            .import_layer(&bench.path(name), &source, &LayerChain::base())
            .expect("the source is complete");
    }
    bench.storage().destroy_layer(&bench.path("one")).expect("nobody uses it");
    assert!(bench.path("two").is_dir());
}

fn without(bench: &impl Bench, part: &str) {
    let source = bench.transport("source", &base_content());
    let part = source.join(part);
    if part.is_dir() {
        fs::remove_dir_all(part).expect("it can be removed");
    } else {
        fs::remove_file(part).expect("it can be removed");
    }
    refused(bench, &source, &LayerChain::base(), ErrorKind::NotFound);
}

/// The import is refused, and nothing is there that was not before.
fn refused(bench: &impl Bench, source: &Path, chain: &LayerChain, kind: ErrorKind) {
    let before = bench.listing();
    assert_refused(bench.storage().import_layer(&bench.path("layer"), source, chain), kind);
    assert_eq!(bench.listing(), before);
    bench.assert_nothing_held();
}
