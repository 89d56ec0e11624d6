//! Pulls from registries that give something else than was asked for: each ends in an error that says what was wrong, and leaves
//! nothing behind.

mod common;

use std::io::Write as _;

use common::hostile::{VerifyImage as _, but, fails, image, store};
use common::image::Image;
use common::server::{Content, Reply, Server};
use common::{assert_sound, client, options, pull, told};
use layerstone_oci::{Compression, Digest, MediaType};
use layerstone_registry::Select;
use layerstone_store::ImportOptions;

#[test]
fn a_good_registry_is_pulled_from() {
    let image = image();
    let content = Content::with(&image, "1");
    let server = Server::start(move |seen| content.reply(seen));
    let (_dir, store) = store();
    let name = format!("{}/app:1", server.host());
    let layers = pull(&client(), &store, &name, &ImportOptions::default()).unwrap();
    assert!(layers.iter().all(|layer| layer.unpacked));
    assert_eq!(store.image(&name, None).unwrap().manifest.digest(), image.manifest.digest());
    assert_sound(&store);
    assert!(store.verify_image(&name));
}

#[test]
fn a_blob_with_other_content_is_refused() {
    let image = image();
    let layer = image.layers()[0];
    fails(
        but(&image, layer.to_string(), |seen, content| {
            let mut bytes = content.blobs[seen.path.rsplit('/').next().unwrap()].clone();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            Reply::new(200, bytes)
        }),
        &["layer", "sha256"],
    );
}

#[test]
fn a_configuration_with_other_content_is_refused() {
    let image = image();
    let config = image.config.digest();
    fails(
        but(&image, config.to_string(), move |_, content| {
            Reply::new(200, content.blobs[&config.to_string()].iter().rev().copied().collect::<Vec<u8>>())
        }),
        &["wrong content"],
    );
}

#[test]
fn a_manifest_that_is_not_the_one_of_its_digest_is_refused() {
    let image = image();
    let wanted = Digest::from_sha256([7; 32]);
    let liar = Server::start(move |_| {
        Reply::new(200, image.manifest.bytes().to_vec()).header("Content-Type", MediaType::OCI_MANIFEST)
    });
    let error = client().resolve(&format!("{}/app@{wanted}", liar.host()), &Select::Host).unwrap_err();
    assert!(told(&error).contains("wrong content"), "{}", told(&error));
}

#[test]
fn a_registry_that_states_another_digest_for_a_tag_is_refused() {
    fails(
        but(&image(), "/manifests/1", |seen, content| match content.reply(seen) {
            Reply::Answer { status, mut headers, body } => {
                headers.retain(|(name, _)| name != "Docker-Content-Digest");
                headers.push(("Docker-Content-Digest".into(), Digest::from_sha256([9; 32]).to_string()));
                Reply::Answer { status, headers, body }
            }
            raw => raw,
        }),
        &["wrong content"],
    );
}

#[test]
fn a_blob_of_another_size_is_refused_before_it_is_read() {
    let image = image();
    for by in [-1i64, 1] {
        fails(
            but(&image, image.layers()[1].to_string(), move |seen, content| {
                let mut bytes = content.blobs[seen.path.rsplit('/').next().unwrap()].clone();
                bytes.resize((bytes.len() as i64 + by) as usize, 0);
                Reply::new(200, bytes)
            }),
            &[if by < 0 { "too short" } else { "too long" }],
        );
    }
}

#[test]
fn a_manifest_of_more_than_four_mebibytes_is_not_read() {
    fails(
        but(&image(), "/manifests/", |_, _| {
            Reply::new(200, vec![b' '; (4 << 20) + 1]).header("Content-Type", MediaType::OCI_MANIFEST)
        }),
        &["more than 4194304 bytes"],
    );
}

#[test]
fn what_is_no_manifest_is_refused() {
    for body in ["", "{", "[]", "null", "\"x\"", "<html>login</html>"] {
        fails(but(&image(), "/manifests/", move |_, _| Reply::new(200, body)), &["manifest"]);
    }
    for body in ["{}", r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#] {
        fails(but(&image(), "/manifests/", move |_, _| Reply::new(200, body)), &["not valid"]);
    }
}

