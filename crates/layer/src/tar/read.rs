//! A pull reader that hands out every byte of an archive exactly once.

use std::collections::HashSet;
use std::io::{self, BufRead};

use super::Error;
use super::header::{self, BLOCK, Header};
use super::pax::{self, Record};
use super::sparse::{self, PaxSparse, Segment};
use layerstone_nt::UnixTime;

/// The largest extended header or long name that is kept: room for a file's xattrs at their largest, many times over.
/// (GNU tar and Go's archive/tar stop at 1 MiB.)
pub const MAX_EXTENDED_HEADER: u64 = 8 << 20;

/// The most bytes of global records: they count for every member that follows. Real ones hold a commit id.
const MAX_GLOBALS: u64 = 64 << 10;

/// The most headers that may stand before one member (`x`, `g`, `L`, `K` in any order).
const MAX_HEADERS_PER_MEMBER: usize = 64;

/// The largest sparse map that is read, in bytes of its encoding.
const MAX_SPARSE_MAP: u64 = 8 << 20;

/// The next piece of an archive. The bytes of all `Raw` and `Data` events in order are the archive.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes that are not payload: headers, padding, the end marker, whatever follows it.
    Raw(&'a [u8]),
    /// All headers of a member have been read (and given as `Raw`); its payload, if any, follows as `Data`.
    Member(Box<Member>),
    /// A piece of the payload of the last member.
    Data(&'a [u8]),
    /// The archive has been read to the last byte.
    End,
}

/// A member as its headers describe it, extended headers applied. Nothing has been normalised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Byte of the archive at which its first header starts.
    pub offset: u64,
    /// The name as it stands.
    pub name: Vec<u8>,
    /// The link target as it stands.
    pub link_name: Vec<u8>,
    /// The type flag; `\0` is given as `0`, and `0` with a trailing slash as `5`.
    pub typeflag: u8,
    /// Mode bits, type bits included where a writer set them.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Bytes of payload that follow as `Data` events.
    pub stored_size: u64,
    /// Size of the file: the stored size, unless it is sparse.
    pub size: u64,
    /// For a sparse file, which ranges the payload holds.
    pub segments: Option<Vec<Segment>>,
    /// Modification time.
    pub mtime: UnixTime,
    /// True when the modification time came from a PAX record (with its fraction), not from the header.
    pub mtime_is_pax: bool,
    /// Access time, where recorded.
    pub atime: Option<UnixTime>,
    /// Change time, where recorded.
    pub ctime: Option<UnixTime>,
    /// Device number.
    pub device: (u32, u32),
    /// The PAX records that are not one of the fields above, global ones first.
    pub records: Vec<Record>,
    /// Global records that were not applied because they only make sense for one member.
    pub ignored_globals: bool,
}

impl Member {
    /// The last value of a PAX record.
    pub fn record(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_slice())
    }
}

#[derive(Debug)]
enum State {
    Headers,
    Member(Box<Member>),
    Payload { left: u64, padding: usize },
    Trailer,
}

/// Reads an archive from `R` as a sequence of [`Event`]s.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    /// Bytes taken from `input` so far.
    offset: u64,
    state: State,
    /// Bytes handed out from the input's buffer by the last event; consumed when the next one is asked for.
    lent: usize,
    raw: Vec<u8>,
    padding: usize,
    globals: Vec<Record>,
    clean_end: bool,
}

impl<R: BufRead> TarReader<R> {
    /// A reader at the start of an archive.
    pub fn new(input: R) -> Self {
        TarReader {
            input,
            offset: 0,
            state: State::Headers,
            lent: 0,
            raw: Vec::new(),
            padding: 0,
            globals: Vec::new(),
            clean_end: false,
        }
    }

    /// Bytes of the archive read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// False when the archive ended without its two zero blocks. (Unpackers accept that.)
    pub fn has_end_marker(&self) -> bool {
        self.clean_end
    }

