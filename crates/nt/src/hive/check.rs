//! Looking at all of a hive.

use std::collections::{HashMap, HashSet};

use super::big_data;
use super::cell::{BIN_HEADER, BIN_UNIT, CellSet, Cells, NO_CELL, Record, position};
use super::error::{Error, Result};
use super::key::{Key, KeyFlags};
use super::layered::LayerSemantics;
use super::open::Hive;
use super::problem::{Problem, ProblemKind};
use super::security;
use super::subkeys::Hint;
use super::value::Value;
use crate::security::SecurityDescriptor;

/// The most problems that a [`Check`] lists; more are counted.
pub const MAX_PROBLEMS: usize = 10_000;

/// What is in a hive, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// Keys, with the root.
    pub keys: u64,
    /// Values.
    pub values: u64,
    /// Bytes of data of values that could be read.
    pub data_bytes: u64,
    /// Values of which the data is in segments.
    pub big_values: u64,
    /// Keys with layered-key marks, tombstones among them.
    pub layered_keys: u64,
    /// Keys and values that are tombstones.
    pub tombstones: u64,
    /// Security descriptors that keys refer to.
    pub security_descriptors: u64,
    /// Levels below the root.
    pub deepest: u16,
    /// Bins with a header that could be read.
    pub bins: u64,
    /// Cells in use.
    pub cells: u64,
    /// Cells in use that nothing refers to. Windows leaves some behind; they do no harm.
    pub lost_cells: u64,
    /// Free cells.
    pub free_cells: u64,
    /// Bytes in free cells.
    pub free_bytes: u64,
    /// What is wrong, in the order of finding.
    pub problems: Vec<Problem>,
    /// Problems found after the list was full.
    pub more_problems: u64,
}

impl Check {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.more_problems == 0
    }

    fn add(&mut self, position: u64, kind: ProblemKind) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { position, kind });
        } else {
            self.more_problems += 1;
        }
    }

    fn unreadable(&mut self, position: u64, error: Error) {
        self.add(position, ProblemKind::Unreadable(error));
    }
}

pub(super) fn run(hive: &Hive<'_>) -> Check {
    let cells = hive.cells();
    let mut checker = Checker {
        cells,
        starts: CellSet::new(cells.bins.len()),
        referred: CellSet::new(cells.bins.len()),
        descriptors: HashMap::new(),
        check: Check::default(),
    };
    let base = hive.base();
    if !base.is_valid() {
        let kind = ProblemKind::Checksum { expected: base.expected_checksum, found: base.checksum };
        checker.check.add(super::base_block::CHECKSUM as u64, kind);
    }
    if base.primary_sequence != base.secondary_sequence {
        let (primary, secondary) = (base.primary_sequence, base.secondary_sequence);
        checker
            .check
            .add(super::base_block::SEQUENCE_PRIMARY as u64, ProblemKind::Dirty { primary, secondary });
    }
    if hive.missing_bytes() > 0 {
        let kind = ProblemKind::Missing { bytes: hive.missing_bytes() as u64 };
        checker.check.add(hive.as_bytes().len() as u64, kind);
    }
    let used = checker.bins();
    match hive.root() {
        Ok(root) => checker.tree(root),
        Err(error) => checker.check.unreadable(super::base_block::ROOT as u64, error),
    }
    checker.security();
    checker.check.cells = used.len() as u64;
    checker.check.lost_cells = used.iter().filter(|&&cell| !checker.referred.contains(cell)).count() as u64;
    checker.check
}

struct Checker<'h> {
    cells: Cells<'h>,
    /// Where cells start, as the bins are divided.
    starts: CellSet,
    /// Cells that something refers to.
    referred: CellSet,
    /// Keys by security cell.
    descriptors: HashMap<u32, u32>,
    check: Check,
}

impl<'h> Checker<'h> {
    /// Goes from bin to bin; the cells in use.
    fn bins(&mut self) -> Vec<u32> {
        let bins = self.cells.bins;
        let mut used = Vec::new();
        let mut start = 0;
        while let Some(bytes) = bins.get(start..start + BIN_HEADER) {
            let header = Record { what: "hive bin", cell: start as u32, bytes };
            let at = position(start as u32);
            if &bytes[..4] != b"hbin" {
                let found = [bytes[0], bytes[1], bytes[2], bytes[3]];
                self.check.add(at, ProblemKind::BinSignature { found });
                // A bin has to begin at the next multiple, if it is not lost in this one.
                start += BIN_UNIT;
                continue;
            }
            if header.u32(4) != start as u32 {
                let kind = ProblemKind::BinOffset { expected: start as u32, found: header.u32(4) };
                self.check.add(at + 4, kind);
            }
            let mut size = header.u32(8) as usize;
            if size == 0 || !size.is_multiple_of(BIN_UNIT) || size > bins.len() - start {
                self.check.add(at + 8, ProblemKind::BinSize { found: size as u32 });
                size = BIN_UNIT.min(bins.len() - start);
            }
            self.check.bins += 1;
            self.bin_cells(start + BIN_HEADER, start + size, &mut used);
            start += size;
        }
        used
    }

