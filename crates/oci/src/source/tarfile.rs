//! An image archive: one pass over the tar's headers, then every entry is read by its offset.
//!
//! Names are only keys here. Nothing is extracted, so `..`, absolute names and links lead nowhere but to other keys.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use tar::{EntryType, Header};

use crate::limits::{
    MAX_ARCHIVE_ENTRIES, MAX_ARCHIVE_EXTENSION_SIZE, MAX_ARCHIVE_LINKS, MAX_ARCHIVE_NAME_BYTES,
};
use crate::source::section::Section;
use crate::{Error, Result, sys};

/// Headers and padding are in units of this (POSIX.1-2017, pax, "ustar Interchange Format").
const BLOCK: u64 = 512;

/// An indexed tar file.
#[derive(Debug)]
pub(crate) struct TarFile {
    place: String,
    file: Arc<File>,
    entries: HashMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    File(Span),
    HardLink(String),
    SymbolicLink(String),
}

/// Where an entry's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl TarFile {
    /// Reads all headers. `place` is what the archive is called in errors.
    pub(crate) fn index(file: File, place: String) -> Result<Self> {
        let length = file.metadata().map_err(Error::stream("read", &*place))?.len();
        let mut pass = Pass { file: &file, place: &place, length, offset: 0, name_bytes: 0 };
        let mut entries = HashMap::new();
        while let Some((name, node)) = pass.next_entry()? {
            if entries.len() == MAX_ARCHIVE_ENTRIES {
                return Err(Error::TooMany { what: place, things: "entries", limit: MAX_ARCHIVE_ENTRIES });
            }
            // As when a tar is extracted, the last entry of a name is the one that counts.
            match node {
                Some(node) => entries.insert(name, node),
                None => entries.remove(&name),
            };
        }
        Ok(Self { place, file: Arc::new(file), entries })
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(&clean(name))
    }

    /// The file that a name stands for, links followed.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Span>> {
        let mut at = clean(name);
        for _ in 0..=MAX_ARCHIVE_LINKS {
            at = match self.entries.get(&at) {
                None => return Ok(None),
                Some(Node::File(span)) => return Ok(Some(*span)),
                Some(Node::HardLink(target)) => clean(target),
                Some(Node::SymbolicLink(target)) => match join(&at, target) {
                    Some(next) => next,
                    None => return Ok(None),
                },
            };
        }
        Err(Error::LinkLoop { place: self.place.clone(), name: name.to_owned() })
    }

    /// The same, where it must be there.
    pub(crate) fn require(&self, name: &str) -> Result<Span> {
        self.find(name)?
            .ok_or_else(|| Error::EntryMissing { place: self.place.clone(), name: name.to_owned() })
    }

    pub(crate) fn open(&self, span: Span) -> Section {
        Section::new(Arc::clone(&self.file), span.offset, span.size)
    }

    /// The content of an entry that must fit in memory.
    pub(crate) fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let what = || format!("{name} of {}", self.place);
        let span = self.require(name)?;
        if span.size > limit {
            return Err(Error::TooLarge { what: what(), size: span.size, limit });
        }
        let mut bytes = Vec::new();
        self.open(span).read_to_end(&mut bytes).map_err(Error::stream("read", what()))?;
        Ok(bytes)
    }
}

/// What extension headers say about the next entry.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

struct Pass<'a> {
    file: &'a File,
    place: &'a str,
    length: u64,
    offset: u64,
    name_bytes: usize,
}

