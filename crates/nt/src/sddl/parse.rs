use super::tables::{
    DACL, DOMAIN_ALIASES, FLAGS, LABEL_RIGHTS, ListBits, NO_ACCESS_CONTROL, RIGHTS, SACL, TYPES, Type,
    WHOLE_RIGHTS, well_known,
};
use crate::error::{Error, Result};
use crate::security::{Ace, AceBody, AceKind, Acl, SecurityDescriptor, Sid};

const SDDL: &str = "SDDL";

/// Reads SDDL. Aliases of machine or domain accounts are errors.
pub fn parse(text: &str) -> Result<SecurityDescriptor> {
    Parser { text, position: 0, domain: None }.descriptor()
}

/// Reads SDDL, with `domain` as the SID that machine, domain and forest aliases are relative to.
pub fn parse_in_domain(text: &str, domain: &Sid) -> Result<SecurityDescriptor> {
    Parser { text, position: 0, domain: Some(domain) }.descriptor()
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
    domain: Option<&'a Sid>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn skip_spaces(&mut self) {
        self.position = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().get(..token.len()).is_some_and(|start| start.eq_ignore_ascii_case(token));
        if found {
            self.position += token.len();
        }
        found
    }

    fn malformed(&self, expected: &'static str) -> Error {
        malformed_at(self.position, expected, self.rest())
    }

    fn descriptor(mut self) -> Result<SecurityDescriptor> {
        let mut sd = SecurityDescriptor::default();
        loop {
            self.skip_spaces();
            let start = self.position;
            let twice = || Error::malformed(SDDL, start, "each part once", "a second one");
            if self.rest().is_empty() {
                return Ok(sd);
            } else if self.eat("O:") {
                let owner = self.section_sid()?;
                if sd.owner.replace(owner).is_some() {
                    return Err(twice());
                }
            } else if self.eat("G:") {
                let group = self.section_sid()?;
                if sd.group.replace(group).is_some() {
                    return Err(twice());
                }
            } else if self.eat("D:") {
                if sd.control & DACL.present != 0 {
                    return Err(twice());
                }
                sd.dacl = self.list(&DACL, &mut sd.control)?;
            } else if self.eat("S:") {
                if sd.control & SACL.present != 0 {
                    return Err(twice());
                }
                sd.sacl = self.list(&SACL, &mut sd.control)?;
            } else {
                return Err(self.malformed("O:, G:, D: or S:"));
            }
        }
    }

    /// The SID of an `O:` or `G:` part. Its end is found from the next colon, as `D` and `S` are also letters of SIDs.
    fn section_sid(&mut self) -> Result<Sid> {
        self.skip_spaces();
        let rest = self.rest();
        let length = match rest.find(':') {
            Some(colon) => rest[..colon].char_indices().next_back().map_or(0, |(last, _)| last),
            None => rest.len(),
        };
        let sid = self.sid(rest[..length].trim_end(), self.position)?;
        self.position += length;
        Ok(sid)
    }

    fn sid(&self, text: &str, position: usize) -> Result<Sid> {
        if text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("S-")) {
            return text.parse().map_err(|error| match error {
                Error::Malformed { structure, position: inner, expected, found } => {
                    Error::Malformed { structure, position: position + inner, expected, found }
                }
                other => other,
            });
        }
        let alias = text.to_ascii_uppercase();
        if let Some(sid) = well_known(&alias) {
            return Ok(sid);
        }
        match (DOMAIN_ALIASES.iter().find(|(name, _)| *name == alias), self.domain) {
            (Some(&(_, relative_id)), Some(domain)) => domain.with_relative_id(relative_id),
            (Some(_), None) => Err(Error::NeedsDomain { alias, position }),
            (None, _) => Err(malformed_at(position, "a SID or one of its aliases", text)),
        }
    }

    fn list(&mut self, bits: &ListBits, control: &mut u16) -> Result<Option<Acl>> {
        *control |= bits.present;
        let mut null = false;
        loop {
            self.skip_spaces();
            // Longer names first: NO_ACCESS_CONTROL shares no start with the others, AR and AI differ in the second letter.
            if self.eat(NO_ACCESS_CONTROL) {
                null = true;
            } else if self.eat("AR") {
                *control |= bits.inherit_request;
            } else if self.eat("AI") {
                *control |= bits.inherited;
            } else if self.eat("P") {
                *control |= bits.protected;
            } else {
                break;
            }
        }
        let mut aces = Vec::new();
        loop {
            self.skip_spaces();
            let start = self.position;
            if !self.eat("(") {
                break;
            }
            if null {
                return Err(malformed_at(start, "no ACE behind NO_ACCESS_CONTROL", "an ACE"));
            }
            aces.push(self.ace()?);
        }
        Ok((!null).then(|| Acl::new(aces)))
    }

    /// The next field of an ACE and its position; `end` closes it.
    fn field(&mut self, end: char, expected: &'static str) -> Result<(&'a str, usize)> {
        let rest = self.rest();
        let length = rest
            .find([';', ')', '('])
            .filter(|&at| rest[at..].starts_with(end))
            .ok_or_else(|| malformed_at(self.position, expected, rest))?;
        let field = &rest[..length];
        let trimmed = field.trim();
        let position = self.position + field.len() - field.trim_start().len();
        self.position += length + 1;
        Ok((trimmed, position))
    }

    fn ace(&mut self) -> Result<Ace> {
        let (name, at) = self.field(';', "the type of an ACE and ;")?;
        let upper = name.to_ascii_uppercase();
        let (_, ace_type) = TYPES
            .iter()
            .find(|(known, _)| *known == upper)
            .ok_or_else(|| malformed_at(at, "a type of ACE", name))?;
        if let Type::Unsupported(feature) = *ace_type {
            return Err(Error::UnsupportedSddl { position: at, feature });
        }
        let (flags, flags_at) = self.field(';', "the flags of an ACE and ;")?;
        let flags =
            pairs(flags, flags_at, FLAGS, "flags of an ACE")?.into_iter().fold(0, |all, flag| all | flag);
        let (mask, mask_at) = self.field(';', "the rights of an ACE and ;")?;
        let is_label = *ace_type == Type::Basic(AceKind::MandatoryLabel);
        let mask = rights(mask, mask_at, is_label)?;
        let (object, object_at) = self.field(';', "an object GUID or nothing, and ;")?;
        let (inherited, inherited_at) = self.field(';', "an inherited object GUID or nothing, and ;")?;
        let at = self.position;
        let (sid, sid_at) = self.field(')', "a SID and )").map_err(|error| {
            // A seventh field is there: a condition or attribute on a type that has none.
            if self.text[at..].contains(";(") {
                Error::UnsupportedSddl { position: at, feature: "a conditional expression" }
            } else {
                error
            }
        })?;
        let sid = self.sid(sid, sid_at)?;
        let body = match *ace_type {
            Type::Object(kind) => AceBody::Object {
                kind,
                mask,
                object_type: guid(object, object_at)?,
                inherited_object_type: guid(inherited, inherited_at)?,
                sid,
            },
            Type::Basic(kind) if object.is_empty() && inherited.is_empty() => {
                AceBody::Basic { kind, mask, sid }
            }
            _ => return Err(malformed_at(object_at, "no GUID: the ACE's type has none", object)),
        };
        Ok(Ace { flags, body })
    }
}

