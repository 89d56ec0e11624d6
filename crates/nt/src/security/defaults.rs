use super::{Ace, AceKind, Acl, SecurityDescriptor, Sid, ace_flags, control};

/// What BuildKit gives every directory of a Windows layer (`util/winlayers/differ.go`).
pub const BUILDKIT_DIRECTORY: &str = "O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)";
/// What BuildKit gives every file of a Windows layer.
pub const BUILDKIT_FILE: &str = "O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)";
/// What go-containerregistry gives everything, and imgutil what is not root's: no DACL, so everyone may run it.
pub const OWNER_USERS: &str = "O:BUG:BU";
/// What imgutil gives root's files.
pub const OWNER_ADMINISTRATORS: &str = "O:BAG:BA";
/// What hcsshim's CIM writer puts in for a missing descriptor.
pub const NULL_DACL: &str = "D:NO_ACCESS_CONTROL";

/// FILE_ALL_ACCESS.
pub(super) const FILE_ALL: u32 = 0x001F_01FF;
/// FILE_GENERIC_READ | FILE_GENERIC_EXECUTE.
const READ_EXECUTE: u32 = 0x0012_00A9;

pub(super) fn administrators() -> Sid {
    Sid::known(5, &[32, 544])
}

pub(super) fn system() -> Sid {
    Sid::known(5, &[18])
}

fn users() -> Sid {
    Sid::known(5, &[32, 545])
}

/// The descriptor of [`BUILDKIT_DIRECTORY`] or [`BUILDKIT_FILE`], for entries that came without one.
pub fn default_descriptor(is_directory: bool) -> SecurityDescriptor {
    use ace_flags::{CONTAINER_INHERIT as CI, INHERIT_ONLY as IO, OBJECT_INHERIT as OI};
    let allow = |flags, mask, sid| Ace::new(AceKind::Allow, flags, mask, sid);
    let aces = if is_directory {
        vec![
            allow(OI | CI, FILE_ALL, administrators()),
            allow(OI | CI, FILE_ALL, system()),
            allow(0, FILE_ALL, administrators()),
            allow(OI | CI | IO, 0x1000_0000, Sid::known(3, &[0])),
            allow(OI | CI, READ_EXECUTE, users()),
            allow(CI, 0x4, users()),
            allow(CI, 0x2, users()),
        ]
    } else {
        vec![
            allow(0, FILE_ALL, administrators()),
            allow(0, FILE_ALL, system()),
            allow(0, READ_EXECUTE, users()),
        ]
    };
    SecurityDescriptor {
        control: control::SELF_RELATIVE | control::DACL_PRESENT,
        resource_manager: 0,
        owner: Some(administrators()),
        group: Some(system()),
        sacl: None,
        dacl: Some(Acl::new(aces)),
    }
}
