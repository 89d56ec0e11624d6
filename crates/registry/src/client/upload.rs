//! Sending blobs and manifests.
//!
//! ```text
//! HEAD blob ─► 200: it is there
//! POST uploads/?mount=<digest>&from=<repository> ─► 201: it was in another repository
//!                                               └─► 202, Location
//! PATCH Location (bytes) ─► 202, Location, Range: 0-<last>       all of them, or a chunk at a time
//! PUT Location?digest=   ─► 201
//! ```
//!
//! When a PATCH breaks, `GET Location` says how much has arrived, and the next one goes on from there; a registry that does not
//! know gets everything again.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use layerstone_oci::{Descriptor, Digest, MediaType};
use ureq::http::Method;

use super::{Repository, Request};
use crate::error::{Error, Refusal, Result};
use crate::http::{Answer, Content, Url};

/// Blobs up to this size go with the PUT that ends the upload.
const SMALL: u64 = 1 << 20;

/// Where the blobs of a push come from.
pub trait BlobSource: Sync {
    /// The blob from byte `offset` on.
    ///
    /// # Errors
    /// When it cannot be read.
    fn open(&self, descriptor: &Descriptor, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// How a blob got to where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Existed,
    /// The registry had it in another repository.
    Mounted,
    /// It was sent.
    Sent,
}

/// One blob to be sent.
pub(crate) struct Upload<'a> {
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) source: &'a dyn BlobSource,
    /// Repositories of the same registry that may have it.
    pub(crate) mount_from: &'a [String],
    /// Bytes of one PATCH; all at once without.
    pub(crate) chunk: Option<u64>,
    /// Hears how many bytes have been sent.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Repository {
    /// Whether the registry has a blob.
    pub(crate) fn has_blob(&self, digest: &Digest, doing: &str) -> Result<bool> {
        let request = Request::new(Method::HEAD, self.path(&format!("blobs/{digest}")));
        let answer = self.send(doing, &self.scope_of("pull,push", &[]), request, &[200, 404])?;
        Ok(answer.status == 200)
    }

    /// Puts a blob into the repository.
    pub(crate) fn upload(&self, upload: &Upload<'_>) -> Result<Uploaded> {
        let doing = format!("push blob {} to {}/{}", upload.descriptor.digest, self.host(), self.name());
        if self.has_blob(&upload.descriptor.digest, &doing)? {
            return Ok(Uploaded::Existed);
        }
        let mut session = None;
        for from in upload.mount_from {
            match self.mount(upload.descriptor, from, &doing)? {
                Mount::Done => return Ok(Uploaded::Mounted),
                Mount::Session(url) => {
                    session = Some(url);
                    break;
                }
                Mount::Refused => {}
            }
        }
        let mut attempt = 1;
        loop {
            let url = match session.take() {
                Some(url) => url,
                None => self.begin(&doing)?,
            };
            let error = match self.send_blob(upload, url, &doing) {
                Ok(()) => return Ok(Uploaded::Sent),
                Err(error) => error,
            };
            // The session is lost; or the last answer was, and the blob is there.
            if self.has_blob(&upload.descriptor.digest, &doing).unwrap_or(false) {
                return Ok(Uploaded::Sent);
            }
            let lost = match &error {
                Error::Connection { .. } => true,
                Error::Refused { status, .. } => {
                    crate::http::is_passing(status.0) || matches!(status.0, 404 | 416)
                }
                _ => false,
            };
            if !lost || attempt >= self.patience().attempts {
                return Err(error);
            }
            std::thread::sleep(self.patience().pause(attempt));
            attempt += 1;
        }
    }

    fn begin(&self, doing: &str) -> Result<Url> {
        let empty = || Ok(Content::of_bytes(&[]));
        let request = Request::new(Method::POST, self.path("blobs/uploads/")).body(&empty);
        let answer = self.send(doing, &self.scope_of("pull,push", &[]), request, &[202])?;
        location(&answer, doing)
    }

    fn mount(&self, descriptor: &Descriptor, from: &str, doing: &str) -> Result<Mount> {
        let empty = || Ok(Content::of_bytes(&[]));
        let base = self.url(&self.path("blobs/uploads/"), doing)?;
        let url = base.with_query("mount", &descriptor.digest.to_string()).with_query("from", from);
        let scope = self.scope_of("pull,push", &[from.to_owned()]);
        let answer = self.send(doing, &scope, Request::to(Method::POST, &url).body(&empty), &[201, 202]);
        match answer {
            Ok(answer) if answer.status == 201 => Ok(Mount::Done),
            Ok(answer) => Ok(Mount::Session(location(&answer, doing)?)),
            // Who may not read the other repository may still send the blob.
            Err(error) if error.refusal().is_some_and(|refusal| refusal != Refusal::RateLimited) => {
                Ok(Mount::Refused)
            }
            Err(error) => Err(error),
        }
    }

    /// One upload session, from its first byte or from where the last PATCH broke.
    fn send_blob(&self, upload: &Upload<'_>, mut url: Url, doing: &str) -> Result<()> {
        let size = upload.descriptor.size;
        let scope = self.scope_of("pull,push", &[]);
        let mut offset = 0;
        let mut failures = 0;
        while size > SMALL && offset < size {
            let end = upload.chunk.map_or(size, |chunk| size.min(offset.saturating_add(chunk.max(1))));
            let body = || content(upload, offset, end);
            let mut request = Request::to(Method::PATCH, &url)
                .header("content-type", "application/octet-stream")
                .body(&body)
                .once();
            // What is sent whole needs no range, and not all registries know them here.
            if offset > 0 || end < size {
                request = request.header("content-range", format!("{offset}-{}", end - 1));
            }
            match self.send(doing, &scope, request, &[202, 201, 204]) {
                Ok(answer) => {
                    url = location(&answer, doing)?;
                    offset = match answer.header("range").and_then(parse_upload_range) {
                        // It took less than it was sent.
                        Some(next) if next > offset && next < end => next,
                        _ => end,
                    };
                    failures = 0;
                }
                Err(error) => {
                    failures += 1;
                    let broke = matches!(&error, Error::Connection { .. })
                        || matches!(&error, Error::Refused { status, .. }
                            if crate::http::is_passing(status.0) || status.0 == 416);
                    if !broke || failures >= self.patience().attempts {
                        return Err(error);
                    }
                    std::thread::sleep(self.patience().pause(failures));
                    let request = Request::to(Method::GET, &url);
                    let Ok(answer) = self.send(doing, &scope, request, &[204, 200]) else {
                        return Err(error);
                    };
                    // A registry that does not say how much it has may have anything.
                    let arrived = answer.header("range").and_then(parse_upload_range).ok_or(error)?;
                    url = location(&answer, doing)?;
                    if arrived > size {
                        return Err(Error::protocol(doing, &url, "it has more bytes than were sent"));
                    }
                    if arrived > offset {
                        failures = 0;
                    }
                    offset = arrived;
                }
            }
            upload.sent.store(offset, Ordering::Relaxed);
        }
        let target = url.with_query("digest", &upload.descriptor.digest.to_string());
        let body = || if size <= SMALL { content(upload, 0, size) } else { Ok(Content::of_bytes(&[])) };
        let request = Request::to(Method::PUT, &target)
            .header("content-type", "application/octet-stream")
            .body(&body)
            .once();
        self.send(doing, &scope, request, &[201, 204]).map(drop)
    }

    /// Puts a manifest or an index under a tag or its digest.
    pub(crate) fn put_manifest(&self, wanted: &str, bytes: &[u8], media_type: &MediaType) -> Result<()> {
        let doing = format!("push the manifest {}", self.named(wanted));
        let body = || Ok(Content::of_bytes(bytes));
        let request = Request::new(Method::PUT, self.path(&format!("manifests/{wanted}")))
            .header("content-type", media_type.as_str())
            .body(&body);
        let answer = self.send(&doing, &self.scope_of("pull,push", &[]), request, &[201, 202, 200])?;
        let own = Digest::of(bytes);
        match answer.header("docker-content-digest").map(Digest::parse) {
            Some(Ok(stated)) if stated.algorithm() == own.algorithm() && stated != own => {
                let reason = format!("it took the manifest for {stated}, and it is {own}");
                Err(Error::protocol(&doing, &answer.url, reason))
            }
            _ => Ok(()),
        }
    }
}

