//! Pushes to registries that break, forget, or say something else.

mod common;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex};

use common::image::Image;
use common::server::{Reply, Seen, Server};
use common::{client, told};
use layerstone_oci::{Compression, Descriptor, Digest};
use layerstone_registry::{BlobSource, PushOptions, PushOutcome, Reference};

struct Blobs<'a>(&'a Image);

impl BlobSource for Blobs<'_> {
    fn open(&self, descriptor: &Descriptor, offset: u64) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0.blobs[&descriptor.digest][offset as usize..].to_vec())))
    }
}

/// What a registry has taken.
#[derive(Default)]
struct Taken {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, Vec<u8>>,
    count: usize,
}

impl Taken {
    fn query<'a>(path: &'a str, name: &str) -> Option<&'a str> {
        path.split_once('?')?.1.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    }

    fn upload(path: &str) -> String {
        path.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// A registry that does all right.
    fn reply(&mut self, seen: &Seen) -> Reply {
        let last = Self::upload(&seen.path);
        match seen.method.as_str() {
            "HEAD" => Reply::new(if self.blobs.contains_key(&last) { 200 } else { 404 }, ""),
            "POST" => {
                self.count += 1;
                let id = format!("u{}", self.count);
                self.uploads.insert(id.clone(), Vec::new());
                // Relative, as the specification allows.
                Reply::new(202, "").header("Location", format!("/v2/app/blobs/uploads/{id}?state=1"))
            }
            "PATCH" | "GET" if !self.uploads.contains_key(&last) => Reply::new(404, ""),
            "PATCH" => {
                let upload = self.uploads.get_mut(&last).unwrap();
                if let Some(range) = seen.header("content-range") {
                    let start: usize = range.split('-').next().unwrap().parse().unwrap();
                    if start != upload.len() {
                        return Reply::new(416, "");
                    }
                }
                upload.extend_from_slice(&seen.body);
                Reply::new(202, "")
                    .header("Location", format!("/v2/app/blobs/uploads/{last}"))
                    .header("Range", format!("0-{}", upload.len() - 1))
            }
            "GET" => Reply::new(204, "")
                .header("Location", format!("/v2/app/blobs/uploads/{last}"))
                .header("Range", format!("0-{}", self.uploads[&last].len().saturating_sub(1))),
            "PUT" if seen.path.contains("/manifests/") => {
                self.manifests.insert(last, seen.body.clone());
                Reply::new(201, "")
            }
            "PUT" => {
                let digest = Self::query(&seen.path, "digest").unwrap().to_owned();
                let mut bytes = self.uploads.remove(&last).unwrap_or_default();
                bytes.extend_from_slice(&seen.body);
                if Digest::of(&bytes).to_string() != digest {
                    return Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"not it"}]}"#);
                }
                self.blobs.insert(digest, bytes);
                Reply::new(201, "")
            }
            _ => Reply::new(405, ""),
        }
    }
}

fn image() -> Image {
    Image::new("windows/amd64:10.0.20348.2113", &[3_000_000, 100_000], Compression::Gzip)
}

fn push(
    server: &Server,
    image: &Image,
    options: &PushOptions,
) -> Result<PushOutcome, layerstone_registry::Error> {
    let reference = Reference::parse(&format!("{}/app:1", server.host())).unwrap();
    client().push(&reference, &[&image.manifest], None, &Blobs(image), options, &|_| ())
}

fn assert_taken(taken: &Taken, image: &Image) {
    for (digest, bytes) in &image.blobs {
        assert!(taken.blobs[&digest.to_string()] == *bytes, "blob {digest}");
    }
    assert_eq!(taken.manifests["1"], image.manifest.bytes());
}

