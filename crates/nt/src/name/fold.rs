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
            // The sum is a unit again: the table says so, and a test holds it to the whole file.
            table[usize::from(unit)] = (i32::from(unit) + delta) as u16;
        }
    }
    table.into_boxed_slice()
});

/// The capital of a UTF-16 unit as NTFS maps it.
///
/// The table is the `$UpCase` file of NTFS volumes, taken from three of different origin, one of them made
/// by mkntfs, that agree to the byte (SHA-256 of the file `41c26bc7a12bdaeb…`). In essence these are the simple (one to one) uppercase mappings
/// of Unicode 5.1, unit by unit. The table is fixed: it does not follow the Unicode version of this program's compiler. A
/// volume carries its own table, and one formatted by another version of Windows may map other letters. What
/// stands out against today's Unicode:
///
/// - unchanged: `ß`, `µ`, `ı` (dotless i), `ſ`, `ς` (final sigma), the title case digraphs `ǅ ǈ ǋ ǲ`, the Greek symbols
///   `ϐ ϑ ϕ ϖ ϰ ϱ ϵ`, `ẛ`, U+1FBE, U+0345; `İ` (dotted I) is a capital already, `i` maps to `I` in every language;
/// - unchanged, as newer: Georgian (to Mtavruli), the Cherokee small letters, U+0525 to U+052F, much of Latin Extended-D;
/// - mapped one to one, where the full mapping of Unicode gives two letters: Greek with iota subscript (`ᾳ` to `ᾼ`);
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
            ("σ", "Σ"),
            ("ǆ", "Ǆ"),
            ("ᾳ", "ᾼ"),
            ("ж", "Ж"),
            ("ａ", "Ａ"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("ß", "ss"),
            ("ς", "Σ"),
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

    /// FNV-1a over the file as the volumes hold it.
    #[test]
    fn the_table_is_that_of_real_volumes() {
        let hash = (0..=u16::MAX)
            .flat_map(|unit| upcase(unit).to_le_bytes())
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
            });
        assert_eq!(hash, 0x48ED_4531_E939_9927);
    }

    /// Every mapping is one of Unicode's full mappings, but for the Greek letters with iota subscript.
    #[test]
    fn mappings_are_unicodes_but_for_the_named_ones() {
        for unit in (0..=u16::MAX).filter(|&unit| upcase(unit) != unit) {
            let letter = |unit| char::from_u32(u32::from(unit)).unwrap();
            let full: Vec<char> = letter(unit).to_uppercase().collect();
            if full != [letter(upcase(unit))] {
                assert!(matches!(unit, 0x1F80..=0x1FAF | 0x1FB3 | 0x1FC3 | 0x1FF3), "{unit:#06x}");
            }
        }
    }
}
