//! Layout directories: whole files or none, several writers at once, names.

mod common;

use std::fs;
use std::io::Write;
use std::time::Duration;

use layerstone_oci::{BlobWriter, Descriptor, Digest, Error, Layout, MediaType, limits};

#[cfg(target_os = "linux")]
use common::{image, layer_tar, run, skopeo, tool};

fn new_layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    (dir, layout)
}

#[test]
fn a_new_layout_can_be_opened_and_created_again() {
    let (_dir, layout) = new_layout();
    let digest = layout.put_blob_bytes(b"kept").unwrap();
    layout.set_image("a", &Descriptor::new(MediaType::OCI_MANIFEST, digest, 4)).unwrap();
    let again = Layout::create(layout.root()).unwrap();
    assert!(again.has_blob(&digest).unwrap());
    assert_eq!(Layout::open(layout.root()).unwrap().images().unwrap().len(), 1);
}

#[test]
fn what_is_no_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Layout::open(dir.path()), Err(Error::NotALayout { .. })));
    for bad in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#, r#"{"imageLayoutVersion":1}"#] {
        fs::write(dir.path().join("oci-layout"), bad).unwrap();
        assert!(matches!(Layout::open(dir.path()), Err(Error::NotALayout { .. })), "{bad}");
    }
}

#[test]
fn blobs_appear_whole_and_under_their_digest() {
    let (_dir, layout) = new_layout();
    let mut writer = layout.blob_writer().unwrap();
    writer.write_all(b"hello ").unwrap();
    writer.write_all(b"world").unwrap();
    assert_eq!(layout.blobs().unwrap(), []);
    let (digest, size) = writer.commit().unwrap();
    assert_eq!((digest, size), (Digest::of(b"hello world"), 11));
    assert_eq!(layout.blobs().unwrap(), [digest]);
    assert_eq!(fs::read(layout.blob_path(&digest)).unwrap(), b"hello world");
    assert_eq!(layout.put_blob_bytes(b"hello world").unwrap(), digest);
    assert!(layout.remove_blob(&digest).unwrap());
    assert!(!layout.remove_blob(&digest).unwrap());
    assert!(matches!(layout.open_blob(&digest), Err(Error::BlobMissing { .. })));
}

