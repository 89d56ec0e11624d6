//! What a new file or directory gets from the directory it is made in ([MS-DTYP] 2.5.3.4, CreateSecurityDescriptor).

use super::defaults::{administrators, default_descriptor, system};
use super::{Ace, AceBody, AceKind, Acl, SecurityDescriptor, Sid, ace_flags, control};
use ace_flags::{CONTAINER_INHERIT, INHERIT_ONLY, INHERITANCE, INHERITED, NO_PROPAGATE, OBJECT_INHERIT};

/// The descriptor of a child that is made in a directory with the descriptor `parent`: owner BUILTIN\Administrators, group
/// SYSTEM, and the entries of the parent's lists that are for such children. When the parent's DACL has none, the
/// child gets [`default_descriptor`].
///
/// As in Windows, an entry for children of the file kind only travels through directories as inherit-only; CREATOR OWNER and
/// CREATOR GROUP become owner and group of the child, generic rights become file rights, and in a directory the
/// original entry goes on beside the translated one.
pub fn inherit(parent: &SecurityDescriptor, is_directory: bool) -> SecurityDescriptor {
    let mut child = default_descriptor(is_directory);
    let dacl =
        parent.dacl.as_ref().map(|acl| inherit_list(acl, is_directory)).filter(|aces| !aces.is_empty());
    if let Some(aces) = dacl {
        child.control |= control::DACL_AUTO_INHERITED;
        child.dacl = Some(Acl::new(aces));
    }
    let sacl =
        parent.sacl.as_ref().map(|acl| inherit_list(acl, is_directory)).filter(|aces| !aces.is_empty());
    if let Some(aces) = sacl {
        child.control |= control::SACL_PRESENT | control::SACL_AUTO_INHERITED;
        child.sacl = Some(Acl::new(aces));
    }
    child
}

fn inherit_list(parent: &Acl, is_directory: bool) -> Vec<Ace> {
    let mut out = Vec::new();
    for ace in &parent.aces {
        inherit_ace(ace, is_directory, &mut out);
    }
    out
}

fn inherit_ace(ace: &Ace, is_directory: bool, out: &mut Vec<Ace>) {
    let has = |bit| ace.flags & bit != 0;
    let plain = ace.flags & !INHERITANCE | INHERITED;
    // Entries for one type of object are for no file: files and directories have no type GUID.
    let for_other_type = matches!(ace.body, AceBody::Object { inherited_object_type: Some(_), .. });
    if !is_directory {
        if has(OBJECT_INHERIT) && !for_other_type {
            out.push(Ace { flags: plain, body: translate(&ace.body) });
        }
        return;
    }
    let travels = !has(NO_PROPAGATE) && has(OBJECT_INHERIT | CONTAINER_INHERIT);
    let on = plain | ace.flags & (OBJECT_INHERIT | CONTAINER_INHERIT);
    let effective = has(CONTAINER_INHERIT) && !for_other_type;
    match (effective, travels) {
        (true, false) => out.push(Ace { flags: plain, body: translate(&ace.body) }),
        (true, true) => {
            let translated = translate(&ace.body);
            if translated == ace.body {
                out.push(Ace { flags: on, body: translated });
            } else {
                out.push(Ace { flags: plain, body: translated });
                out.push(Ace { flags: on | INHERIT_ONLY, body: ace.body.clone() });
            }
        }
        (false, true) => out.push(Ace { flags: on | INHERIT_ONLY, body: ace.body.clone() }),
        (false, false) => {}
    }
}

/// The entry as it applies to the child itself.
fn translate(body: &AceBody) -> AceBody {
    match body {
        // A label's or policy's mask holds no access rights.
        AceBody::Basic {
            kind: kind @ (AceKind::Allow | AceKind::Deny | AceKind::Audit | AceKind::Alarm),
            mask,
            sid,
        } => AceBody::Basic { kind: *kind, mask: map_generic(*mask), sid: substitute(sid) },
        AceBody::Object { kind, mask, object_type, inherited_object_type, sid } => AceBody::Object {
            kind: *kind,
            mask: map_generic(*mask),
            object_type: *object_type,
            inherited_object_type: *inherited_object_type,
            sid: substitute(sid),
        },
        // Entries kept as bytes are inherited as they are: Windows would map the generic rights of a conditional one.
        other => other.clone(),
    }
}

/// CREATOR OWNER and CREATOR GROUP, and their server forms, as the child's owner and group.
fn substitute(sid: &Sid) -> Sid {
    match (sid.authority(), sid.sub_authorities()) {
        (3, [0 | 2]) => administrators(),
        (3, [1 | 3]) => system(),
        _ => sid.clone(),
    }
}

/// The generic mapping of files ([MS-DTYP] 2.4.3, FILE_GENERIC_* of [MS-SMB2] 2.2.13.1).
fn map_generic(mask: u32) -> u32 {
    const MAPPING: [(u32, u32); 4] = [
        (0x8000_0000, 0x0012_0089),
        (0x4000_0000, 0x0012_0116),
        (0x2000_0000, 0x0012_00A0),
        (0x1000_0000, 0x001F_01FF),
    ];
    MAPPING.iter().fold(
        mask,
        |mask, &(generic, rights)| if mask & generic != 0 { mask & !generic | rights } else { mask },
    )
}
