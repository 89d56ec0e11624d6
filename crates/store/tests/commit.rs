//! A scratch becomes a layer: what a mount shows is what other tools unpack from the committed image.

#![cfg(target_os = "linux")]

#[path = "common/build.rs"]
mod build;
#[path = "common/tree.rs"]
mod tree;

use std::fs;
use std::path::Path;

use build::{
    Mounts, World, can, committed_then, dir, file, item, link, names, owned, sh, skip, symlink, tar, umoci,
    xattr,
};
use layerstone_layer::{EntryKind, Finding};
use layerstone_store::{Error, ExportDest, ExportOptions, Scratch, Store, StoredImage, UnpackOptions};

/// An image of two layers with some of everything.
fn varied(world: &World) -> StoredImage {
    let base = tar(&[
        owned(dir("."), 0, 0, 0o755),
        dir("etc"),
        xattr(file("etc/config", "one\n"), "user.note", "kept"),
        file("etc/old", "to be removed"),
        owned(dir("var"), 3, 4, 0o1777),
        dir("var/cache"),
        file("var/cache/a", "a"),
        file("var/cache/b", "b"),
        dir("var/deep"),
        dir("var/deep/er"),
        file("var/deep/er/leaf", "leaf"),
        dir("links"),
        file("links/one", "three names"),
        link("links/three", "links/one"),
        link("links/two", "links/one"),
        symlink("etc/link", "config"),
        item("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666),
        owned(file("bin", "#!/bin/sh\n"), 0, 0, 0o4755),
        dir("replaced-by-file"),
        file("replaced-by-file/x", "x"),
        file("replaced-by-directory", "y"),
    ]);
    let top = tar(&[dir("etc"), file("etc/second", "2"), dir("opt"), file("opt/tool", "tool")]);
    world.image("varied:1", "linux/amd64", &[base, top], true)
}

const CHANGES: &str = r#"
    echo two > etc/config
    rm etc/old
    rm -rf var/cache; mkdir var/cache; echo new > var/cache/fresh
    chmod 0711 opt
    chown 12:34 opt/tool
    touch -d @1234567890.123456789 var/deep/er/leaf
    setfattr -n user.added -v yes bin
    ln links/one links/four
    echo changed >> links/two
    ln -s /nowhere new-link
    mkfifo pipe
    mknod block b 7 9
    rm -r replaced-by-file; echo file > replaced-by-file
    rm replaced-by-directory; mkdir replaced-by-directory; echo z > replaced-by-directory/z
    mkdir -p new/dir; echo fresh > new/dir/file; ln new/dir/file new/hard
    truncate -s 1M new/sparse; echo end >> new/sparse
    chmod 0644 etc/second
    mv etc/link etc/moved
    ln -sfn elsewhere etc/again
"#;

fn mounted(test: &str, world: &World, scratch: &Scratch, mounts: &mut Mounts) -> Option<std::path::PathBuf> {
    match mounts.scratch(world, scratch) {
        Ok(path) => Some(path),
        Err(error) => {
            skip(test, &format!("the host cannot mount: {error}"));
            None
        }
    }
}

fn export_layout(store: &Store, image: &StoredImage, path: &Path) {
    store.export(image, ExportDest::OciLayout(path.to_path_buf()), &ExportOptions::default()).unwrap();
}

/// What a scratch shows without its directory's own times, which `umoci` sets anew on the root.
fn below_root(path: &Path) -> tree::Tree {
    let mut tree = tree::tree(path);
    tree.remove(Path::new(""));
    tree
}

#[test]
fn what_a_mounted_scratch_shows_is_what_umoci_unpacks_from_the_commit() {
    let test = "what_a_mounted_scratch_shows_is_what_umoci_unpacks_from_the_commit";
    if !can(test, true, &["umoci", "setfattr"]) {
        return;
    }
    let world = World::new();
    let image = varied(&world);
    let scratch = world.store.create_scratch("work", &image).unwrap();
    let shown = {
        let mut mounts = Mounts::default();
        let Some(merged) = mounted(test, &world, &scratch, &mut mounts) else { return };
        sh(&merged, CHANGES);
        below_root(&merged)
    };
    let outcome = world.store.commit(&scratch, "work:1", &committed_then()).unwrap();
    let layer = outcome.layer.expect("there are changes");
    assert!(world.store.layer(&layer.chain_id).unwrap().verify(&|_| ()).unwrap().damage.is_empty());
    assert_eq!(
        outcome.image.config.history().last().unwrap().created_by.as_deref(),
        Some("layerstone commit")
    );

    export_layout(&world.store, &outcome.image, &world.path("out"));
    let rootfs = umoci(&world.path("out"), "work:1", &world.path("bundle"));
    tree::assert_same("mount and umoci", &shown, &below_root(&rootfs));

    let unpacked = world.path("unpacked");
    let report = world.store.unpack(&outcome.image, &unpacked, &UnpackOptions::default()).unwrap();
    assert!(report.is_empty(), "{report:?}");
    tree::assert_same("mount and own unpacking", &shown, &below_root(&unpacked));

    let changes = |differences: Vec<layerstone_layer::diff::Difference<_>>| {
        differences.into_iter().map(|d| (d.path, d.change)).collect::<Vec<_>>()
    };
    assert_eq!(
        changes(world.store.diff_scratch(&scratch).unwrap()),
        changes(world.store.diff_images(&image, &outcome.image).unwrap()),
    );
}

#[test]
fn committing_twice_gives_one_layer_and_one_manifest() {
    let world = World::new();
    let image = varied(&world);
    let scratch = world.store.create_scratch("work", &image).unwrap();
    sh(&scratch.upper(), "mkdir -p b a; echo 1 > b/1; echo 2 > a/2; ln a/2 a/1; touch -d @5 a b a/2 b/1 .");
    let first = world.store.commit(&scratch, "first", &committed_then()).unwrap();
    let second = world.store.commit(&scratch, "second", &committed_then()).unwrap();
    assert_eq!(first.layer, second.layer);
    assert_eq!(first.image.manifest.digest(), second.image.manifest.digest());
    // The blob that the manifest names is what the stored layer gives.
    let layer = first.layer.unwrap();
    let descriptor = first.image.manifest.layers().last().unwrap();
    assert_eq!((descriptor.digest, descriptor.size), (layer.diff_id.0, layer.archive_size));
    let options = layerstone_store::CommitOptions { keep_blobs: true, ..committed_then() };
    let kept = world.store.commit(&scratch, "kept", &options).unwrap();
    let blob = kept.image.manifest.layers().last().unwrap();
    assert!(world.store.layout().blob_reader(blob).unwrap().verify_to_end().is_ok());
}

#[test]
fn what_is_only_copied_up_is_no_change() {
    let test = "what_is_only_copied_up_is_no_change";
    if !can(test, true, &[]) {
        return;
    }
    let world = World::new();
    let image = varied(&world);
    let scratch = world.store.create_scratch("work", &image).unwrap();
    {
        let mut mounts = Mounts::default();
        let Some(merged) = mounted(test, &world, &scratch, &mut mounts) else { return };
        // Each is copied up by the first word and put back by the rest.
        sh(
            &merged,
            "chmod 600 etc/config; chmod 644 etc/config; chmod 700 var/deep/er; chmod 755 var/deep/er
             chown 5 links/one; chown 0 links/one; chown -h 5 etc/link; chown -h 0 etc/link; chmod 0 null; chmod 666 null",
        );
    }
    assert!(scratch.upper().join("etc/config").exists());
    let outcome = world.store.commit(&scratch, "same", &committed_then()).unwrap();
    assert_eq!(outcome.layer, None);
    assert!(outcome.report.is_empty());
    assert_eq!(outcome.image.chain_ids(), image.chain_ids());
    assert_eq!(outcome.image.manifest.layers(), image.manifest.layers());
    assert!(outcome.image.config.history().last().unwrap().empty_layer);
    assert!(world.store.diff_scratch(&scratch).unwrap().is_empty());
}

/// The names in the archive of the layer that a script in the upper directory makes.
fn committed_names(world: &World, image: &StoredImage, name: &str, script: &str) -> Vec<String> {
    let scratch = world.store.create_scratch(name, image).unwrap();
    sh(&scratch.upper(), script);
    let outcome = world.store.commit(&scratch, name, &committed_then()).unwrap();
    let mut archive = Vec::new();
    let layer = world.store.layer(&outcome.layer.unwrap().chain_id).unwrap();
    layer.write_archive(&mut archive).unwrap();
    names(&archive)
}

#[test]
fn entries_come_in_one_order_with_whiteouts_first() {
    let test = "entries_come_in_one_order_with_whiteouts_first";
    if !can(test, true, &["setfattr"]) {
        return;
    }
    let world = World::new();
    let image = varied(&world);
    // A directory with what the chain has, so that only its content is a change.
    let unchanged = "mkdir -p etc; touch -d @1600000000 etc .";
    let found = committed_names(
        &world,
        &image,
        "whiteouts",
        &format!("mkdir etc; echo n > etc/a; mknod etc/old c 0 0; mknod etc/nothing c 0 0; {unchanged}"),
    );
    assert_eq!(found, ["etc/", "etc/.wh.old", "etc/a"]);

    let found = committed_names(
        &world,
        &image,
        "opaque",
        "mkdir -p var/cache opt etc; echo n > var/cache/b; setfattr -n trusted.overlay.opaque -v y var/cache
         setfattr -n trusted.overlay.opaque -v y new 2>/dev/null || mkdir new; setfattr -n trusted.overlay.opaque -v y new
         chown 3:4 var; chmod 1777 var; touch -d @1600000000 var opt etc .",
    );
    assert_eq!(found, ["new/", "var/", "var/cache/", "var/cache/.wh..wh..opq", "var/cache/b"]);

    let found = committed_names(
        &world,
        &image,
        "file-whiteout",
        &format!(
            "mkdir etc; : > etc/old; setfattr -n trusted.overlay.whiteout -v y etc/old
             setfattr -n trusted.overlay.opaque -v x etc; {unchanged}"
        ),
    );
    assert_eq!(found, ["etc/", "etc/.wh.old"]);
}

#[test]
fn links_are_never_followed_out_of_a_scratch() {
    let world = World::new();
    let image = varied(&world);
    let secret = world.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    let found = committed_names(
        &world,
        &image,
        "links",
        &format!(
            "ln -s {} etc; ln -s {}/key key; touch -d @1600000000 .",
            secret.display(),
            secret.display()
        ),
    );
    assert_eq!(found, ["etc", "key"]);
}

#[test]
fn sockets_are_reported_and_hide_what_they_replace() {
    let world = World::new();
    let image = varied(&world);
    let scratch = world.store.create_scratch("work", &image).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(scratch.upper().join("bin")).unwrap();
    let outcome = world.store.commit(&scratch, "work", &committed_then()).unwrap();
    assert_eq!(outcome.report.count(Finding::Socket), 1);
    let view = world.store.merged(&outcome.image.chain_ids(), outcome.image.os()).unwrap();
    assert!(view.resolve(&"bin".into(), false).unwrap().is_none());
}

#[test]
fn a_file_that_overlayfs_left_elsewhere_is_refused() {
    let test = "a_file_that_overlayfs_left_elsewhere_is_refused";
    if !can(test, true, &["setfattr"]) {
        return;
    }
    let world = World::new();
    let image = varied(&world);
    let scratch = world.store.create_scratch("work", &image).unwrap();
    sh(&scratch.upper(), "mkdir d; setfattr -n trusted.overlay.redirect -v /var d");
    let error = world.store.commit(&scratch, "work", &committed_then()).unwrap_err();
    let Error::Commit { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(**source, Error::OverlayFeature { .. }), "{source}");
    assert!(world.store.image("work", None).is_err());
    let error = world.store.commit(&scratch, "not a name", &committed_then()).unwrap_err();
    assert!(error.to_string().contains("not a name"), "{error}");
}

/// Run by the test below, once for each step at which the process is killed.
#[test]
#[ignore = "helper: another test starts it"]
fn commit_and_be_killed() {
    let Some(root) = std::env::var_os("COMMIT_TEST_ROOT") else { return };
    let store = Store::open(root).unwrap();
    let scratch = store.scratch("work").unwrap();
    store.commit(&scratch, "work", &committed_then()).unwrap();
}

#[test]
fn a_commit_that_is_killed_can_be_repeated() {
    let world = World::new();
    let image = varied(&world);
    let scratch = world.store.create_scratch("work", &image).unwrap();
    sh(&scratch.upper(), "mkdir -p b; echo 1 > b/1; touch -d @5 b/1 b .");
    for step in [
        "commit-walked",
        "import-finished",
        "import-published",
        "commit-stored",
        "commit-config",
        "commit-done",
    ] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "commit_and_be_killed", "--ignored"]);
        child.env("COMMIT_TEST_ROOT", world.store.root()).env("LAYERSTONE_FAILPOINT", step);
        let status = child.output().unwrap().status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step}");
        // The image is there only when the last step was reached; every layer that is there is whole.
        assert_eq!(world.store.image("work", None).is_ok(), step == "commit-done", "{step}");
        for chain in world.store.layer_ids().unwrap() {
            let verified = world.store.layer(&chain).unwrap().verify(&|_| ()).unwrap();
            assert!(verified.damage.is_empty(), "{step}: {:?}", verified.damage);
        }
    }
    let outcome = world.store.commit(&scratch, "work", &committed_then()).unwrap();
    assert_eq!(world.store.image("work", None).unwrap().manifest, outcome.image.manifest);
}
