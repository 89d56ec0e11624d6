//! A small HTTP server, and a registry made of it that misbehaves as a test asks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use layerstone_oci::{Digest, MediaType};

use super::image::Image;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte of a `Range: bytes=N-`.
    pub(crate) fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What to answer.
pub(crate) enum Reply {
    /// An answer with its length.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Anything; the connection is closed then.
    Raw(Box<dyn FnOnce(&mut TcpStream) + Send>),
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    pub(crate) fn raw(write: impl FnOnce(&mut TcpStream) + Send + 'static) -> Self {
        Self::Raw(Box::new(write))
    }
}

/// A server on this machine only. It ends with the test.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (seen, stop): (Arc<Mutex<Vec<Seen>>>, Arc<AtomicBool>) = Default::default();
        let handler = Arc::new(handler);
        let (log, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (handler, log, ended) = (Arc::clone(&handler), Arc::clone(&log), Arc::clone(&ended));
                thread::spawn(move || serve(stream, &*handler, &log, &ended));
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests whose path has this in it.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: TcpStream,
    handler: &(dyn Fn(&Seen) -> Reply + Send + Sync),
    log: &Mutex<Vec<Seen>>,
    ended: &AtomicBool,
) {
    // Nobody waits for ever, whatever a test does.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let _ = stream.set_write_timeout(Some(Duration::from_secs(20)));
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read_request(&mut reader) {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        log.lock().unwrap().push(seen.clone());
        match handler(&seen) {
            Reply::Raw(write) => return write(reader.get_mut()),
            Reply::Answer { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} X\r\n");
                let own_length = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                if !own_length {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                head.push_str("\r\n");
                let stream = reader.get_mut();
                let body: &[u8] = if seen.method == "HEAD" { &[] } else { &body };
                if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
                    return;
                }
            }
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { method, path, headers, body })
}

/// The content of a registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    /// By tag or digest: media type and bytes.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

impl Content {
    pub(crate) fn with(image: &Image, tag: &str) -> Self {
        let mut content = Self::default();
        content.add(image, tag);
        content
    }

    pub(crate) fn add(&mut self, image: &Image, tag: &str) {
        let entry = (image.manifest.media_type().to_string(), image.manifest.bytes().to_vec());
        self.manifests.insert(tag.into(), entry.clone());
        self.manifests.insert(image.manifest.digest().to_string(), entry);
        self.blobs.extend(image.blobs.iter().map(|(digest, bytes)| (digest.to_string(), bytes.clone())));
    }

    pub(crate) fn add_index(&mut self, bytes: Vec<u8>, tag: &str) {
        let entry = (MediaType::OCI_INDEX.to_owned(), bytes.clone());
        self.manifests.insert(tag.into(), entry.clone());
        self.manifests.insert(Digest::of(&bytes).to_string(), entry);
    }

    /// What a registry that does all right answers to a GET or HEAD.
    pub(crate) fn reply(&self, seen: &Seen) -> Reply {
        let last = seen.path.rsplit('/').next().unwrap_or_default();
        if seen.path == "/v2/" {
            return Reply::new(200, "{}");
        }
        if seen.path.contains("/manifests/") {
            return match self.manifests.get(last) {
                Some((media_type, bytes)) => Reply::new(200, bytes.clone())
                    .header("Content-Type", media_type)
                    .header("Docker-Content-Digest", Digest::of(bytes).to_string()),
                None => Reply::new(
                    404,
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                ),
            };
        }
        if seen.path.contains("/blobs/") {
            let Some(bytes) = self.blobs.get(last) else {
                return Reply::new(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#);
            };
            return match seen.range() {
                Some(start) if start < bytes.len() => {
                    let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                    Reply::new(206, bytes[start..].to_vec()).header("Content-Range", range)
                }
                Some(_) => Reply::new(416, ""),
                None => Reply::new(200, bytes.clone()),
            };
        }
        Reply::new(404, "")
    }
}
