//! A blob as one stream, however often the connection breaks.
//!
//! ```text
//! GET blob ─► bytes ... break at byte N
//! GET blob, Range: bytes=N- ─► 206, Content-Range: bytes N-      goes on
//!                          └─► 200: the registry knows no ranges  N bytes are read again and thrown away
//! ```
//!
//! Whoever reads sees one stream; its digest is checked by him ([`VerifyingReader`](layerstone_oci::VerifyingReader)).

use std::fmt;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use layerstone_oci::{Descriptor, Digest, VerifyError};
use ureq::BodyReader;
use ureq::http::Method;

use super::{Client, Event, Repository, Request};
use crate::error::{Error, Result, Status, TransportError};
use crate::http::{Answer, Call, Patience, Url, is_passing, may_pass};
use crate::limits::{MAX_RECONNECTS, MAX_REDIRECTS, PROGRESS};

/// Where a blob can be had.
#[derive(Clone)]
pub(crate) enum Source {
    /// A registry or a mirror.
    Repository(Repository),
    /// An address in a descriptor: of a layer that may not be distributed. Credentials never go there.
    Foreign(Client, Url),
}

/// A blob that is being fetched. Connects at the first read.
pub struct RemoteBlob {
    sources: Vec<Source>,
    /// The source in use.
    at: usize,
    digest: Digest,
    size: u64,
    position: u64,
    stream: Option<Stream>,
    /// Breaks since there was progress.
    failures: u32,
    /// Bytes since the last break.
    since: u64,
    connections: u32,
    /// Times that everything was read again from the start.
    restarts: u32,
}

struct Stream {
    body: BodyReader<'static>,
    pace: Pace,
    /// Bytes to be thrown away: those that are known, of a registry that knows no ranges.
    skip: u64,
}

/// Whether a connection brings enough to be worth waiting for.
struct Pace {
    waited: Duration,
    brought: u64,
}

