//! Making hives.
//!
//! Cells are laid out in the order of the tree: a key, its class, descriptor, values and data, then its subkeys, then the list of
//! them. A bin is 4096 bytes, or more for a cell that needs more; what a bin has left becomes a free cell. The bytes depend on
//! the input alone.

use std::collections::HashMap;

use super::base_block::{
    self, BASE_BLOCK, BINS_SIZE, CHECKSUM, CLUSTERING, FILE_NAME, FILE_NAME_SIZE, FORMAT, LAST_WRITTEN,
    MAJOR, MINOR, OFFLINE, OFFLINE_SIGNATURE, OFFLINE_WRITTEN, ROOT, SECTOR, SEQUENCE_PRIMARY,
    SEQUENCE_SECONDARY, Version,
};
use super::big_data::SEGMENT;
use super::cell::{BIN_HEADER, BIN_UNIT, NO_CELL};
use super::error::{Error, NameProblem, Result};
use super::key::{KEY_FIXED, KeyFlags, MAX_DEPTH};
use super::layered::{LAYER_BYTE, Layer};
use super::name::{MAX_KEY_NAME, MAX_VALUE_NAME, hash, hint};
use super::security;
use super::tree::{KeyTree, ValueTree};
use super::value::{FLAG_COMPRESSED, FLAG_TOMBSTONE, RESIDENT, VALUE_FIXED};
use crate::name::upcase;
use crate::time::FileTime;
use crate::wide::WideString;

/// The most keys of one list; beyond, lists of lists. It is what fits into the cells of a bin of 4096 bytes.
const LEAF: usize = 500;
/// Offsets have 31 bits: the highest one is for volatile cells.
const MAX_BINS: usize = 0x7FFF_F000;
/// The most segments of big data.
const MAX_DATA: usize = u16::MAX as usize * SEGMENT;

/// Writes hives.
#[derive(Debug, Clone)]
pub struct HiveWriter {
    version: Version,
    file_name: WideString,
    last_written: FileTime,
    written_offline: Option<FileTime>,
}

impl HiveWriter {
    /// The descriptor of keys that have none, in SDDL: full access for the system and administrators, reading for everybody. The
    /// offline registry library gives it to the root of a new hive.
    pub const DEFAULT_SECURITY: &str = "O:BAG:BAD:(A;CI;KA;;;SY)(A;CI;KA;;;BA)(A;CI;KR;;;WD)(A;CI;KR;;;RC)";

