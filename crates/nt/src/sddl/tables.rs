//! The two-letter names of SDDL ([MS-DTYP] 2.5.1.1 and the pages "SID Strings" and "ACE Strings" of the Windows SDK).

use crate::security::{AceKind, ObjectAceKind, Sid, ace_flags, control};

/// Aliases that mean the same everywhere: name, authority, the rest.
pub(super) const ALIASES: &[(&str, u64, &[u32])] = &[
    ("AA", 5, &[32, 579]),
    ("AC", 15, &[2, 1]),
    ("AN", 5, &[7]),
    ("AO", 5, &[32, 548]),
    ("AS", 18, &[1]),
    ("AU", 5, &[11]),
    ("BA", 5, &[32, 544]),
    ("BG", 5, &[32, 546]),
    ("BO", 5, &[32, 551]),
    ("BU", 5, &[32, 545]),
    ("CD", 5, &[32, 574]),
    ("CG", 3, &[1]),
    ("CO", 3, &[0]),
    ("CY", 5, &[32, 569]),
    ("ED", 5, &[9]),
    ("ER", 5, &[32, 573]),
    ("ES", 5, &[32, 576]),
    ("HA", 5, &[32, 578]),
    ("HI", 16, &[12288]),
    ("HO", 5, &[32, 584]),
    ("IS", 5, &[32, 568]),
    ("IU", 5, &[4]),
    ("LS", 5, &[19]),
    ("LU", 5, &[32, 559]),
    ("LW", 16, &[4096]),
    ("ME", 16, &[8192]),
    ("MP", 16, &[8448]),
    ("MS", 5, &[32, 577]),
    ("MU", 5, &[32, 558]),
    ("NO", 5, &[32, 556]),
    ("NS", 5, &[20]),
    ("NU", 5, &[2]),
    ("OW", 3, &[4]),
    ("PO", 5, &[32, 550]),
    ("PS", 5, &[10]),
    ("PU", 5, &[32, 547]),
    ("RA", 5, &[32, 575]),
    ("RC", 5, &[12]),
    ("RD", 5, &[32, 555]),
    ("RE", 5, &[32, 552]),
    ("RM", 5, &[32, 580]),
    ("RU", 5, &[32, 554]),
    ("SI", 16, &[16384]),
    ("SO", 5, &[32, 549]),
    ("SS", 18, &[2]),
    ("SU", 5, &[6]),
    ("SY", 5, &[18]),
    ("UD", 5, &[84, 0, 0, 0, 0, 0]),
    ("WD", 1, &[0]),
    ("WR", 5, &[33]),
];

/// Aliases that mean an account of the machine, its domain or the forest's root domain: name and relative id.
pub(super) const DOMAIN_ALIASES: &[(&str, u32)] = &[
    ("AP", 525),
    ("CA", 517),
    ("CN", 522),
    ("DA", 512),
    ("DC", 515),
    ("DD", 516),
    ("DG", 514),
    ("DU", 513),
    ("EA", 519),
    ("EK", 527),
    ("KA", 526),
    ("LA", 500),
    ("LG", 501),
    ("PA", 520),
    ("RO", 498),
    ("RS", 553),
    ("SA", 518),
];

/// Names that stand for one whole mask when writing: tried before the single rights.
pub(super) const WHOLE_RIGHTS: &[(&str, u32)] = &[
    ("FA", 0x001F_01FF),
    ("FR", 0x0012_0089),
    ("FW", 0x0012_0116),
    ("FX", 0x0012_00A0),
    ("KA", 0x000F_003F),
    ("KR", 0x0002_0019),
    ("KW", 0x0002_0006),
    ("KX", 0x0002_0019),
];