    /// The next event.
    ///
    /// # Errors
    /// When the input fails, ends inside a member, or holds something that is not a tar header. The reader must not be
    /// used after an error.
    pub fn next_event(&mut self) -> Result<Event<'_>, Error> {
        self.input.consume(self.lent);
        self.lent = 0;
        loop {
            match &mut self.state {
                State::Headers => {
                    self.raw.clear();
                    self.state = match self.read_headers()? {
                        Some(member) => State::Member(Box::new(member)),
                        None => State::Trailer,
                    };
                    if !self.raw.is_empty() {
                        return Ok(Event::Raw(&self.raw));
                    }
                }
                State::Member(member) => {
                    let member = std::mem::take(member);
                    let left = member.stored_size;
                    // A PAX 1.0 sparse map is counted in the size; its blocks are whole, so the padding is the same.
                    let padding = padding_of(left);
                    self.state = State::Payload { left, padding };
                    return Ok(Event::Member(member));
                }
                State::Payload { left: 0, padding } => {
                    self.padding = *padding;
                    self.state = State::Headers;
                }
                State::Payload { left, .. } => {
                    let buffer = fill(&mut self.input, self.offset)?;
                    if buffer.is_empty() {
                        return Err(Error::Truncated { offset: self.offset, inside: "a payload" });
                    }
                    let take = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= take as u64;
                    self.offset += take as u64;
                    self.lent = take;
                    // The buffer is asked for again because the borrow checker cannot see that the first one is dead;
                    // for a filled buffer this costs nothing.
                    let buffer = fill(&mut self.input, self.offset)?;
                    return Ok(Event::Data(&buffer[..take]));
                }
                State::Trailer => {
                    let len = fill(&mut self.input, self.offset)?.len();
                    if len == 0 {
                        return Ok(Event::End);
                    }
                    self.offset += len as u64;
                    self.lent = len;
                    let buffer = fill(&mut self.input, self.offset)?;
                    return Ok(Event::Raw(&buffer[..len]));
                }
            }
        }
    }

    /// Reads `len` bytes to the end of `raw`. Returns how many there were before the end of the input.
    fn read_raw(&mut self, len: usize) -> Result<usize, Error> {
        let mut got = 0;
        while got < len {
            let buffer = fill(&mut self.input, self.offset)?;
            if buffer.is_empty() {
                break;
            }
            let take = buffer.len().min(len - got);
            self.raw.extend_from_slice(&buffer[..take]);
            self.input.consume(take);
            self.offset += take as u64;
            got += take;
        }
        Ok(got)
    }

    /// Reads exactly `len` bytes to the end of `raw` and returns where they start in it.
    fn read_raw_exact(&mut self, len: usize, inside: &'static str) -> Result<usize, Error> {
        let start = self.raw.len();
        if self.read_raw(len)? < len {
            return Err(Error::Truncated { offset: self.offset, inside });
        }
        Ok(start)
    }

    fn read_block(&mut self, inside: &'static str) -> Result<[u8; BLOCK], Error> {
        let start = self.read_raw_exact(BLOCK, inside)?;
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.raw[start..]);
        Ok(block)
    }

    /// Reads the padding of the last payload, then all headers of the next member. `None` at the end of the archive.
    fn read_headers(&mut self) -> Result<Option<Member>, Error> {
        // Some writers leave out the padding of the last member.
        let padding = std::mem::take(&mut self.padding);
        if self.read_raw(padding)? < padding {
            return Ok(None);
        }
        let start = self.offset;
        let mut locals: Vec<Record> = Vec::new();
        let (mut long_name, mut long_link) = (None, None);
        let mut seen_extended = false;
        for _ in 0..MAX_HEADERS_PER_MEMBER {
            let offset = self.offset;
            let at = self.raw.len();
            match self.read_raw(BLOCK)? {
                0 if !seen_extended => return Ok(None),
                BLOCK => {}
                // Fewer bytes than a block of zeros, behind the last member: the rest of a short end marker.
                _ if !seen_extended && self.raw[at..].iter().all(|&b| b == 0) => return Ok(None),
                _ => return Err(Error::Truncated { offset: self.offset, inside: "a header" }),
            }
            let mut block = [0; BLOCK];
            block.copy_from_slice(&self.raw[at..]);
            if block == [0; BLOCK] {
                if seen_extended {
                    return Err(Error::Truncated { offset, inside: "the headers of an entry" });
                }
                return self.read_end_marker();
            }
            let header = Header::parse(&block, offset)?;
            match header.typeflag() {
                b'x' | b'X' => {
                    let body = self.read_extended(&header, offset, "extended header")?;
                    locals.extend(pax::parse(&body, offset + BLOCK as u64)?);
                    seen_extended = true;
                }
                b'g' => {
                    let body = self.read_extended(&header, offset, "global extended header")?;
                    let records = pax::parse(&body, offset + BLOCK as u64)?;
                    let mut all = in_force(self.globals.iter().chain(&records));
                    all.retain(|(_, value)| !value.is_empty());
                    let size = all.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
                    if size > MAX_GLOBALS {
                        let what = "the global records";
                        return Err(Error::TooLarge { offset, what, size, limit: MAX_GLOBALS });
                    }
                    self.globals = all.into_iter().cloned().collect();
                }
                b'L' => {
                    long_name = Some(until_nul(self.read_extended(&header, offset, "long name")?));
                    seen_extended = true;
                }
                b'K' => {
                    long_link = Some(until_nul(self.read_extended(&header, offset, "long link target")?));
                    seen_extended = true;
                }
                _ => {
                    let mut member = self.member(&header, start, locals)?;
                    if let (Some(name), false) = (long_name, member.name_is_pax) {
                        member.fields.name = name;
                    }
                    if let (Some(link), false) = (long_link, member.link_is_pax) {
                        member.fields.link_name = link;
                    }
                    return Ok(Some(finish_type(member.fields)));
                }
            }
        }
        Err(Error::TooLarge {
            offset: start,
            what: "a run of extended headers",
            size: MAX_HEADERS_PER_MEMBER as u64 + 1,
            limit: MAX_HEADERS_PER_MEMBER as u64,
        })
    }

    /// The first zero block has been read: two of them end the archive; after a lone one, unpackers stop too.
    fn read_end_marker(&mut self) -> Result<Option<Member>, Error> {
        let at = self.raw.len();
        let got = self.read_raw(BLOCK)?;
        self.clean_end = got == BLOCK && self.raw[at..].iter().all(|&b| b == 0);
        Ok(None)
    }

    /// The body of an extended header, its padding read as well.
    fn read_extended(
        &mut self,
        header: &Header<'_>,
        offset: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, Error> {
        let size = header.size()?;
        if size > MAX_EXTENDED_HEADER {
            return Err(Error::TooLarge { offset, what, size, limit: MAX_EXTENDED_HEADER });
        }
        let start = self.read_raw_exact(size as usize, what)?;
        let body = self.raw[start..].to_vec();
        self.read_raw_exact(padding_of(size), what)?;
        Ok(body)
    }

    /// Puts header, global and local records together.
    fn member(&mut self, header: &Header<'_>, start: u64, locals: Vec<Record>) -> Result<Named, Error> {
        let (atime, ctime) = header.gnu_times();
        let mut named = Named {
            fields: Member {
                offset: start,
                name: header.name(),
                link_name: header.link_name(),
                typeflag: header.typeflag(),
                mode: header.mode()?,
                uid: header.uid()?,
                gid: header.gid()?,
                stored_size: header.size()?,
                mtime: UnixTime::from_seconds(header.mtime()?),
                atime: atime.map(UnixTime::from_seconds),
                ctime: ctime.map(UnixTime::from_seconds),
                device: match header.typeflag() {
                    b'3' | b'4' => header.device()?,
                    _ => (0, 0),
                },
                ..Member::default()
            },
            name_is_pax: false,
            link_is_pax: false,
        };
        let usable = |key: &[u8]| !matches!(key, b"path" | b"linkpath" | b"size") && !is_sparse(key);
        named.fields.ignored_globals = self.globals.iter().any(|(key, _)| !usable(key));
        let globals = self.globals.iter().filter(|(key, _)| usable(key));
        for (key, value) in in_force(globals.chain(&locals)) {
            named.apply(key, value, start)?;
        }
        if header_only(named.fields.typeflag) {
            named.fields.stored_size = 0;
        }
        named.fields.size = named.fields.stored_size;
        if named.fields.typeflag == b'S' {
            self.old_gnu_sparse(header, &mut named.fields)?;
        } else if let Some(sparse) = PaxSparse::from_records(&locals, start)? {
            self.pax_sparse(sparse, &mut named)?;
        }
        named.fields.records.retain(|(key, _)| !is_sparse(key));
        Ok(named)
    }

    fn old_gnu_sparse(&mut self, header: &Header<'_>, member: &mut Member) -> Result<(), Error> {
        let (mut map, mut more, real_size) = header.gnu_sparse()?;
        let map_start = self.offset;
        while more {
            if self.offset - map_start > MAX_SPARSE_MAP {
                return Err(map_too_large(member.offset, self.offset - map_start));
            }
            let block = self.read_block("a sparse map")?;
            more = header::gnu_sparse_extension(&block, member.offset, &mut map)?;
        }
        member.typeflag = b'0';
        member.size = real_size;
        member.segments = Some(sparse::validate(map, real_size, member.stored_size, member.offset)?);
        Ok(())
    }

    fn pax_sparse(&mut self, sparse: PaxSparse, named: &mut Named) -> Result<(), Error> {
        let member = &mut named.fields;
        if header_only(member.typeflag) {
            return Ok(());
        }
        if let Some(name) = sparse.name {
            member.name = name;
            named.name_is_pax = true;
        }
        let map =
            if sparse.map_in_payload { self.payload_map(member)? } else { sparse.map.unwrap_or_default() };
        let member = &mut named.fields;
        member.size = sparse.real_size.unwrap_or(member.stored_size);
        member.segments = Some(sparse::validate(map, member.size, member.stored_size, member.offset)?);
        Ok(())
    }

    /// PAX 1.0: count, then offset and length of each segment, one decimal number a line, padded to a block.
    fn payload_map(&mut self, member: &mut Member) -> Result<Vec<(u64, u64)>, Error> {
        let bad = |reason| Error::Sparse { offset: member.offset, reason };
        let from = self.offset;
        let mut numbers = Vec::new();
        let mut wanted = 1u64;
        let mut digits = Vec::new();
        while (numbers.len() as u64) < wanted {
            let used = self.offset - from;
            if used >= member.stored_size {
                return Err(bad("the map is longer than the payload"));
            }
            if used > MAX_SPARSE_MAP {
                return Err(map_too_large(member.offset, used));
            }
            for byte in self.read_block("a sparse map")? {
                if (numbers.len() as u64) == wanted {
                    break;
                }
                match byte {
                    b'\n' => {
                        let number = sparse::decimal(&digits).ok_or_else(|| bad("a number is malformed"))?;
                        digits.clear();
                        numbers.push(number);
                        if numbers.len() == 1 {
                            wanted = number
                                .checked_mul(2)
                                .and_then(|n| n.checked_add(1))
                                .ok_or_else(|| bad("the count overflows"))?;
                        }
                    }
                    _ if digits.len() < 20 => digits.push(byte),
                    _ => return Err(bad("a number is malformed")),
                }
            }
        }
        member.stored_size = member
            .stored_size
            .checked_sub(self.offset - from)
            .ok_or(Error::Sparse { offset: member.offset, reason: "the map is longer than the payload" })?;
        Ok(numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

/// A member under construction. A PAX path outranks a GNU long name.
struct Named {
    fields: Member,
    name_is_pax: bool,
    link_is_pax: bool,
}

impl Named {
    fn apply(&mut self, key: &[u8], value: &[u8], offset: u64) -> Result<(), Error> {
        let bad = || Error::PaxValue {
            offset,
            key: String::from_utf8_lossy(key).into_owned(),
            value: String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned(),
        };
        let number = || sparse::decimal(value).ok_or_else(bad);
        let time = || UnixTime::parse(value).map_err(|_| bad());
        let member = &mut self.fields;
        match (key, value.is_empty()) {
            (b"path", false) => {
                member.name = value.to_vec();
                self.name_is_pax = true;
            }
            (b"linkpath", false) => {
                member.link_name = value.to_vec();
                self.link_is_pax = true;
            }
            (b"size", false) => member.stored_size = number()?,
            (b"uid", false) => member.uid = number()?,
            (b"gid", false) => member.gid = number()?,
            (b"mtime", false) => {
                member.mtime = time()?;
                member.mtime_is_pax = true;
            }
            (b"atime", false) => member.atime = Some(time()?),
            (b"ctime", false) => member.ctime = Some(time()?),
            (key, true) if is_field(key) => {}
            _ => member.records.push((key.to_vec(), value.to_vec())),
        }
        Ok(())
    }
}

/// Keys that stand for a field of the header. Of these, an empty value deletes what was said before (POSIX); an empty
/// extended attribute is a value like any other.
fn is_field(key: &[u8]) -> bool {
    matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime" | b"atime" | b"ctime")
}

fn is_sparse(key: &[u8]) -> bool {
    key.starts_with(b"GNU.sparse.")
}

/// The records that count: of those with one key the last, but of a sparse map, which repeats them on purpose, all.
fn in_force<'a>(records: impl DoubleEndedIterator<Item = &'a Record>) -> Vec<&'a Record> {
    let mut seen = HashSet::new();
    let mut found: Vec<_> =
        records.rev().filter(|(key, _)| is_sparse(key) || seen.insert(key.as_slice())).collect();
    found.reverse();
    found
}

fn map_too_large(offset: u64, size: u64) -> Error {
    Error::TooLarge { offset, what: "a sparse map", size, limit: MAX_SPARSE_MAP }
}

/// Types that have no payload whatever their size field says: links, devices, directories, fifos.
fn header_only(typeflag: u8) -> bool {
    matches!(typeflag, b'1'..=b'6')
}

/// Folds the historic spellings of a type into one.
fn finish_type(mut member: Member) -> Member {
    if matches!(member.typeflag, 0 | b'7') {
        member.typeflag = b'0';
    }
    if member.typeflag == b'0' && member.name.ends_with(b"/") && member.segments.is_none() {
        member.typeflag = b'5';
    }
    member
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(nul) = bytes.iter().position(|&b| b == 0) {
        bytes.truncate(nul);
    }
    bytes
}

fn padding_of(size: u64) -> usize {
    ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize
}

fn fill<R: BufRead>(input: &mut R, offset: u64) -> Result<&[u8], Error> {
    // `fill_buf` cannot be retried in one borrow: probe first.
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Read { offset, source }),
        }
    }
    input.fill_buf().map_err(|source| Error::Read { offset, source })
}