    /// A writer of hives of this version.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            file_name: WideString::default(),
            last_written: FileTime::NOT_SET,
            written_offline: None,
        }
    }

    /// The path that the base block shows; its last 31 units are kept.
    #[must_use]
    pub fn file_name(mut self, name: impl Into<WideString>) -> Self {
        self.file_name = name.into();
        self
    }

    /// When the hive was last written.
    #[must_use]
    pub fn last_written(mut self, time: FileTime) -> Self {
        self.last_written = time;
        self
    }

    /// Marks the hive as written by the offline registry library, at this time.
    #[must_use]
    pub fn written_offline(mut self, time: FileTime) -> Self {
        self.written_offline = Some(time);
        self
    }

    /// The delta hive of a layer that changes nothing: version 1.6, a root that merges, 8192 bytes.
    ///
    /// # Errors
    /// None in practice: what is written is fixed.
    pub fn empty_delta() -> Result<Vec<u8>> {
        Self::new(Version::V1_6).written_offline(FileTime::NOT_SET).write(&KeyTree::root("ROOT"))
    }

    /// A hive without keys but the root, for the config folder of a base layer: version 1.5, 8192 bytes.
    ///
    /// # Errors
    /// None in practice: what is written is fixed.
    pub fn empty_base() -> Result<Vec<u8>> {
        Self::new(Version::V1_5).write(&KeyTree::root("ROOT"))
    }

    /// Writes a hive with this root.
    ///
    /// # Errors
    /// Names that Windows would not take, the same name twice in a key, layered-key marks in a version before 1.5, and what is
    /// too large for the format.
    pub fn write(&self, root: &KeyTree) -> Result<Vec<u8>> {
        let mut build = Build {
            version: self.version,
            bins: Bins { bytes: Vec::new(), next: 0, end: 0 },
            descriptors: Descriptors::default(),
            default_security: None,
        };
        let cell = build.key(root, NO_CELL, 0)?;
        build.finish_descriptors();
        let bins = build.bins.finish()?;

        let mut bytes = vec![0; BASE_BLOCK];
        bytes[..4].copy_from_slice(b"regf");
        let mut word = |position: usize, word: u32| put(&mut bytes, position, &word.to_le_bytes());
        word(SEQUENCE_PRIMARY, 1);
        word(SEQUENCE_SECONDARY, 1);
        word(MAJOR, 1);
        word(MINOR, self.version.minor());
        word(FORMAT, 1);
        word(ROOT, cell);
        word(BINS_SIZE, bins.len() as u32);
        word(CLUSTERING, 1);
        put(&mut bytes, LAST_WRITTEN, &self.last_written.0.to_le_bytes());
        let units = self.file_name.units();
        let shown = &units[units.len().saturating_sub(FILE_NAME_SIZE / 2 - 1)..];
        put(&mut bytes, FILE_NAME, &WideString::from(shown).to_le_bytes());
        if let Some(time) = self.written_offline {
            put(&mut bytes, OFFLINE, &OFFLINE_SIGNATURE);
            put(&mut bytes, OFFLINE_WRITTEN, &time.0.to_le_bytes());
        }
        let sum = base_block::checksum(&bytes[..SECTOR]);
        put(&mut bytes, CHECKSUM, &sum.to_le_bytes());
        bytes.extend_from_slice(&bins);
        // The first bin has a copy of the time.
        put(&mut bytes, BASE_BLOCK + 20, &self.last_written.0.to_le_bytes());
        Ok(bytes)
    }
}

fn put(bytes: &mut [u8], position: usize, field: &[u8]) {
    bytes[position..position + field.len()].copy_from_slice(field);
}

/// The bins as they grow.
struct Bins {
    bytes: Vec<u8>,
    /// Where the next cell goes, and where its bin ends.
    next: usize,
    end: usize,
}

impl Bins {
    /// Makes a cell with this content; its number.
    fn cell(&mut self, content: &[u8]) -> Result<u32> {
        let size = (4 + content.len()).next_multiple_of(8);
        if size > self.end - self.next {
            self.close();
            let start = self.bytes.len();
            let bin = (BIN_HEADER + size).next_multiple_of(BIN_UNIT);
            if start + bin > MAX_BINS {
                let (limit, found) = (MAX_BINS as u64, (start + bin) as u64);
                return Err(Error::TooLarge { what: "a hive", limit, found });
            }
            self.bytes.resize(start + bin, 0);
            put(&mut self.bytes, start, b"hbin");
            put(&mut self.bytes, start + 4, &(start as u32).to_le_bytes());
            put(&mut self.bytes, start + 8, &(bin as u32).to_le_bytes());
            (self.next, self.end) = (start + BIN_HEADER, start + bin);
        }
        let cell = self.next;
        put(&mut self.bytes, cell, &(-(size as i32)).to_le_bytes());
        put(&mut self.bytes, cell + 4, content);
        self.next += size;
        Ok(cell as u32)
    }

    /// Changes a word of a cell's content.
    fn set(&mut self, cell: u32, position: usize, word: u32) {
        put(&mut self.bytes, cell as usize + 4 + position, &word.to_le_bytes());
    }

    /// Makes a free cell of what the bin has left.
    fn close(&mut self) {
        let left = self.end - self.next;
        if left > 0 {
            put(&mut self.bytes, self.next, &(left as i32).to_le_bytes());
        }
        self.next = self.end;
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        self.close();
        Ok(self.bytes)
    }
}

