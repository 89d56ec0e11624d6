//! Where things are had from: mirrors, search registries, token services; and what refers to an image.

mod common;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::image::{Image, index};
use common::server::{Content, Reply, Server};
use common::{assert_sound, listening, options, paths_in, pull, told};
use layerstone_oci::{Compression, Digest, MediaType, Platform};
use layerstone_registry::{Client, ClientOptions, Content as What, Credentials, Error, Event, Select};
use layerstone_store::{ImportOptions, Store};

fn image() -> Image {
    Image::new("linux/amd64", &[30_000, 20_000], Compression::Gzip)
}

fn serving(image: &Image) -> Server {
    let content = Content::with(image, "1");
    Server::start(move |seen| content.reply(seen))
}

/// A client with this registries.conf and auth.json.
fn configured(directory: &std::path::Path, conf: &str, auth: &str) -> ClientOptions {
    let paths = paths_in(directory);
    fs::write(&paths.registries[0], conf).unwrap();
    fs::write(&paths.auth_files[0], auth).unwrap();
    ClientOptions { paths, ..options() }
}

#[test]
fn a_mirror_is_asked_first_with_its_own_credentials() {
    let image = image();
    let content = Content::with(&image, "1");
    let mirror = Server::start(move |seen| {
        // "mirror:pw"
        if seen.header("authorization") != Some("Basic bWlycm9yOnB3") {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=m");
        }
        content.reply(seen)
    });
    let registry = serving(&image);
    let dir = tempfile::tempdir().unwrap();
    let conf = format!(
        "[[registry]]\nprefix = 'r.example/team'\nlocation = '{}/real'\n[[registry.mirror]]\nlocation = '{}/copy'",
        registry.host(),
        mirror.host()
    );
    // "own:pw" for the registry must not go to the mirror.
    let auth = format!(
        r#"{{"auths":{{"r.example":{{"auth":"b3duOnB3"}},"{}":{{"auth":"bWlycm9yOnB3"}}}}}}"#,
        mirror.host()
    );
    let client = Client::new(configured(dir.path(), &conf, &auth)).unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    pull(&client, &store, "r.example/team/app:1", &ImportOptions::default()).unwrap();
    assert!(registry.seen().is_empty());
    assert!(mirror.seen().iter().all(|seen| seen.path.starts_with("/v2/copy/app/")));
    assert!(mirror.seen().iter().all(|seen| seen.header("authorization") != Some("Basic b3duOnB3")));
    assert_eq!(store.images().unwrap()[0].name, "r.example/team/app:1");
}

#[test]
fn a_mirror_that_does_not_do_is_passed_over() {
    let image = image();
    let registry = serving(&image);
    // It has the manifest, and not all blobs.
    let mut partly = Content::with(&image, "1");
    partly.blobs.remove(&image.layers()[1].to_string());
    for mirror in [Server::start(|_| Reply::new(500, "")), Server::start(move |seen| partly.reply(seen))] {
        let dir = tempfile::tempdir().unwrap();
        let conf = format!(
            "[[registry]]\nlocation = '{}'\n[[registry.mirror]]\nlocation = '{}'",
            registry.host(),
            mirror.host()
        );
        let heard: Arc<Mutex<Vec<Event>>> = Arc::default();
        let log = Arc::clone(&heard);
        let client =
            listening(configured(dir.path(), &conf, "{}"), move |event| log.lock().unwrap().push(event));
        let store = Store::create(dir.path().join("store")).unwrap();
        pull(&client, &store, &format!("{}/app:1", registry.host()), &ImportOptions::default()).unwrap();
        assert!(heard.lock().unwrap().iter().any(|event| matches!(event, Event::Next { .. })));
        assert_sound(&store);
    }
}

#[test]
fn a_short_name_is_looked_for_in_each_search_registry_and_every_failure_is_told() {
    let image = image();
    let (empty, full) = (Server::start(|_| Reply::new(404, "")), serving(&image));
    let dir = tempfile::tempdir().unwrap();
    let conf = format!("unqualified-search-registries = ['{}', '{}']", empty.host(), full.host());
    let client = Client::new(configured(dir.path(), &conf, "{}")).unwrap();
    let found = client.resolve("app:1", &Select::Host).unwrap();
    assert_eq!(found.reference().registry(), full.host());
    let error = client.resolve("app:2", &Select::Host).unwrap_err();
    let Error::AllFailed { attempts, .. } = &error else { panic!("{error}") };
    assert_eq!(attempts.len(), 2);
    assert!(error.hint().unwrap().contains("spelling"));
}

