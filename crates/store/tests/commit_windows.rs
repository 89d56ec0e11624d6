//! A scratch over a Windows image, changed by a Linux kernel: the committed layer is one that Windows understands.

#![cfg(target_os = "linux")]

#[path = "common/build.rs"]
mod build;

use std::io::Read as _;

use build::{Item, Mounts, THEN, World, can, committed_then, dir, file, item, names, sh, skip, tar};
use layerstone_layer::view::{LayerView as _, Node, NodeKind};
use layerstone_layer::{EntryKind, Finding, LayerPath, UnixTime};
use layerstone_nt::security::{SecurityDescriptor, default_descriptor, inherit};
use layerstone_nt::{BasicInfo, Ea, FileAttributes, FileTime, WindowsMetadata};
use layerstone_store::{Store, StoredImage};

const CREATED: FileTime = FileTime(130_000_000_000_000_000);

fn descriptor() -> SecurityDescriptor {
    let text = "O:BAG:SYD:(A;OICI;FA;;;SY)(A;OICI;0x1200a9;;;BU)";
    layerstone_nt::sddl::parse(text).unwrap()
}

fn windows((mut entry, bytes): Item, attributes: u32) -> Item {
    let then = FileTime::from_unix(THEN).unwrap();
    let basic = BasicInfo {
        creation: CREATED,
        last_access: then,
        last_write: then,
        change: then,
        attributes: FileAttributes(attributes),
    };
    entry.meta.windows = Some(Box::new(WindowsMetadata {
        basic,
        security_descriptor: Some(descriptor().to_bytes().unwrap()),
        eas: if attributes & 0x10 == 0 { vec![Ea::new("KEEP", "me")] } else { Vec::new() },
        reparse: None,
    }));
    (entry, bytes)
}

fn stream(path: &str, name: &str, bytes: &str) -> Item {
    let kind = EntryKind::Stream { name: name.into(), size: bytes.len() as u64 };
    let (entry, _) = item(path, kind, 0);
    (entry, bytes.into())
}

fn base(world: &World) -> StoredImage {
    let layer = tar(&[
        windows(dir("Files"), 0x10),
        windows(dir("Files/Windows"), 0x10),
        windows(file("Files/Windows/edited.txt", "before"), 0x21),
        windows(file("Files/Windows/replaced.txt", "before"), 0x22),
        windows(file("Files/Windows/removed.txt", "gone"), 0x20),
        windows(file("Files/Windows/streams.txt", "main"), 0x20),
        stream("Files/Windows/streams.txt", "second", "more"),
        windows(dir("Files/Emptied"), 0x10),
        windows(file("Files/Emptied/a", "a"), 0x20),
        windows(file("Files/Emptied/b", "b"), 0x20),
        windows(dir("Hives"), 0x10),
    ]);
    world.image("windows:1", "windows/amd64:10.0.20348.1", &[layer], false)
}

fn node(store: &Store, image: &StoredImage, path: &str) -> Option<Node> {
    let view = store.merged(&image.chain_ids(), image.os()).unwrap();
    view.resolve(&LayerPath::from(path), false).unwrap().map(|merged| merged.node)
}

fn windows_of(node: &Node) -> &WindowsMetadata {
    node.meta.windows.as_ref().expect("Windows metadata")
}

