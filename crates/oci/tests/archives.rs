//! Archives that are written: the same each time, read again by us, by skopeo and by umoci.

mod common;

#[cfg(target_os = "linux")]
use std::fs;
use std::io::Read;

use layerstone_oci::{
    ArchiveFormat, ArchiveImage, ArchiveWriter, Descriptor, Digest, Error, ImageSource, Manifest, MediaType,
    SourceFormat, SourceOptions, write_archive,
};

use common::{Image, image, layer_tar};
#[cfg(target_os = "linux")]
use common::{run, skopeo, tool};

fn listed(image: &Image, names: &[&str]) -> ArchiveImage {
    ArchiveImage {
        manifest: image.manifest.clone(),
        platform: Some(image.platform.clone()),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn write(format: ArchiveFormat, images: &[(&Image, &[&str])]) -> Result<Vec<u8>, Error> {
    let listed: Vec<ArchiveImage> = images.iter().map(|(image, names)| listed(image, names)).collect();
    write_archive(Vec::new(), format, &listed, |blob: &Descriptor| {
        let content = images.iter().find_map(|(image, _)| image.blobs.get(&blob.digest));
        content.map(Vec::as_slice).ok_or(Error::BlobMissing { digest: blob.digest, place: "test".into() })
    })
}

fn read(bytes: &[u8]) -> ImageSource {
    let dir = tempfile::tempdir().unwrap();
    ImageSource::from_reader(&mut &bytes[..], "archive", &SourceOptions::new(dir.path())).unwrap()
}

fn two_layers() -> Image {
    image("linux/amd64", &[layer_tar("a.txt", b"first"), layer_tar("b.txt", b"second")])
}

#[test]
fn what_is_written_is_read_again_and_is_the_same_each_time() {
    let (one, two) = (two_layers(), image("windows/amd64:10.0.20348.1", &[layer_tar("Files/x", b"win")]));
    for format in [ArchiveFormat::Oci, ArchiveFormat::Docker] {
        let images: [(&Image, &[&str]); 2] = [(&one, &["example.com/one:1", "one"]), (&two, &["two:2"])];
        let bytes = write(format, &images).unwrap();
        assert!(bytes == write(format, &images).unwrap());
        let source = read(&bytes);
        assert_eq!(source.format(), SourceFormat::OciArchive);
        for (name, image) in [("example.com/one:1", &one), ("one", &one), ("two:2", &two)] {
            let again = source.resolve(Some(name), None).unwrap();
            assert_eq!((&again.manifest, &again.config), (&image.manifest, &image.config));
            for layer in &again.layers {
                let mut content = Vec::new();
                source.open_layer(layer).unwrap().read_to_end(&mut content).unwrap();
                assert_eq!(content, image.blobs[&layer.descriptor.digest]);
            }
        }
        let names: Vec<_> = source.images().iter().map(|image| image.names[0].as_str()).collect();
        assert_eq!(names, ["example.com/one:1", "one", "two:2"]);
    }
}

#[test]
fn an_archive_without_one_of_its_blobs_is_not_finished() {
    let image = two_layers();
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveFormat::Oci).unwrap();
    writer.add_blob_bytes(image.config.bytes()).unwrap();
    let error = writer.finish(&[listed(&image, &["x"])]);
    let missing = image.manifest.layers()[0].digest;
    assert!(matches!(error, Err(Error::BlobNotAdded { digest, .. }) if digest == missing));
}

#[test]
fn foreign_layers_may_be_left_out_of_oci_archives_only() {
    let mut image = two_layers();
    let mut layers = image.manifest.layers().to_vec();
    layers[0].media_type = MediaType::new(MediaType::OCI_NONDIST_LAYER_GZIP);
    layers[0].urls.push("https://example.com/base".into());
    image.blobs.remove(&layers[0].digest);
    image.manifest = Manifest::build(image.config.descriptor(), layers, Default::default()).unwrap();
    let bytes = write(ArchiveFormat::Oci, &[(&image, &["x"])]).unwrap();
    let source = read(&bytes);
    let resolved = source.resolve(None, None).unwrap();
    assert!(!resolved.layers[0].is_present() && resolved.layers[1].is_present());
    assert!(matches!(source.open_layer(&resolved.layers[0]), Err(Error::ForeignLayer { .. })));
    assert!(matches!(write(ArchiveFormat::Docker, &[(&image, &["x"])]), Err(Error::BlobNotAdded { .. })));
}

#[test]
fn a_blob_that_is_not_what_it_should_be_is_not_written() {
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveFormat::Oci).unwrap();
    for (content, size) in [(&b"hallo"[..], 5), (b"hell", 5), (b"hello!", 5)] {
        let error = writer.add_blob(&Digest::of(b"hello"), size, content).unwrap_err();
        assert!(matches!(error, Error::Stream { .. }), "{error}");
        assert!(!writer.has_blob(&Digest::of(b"hello")));
    }
    assert!(matches!(
        write(ArchiveFormat::Oci, &[(&two_layers(), &["a b"])]),
        Err(Error::InvalidName { .. })
    ));
}