/// The security cells, and how many keys have each.
#[derive(Default)]
struct Descriptors {
    known: HashMap<Vec<u8>, usize>,
    cells: Vec<(u32, u32)>,
}

struct Build {
    version: Version,
    bins: Bins,
    descriptors: Descriptors,
    default_security: Option<Vec<u8>>,
}

impl Build {
    /// Writes a key and everything below it; its cell.
    fn key(&mut self, key: &KeyTree, parent: u32, depth: u16) -> Result<u32> {
        if depth > MAX_DEPTH {
            let (limit, found) = (u64::from(MAX_DEPTH), u64::from(depth));
            return Err(Error::TooLarge { what: "the depth of keys", limit, found });
        }
        if key.layer != Layer::default() && !self.version.has_layers() {
            let (key, minor) = (key.name.to_string(), self.version.minor());
            return Err(Error::LayeredVersion { key, minor });
        }
        check_name("key", &key.name, MAX_KEY_NAME, depth > 0)?;
        let (name, compressed) = encode(&key.name);
        let flags = key.flags.without(KeyFlags::COMPRESSED_NAME);
        let flags = if compressed { flags.with(KeyFlags::COMPRESSED_NAME) } else { flags };

        let mut record = vec![0; KEY_FIXED];
        put(&mut record, 0, b"nk");
        put(&mut record, 2, &flags.0.to_le_bytes());
        put(&mut record, 4, &key.last_written.0.to_le_bytes());
        record[12] = key.access_bits;
        record[LAYER_BYTE] = key.layer.to_byte();
        for (position, word) in [(16, parent), (28, NO_CELL), (32, NO_CELL), (40, NO_CELL), (48, NO_CELL)] {
            put(&mut record, position, &word.to_le_bytes());
        }
        put(&mut record, 54, &key.virtualization.to_le_bytes());
        put(&mut record, 72, &(name.len() as u16).to_le_bytes());
        record.extend_from_slice(&name);
        let class = key.class.as_ref().map(WideString::to_le_bytes).filter(|class| !class.is_empty());
        if let Some(class) = &class {
            let length = u16::try_from(class.len()).map_err(|_| Error::TooLarge {
                what: "a class",
                limit: u64::from(u16::MAX),
                found: class.len() as u64,
            })?;
            put(&mut record, 74, &length.to_le_bytes());
        }
        let cell = self.bins.cell(&record)?;
        if let Some(class) = &class {
            let class = self.bins.cell(class)?;
            self.bins.set(cell, 48, class);
        }
        let security = self.security(key.security.as_deref())?;
        self.bins.set(cell, 44, security);
        self.values(key, cell)?;
        if key.flags.has(KeyFlags::PREDEFINED_HANDLE) {
            self.bins.set(cell, 36, key.predefined_handle);
        }
        self.subkeys(key, cell, depth)?;
        Ok(cell)
    }

    fn values(&mut self, key: &KeyTree, cell: u32) -> Result<()> {
        if key.values.is_empty() {
            return Ok(());
        }
        distinct("value", key.values.iter().map(|value| &value.name))?;
        let mut list = Vec::with_capacity(4 * key.values.len());
        for value in &key.values {
            list.extend_from_slice(&self.value(value)?.to_le_bytes());
        }
        let list = self.bins.cell(&list)?;
        self.bins.set(cell, 36, key.values.len() as u32);
        self.bins.set(cell, 40, list);
        let names = key.values.iter().map(|value| 2 * value.name.len()).max();
        let data = key.values.iter().map(|value| value.data.len()).max();
        self.bins.set(cell, 60, names.unwrap_or_default() as u32);
        self.bins.set(cell, 64, data.unwrap_or_default() as u32);
        Ok(())
    }

