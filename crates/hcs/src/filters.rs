//! The list of file-system filter drivers, as `FilterFindFirst` returns it.
//!
//! `FILTER_AGGREGATE_STANDARD_INFORMATION` (fltuserstructures.h), little endian; offsets in bytes:
//!
//! ```text
//!  0  u32  offset of the next entry from this one, 0: the last
//!  4  u32  flags: 1 minifilter, 2 legacy filter
//!  8  minifilter: u32 flags, u32 frame, u32 instances, then from 20:
//!     legacy:     u32 flags, then from 12:
//!     u16 length of the name in bytes, u16 its offset, u16 length of the altitude in bytes, u16 its offset
//! ```
//!
//! The altitude orders the filters; its range says what a filter is for. Microsoft, "Load order groups and altitudes
//! for minifilter drivers".

use std::ffi::OsString;

/// A file-system filter driver that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterDriver {
    /// Its name, as `wcifs` or `WdFilter`.
    pub name: OsString,
    /// Where in the stack it is: higher sees a request earlier. A decimal number, perhaps with a fraction.
    pub altitude: OsString,
    /// On how many volumes it is active; `None` for a legacy filter.
    pub instances: Option<u32>,
}

/// The groups of altitudes that matter to layers.
const GROUPS: [(std::ops::RangeInclusive<u32>, &str); 17] = [
    (400_000..=409_999, "top"),
    (360_000..=389_999, "activity monitor"),
    (340_000..=349_999, "undelete"),
    (320_000..=329_999, "antivirus"),
    (300_000..=309_999, "replication"),
    (280_000..=289_999, "continuous backup"),
    (260_000..=269_999, "content screener"),
    (240_000..=249_999, "quota management"),
    (220_000..=229_999, "system recovery"),
    (200_000..=209_999, "cluster file system"),
    (180_000..=189_999, "hierarchical storage"),
    (160_000..=169_999, "compression"),
    (140_000..=149_999, "encryption"),
    (130_000..=139_999, "virtualization"),
    (100_000..=109_999, "open file"),
    (80_000..=89_999, "security enhancer"),
    (40_000..=49_999, "bottom"),
];

impl FilterDriver {
    /// What the filter is for, by its altitude.
    pub fn group(&self) -> Option<&'static str> {
        let altitude: u32 = self.altitude.to_str()?.split('.').next()?.parse().ok()?;
        GROUPS.iter().find(|(range, _)| range.contains(&altitude)).map(|(_, group)| *group)
    }

    /// Of Windows itself: those that show layers.
    pub fn shows_layers(&self) -> bool {
        ["wcifs", "unionfs", "bindflt"].iter().any(|name| self.name.eq_ignore_ascii_case(name))
    }
}

/// Reads the entries of a buffer. What lies outside of it is left out, as is an entry whose kind is unknown.
#[cfg(any(windows, test))]
pub(crate) fn parse(buffer: &[u8], text: impl Fn(&[u16]) -> OsString) -> Vec<FilterDriver> {
    let mut found = Vec::new();
    let mut rest = buffer;
    loop {
        if let Some(driver) = entry(rest, &text) {
            found.push(driver);
        }
        // An offset that does not go on would never end.
        match u32_at(rest, 0) {
            Some(next) if next >= 12 && (next as usize) < rest.len() => rest = &rest[next as usize..],
            _ => return found,
        }
    }
}

#[cfg(any(windows, test))]
fn entry(bytes: &[u8], text: impl Fn(&[u16]) -> OsString) -> Option<FilterDriver> {
    let (instances, strings) = match u32_at(bytes, 4)? {
        1 => (Some(u32_at(bytes, 16)?), 20),
        2 => (None, 12),
        _ => return None,
    };
    let string = |at: usize| -> Option<OsString> {
        let (length, offset) = (usize::from(u16_at(bytes, at)?), usize::from(u16_at(bytes, at + 2)?));
        let units = bytes.get(offset..offset + length)?.chunks_exact(2);
        Some(text(&units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect::<Vec<_>>()))
    };
    Some(FilterDriver { name: string(strings)?, altitude: string(strings + 4)?, instances })
}

#[cfg(any(windows, test))]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(any(windows, test))]
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(units: &[u16]) -> OsString {
        String::from_utf16_lossy(units).into()
    }

    fn minifilter(name: &str, altitude: &str, instances: u32, last: bool) -> Vec<u8> {
        let (name, altitude): (Vec<u16>, Vec<u16>) =
            (name.encode_utf16().collect(), altitude.encode_utf16().collect());
        let mut entry = Vec::new();
        let length = 28 + 2 * (name.len() + altitude.len());
        let next = if last { 0 } else { length.next_multiple_of(8) };
        for value in [next as u32, 1, 0, 0, instances] {
            entry.extend(value.to_le_bytes());
        }
        for value in [2 * name.len(), 28, 2 * altitude.len(), 28 + 2 * name.len()] {
            entry.extend((value as u16).to_le_bytes());
        }
        entry.extend(name.iter().chain(&altitude).flat_map(|unit| unit.to_le_bytes()));
        entry.resize(next.max(length), 0);
        entry
    }

    #[test]
    fn minifilters_are_listed_with_their_group() {
        let mut buffer = minifilter("WdFilter", "328010", 4, false);
        buffer.extend(minifilter("wcifs", "189900", 0, true));
        let found = parse(&buffer, text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.to_str(), found[0].group()), (Some("WdFilter"), Some("antivirus")));
        assert_eq!(found[0].instances, Some(4));
        assert_eq!((found[1].altitude.to_str(), found[1].shows_layers()), (Some("189900"), true));
    }

    #[test]
    fn no_bytes_make_the_list_fail() {
        let mut whole = minifilter("WdFilter", "328010", 4, false);
        whole.extend(minifilter("wcifs", "189900", 0, true));
        for length in 0..whole.len() {
            parse(&whole[..length], text);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 2, 3, 0x7F, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                assert!(parse(&damaged, text).len() <= whole.len() / 12);
            }
        }
    }
}