/// Names of single rights, in the order in which Windows writes them.
pub(super) const RIGHTS: &[(&str, u32)] = &[
    ("GA", 0x1000_0000),
    ("GR", 0x8000_0000),
    ("GW", 0x4000_0000),
    ("GX", 0x2000_0000),
    ("CC", 0x0000_0001),
    ("DC", 0x0000_0002),
    ("LC", 0x0000_0004),
    ("SW", 0x0000_0008),
    ("RP", 0x0000_0010),
    ("WP", 0x0000_0020),
    ("DT", 0x0000_0040),
    ("LO", 0x0000_0080),
    ("CR", 0x0000_0100),
    ("SD", 0x0001_0000),
    ("RC", 0x0002_0000),
    ("WD", 0x0004_0000),
    ("WO", 0x0008_0000),
];

/// Names of a mandatory label's policy bits ([MS-DTYP] 2.4.4.13).
pub(super) const LABEL_RIGHTS: &[(&str, u32)] = &[("NW", 1), ("NR", 2), ("NX", 4)];

pub(super) const FLAGS: &[(&str, u8)] = &[
    ("OI", ace_flags::OBJECT_INHERIT),
    ("CI", ace_flags::CONTAINER_INHERIT),
    ("NP", ace_flags::NO_PROPAGATE),
    ("IO", ace_flags::INHERIT_ONLY),
    ("ID", ace_flags::INHERITED),
    ("CR", ace_flags::CRITICAL),
    ("SA", ace_flags::SUCCESSFUL_ACCESS),
    ("FA", ace_flags::FAILED_ACCESS),
    // Bit 0x40 has this second name outside audit entries; for reading only.
    ("TP", ace_flags::SUCCESSFUL_ACCESS),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Basic(AceKind),
    Object(ObjectAceKind),
    Unsupported(&'static str),
}

pub(super) const TYPES: &[(&str, Type)] = &[
    ("A", Type::Basic(AceKind::Allow)),
    ("D", Type::Basic(AceKind::Deny)),
    ("AU", Type::Basic(AceKind::Audit)),
    ("AL", Type::Basic(AceKind::Alarm)),
    ("ML", Type::Basic(AceKind::MandatoryLabel)),
    ("SP", Type::Basic(AceKind::ScopedPolicy)),
    ("TL", Type::Basic(AceKind::ProcessTrustLabel)),
    ("OA", Type::Object(ObjectAceKind::Allow)),
    ("OD", Type::Object(ObjectAceKind::Deny)),
    ("OU", Type::Object(ObjectAceKind::Audit)),
    ("OL", Type::Object(ObjectAceKind::Alarm)),
    ("XA", Type::Unsupported("a conditional ACE (XA)")),
    ("XD", Type::Unsupported("a conditional ACE (XD)")),
    ("XU", Type::Unsupported("a conditional ACE (XU)")),
    ("ZA", Type::Unsupported("a conditional ACE (ZA)")),
    ("RA", Type::Unsupported("a resource attribute ACE (RA)")),
    ("FL", Type::Unsupported("an access filter ACE (FL)")),
];

/// The control bits of a list's flags.
pub(super) struct ListBits {
    pub(super) present: u16,
    pub(super) protected: u16,
    pub(super) inherit_request: u16,
    pub(super) inherited: u16,
}

pub(super) const DACL: ListBits = ListBits {
    present: control::DACL_PRESENT,
    protected: control::DACL_PROTECTED,
    inherit_request: control::DACL_AUTO_INHERIT_REQ,
    inherited: control::DACL_AUTO_INHERITED,
};

pub(super) const SACL: ListBits = ListBits {
    present: control::SACL_PRESENT,
    protected: control::SACL_PROTECTED,
    inherit_request: control::SACL_AUTO_INHERIT_REQ,
    inherited: control::SACL_AUTO_INHERITED,
};

pub(super) const NO_ACCESS_CONTROL: &str = "NO_ACCESS_CONTROL";

/// The SID of an alias that means the same everywhere.
pub(super) fn well_known(alias: &str) -> Option<Sid> {
    let (_, authority, parts) = ALIASES.iter().find(|(name, ..)| *name == alias)?;
    Some(Sid::known(*authority, parts))
}
