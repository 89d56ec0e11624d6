//! The orders of calls that make a scratch and a layer.

use layerstone_hcs::LayerChain;
use layerstone_layer::tar::TarWriter;
use layerstone_layer::transport::{ReadOptions, TransportReader, copy_to_tar};
use layerstone_store::storage::{
    Error, ImportArchiveOptions, LayerForm, LayerStorage as _, ScratchLayer, ScratchOptions, import_archive,
};

use crate::{Bench, BenchExt as _, Item, base_content, chain_of};

/// Made, shown, and gone without a trace.
pub fn a_scratch_is_made_and_destroyed(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let before = bench.listing();
    let scratch =
        ScratchLayer::create(bench.storage(), &bench.path("scratch"), &chain, &ScratchOptions::default())
            .unwrap_or_else(|error| panic!("{}", chain_of(&error)));
    if let Err(error) = scratch.destroy() {
        panic!("{}", chain_of(&error));
    }
    assert_eq!(bench.listing(), before);
    bench.assert_nothing_held();
}

/// A scratch that is dropped is detached; what is in it can be attached again.
pub fn a_scratch_that_is_dropped_is_detached(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let folder = bench.path("scratch");
    let storage = bench.storage();
    drop(ScratchLayer::create(storage, &folder, &chain, &ScratchOptions::default()).expect("it is new"));
    bench.assert_nothing_held();
    let again = ScratchLayer::open(storage, &folder, &chain).expect("it is not attached");
    if let Err(error) = again.destroy() {
        panic!("{}", chain_of(&error));
    }
    assert!(!folder.exists());
    bench.assert_nothing_held();
}

/// A scratch over parents that are not there leaves nothing.
pub fn a_scratch_over_missing_parents_leaves_nothing(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let mut parents = bench.above(&upper).parents().to_vec();
    parents[0].path = bench.path("nowhere");
    let before = bench.listing();
    let result = ScratchLayer::create(
        bench.storage(),
        &bench.path("scratch"),
        &LayerChain::from_parents(parents),
        &ScratchOptions::default(),
    );
    let error = result.expect_err("a parent is missing");
    assert!(matches!(error, Error::Step { .. } | Error::MissingParent { .. }), "{}", chain_of(&error));
    assert_eq!(bench.listing(), before);
    bench.assert_nothing_held();
}

/// Whichever call fails on the way to a scratch, nothing stays, and the error is the one of that call.
pub fn a_scratch_that_fails_at_any_call_leaves_nothing(bench: &impl Bench) {
    let (_, upper) = bench.two_layers();
    let chain = bench.above(&upper);
    let before = bench.listing();
    let calls = [
        "CreateVirtualDisk",
        "HcsFormatWritableLayerVhd",
        "AttachVirtualDisk",
        "HcsGetLayerVhdMountPath",
        "HcsInitializeWritableLayer",
        "HcsAttachLayerStorageFilter",
    ];
    for call in calls {
        // ERROR_FILE_CORRUPT: nothing that anybody tries again.
        assert!(bench.fail(call, 1, 0x8007_0570), "calls of this storage can be made to fail");
        let result =
            ScratchLayer::create(bench.storage(), &bench.path("scratch"), &chain, &ScratchOptions::default());
        let error = result.err().unwrap_or_else(|| panic!("{call} failed"));
        assert_eq!(error.hresult().0, 0x8007_0570, "{call}: {}", chain_of(&error));
        assert!(
            matches!(&error, Error::Step { undo, .. } if undo.is_empty()),
            "{call}: {}",
            chain_of(&error)
        );
        assert_eq!(bench.listing(), before, "{call}");
        bench.assert_nothing_held();
    }
    // The failures were those that were asked for.
    let scratch =
        ScratchLayer::create(bench.storage(), &bench.path("scratch"), &chain, &ScratchOptions::default())
            .unwrap_or_else(|error| panic!("{}", chain_of(&error)));
    assert!(scratch.destroy().is_ok());
}

/// The tar of a layer.
fn archive(bench: &impl Bench, content: &[Item]) -> Vec<u8> {
    let folder = bench.transport("archive.transport", content);
    let mut reader = TransportReader::open(&folder, ReadOptions::strict()).expect("it is complete");
    let mut tar = TarWriter::new(Vec::new());
    copy_to_tar(&mut reader, &mut tar).expect("it has a form in a tar");
    tar.finish().expect("memory takes it")
}

/// A layer from its archive, over a parent.
pub fn a_layer_comes_from_its_archive(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let chain = bench.above(&base);
    let content = [Item::file("Files/added.txt", b"added"), Item::removed("Files/Windows/old.txt")];
    let archive = archive(bench, &content);
    let layer = bench.path("layer");
    import_archive(bench.storage(), &layer, archive.as_slice(), &chain, &ImportArchiveOptions::default())
        .unwrap_or_else(|error| panic!("{}", chain_of(&error)));
    if bench.storage().layer_form() == LayerForm::Files {
        assert_eq!(std::fs::read(layer.join("Files/added.txt")).ok().as_deref(), Some(&b"added"[..]));
    }
    let above = chain.child(bench.storage().layer_id(&layer).expect("it has a name"), &layer);
    let scratch = bench.scratch("scratch", &above);
    bench.storage().attach_layer_storage_filter(&scratch, &above).expect("the layer is whole");
    bench.storage().detach_layer_storage_filter(&scratch).expect("it is attached");
    bench.release_disk("scratch");
    bench.assert_nothing_held();
}

/// An archive that is cut off leaves nothing.
pub fn an_archive_that_is_cut_off_leaves_nothing(bench: &impl Bench) {
    let base = bench.layer("base", &base_content(), &LayerChain::base());
    let chain = bench.above(&base);
    let archive = archive(bench, &[Item::file("Files/large", &[1; 50_000])]);
    let before = bench.listing();
    let cut = &archive[..archive.len() - 30_000];
    let result =
        import_archive(bench.storage(), &bench.path("layer"), cut, &chain, &ImportArchiveOptions::default());
    assert!(result.is_err());
    assert_eq!(bench.listing(), before);
    bench.assert_nothing_held();
}
