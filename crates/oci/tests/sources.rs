//! What users bring: layouts, archives of every kind and age, compressed, piped, broken, hostile.

mod common;

use std::fs;
use std::io::Read;
use std::path::Path;

use layerstone_oci::{
    Compression, Descriptor, Digest, Error, ImageConfig, ImageSource, Index, Layout, MediaType, Platform,
    SourceFormat, SourceOptions, VerifyError, open_source,
};

use common::{Content, gzip, image, layer_tar, sample, tar_of};

fn from_bytes(bytes: &[u8]) -> Result<ImageSource, Error> {
    let dir = tempfile::tempdir().unwrap();
    ImageSource::from_reader(&mut &bytes[..], "test input", &SourceOptions::new(dir.path()))
}

fn bytes_of(source: &ImageSource, layer: &layerstone_oci::SourceLayer) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.open_layer(layer).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A docker archive of one image, whose configuration lists `diff_ids`, with these further entries.
fn docker_archive(diff_ids: &[Digest], layers: &[&str], entries: &[(&str, Content<'_>)]) -> Vec<u8> {
    let config = serde_json::json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string();
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": ["t:1"], "Layers": layers}]).to_string();
    let mut all = vec![
        ("c.json", Content::File(config.as_bytes())),
        ("manifest.json", Content::File(manifest.as_bytes())),
    ];
    for (name, content) in entries {
        all.push((
            name,
            match content {
                Content::File(data) => Content::File(data),
                Content::Symlink(target) => Content::Symlink(target),
                Content::HardLink(target) => Content::HardLink(target),
            },
        ));
    }
    tar_of(&all)
}

fn check_all_layers(source: &ImageSource, name: Option<&str>) -> usize {
    let image = source.resolve(name, None).unwrap();
    for layer in &image.layers {
        let blob = bytes_of(source, layer);
        let mut tar = layerstone_oci::compress::decoder(layer.compression, &blob[..]).unwrap();
        let mut hashed = layerstone_oci::Sha256Reader::new(&mut tar);
        std::io::copy(&mut hashed, &mut std::io::sink()).unwrap();
        assert_eq!(layer.diff_id.0, hashed.finish().1);
    }
    image.layers.len()
}

#[test]
fn real_archives_of_every_age_are_read_and_proven() {
    let test = "real_archives_of_every_age_are_read_and_proven";
    use SourceFormat::{DockerArchive, OciArchive};
    for (file, format, images, layers) in [
        ("linux/ggcr/hello-world-v25.tar.gz", DockerArchive, 1, 1),
        ("linux/ggcr/overwritten_file.tar.gz", DockerArchive, 1, 3),
        ("linux/ggcr/whiteout_dir.tar", DockerArchive, 1, 4),
        ("linux/ggcr/whiteout_image.tar.gz", DockerArchive, 1, 3),
        ("linux/ggcr/source_image.tar.gz", DockerArchive, 1, 1),
        ("linux/container-inspector/hello-world.tar", DockerArchive, 1, 1),
        ("linux/oras-go/hello-world.tar", OciArchive, 1, 1),
        ("linux/oras-go/hello-world-prefixed-path.tar", OciArchive, 1, 1),
        ("linux/stereoscope/valid-oci.tar", OciArchive, 1, 1),
    ] {
        let Some(path) = sample(test, file) else { return };
        let spool = tempfile::tempdir().unwrap();
        let source = open_source(&path, spool.path()).unwrap();
        assert_eq!((source.format(), source.images().len()), (format, images), "{file}");
        assert_eq!(check_all_layers(&source, None), layers, "{file}");
        let piped = ImageSource::from_reader(
            &mut fs::File::open(&path).unwrap(),
            "-",
            &SourceOptions::new(spool.path()),
        );
        assert_eq!(piped.unwrap().images(), source.images());
        if cfg!(unix) {
            assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0, "the spool file has no name");
        }
        drop(source);
        assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0, "the spool file is gone");
    }
}