    fn bin_cells(&mut self, mut start: usize, end: usize, used: &mut Vec<u32>) {
        while start < end {
            let header = Record { what: "cell", cell: start as u32, bytes: &self.cells.bins[start..end] };
            let raw = header.u32(0).cast_signed();
            let size = raw.unsigned_abs() as usize;
            if size < 8 || !size.is_multiple_of(8) || size > end - start {
                let kind = ProblemKind::CellSize { found: raw, left: (end - start) as u32 };
                self.check.add(position(start as u32), kind);
                return;
            }
            self.starts.insert(start as u32);
            if raw < 0 {
                used.push(start as u32);
            } else {
                self.check.free_cells += 1;
                self.check.free_bytes += size as u64;
            }
            start += size;
        }
    }

    /// Notes a reference; false when what it leads to belongs to something else already.
    fn refer(&mut self, what: &'static str, cell: u32) -> bool {
        if !self.starts.contains(cell) || !cell.is_multiple_of(8) {
            self.check.add(position(cell), ProblemKind::NotACell { what });
        }
        let first = self.referred.insert(cell & !7);
        if !first {
            self.check.add(position(cell), ProblemKind::Shared { what });
        }
        first
    }

    fn tree(&mut self, root: Key<'h>) {
        let mut stack = vec![root];
        self.refer("key", root.cell());
        while let Some(key) = stack.pop() {
            self.key(&key);
            let before = stack.len();
            self.subkeys(&key, &mut stack);
            // The first subkey is next.
            stack[before..].reverse();
        }
    }

    fn key(&mut self, key: &Key<'h>) {
        self.check.keys += 1;
        self.check.deepest = self.check.deepest.max(key.depth());
        if key.layer() != Default::default() {
            self.check.layered_keys += 1;
            self.check.tombstones += u64::from(key.layer().semantics == LayerSemantics::Tombstone);
        }
        let name = key.name();
        if key.depth() > 0 && name.is_empty() {
            self.check.add(key.position(), ProblemKind::EmptyName);
        }
        if name.units().any(|unit| unit == u16::from(b'\\')) && key.depth() > 0 {
            self.check.add(key.position(), ProblemKind::Backslash { name: name.to_string() });
        }
        if !name.is_compressed() && !name.as_bytes().len().is_multiple_of(2) {
            self.check.add(key.position(), ProblemKind::OddName);
        }
        if key.flags().has(KeyFlags::VOLATILE) {
            self.check.add(key.position(), ProblemKind::Volatile);
        }
        let (class, _) = key.class_cell();
        if class != NO_CELL {
            self.refer("class name", class);
            if let Err(error) = key.class() {
                self.check.unreadable(key.position(), error);
            }
        }
        *self.descriptors.entry(key.security_cell()).or_default() += 1;
        self.values(key);
    }