    fn value(&mut self, value: &ValueTree) -> Result<u32> {
        check_name("value", &value.name, MAX_VALUE_NAME, false)?;
        if value.tombstone && !self.version.has_layers() {
            let (key, minor) = (value.name.to_string(), self.version.minor());
            return Err(Error::LayeredVersion { key, minor });
        }
        let (name, compressed) = encode(&value.name);
        let mut flags = value.other_flags & !(FLAG_COMPRESSED | FLAG_TOMBSTONE);
        flags |= if compressed { FLAG_COMPRESSED } else { 0 };
        flags |= if value.tombstone { FLAG_TOMBSTONE } else { 0 };

        let size = value.data.len();
        let mut record = vec![0; VALUE_FIXED];
        put(&mut record, 0, b"vk");
        put(&mut record, 2, &(name.len() as u16).to_le_bytes());
        put(&mut record, 4, &(size as u32).to_le_bytes());
        put(&mut record, 12, &value.value_type.number().to_le_bytes());
        put(&mut record, 16, &flags.to_le_bytes());
        if value.tombstone && size == 0 {
            put(&mut record, 8, &NO_CELL.to_le_bytes());
        } else if size <= 4 {
            put(&mut record, 4, &(size as u32 | RESIDENT).to_le_bytes());
            put(&mut record, 8, &value.data);
        }
        record.extend_from_slice(&name);
        let cell = self.bins.cell(&record)?;
        if size > 4 {
            let data = self.data(&value.data)?;
            self.bins.set(cell, 8, data);
        }
        Ok(cell)
    }

    fn data(&mut self, data: &[u8]) -> Result<u32> {
        let limit = if self.version.has_big_data() { MAX_DATA } else { MAX_BINS };
        if data.len() > limit {
            return Err(Error::TooLarge { what: "data", limit: limit as u64, found: data.len() as u64 });
        }
        if data.len() <= SEGMENT || !self.version.has_big_data() {
            return self.bins.cell(data);
        }
        let mut list = Vec::new();
        for segment in data.chunks(SEGMENT) {
            // A full segment leaves four bytes of its cell unused, and hivex expects the last one to do so, too.
            let content = [segment, &[0; 4]].concat();
            list.extend_from_slice(&self.bins.cell(&content)?.to_le_bytes());
        }
        let count = (list.len() / 4) as u16;
        let list = self.bins.cell(&list)?;
        let record = [&b"db"[..], &count.to_le_bytes(), &list.to_le_bytes()].concat();
        self.bins.cell(&record)
    }

    fn subkeys(&mut self, key: &KeyTree, cell: u32, depth: u16) -> Result<()> {
        if key.subkeys.is_empty() {
            return Ok(());
        }
        distinct("key", key.subkeys.iter().map(|key| &key.name))?;
        let mut sorted: Vec<&KeyTree> = key.subkeys.iter().collect();
        sorted.sort_by_cached_key(|key| folded(&key.name));
        let mut keys = Vec::with_capacity(sorted.len());
        for subkey in &sorted {
            keys.push(self.key(subkey, cell, depth + 1)?);
        }
        let long = sorted.len() > LEAF;
        let mut lists = Vec::new();
        for (keys, trees) in keys.chunks(LEAF).zip(sorted.chunks(LEAF)) {
            lists.push(self.leaf(keys, trees, long)?);
        }
        let list = match lists[..] {
            [list] => list,
            _ => {
                let count = u16::try_from(lists.len()).map_err(|_| Error::TooLarge {
                    what: "the number of subkeys",
                    limit: (usize::from(u16::MAX) * LEAF) as u64,
                    found: sorted.len() as u64,
                })?;
                let mut record = [&b"ri"[..], &count.to_le_bytes()].concat();
                lists.iter().for_each(|list| record.extend_from_slice(&list.to_le_bytes()));
                self.bins.cell(&record)?
            }
        };
        self.bins.set(cell, 20, sorted.len() as u32);
        self.bins.set(cell, 28, list);
        let longest = sorted.iter().map(|key| 2 * key.name.len()).max().unwrap_or_default() as u32;
        self.bins.set(cell, 52, longest | u32::from(key.virtualization) << 16);
        let class = sorted.iter().filter_map(|key| key.class.as_ref()).map(|class| 2 * class.len()).max();
        self.bins.set(cell, 56, class.unwrap_or_default() as u32);
        Ok(())
    }

