//! Security descriptors: the self-relative SECURITY_DESCRIPTOR ([MS-DTYP] 2.4.6) and its parts.
//!
//! ```text
//! 0   u8   Revision, 1
//! 1   u8   Sbz1: resource manager control when bit 0x4000 is set
//! 2   u16  Control
//! 4   u32  OffsetOwner     from the start; 0 = absent
//! 8   u32  OffsetGroup
//! 12  u32  OffsetSacl
//! 16  u32  OffsetDacl
//! 20       the parts
//! ```
//!
//! A descriptor without the bit DACL_PRESENT, and one with the bit and without a list (a NULL DACL), both let everyone do
//! everything; a list without entries lets nobody do anything. The three stay apart here:
//! [`SecurityDescriptor::control`] holds the bit, [`SecurityDescriptor::dacl`] the list.
//!
//! In a layer a descriptor is carried as bytes and compared as bytes. Parsing is for looking, checking and building;
//! [`to_bytes`](SecurityDescriptor::to_bytes) lays the parts out as owner, group, SACL, DACL, and other orders
//! are as valid: keep the original bytes where they must survive.

mod acl;
mod check;
mod defaults;
mod inherit;
mod sid;

pub use acl::{Ace, AceBody, AceKind, Acl, ObjectAceKind, ace_flags};
pub use check::ntfs_hash;
pub use defaults::{
    BUILDKIT_DIRECTORY, BUILDKIT_FILE, NULL_DACL, OWNER_ADMINISTRATORS, OWNER_USERS, default_descriptor,
};
pub use inherit::inherit;
pub use sid::Sid;

use crate::bytes::Fields;
use crate::error::Result;
use acl::shift;

const STRUCTURE: &str = "SECURITY_DESCRIPTOR";
const HEADER: usize = 20;

/// The Control bits ([MS-DTYP] 2.4.6).
pub mod control {
    /// The owner came from a default.
    pub const OWNER_DEFAULTED: u16 = 0x0001;
    /// The group came from a default.
    pub const GROUP_DEFAULTED: u16 = 0x0002;
    /// There is a DACL, perhaps NULL.
    pub const DACL_PRESENT: u16 = 0x0004;
    /// The DACL came from a default.
    pub const DACL_DEFAULTED: u16 = 0x0008;
    /// There is a SACL, perhaps NULL.
    pub const SACL_PRESENT: u16 = 0x0010;
    /// The SACL came from a default.
    pub const SACL_DEFAULTED: u16 = 0x0020;
    /// The DACL is to be inherited by children (SDDL `AR`).
    pub const DACL_AUTO_INHERIT_REQ: u16 = 0x0100;
    /// The SACL is to be inherited by children (SDDL `AR`).
    pub const SACL_AUTO_INHERIT_REQ: u16 = 0x0200;
    /// The DACL takes part in inheritance (SDDL `AI`).
    pub const DACL_AUTO_INHERITED: u16 = 0x0400;
    /// The SACL takes part in inheritance (SDDL `AI`).
    pub const SACL_AUTO_INHERITED: u16 = 0x0800;
    /// The DACL inherits nothing (SDDL `P`).
    pub const DACL_PROTECTED: u16 = 0x1000;
    /// The SACL inherits nothing (SDDL `P`).
    pub const SACL_PROTECTED: u16 = 0x2000;
    /// The byte Sbz1 has a meaning.
    pub const RM_CONTROL_VALID: u16 = 0x4000;
    /// The parts are behind the header, found by offsets. Always set in files and layers.
    pub const SELF_RELATIVE: u16 = 0x8000;
}

/// A security descriptor, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecurityDescriptor {
    /// The Control bits, see [`control`].
    pub control: u16,
    /// The byte Sbz1, 0 in practice.
    pub resource_manager: u8,
    /// The owner.
    pub owner: Option<Sid>,
    /// The primary group.
    pub group: Option<Sid>,
    /// The system list: audit, label.
    pub sacl: Option<Acl>,
    /// The discretionary list: who may do what.
    pub dacl: Option<Acl>,
}

