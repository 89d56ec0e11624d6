//! Connections that break at any byte, many times: a pull goes on, and is right; or it fails, and nothing broken stays.

mod common;

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use common::image::Image;
use common::server::{Content, Reply, Server};
use common::{Random, assert_sound, client, pull, told};
use layerstone_oci::Compression;
use layerstone_store::{ImportOptions, Store};

/// Runs. Each is an image, a server and a store.
const RUNS: u64 = 80;

#[test]
fn a_pull_over_connections_that_break_at_any_byte_is_right_or_leaves_nothing() {
    let images: Vec<_> = [Compression::Gzip, Compression::Zstd, Compression::None]
        .map(|compression| Image::new("linux/amd64", &[150_000, 3_000, 700_000], compression))
        .into();
    let (mut right, mut failed) = (0, 0);
    for seed in 0..RUNS {
        let mut random = Random(seed);
        let image = &images[random.below(3) as usize];
        // From breaking now and then to breaking nearly always, early.
        let (chance, reach) = (random.below(10), 1 + random.below(400_000));
        let ranges = random.below(3) > 0;
        let keep_blobs = random.below(2) == 0;
        let content = Content::with(image, "1");
        let random = Mutex::new(random);
        let server = Server::start(move |seen| {
            let (breaks, at) = {
                let mut random = random.lock().unwrap();
                (random.below(10) < chance, random.below(reach) as usize)
            };
            let mut seen = seen.clone();
            if !ranges {
                seen.headers.remove("range");
            }
            let Reply::Answer { status, headers, body } = content.reply(&seen) else { unreachable!() };
            if !breaks {
                return Reply::Answer { status, headers, body };
            }
            Reply::raw(move |stream| {
                let mut bytes =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len()).into_bytes();
                for (name, value) in headers {
                    bytes.extend(format!("{name}: {value}\r\n").into_bytes());
                }
                bytes.extend(b"\r\n");
                bytes.extend(body);
                let _ = stream.write_all(&bytes[..at.min(bytes.len())]);
            })
        });
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("store")).unwrap();
        let name = format!("{}/app:1", server.host());
        let options = ImportOptions { keep_blobs, resume: true, ..ImportOptions::default() };
        match pull(&client(), &store, &name, &options) {
            Ok(_) => {
                right += 1;
                let stored = store.image(&name, None).unwrap();
                assert_eq!(stored.manifest.digest(), image.manifest.digest(), "seed {seed}");
                for chain in stored.chain_ids() {
                    let layer = store.layer(&chain).unwrap();
                    let mut bytes = Vec::new();
                    std::io::Read::read_to_end(&mut layer.archive_reader(), &mut bytes).unwrap();
                    assert_eq!(
                        layerstone_oci::Digest::of(&bytes),
                        layer.description().diff_id.0,
                        "seed {seed}"
                    );
                }
            }
            Err(error) => {
                failed += 1;
                let text = told(&*error);
                assert!(
                    text.contains("no answer") || text.contains("gave up") || text.contains("no ranges"),
                    "seed {seed}: {text}"
                );
                assert!(store.images().unwrap().is_empty(), "seed {seed}");
            }
        }
        assert_sound(&store);
    }
    println!("{right} right, {failed} failed");
    assert!(right >= RUNS / 4, "{right} of {RUNS}");
}

#[test]
fn a_blob_goes_on_where_its_connection_broke() {
    let image = Image::new("linux/amd64", &[2_000_000], Compression::Gzip);
    let layer = image.layers()[0].to_string();
    let size = image.blobs[&image.layers()[0]].len();
    let content = Content::with(&image, "1");
    let sent: Arc<Mutex<HashMap<usize, usize>>> = Arc::default();
    let log = Arc::clone(&sent);
    let blob = layer.clone();
    let server = Server::start(move |seen| {
        let reply = content.reply(seen);
        let Reply::Answer { status, headers, body } = reply else { unreachable!() };
        if !seen.path.contains(&blob) {
            return Reply::Answer { status, headers, body };
        }
        let start = seen.range().unwrap_or(0);
        // 300 kB of each connection.
        let part = body.len().min(300_000);
        log.lock().unwrap().insert(start, part);
        let range = format!("bytes {start}-{}/{}", start + body.len() - 1, start + body.len());
        Reply::raw(move |stream| {
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nContent-Range: {range}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..part]));
        })
    });
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    pull(&client(), &store, &format!("{}/app:1", server.host()), &ImportOptions::default()).unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(
        sent.len(),
        size.div_ceil(300_000),
        "each connection begins where the last one ended: {sent:?}"
    );
    assert_eq!(sent.values().sum::<usize>(), size, "no byte was sent twice");
    assert_sound(&store);
}

#[test]
fn with_kept_blobs_a_pull_that_was_stopped_goes_on_where_it_was() {
    let image = Image::new("linux/amd64", &[50_000, 2_000_000], Compression::Gzip);
    let [first, second] = [image.layers()[0].to_string(), image.layers()[1].to_string()];
    let content = Content::with(&image, "1");
    let broken = Arc::new(Mutex::new(true));
    let (state, large) = (Arc::clone(&broken), second.clone());
    let server = Server::start(move |seen| {
        if seen.path.contains(&large) && *state.lock().unwrap() {
            if seen.range().is_some() {
                return Reply::new(404, "");
            }
            let bytes = content.blobs[&large].clone();
            return Reply::raw(move |stream| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
                let _ =
                    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[..1_200_000]));
            });
        }
        content.reply(seen)
    });
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    let name = format!("{}/app:1", server.host());
    let options = ImportOptions { keep_blobs: true, resume: true, ..ImportOptions::default() };
    pull(&client(), &store, &name, &options).unwrap_err();
    assert_sound(&store);
    *broken.lock().unwrap() = false;
    let asked_before = server.count("GET", &first);
    pull(&client(), &store, &name, &options).unwrap();
    assert_eq!(server.count("GET", &first), asked_before, "a layer that was finished is not fetched again");
    let last = server.seen().into_iter().rfind(|seen| seen.path.contains(&second)).unwrap();
    let from = last.range().expect("a range");
    assert!(from > 500_000, "it goes on at byte {from}");
    assert!(store.layout().has_blob(&image.layers()[1]).unwrap());
    assert_sound(&store);

    // What was begun and never ended is garbage.
    std::fs::write(store.staging_root().join(format!("{}.partial", "ab".repeat(32))), vec![0; 5000]).unwrap();
    let freed =
        store.gc(layerstone_store::GcOptions { wait: true, ..Default::default() }, &[], &|_| ()).unwrap();
    assert_eq!(freed.staging.len(), 1);
}

#[test]
fn what_was_kept_of_a_blob_and_is_wrong_is_thrown_away() {
    let image = Image::new("linux/amd64", &[500_000], Compression::Gzip);
    let content = Content::with(&image, "1");
    let server = Server::start(move |seen| content.reply(seen));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path().join("store")).unwrap();
    let partial = store.staging_root().join(format!("{}.partial", image.layers()[0].hex()));
    std::fs::write(&partial, vec![0; 100_000]).unwrap();
    let name = format!("{}/app:1", server.host());
    let options = ImportOptions { keep_blobs: true, resume: true, ..ImportOptions::default() };
    pull(&client(), &store, &name, &options).unwrap_err();
    assert!(!partial.exists());
    pull(&client(), &store, &name, &options).unwrap();
    assert_sound(&store);
}
