use crate::bytes::Fields;
use crate::error::{Error, Result};
use crate::security::Sid;

const ACL: &str = "ACL";
const ACL_HEADER: usize = 8;
const ACE_HEADER: usize = 4;
const OBJECT_TYPE_PRESENT: u32 = 1;
const INHERITED_OBJECT_TYPE_PRESENT: u32 = 2;

/// An access control list ([MS-DTYP] 2.4.5).
///
/// ```text
/// 0  u8   AclRevision, 2 or 4 (4 when object ACEs are inside)
/// 1  u8   Sbz1
/// 2  u16  AclSize
/// 4  u16  AceCount
/// 6  u16  Sbz2
/// 8       the ACEs
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    /// AclRevision.
    pub revision: u8,
    /// The entries, in order: order decides.
    pub aces: Vec<Ace>,
}

/// An access control entry ([MS-DTYP] 2.4.4): header flags and body.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ace {
    /// How the entry is inherited and audited, see [`ace_flags`].
    pub flags: u8,
    /// What the entry says.
    pub body: AceBody,
}

/// The AceFlags bits ([MS-DTYP] 2.4.4.1).
pub mod ace_flags {
    /// Files in the directory inherit the entry.
    pub const OBJECT_INHERIT: u8 = 0x01;
    /// Directories in the directory inherit the entry.
    pub const CONTAINER_INHERIT: u8 = 0x02;
    /// Children inherit the entry, their children do not.
    pub const NO_PROPAGATE: u8 = 0x04;
    /// The entry is for children only.
    pub const INHERIT_ONLY: u8 = 0x08;
    /// The entry came from a parent.
    pub const INHERITED: u8 = 0x10;
    /// Critical entry: must not be removed (allow ACEs).
    pub const CRITICAL: u8 = 0x20;
    /// Audit successful access (audit ACEs); filter for trust-protected processes otherwise.
    pub const SUCCESSFUL_ACCESS: u8 = 0x40;
    /// Audit failed access.
    pub const FAILED_ACCESS: u8 = 0x80;
    /// The four bits that rule inheritance.
    pub const INHERITANCE: u8 = OBJECT_INHERIT | CONTAINER_INHERIT | NO_PROPAGATE | INHERIT_ONLY;
}

/// The AceType values that consist of a mask and a SID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AceKind {
    /// ACCESS_ALLOWED_ACE.
    Allow = 0x00,
    /// ACCESS_DENIED_ACE.
    Deny = 0x01,
    /// SYSTEM_AUDIT_ACE.
    Audit = 0x02,
    /// SYSTEM_ALARM_ACE, reserved.
    Alarm = 0x03,
    /// SYSTEM_MANDATORY_LABEL_ACE.
    MandatoryLabel = 0x11,
    /// SYSTEM_SCOPED_POLICY_ID_ACE.
    ScopedPolicy = 0x13,
    /// SYSTEM_PROCESS_TRUST_LABEL_ACE.
    ProcessTrustLabel = 0x14,
}

/// The AceType values that also name object types by GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectAceKind {
    /// ACCESS_ALLOWED_OBJECT_ACE.
    Allow = 0x05,
    /// ACCESS_DENIED_OBJECT_ACE.
    Deny = 0x06,
    /// SYSTEM_AUDIT_OBJECT_ACE.
    Audit = 0x07,
    /// SYSTEM_ALARM_OBJECT_ACE, reserved.
    Alarm = 0x08,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AceBody {
    /// Mask and SID.
    Basic {
        /// The AceType.
        kind: AceKind,
        /// The access mask ([MS-DTYP] 2.4.3).
        mask: u32,
        /// Whom it is about.
        sid: Sid,
    },
    /// Mask, object types, SID.
    Object {
        /// The AceType.
        kind: ObjectAceKind,
        /// The access mask.
        mask: u32,
        /// The object type it is about, as on disk.
        object_type: Option<[u8; 16]>,
        /// The type of children that inherit it, as on disk.
        inherited_object_type: Option<[u8; 16]>,
        /// Whom it is about.
        sid: Sid,
    },
    /// Conditional (callback), resource attribute and unknown entries, and known ones with bytes behind their SID: the body
    /// as it is, without the four bytes of the header.
    Raw {
        /// The AceType.
        ace_type: u8,
        /// Everything behind the header.
        bytes: Vec<u8>,
    },
}

