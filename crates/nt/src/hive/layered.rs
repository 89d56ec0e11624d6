//! Layered keys: what a key of a differencing hive means for the keys of the same path in the hives below.

use std::fmt;

/// Position of the byte in the key node.
pub(super) const LAYER_BYTE: usize = 13;
const SEMANTICS: u8 = 0x03;
const INHERIT_CLASS: u8 = 0x80;

/// What a key does to the hives below its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LayerSemantics {
    /// Its values and subkeys are laid over those below. Every key of an ordinary hive.
    #[default]
    Merge,
    /// The key is deleted: neither it nor anything below it is there, whatever the hives below have.
    Tombstone,
    /// Its values, class and descriptor take the place of those below; subkeys are still merged.
    SupersedeLocal,
    /// The key and everything under it take the place of what is below.
    SupersedeTree,
}

/// The layered-key byte of a key node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Layer {
    /// What the key does to the hives below.
    pub semantics: LayerSemantics,
    /// Whether the class is that of the key below instead of its own.
    pub inherit_class: bool,
}

impl Layer {
    /// From the byte; bits that have no meaning are left out.
    pub(super) fn from_byte(byte: u8) -> Self {
        let semantics = match byte & SEMANTICS {
            0 => LayerSemantics::Merge,
            1 => LayerSemantics::Tombstone,
            2 => LayerSemantics::SupersedeLocal,
            _ => LayerSemantics::SupersedeTree,
        };
        Self { semantics, inherit_class: byte & INHERIT_CLASS != 0 }
    }

    pub(super) fn to_byte(self) -> u8 {
        let semantics = match self.semantics {
            LayerSemantics::Merge => 0,
            LayerSemantics::Tombstone => 1,
            LayerSemantics::SupersedeLocal => 2,
            LayerSemantics::SupersedeTree => 3,
        };
        semantics | if self.inherit_class { INHERIT_CLASS } else { 0 }
    }
}

impl fmt::Display for LayerSemantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Merge => "merge",
            Self::Tombstone => "tombstone",
            Self::SupersedeLocal => "supersede-local",
            Self::SupersedeTree => "supersede-tree",
        })
    }
}
