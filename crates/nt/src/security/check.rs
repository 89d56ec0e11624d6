//! What Windows demands of a descriptor before it takes one, and the hash by which NTFS finds a descriptor again.

use super::{
    Ace, AceBody, AceKind, Acl, HEADER, ObjectAceKind, STRUCTURE, SecurityDescriptor, ace_flags, control,
};
use crate::bytes::Fields;
use crate::error::Result;

const ACL_HEADER: usize = 8;
/// What the parts of a descriptor, and the ACEs of a list, are aligned to.
const ALIGNMENT: usize = 4;

impl SecurityDescriptor {
    /// Checks that Windows takes `bytes`: everything that [`parse`](Self::parse) asks for, and what `RtlValidRelativeSecurityDescriptor` and
    /// `RtlValidAcl` add to it as far as their documentation and [MS-DTYP] 2.4 tell. Parts begin on multiples of 4, a list and
    /// each of its entries are a multiple of 4 long, and an entry of mask and SID is as long as its SID says or longer.
    ///
    /// # Errors
    /// The first thing that Windows would refuse, with its byte.
    pub fn validate(bytes: &[u8]) -> Result<()> {
        Self::parse(bytes)?;
        let fields = Fields::new(STRUCTURE, bytes);
        let control = fields.u16(2)?;
        let parts = [
            (4, true, false),
            (8, true, false),
            (12, control & control::SACL_PRESENT != 0, true),
            (16, control & control::DACL_PRESENT != 0, true),
        ];
        for (field, counts, is_list) in parts {
            let offset = fields.u32(field)? as usize;
            if offset == 0 || !counts {
                continue;
            }
            if offset < HEADER || !offset.is_multiple_of(ALIGNMENT) {
                return Err(fields.malformed(field, "an offset that is a multiple of 4", offset));
            }
            if is_list {
                validate_list(&fields, offset)?;
            }
        }
        Ok(())
    }
}

/// The list at `start`, which has been parsed: its sizes are inside the buffer.
fn validate_list(fields: &Fields<'_>, start: usize) -> Result<()> {
    let size = usize::from(fields.u16(start + 2)?);
    if !size.is_multiple_of(ALIGNMENT) {
        return Err(fields.malformed(start + 2, "an ACL whose size is a multiple of 4", size));
    }
    let mut at = start + ACL_HEADER;
    for _ in 0..fields.u16(start + 4)? {
        let size = usize::from(fields.u16(at + 2)?);
        if !size.is_multiple_of(ALIGNMENT) {
            return Err(fields.malformed(at + 2, "an ACE whose size is a multiple of 4", size));
        }
        at += size;
    }
    Ok(())
}

/// The hash of a descriptor in `$Secure` of an NTFS volume (`$SDS` and the index `$SDH`): its bytes as little-endian u32, each added
/// to the sum so far rotated left by 3. Bytes behind the last whole u32 do not count; a descriptor has none.
///
/// Whoever writes `$SDS` needs it; the linux-ntfs documentation ("$Secure") describes it.
pub fn ntfs_hash(descriptor: &[u8]) -> u32 {
    descriptor.chunks_exact(4).fold(0_u32, |hash, word| {
        hash.rotate_left(3).wrapping_add(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    })
}

impl Acl {
    /// Whether the entries are in the order that Windows' editors keep ("Order of ACEs in a DACL", Windows SDK): what refuses
    /// before what allows, and inherited entries behind those of the object itself, in the order in which they came.
    ///
    /// Object ACEs come behind plain ones of their kind, types that neither allow nor refuse behind both. Windows enforces
    /// any order as it stands; Explorer offers to mend a list for which this is false.
    pub fn is_canonical(&self) -> bool {
        self.aces.is_sorted_by_key(rank)
    }

    /// The same entries in canonical order; those of one rank stay in the order in which they were.
    pub fn to_canonical(&self) -> Self {
        let mut aces = self.aces.clone();
        aces.sort_by_key(rank);
        Self { revision: self.revision, aces }
    }
}

/// The place of an entry in a canonical DACL. 9 to 12 are the conditional forms of 0, 1, 5 and 6 ([MS-DTYP] 2.4.4.1).
fn rank(ace: &Ace) -> u8 {
    if ace.flags & ace_flags::INHERITED != 0 {
        return 5;
    }
    match &ace.body {
        AceBody::Basic { kind: AceKind::Deny, .. } => 0,
        AceBody::Object { kind: ObjectAceKind::Deny, .. } => 1,
        AceBody::Basic { kind: AceKind::Allow, .. } => 2,
        AceBody::Object { kind: ObjectAceKind::Allow, .. } => 3,
        AceBody::Raw { ace_type, .. } => match ace_type {
            0x01 | 0x0A => 0,
            0x06 | 0x0C => 1,
            0x00 | 0x09 => 2,
            0x05 | 0x0B => 3,
            _ => 4,
        },
        _ => 4,
    }
}