impl fmt::Debug for RemoteBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBlob")
            .field("digest", &self.digest)
            .field("position", &self.position)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl RemoteBlob {
    /// A blob from byte `offset` on, asked for at each of `sources` in turn.
    pub(crate) fn new(sources: Vec<Source>, descriptor: &Descriptor, offset: u64) -> Self {
        Self {
            sources,
            at: 0,
            digest: descriptor.digest,
            size: descriptor.size,
            position: offset.min(descriptor.size),
            stream: None,
            failures: 0,
            since: 0,
            connections: 0,
            restarts: 0,
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let left = self.size - self.position;
            if left == 0 {
                return self.end().map(|()| 0);
            }
            if self.stream.is_none() {
                self.connect()?;
            }
            let Some(stream) = &mut self.stream else { continue };
            let wanted = if stream.skip > 0 { stream.skip } else { left };
            let room = buffer.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
            let patience = self.sources[self.at].client().patience();
            match stream.read(&mut buffer[..room], patience) {
                Ok(0) => self.broke(TransportError::Io(io::ErrorKind::UnexpectedEof.into()))?,
                Ok(n) if stream.skip > 0 => stream.skip -= n as u64,
                Ok(n) => {
                    self.position += n as u64;
                    self.since = self.since.saturating_add(n as u64);
                    return Ok(n);
                }
                Err(error) => self.broke(error)?,
            }
        }
    }

    /// Everything is there; more would be too much. Reading to the end also gives the connection back.
    fn end(&mut self) -> Result<()> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let patience = self.sources[self.at].client().patience();
        match stream.read(&mut [0], patience) {
            Ok(n) if n > 0 => {
                Err(self.wrong(VerifyError::TooLong { digest: self.digest, expected: self.size }))
            }
            // What happens behind the end is nobody's loss.
            _ => Ok(()),
        }
    }

    /// Connects to the source in use, or to the next one that works.
    fn connect(&mut self) -> Result<()> {
        loop {
            match self.try_connect() {
                Ok(stream) => {
                    self.stream = Some(stream);
                    return Ok(());
                }
                Err(error) => self.next_source(error)?,
            }
        }
    }

    /// Goes to the next source, or fails with `error` when there is none.
    fn next_source(&mut self, error: Error) -> Result<()> {
        if self.at + 1 >= self.sources.len() {
            return Err(error);
        }
        let source = &self.sources[self.at];
        source.client().tell(Event::Next { place: source.place().to_owned(), reason: error.to_string() });
        self.at += 1;
        (self.failures, self.since) = (0, 0);
        Ok(())
    }

    fn try_connect(&mut self) -> Result<Stream> {
        self.connections += 1;
        let source = self.sources[self.at].clone();
        let doing = format!("fetch blob {} from {}", self.digest, source.place());
        let range = (self.position > 0).then(|| format!("bytes={}-", self.position));
        let answer = source.get(&doing, &self.digest, range.as_deref())?;
        let url = answer.url.clone();
        let stated = |name: &str| answer.header(name).map(str::to_owned);
        let mut skip = 0;
        if answer.status == 206 {
            let Some(range) = stated("content-range").as_deref().and_then(parse_content_range) else {
                return Err(Error::protocol(
                    &doing,
                    &url,
                    "a part (206) without a Content-Range that can be read",
                ));
            };
            if range.start != self.position {
                let reason = format!(
                    "a part from byte {} was asked for, and one from {} came",
                    self.position, range.start
                );
                return Err(Error::protocol(&doing, &url, reason));
            }
            if let Some(total) = range.total {
                self.check_size(total)?;
            }
        } else {
            if let Some(total) = stated("content-length").and_then(|text| text.parse().ok()) {
                self.check_size(total)?;
            }
            skip = self.position;
        }
        if skip > 0 {
            self.restarts += 1;
            if self.restarts > source.client().patience().attempts {
                return Err(Error::protocol(
                    &doing,
                    &url,
                    "it knows no ranges, and the connection breaks each time",
                ));
            }
        }
        let pace = Pace { waited: Duration::ZERO, brought: 0 };
        Ok(Stream { body: answer.body.into_reader(), pace, skip })
    }

    fn check_size(&self, found: u64) -> Result<()> {
        let (digest, expected) = (self.digest, self.size);
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => Err(self.wrong(VerifyError::TooShort { digest, expected, found })),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(self.wrong(VerifyError::TooLong { digest, expected })),
        }
    }

    fn wrong(&self, source: VerifyError) -> Error {
        let place = self.sources[self.at].place().to_owned();
        Error::Verify { what: format!("blob {}", self.digest), place, source }
    }

    /// The connection broke: waits before the next one, or says that it is enough.
    fn broke(&mut self, error: TransportError) -> Result<()> {
        self.stream = None;
        if self.since >= PROGRESS {
            self.failures = 0;
        }
        self.failures += 1;
        self.since = 0;
        let source = &self.sources[self.at];
        let (place, client) = (source.place().to_owned(), source.client().clone());
        let doing = format!("fetch blob {} (at byte {} of {})", self.digest, self.position, self.size);
        let reason = error.to_string();
        let passing = may_pass(&error);
        let error = Error::Connection { doing: doing.clone(), place: place.clone(), source: Box::new(error) };
        if !passing || self.failures >= client.patience().attempts || self.connections >= MAX_RECONNECTS {
            let (digest, offset, size, attempts) = (self.digest, self.position, self.size, self.failures);
            return self.next_source(Error::BlobBroken {
                digest,
                offset,
                size,
                attempts,
                source: Box::new(error),
            });
        }
        let pause = client.patience().pause(self.failures);
        client.tell(Event::Retry { doing, place, reason, pause });
        std::thread::sleep(pause);
        Ok(())
    }
}