#[test]
fn layers_shared_by_links_are_found() {
    let test = "layers_shared_by_links_are_found";
    let Some(path) = sample(test, "linux/ggcr/test_link.tar.gz") else { return };
    let spool = tempfile::tempdir().unwrap();
    let source = open_source(&path, spool.path()).unwrap();
    assert!(matches!(source.resolve(None, None), Err(Error::SeveralImages { .. })));
    assert_eq!(check_all_layers(&source, Some("bazel/v1/tarball:test_image_3")), 2);
    let once = source.resolve(Some("bazel/v1/tarball:test_image_3"), None).unwrap();
    let twice = source.resolve(Some("docker.io/bazel/v1/tarball:test_image_3"), None).unwrap();
    assert_eq!(once.manifest, twice.manifest, "the manifest that is made is the same each time");
}

#[test]
fn only_platforms_that_are_in_the_archive_are_chosen() {
    let test = "only_platforms_that_are_in_the_archive_are_chosen";
    let Some(path) = sample(test, "linux/oras-go/hello-world.tar") else { return };
    let spool = tempfile::tempdir().unwrap();
    let source = open_source(&path, spool.path()).unwrap();
    let image = source.resolve(Some("hello-world"), None).unwrap();
    assert_eq!(image.platform.to_string(), "linux/amd64");
    let arm = Platform::parse("linux/arm64").unwrap();
    let error = source.resolve(None, Some(&arm)).unwrap_err().to_string();
    assert!(error.contains("linux/amd64, ") && error.contains("linux/arm64/v8 (not included)"), "{error}");
    assert_eq!(source.resolve_all_platforms(None).unwrap().len(), 1);
}

#[test]
fn a_layer_whose_content_is_not_its_diff_id_is_refused() {
    let test = "a_layer_whose_content_is_not_its_diff_id_is_refused";
    // A Windows image whose layer was shortened by hand, which its configuration does not know. Its keys are in odd case.
    let Some(path) = sample(test, "layers/container-inspector/windows-mini-image.tar.gz") else { return };
    let spool = tempfile::tempdir().unwrap();
    let source = open_source(&path, spool.path()).unwrap();
    let image = source.resolve(None, None).unwrap();
    assert_eq!(image.platform.to_string(), "windows/amd64:10.0.19042.985");
    let mut layer = source.open_layer(&image.layers[0]).unwrap();
    let error = std::io::copy(&mut layer, &mut std::io::sink()).unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref::<VerifyError>();
    assert!(matches!(error, Some(VerifyError::Mismatch { .. })));
}

#[test]
fn windows_versions_are_chosen_through_a_nested_index_and_attestations_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    let mut nested = Index::new();
    for platform in [
        "windows/amd64:10.0.20348.1",
        "windows/amd64:10.0.20348.30",
        "windows/amd64:10.0.17763.5",
        "linux/s390x",
    ] {
        let image = image(platform, &[layer_tar("f", platform.as_bytes())]);
        image.store(&layout);
        nested.manifests.push(image.manifest.descriptor().with_platform(image.platform.clone()));
    }
    let unknown = Platform::parse("unknown/unknown").unwrap();
    nested.manifests.push(Descriptor::of(MediaType::OCI_MANIFEST, b"attestation").with_platform(unknown));
    layout.put_blob_bytes(&nested.to_bytes().unwrap()).unwrap();
    layout.set_image("win", &nested.descriptor().unwrap()).unwrap();

    let source = open_source(layout.root(), dir.path()).unwrap();
    assert_eq!(source.format(), SourceFormat::OciLayout);
    assert_eq!(source.images()[0].candidates.len(), 4);
    let choose = |wanted: &str| {
        let image = source.resolve(Some("win"), Some(&Platform::parse(wanted).unwrap()))?;
        Ok::<_, Error>(image.platform.to_string())
    };
    assert_eq!(choose("windows/amd64:10.0.20348.x").unwrap(), "windows/amd64:10.0.20348.30");
    assert_eq!(choose("windows/amd64:10.0.17763").unwrap(), "windows/amd64:10.0.17763.5");
    assert!(matches!(choose("windows/arm64"), Err(Error::NoMatchingPlatform { .. })));
    assert_eq!(source.resolve_all_platforms(Some("win")).unwrap().len(), 4);
    let one = nested.manifests[2].digest.to_string();
    assert_eq!(source.resolve(Some(&one), None).unwrap().platform.to_string(), "windows/amd64:10.0.17763.5");
    let error = source.resolve(Some("other"), None).unwrap_err().to_string();
    assert!(error.contains("`other`") && error.contains("win"), "{error}");
}