impl AceKind {
    fn from_type(ace_type: u8) -> Option<Self> {
        [
            Self::Allow,
            Self::Deny,
            Self::Audit,
            Self::Alarm,
            Self::MandatoryLabel,
            Self::ScopedPolicy,
            Self::ProcessTrustLabel,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == ace_type)
    }
}

impl ObjectAceKind {
    fn from_type(ace_type: u8) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::Audit, Self::Alarm].into_iter().find(|kind| *kind as u8 == ace_type)
    }
}

impl Ace {
    /// An entry of mask and SID.
    pub fn new(kind: AceKind, flags: u8, mask: u32, sid: Sid) -> Self {
        Self { flags, body: AceBody::Basic { kind, mask, sid } }
    }

    /// The AceType byte.
    pub fn ace_type(&self) -> u8 {
        match &self.body {
            AceBody::Basic { kind, .. } => *kind as u8,
            AceBody::Object { kind, .. } => *kind as u8,
            AceBody::Raw { ace_type, .. } => *ace_type,
        }
    }

    /// Reads `bytes`, the whole of one entry.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new("ACE", bytes);
        let (ace_type, flags) = (fields.u8(0)?, fields.u8(1)?);
        let raw = || AceBody::Raw { ace_type, bytes: bytes[ACE_HEADER..].to_vec() };
        // A SID that ends before the entry does would lose bytes in a typed form.
        let sid_at = |start: usize| -> Result<Option<Sid>> {
            let rest = fields.slice(start, bytes.len().saturating_sub(start))?;
            let sid = Sid::parse(rest).map_err(|error| shift(error, start))?;
            Ok((sid.size() == rest.len()).then_some(sid))
        };
        let body = if let Some(kind) = AceKind::from_type(ace_type) {
            let mask = fields.u32(4)?;
            sid_at(8)?.map_or_else(raw, |sid| AceBody::Basic { kind, mask, sid })
        } else if let Some(kind) = ObjectAceKind::from_type(ace_type) {
            Self::parse_object(&fields, kind, sid_at)?.unwrap_or_else(raw)
        } else {
            raw()
        };
        Ok(Self { flags, body })
    }

    fn parse_object(
        fields: &Fields<'_>,
        kind: ObjectAceKind,
        sid_at: impl Fn(usize) -> Result<Option<Sid>>,
    ) -> Result<Option<AceBody>> {
        let (mask, present) = (fields.u32(4)?, fields.u32(8)?);
        if present & !(OBJECT_TYPE_PRESENT | INHERITED_OBJECT_TYPE_PRESENT) != 0 {
            return Ok(None);
        }
        let mut position = 12;
        let mut guid = |bit: u32| -> Result<Option<[u8; 16]>> {
            if present & bit == 0 {
                return Ok(None);
            }
            let guid = fields.guid(position)?;
            position += guid.len();
            Ok(Some(guid))
        };
        let object_type = guid(OBJECT_TYPE_PRESENT)?;
        let inherited_object_type = guid(INHERITED_OBJECT_TYPE_PRESENT)?;
        Ok(sid_at(position)?.map(|sid| AceBody::Object {
            kind,
            mask,
            object_type,
            inherited_object_type,
            sid,
        }))
    }

    fn put(&self, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.extend_from_slice(&[self.ace_type(), self.flags, 0, 0]);
        match &self.body {
            AceBody::Basic { mask, sid, .. } => {
                out.extend_from_slice(&mask.to_le_bytes());
                out.extend_from_slice(&sid.to_bytes());
            }
            AceBody::Object { mask, object_type, inherited_object_type, sid, .. } => {
                let present = object_type.map_or(0, |_| OBJECT_TYPE_PRESENT)
                    | inherited_object_type.map_or(0, |_| INHERITED_OBJECT_TYPE_PRESENT);
                out.extend_from_slice(&mask.to_le_bytes());
                out.extend_from_slice(&present.to_le_bytes());
                for guid in [object_type, inherited_object_type].into_iter().flatten() {
                    out.extend_from_slice(guid);
                }
                out.extend_from_slice(&sid.to_bytes());
            }
            AceBody::Raw { bytes, .. } => out.extend_from_slice(bytes),
        }
        let size = out.len() - start;
        let field =
            u16::try_from(size).map_err(|_| Error::TooLong { what: "ACE", limit: 65535, found: size })?;
        out[start + 2..start + 4].copy_from_slice(&field.to_le_bytes());
        Ok(())
    }
}

