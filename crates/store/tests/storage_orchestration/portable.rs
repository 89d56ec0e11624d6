//! The same orders of calls over the portable engine.

use layerstone_hcs::ErrorKind;
use layerstone_store::storage::{
    ImportArchiveOptions, LayerStorage as _, Portable, ScratchLayer, ScratchOptions, import_archive,
    process_base_layer,
};

use crate::failed_step;
use crate::layer_tar::LayerTar;

#[test]
fn layers_are_imported_and_a_scratch_is_made_kept_and_destroyed_without_windows() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let storage = Portable::new().with_runtime_dir(path("run")).without_kernel_views();
    let options = ImportArchiveOptions::default();

    let base = LayerTar::base().file("Files/keep", "keep").finish();
    let none = storage.chain(&[]).unwrap();
    import_archive(&storage, &path("base"), base.as_slice(), &none, &options).unwrap();
    process_base_layer(&storage, &path("base"), &options.base).unwrap();
    let on_base = storage.chain(&[path("base")]).unwrap();
    let layer = LayerTar::layer().link("Files/link", "Files/keep").finish();
    import_archive(&storage, &path("layer"), layer.as_slice(), &on_base, &options).unwrap();

    let chain = storage.chain(&[path("layer"), path("base")]).unwrap();
    let scratch =
        ScratchLayer::create(&storage, &path("scratch"), &chain, &ScratchOptions::default()).unwrap();
    assert_eq!(scratch.mount_path(), Portable::mount_point(&path("scratch")));
    let error = storage.destroy_layer(&path("scratch")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "it is attached");
    let detached = scratch.detach().unwrap();
    let scratch = detached.attach(&storage).unwrap();
    assert_eq!(scratch.keep(), Portable::mount_point(&path("scratch")));
    let scratch = ScratchLayer::adopt(&storage, &path("scratch"), &chain).unwrap();
    scratch.destroy().unwrap();
    assert!(!path("scratch").exists());
}

#[test]
fn a_scratch_that_cannot_be_attached_leaves_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let storage = Portable::new().with_runtime_dir(path("run")).without_kernel_views();
    let base = LayerTar::base().finish();
    let none = storage.chain(&[]).unwrap();
    import_archive(&storage, &path("base"), base.as_slice(), &none, &ImportArchiveOptions::default())
        .unwrap();

    // The parent is not there.
    let chain = storage.chain(&[path("missing"), path("base")]).unwrap();
    let error =
        ScratchLayer::create(&storage, &path("scratch"), &chain, &ScratchOptions::default()).unwrap_err();
    assert_eq!((failed_step(&error).0, error.kind()), ("initialize the scratch", ErrorKind::NotFound));
    assert!(!path("scratch").exists());

    // Folders have no size, and the engine says so instead of ignoring it.
    let chain = storage.chain(&[path("base")]).unwrap();
    let options = ScratchOptions { size: Some(1 << 30), ..ScratchOptions::default() };
    let error = ScratchLayer::create(&storage, &path("scratch"), &chain, &options).unwrap_err();
    assert_eq!((failed_step(&error).0, error.kind()), ("make the scratch larger", ErrorKind::Unsupported));
    assert!(!path("scratch").exists());
}