#[test]
fn schema_1_is_refused_with_its_name() {
    let body = r#"{"schemaVersion":1,"name":"app","fsLayers":[{"blobSum":"sha256:x"}],"history":[]}"#;
    fails(
        but(&image(), "/manifests/", move |_, _| {
            Reply::new(200, body)
                .header("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
        }),
        &["schema 1"],
    );
}

#[test]
fn a_part_from_another_byte_is_refused() {
    let image = Image::new("linux/amd64", &[600_000], Compression::Gzip);
    let layer = image.layers()[0].to_string();
    fails(
        but(&image, layer.clone(), move |seen, content| {
            let bytes = content.blobs[&layer].clone();
            match seen.range() {
                Some(start) => {
                    let range = format!("bytes {}-{}/{}", start - 1, bytes.len() - 1, bytes.len());
                    Reply::new(206, bytes[start - 1..].to_vec()).header("Content-Range", range)
                }
                None => Reply::raw(move |stream| {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[..1000]));
                }),
            }
        }),
        &["a part from byte"],
    );
}

#[test]
fn names_with_tricks_never_become_requests() {
    let server = Server::start(|_| Reply::new(404, ""));
    for name in [
        "../../etc/passwd",
        "app/../../x",
        "app%2f..%2fx",
        "app?x=1",
        "app#x",
        "app\r\nHost: x",
        "app//x",
        "app:../x",
        "app@sha256:../x",
        " app",
        "app:1 x",
    ] {
        let text = format!("{}/{name}", server.host());
        let error = client().resolve(&text, &Select::Host).unwrap_err();
        assert!(told(&error).contains("is not an image reference"), "{name}: {}", told(&error));
    }
    assert!(server.seen().is_empty());
}

#[test]
fn a_layer_that_may_not_be_distributed_comes_from_its_address_without_credentials() {
    let tars = [common::image::tar("base", 20_000, 1), common::image::tar("own", 10_000, 2)];
    let mut image = Image::of_tars("windows/amd64:10.0.20348.2113", &tars, |tar| {
        (common::image::compressed(tar, Compression::Gzip), MediaType::oci_layer(Compression::Gzip, false))
    });
    let foreign_blob = image.blobs[&image.layers()[0]].clone();
    let elsewhere_blob = foreign_blob.clone();
    let elsewhere = Server::start(move |_| Reply::new(200, elsewhere_blob.clone()));
    let mut layers = image.manifest.layers().to_vec();
    layers[0].media_type = MediaType::new(MediaType::DOCKER_FOREIGN_LAYER_GZIP);
    layers[0].urls = vec!["ftp://nowhere/x".into(), elsewhere.url("/windows/base")];
    image.manifest =
        layerstone_oci::Manifest::build(image.config.descriptor(), layers, Default::default()).unwrap();
    let mut content = Content::with(&image, "1");
    content.blobs.remove(&Digest::of(&foreign_blob).to_string());
    let server = Server::start(move |seen| {
        if seen.header("authorization").is_none() {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x");
        }
        content.reply(seen)
    });
    let mut options = options();
    options.credentials = Some(layerstone_registry::Credentials::Password {
        username: "user".into(),
        password: "secret".into(),
    });
    let client = layerstone_registry::Client::new(options).unwrap();
    let (_dir, store) = store();
    let name = format!("{}/app:1", server.host());
    pull(&client, &store, &name, &ImportOptions::default()).unwrap();
    let asked = elsewhere.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), None);
    let stored = store.image(&name, None).unwrap();
    assert_eq!(stored.manifest.digest(), image.manifest.digest(), "kept as it is in the manifest");
    assert!(store.verify_image(&name));
}

#[test]
fn an_index_of_many_entries_without_platform_is_not_looked_through_for_ever() {
    let image = image();
    let mut content = Content::with(&image, "2");
    let mut index = layerstone_oci::Index::new();
    index.manifests = vec![image.manifest.descriptor(); 300];
    content.add_index(index.to_bytes().unwrap(), "1");
    fails(move |seen| content.reply(seen), &["more than 256 entries without platform"]);
}
