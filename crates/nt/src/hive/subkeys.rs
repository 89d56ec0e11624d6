//! Lists of subkeys.
//!
//! ```text
//!  li  u16 count, count * { u32 key }                          1.3 and 1.4, long lists
//!  lf  u16 count, count * { u32 key, 4 bytes of the name }     1.3 and 1.4
//!  lh  u16 count, count * { u32 key, u32 hash of the name }    1.5 and later
//!  ri  u16 count, count * { u32 list }                         long lists: lists of these, never of ri
//! ```
//!
//! All are sorted by the names' capitals, the lists of an `ri` as a whole.

use super::cell::{Cells, NO_CELL, Record, position};
use super::error::{Error, Result};

const WHAT: &str = "list of subkeys";

/// What a leaf says of a key besides where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    None,
    Letters([u8; 4]),
    Hash(u32),
}

/// One list without lists below it.
#[derive(Debug, Clone, Copy)]
struct Leaf<'h> {
    record: Record<'h>,
    kind: Kind,
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Fast,
    Hash,
    Root,
}

impl Kind {
    fn width(self) -> usize {
        match self {
            Self::Index | Self::Root => 4,
            Self::Fast | Self::Hash => 8,
        }
    }
}

fn list(cells: Cells<'_>, cell: u32) -> Result<Leaf<'_>> {
    let record = Record { what: WHAT, cell, bytes: cells.get(WHAT, cell)? };
    let kind = match [record.u8(0), record.u8(1)] {
        [b'l', b'i'] => Kind::Index,
        [b'l', b'f'] => Kind::Fast,
        [b'l', b'h'] => Kind::Hash,
        [b'r', b'i'] => Kind::Root,
        found => {
            return Err(Error::Signature {
                what: WHAT,
                position: record.position(),
                expected: "li, lf, lh or ri",
                found,
            });
        }
    };
    let count = usize::from(record.u16(2));
    record.need(4 + count * kind.width())?;
    Ok(Leaf { record, kind, count })
}

/// The keys of a list, in its order. A leaf that cannot be read is an error among them.
#[derive(Debug, Clone)]
pub(super) struct Elements<'h> {
    cells: Cells<'h>,
    /// The ri and the next of its lists.
    root: Option<(Leaf<'h>, usize)>,
    /// The list at hand and its next key.
    leaf: Option<(Leaf<'h>, usize)>,
    failed: Option<Error>,
    given: usize,
    /// The cells of the lists met, for [`check`](super::Hive::check).
    pub(super) first: u32,
}

impl<'h> Elements<'h> {
    pub(super) fn new(cells: Cells<'h>, cell: u32) -> Self {
        let mut elements = Self { cells, root: None, leaf: None, failed: None, given: 0, first: cell };
        if cell != NO_CELL {
            match list(cells, cell) {
                Ok(leaf) if leaf.kind == Kind::Root => elements.root = Some((leaf, 0)),
                Ok(leaf) => elements.leaf = Some((leaf, 0)),
                Err(error) => elements.failed = Some(error),
            }
        }
        elements
    }

    /// The cells of the lists under this one, for an ri.
    pub(super) fn lists(&self) -> impl Iterator<Item = u32> + use<'h> {
        let root = self.root.map(|(root, _)| root);
        root.into_iter().flat_map(|root| (0..root.count).map(move |n| root.record.u32(4 + 4 * n)))
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<(u32, Hint)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            if let Some((leaf, next)) = &mut self.leaf
                && *next < leaf.count
            {
                self.given += 1;
                let limit = self.cells.most_elements();
                if self.given > limit {
                    (self.leaf, self.root) = (None, None);
                    let position = position(self.first);
                    return Some(Err(Error::TooMany { what: "subkeys of the list", position, limit }));
                }
                let at = 4 + *next * leaf.kind.width();
                *next += 1;
                let record = &leaf.record;
                let hint = match leaf.kind {
                    Kind::Index | Kind::Root => Hint::None,
                    Kind::Hash => Hint::Hash(record.u32(at + 4)),
                    Kind::Fast => Hint::Letters(record.u32(at + 4).to_le_bytes()),
                };
                return Some(Ok((record.u32(at), hint)));
            }
            self.leaf = None;
            let (root, next) = self.root.as_mut()?;
            if *next >= root.count {
                self.root = None;
                return None;
            }
            let cell = root.record.u32(4 + 4 * *next);
            *next += 1;
            // Lists that are empty, or the same again, cost as much as one key.
            self.given += 1;
            match list(self.cells, cell) {
                Ok(leaf) if leaf.kind == Kind::Root => {
                    return Some(Err(Error::Signature {
                        what: WHAT,
                        position: leaf.record.position(),
                        expected: "li, lf or lh",
                        found: *b"ri",
                    }));
                }
                Ok(leaf) => self.leaf = Some((leaf, 0)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
