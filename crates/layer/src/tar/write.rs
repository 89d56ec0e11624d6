//! Writing a layer tar: ustar headers, PAX records where a value does not fit, nothing that depends on the host or the
//! clock. The same entries in the same order give the same bytes; those of Windows layers the bytes that Microsoft's go-winio gives.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::header::{self, BLOCK};
use super::pax;
use crate::entry::{Entry, EntryKind, Metadata};
use crate::path::LayerPath;
use crate::report::{Finding, Report};
use layerstone_nt::tar as nt;

/// The largest number that 7 and 11 octal digits hold.
const MAX_OCTAL_7: u64 = 0o7_777_777;
const MAX_OCTAL_11: u64 = 0o77_777_777_777;

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output failed.
    #[error("writing the archive at byte {offset}")]
    Write {
        /// Bytes written before.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A payload was not as long as announced.
    #[error("`{path}`: {given} bytes were given for a payload of {announced}")]
    Size {
        /// Which entry.
        path: LayerPath,
        /// What its header says.
        announced: u64,
        /// What came.
        given: u64,
    },
    /// Windows metadata that a tar cannot hold.
    #[error("`{path}`: its Windows metadata does not fit a tar")]
    Windows {
        /// Which entry.
        path: LayerPath,
        /// Why not.
        source: layerstone_nt::Error,
    },
}

/// Writes entries as a tar archive to `W`.
#[derive(Debug)]
pub struct TarWriter<W> {
    output: W,
    offset: u64,
    /// The payload being written: entry, bytes announced, bytes given.
    payload: Option<(LayerPath, u64, u64)>,
    /// What entries said that the archive does not.
    report: Report,
}

impl<W: Write> TarWriter<W> {
    /// A writer at the start of an archive.
    pub fn new(output: W) -> Self {
        TarWriter { output, offset: 0, payload: None, report: Report::default() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.output.write_all(bytes).map_err(|source| Error::Write { offset: self.offset, source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// What the entries so far said that the archive does not ([`Finding::NotInTar`]), and forgets it.
    pub fn take_report(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }

    /// Writes the headers of `entry`. For files and streams, exactly `size` bytes must follow through [`Self::data`].
    /// Sparse files are written with their holes as zeroes: that is what every reader understands.
    ///
    /// # Errors
    /// When the output fails, or the last payload is incomplete.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.end_payload()?;
        let mut header = Header::new(&entry.path, &entry.meta);
        match &entry.kind {
            EntryKind::Directory => header.directory(),
            EntryKind::File { size, .. } => header.size = *size,
            EntryKind::HardLink { target } => {
                header.typeflag = b'1';
                header.link = target.as_bytes().to_vec();
                header.records.retain(|key, _| !key.starts_with(b"SCHILY.xattr."));
            }
            EntryKind::Symlink { target } => {
                header.typeflag = b'2';
                header.link = target.clone();
            }
            EntryKind::CharDevice { major, minor } => header.device(b'3', *major, *minor),
            EntryKind::BlockDevice { major, minor } => header.device(b'4', *major, *minor),
            EntryKind::Fifo => header.typeflag = b'6',
            EntryKind::Stream { name, size } => {
                header.name.push(b':');
                header.name.extend_from_slice(name);
                header.size = *size;
            }
            EntryKind::Whiteout => header.whiteout(&entry.path, None),
            EntryKind::Opaque => header.whiteout(&entry.path, Some(b".wh..wh..opq")),
        }
        header.go = entry.meta.windows.is_some();
        match (&entry.meta.windows, &entry.kind) {
            (None, _) | (_, EntryKind::Whiteout | EntryKind::Opaque) => {}
            (Some(windows), EntryKind::Stream { .. }) => {
                // Times and mode of the file, as Microsoft's export has them, and nothing else of it.
                header.mode = windows.tar_mode(true);
                header.add_records(windows.to_time_records());
            }
            (Some(windows), kind) => header.windows(windows, kind, &entry.path)?,
        }
        if !matches!(entry.kind, EntryKind::Stream { .. } | EntryKind::Whiteout | EntryKind::Opaque) {
            for loss in entry.meta.windows.iter().flat_map(|part| part.tar_losses()) {
                self.report.note(Finding::NotInTar, format_args!("{}: {loss}", entry.path));
            }
            if matches!(entry.kind, EntryKind::File { segments: Some(_), .. }) {
                self.report.note(Finding::NotInTar, format_args!("{}: its holes are zeroes", entry.path));
            }
        }
        let size = header.size;
        let bytes = header.encode();
        self.put(&bytes)?;
        if size > 0 {
            self.payload = Some((entry.path.clone(), size, 0));
        }
        Ok(())
    }

    /// Bytes of the payload of the last entry.
    ///
    /// # Errors
    /// When the output fails, or there are more bytes than announced.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.payload {
            Some((_, announced, given)) if *given + bytes.len() as u64 <= *announced => {
                *given += bytes.len() as u64
            }
            Some((path, announced, given)) => {
                return Err(Error::Size {
                    path: path.clone(),
                    announced: *announced,
                    given: *given + bytes.len() as u64,
                });
            }
            None => {
                return Err(Error::Size { path: LayerPath::root(), announced: 0, given: bytes.len() as u64 });
            }
        }
        self.put(bytes)
    }

    fn end_payload(&mut self) -> Result<(), Error> {
        let Some((path, announced, given)) = self.payload.take() else { return Ok(()) };
        if given != announced {
            return Err(Error::Size { path, announced, given });
        }
        let padding = (BLOCK as u64 - announced % BLOCK as u64) % BLOCK as u64;
        self.put(&[0; BLOCK][..padding as usize])
    }

    /// Writes the end marker and gives the output back, flushed.
    ///
    /// # Errors
    /// When the output fails, or the last payload is incomplete.
    pub fn finish(mut self) -> Result<W, Error> {
        self.end_payload()?;
        self.put(&[0; 2 * BLOCK])?;
        self.output.flush().map_err(|source| Error::Write { offset: self.offset, source })?;
        Ok(self.output)
    }
}

/// A header under construction.
struct Header {
    name: Vec<u8>,
    link: Vec<u8>,
    typeflag: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: layerstone_nt::UnixTime,
    device: (u32, u32),
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Lay the blocks out as Go's `archive/tar` does, which Microsoft's tools use: long names in a record, never in ustar's prefix;
    /// ASCII only in the fields; the PAX header named after the entry.
    go: bool,
}

impl Header {
    fn new(path: &LayerPath, meta: &Metadata) -> Self {
        let mut records = BTreeMap::new();
        for xattr in &meta.xattrs {
            records.insert(xattr_key(&xattr.name), xattr.value.clone());
        }
        Header {
            name: path.as_bytes().to_vec(),
            link: Vec::new(),
            typeflag: b'0',
            mode: u32::from(meta.mode),
            uid: meta.uid,
            gid: meta.gid,
            size: 0,
            mtime: meta.mtime,
            device: (0, 0),
            records,
            go: false,
        }
    }