impl Pass<'_> {
    /// The next entry that is not an extension; its node is `None` if it is neither a file nor a link.
    fn next_entry(&mut self) -> Result<Option<(String, Option<Node>)>> {
        let mut extended = Extended::default();
        loop {
            let at = self.offset;
            let Some(block) = self.header_block()? else { return Ok(None) };
            let header = Header::from_byte_slice(&block);
            if !checksum_is_right(header) {
                if at == 0 {
                    return Err(Error::NotAnImage { place: self.place.to_owned() });
                }
                return Err(self.broken(at, "this is no tar header: its checksum is wrong"));
            }
            let kind = header.entry_type();
            let mut size = header.entry_size().map_err(|_| self.broken(at, "the size is not a number"))?;
            match kind {
                EntryType::GNULongName => extended.name = Some(trimmed(self.extension(at, size)?)),
                EntryType::GNULongLink => extended.link = Some(trimmed(self.extension(at, size)?)),
                EntryType::XHeader => self.read_pax(at, size, &mut extended)?,
                // Global headers carry comments; per POSIX they could carry names, which nobody does.
                EntryType::XGlobalHeader => drop(self.extension(at, size)?),
                _ => {
                    size = extended.size.unwrap_or(size);
                    if kind == EntryType::GNUSparse || extended.sparse {
                        return Err(self.broken(at, "sparse entries have no place in an image archive"));
                    }
                    let name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
                    let link = extended.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
                    self.count_names(name.len() + link.as_ref().map_or(0, Vec::len))?;
                    let is_directory_of_old = name.ends_with(b"/");
                    let name = clean(&String::from_utf8_lossy(&name));
                    let link = || String::from_utf8_lossy(&link.unwrap_or_default()).into_owned();
                    let node = match kind {
                        EntryType::Link => Some(Node::HardLink(link())),
                        EntryType::Symlink => Some(Node::SymbolicLink(link())),
                        EntryType::Regular | EntryType::Continuous if !is_directory_of_old => {
                            Some(Node::File(self.content(at, size)?))
                        }
                        // These have no content, whatever their size says.
                        EntryType::Directory | EntryType::Char | EntryType::Block | EntryType::Fifo => None,
                        _ => {
                            self.content(at, size)?;
                            None
                        }
                    };
                    return Ok(Some((name, node)));
                }
            }
        }
    }

    /// The next header, or `None` at the end: a block of zeros, or no block at all, which Go's reader takes as well.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK as usize]>> {
        let at = self.offset;
        if at == self.length {
            return Ok(None);
        }
        if self.length < BLOCK {
            return Err(Error::NotAnImage { place: self.place.to_owned() });
        }
        if self.length - at < BLOCK {
            return Err(self.broken(at, "it ends in the middle of a header"));
        }
        let mut block = [0; BLOCK as usize];
        self.read_exact_at(&mut block, at)?;
        self.offset += BLOCK;
        Ok(block.iter().any(|&byte| byte != 0).then_some(block))
    }

    /// Passes over an entry's content and says where it is.
    fn content(&mut self, header: u64, size: u64) -> Result<Span> {
        let offset = self.offset;
        let end = offset.checked_add(size).filter(|&end| end <= self.length);
        let end = end.ok_or_else(|| self.broken(header, "the entry goes on after the end of the archive"))?;
        // The padding of the last entry may be cut off.
        self.offset = end.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.length);
        Ok(Span { offset, size })
    }

    fn extension(&mut self, header: u64, size: u64) -> Result<Vec<u8>> {
        if size > MAX_ARCHIVE_EXTENSION_SIZE {
            return Err(self.broken(header, "an extension header is larger than 1 MiB"));
        }
        let span = self.content(header, size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read_exact_at(&mut bytes, span.offset)?;
        Ok(bytes)
    }

    /// Records of `length key=value\n` (POSIX.1-2017, pax, "pax Extended Header").
    fn read_pax(&mut self, header: u64, size: u64, extended: &mut Extended) -> Result<()> {
        let bytes = self.extension(header, size)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (key, value, after) = pax_record(rest)
                .ok_or_else(|| self.broken(header, "a PAX record is not `length key=value`"))?;
            rest = after;
            match key {
                b"path" => extended.name = Some(value.to_vec()),
                b"linkpath" => extended.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                    extended.size =
                        Some(size.ok_or_else(|| self.broken(header, "the PAX size is not a number"))?);
                }
                _ => extended.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Ok(())
    }

    fn count_names(&mut self, bytes: usize) -> Result<()> {
        self.name_bytes += bytes;
        if self.name_bytes > MAX_ARCHIVE_NAME_BYTES {
            let limit = MAX_ARCHIVE_NAME_BYTES;
            return Err(Error::TooMany { what: self.place.to_owned(), things: "bytes of names", limit });
        }
        Ok(())
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        while !buf.is_empty() {
            match sys::read_at(self.file, buf, offset) {
                Ok(0) => return Err(self.broken(offset, "it became shorter while it was read")),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::stream("read", self.place)(error)),
            }
        }
        Ok(())
    }

    fn broken(&self, offset: u64, reason: &'static str) -> Error {
        Error::Tar { place: self.place.to_owned(), offset, reason }
    }
}

/// The sum of all bytes, the checksum field itself counted as spaces; old writers added them as signed numbers.
fn checksum_is_right(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let field = 148..156;
    let masked = |(at, &byte): (usize, &u8)| if field.contains(&at) { b' ' } else { byte };
    let unsigned: u32 = bytes.iter().enumerate().map(|item| u32::from(masked(item))).sum();
    let signed: i32 = bytes.iter().enumerate().map(|item| i32::from(masked(item).cast_signed())).sum();
    header.cksum().is_ok_and(|stated| stated == unsigned || i32::try_from(stated) == Ok(signed))
}

/// The first record's key and value, and what follows it.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&b| b == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// GNU long names end in a NUL.
fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&b| b == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// A name as a key: without empty parts and `.`; `..` stays as it is, and so matches nothing but itself.
fn clean(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

/// Where a symbolic link at `link` leads; `None` if out of the archive.
fn join(link: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { link.split('/').collect() };
    parts.pop();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}