#[test]
fn a_push_sends_what_is_not_there_and_the_manifest_last() {
    let image = image();
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let registry = Arc::clone(&taken);
    let server = Server::start(move |seen| registry.lock().unwrap().reply(seen));
    let outcome = push(&server, &image, &PushOptions::default()).unwrap();
    assert_eq!((outcome.sent, outcome.existed), (3, 0));
    assert_taken(&taken.lock().unwrap(), &image);
    assert!(server.seen().last().unwrap().path.ends_with("/manifests/1"));
    let again = push(&server, &image, &PushOptions::default()).unwrap();
    assert_eq!((again.sent, again.existed), (0, 3));
}

#[test]
fn a_blob_is_sent_in_chunks_where_that_is_asked_for() {
    let image = image();
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let registry = Arc::clone(&taken);
    let server = Server::start(move |seen| registry.lock().unwrap().reply(seen));
    push(&server, &image, &PushOptions { chunk: Some(1_000_000), ..PushOptions::default() }).unwrap();
    assert_eq!(server.count("PATCH", ""), 4, "3,000,000 bytes and a little");
    assert_taken(&taken.lock().unwrap(), &image);
}

#[test]
fn an_upload_that_breaks_goes_on_from_what_has_arrived() {
    let image = image();
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let registry = Arc::clone(&taken);
    let broken = Mutex::new(0);
    let server = Server::start(move |seen| {
        let mut taken = registry.lock().unwrap();
        if seen.method == "PATCH" {
            let mut broken = broken.lock().unwrap();
            *broken += 1;
            if *broken <= 3 {
                // It takes 700,000 bytes, and its answer is lost.
                let mut part = seen.clone();
                part.body.truncate(700_000);
                taken.reply(&part);
                return Reply::raw(|_| ());
            }
        }
        taken.reply(seen)
    });
    push(&server, &image, &PushOptions::default()).unwrap();
    assert_taken(&taken.lock().unwrap(), &image);
    assert!(server.count("GET", "uploads") >= 3);
    assert_eq!(server.count("POST", "uploads"), 3, "one session for each blob");
}

#[test]
fn an_upload_that_the_registry_has_forgotten_begins_again() {
    let image = image();
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let registry = Arc::clone(&taken);
    let first = Mutex::new(true);
    let server = Server::start(move |seen| {
        let mut taken = registry.lock().unwrap();
        if seen.method == "PATCH" && std::mem::take(&mut *first.lock().unwrap()) {
            taken.uploads.clear();
            return Reply::raw(|_| ());
        }
        taken.reply(seen)
    });
    push(&server, &image, &PushOptions::default()).unwrap();
    assert_taken(&taken.lock().unwrap(), &image);
}

#[test]
fn an_answer_that_is_lost_after_the_blob_was_taken_is_no_failure() {
    let image = image();
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let registry = Arc::clone(&taken);
    let server = Server::start(move |seen| {
        let mut taken = registry.lock().unwrap();
        let reply = taken.reply(seen);
        if seen.method == "PUT" && seen.path.contains("uploads") { Reply::raw(|_| ()) } else { reply }
    });
    push(&server, &image, &PushOptions::default()).unwrap();
    assert_taken(&taken.lock().unwrap(), &image);
}

#[test]
fn the_tag_is_not_touched_when_a_blob_is_refused() {
    let image = image();
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let registry = Arc::clone(&taken);
    let config = image.config.digest().to_string();
    let server = Server::start(move |seen| {
        if seen.method == "PUT" && seen.path.contains(&config) {
            return Reply::new(403, r#"{"errors":[{"code":"DENIED","message":"quota reached"}]}"#);
        }
        registry.lock().unwrap().reply(seen)
    });
    let error = push(&server, &image, &PushOptions::default()).unwrap_err();
    assert!(told(&error).contains("quota reached"), "{}", told(&error));
    assert!(taken.lock().unwrap().manifests.is_empty());
}

#[test]
fn a_registry_without_a_place_to_upload_to_is_told_about() {
    let image = image();
    let server = Server::start(|seen| Reply::new(if seen.method == "HEAD" { 404 } else { 202 }, ""));
    let error = push(&server, &image, &PushOptions::default()).unwrap_err();
    assert!(told(&error).contains("Location"), "{}", told(&error));
}
