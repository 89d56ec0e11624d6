//! File names: what Windows allows, and which names it takes for the same.
//!
//! - The allowed characters and the device names: "Naming Files, Paths, and Namespaces" of the Windows SDK; the limit of
//!   255 units: [MS-FSCC] 2.1.5.2.
//! - Comparing: NTFS maps each 16-bit unit through the table of its `$UpCase` file and compares the results. [`fold`]
//!   gives the mapped name as a key for maps; see [`upcase`] for which table that is.

mod fold;
mod table;

pub use fold::{FoldedName, eq_ignore_case, fold, upcase};

use thiserror::Error;

use crate::wide::WideString;

/// The longest name of one file or directory, in UTF-16 units ([MS-FSCC] 2.1.5.2).
pub const MAX_UNITS: usize = 255;

/// Why Windows would not take a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is `.` or `..`.
    #[error("the name is a relative directory (. or ..)")]
    Relative,
    /// The bytes are neither UTF-8 nor WTF-8.
    #[error("byte {position} is not UTF-8")]
    NotUtf8 {
        /// The first such byte.
        position: usize,
    },
    /// A character that separates, selects or redirects: `< > : " / \ | ? *`, or a control character.
    #[error("byte {position} is {character:?}, which Windows reserves")]
    Reserved {
        /// Where it stands.
        position: usize,
        /// Which one it is.
        character: char,
    },
    /// The name ends in a dot or a space, which the Win32 API takes off.
    #[error("the name ends in {character:?}, which Windows removes")]
    TrailingDotOrSpace {
        /// Which of the two.
        character: char,
    },
    /// The name of a DOS device, with or without an extension.
    #[error("{device} is the name of a device")]
    Device {
        /// The device.
        device: &'static str,
    },
    /// Longer than [`MAX_UNITS`].
    #[error("the name has {units} UTF-16 units, 255 are allowed")]
    TooLong {
        /// Its length.
        units: usize,
    },
}

impl NameProblem {
    /// Whether only the Win32 path rules stand in the way: such a name can exist on NTFS and be reached by a `\\?\` path.
    pub const fn is_possible_on_ntfs(self) -> bool {
        matches!(self, Self::TrailingDotOrSpace { .. } | Self::Device { .. })
    }
}

/// Checks one component of a path (UTF-8 or WTF-8).
pub fn check_component(name: impl AsRef<[u8]>) -> Result<(), NameProblem> {
    let name = name.as_ref();
    match name {
        [] => return Err(NameProblem::Empty),
        b"." | b".." => return Err(NameProblem::Relative),
        _ => {}
    }
    let reserved = |byte: &u8| *byte < 0x20 || b"<>:\"/\\|?*".contains(byte);
    if let Some(position) = name.iter().position(reserved) {
        return Err(NameProblem::Reserved { position, character: char::from(name[position]) });
    }
    let units = if name.is_ascii() {
        name.len()
    } else {
        match WideString::from_wtf8(name) {
            Ok(wide) => wide.len(),
            Err(crate::Error::Malformed { position, .. }) => return Err(NameProblem::NotUtf8 { position }),
            Err(_) => return Err(NameProblem::NotUtf8 { position: 0 }),
        }
    };
    if units > MAX_UNITS {
        return Err(NameProblem::TooLong { units });
    }
    if let Some(device) = device(name) {
        return Err(NameProblem::Device { device });
    }
    match name.last() {
        Some(last @ (b'.' | b' ')) => Err(NameProblem::TrailingDotOrSpace { character: char::from(*last) }),
        _ => Ok(()),
    }
}

/// The device that Win32 opens for this name: what stands before the first dot, without trailing spaces, in any case.
///
/// COM and LPT take 1 to 9 and the superscripts ¹ ² ³. `COM0` and `LPT0` are ordinary names.
fn device(name: &[u8]) -> Option<&'static str> {
    const PLAIN: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    const PORTS: [(&str, [&str; 9]); 2] = [
        ("COM", ["COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9"]),
        ("LPT", ["LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9"]),
    ];
    let stem = name.split(|&b| b == b'.').next().unwrap_or_default();
    let stem = stem.trim_ascii_end();
    if let Some(device) = PLAIN.into_iter().find(|device| device.as_bytes().eq_ignore_ascii_case(stem)) {
        return Some(device);
    }
    let (port, digit) = stem.split_at_checked(3)?;
    let (_, devices) = PORTS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(port))?;
    let number = match digit {
        [digit @ b'1'..=b'9'] => usize::from(digit - b'0'),
        // ¹ ² ³ in UTF-8.
        [0xC2, 0xB9] => 1,
        [0xC2, 0xB2] => 2,
        [0xC2, 0xB3] => 3,
        _ => return None,
    };
    devices.get(number - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "a",
            "Windows",
            "a b.txt",
            ".hidden",
            "COM0",
            "COM10",
            "CONSOLE",
            "nul1",
            "ü日本😀",
            "a..b",
            "COM",
            "$MFT",
        ] {
            assert_eq!(check_component(name), Ok(()), "{name}");
        }
        assert_eq!(check_component(b"lone\xED\xA0\x80"), Ok(()));
        assert_eq!(check_component("é".repeat(255)), Ok(()));
    }

    #[test]
    fn names_that_windows_refuses_say_why() {
        use NameProblem::*;
        for (name, problem) in [
            ("", Empty),
            ("..", Relative),
            ("a:b", Reserved { position: 1, character: ':' }),
            ("a\u{1}", Reserved { position: 1, character: '\u{1}' }),
            ("a\\b", Reserved { position: 1, character: '\\' }),
            ("a/b", Reserved { position: 1, character: '/' }),
            ("a.", TrailingDotOrSpace { character: '.' }),
            ("a ", TrailingDotOrSpace { character: ' ' }),
            ("con", Device { device: "CON" }),
            ("NUL.tar.gz", Device { device: "NUL" }),
            ("aux  .c", Device { device: "AUX" }),
            ("Lpt9", Device { device: "LPT9" }),
            ("COM².txt", Device { device: "COM2" }),
            ("conin$", Device { device: "CONIN$" }),
        ] {
            assert_eq!(check_component(name), Err(problem), "{name:?}");
        }
        assert_eq!(check_component(b"a\xFF"), Err(NotUtf8 { position: 1 }));
        assert_eq!(check_component("a".repeat(256)), Err(TooLong { units: 256 }));
        assert_eq!(check_component("😀".repeat(128)), Err(TooLong { units: 256 }));
    }
}