/// Positions inside a part, counted from the whole.
pub(super) fn shift(error: Error, by: usize) -> Error {
    match error {
        Error::Truncated { structure, position, needed, available } => {
            Error::Truncated { structure, position: position + by, needed, available }
        }
        Error::Malformed { structure, position, expected, found } => {
            Error::Malformed { structure, position: position + by, expected, found }
        }
        other => other,
    }
}

impl Acl {
    /// ACL_REVISION: lists without object ACEs.
    pub const REVISION: u8 = 2;
    /// ACL_REVISION_DS: lists with object ACEs.
    pub const REVISION_DS: u8 = 4;

    /// A list of these entries, with the lowest revision that they allow.
    pub fn new(aces: Vec<Ace>) -> Self {
        let object = |ace: &Ace| matches!(ace.ace_type(), 0x05..=0x08 | 0x0B | 0x0C | 0x0F | 0x10);
        let revision = if aces.iter().any(object) { Self::REVISION_DS } else { Self::REVISION };
        Self { revision, aces }
    }

    /// Reads the list at the start of `bytes`; what follows its AclSize is not looked at. Unused room inside AclSize is
    /// allowed, as Windows allows it, and not kept.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new(ACL, bytes);
        let revision = fields.u8(0)?;
        // 2 to 4: MIN_ACL_REVISION and MAX_ACL_REVISION of winnt.h.
        if !(Self::REVISION..=Self::REVISION_DS).contains(&revision) {
            return Err(fields.malformed(0, "revision 2 to 4", revision));
        }
        let size = usize::from(fields.u16(2)?);
        if size < ACL_HEADER {
            return Err(fields.malformed(2, "a size of at least 8", size));
        }
        let fields = Fields::new(ACL, fields.slice(0, size)?);
        let count = usize::from(fields.u16(4)?);
        let mut aces = Vec::new();
        let mut position = ACL_HEADER;
        for _ in 0..count {
            let length = usize::from(fields.u16(position + 2)?);
            if length < ACE_HEADER {
                return Err(fields.malformed(position + 2, "an ACE of at least 4 bytes", length));
            }
            let ace = Ace::parse(fields.slice(position, length)?);
            aces.push(ace.map_err(|error| shift(error, position))?);
            position += length;
        }
        Ok(Self { revision, aces })
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let too_long = |found| Error::TooLong { what: "ACL", limit: 65535, found };
        let mut out = vec![self.revision, 0, 0, 0, 0, 0, 0, 0];
        for ace in &self.aces {
            ace.put(&mut out)?;
            if out.len() > 65535 {
                return Err(too_long(out.len()));
            }
        }
        let count = u16::try_from(self.aces.len()).map_err(|_| too_long(self.aces.len()))?;
        let size = u16::try_from(out.len()).map_err(|_| too_long(out.len()))?;
        out[2..4].copy_from_slice(&size.to_le_bytes());
        out[4..6].copy_from_slice(&count.to_le_bytes());
        Ok(out)
    }
}
