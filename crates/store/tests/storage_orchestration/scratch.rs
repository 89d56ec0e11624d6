//! Scratches.

use std::fs;

use layerstone_hcs::{ErrorKind, LayerChain};
use layerstone_store::storage::{
    DetachedScratch, Error, LayerStorage as _, NewDisk, ScratchDisk, ScratchLayer, ScratchOptions,
};

use crate::fake::{ACCESS_DENIED, DO_NOT_DETACH, Fake, NOT_READY, PATH_NOT_FOUND};
use crate::logged::warnings;
use crate::{failed_step, fails_at_every_call};

const VOLUME: &str = r"\\?\Volume{00000001-0000-4000-8000-000000000000}\";
const GIB: u64 = 1 << 30;

/// A storage with a layer over a base layer; the base has blank disks.
fn with_blank() -> Fake {
    let fake = without_blank();
    let base = fake.path("base");
    let disk = fake.create_disk(&base.join("blank-base.vhdx"), &NewDisk::Empty { size: 20 * GIB }).unwrap();
    fake.format_writable_layer_vhd(&disk).unwrap();
    drop(disk);
    let parent = base.join("blank-base.vhdx");
    fake.create_disk(&base.join("blank.vhdx"), &NewDisk::Differencing { parent }).unwrap();
    fake.calls();
    fake
}

fn without_blank() -> Fake {
    let fake = Fake::windows();
    fs::create_dir(fake.path("base")).unwrap();
    fs::create_dir(fake.path("layer")).unwrap();
    fake
}

fn folders() -> Fake {
    let fake = Fake::folders();
    fs::create_dir(fake.path("base")).unwrap();
    fs::create_dir(fake.path("layer")).unwrap();
    fake
}

fn chain(fake: &Fake) -> LayerChain {
    fake.parents(&["layer", "base"])
}

fn create<'a>(fake: &'a Fake, options: &ScratchOptions) -> Result<ScratchLayer<'a, Fake>, Error> {
    ScratchLayer::create(fake, &fake.path("scratch"), &chain(fake), options)
}

fn disk(disk: ScratchDisk) -> ScratchOptions {
    ScratchOptions { disk, ..ScratchOptions::default() }
}

const ATTACH: [&str; 3] = [
    "open_disk scratch/sandbox.vhdx",
    "attach_disk scratch/sandbox.vhdx",
    "layer_vhd_mount_path scratch/sandbox.vhdx",
];

fn initialize_and_filter() -> [String; 3] {
    [
        format!("initialize_writable_layer {VOLUME} over [layer, base]"),
        "close_disk scratch/sandbox.vhdx".to_owned(),
        format!("attach_layer_storage_filter {VOLUME} over [layer, base]"),
    ]
}

fn calls(parts: &[&[&str]], end: &[String]) -> Vec<String> {
    let start = parts.iter().flat_map(|part| part.iter().map(|call| (*call).to_owned()));
    start.chain(end.iter().cloned()).collect()
}

#[test]
fn a_scratch_is_a_copy_of_the_base_layers_blank_disk_and_is_attached_in_the_documented_order() {
    for options in [ScratchOptions::default(), disk(ScratchDisk::CopyOfBlank)] {
        let fake = with_blank();
        let scratch = create(&fake, &options).unwrap();
        assert_eq!(fake.calls(), calls(&[&ATTACH], &initialize_and_filter()));
        assert_eq!(scratch.mount_path().to_str(), Some(VOLUME));
        assert_eq!(fake.tree("scratch"), ["sandbox.vhdx"]);
        assert_eq!(fake.in_use(), ["attached scratch/sandbox.vhdx".to_owned(), format!("filter {VOLUME}")]);
    }
}

