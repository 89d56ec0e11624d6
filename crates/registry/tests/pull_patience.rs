//! Pulls from registries that are slow, busy, suspicious or send somewhere else: what is waited for, tried again, and given up.

mod common;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::hostile::{VerifyImage as _, but, fails, image, store};
use common::image::Image;
use common::server::{Content, Reply, Server};
use common::{assert_sound, client, listening, options, pull, told};
use layerstone_oci::Compression;
use layerstone_registry::{Event, Refusal, Select};
use layerstone_store::ImportOptions;

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
