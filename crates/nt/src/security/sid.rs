use std::fmt;
use std::str::FromStr;

use crate::bytes::Fields;
use crate::error::{Error, Result};

/// A security identifier ([MS-DTYP] 2.4.2): `S-1-authority-sub-sub-…`.
///
/// ```text
/// 0  u8      Revision, 1
/// 1  u8      SubAuthorityCount, 0 to 15
/// 2  [u8;6]  IdentifierAuthority, big-endian
/// 8  [u32]   SubAuthority, little-endian
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid {
    authority: u64,
    sub_authorities: Vec<u32>,
}

const STRUCTURE: &str = "SID";
const HEADER: usize = 8;
const MAX_AUTHORITY: u64 = (1 << 48) - 1;

impl Sid {
    /// SID_MAX_SUB_AUTHORITIES ([MS-DTYP] 2.4.2).
    pub const MAX_SUB_AUTHORITIES: usize = 15;

    /// A SID of its parts; the authority has 48 bits, at most 15 parts follow.
    pub fn new(authority: u64, sub_authorities: &[u32]) -> Result<Self> {
        if authority > MAX_AUTHORITY {
            return Err(Error::malformed(STRUCTURE, 2, "an authority of at most 48 bits", authority));
        }
        if sub_authorities.len() > Self::MAX_SUB_AUTHORITIES {
            return Err(Error::TooLong {
                what: "list of sub-authorities",
                limit: Self::MAX_SUB_AUTHORITIES,
                found: sub_authorities.len(),
            });
        }
        Ok(Self { authority, sub_authorities: sub_authorities.to_vec() })
    }

    /// For the tables of this crate, whose parts are known to be in range.
    pub(crate) fn known(authority: u64, sub_authorities: &[u32]) -> Self {
        Self { authority, sub_authorities: sub_authorities.to_vec() }
    }

    /// The authority.
    pub fn authority(&self) -> u64 {
        self.authority
    }

    /// The parts behind the authority.
    pub fn sub_authorities(&self) -> &[u32] {
        &self.sub_authorities
    }

    /// This SID (a domain's) with one more part: an account or group of the domain.
    pub fn with_relative_id(&self, relative_id: u32) -> Result<Self> {
        let mut parts = self.sub_authorities.clone();
        parts.push(relative_id);
        Self::new(self.authority, &parts)
    }

    /// Reads the SID at the start of `bytes`; what follows is not looked at ([`size`](Self::size) tells where it starts).
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new(STRUCTURE, bytes);
        let revision = fields.u8(0)?;
        if revision != 1 {
            return Err(fields.malformed(0, "revision 1", revision));
        }
        let count = usize::from(fields.u8(1)?);
        if count > Self::MAX_SUB_AUTHORITIES {
            return Err(fields.malformed(1, "at most 15 sub-authorities", count));
        }
        let authority = fields.slice(2, 6)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let sub_authorities = (0..count).map(|n| fields.u32(HEADER + 4 * n)).collect::<Result<_>>()?;
        Ok(Self { authority, sub_authorities })
    }

    /// Bytes of the binary form.
    pub fn size(&self) -> usize {
        HEADER + 4 * self.sub_authorities.len()
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![1, self.sub_authorities.len() as u8];
        out.extend_from_slice(&self.authority.to_be_bytes()[2..]);
        out.extend(self.sub_authorities.iter().flat_map(|part| part.to_le_bytes()));
        out
    }
}

impl fmt::Display for Sid {
    /// `S-1-5-32-544`; authorities of more than 32 bits in hexadecimal ([MS-DTYP] 2.4.2.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.authority >> 32 == 0 {
            write!(f, "S-1-{}", self.authority)?;
        } else {
            write!(f, "S-1-{:#014x}", self.authority)?;
        }
        self.sub_authorities.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl FromStr for Sid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const WHAT: &str = "SID text";
        let rest = text.strip_prefix("S-1-").or_else(|| text.strip_prefix("s-1-")).ok_or_else(|| {
            Error::malformed(WHAT, 0, "S-1-", format!("{:?}", text.chars().take(8).collect::<String>()))
        })?;
        let mut position = text.len() - rest.len();
        let mut authority = None;
        let mut parts = Vec::new();
        for part in rest.split('-') {
            let limit = if authority.is_none() { MAX_AUTHORITY } else { u64::from(u32::MAX) };
            let value = number(part)
                .filter(|value| *value <= limit)
                .ok_or_else(|| Error::malformed(WHAT, position, "a number in range", format!("{part:?}")))?;
            if authority.is_none() {
                authority = Some(value);
            } else if parts.len() == Self::MAX_SUB_AUTHORITIES {
                return Err(Error::malformed(WHAT, position, "at most 15 sub-authorities", "more"));
            } else {
                // At most u32::MAX by the check above.
                parts.push(value as u32);
            }
            position += part.len() + 1;
        }
        Self::new(authority.unwrap_or_default(), &parts)
    }
}

/// Decimal, or hexadecimal behind `0x`; digits only.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    // from_str_radix takes a sign, a SID does not.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_read_and_show() {
        let bytes = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        let sid = Sid::parse(&bytes).unwrap();
        assert_eq!(sid.to_string(), "S-1-5-32-544");
        assert_eq!("S-1-5-32-544".parse(), Ok(sid.clone()));
        assert_eq!(sid.to_bytes(), bytes);
        let large = Sid::new(0x1234_5678_9ABC, &[1]).unwrap();
        assert_eq!(large.to_string(), "S-1-0x123456789abc-1");
        assert_eq!(large.to_string().parse(), Ok(large));
    }

    #[test]
    fn wrong_sids_are_refused() {
        for text in
            ["", "S-1-", "S-2-5", "S-1-5-", "S-1-5-+1", "S-1-5-4294967296", "S-1-0x1000000000000", "S-1-5-x"]
        {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
        assert!(Sid::parse(&[1, 16, 0, 0, 0, 0, 0, 5]).is_err());
        assert!(Sid::parse(&[2, 0, 0, 0, 0, 0, 0, 5]).is_err());
        assert!(Sid::new(5, &[0; 16]).is_err());
    }
}