#[test]
fn a_copied_disk_is_made_larger_before_anything_attaches_it() {
    let fake = with_blank();
    let options = ScratchOptions { size: Some(40 * GIB), ..ScratchOptions::default() };
    let scratch = create(&fake, &options).unwrap();
    let expand = ["expand_scratch scratch 42949672960"];
    assert_eq!(fake.calls(), calls(&[&expand, &ATTACH], &initialize_and_filter()));
    assert!(fs::read_to_string(scratch.folder().join("sandbox.vhdx")).unwrap().contains("size=42949672960"));
}

#[test]
fn a_differencing_disk_lies_over_the_blank_disk_which_stays_as_it_is() {
    let fake = with_blank();
    let before = fs::read(fake.path("base/blank.vhdx")).unwrap();
    let scratch = create(&fake, &disk(ScratchDisk::DifferencingOfBlank)).unwrap();
    let make = ["create_disk scratch/sandbox.vhdx on base/blank.vhdx", "close_disk scratch/sandbox.vhdx"];
    assert_eq!(fake.calls(), calls(&[&make, &ATTACH], &initialize_and_filter()));
    drop(scratch);
    assert_eq!(fs::read(fake.path("base/blank.vhdx")).unwrap(), before);
}

#[test]
fn without_a_blank_disk_an_empty_one_is_made_and_formatted() {
    for (fake, options, size) in [
        (without_blank(), ScratchOptions::default(), 20 * GIB),
        (with_blank(), disk(ScratchDisk::Empty), 20 * GIB),
        (without_blank(), ScratchOptions { size: Some(GIB), ..ScratchOptions::default() }, GIB),
    ] {
        let _scratch = create(&fake, &options).unwrap();
        let create = format!("create_disk scratch/sandbox.vhdx empty {size}");
        let make = [
            create.as_str(),
            "close_disk scratch/sandbox.vhdx",
            "open_disk scratch/sandbox.vhdx",
            "format_writable_layer_vhd scratch/sandbox.vhdx",
        ];
        assert_eq!(fake.calls(), calls(&[&make, &ATTACH[1..]], &initialize_and_filter()));
    }
}

#[test]
fn the_blank_disk_is_found_in_any_case_and_must_be_a_file() {
    let fake = with_blank();
    fs::rename(fake.path("base/blank.vhdx"), fake.path("base/Blank.VHDX")).unwrap();
    create(&fake, &disk(ScratchDisk::CopyOfBlank)).unwrap().destroy().unwrap();

    fs::remove_file(fake.path("base/Blank.VHDX")).unwrap();
    for from in [ScratchDisk::CopyOfBlank, ScratchDisk::DifferencingOfBlank] {
        let error = create(&fake, &disk(from)).unwrap_err();
        assert_eq!(failed_step(&error).0, "find the base layer's blank disk");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!fake.path("scratch").exists());
    }
    fs::create_dir(fake.path("base/blank.vhdx")).unwrap();
    let error = create(&fake, &ScratchOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!fake.path("scratch").exists());
}

#[test]
fn a_scratch_in_a_folder_is_initialized_and_attached() {
    let fake = folders();
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    let expected = [
        "initialize_writable_layer scratch over [layer, base]",
        "attach_layer_storage_filter scratch over [layer, base]",
    ];
    assert_eq!(fake.calls(), expected);
    assert_eq!(scratch.mount_path(), fake.path("scratch"));
    drop(scratch);
    assert_eq!(fake.calls(), ["detach_layer_storage_filter scratch"]);
}

/// What a failed creation leaves: the parents, and nothing of the scratch.
fn nothing_is_left(fake: &Fake, what: &str) {
    assert!(!fake.path("scratch").exists(), "{what}: {:?}", fake.tree("scratch"));
}

