//! Images leave the store so that other tools read them, with the same bytes each time.

#[path = "common/build.rs"]
mod build;

use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Command;

use build::{World, dir, file, tar};
#[cfg(target_os = "linux")]
use build::{can, run};
use layerstone_oci::{ArchiveFormat, Compression, Digest, ImageConfig, Layout, SourceOptions};
use layerstone_store::{Error, ExportDest, ExportOptions, ExportOutcome, StoredImage};

fn two_layers(world: &World, keep_blobs: bool) -> StoredImage {
    let big = "all work and no play makes jack a dull boy\n".repeat(20_000);
    let layers =
        [tar(&[dir("a"), file("a/one", "1"), file("big", &big)]), tar(&[dir("a"), file("a/two", "2")])];
    world.image("some/image:1", "linux/amd64", &layers, keep_blobs)
}

fn options(compression: Compression) -> ExportOptions {
    ExportOptions { compression, ..ExportOptions::default() }
}

fn to_layout(world: &World, image: &StoredImage, to: &Path, options: &ExportOptions) -> ExportOutcome {
    world.store.export(image, ExportDest::OciLayout(to.to_path_buf()), options).unwrap()
}

fn to_archive(world: &World, image: &StoredImage, format: ArchiveFormat, options: &ExportOptions) -> Vec<u8> {
    let mut archive = Vec::new();
    world.store.export(image, ExportDest::Archive(Box::new(&mut archive), format), options).unwrap();
    archive
}

/// Manifest digest and configuration of the image in a layout.
fn in_layout(path: &Path) -> (Digest, ImageConfig) {
    let source = layerstone_oci::ImageSource::open(path, &SourceOptions::new(path)).unwrap();
    let image = source.resolve(Some("some/image:1"), None).unwrap();
    (image.manifest.digest(), image.config)
}

#[test]
fn kept_blobs_leave_with_the_manifest_they_came_with() {
    let world = World::new();
    let image = two_layers(&world, true);
    let outcome = to_layout(&world, &image, &world.path("out"), &options(Compression::Zstd));
    assert_eq!((outcome.kept(), outcome.recompressed()), (2, 0));
    assert_eq!(outcome.manifest, image.manifest.digest());
    assert_eq!(in_layout(&world.path("out")).0, image.manifest.digest());

    let anew = ExportOptions { recompress: true, ..options(Compression::Zstd) };
    let outcome = to_layout(&world, &image, &world.path("zstd"), &anew);
    assert_eq!((outcome.kept(), outcome.recompressed()), (0, 2));
    assert_eq!(in_layout(&world.path("zstd")).1.digest(), image.config.digest());
}

#[test]
fn without_blobs_the_configuration_and_its_diff_ids_stay() {
    let world = World::new();
    let image = two_layers(&world, false);
    for (at, compression) in [Compression::Gzip, Compression::Zstd, Compression::None].into_iter().enumerate()
    {
        let (once, twice) = (world.path(&format!("once-{at}")), world.path(&format!("twice-{at}")));
        let first = to_layout(&world, &image, &once, &options(compression));
        let threads = std::num::NonZeroUsize::new(3);
        let second = to_layout(&world, &image, &twice, &ExportOptions { threads, ..options(compression) });
        assert_eq!(first.manifest, second.manifest, "{compression}");
        assert_eq!(first.recompressed(), 2);
        let (_, config) = in_layout(&once);
        assert_eq!(config.digest(), image.config.digest());
        assert_eq!(config.diff_ids(), image.config.diff_ids());
        let layout = Layout::open(&once).unwrap();
        for layer in &first.layers {
            layout.blob_reader(&layer.descriptor).unwrap().verify_to_end().unwrap();
        }
        let archives =
            [(); 2].map(|()| to_archive(&world, &image, ArchiveFormat::Oci, &options(compression)));
        assert_eq!(archives[0], archives[1]);
    }
}

/// skopeo is a program of Linux.
#[cfg(target_os = "linux")]
#[test]
fn skopeo_reads_layouts_and_archives() {
    let test = "skopeo_reads_layouts_and_archives";
    if !can(test, false, &["skopeo"]) {
        return;
    }
    let world = World::new();
    let image = two_layers(&world, false);
    for (at, compression) in [Compression::Gzip, Compression::Zstd, Compression::None].into_iter().enumerate()
    {
        let layout = world.path(&format!("layout-{at}"));
        to_layout(&world, &image, &layout, &options(compression));
        let oci = world.path(&format!("oci-{at}.tar"));
        fs::write(&oci, to_archive(&world, &image, ArchiveFormat::Oci, &options(compression))).unwrap();
        let docker = world.path(&format!("docker-{at}.tar"));
        fs::write(&docker, to_archive(&world, &image, ArchiveFormat::Docker, &options(compression))).unwrap();
        for (what, from) in [
            ("layout", format!("oci:{}:some/image:1", layout.display())),
            ("oci", format!("oci-archive:{}:some/image:1", oci.display())),
            ("docker", format!("docker-archive:{}", docker.display())),
        ] {
            // Copying makes skopeo read, inflate and check every layer.
            let to = format!("dir:{}", world.path(&format!("copy-{what}-{at}")).display());
            let mut copy = Command::new("skopeo");
            run(copy.args(["--insecure-policy", "copy", "--quiet", "--dest-decompress", &from, &to]));
            let mut inspect = Command::new("skopeo");
            let config = run(inspect.args(["--insecure-policy", "inspect", "--config", "--raw", &from]));
            assert_eq!(Digest::of(config.as_bytes()), image.config.digest(), "{from}");
        }
    }
}

#[test]
fn a_damaged_layer_is_not_exported() {
    let world = World::new();
    let image = two_layers(&world, false);
    let path = world.store.layer(&image.chain_ids()[0]).unwrap().image_path();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|window| window == b"dull boy\n").unwrap();
    bytes[at] = b'D';
    fs::write(&path, bytes).unwrap();

    let out = world.path("out");
    let error = world
        .store
        .export(&image, ExportDest::OciLayout(out.clone()), &ExportOptions::default())
        .unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(!out.exists());
    let left = fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("export")));

    let mut archive = Vec::new();
    let dest = ExportDest::Archive(Box::new(&mut archive), ArchiveFormat::Oci);
    assert!(matches!(
        world.store.export(&image, dest, &ExportOptions::default()),
        Err(Error::Damaged { .. })
    ));
    assert!(archive.is_empty());
    assert_eq!(fs::read_dir(world.store.staging_root()).unwrap().count(), 0);
}

#[test]
fn images_are_added_to_a_layout_and_to_nothing_else() {
    let world = World::new();
    let image = two_layers(&world, false);
    let out = world.path("out");
    fs::create_dir(&out).unwrap();
    to_layout(&world, &image, &out, &ExportOptions::default());
    let other = ExportOptions { name: Some("other".into()), ..ExportOptions::default() };
    to_layout(&world, &image, &out, &other);
    let names: Vec<_> = Layout::open(&out).unwrap().images().unwrap().into_iter().map(|i| i.name).collect();
    assert_eq!(names, ["some/image:1", "other"]);

    let full = world.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "").unwrap();
    let dest = ExportDest::OciLayout(full.clone());
    let error = world.store.export(&image, dest, &ExportOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty(_)), "{error}");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
}