    /// A list: with hashes where the version has them; with the first letters before; of a long list before, with neither.
    fn leaf(&mut self, keys: &[u32], trees: &[&KeyTree], long: bool) -> Result<u32> {
        let signature = match (self.version.has_hashes(), long) {
            (true, _) => b"lh",
            (false, false) => b"lf",
            (false, true) => b"li",
        };
        let mut record = [&signature[..], &(keys.len() as u16).to_le_bytes()].concat();
        for (key, tree) in keys.iter().zip(trees) {
            record.extend_from_slice(&key.to_le_bytes());
            let units = tree.name.units().iter().copied();
            match signature {
                b"lh" => record.extend_from_slice(&hash(units).to_le_bytes()),
                b"lf" => record.extend_from_slice(&hint(units)),
                _ => {}
            }
        }
        self.bins.cell(&record)
    }

    /// The cell of a descriptor, shared by all keys that have the same.
    fn security(&mut self, descriptor: Option<&[u8]>) -> Result<u32> {
        let bytes = match (descriptor, &self.default_security) {
            (Some(bytes), _) => bytes.to_vec(),
            (None, Some(bytes)) => bytes.clone(),
            (None, None) => {
                let bytes = crate::sddl::parse(HiveWriter::DEFAULT_SECURITY)
                    .and_then(|descriptor| descriptor.to_bytes())
                    .map_err(|reason| Error::Security { position: 0, reason: Box::new(reason) })?;
                self.default_security.insert(bytes).clone()
            }
        };
        if let Some(&index) = self.descriptors.known.get(&bytes) {
            let (cell, keys) = &mut self.descriptors.cells[index];
            *keys += 1;
            return Ok(*cell);
        }
        let mut record = vec![0; security::FIXED];
        put(&mut record, 0, b"sk");
        put(&mut record, 16, &(bytes.len() as u32).to_le_bytes());
        record.extend_from_slice(&bytes);
        let cell = self.bins.cell(&record)?;
        self.descriptors.known.insert(bytes, self.descriptors.cells.len());
        self.descriptors.cells.push((cell, 1));
        Ok(cell)
    }

    /// Closes the ring of descriptors and notes how many keys have each.
    fn finish_descriptors(&mut self) {
        let cells = &self.descriptors.cells;
        for (n, &(cell, keys)) in cells.iter().enumerate() {
            let next = cells[(n + 1) % cells.len()].0;
            let previous = cells[(n + cells.len() - 1) % cells.len()].0;
            self.bins.set(cell, 4, next);
            self.bins.set(cell, 8, previous);
            self.bins.set(cell, 12, keys);
        }
    }
}

/// A name's bytes, and whether they are compressed.
fn encode(name: &WideString) -> (Vec<u8>, bool) {
    match name.units().iter().map(|&unit| u8::try_from(unit)).collect() {
        Ok(bytes) => (bytes, true),
        Err(_) => (name.to_le_bytes(), false),
    }
}

fn folded(name: &WideString) -> Vec<u16> {
    name.units().iter().map(|&unit| upcase(unit)).collect()
}

fn check_name(what: &'static str, name: &WideString, limit: usize, of_path: bool) -> Result<()> {
    let units = name.len();
    let reason = if units > limit {
        NameProblem::TooLong { units, limit }
    } else if of_path && units == 0 {
        NameProblem::Empty
    } else if of_path && name.units().contains(&u16::from(b'\\')) {
        NameProblem::Backslash
    } else {
        return Ok(());
    };
    Err(Error::Name { what, name: name.to_string(), reason })
}

fn distinct<'n>(what: &'static str, names: impl ExactSizeIterator<Item = &'n WideString>) -> Result<()> {
    let mut known = HashMap::with_capacity(names.len());
    for name in names {
        if known.insert(folded(name), ()).is_some() {
            let (name, reason) = (name.to_string(), NameProblem::Duplicate);
            return Err(Error::Name { what, name, reason });
        }
    }
    Ok(())
}