#[test]
fn a_scratch_that_cannot_be_made_leaves_nothing_whichever_call_fails() {
    let act = |options: ScratchOptions| {
        move |fake: &Fake| create(fake, &options).map(|scratch| drop(scratch.keep()))
    };
    let end = ["initialize the scratch", "close the disk", "attach the filter"];
    let attach = ["open the disk", "attach the disk", "find the disk's volume"];
    let copied = [attach, end].concat();
    fails_at_every_call(&copied, with_blank, act(ScratchOptions::default()), nothing_is_left);

    let larger = [&["make the disk larger"][..], &copied].concat();
    let options = ScratchOptions { size: Some(40 * GIB), ..ScratchOptions::default() };
    fails_at_every_call(&larger, with_blank, act(options), nothing_is_left);

    let differencing = [&["create the disk", "close the disk"][..], &copied].concat();
    let options = disk(ScratchDisk::DifferencingOfBlank);
    fails_at_every_call(&differencing, with_blank, act(options), nothing_is_left);

    let start = ["create the disk", "close the disk", "open the disk", "format the disk"];
    let empty = [&start[..], &attach[1..], &end].concat();
    fails_at_every_call(&empty, without_blank, act(ScratchOptions::default()), nothing_is_left);

    let folder = ["initialize the scratch", "attach the filter"];
    fails_at_every_call(&folder, folders, act(ScratchOptions::default()), nothing_is_left);
}

#[test]
fn what_was_done_is_undone_in_exactly_the_reverse_order() {
    let fake = without_blank();
    fake.fail_function("attach_layer_storage_filter", 1, ACCESS_DENIED);
    create(&fake, &ScratchOptions::default()).unwrap_err();
    let calls = fake.calls();
    let undone = calls.iter().skip_while(|call| !call.starts_with("attach_layer")).skip(1);
    assert_eq!(
        undone.collect::<Vec<_>>(),
        [
            "open_disk scratch/sandbox.vhdx",
            "detach_disk scratch/sandbox.vhdx",
            "close_disk scratch/sandbox.vhdx"
        ]
    );

    let fake = without_blank();
    fake.fail_function("initialize_writable_layer", 1, ACCESS_DENIED);
    create(&fake, &ScratchOptions::default()).unwrap_err();
    let calls = fake.calls();
    let undone = calls.iter().skip_while(|call| !call.starts_with("initialize")).skip(1);
    assert_eq!(
        undone.collect::<Vec<_>>(),
        ["detach_disk scratch/sandbox.vhdx", "close_disk scratch/sandbox.vhdx"]
    );
}

#[test]
fn when_undoing_fails_both_errors_are_told_and_the_rest_is_still_undone() {
    let fake = with_blank();
    fake.fail_function("initialize_writable_layer", 1, PATH_NOT_FOUND);
    fake.fail_function("detach_disk", 1, ACCESS_DENIED);
    let error = create(&fake, &ScratchOptions::default()).unwrap_err();
    assert_eq!(error.hresult(), PATH_NOT_FOUND);
    let (step, _, undo) = failed_step(&error);
    assert_eq!(
        (step, undo.as_slice()),
        ("initialize the scratch", &[("detach the disk", ACCESS_DENIED)][..])
    );
    assert!(error.to_string().contains("afterwards, cannot detach the disk"), "{error}");
    // The disk is still attached, as the error says, but no handle keeps it open.
    assert_eq!(fake.in_use(), ["attached scratch/sandbox.vhdx"]);
}

#[test]
fn a_folder_with_something_in_it_is_refused_and_an_empty_one_is_left_empty() {
    for fake in [with_blank(), folders()] {
        fs::create_dir(fake.path("scratch")).unwrap();
        fake.fail_function("attach_layer_storage_filter", 1, ACCESS_DENIED);
        create(&fake, &ScratchOptions::default()).unwrap_err();
        assert!(fake.path("scratch").is_dir());
        assert_eq!(fake.tree("scratch"), [""; 0]);

        fs::write(fake.path("scratch/mine"), "kept").unwrap();
        fake.calls();
        let error = create(&fake, &ScratchOptions::default()).unwrap_err();
        assert_eq!((failed_step(&error).0, error.kind()), ("make the folder", ErrorKind::AlreadyExists));
        assert_eq!(fake.calls(), [""; 0]);
        assert_eq!(fs::read_to_string(fake.path("scratch/mine")).unwrap(), "kept");
    }
}