impl Default for SecurityDescriptor {
    /// Nothing but the header.
    fn default() -> Self {
        Self {
            control: control::SELF_RELATIVE,
            resource_manager: 0,
            owner: None,
            group: None,
            sacl: None,
            dacl: None,
        }
    }
}

impl SecurityDescriptor {
    /// Reads a self-relative descriptor. Parts may lie in any order and may share bytes; bytes that no offset leads to are
    /// allowed and not kept.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new(STRUCTURE, bytes);
        fields.slice(0, HEADER)?;
        let revision = fields.u8(0)?;
        if revision != 1 {
            return Err(fields.malformed(0, "revision 1", revision));
        }
        let control = fields.u16(2)?;
        if control & control::SELF_RELATIVE == 0 {
            return Err(fields.malformed(2, "control bit 0x8000 (self-relative)", format!("{control:#06x}")));
        }
        let part = |position: usize| -> Result<Option<(usize, &[u8])>> {
            let offset = fields.u32(position)? as usize;
            if offset == 0 {
                return Ok(None);
            }
            if offset < HEADER || offset >= bytes.len() {
                return Err(fields.malformed(
                    position,
                    "an offset behind the header and inside the buffer",
                    offset,
                ));
            }
            Ok(Some((offset, &bytes[offset..])))
        };
        let sid = |position| -> Result<Option<Sid>> {
            part(position)?.map(|(at, bytes)| Sid::parse(bytes).map_err(|e| shift(e, at))).transpose()
        };
        let acl = |position, bit| -> Result<Option<Acl>> {
            // Without the bit the offset means nothing.
            if control & bit == 0 {
                return Ok(None);
            }
            part(position)?.map(|(at, bytes)| Acl::parse(bytes).map_err(|e| shift(e, at))).transpose()
        };
        Ok(Self {
            control,
            resource_manager: fields.u8(1)?,
            owner: sid(4)?,
            group: sid(8)?,
            sacl: acl(12, control::SACL_PRESENT)?,
            dacl: acl(16, control::DACL_PRESENT)?,
        })
    }

    /// The self-relative form: owner, group, SACL, DACL behind the header, without gaps.
    ///
    /// The bits SELF_RELATIVE, and SACL_PRESENT and DACL_PRESENT where a list is there, are set for the caller.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = vec![0; HEADER];
        out[0] = 1;
        out[1] = self.resource_manager;
        out[2..4].copy_from_slice(&self.effective_control().to_le_bytes());
        let parts = [
            (4, self.owner.as_ref().map(Sid::to_bytes)),
            (8, self.group.as_ref().map(Sid::to_bytes)),
            (12, self.sacl.as_ref().map(Acl::to_bytes).transpose()?),
            (16, self.dacl.as_ref().map(Acl::to_bytes).transpose()?),
        ];
        for (field, part) in parts {
            let Some(part) = part else { continue };
            // Two SIDs and two lists of 64 KiB at most: the offset fits.
            let offset = out.len() as u32;
            out[field..field + 4].copy_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&part);
            // Raw ACEs may have any length; Windows wants what follows on a multiple of 4.
            out.resize(out.len().next_multiple_of(4), 0);
        }
        Ok(out)
    }

    fn effective_control(&self) -> u16 {
        self.control
            | control::SELF_RELATIVE
            | self.sacl.as_ref().map_or(0, |_| control::SACL_PRESENT)
            | self.dacl.as_ref().map_or(0, |_| control::DACL_PRESENT)
    }

    /// Whether the DACL is there and NULL: everyone may do everything, by intent.
    pub fn has_null_dacl(&self) -> bool {
        self.control & control::DACL_PRESENT != 0 && self.dacl.is_none()
    }
}