#[test]
fn a_dropped_or_wrong_blob_leaves_nothing() {
    let (dir, layout) = new_layout();
    let staging = dir.path().join("staging");
    fs::create_dir(&staging).unwrap();
    let write = |writer: std::result::Result<BlobWriter, Error>| {
        let mut writer = writer.unwrap();
        writer.write_all(b"x").unwrap();
        writer
    };
    drop(write(layout.blob_writer()));
    drop(write(layout.blob_writer_in(&staging)));
    let wrong = write(layout.blob_writer()).commit_as(&Digest::of(b"y"), Some(1));
    assert!(matches!(wrong, Err(Error::Verify { .. })));
    let short = write(layout.blob_writer()).commit_as(&Digest::of(b"x"), Some(2));
    assert!(short.unwrap_err().to_string().contains("too short"));
    assert_eq!(fs::read_dir(layout.root().join("blobs/sha256")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
    write(layout.blob_writer_in(&staging)).commit_as(&Digest::of(b"x"), Some(1)).unwrap();
    assert!(layout.has_blob(&Digest::of(b"x")).unwrap());
}

#[test]
fn a_damaged_blob_is_found_and_mended_by_storing_it_again() {
    let (_dir, layout) = new_layout();
    let digest = layout.put_blob_bytes(b"content").unwrap();
    let descriptor = Descriptor::new(MediaType::OCI_CONFIG, digest, 7);
    fs::write(layout.blob_path(&digest), b"c0ntent").unwrap();
    let error = layout.read_small_blob(&descriptor, 100).unwrap_err();
    assert!(error.to_string().contains(&digest.to_string()), "{error}");
    layout.put_blob_bytes(b"content").unwrap();
    assert_eq!(layout.read_small_blob(&descriptor, 100).unwrap(), b"content");
    assert!(matches!(layout.read_small_blob(&descriptor, 6), Err(Error::TooLarge { .. })));
    let lies = Descriptor::new(MediaType::OCI_CONFIG, digest, 1 << 60);
    assert!(matches!(layout.read_small_blob(&lies, limits::MAX_CONFIG_SIZE), Err(Error::TooLarge { .. })));
}

#[test]
fn names_stand_for_one_image_each() {
    let (_dir, layout) = new_layout();
    let descriptor = |content: &[u8]| {
        Descriptor::new(
            MediaType::OCI_MANIFEST,
            layout.put_blob_bytes(content).unwrap(),
            content.len() as u64,
        )
    };
    layout.set_image("one", &descriptor(b"1")).unwrap();
    layout.set_image("example.com/two:3", &descriptor(b"2")).unwrap();
    layout.set_image("one", &descriptor(b"3")).unwrap();
    let names: Vec<String> = layout.images().unwrap().into_iter().map(|image| image.name).collect();
    assert_eq!(names, ["one", "example.com/two:3"]);
    assert_eq!(layout.find("one").unwrap().unwrap().digest, Digest::of(b"3"));
    assert!(layout.remove_image("one").unwrap());
    assert!(!layout.remove_image("one").unwrap());
    assert_eq!(layout.find("one").unwrap(), None);
    for bad in ["", "a b", "a\n", &"x".repeat(300)] {
        assert!(matches!(layout.set_image(bad, &descriptor(b"1")), Err(Error::InvalidName { .. })));
    }
    let absent = Descriptor::of(MediaType::OCI_MANIFEST, b"not stored");
    assert!(matches!(layout.set_image("x", &absent), Err(Error::BlobMissing { .. })));
}

#[test]
fn a_failed_change_of_the_index_writes_nothing() {
    let (_dir, layout) = new_layout();
    let before = fs::read(layout.root().join("index.json")).unwrap();
    let result: Result<(), Error> = layout.update_index(|index| {
        index.manifests.push(Descriptor::of(MediaType::OCI_MANIFEST, b""));
        Err(Error::NoImages { place: "here".into() })
    });
    assert!(result.is_err());
    assert_eq!(fs::read(layout.root().join("index.json")).unwrap(), before);
}

const CHILD: &str = "LAYERSTONE_OCI_TEST_LAYOUT";

/// Run by the next test in processes of their own; by itself it has nothing to do.
#[test]
fn child_that_names_images() {
    let Some(root) = std::env::var_os(CHILD) else { return };
    let layout = Layout::create(root).unwrap();
    let digest = layout.put_blob_bytes(b"{}").unwrap();
    for n in 0..20 {
        let name = format!("p{}-{n}", std::process::id());
        layout.set_image(&name, &Descriptor::new(MediaType::OCI_MANIFEST, digest, 2)).unwrap();
    }
}

#[test]
fn several_processes_name_images_without_losing_any() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("shared");
    let mut children: Vec<_> = (0..5)
        .map(|_| {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "child_that_names_images"]).env(CHILD, &root);
            command.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let layout = Layout::open(&root).unwrap();
    assert_eq!(layout.images().unwrap().len(), 100);
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp-")), "{left:?}");
}

#[test]
fn temporaries_of_killed_processes_are_swept_by_age() {
    let (_dir, layout) = new_layout();
    fs::write(layout.root().join("blobs/sha256/.tmp-dead"), b"x").unwrap();
    fs::write(layout.root().join(".tmp-dead"), b"x").unwrap();
    assert_eq!(layout.remove_stale_temporaries(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(layout.remove_stale_temporaries(Duration::ZERO).unwrap(), 2);
}

#[test]
fn the_index_is_read_whole_while_others_change_it() {
    let (_dir, layout) = new_layout();
    let digest = layout.put_blob_bytes(b"{}").unwrap();
    let image = Descriptor::new(MediaType::OCI_MANIFEST, digest, 2);
    layout.set_image("first", &image).unwrap();
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..500 {
                    assert!(layout.find("first").unwrap().is_some());
                }
            });
        }
        for n in 0..50 {
            layout.set_image(&format!("n{n}"), &image).unwrap();
        }
    });
    assert_eq!(layout.images().unwrap().len(), 51);
}

/// Both are programs of Linux.
#[cfg(target_os = "linux")]
#[test]
fn skopeo_and_umoci_read_our_layouts_and_we_read_theirs() {
    let test = "skopeo_and_umoci_read_our_layouts_and_we_read_theirs";
    let (Some(mut inspect), Some(mut copy), Some(mut list), Some(mut unpack)) =
        (skopeo(test), skopeo(test), tool(test, "umoci"), tool(test, "umoci"))
    else {
        return;
    };
    let (dir, layout) = new_layout();
    let image = image("linux/amd64", &[layer_tar("a.txt", b"first"), layer_tar("b.txt", b"second")]);
    image.store(&layout);
    layout.set_image("test", &image.manifest.descriptor()).unwrap();

    let root = layout.root().to_str().unwrap().to_owned();
    let told = run(inspect.args(["inspect", &format!("oci:{root}:test")]));
    assert!(told.contains(&image.manifest.digest().to_string()), "{told}");
    assert_eq!(run(list.args(["ls", "--layout", &root])).trim(), "test");
    let bundle = dir.path().join("bundle");
    run(unpack.args(["unpack", "--rootless", "--image", &format!("{root}:test")]).arg(&bundle));
    assert_eq!(fs::read(bundle.join("rootfs/b.txt")).unwrap(), b"second");

    let theirs = dir.path().join("theirs");
    run(copy.args(["copy", &format!("oci:{root}:test"), &format!("oci:{}:again", theirs.display())]));
    let source = layerstone_oci::open_source(&theirs, dir.path()).unwrap();
    assert_eq!(source.resolve(Some("again"), None).unwrap().manifest, image.manifest);
}