#[test]
fn a_blocked_registry_is_never_asked() {
    let server = serving(&image());
    let dir = tempfile::tempdir().unwrap();
    let conf = format!("[[registry]]\nlocation = '{}'\nblocked = true", server.host());
    let client = Client::new(configured(dir.path(), &conf, "{}")).unwrap();
    let error = client.resolve(&format!("{}/app:1", server.host()), &Select::Host).unwrap_err();
    assert!(matches!(error, Error::Blocked { .. }), "{error}");
    assert!(server.seen().is_empty());
}

#[test]
fn an_identity_token_is_exchanged_and_a_password_is_sent_to_the_token_service_only() {
    let image = image();
    for identity in [true, false] {
        let content = Content::with(&image, "1");
        let tokens = AtomicUsize::new(0);
        let server = Server::start(move |seen| {
            if seen.path.starts_with("/token") {
                tokens.fetch_add(1, Ordering::Relaxed);
                let right = if identity {
                    let form = String::from_utf8_lossy(&seen.body).into_owned();
                    seen.method == "POST"
                        && form.contains("grant_type=refresh_token")
                        && form.contains("refresh_token=a%2Bb")
                } else {
                    seen.method == "GET"
                        && seen.header("authorization") == Some("Basic dXNlcjpwdw==")
                        && seen.path.contains("account=user")
                };
                let right = right && tokens.load(Ordering::Relaxed) == 1;
                return if right { Reply::new(200, r#"{"token":"good"}"#) } else { Reply::new(401, "") };
            }
            if seen.header("authorization") != Some("Bearer good") {
                let realm =
                    format!("Bearer realm=\"http://{}/token\",service=\"a b\"", seen.header("host").unwrap());
                return Reply::new(401, "").header("WWW-Authenticate", realm);
            }
            content.reply(seen)
        });
        let mut options = options();
        options.credentials = Some(if identity {
            Credentials::IdentityToken("a+b".into())
        } else {
            Credentials::Password { username: "user".into(), password: "pw".into() }
        });
        let client = Client::new(options).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("store")).unwrap();
        pull(&client, &store, &format!("{}/app:1", server.host()), &ImportOptions::default()).unwrap();
        assert_eq!(server.count("", "/token"), 0);
        let asked = server.seen().iter().filter(|seen| seen.path.starts_with("/token")).count();
        assert_eq!(asked, 1, "one token does for all requests");
    }
}

#[test]
fn an_index_gives_the_image_of_the_platform_and_leaves_attestations_out() {
    let windows = |version: &str| Image::new(&format!("windows/amd64:{version}"), &[1000], Compression::Gzip);
    let images = [windows("10.0.20348.2113"), windows("10.0.20348.473"), windows("10.0.17763.5000")];
    let mut content = Content::default();
    images.iter().for_each(|image| content.add(image, "x"));
    let mut bytes = index(&images.iter().collect::<Vec<_>>());
    let mut parsed = layerstone_oci::Index::parse(&bytes, "index").unwrap();
    let mut attestation = images[0].manifest.descriptor();
    attestation.platform = Some(Platform::new("unknown", "unknown"));
    parsed.manifests.insert(0, attestation);
    bytes = parsed.to_bytes().unwrap();
    content.add_index(bytes, "1");
    let server = Server::start(move |seen| content.reply(seen));
    let client = common::client();
    let name = format!("{}/app:1", server.host());
    let chosen = |select: &Select| {
        let found = client.resolve(&name, select)?;
        Ok::<_, Error>(found.images().iter().map(|image| image.platform.to_string()).collect::<Vec<_>>())
    };
    let platform = |text: &str| Select::Platform(Platform::parse(text).unwrap());
    assert_eq!(chosen(&platform("windows/amd64:10.0.20348.1000")).unwrap(), ["windows/amd64:10.0.20348.473"]);
    assert_eq!(chosen(&platform("windows/amd64:10.0.17763.1")).unwrap(), ["windows/amd64:10.0.17763.5000"]);
    assert_eq!(chosen(&platform("windows/amd64")).unwrap(), ["windows/amd64:10.0.20348.2113"]);
    #[cfg(target_arch = "x86_64")]
    assert_eq!(chosen(&Select::Host).unwrap(), ["windows/amd64:10.0.20348.2113"], "there is no other system");
    #[cfg(target_arch = "x86_64")]
    {
        let on = |host: &str| chosen(&Select::WindowsHost(host.parse().unwrap()));
        assert_eq!(on("10.0.20348.500").unwrap(), ["windows/amd64:10.0.20348.473"], "of its own build");
        assert_eq!(on("10.0.26100").unwrap(), ["windows/amd64:10.0.20348.2113"], "a later host runs it");
        assert!(told(&on("10.0.14393").unwrap_err()).contains("on a host of 10.0.14393"));
    }
    assert_eq!(chosen(&Select::All).unwrap().len(), 3);
    assert_eq!(client.resolve(&name, &Select::All).unwrap().skipped(), 1);
    let error = chosen(&platform("linux/arm64")).unwrap_err();
    let Error::NoMatchingPlatform { available, .. } = &error else { panic!("{error}") };
    assert_eq!(available.len(), 3);
    assert!(told(&error).contains("10.0.17763.5000"));
}

#[test]
fn referrers_are_listed_over_pages_or_from_the_tag_of_older_registries() {
    let image = image();
    let digest = image.manifest.digest();
    let entry = |kind: &str, n: u8| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":5,"artifactType":"{kind}"}}"#,
            MediaType::OCI_MANIFEST,
            Digest::from_sha256([n; 32])
        )
    };
    let list = |entries: &[String]| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
            MediaType::OCI_INDEX,
            entries.join(",")
        )
    };
    let pages = [
        list(&[entry("application/sbom", 1)]),
        list(&[entry("application/sig", 2), entry("application/sig", 3)]),
    ];
    let content = Content::with(&image, "1");
    let modern = Server::start(move |seen| match seen.path.as_str() {
        path if path.contains("/referrers/") && path.contains("page=2") => Reply::new(200, pages[1].clone()),
        path if path.contains("/referrers/") => {
            Reply::new(200, pages[0].clone()).header("Link", format!("<{path}?page=2>; rel=\"next\""))
        }
        _ => content.reply(seen),
    });
    let (document, found) = common::client().referrers(&format!("{}/app:1", modern.host())).unwrap();
    assert_eq!(document.digest, digest);
    let kinds: Vec<_> = found.iter().filter_map(|referrer| referrer.artifact_type.as_deref()).collect();
    assert_eq!(kinds, ["application/sbom", "application/sig", "application/sig"]);

    let mut content = Content::with(&image, "1");
    content
        .add_index(list(&[entry("application/sbom", 1)]).into_bytes(), &digest.to_string().replace(':', "-"));
    let older = Server::start(move |seen| content.reply(seen));
    let (_, found) = common::client().referrers(&format!("{}/app:1", older.host())).unwrap();
    assert_eq!(found.len(), 1);
    let plain = serving(&image);
    let (_, none) = common::client().referrers(&format!("{}/app:1", plain.host())).unwrap();
    assert!(none.is_empty());

    let endless = {
        let content = Content::with(&image, "1");
        let page = list(&[entry("x", 1)]);
        Server::start(move |seen| {
            if seen.path.contains("/referrers/") {
                return Reply::new(200, page.clone()).header("Link", format!("<{}x>; rel=next", seen.path));
            }
            content.reply(seen)
        })
    };
    let error = common::client().referrers(&format!("{}/app:1", endless.host())).unwrap_err();
    assert!(told(&error).contains("more than 64 pages"), "{}", told(&error));
}

