//! `export_layer`.

use std::fs;
use std::path::PathBuf;

use layerstone_hcs::{ErrorKind, ExportLayerOptions, LayerChain};
use layerstone_layer::EntryKind;
use layerstone_nt::FileAttributes;
use layerstone_store::storage::LayerStorage as _;

use crate::{Bench, BenchExt as _, Item, Made, assert_refused, base_content, contents};

fn destination(bench: &impl Bench) -> PathBuf {
    let out = bench.path("out");
    fs::create_dir(&out).expect("it is new");
    out
}

/// What was imported comes out, all of it.
fn comes_back(bench: &impl Bench, layer: &Made) {
    let out = destination(bench);
    bench
        .storage()
        .export_layer(&layer.path, &out, &layer.parents, &ExportLayerOptions::default())
        .unwrap_or_else(|error| panic!("export: {}", crate::chain_of(&error)));
    let (before, after) = (contents(&layer.source), contents(&out));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
    bench.assert_nothing_held();
}

/// A base layer as it was.
pub fn gives_a_base_layer_back(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    comes_back(bench, &base);
}

/// Only what the layer itself has, not its parents'.
pub fn gives_a_layer_back_without_its_parents(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    comes_back(bench, &upper);
}

fn one(bench: &impl Bench, items: &[Item]) {
    let base = bench.layer("base", items, &LayerChain::base());
    comes_back(bench, &base);
}

/// Empty files.
pub fn keeps_empty_files(bench: &impl Bench) {
    one(bench, &[Item::file("Files/empty", b"")]);
}

/// Files over many blocks.
pub fn keeps_large_files(bench: &impl Bench) {
    let bytes: Vec<u8> = (0..3_000_017_u32).map(|n| (n % 251) as u8).collect();
    one(bench, &[Item::file("Files/large", &bytes)]);
}

/// Attributes beside those of every file.
pub fn keeps_attributes(bench: &impl Bench) {
    let attributes = FileAttributes::READONLY | FileAttributes::HIDDEN | FileAttributes::SYSTEM;
    one(bench, &[Item::file("Files/hidden", b"x").attributes(attributes)]);
}

/// Extended attributes.
pub fn keeps_extended_attributes(bench: &impl Bench) {
    one(bench, &[Item::file("Files/ea", b"x").ea("$KERNEL.PURGE.ESBCACHE", &[1, 2, 3]).ea("EMPTY", b"")]);
}

/// Alternate data streams, small and large.
pub fn keeps_alternate_streams(bench: &impl Bench) {
    let large = vec![7; 100_000];
    let item = Item::file("Files/with", b"data")
        .stream("Zone.Identifier", b"[ZoneTransfer]")
        .stream("large", &large);
    one(bench, &[item]);
}

/// Junctions and symbolic links.
pub fn keeps_reparse_points(bench: &impl Bench) {
    one(
        bench,
        &[Item::link("Files/junction", r"C:\Windows", true), Item::link("Files/link", r"..\relative", false)],
    );
}

/// Removed paths.
pub fn keeps_removed_paths(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let out = destination(bench);
    bench
        .storage()
        .export_layer(&upper.path, &out, &upper.parents, &ExportLayerOptions::default())
        .expect("the layer is whole");
    let removed: Vec<_> =
        contents(&out).into_iter().filter(|content| content.kind == EntryKind::Whiteout).collect();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].path.as_bytes(), b"Files/Windows/old.txt");
}

/// Names that are no ASCII.
pub fn keeps_names_beyond_ascii(bench: &impl Bench) {
    one(
        bench,
        &[
            Item::directory("Files/日本語"),
            Item::file("Files/日本語/grüße", b"1"),
            Item::file("Files/😀", b"2"),
        ],
    );
}

/// What was exported can be imported, and comes out the same again.
pub fn what_comes_out_goes_in_again(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let out = destination(bench);
    let storage = bench.storage();
    storage
        .export_layer(&upper.path, &out, &upper.parents, &ExportLayerOptions::default())
        .expect("the layer is whole");
    storage.import_layer(&bench.path("again"), &out, &upper.parents).expect("what was exported is complete");
    let again = bench.path("out2");
    fs::create_dir(&again).expect("it is new");
    storage
        .export_layer(&bench.path("again"), &again, &upper.parents, &ExportLayerOptions::default())
        .expect("the layer is whole");
    assert_eq!(contents(&out), contents(&again));
}

