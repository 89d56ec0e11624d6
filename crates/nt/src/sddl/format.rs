use std::fmt::Write as _;

use super::tables::{
    ALIASES, DACL, FLAGS, LABEL_RIGHTS, ListBits, NO_ACCESS_CONTROL, RIGHTS, SACL, TYPES, Type, WHOLE_RIGHTS,
};
use crate::error::{Error, Result};
use crate::security::{Ace, AceBody, AceKind, Acl, SecurityDescriptor, Sid};

/// Writes a descriptor as SDDL, with aliases where they mean the same everywhere.
///
/// SDDL has no place for the "defaulted" bits, the resource manager byte and an ACL revision higher than the entries need: they
/// are left out. ACEs that are kept raw are an error.
pub fn format(sd: &SecurityDescriptor) -> Result<String> {
    let mut out = String::new();
    for (tag, sid) in [("O:", &sd.owner), ("G:", &sd.group)] {
        if let Some(sid) = sid {
            out.push_str(tag);
            put_sid(&mut out, sid);
        }
    }
    put_list(&mut out, "D:", sd.dacl.as_ref(), sd.control, &DACL)?;
    put_list(&mut out, "S:", sd.sacl.as_ref(), sd.control, &SACL)?;
    Ok(out)
}

fn put_sid(out: &mut String, sid: &Sid) {
    match ALIASES
        .iter()
        .find(|(_, authority, parts)| *authority == sid.authority() && *parts == sid.sub_authorities())
    {
        Some((alias, ..)) => out.push_str(alias),
        None => out.push_str(&sid.to_string()),
    }
}

fn put_list(out: &mut String, tag: &str, list: Option<&Acl>, control: u16, bits: &ListBits) -> Result<()> {
    if list.is_none() && control & bits.present == 0 {
        return Ok(());
    }
    out.push_str(tag);
    for (bit, name) in [(bits.protected, "P"), (bits.inherit_request, "AR"), (bits.inherited, "AI")] {
        if control & bit != 0 {
            out.push_str(name);
        }
    }
    match list {
        None => out.push_str(NO_ACCESS_CONTROL),
        Some(list) => list.aces.iter().try_for_each(|ace| put_ace(out, ace))?,
    }
    Ok(())
}

fn put_ace(out: &mut String, ace: &Ace) -> Result<()> {
    let (wanted, mask, guids, sid) = match &ace.body {
        AceBody::Basic { kind, mask, sid } => (Type::Basic(*kind), *mask, [None, None], sid),
        AceBody::Object { kind, mask, object_type, inherited_object_type, sid } => {
            (Type::Object(*kind), *mask, [*object_type, *inherited_object_type], sid)
        }
        AceBody::Raw { ace_type, .. } => {
            return Err(Error::NotRepresentable {
                what: "ACE",
                form: "SDDL",
                detail: format!("type {ace_type:#04x} is kept as bytes"),
            });
        }
    };
    let name = TYPES.iter().find(|(_, known)| *known == wanted).map_or("", |(name, _)| name);
    let _ = write!(out, "({name};");
    let audits = matches!(ace.ace_type(), 0x02 | 0x03 | 0x07 | 0x08);
    for (name, bit) in FLAGS {
        let meant = match *name {
            "SA" => audits,
            "TP" => !audits,
            _ => true,
        };
        if meant && ace.flags & bit != 0 {
            out.push_str(name);
        }
    }
    debug_assert_eq!(FLAGS.iter().fold(0, |all, (_, bit)| all | bit), u8::MAX, "every bit has a name");
    out.push(';');
    put_rights(out, mask, wanted == Type::Basic(AceKind::MandatoryLabel));
    for guid in guids {
        out.push(';');
        if let Some(guid) = guid {
            let _ = crate::guid::write(out, &guid);
        }
    }
    out.push(';');
    put_sid(out, sid);
    out.push(')');
    Ok(())
}

fn put_rights(out: &mut String, mask: u32, is_label: bool) {
    if let Some((name, _)) = WHOLE_RIGHTS.iter().find(|(_, right)| *right == mask && !is_label) {
        out.push_str(name);
        return;
    }
    let table = if is_label { LABEL_RIGHTS } else { RIGHTS };
    let named = table.iter().fold(0, |all, (_, right)| all | right);
    if mask & !named != 0 {
        let _ = write!(out, "{mask:#x}");
        return;
    }
    for (name, right) in table {
        if mask & right != 0 {
            out.push_str(name);
        }
    }
}