#[test]
fn docker_manifests_and_media_types_are_read_as_ocis() {
    let image = Image::of_tars("linux/amd64", &[common::image::tar("a", 5000, 1)], |tar| {
        (common::image::compressed(tar, Compression::Gzip), MediaType::new(MediaType::DOCKER_LAYER_GZIP))
    });
    let layer = &image.manifest.layers()[0];
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","size":{},"digest":"{}"}},"layers":[{{"mediaType":"{}","size":{},"digest":"{}"}}]}}"#,
        MediaType::DOCKER_MANIFEST,
        MediaType::DOCKER_CONFIG,
        image.config.bytes().len(),
        image.config.digest(),
        MediaType::DOCKER_LAYER_GZIP,
        layer.size,
        layer.digest
    );
    let mut content = Content::with(&image, "x");
    content.manifests.insert("1".into(), (MediaType::DOCKER_MANIFEST.into(), manifest.clone().into_bytes()));
    let server = Server::start(move |seen| content.reply(seen));
    let found = common::client().resolve(&format!("{}/app:1", server.host()), &Select::Host).unwrap();
    let What::Image(resolved) = found.content() else { panic!("an image") };
    assert_eq!(resolved.manifest.bytes(), manifest.as_bytes());
    assert_eq!(resolved.layers[0].compression, Compression::Gzip);
}

#[test]
fn a_layer_is_what_its_bytes_are_whatever_its_media_type_says() {
    for (real, stated) in [
        (Compression::Zstd, Compression::Gzip),
        (Compression::None, Compression::Gzip),
        (Compression::Gzip, Compression::None),
    ] {
        let image = Image::of_tars("linux/amd64", &[common::image::tar("a", 50_000, 1)], |tar| {
            (common::image::compressed(tar, real), MediaType::oci_layer(stated, false))
        });
        let server = serving(&image);
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("store")).unwrap();
        pull(&common::client(), &store, &format!("{}/app:1", server.host()), &ImportOptions::default())
            .unwrap();
        assert_sound(&store);
    }
}