fn malformed_at(position: usize, expected: &'static str, found: &str) -> Error {
    let start: String = found.chars().take(24).collect();
    Error::malformed(
        SDDL,
        position,
        expected,
        if start.is_empty() { "the end".to_owned() } else { format!("{start:?}") },
    )
}

/// The values of two-letter names written one behind the other.
fn pairs<T: Copy>(
    text: &str,
    position: usize,
    table: &[(&str, T)],
    expected: &'static str,
) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let value = text
            .get(at..at + 2)
            .and_then(|name| table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)))
            .ok_or_else(|| malformed_at(position + at, expected, text.get(at..).unwrap_or_default()))?;
        values.push(value.1);
        at += 2;
    }
    Ok(values)
}

fn rights(text: &str, position: usize, is_label: bool) -> Result<u32> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        // As C's strtoul with base 0 takes it.
        let (digits, radix) = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            (hex, 16)
        } else if text.len() > 1 && text.starts_with('0') {
            (&text[1..], 8)
        } else {
            (text, 10)
        };
        return digits
            .chars()
            .all(|c| c.is_digit(radix))
            .then(|| u32::from_str_radix(digits, radix).ok())
            .flatten()
            .ok_or_else(|| malformed_at(position, "a mask of 32 bits", text));
    }
    let table: Vec<(&str, u32)> = [WHOLE_RIGHTS, RIGHTS, if is_label { LABEL_RIGHTS } else { &[] }].concat();
    Ok(pairs(text, position, &table, "rights")?.into_iter().fold(0, |mask, right| mask | right))
}

/// A GUID in the byte order of the disk: the first three groups little-endian.
fn guid(text: &str, position: usize) -> Result<Option<[u8; 16]>> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || malformed_at(position, "a GUID", text);
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12])
        || !text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    {
        return Err(wrong());
    }
    let mut bytes = [0; 16];
    let digits = groups.concat();
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).map_err(|_| wrong())?;
    }
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Ok(Some(bytes))
}