    fn subkeys(&mut self, key: &Key<'h>, stack: &mut Vec<Key<'h>>) {
        if key.subkeys_cell() == NO_CELL {
            return;
        }
        let elements = key.elements();
        let mut own = self.refer("list of subkeys", key.subkeys_cell());
        for list in elements.lists() {
            own &= self.refer("list of subkeys", list);
        }
        if !own {
            return;
        }
        let (mut count, mut previous) = (0_u64, None::<Key<'h>>);
        for element in elements {
            let (cell, hint) = match element {
                Ok(element) => element,
                Err(error) => {
                    self.check.unreadable(key.position(), error);
                    continue;
                }
            };
            count += 1;
            if !self.refer("key", cell) {
                continue;
            }
            let subkey = match Key::read(self.cells, cell, key.depth() + 1) {
                Ok(subkey) => subkey,
                Err(error) => {
                    self.check.unreadable(position(cell), error);
                    continue;
                }
            };
            self.child(key, &subkey, hint, previous.as_ref());
            previous = Some(subkey);
            stack.push(subkey);
        }
        if count != u64::from(key.subkey_count()) {
            let kind = ProblemKind::SubkeyCount { expected: u64::from(key.subkey_count()), found: count };
            self.check.add(key.position(), kind);
        }
    }

    fn child(&mut self, key: &Key<'h>, subkey: &Key<'h>, hint: Hint, previous: Option<&Key<'h>>) {
        let at = subkey.position();
        if subkey.parent_cell() != key.cell() {
            let kind = ProblemKind::Parent { expected: key.cell(), found: subkey.parent_cell() };
            self.check.add(at, kind);
        }
        let name = subkey.name();
        match hint {
            Hint::Hash(found) if found != name.hash() => {
                self.check.add(at, ProblemKind::Hash { expected: name.hash(), found });
            }
            Hint::Letters(found) if found != name.hint() && name.hint() != [0; 4] => {
                self.check.add(at, ProblemKind::NameHint { expected: name.hint(), found });
            }
            _ => {}
        }
        match previous.map(|previous| previous.name().order(name)) {
            Some(std::cmp::Ordering::Greater) => self.check.add(at, ProblemKind::Order),
            Some(std::cmp::Ordering::Equal) => {
                self.check.add(at, ProblemKind::DuplicateKey { name: name.to_string() });
            }
            _ => {}
        }
    }

    fn values(&mut self, key: &Key<'h>) {
        if key.values_cell() == NO_CELL || !self.refer("list of values", key.values_cell()) {
            return;
        }
        let values = key.values();
        let cells: Vec<u32> = values.value_cells().collect();
        let mut names = HashSet::new();
        let mut cells = cells.into_iter();
        for value in values {
            // An error of the list itself has no cell.
            let cell = cells.next();
            if cell.is_some_and(|cell| !self.refer("value", cell)) {
                continue;
            }
            let value = match value {
                Ok(value) => value,
                Err(error) => {
                    self.check.unreadable(cell.map_or(key.position(), position), error);
                    continue;
                }
            };
            self.check.values += 1;
            self.check.tombstones += u64::from(value.is_tombstone());
            if !names.insert(value.name().folded()) {
                let kind = ProblemKind::DuplicateValue { name: value.name().to_string() };
                self.check.add(value.position(), kind);
            }
            match self.data(&value) {
                Ok(size) => self.check.data_bytes += size,
                Err(error) => self.check.unreadable(value.position(), error),
            }
        }
    }

    /// The size of a value's data, all of which could be read.
    fn data(&mut self, value: &Value<'h>) -> Result<u64> {
        let size = u64::from(value.data_size());
        let Some(cell) = value.data_cell() else { return value.data().map(|_| size) };
        self.refer("value data", cell);
        if value.is_big() {
            self.check.big_values += 1;
            let (list, segments) = big_data::segments(self.cells, cell, value.data_size() as usize)?;
            if !self.refer("list of segments", list) {
                return Ok(0);
            }
            for segment in segments {
                self.refer("data segment", segment);
            }
        }
        value.data().map(|_| size)
    }

    /// The security cells: how often they are used, and that they form one ring.
    fn security(&mut self) {
        let mut all: Vec<(u32, u32)> = std::mem::take(&mut self.descriptors).into_iter().collect();
        all.sort_unstable();
        for &(cell, keys) in &all {
            self.check.security_descriptors += 1;
            self.refer(security::WHAT, cell);
            let record = match self.cells.record(security::WHAT, cell, "sk", security::FIXED) {
                Ok(record) => record,
                Err(error) => {
                    self.check.unreadable(position(cell), error);
                    continue;
                }
            };
            if record.u32(12) != keys {
                let kind = ProblemKind::SecurityCount { expected: keys, found: record.u32(12) };
                self.check.add(position(cell), kind);
            }
            match security::descriptor(self.cells, cell) {
                Ok(bytes) => {
                    if let Err(reason) = SecurityDescriptor::validate(bytes) {
                        let at = record.position() + security::FIXED as u64;
                        let reason = Box::new(reason);
                        self.check.unreadable(at, Error::Security { position: at, reason });
                    }
                }
                Err(error) => self.check.unreadable(position(cell), error),
            }
            let next = record.u32(4);
            let back = self.cells.record(security::WHAT, next, "sk", security::FIXED).map(|next| next.u32(8));
            if back != Ok(cell) {
                self.check.add(position(cell), ProblemKind::SecurityRing { next });
            }
        }
        // Those of the ring that no key has.
        let Some(&(first, _)) = all.first() else { return };
        let mut at = first;
        // A ring has no more members than the bins have room for; one that does not lead back here is not followed for ever.
        for _ in 0..self.cells.bins.len() / security::FIXED {
            let Ok(record) = self.cells.record(security::WHAT, at, "sk", security::FIXED) else { return };
            at = record.u32(4);
            if at == first {
                return;
            }
            self.referred.insert(at & !7);
        }
    }
}