    fn directory(&mut self) {
        self.typeflag = b'5';
        if self.name.is_empty() {
            self.name.push(b'.');
        }
        self.name.push(b'/');
    }

    fn device(&mut self, typeflag: u8, major: u32, minor: u32) {
        self.typeflag = typeflag;
        self.device = (major, minor);
    }

    fn whiteout(&mut self, path: &LayerPath, marker: Option<&[u8]>) {
        let (directory, name) = match (marker, path.split_last()) {
            (Some(marker), _) => (path.clone(), marker.to_vec()),
            (None, Some((parent, name))) => (parent, [b".wh.", name].concat()),
            (None, None) => (LayerPath::root(), b".wh.".to_vec()),
        };
        *self = Header::new(&directory.join(&name), &Metadata::default());
    }

    /// The records of a Windows layer, and its habits: no trailing slash, type bits in the mode, no owner.
    fn windows(
        &mut self,
        windows: &layerstone_nt::tar::WindowsMetadata,
        kind: &EntryKind,
        path: &LayerPath,
    ) -> Result<(), Error> {
        let mut records =
            windows.to_records().map_err(|source| Error::Windows { path: path.clone(), source })?;
        if matches!(kind, EntryKind::HardLink { .. }) {
            // As Microsoft's export has them: a link repeats the times and attributes, not the descriptor.
            records.retain(|(key, _)| key != nt::RAW_SECURITY_DESCRIPTOR && !key.starts_with(nt::EA_PREFIX));
            self.mode = 0o644;
        } else {
            self.mode = windows.tar_mode(matches!(kind, EntryKind::File { .. }));
        }
        if let Some(target) = windows.tar_link_name() {
            self.link = target;
        }
        self.add_records(records);
        if self.name.ends_with(b"/") {
            self.name.pop();
        }
        Ok(())
    }

