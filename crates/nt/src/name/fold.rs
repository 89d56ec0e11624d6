use std::sync::LazyLock;

use super::table::RANGES;
use crate::wide::WideString;

/// A name in capitals as NTFS compares it: equal keys mean the same file in a directory.
///
/// The order of keys is that of their bytes, which is not the order of an NTFS directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FoldedName(Box<[u8]>);

impl FoldedName {
    /// The folded name in WTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The whole table: a look-up per unit is what a folder with many thousand names needs.
static UPCASE: LazyLock<Box<[u16]>> = LazyLock::new(|| {
    let mut table: Vec<u16> = (0..=u16::MAX).collect();
    for &(first, last, step, delta) in RANGES {
        for unit in (first..=last).step_by(step) {
            table[usize::from(unit)] = unit.wrapping_add_signed(delta);
        }
    }
    table.into_boxed_slice()
});

/// The capital of a UTF-16 unit as NTFS maps it.
///
/// The table is the one that Windows Vista and later write into `$UpCase` when they format a volume, as it is documented by
/// the free NTFS formatters: in essence the simple (one to one) uppercase mappings of Unicode 5.0, unit by unit.
/// It is fixed: it does not follow the Unicode version of this program's compiler, and a volume made by another
/// Windows version may differ in letters that are newer. What stands out against today's Unicode:
///
/// - unchanged: `ß`, `µ`, `ı` (dotless i), `ſ`, the title case digraphs `ǅ ǈ ǋ ǲ`, the Greek symbols `ϐ ϑ ϕ ϖ ϰ ϱ ϵ`, `ẛ`, `ι`
///   (U+1FBE), U+0345; `İ` (dotted I) is a capital already, `i` maps to `I` in every language;
/// - unchanged, as newer than Unicode 5.0: Georgian (to Mtavruli), Cherokee small letters, Latin Extended-D, Cyrillic
///   Extended-B, U+0371, U+0373, U+0377, U+0515 to U+052F and more;
/// - mapped the other way round than in Unicode: U+023A to U+2C65, U+023E to U+2C66, U+1FCC to U+1FC3, U+1FFC to U+1FF3;
/// - surrogates are unchanged: letters outside the basic plane (Deseret and others) have no case.
pub fn upcase(unit: u16) -> u16 {
    UPCASE[usize::from(unit)]
}

/// The key of a name (UTF-8 or WTF-8). Bytes that are neither stay as they are, but for ASCII letters; such a
/// name is never equal to a proper one.
pub fn fold(name: &[u8]) -> FoldedName {
    if !name.is_ascii()
        && let Ok(wide) = WideString::from_wtf8(name)
    {
        let units: Vec<u16> = wide.units().iter().map(|&unit| upcase(unit)).collect();
        return FoldedName(WideString::from_units(units).to_wtf8().into_boxed_slice());
    }
    FoldedName(name.to_ascii_uppercase().into_boxed_slice())
}

/// Whether two names are the same to NTFS.
pub fn eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    if a.is_ascii() && b.is_ascii() { a.eq_ignore_ascii_case(b) } else { a == b || fold(a) == fold(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        eq_ignore_case(a.as_bytes(), b.as_bytes())
    }

    #[test]
    fn names_fold_as_ntfs_does() {
        for (a, b) in [
            ("windows", "WINDOWS"),
            ("straße", "STRAßE"),
            ("ÿ", "Ÿ"),
            ("ς", "Σ"),
            ("ǆ", "Ǆ"),
            ("ᾳ", "ᾼ"),
            ("ж", "Ж"),
            ("ａ", "Ａ"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("ß", "ss"),
            ("ß", "ẞ"),
            ("ı", "I"),
            ("i", "İ"),
            ("µ", "Μ"),
            ("ა", "Ა"),
            ("𐐨", "𐐀"),
            ("ſ", "S"),
            ("ǅ", "Ǆ"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn improper_bytes_fold_to_themselves() {
        assert_eq!(fold(b"a\xFF").as_bytes(), b"A\xFF");
        assert!(eq_ignore_case(b"a\xED\xA0\x80", b"A\xED\xA0\x80"));
        assert!(!eq_ignore_case(b"\xFF", "ÿ".as_bytes()));
    }

    #[test]
    fn folding_twice_changes_nothing() {
        for unit in 0..=u16::MAX {
            assert_eq!(upcase(upcase(unit)), upcase(unit), "{unit:#06x}");
        }
    }

    /// What the documentation of [`upcase`] says about the difference from the compiler's Unicode, checked one way: every
    /// mapping of ours is Unicode's, but for the named ones.
    #[test]
    fn mappings_are_unicodes_but_for_the_named_ones() {
        let mut named = Vec::new();
        for unit in (0..=u16::MAX).filter(|&unit| upcase(unit) != unit) {
            let c = char::from_u32(u32::from(unit)).unwrap();
            let full: Vec<char> = c.to_uppercase().collect();
            if full != [char::from_u32(u32::from(upcase(unit))).unwrap()] {
                named.push(unit);
            }
        }
        // The Greek letters with iota subscript have a full mapping to two letters beside the simple one.
        named.retain(|unit| !matches!(unit, 0x1F80..=0x1FB3));
        assert_eq!(named, [0x023A, 0x023E, 0x1FCC, 0x1FFC]);
    }
}