#[test]
fn a_windows_scratch_keeps_and_gains_windows_metadata() {
    let test = "a_windows_scratch_keeps_and_gains_windows_metadata";
    if !can(test, true, &["tar"]) {
        return;
    }
    let world = World::new();
    let image = base(&world);
    let scratch = world.store.create_scratch("work", &image).unwrap();
    {
        let mut mounts = Mounts::default();
        let merged = match mounts.scratch(&world, &scratch) {
            Ok(merged) => merged,
            Err(error) => return skip(test, &format!("the host cannot mount: {error}")),
        };
        sh(
            &merged,
            "cd Files
             echo after >> Windows/edited.txt; touch -d @1700000000.5 Windows/edited.txt
             echo after > Windows/x; touch -d @1700000000 Windows/x; mv Windows/x Windows/replaced.txt
             rm Windows/removed.txt
             chmod 600 Windows/streams.txt; touch -d @1700000000 Windows/streams.txt
             rm -r Emptied; mkdir Emptied; echo c > Emptied/c
             mkdir New; echo n > New/file; ln -s ../Windows New/link; ln -s nothing New/broken
             echo x > 'New/bad?name'; mkfifo New/pipe
             ln Windows/edited.txt Windows/hard.txt",
        );
    }
    let outcome = world.store.commit(&scratch, "windows:2", &committed_then()).unwrap();
    let (store, image) = (&world.store, &outcome.image);
    assert_eq!(outcome.report.count(Finding::WindowsName), 1, "{:?}", outcome.report);
    assert_eq!(outcome.report.count(Finding::UnsupportedType), 1);
    assert_eq!(outcome.report.count(Finding::WindowsDeviation), 0, "{:?}", outcome.report);
    let parent = descriptor().to_bytes().unwrap();
    let at =
        |seconds, nanoseconds| FileTime::from_unix(UnixTime::new(seconds, nanoseconds).unwrap()).unwrap();

    let edited = node(store, image, "Files/Windows/edited.txt").unwrap();
    let metadata = windows_of(&edited);
    assert_eq!(edited.nlink, 2);
    assert_eq!(metadata.basic.last_write, at(1_700_000_000, 500_000_000));
    assert_eq!((metadata.basic.creation, metadata.basic.attributes), (CREATED, FileAttributes(0x21)));
    assert_eq!(metadata.eas, [Ea::new("KEEP", "me")]);

    let replaced = node(store, image, "Files/Windows/replaced.txt").unwrap();
    let metadata = windows_of(&replaced);
    assert_eq!(metadata.basic.last_write, at(1_700_000_000, 0));
    assert_eq!((metadata.basic.creation, metadata.basic.attributes), (CREATED, FileAttributes(0x22)));
    assert_eq!(metadata.security_descriptor.as_ref(), Some(&parent));
    assert_eq!(metadata.eas, [Ea::new("KEEP", "me")]);

    let new = node(store, image, "Files/New").unwrap();
    let inherited = inherit(&descriptor(), true).to_bytes().unwrap();
    assert_eq!(windows_of(&new).security_descriptor.as_ref(), Some(&inherited));
    assert_eq!(windows_of(&new).basic.attributes, FileAttributes(0x10));
    let file = node(store, image, "Files/New/file").unwrap();
    let below = inherit(&inherit(&descriptor(), true), false).to_bytes().unwrap();
    assert_eq!(windows_of(&file).security_descriptor.as_ref(), Some(&below));
    assert_ne!(below, default_descriptor(false).to_bytes().unwrap());
    assert_eq!(windows_of(&file).basic.attributes, FileAttributes(0x20));

    let link = node(store, image, "Files/New/link").unwrap();
    assert!(matches!(link.kind, NodeKind::Symlink { .. }));
    assert_eq!(windows_of(&link).basic.attributes, FileAttributes(0x430));
    let target = windows_of(&link).reparse.as_ref().unwrap().target().unwrap();
    assert_eq!(target.to_utf8().unwrap(), "..\\Windows");
    let broken = node(store, image, "Files/New/broken").unwrap();
    assert_eq!(windows_of(&broken).basic.attributes, FileAttributes(0x420));

    assert!(node(store, image, "Files/Windows/removed.txt").is_none());
    assert!(node(store, image, "Files/Emptied/a").is_none());
    assert!(node(store, image, "Files/Emptied/c").is_some());

    let view = store.merged(&image.chain_ids(), image.os()).unwrap();
    let found = view.resolve(&"Files/Windows/streams.txt".into(), false).unwrap().unwrap();
    assert_eq!(found.node.streams, [(b"second".to_vec(), 4)]);
    let (layer, id) = found.sources[0];
    assert_eq!(layer, 0, "it is in the new layer");
    let mut bytes = String::new();
    view.layers()[layer].open(&id, Some(b"second")).unwrap().read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "more");

    let mut archive = Vec::new();
    store.layer(&outcome.layer.unwrap().chain_id).unwrap().write_archive(&mut archive).unwrap();
    let names = names(&archive);
    for expected in
        ["Files", "Files/Emptied/.wh.a", "Files/Windows/.wh.removed.txt", "Files/Windows/streams.txt:second"]
    {
        assert!(names.iter().any(|name| name.trim_end_matches('/') == expected), "{expected}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains(".wh..wh..opq") || name.contains("Hives")), "{names:?}");
    // And what has been committed changes nothing more.
    assert_eq!(
        world
            .store
            .commit(&store.create_scratch("again", image).unwrap(), "again", &committed_then())
            .unwrap()
            .layer,
        None
    );
}