#[test]
fn a_disk_without_a_volume_path_is_an_error_and_is_detached() {
    let fake = with_blank();
    fake.hide_volumes();
    let error = create(&fake, &ScratchOptions::default()).unwrap_err();
    assert_eq!(failed_step(&error).0, "find the disk's volume");
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(fake.in_use(), [""; 0]);
    nothing_is_left(&fake, "no volume");
}

#[test]
fn a_scratch_without_parents_is_refused_before_anything_is_called() {
    let fake = with_blank();
    let error =
        ScratchLayer::create(&fake, &fake.path("scratch"), &LayerChain::base(), &ScratchOptions::default())
            .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(fake.calls(), [""; 0]);
    nothing_is_left(&fake, "no parents");
}

const DETACH: [&str; 3] =
    ["open_disk scratch/sandbox.vhdx", "detach_disk scratch/sandbox.vhdx", "close_disk scratch/sandbox.vhdx"];

fn detach_calls(number: u32) -> Vec<String> {
    let volume = format!(r"\\?\Volume{{{number:08x}-0000-4000-8000-000000000000}}\");
    let filter = format!("detach_layer_storage_filter {volume}");
    std::iter::once(filter).chain(DETACH.map(str::to_owned)).collect()
}

#[test]
fn a_detached_scratch_keeps_its_disk_and_can_be_attached_again() {
    let fake = with_blank();
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    fake.calls();
    let detached = scratch.detach().unwrap();
    assert_eq!(fake.calls(), detach_calls(1));
    assert_eq!(fake.in_use(), [""; 0]);
    assert_eq!(detached, DetachedScratch { folder: fake.path("scratch"), chain: chain(&fake) });

    let scratch = detached.attach(&fake).unwrap();
    let volume = VOLUME.replace('1', "2");
    let filter = format!("attach_layer_storage_filter {volume} over [layer, base]");
    let close = "close_disk scratch/sandbox.vhdx".to_owned();
    assert_eq!(fake.calls(), calls(&[&ATTACH], &[close, filter]), "nothing is initialized again");
    scratch.destroy().unwrap();
    let mut destroyed = detach_calls(2);
    destroyed.push("destroy_layer scratch".to_owned());
    assert_eq!(fake.calls(), destroyed);
    nothing_is_left(&fake, "destroyed");
}

#[test]
fn a_scratch_that_cannot_be_attached_again_stays_as_it_was() {
    let make = |fake: Fake| {
        let made = create(&fake, &ScratchOptions::default()).unwrap();
        made.detach().unwrap();
        fake
    };
    let act = |fake: &Fake| {
        ScratchLayer::open(fake, &fake.path("scratch"), &chain(fake)).map(|scratch| drop(scratch.keep()))
    };
    let steps =
        ["open the disk", "attach the disk", "find the disk's volume", "close the disk", "attach the filter"];
    let kept = |fake: &Fake, what: &str| assert_eq!(fake.tree("scratch"), ["sandbox.vhdx"], "{what}");
    fails_at_every_call(&steps, || make(with_blank()), act, kept);
    let kept = |fake: &Fake, what: &str| assert_eq!(fake.tree("scratch"), ["initialized"], "{what}");
    fails_at_every_call(&["attach the filter"], || make(folders()), act, kept);
}

#[test]
fn a_scratch_is_bound_to_the_parents_that_it_was_made_for() {
    for fake in [with_blank(), folders()] {
        create(&fake, &ScratchOptions::default()).unwrap().detach().unwrap();
        let other = fake.parents(&["base"]);
        let error = ScratchLayer::open(&fake, &fake.path("scratch"), &other).unwrap_err();
        assert_eq!((failed_step(&error).0, error.kind()), ("attach the filter", ErrorKind::InvalidArgument));
        assert_eq!(fake.in_use(), [""; 0]);
    }
}

#[test]
fn a_scratch_that_cannot_be_detached_is_given_back_and_only_what_is_left_is_tried_again() {
    // Each call of a detachment, and whether the filter is gone by then.
    let failing = [
        ("detach_layer_storage_filter", "detach the filter", 0),
        ("open_disk", "open the disk", 1),
        ("detach_disk", "detach the disk", 1),
    ];
    for (function, step, done) in failing {
        let fake = with_blank();
        let scratch = create(&fake, &ScratchOptions::default()).unwrap();
        fake.fail_function(function, 1, ACCESS_DENIED);
        let failed = scratch.detach().unwrap_err();
        assert_eq!(failed_step(&failed.error), (step, fake.path("scratch").as_path(), vec![]));
        assert_eq!(failed.error.hresult(), ACCESS_DENIED);
        assert!(fake.in_use().contains(&"attached scratch/sandbox.vhdx".to_owned()));
        fake.calls();
        failed.scratch.detach().unwrap();
        assert_eq!(fake.calls(), detach_calls(1)[done..]);
        assert_eq!(fake.in_use(), [""; 0]);
    }
    // The last call: the disk is detached by then, and the handle closed for want of anything better.
    let fake = with_blank();
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    fake.fail_function("close_disk", 1, ACCESS_DENIED);
    let failed = scratch.detach().unwrap_err();
    assert_eq!(failed_step(&failed.error).0, "close the disk");
    assert_eq!(fake.in_use(), [""; 0]);
}

#[test]
fn the_disk_is_not_pulled_from_under_a_filter_that_stays() {
    let fake = with_blank();
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    fake.calls();
    fake.fail_function("detach_layer_storage_filter", 1, ACCESS_DENIED);
    let failed = scratch.detach().unwrap_err();
    assert_eq!(fake.calls().len(), 1);
    drop(failed);
}

#[test]
fn a_dropped_scratch_is_detached_and_its_files_stay() {
    let fake = with_blank();
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    fake.calls();
    assert_eq!(warnings(|| drop(scratch)), [""; 0]);
    assert_eq!(fake.calls(), detach_calls(1));
    assert_eq!(fake.in_use(), [""; 0]);
    assert_eq!(fake.tree("scratch"), ["sandbox.vhdx"]);
}

#[test]
fn a_dropped_scratch_that_cannot_be_detached_is_logged_and_nothing_panics() {
    for function in ["detach_layer_storage_filter", "open_disk", "detach_disk", "close_disk"] {
        let fake = with_blank();
        let scratch = create(&fake, &ScratchOptions::default()).unwrap();
        fake.fail_function(function, 1, ACCESS_DENIED);
        let logged = warnings(|| drop(scratch));
        assert_eq!(logged.len(), 1, "{logged:?}");
        assert!(logged[0].contains("a scratch stays attached"), "{logged:?}");
        assert!(logged[0].contains("0x80070005") && logged[0].contains("scratch"), "{logged:?}");
    }
}

#[test]
fn a_kept_scratch_stays_attached_until_somebody_takes_it_over() {
    let fake = with_blank();
    let path = create(&fake, &ScratchOptions::default()).unwrap().keep();
    assert_eq!(path.to_str(), Some(VOLUME));
    assert_eq!(fake.in_use().len(), 2);
    fake.calls();

    let scratch = ScratchLayer::adopt(&fake, &fake.path("scratch"), &chain(&fake)).unwrap();
    assert_eq!(scratch.mount_path(), path);
    scratch.destroy().unwrap();
    assert_eq!(fake.in_use(), [""; 0]);
    nothing_is_left(&fake, "adopted and destroyed");

    let fake = folders();
    let path = create(&fake, &ScratchOptions::default()).unwrap().keep();
    assert_eq!(path, fake.path("scratch"));
    ScratchLayer::adopt(&fake, &path, &chain(&fake)).unwrap().destroy().unwrap();
    nothing_is_left(&fake, "adopted and destroyed");
}

#[test]
fn what_is_not_attached_cannot_be_taken_over() {
    let fake = with_blank();
    create(&fake, &ScratchOptions::default()).unwrap().detach().unwrap();
    let error = ScratchLayer::adopt(&fake, &fake.path("scratch"), &chain(&fake)).unwrap_err();
    assert_eq!((failed_step(&error).0, error.kind()), ("find the disk's volume", ErrorKind::NotFound));
    assert_eq!(fake.in_use(), [""; 0]);
}

#[test]
fn a_scratch_that_is_in_use_is_not_destroyed() {
    let fake = with_blank();
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    fake.fail_function("detach_layer_storage_filter", 2, ACCESS_DENIED);
    let logged = warnings(|| {
        assert_eq!(scratch.destroy().unwrap_err().hresult(), ACCESS_DENIED);
    });
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert_eq!(fake.in_use().len(), 2);
    assert_eq!(fake.tree("scratch"), ["sandbox.vhdx"]);
}

#[test]
fn a_folder_that_stays_although_it_was_destroyed_is_an_error() {
    let fake = with_blank();
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    fake.pretend_to_destroy();
    let error = scratch.destroy().unwrap_err();
    assert!(matches!(&error, Error::StillThere(path) if *path == fake.path("scratch")), "{error:?}");
}

#[test]
fn calls_that_come_too_early_are_repeated_for_a_moment() {
    let fake = with_blank();
    fake.fail_function("attach_disk", 2, NOT_READY);
    fake.fail_function("layer_vhd_mount_path", 1, NOT_READY);
    fake.fail_function("attach_layer_storage_filter", 1, NOT_READY);
    let scratch = create(&fake, &ScratchOptions::default()).unwrap();
    // For this one the storage has waited by itself.
    fake.calls();
    fake.fail_function("detach_layer_storage_filter", 1, DO_NOT_DETACH);
    let failed = scratch.detach().unwrap_err();
    assert_eq!(failed.error.hresult(), DO_NOT_DETACH);
    assert_eq!(fake.calls().len(), 1);
    failed.scratch.detach().unwrap();
    assert_eq!(fake.in_use(), [""; 0]);

    let fake = with_blank();
    fake.fail_function("attach_disk", usize::MAX, NOT_READY);
    let error = create(&fake, &ScratchOptions::default()).unwrap_err();
    assert_eq!(error.hresult(), NOT_READY);
    assert_eq!(fake.calls().iter().filter(|call| call.starts_with("attach_disk")).count(), 5);
    nothing_is_left(&fake, "never ready");
}

#[test]
fn scratches_are_made_at_the_same_time() {
    let fake = with_blank();
    let chain = chain(&fake);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (fake, chain) = (&fake, &chain);
            scope.spawn(move || {
                let folder = fake.path(&format!("scratch-{number}"));
                let scratch = ScratchLayer::create(fake, &folder, chain, &ScratchOptions::default()).unwrap();
                if number % 2 == 0 { scratch.destroy().unwrap() } else { drop(scratch) }
            });
        }
        // Only one of these can have the folder.
        let made: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| create(&fake, &ScratchOptions::default()).map(|scratch| scratch.keep())))
            .collect();
        let made: Vec<_> = made.into_iter().map(|thread| thread.join().unwrap()).collect();
        let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(lost.into_iter().all(|error| error.unwrap_err().kind() == ErrorKind::AlreadyExists));
    });
    ScratchLayer::adopt(&fake, &fake.path("scratch"), &chain).unwrap().destroy().unwrap();
    assert_eq!(fake.in_use(), [""; 0]);
    let left = fake.tree("");
    assert_eq!(left.iter().filter(|path| path.ends_with("sandbox.vhdx")).count(), 8, "{left:?}");
}
