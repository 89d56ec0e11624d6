//! Bringing a dirty hive up to date from its transaction logs.
//!
//! Windows writes changes to a log first and to the hive later. A hive of which the sequence numbers differ, or of which the
//! base block has a wrong checksum, lacks what the logs have:
//!
//! | base block of the hive | logs of the new format | logs of the old format |
//! |---|---|---|
//! | right, numbers equal | not looked at | not looked at |
//! | right, numbers differ | entries from the hive's secondary number on; the log with the earlier entries first; the other one follows if its numbers do | the one that was last written at the hive's time |
//! | damaged | base block and entries of the log with the latest number, no other | the one that was last written at the time in the first bin |
//!
//! A damaged entry ends its log: those before it are applied. Windows also repairs bins that it finds damaged
//! afterwards; this code leaves them, and [`check`](super::Hive::check) names them.

use std::borrow::Cow;

use super::base_block::{
    BASE_BLOCK, BINS_SIZE, BaseBlock, CHECKSUM, FLAGS, SECTOR, SEQUENCE_PRIMARY, SEQUENCE_SECONDARY, TYPE,
    checksum,
};
use super::error::Result;
use super::log::{Log, Unused};

/// Where the first bin has the time of writing.
const BIN_TIME: usize = BASE_BLOCK + 20;

/// A hive, as up to date as its logs make it.
#[derive(Debug, Clone)]
pub struct Recovered<'d> {
    /// The hive's file: what was given, if nothing had to be changed.
    pub bytes: Cow<'d, [u8]>,
    /// Whether the hive needed its logs.
    pub was_dirty: bool,
    /// The log that a damaged base block was replaced from, by its place among those given.
    pub base_block_from: Option<usize>,
    /// What was applied, in this order.
    pub applied: Vec<Applied>,
    /// Logs, or the rest of logs, that were not used: which one, from which byte on, and why.
    pub unused: Vec<(usize, u64, Unused)>,
}

impl Recovered<'_> {
    /// Whether the hive is still dirty: it was, and no log could be applied.
    pub fn is_dirty(&self) -> bool {
        self.was_dirty && self.applied.is_empty()
    }

    /// Pages written into the hive.
    pub fn pages(&self) -> usize {
        self.applied.iter().map(|applied| applied.pages).sum()
    }
}

/// An entry, or a whole log of the old format, that was written into the hive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The log, by its place among those given.
    pub log: usize,
    /// The sequence number.
    pub sequence: u32,
    /// Pages written.
    pub pages: usize,
    /// Bytes of these pages.
    pub bytes: usize,
}

/// Replays the logs of a hive onto it. The order of the logs is that of their content; an empty one does no harm.
///
/// # Errors
/// When neither the hive nor a log has a base block that can be used.
pub fn recover<'d>(primary: &'d [u8], logs: &[&[u8]]) -> Result<Recovered<'d>> {
    let base = BaseBlock::parse(primary);
    let mut recovered = Recovered {
        bytes: Cow::Borrowed(primary),
        was_dirty: base.as_ref().is_ok_and(BaseBlock::is_dirty) || base.is_err(),
        base_block_from: None,
        applied: Vec::new(),
        unused: Vec::new(),
    };
    if !recovered.was_dirty {
        return Ok(recovered);
    }
    let mut usable = Vec::new();
    for (index, bytes) in logs.iter().enumerate() {
        match Log::parse(index, bytes) {
            Ok(log) => usable.push(log),
            Err(unused) => recovered.unused.push((index, 0, unused)),
        }
    }
    let limit = primary.len().max(BASE_BLOCK) + logs.iter().map(|log| log.len()).sum::<usize>();
    match base {
        Ok(base) if base.is_valid() => {
            if usable.iter().any(|log| log.new) {
                recovered.replay(usable, base.secondary_sequence, limit);
            } else {
                recovered.write_dirty_pages(&usable, base.last_written.0, limit);
            }
        }
        damaged => {
            if let Some(latest) =
                usable.iter().filter(|log| log.new).map(|log| log.base.primary_sequence).max()
            {
                recovered.replace_base(usable, latest, limit);
            } else {
                let time = primary.get(BIN_TIME..BIN_TIME + 8).and_then(|time| time.try_into().ok());
                recovered.write_dirty_pages(&usable, time.map_or(0, i64::from_le_bytes), limit);
            }
            if recovered.base_block_from.is_none() && recovered.applied.is_empty() {
                damaged?;
            }
        }
    }
    Ok(recovered)
}