enum Mount {
    Done,
    Session(Url),
    Refused,
}

fn location(answer: &Answer, doing: &str) -> Result<Url> {
    let place = answer.header("location").and_then(|location| answer.url.join(location));
    let url = place.ok_or_else(|| Error::protocol(doing, &answer.url, "no place (Location) to upload to"))?;
    if answer.url.scheme() == crate::http::Scheme::Https && url.scheme() == crate::http::Scheme::Http {
        // Behind a proxy some registries take themselves for plain ones.
        if url.host_name() == answer.url.host_name() {
            return Ok(Url::new(answer.url.scheme(), answer.url.host(), url.path()));
        }
        return Err(Error::protocol(doing, &answer.url, "it sends an upload out of TLS"));
    }
    Ok(url)
}

fn content(upload: &Upload<'_>, start: u64, end: u64) -> Result<Content> {
    let digest = upload.descriptor.digest;
    let reader =
        upload.source.open(upload.descriptor, start).map_err(|source| Error::ReadBlob { digest, source })?;
    let reader = Counted { inner: reader.take(end - start), at: start, sent: Arc::clone(&upload.sent) };
    Ok(Content { reader: Box::new(reader), size: end - start })
}

/// Tells how far it is.
struct Counted<R> {
    inner: R,
    at: u64,
    sent: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.at += n as u64;
        self.sent.store(self.at, Ordering::Relaxed);
        Ok(n)
    }
}

/// The next byte that an upload needs, of a `Range` header in an answer: `0-99`, with or without `bytes=`. Some registries say
/// `0-0` for nothing as for one byte; it is taken for nothing.
pub fn parse_upload_range(text: &str) -> Option<u64> {
    let text = text.trim();
    let (start, end) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (number(start)?, number(end)?) {
        (0, 0) => Some(0),
        (0, end) => end.checked_add(1),
        _ => None,
    }
}