impl Read for RemoteBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_some(buffer).map_err(Error::into_io)
    }
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8], patience: &Patience) -> Result<usize, TransportError> {
        let begun = Instant::now();
        let result = self.body.read(buffer);
        self.pace.waited += begun.elapsed();
        let n = result.map_err(|error| match TransportError::from(error) {
            TransportError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                TransportError::Stalled(patience.stall)
            }
            other => other,
        })?;
        self.pace.brought += n as u64;
        if self.pace.waited >= patience.window {
            let Pace { waited: window, brought: bytes } = self.pace;
            self.pace = Pace { waited: Duration::ZERO, brought: 0 };
            if bytes < patience.least_bytes {
                return Err(TransportError::Slow { bytes, window });
            }
        }
        Ok(n)
    }
}

impl Source {
    fn client(&self) -> &Client {
        match self {
            Self::Repository(repository) => repository.client(),
            Self::Foreign(client, _) => client,
        }
    }

    fn place(&self) -> &str {
        match self {
            Self::Repository(repository) => repository.host(),
            Self::Foreign(_, url) => url.host(),
        }
    }

    fn get(&self, doing: &str, digest: &Digest, range: Option<&str>) -> Result<Answer> {
        match self {
            Self::Repository(repository) => {
                let mut request = Request::new(Method::GET, repository.path(&format!("blobs/{digest}")));
                if let Some(range) = range {
                    request = request.header("range", range);
                }
                repository.send(doing, &repository.scope_of("pull", &[]), request, &[200, 206])
            }
            Self::Foreign(client, url) => client.get_foreign(doing, url, range),
        }
    }
}

impl Client {
    /// How patient it is.
    pub(crate) fn patience(&self) -> &Patience {
        self.shared.connections.patience()
    }

    /// Fetches from somewhere that is no registry of ours: without credentials.
    fn get_foreign(&self, doing: &str, url: &Url, range: Option<&str>) -> Result<Answer> {
        let headers: Vec<_> = range.map(|range| ("range", range.to_owned())).into_iter().collect();
        let (mut url, mut redirects, mut attempt) = (url.clone(), 0, 1);
        loop {
            let call =
                Call { method: Method::GET, url: &url, headers: &headers, body: None, insecure: false };
            let result = self.shared.connections.call(call, doing);
            let reason = match result {
                Ok(answer) if matches!(answer.status, 200 | 206) => return Ok(answer),
                Ok(answer)
                    if matches!(answer.status, 301 | 302 | 303 | 307 | 308) && redirects < MAX_REDIRECTS =>
                {
                    redirects += 1;
                    let next = answer.header("location").and_then(|location| url.join(location));
                    url = next
                        .ok_or_else(|| Error::protocol(doing, &url, "a redirect without a place to go to"))?;
                    continue;
                }
                Ok(answer) => {
                    let (doing, place, status) =
                        (doing.to_owned(), url.host().to_owned(), Status(answer.status));
                    let refused =
                        Error::Refused { doing, place, status, messages: Vec::new(), authenticated: false };
                    if !is_passing(status.0) {
                        return Err(refused);
                    }
                    refused
                }
                Err(error) => match &error {
                    Error::Connection { source, .. } if may_pass(source) => error,
                    _ => return Err(error),
                },
            };
            if attempt >= self.patience().attempts {
                return Err(reason);
            }
            std::thread::sleep(self.patience().pause(attempt));
            attempt += 1;
        }
    }
}

/// What a `Content-Range` header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
    /// Bytes in all, if that is known.
    pub total: Option<u64>,
}

/// Reads a `Content-Range` header: `bytes 0-99/200`, `bytes 0-99/*` (RFC 9110, 14.4).
pub fn parse_content_range(text: &str) -> Option<ContentRange> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (start, end) = (number(start)?, number(end)?);
    let total = match total {
        "*" => None,
        total => Some(number(total)?),
    };
    let fits = start <= end && total.is_none_or(|total| end < total);
    (unit.eq_ignore_ascii_case("bytes") && fits).then_some(ContentRange { start, end, total })
}
