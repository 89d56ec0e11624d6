//! Pulls from registries that do something wrong: each ends right or in an error that says what was wrong, and never leaves
//! anything broken behind.

mod common;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::image::Image;
use common::server::{Content, Reply, Seen, Server};
use common::{assert_sound, client, listening, options, pull, told};
use layerstone_oci::{Compression, Digest, MediaType};
use layerstone_registry::{Event, Refusal, Select};
use layerstone_store::{ImportOptions, Store};

fn image() -> Image {
    Image::new("linux/amd64", &[40_000, 90_000], Compression::Gzip)
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Pulls `app:1` from a server with this handler, which has to fail with these words and leave the store sound and empty.
fn fails(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static, words: &[&str]) {
    let server = Server::start(handler);
    let (_dir, store) = store();
    let error =
        pull(&client(), &store, &format!("{}/app:1", server.host()), &ImportOptions::default()).unwrap_err();
    let text = told(&*error);
    for word in words {
        assert!(text.contains(word), "`{text}` does not say `{word}`");
    }
    assert_sound(&store);
    assert!(store.images().unwrap().is_empty());
}

/// A handler that answers for one part of the paths, and lets a good registry answer for the rest.
fn but(
    image: &Image,
    part: impl Into<String>,
    reply: impl Fn(&Seen, &Content) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let (content, part) = (Content::with(image, "1"), part.into());
    move |seen| if seen.path.contains(&part) { reply(seen, &content) } else { content.reply(seen) }
}

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

trait VerifyImage {
    fn verify_image(&self, name: &str) -> bool;
}

impl VerifyImage for Store {
    fn verify_image(&self, name: &str) -> bool {
        let chain_ids = self.image(name, None).unwrap().chain_ids();
        chain_ids.iter().all(|chain| {
            let layer = self.layer(chain).unwrap();
            let mut reader = layer.archive_reader();
            let mut hasher = layerstone_oci::Sha256Hasher::new();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
            hasher.update(&bytes);
            hasher.finish() == layer.description().diff_id.0
        })
    }
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
fn a_body_without_end_is_cut_off() {
    let image = image();
    let started = Instant::now();
    fails(
        but(&image, image.layers()[0].to_string(), |seen, content| {
            let bytes = content.blobs[seen.path.rsplit('/').next().unwrap()].clone();
            Reply::raw(move |stream| {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk =
                    |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&chunk(&bytes)));
                let more = chunk(&[0; 4096]);
                let until = Instant::now() + Duration::from_secs(20);
                while Instant::now() < until && stream.write_all(&more).is_ok() {}
            })
        }),
        &["too long"],
    );
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[test]
fn a_blob_that_drips_is_given_up() {
    let image = image();
    fails(
        but(&image, image.layers()[0].to_string(), |seen, content| {
            let bytes = content.blobs[seen.path.rsplit('/').next().unwrap()].clone();
            Reply::raw(move |stream| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                let _ = stream.write_all(head.as_bytes());
                for byte in bytes.iter().take(150) {
                    if stream.write_all(&[*byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            })
        }),
        &["bytes in", "gave up"],
    );
}

#[test]
fn a_registry_that_falls_silent_is_given_up() {
    let image = image();
    fails(
        but(&image, image.layers()[0].to_string(), |_, _| {
            Reply::raw(|stream| {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
                std::thread::sleep(Duration::from_secs(3));
            })
        }),
        &["no answer"],
    );
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let image = image();
    let blobs = Content::with(&image, "1");
    let storage = Server::start(move |seen| blobs.reply(seen));
    let place = storage.url("");
    let content = Content::with(&image, "1");
    let server = Server::start(move |seen| {
        if seen.header("authorization") != Some("Basic dXNlcjpzZWNyZXQ=") {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        if seen.path.contains("/blobs/") {
            return Reply::new(307, "").header("Location", format!("{place}{}", seen.path));
        }
        content.reply(seen)
    });
    let mut options = options();
    options.credentials = Some(layerstone_registry::Credentials::Password {
        username: "user".into(),
        password: "secret".into(),
    });
    let (_dir, store) = store();
    let client = layerstone_registry::Client::new(options).unwrap();
    pull(&client, &store, &format!("{}/app:1", server.host()), &ImportOptions::default()).unwrap();
    let at_storage = storage.seen();
    assert_eq!(at_storage.len(), 3, "the configuration and two layers");
    assert!(at_storage.iter().all(|seen| seen.header("authorization").is_none()), "{at_storage:?}");
    assert_sound(&store);
}

#[test]
fn redirects_without_end_are_refused() {
    fails(
        but(&image(), "/blobs/", |seen, _| Reply::new(307, "").header("Location", format!("{}x", seen.path))),
        &["redirects"],
    );
}

#[test]
fn a_redirect_to_nowhere_is_refused() {
    for location in [None, Some(""), Some("ftp://example.com/x"), Some("http://user:pw@example.com/")] {
        fails(
            but(&image(), "/blobs/", move |seen, _| match location {
                Some("") => Reply::new(307, "").header("Location", seen.path.clone()),
                Some(location) => Reply::new(307, "").header("Location", location),
                None => Reply::new(307, ""),
            }),
            &["redirect"],
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
fn a_token_that_is_never_enough_ends_in_an_error() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let given = Arc::clone(&tokens);
    fails(
        move |seen| {
            if seen.path.starts_with("/token") {
                let n = given.fetch_add(1, Ordering::Relaxed);
                return Reply::new(200, format!(r#"{{"token":"t{n}"}}"#));
            }
            let realm =
                format!("Bearer realm=\"http://{}/token\",service=\"s\"", seen.header("host").unwrap());
            Reply::new(401, "").header("WWW-Authenticate", realm)
        },
        &["401"],
    );
    assert!(tokens.load(Ordering::Relaxed) <= 4, "{tokens:?}");
}

#[test]
fn a_token_service_that_gives_nonsense_ends_in_an_error() {
    for body in ["", "{", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nb"}"#] {
        fails(
            move |seen| {
                if seen.path.starts_with("/token") {
                    return Reply::new(200, body);
                }
                let realm = format!("Bearer realm=\"http://{}/token\"", seen.header("host").unwrap());
                Reply::new(401, "").header("WWW-Authenticate", realm)
            },
            &["token"],
        );
    }
}

#[test]
fn a_token_that_expires_in_the_middle_is_replaced() {
    let image = image();
    let content = Content::with(&image, "1");
    let state = Arc::new(Mutex::new((0usize, 0usize)));
    let shared = Arc::clone(&state);
    let server = Server::start(move |seen| {
        let mut state = shared.lock().unwrap();
        if seen.path.starts_with("/token") {
            state.0 += 1;
            state.1 = 0;
            assert!(seen.path.contains("scope=repository:app:pull"), "{}", seen.path);
            return Reply::new(200, format!(r#"{{"access_token":"t{}","expires_in":300}}"#, state.0));
        }
        let right = format!("Bearer t{}", state.0);
        // Each token is good for two requests.
        if seen.header("authorization") != Some(&right) || state.1 == 2 {
            let realm = format!(
                "Bearer realm=\"http://{}/token\",service=\"s\",scope=\"repository:app:pull\"",
                seen.header("host").unwrap()
            );
            return Reply::new(401, "").header("WWW-Authenticate", realm);
        }
        state.1 += 1;
        drop(state);
        content.reply(seen)
    });
    let (_dir, store) = store();
    pull(&client(), &store, &format!("{}/app:1", server.host()), &ImportOptions::default()).unwrap();
    assert!(state.lock().unwrap().0 >= 2);
    assert_sound(&store);
}

#[test]
fn too_many_requests_and_broken_servers_are_waited_for() {
    for status in [429, 500, 502, 503] {
        let image = image();
        let content = Content::with(&image, "1");
        let refusals = AtomicUsize::new(0);
        let server = Server::start(move |seen| {
            if seen.path.contains("/blobs/") && refusals.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Reply::new(status, "").header("Retry-After", "0");
            }
            content.reply(seen)
        });
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        let client = listening(options(), move |event| heard.lock().unwrap().push(event));
        let (_dir, store) = store();
        pull(&client, &store, &format!("{}/app:1", server.host()), &ImportOptions::default()).unwrap();
        assert!(events.lock().unwrap().iter().any(|event| matches!(event, Event::Retry { .. })));
        assert_sound(&store);
    }
}

#[test]
fn retry_after_is_kept_to() {
    let image = image();
    let content = Content::with(&image, "1");
    let first = AtomicUsize::new(0);
    let server = Server::start(move |seen| {
        if seen.path.contains("/manifests/") && first.fetch_add(1, Ordering::Relaxed) == 0 {
            return Reply::new(429, "").header("Retry-After", "1");
        }
        content.reply(seen)
    });
    let started = Instant::now();
    client().resolve(&format!("{}/app:1", server.host()), &Select::Host).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_retry_after_of_an_hour_is_an_error_that_says_so() {
    let server = Server::start(|_| Reply::new(429, "").header("Retry-After", "3600"));
    let error = client().resolve(&format!("{}/app:1", server.host()), &Select::Host).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::RateLimited));
    assert!(told(&error).contains("3600 seconds"), "{}", told(&error));
    assert!(error.hint().unwrap().contains("login"));
}

#[test]
fn a_registry_that_is_always_overloaded_is_asked_a_few_times_only() {
    let server =
        Server::start(|_| Reply::new(503, r#"{"errors":[{"code":"UNAVAILABLE","message":"come back"}]}"#));
    let error = client().resolve(&format!("{}/app:1", server.host()), &Select::Host).unwrap_err();
    assert!(told(&error).contains("come back"), "{}", told(&error));
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn refusals_say_what_to_do() {
    for (status, refusal, hint) in [
        (401, Refusal::Unauthorized, "login"),
        (403, Refusal::Forbidden, "login"),
        (404, Refusal::NotFound, "spelling"),
        (429, Refusal::RateLimited, "mirror"),
    ] {
        let server = Server::start(move |_| Reply::new(status, ""));
        let error = client().resolve(&format!("{}/app:1", server.host()), &Select::Host).unwrap_err();
        assert_eq!(error.refusal(), Some(refusal));
        assert!(error.hint().unwrap().contains(hint), "{status}: {:?}", error.hint());
        assert!(told(&error).contains(&server.host()), "{}", told(&error));
    }
}

#[test]
fn a_registry_that_ignores_ranges_is_read_again_from_the_start() {
    let image = Image::new("linux/amd64", &[600_000], Compression::Gzip);
    let layer = image.layers()[0].to_string();
    let connections = AtomicUsize::new(0);
    let server = Server::start(but(&image, layer.clone(), move |_, content| {
        let bytes = content.blobs[&layer].clone();
        if connections.fetch_add(1, Ordering::Relaxed) < 2 {
            return Reply::raw(move |stream| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[..200_000]));
            });
        }
        Reply::new(200, bytes)
    }));
    let (_dir, store) = store();
    let name = format!("{}/app:1", server.host());
    pull(&client(), &store, &name, &ImportOptions::default()).unwrap();
    assert!(store.verify_image(&name));
    assert_sound(&store);
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