#[test]
fn the_only_image_is_taken_for_no_platform_but_not_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    let image = image("windows/amd64:10.0.20348.1", &[layer_tar("f", b"")]);
    image.store(&layout);
    layout.set_image("w", &image.manifest.descriptor()).unwrap();
    let source = open_source(layout.root(), dir.path()).unwrap();
    assert_eq!(source.resolve(None, None).unwrap().platform.os, "windows");
    let linux = Platform::parse("linux/amd64").unwrap();
    assert!(matches!(source.resolve(None, Some(&linux)), Err(Error::NoMatchingPlatform { .. })));
}

#[test]
fn a_version_that_the_index_leaves_out_is_read_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    let mut nested = Index::new();
    for platform in ["windows/amd64:10.0.20348.1", "windows/amd64:10.0.17763.5"] {
        let image = image(platform, &[layer_tar("f", platform.as_bytes())]);
        image.store(&layout);
        nested.manifests.push(image.manifest.descriptor().with_platform(Platform::new("windows", "amd64")));
    }
    layout.put_blob_bytes(&nested.to_bytes().unwrap()).unwrap();
    layout.set_image("win", &nested.descriptor().unwrap()).unwrap();
    let source = open_source(layout.root(), dir.path()).unwrap();
    let wanted = Platform::parse("windows/amd64:10.0.17763.x").unwrap();
    assert_eq!(
        source.resolve(None, Some(&wanted)).unwrap().platform.to_string(),
        "windows/amd64:10.0.17763.5"
    );
}

#[test]
fn signatures_beside_an_image_are_not_images() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    let image = image("linux/amd64", &[layer_tar("f", b"abc")]);
    image.store(&layout);
    layout.set_image("i", &image.manifest.descriptor()).unwrap();
    let empty = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let signature = layerstone_oci::Manifest::build(empty, Vec::new(), Default::default()).unwrap();
    layout.put_blob_bytes(signature.bytes()).unwrap();
    layout.set_image("sha256-abc.sig", &signature.descriptor()).unwrap();
    let source = open_source(layout.root(), dir.path()).unwrap();
    assert_eq!(source.images().len(), 1);
    source.resolve(None, None).unwrap();
}

#[test]
fn archives_are_read_compressed_or_not_and_whatever_the_layers_say() {
    let tar = layer_tar("file", b"data");
    let id = Digest::of(&tar);
    let plain = docker_archive(&[id], &["x/layer.tar"], &[("x/layer.tar", Content::File(&tar))]);
    let packed_layer = gzip(&tar);
    let inner = docker_archive(&[id], &["x/layer.tar"], &[("x/layer.tar", Content::File(&packed_layer))]);
    for (archive, compression) in [(plain, Compression::None), (inner, Compression::Gzip)] {
        for bytes in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 3).unwrap()] {
            let source = from_bytes(&bytes).unwrap();
            let image = source.resolve(Some("t:1"), None).unwrap();
            assert_eq!(image.layers[0].compression, compression);
            assert_eq!(check_all_layers(&source, None), 1);
        }
    }
}