/// The destination is not made up.
pub fn refuses_a_missing_destination(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let result = bench.storage().export_layer(
        &base.path,
        &bench.path("nowhere"),
        &base.parents,
        &ExportLayerOptions::default(),
    );
    assert_refused(result, ErrorKind::NotFound);
    assert!(!bench.path("nowhere").exists());
}

/// What is in the destination stays.
pub fn refuses_a_destination_with_something_in_it(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let out = destination(bench);
    fs::write(out.join("precious"), "bytes").expect("it is writable");
    let result =
        bench.storage().export_layer(&base.path, &out, &base.parents, &ExportLayerOptions::default());
    assert_refused(result, ErrorKind::InvalidArgument);
    assert_eq!(fs::read_dir(&out).expect("it is there").count(), 1);
}

/// No layer, no export.
pub fn refuses_a_missing_layer(bench: &impl Bench) {
    refused(bench, "nowhere", &LayerChain::base());
}

/// A layer has parents, and the chain has none.
pub fn refuses_a_layer_without_its_chain(bench: &impl Bench) {
    bench.two_layers();
    refused(bench, "upper", &LayerChain::base());
}

/// The chain is that of another layer.
pub fn refuses_the_chain_of_another_layer(bench: &impl Bench) {
    let (base, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    assert!(base.path.is_dir());
    refused(bench, "base", &chain);
}

/// The changes of a scratch that is not attached.
pub fn refuses_a_scratch_that_is_not_attached(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let scratch = bench.scratch("scratch", &chain);
    let out = destination(bench);
    let options = ExportLayerOptions { is_writable_layer: true };
    assert_refused(bench.storage().export_layer(&scratch, &out, &chain, &options), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(&out).expect("it is there").count(), 0);
    bench.release_disk("scratch");
}

/// The changes of an attached scratch: what was written, what was removed, and nothing else but the directories on the way.
pub fn gives_what_a_scratch_has_changed(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let scratch = bench.scratch("scratch", &chain);
    let storage = bench.storage();
    storage.attach_layer_storage_filter(&scratch, &chain).expect("it is initialized");
    let view = storage.scratch_files(&scratch);
    fs::write(view.join("Windows/new.txt"), "new").expect("the scratch is writable");
    fs::remove_file(view.join("License.txt")).expect("the base has it");
    let out = destination(bench);
    storage
        .export_layer(&scratch, &out, &chain, &ExportLayerOptions { is_writable_layer: true })
        .unwrap_or_else(|error| panic!("export: {}", crate::chain_of(&error)));
    storage.detach_layer_storage_filter(&scratch).expect("it is attached");
    let found: Vec<_> = contents_of_scratch(&out);
    assert_eq!(
        found,
        [
            ("Files".to_owned(), "directory"),
            ("Files/License.txt".to_owned(), "whiteout"),
            ("Files/Windows".to_owned(), "directory"),
            ("Files/Windows/new.txt".to_owned(), "file"),
        ]
    );
}

/// Paths and kinds of a folder whose hives need not be there: where nothing has changed the registry, there is no hive.
fn contents_of_scratch(folder: &std::path::Path) -> Vec<(String, &'static str)> {
    use layerstone_layer::transport::{ReadOptions, TransportReader};
    let mut reader = TransportReader::open(folder, ReadOptions::lenient()).expect("it is a transport folder");
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().expect("it is sound") {
        if entry.path.as_bytes().starts_with(b"Files") {
            found.push((entry.path.to_string(), entry.kind.name()));
        }
    }
    found.sort();
    found
}

fn refused(bench: &impl Bench, layer: &str, chain: &LayerChain) {
    let out = destination(bench);
    let result =
        bench.storage().export_layer(&bench.path(layer), &out, chain, &ExportLayerOptions::default());
    assert_refused(result, ErrorKind::NotFound);
    assert_eq!(fs::read_dir(&out).expect("it is there").count(), 0);
    bench.assert_nothing_held();
}
