//! Sparse maps: which ranges of a file the payload holds.
//!
//! GNU tar has written four encodings over time: "old GNU" (binary, in the header and extension blocks), PAX 0.0
//! (repeated `GNU.sparse.offset` and `GNU.sparse.numbytes`), 0.1 (`GNU.sparse.map`) and 1.0 (decimal text at the
//! start of the payload). Source: GNU tar manual, "Storing Sparse Files".

use super::Error;
use super::pax::Record;

/// One stored range of a sparse file, in bytes of the logical file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where the range starts.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
}

/// What the PAX records of a member say about a sparse file.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    pub(super) map: Option<Vec<(u64, u64)>>,
    /// Version 1.0: the map is at the start of the payload.
    pub(super) map_in_payload: bool,
}

impl PaxSparse {
    /// Gathers the `GNU.sparse.*` records; `None` when there is none.
    pub(super) fn from_records(records: &[Record], offset: u64) -> Result<Option<PaxSparse>, Error> {
        let mut sparse = PaxSparse::default();
        let (mut found, mut major) = (false, 0);
        let mut pending = None;
        for (key, value) in records {
            let Some(key) = key.strip_prefix(b"GNU.sparse.") else { continue };
            let number = || decimal(value).ok_or(Error::Sparse { offset, reason: "a number is malformed" });
            found = true;
            match key {
                b"name" => sparse.name = Some(value.clone()),
                b"size" | b"realsize" => sparse.real_size = Some(number()?),
                b"major" => major = number()?,
                b"offset" => pending = Some(number()?),
                b"numbytes" => {
                    let start =
                        pending.take().ok_or(Error::Sparse { offset, reason: "numbytes without offset" })?;
                    sparse.map.get_or_insert_default().push((start, number()?));
                }
                b"map" => {
                    let numbers: Option<Vec<u64>> = if value.is_empty() {
                        Some(Vec::new())
                    } else {
                        value.split(|&b| b == b',').map(decimal).collect()
                    };
                    let numbers = numbers
                        .filter(|numbers| numbers.len() % 2 == 0)
                        .ok_or(Error::Sparse { offset, reason: "the map is not pairs of numbers" })?;
                    sparse.map = Some(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
                }
                _ => {}
            }
        }
        if !found {
            return Ok(None);
        }
        sparse.map_in_payload = major == 1;
        if !sparse.map_in_payload && sparse.map.is_none() && sparse.real_size.is_none() {
            return Ok(None);
        }
        Ok(Some(sparse))
    }
}

/// Reads an unsigned decimal number that fills the whole slice.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Checks a map against the logical size and the stored size, and drops empty segments.
pub(super) fn validate(
    map: Vec<(u64, u64)>,
    logical: u64,
    stored: u64,
    offset: u64,
) -> Result<Vec<Segment>, Error> {
    let bad = |reason| Error::Sparse { offset, reason };
    let (mut end, mut sum) = (0u64, 0u64);
    let mut segments = Vec::new();
    for (start, len) in map {
        let stop = start.checked_add(len).ok_or_else(|| bad("a segment overflows"))?;
        if stop > logical {
            return Err(bad("a segment ends behind the end of the file"));
        }
        if len == 0 {
            continue;
        }
        if start < end {
            return Err(bad("segments overlap or are out of order"));
        }
        end = stop;
        sum += len;
        segments.push(Segment { offset: start, len });
    }
    if sum != stored {
        return Err(bad("the segments and the payload differ in length"));
    }
    Ok(segments)
}