#[test]
fn threads_read_layers_of_one_archive_at_once() {
    let layers: Vec<Vec<u8>> = (0..8_u8).map(|n| layer_tar("f", &vec![n; 200_000])).collect();
    let ids: Vec<Digest> = layers.iter().map(|tar| Digest::of(tar)).collect();
    let names: Vec<String> = (0..8).map(|n| format!("{n}.tar")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let entries: Vec<_> = names.iter().zip(&layers).map(|(name, tar)| (*name, Content::File(tar))).collect();
    let source = from_bytes(&docker_archive(&ids, &names, &entries)).unwrap();
    let image = source.resolve(None, None).unwrap();
    std::thread::scope(|scope| {
        for (layer, tar) in image.layers.iter().zip(&layers) {
            let source = &source;
            scope.spawn(move || assert!(bytes_of(source, layer) == *tar));
        }
    });
}

#[test]
fn links_that_lead_in_circles_or_out_are_refused() {
    let tar = layer_tar("file", b"data");
    let id = Digest::of(&tar);
    let open = |entries: &[(&str, Content<'_>)]| {
        from_bytes(&docker_archive(&[id], &["a/layer.tar"], entries)).unwrap().resolve(None, None)
    };
    let circle = [("a/layer.tar", Content::Symlink("../b")), ("b", Content::Symlink("a/layer.tar"))];
    assert!(matches!(open(&circle), Err(Error::LinkLoop { .. })));
    let own = [("a/layer.tar", Content::HardLink("a/layer.tar"))];
    assert!(matches!(open(&own), Err(Error::LinkLoop { .. })));
    for target in ["../../../etc/passwd", "/etc/passwd", "nowhere"] {
        assert!(
            matches!(open(&[("a/layer.tar", Content::Symlink(target))]), Err(Error::EntryMissing { .. })),
            "{target}"
        );
    }
    let good = [
        ("a/layer.tar", Content::Symlink("../b")),
        ("b", Content::HardLink("./c")),
        ("c", Content::File(&tar)),
    ];
    assert_eq!(open(&good).unwrap().layers.len(), 1);
}

#[test]
fn names_that_climb_are_only_keys() {
    let tar = layer_tar("file", b"data");
    let name = "../../../../tmp/climbed.tar";
    let source =
        from_bytes(&docker_archive(&[Digest::of(&tar)], &[name], &[(name, Content::File(&tar))])).unwrap();
    assert_eq!(check_all_layers(&source, None), 1);
    assert!(!Path::new("/tmp/climbed.tar").exists());
}

#[test]
fn other_numbers_of_layers_than_diff_ids_are_refused() {
    let tar = layer_tar("file", b"data");
    let id = Digest::of(&tar);
    let archive = docker_archive(&[id, id], &["l"], &[("l", Content::File(&tar))]);
    let error = from_bytes(&archive).unwrap().resolve(None, None);
    assert!(matches!(error, Err(Error::LayerCount { layers: 1, diff_ids: 2, .. })));
}

#[test]
fn archives_cut_anywhere_are_refused_and_never_panic() {
    let tar = layer_tar("file", b"data");
    let archive = docker_archive(&[Digest::of(&tar)], &["l"], &[("l", Content::File(&tar))]);
    let content_end = archive.len() - 1024;
    for end in (0..content_end).step_by(97) {
        assert!(from_bytes(&archive[..end]).and_then(|s| s.resolve(None, None)).is_err(), "cut at {end}");
    }
    // Without the closing zeros nothing is missing: Go reads that too.
    assert!(from_bytes(&archive[..content_end]).is_ok());
    let packed = gzip(&archive);
    for end in (0..packed.len()).step_by(13) {
        assert!(from_bytes(&packed[..end]).is_err(), "compressed, cut at {end}");
    }
}

#[test]
fn what_is_no_image_is_called_so() {
    assert!(matches!(from_bytes(b"hello, world"), Err(Error::NotAnImage { .. })));
    assert!(matches!(from_bytes(&[b'x'; 2000]), Err(Error::NotAnImage { .. })));
    assert!(matches!(from_bytes(b""), Err(Error::NotAnImage { .. })));
    assert!(matches!(from_bytes(&layer_tar("etc/passwd", b"")), Err(Error::NotAnImage { .. })));
    let garbage = tar_of(&[("manifest.json", Content::File(b"{\"not\":\"a list\"}"))]);
    assert!(matches!(from_bytes(&garbage), Err(Error::Json { .. })));
    let mut huge = layer_tar("manifest.json", b"[]");
    huge[124..135].copy_from_slice(b"77777777777");
    let mut header = tar::Header::from_byte_slice(&huge[..512]).clone();
    header.set_cksum();
    huge[..512].copy_from_slice(header.as_bytes());
    assert!(matches!(from_bytes(&huge), Err(Error::Tar { .. })));
}

#[test]
fn a_bomb_is_stopped_at_the_callers_limit() {
    let dir = tempfile::tempdir().unwrap();
    let options = SourceOptions { spool_dir: dir.path().into(), spool_limit: 1 << 20 };
    let bomb = gzip(&vec![0; 8 << 20]);
    let result = ImageSource::from_reader(&mut &bomb[..], "bomb", &options);
    assert!(matches!(result, Err(Error::SpoolLimit { limit: 1_048_576, .. })));
}

#[test]
fn a_layout_with_broken_blobs_says_which() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    let image = image("linux/amd64", &[layer_tar("f", b"abc")]);
    image.store(&layout);
    layout.set_image("i", &image.manifest.descriptor()).unwrap();
    let resolve = || open_source(layout.root(), dir.path()).unwrap().resolve(Some("i"), None);

    let layer = &image.manifest.layers()[0];
    let mut longer = fs::read(layout.blob_path(&layer.digest)).unwrap();
    let right = longer.clone();
    longer.push(0);
    fs::write(layout.blob_path(&layer.digest), &longer).unwrap();
    assert!(matches!(resolve(), Err(Error::Verify { .. })));

    layout.remove_blob(&layer.digest).unwrap();
    let resolved = resolve().unwrap();
    assert!(!resolved.layers[0].is_present());
    let source = open_source(layout.root(), dir.path()).unwrap();
    assert!(matches!(source.open_layer(&resolved.layers[0]), Err(Error::BlobMissing { .. })));
    fs::write(layout.blob_path(&layer.digest), right).unwrap();

    let config = image.config.digest();
    fs::write(layout.blob_path(&config), b"{}").unwrap();
    assert!(resolve().unwrap_err().to_string().contains(&config.to_string()));
    layout.remove_blob(&config).unwrap();
    assert!(matches!(resolve(), Err(Error::BlobMissing { digest, .. }) if digest == config));
    layout.remove_blob(&image.manifest.digest()).unwrap();
    assert!(matches!(resolve(), Err(Error::BlobMissing { .. })));
}

#[test]
fn an_index_with_a_climbing_digest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    let index = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../../etc/passwd","size":1}]}"#;
    fs::write(layout.root().join("index.json"), index).unwrap();
    let error = open_source(layout.root(), dir.path()).unwrap_err().to_string();
    assert!(error.contains("is not a digest"), "{error}");
}