    fn add_records(&mut self, records: Vec<(String, String)>) {
        self.records.extend(records.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())));
    }

    /// What a field of 100 bytes shows of a name that stands in a record.
    fn field(&self, name: &[u8]) -> Vec<u8> {
        if self.go { go_field(name) } else { name[..name.len().min(100)].to_vec() }
    }

    /// All blocks of the header: a PAX header first when something does not fit.
    fn encode(mut self) -> Vec<u8> {
        let mut block = [0; BLOCK];
        let fits = |name: &[u8]| name.len() <= 100 && name.is_ascii();
        let split = if self.go && !fits(&self.name) { None } else { split_name(&self.name) };
        let (prefix, name) = match split {
            Some(parts) => parts,
            None => {
                self.records.insert(b"path".to_vec(), self.name.clone());
                (Vec::new(), self.field(&self.name))
            }
        };
        let link = if fits(&self.link) {
            self.link.clone()
        } else {
            self.records.insert(b"linkpath".to_vec(), self.link.clone());
            self.field(&self.link)
        };
        if self.size > MAX_OCTAL_11 {
            self.records.insert(b"size".to_vec(), self.size.to_string().into_bytes());
        }
        for (key, value) in [(&b"uid"[..], self.uid), (b"gid", self.gid)] {
            if u64::from(value) > MAX_OCTAL_7 {
                self.records.insert(key.to_vec(), value.to_string().into_bytes());
            }
        }
        let secs = u64::try_from(self.mtime.seconds()).ok().filter(|&secs| secs <= MAX_OCTAL_11);
        if secs.is_none() || self.mtime.nanoseconds() != 0 {
            self.records.insert(b"mtime".to_vec(), self.mtime.to_string().into_bytes());
        }
        put(&mut block, 0, &name);
        octal(&mut block, 100, 7, u64::from(self.mode));
        octal(&mut block, 108, 7, u64::from(self.uid));
        octal(&mut block, 116, 7, u64::from(self.gid));
        octal(&mut block, 124, 11, self.size);
        octal(&mut block, 136, 11, secs.unwrap_or(0));
        block[156] = self.typeflag;
        put(&mut block, 157, &link);
        put(&mut block, 257, b"ustar\x0000");
        octal(&mut block, 329, 7, u64::from(self.device.0));
        octal(&mut block, 337, 7, u64::from(self.device.1));
        put(&mut block, 345, &prefix);
        put_checksum(&mut block);

        let mut out = Vec::with_capacity(3 * BLOCK);
        if !self.records.is_empty() {
            let mut body = Vec::new();
            for (key, value) in &self.records {
                pax::write(&mut body, key, value);
            }
            out.extend_from_slice(&match self.go {
                true => go_pax_header(&self.name, body.len() as u64),
                false => pax_header(body.len() as u64),
            });
            out.extend_from_slice(&body);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.extend_from_slice(&block);
        out
    }
}

/// The key of an extended attribute. A `=` in its name would end the key, so it is encoded, as GNU tar does it.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for &byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            _ => key.push(byte),
        }
    }
    key
}

fn pax_header(size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, b"PaxHeaders.0/entry");
    octal(&mut block, 100, 7, 0o644);
    octal(&mut block, 108, 7, 0);
    octal(&mut block, 116, 7, 0);
    octal(&mut block, 124, 11, size);
    octal(&mut block, 136, 11, 0);
    block[156] = b'x';
    put(&mut block, 257, b"ustar\x0000");
    put_checksum(&mut block);
    block
}

/// The PAX header as Go names it, with nothing but zeroes in its other fields.
fn go_pax_header(name: &[u8], size: u64) -> [u8; BLOCK] {
    let (directory, base) = match name.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => name.split_at(slash + 1),
        None => (&b""[..], name),
    };
    let mut block = [0; BLOCK];
    put(&mut block, 0, &go_field(&[directory, b"PaxHeaders.0/", base].concat()));
    for (at, digits, value) in [(100, 7, 0), (108, 7, 0), (116, 7, 0), (124, 11, size), (136, 11, 0)] {
        octal(&mut block, at, digits, value);
    }
    block[156] = b'x';
    put(&mut block, 257, b"ustar\x0000");
    put_checksum(&mut block);
    block
}

/// A name as Go puts it into a field that cannot hold it: the ASCII of it, cut, and no slash at the end of what was cut.
fn go_field(name: &[u8]) -> Vec<u8> {
    let ascii: Vec<u8> = name.iter().copied().filter(u8::is_ascii).collect();
    if ascii.len() <= 100 {
        return ascii;
    }
    let cut = &ascii[..100];
    match cut.iter().rposition(|&byte| byte != b'/') {
        Some(last) if cut.ends_with(b"/") => cut[..=last].to_vec(),
        _ => cut.to_vec(),
    }
}

/// Splits a name between ustar's prefix and name fields. `None` when it does not fit or is not ASCII.
fn split_name(name: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((Vec::new(), name.to_vec()));
    }
    let earliest = name.len().checked_sub(101)?;
    let slash =
        (earliest..name.len().min(156)).find(|&at| name[at] == b'/' && at > 0 && at + 1 < name.len())?;
    Some((name[..slash].to_vec(), name[slash + 1..].to_vec()))
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes `value` in `digits` octal digits and a NUL; a value that does not fit is zero here and stands in a record.
fn octal(block: &mut [u8; BLOCK], at: usize, digits: usize, value: u64) {
    let mut rest = if value < 1 << (3 * digits) { value } else { 0 };
    for place in block[at..at + digits].iter_mut().rev() {
        *place = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    block[at + digits] = 0;
}

fn put_checksum(block: &mut [u8; BLOCK]) {
    let sum = header::checksum(block) as u64;
    octal(block, 148, 6, sum);
    block[155] = b' ';
}
