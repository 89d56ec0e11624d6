//! A hive in memory, and the ways into it.

use std::borrow::Cow;

use super::base_block::{BASE_BLOCK, BaseBlock};
use super::cell::Cells;
use super::check::{self, Check};
use super::error::{Error, Result};
use super::key::Key;
use super::walk::Walk;

/// A hive in memory.
///
/// Opening looks at the base block only. Everything else is read when it is asked for, and what cannot be read is an error
/// there and nowhere else: of a damaged hive, what is whole can be used. [`check`](Self::check) finds all that is wrong.
#[derive(Debug, Clone)]
pub struct Hive<'d> {
    bytes: Cow<'d, [u8]>,
    base: BaseBlock,
    /// Where the bins end: where the base block says, or where the file does.
    end: usize,
}

impl<'d> Hive<'d> {
    /// Opens a hive, from a slice or a vector. How large one may be is for the caller to say.
    ///
    /// # Errors
    /// When this is no hive, of a version other than 1.3 to 1.6, or shorter than a base block.
    pub fn open(bytes: impl Into<Cow<'d, [u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let base = BaseBlock::parse(&bytes)?;
        if bytes.len() < BASE_BLOCK {
            return Err(Error::TooShort {
                what: "the base block",
                needed: BASE_BLOCK,
                available: bytes.len(),
            });
        }
        let end = BASE_BLOCK.saturating_add(base.bins_size as usize).min(bytes.len());
        Ok(Self { bytes, base, end })
    }

    /// The base block.
    pub fn base(&self) -> &BaseBlock {
        &self.base
    }

    /// The whole file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that the bins should have, but that the file does not.
    pub fn missing_bytes(&self) -> usize {
        (self.base.bins_size as usize).saturating_sub(self.end - BASE_BLOCK)
    }

    pub(super) fn cells(&self) -> Cells<'_> {
        Cells { bins: &self.bytes[BASE_BLOCK..self.end], version: self.base.version }
    }

    /// The root key.
    pub fn root(&self) -> Result<Key<'_>> {
        Key::read(self.cells(), self.base.root, 0)
    }

    /// The key at a path from the root, with backslashes and in any case; `""` is the root. `None` when there is no such key.
    ///
    /// # Errors
    /// When something on the way cannot be read.
    pub fn key(&self, path: &str) -> Result<Option<Key<'_>>> {
        let mut key = self.root()?;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            match key.subkey(name)? {
                Some(subkey) => key = subkey,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// All keys.
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self, self.root())
    }

    /// The keys from one of this hive's down.
    pub fn walk_from<'h>(&'h self, key: Key<'h>) -> Walk<'h> {
        Walk::new(self, Ok(key))
    }

    /// Looks at everything: bins, cells, and the tree of keys with all that belongs to it.
    pub fn check(&self) -> Check {
        check::run(self)
    }
}