/// Both are programs of Linux.
#[cfg(target_os = "linux")]
#[test]
fn skopeo_and_umoci_take_oci_archives() {
    let test = "skopeo_and_umoci_take_oci_archives";
    let (Some(mut inspect), Some(mut copy), Some(mut unpack)) =
        (skopeo(test), skopeo(test), tool(test, "umoci"))
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let image = two_layers();
    let archive = dir.path().join("a.tar");
    fs::write(&archive, write(ArchiveFormat::Oci, &[(&image, &["test"])]).unwrap()).unwrap();
    let from = format!("oci-archive:{}:test", archive.display());
    assert!(run(inspect.args(["inspect", &from])).contains(&image.manifest.digest().to_string()));
    let layout = dir.path().join("l");
    run(copy.args(["copy", &from, &format!("oci:{}:test", layout.display())]));
    let bundle = dir.path().join("bundle");
    run(unpack.args(["unpack", "--rootless", "--image", &format!("{}:test", layout.display())]).arg(&bundle));
    assert_eq!(fs::read(bundle.join("rootfs/a.txt")).unwrap(), b"first");
}

/// skopeo is a program of Linux.
#[cfg(target_os = "linux")]
#[test]
fn skopeo_takes_docker_archives_and_we_take_those_of_skopeo() {
    let test = "skopeo_takes_docker_archives_and_we_take_those_of_skopeo";
    let (Some(mut inspect), Some(mut copy), Some(mut back)) = (skopeo(test), skopeo(test), skopeo(test))
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let image = two_layers();
    let archive = dir.path().join("d.tar");
    fs::write(&archive, write(ArchiveFormat::Docker, &[(&image, &["test"])]).unwrap()).unwrap();
    let told = run(inspect.args(["inspect", "--config", &format!("docker-archive:{}", archive.display())]));
    assert!(told.contains(&image.config.diff_ids()[1].to_string()), "{told}");
    let layout = dir.path().join("l");
    let oci = format!("oci:{}:test", layout.display());
    run(copy.args([
        "copy",
        &format!("docker-archive:{}:docker.io/library/test:latest", archive.display()),
        &oci,
    ]));
    let source = layerstone_oci::open_source(&layout, dir.path()).unwrap();
    let copied = source.resolve(Some("test"), None).unwrap();
    assert_eq!(copied.config.diff_ids(), image.config.diff_ids());

    // skopeo writes the old style: layers by their digest, and links for those who know only directories.
    let theirs = dir.path().join("theirs.tar");
    run(back.args(["copy", &oci, &format!("docker-archive:{}:example.com/back:1", theirs.display())]));
    let source = layerstone_oci::open_source(&theirs, dir.path()).unwrap();
    assert_eq!(source.format(), SourceFormat::DockerArchive);
    let image_again = source.resolve(Some("example.com/back:1"), None).unwrap();
    assert_eq!(image_again.config.diff_ids(), image.config.diff_ids());
    for layer in &image_again.layers {
        std::io::copy(&mut source.open_layer(layer).unwrap(), &mut std::io::sink()).unwrap();
    }
}