#[test]
fn indexes_nested_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("l")).unwrap();
    let mut index = Index::new();
    for _ in 0..6 {
        layout.put_blob_bytes(&index.to_bytes().unwrap()).unwrap();
        let below = index.descriptor().unwrap();
        index = Index::new();
        index.manifests.push(below);
    }
    layout.put_blob_bytes(&index.to_bytes().unwrap()).unwrap();
    layout.set_image("deep", &index.descriptor().unwrap()).unwrap();
    assert!(matches!(open_source(layout.root(), dir.path()), Err(Error::Malformed { .. })));
}

#[test]
fn foreign_layers_left_out_of_an_archive_say_where_they_are() {
    let config = ImageConfig::parse(
        format!(
            r#"{{"os":"windows","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{0}"]}}}}"#,
            Digest::of(b"base")
        )
        .into_bytes(),
    )
    .unwrap();
    let url = "https://example.com/base";
    let manifest =
        serde_json::json!([{"Config": "c", "RepoTags": null, "Layers": ["base.tar.gz"], "LayerSources": {
        Digest::of(b"base").to_string(): {"mediaType": MediaType::DOCKER_FOREIGN_LAYER_GZIP, "size": 1000,
            "digest": Digest::of(b"packed"), "urls": [url]}}}])
        .to_string();
    let archive = tar_of(&[
        ("c", Content::File(config.bytes())),
        ("manifest.json", Content::File(manifest.as_bytes())),
    ]);
    let source = from_bytes(&archive).unwrap();
    let image = source.resolve(None, None).unwrap();
    let layer = &image.layers[0];
    assert_eq!(layer.descriptor.media_type.as_str(), MediaType::OCI_NONDIST_LAYER_GZIP);
    assert!(!layer.is_present());
    let error = source.open_layer(layer).err().unwrap();
    assert!(matches!(&error, Error::ForeignLayer { urls, .. } if urls[0] == url), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
    #[test]
    fn archives_with_changed_bytes_never_panic(
        changes in proptest::collection::vec((0_usize..6000, proptest::prelude::any::<u8>()), 1..6)
    ) {
        let tar = layer_tar("file", b"data");
        let entries = [("a/l", Content::Symlink("../b")), ("b", Content::File(&tar))];
        let mut archive = docker_archive(&[Digest::of(&tar)], &["a/l"], &entries);
        let len = archive.len();
        for (at, byte) in changes {
            archive[at % len] = byte;
        }
        if let Ok(source) = from_bytes(&archive) {
            for image in source.resolve_all_platforms(None).unwrap_or_default() {
                for layer in &image.layers {
                    let _ = source.open_layer(layer).map(|mut reader| std::io::copy(&mut reader, &mut std::io::sink()));
                }
            }
        }
    }
}