impl Recovered<'_> {
    /// Takes the base block of the log with the latest state, and applies that log.
    fn replace_base(&mut self, logs: Vec<Log<'_>>, latest: u32, limit: usize) {
        let mut chosen = None;
        for log in logs {
            if chosen.is_none() && log.new && log.base.primary_sequence == latest {
                chosen = Some(log);
            } else {
                self.unused.push((log.index, 0, Unused::Superseded));
            }
        }
        if let Some(log) = chosen {
            self.take_base(&log);
            self.replay(vec![log], latest, limit);
        }
    }

    /// Puts a log's base block in the place of the hive's.
    fn take_base(&mut self, log: &Log<'_>) {
        let bytes = self.bytes.to_mut();
        if bytes.len() < BASE_BLOCK {
            bytes.resize(BASE_BLOCK, 0);
        }
        bytes[..SECTOR].copy_from_slice(&log.bytes[..SECTOR]);
        self.base_block_from = Some(log.index);
        self.set(&[(TYPE, 0)]);
    }

    /// Applies the entries of new logs, from a sequence number on.
    fn replay(&mut self, logs: Vec<Log<'_>>, first: u32, limit: usize) {
        let mut ordered = Vec::new();
        for log in logs {
            if !log.new {
                self.unused.push((log.index, 0, Unused::Superseded));
                continue;
            }
            let (entries, end) = log.entries();
            if let Some((at, unused)) = end {
                self.unused.push((log.index, at as u64, unused));
            }
            match entries.last() {
                Some(last) if last.sequence < first => {
                    let unused = Unused::Old { needed: first, found: last.sequence };
                    self.unused.push((log.index, SECTOR as u64, unused));
                }
                Some(_) => ordered.push((log.index, entries)),
                None => {}
            }
        }
        ordered.sort_by_key(|(_, entries)| entries.first().map(|entry| entry.sequence));
        let mut next = None;
        for (log, entries) in ordered {
            let mut at = SECTOR;
            for entry in entries {
                let here = at as u64;
                at += entry.size;
                // Applied already, before the hive was written the last time.
                if entry.sequence < first || next.is_some_and(|next| entry.sequence < next) {
                    continue;
                }
                if let Some(expected) = next.filter(|&next| next != entry.sequence) {
                    self.unused.push((log, here, Unused::Gap { expected, found: entry.sequence }));
                    break;
                }
                if let Err(unused) = self.write(&entry.pages, entry.bins_size, limit) {
                    self.unused.push((log, here, unused));
                    break;
                }
                self.set(&[
                    (SEQUENCE_PRIMARY, entry.sequence),
                    (SEQUENCE_SECONDARY, entry.sequence),
                    (BINS_SIZE, entry.bins_size),
                    (FLAGS, entry.flags),
                ]);
                let bytes = entry.pages.iter().map(|(_, page)| page.len()).sum();
                self.applied.push(Applied { log, sequence: entry.sequence, pages: entry.pages.len(), bytes });
                next = Some(entry.sequence.wrapping_add(1));
            }
        }
    }

    /// Applies the old log of this time.
    fn write_dirty_pages(&mut self, logs: &[Log<'_>], time: i64, limit: usize) {
        for log in logs {
            if log.base.last_written.0 != time {
                let unused = Unused::Time { expected: time, found: log.base.last_written.0 };
                self.unused.push((log.index, 0, unused));
                continue;
            }
            if !self.applied.is_empty() {
                self.unused.push((log.index, 0, Unused::Superseded));
                continue;
            }
            let written = log.dirty_pages().and_then(|pages| {
                self.write(&pages, log.base.bins_size, limit).map_err(|unused| (SECTOR, unused))?;
                Ok(pages)
            });
            match written {
                Ok(pages) => {
                    if !BaseBlock::parse(&self.bytes).is_ok_and(|base| base.is_valid()) {
                        self.take_base(log);
                    }
                    let sequence = log.base.primary_sequence;
                    self.set(&[
                        (SEQUENCE_PRIMARY, sequence),
                        (SEQUENCE_SECONDARY, sequence),
                        (BINS_SIZE, log.base.bins_size),
                    ]);
                    let bytes = pages.iter().map(|(_, page)| page.len()).sum();
                    self.applied.push(Applied { log: log.index, sequence, pages: pages.len(), bytes });
                }
                Err((at, unused)) => self.unused.push((log.index, at as u64, unused)),
            }
        }
    }

    /// Writes pages, and lets the hive grow to hold its bins.
    fn write(&mut self, pages: &[(u32, &[u8])], bins_size: u32, limit: usize) -> Result<(), Unused> {
        let end = BASE_BLOCK + bins_size as usize;
        if end > limit {
            return Err(Unused::Growth { limit: limit as u64, found: end as u64 });
        }
        let bytes = self.bytes.to_mut();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        for (offset, page) in pages {
            let start = BASE_BLOCK + *offset as usize;
            if let Some(place) = bytes.get_mut(start..start + page.len()) {
                place.copy_from_slice(page);
            }
        }
        Ok(())
    }

    /// Changes words of the base block, and the checksum with them.
    fn set(&mut self, words: &[(usize, u32)]) {
        let bytes = self.bytes.to_mut();
        for &(position, word) in words {
            bytes[position..position + 4].copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&bytes[..SECTOR]);
        bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
    }
}
