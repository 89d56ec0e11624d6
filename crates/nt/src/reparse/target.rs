use super::{ReparseData, ReparsePoint, ReparseTag, SYMLINK_FLAG_RELATIVE};
use crate::wide::WideString;

/// Which of the two kinds of link a target is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A symbolic link, to a file or to a directory.
    Symlink,
    /// A junction or mounted volume.
    MountPoint,
}

const NT: &str = r"\??\";
const NT_UNC: &str = r"\??\UNC\";

impl ReparsePoint {
    /// The reparse point for a Windows target, as go-winio builds it. The target becomes the print name unchanged; the
    /// substitute name is
    ///
    /// | target | substitute name |
    /// |---|---|
    /// | `\\?\X` | `\??\X` |
    /// | `\\X` | `\??\UNC\X` |
    /// | letter and `:` first, also `c:x` | `\??\` and the target |
    /// | anything else, also `\x` and the empty text | the target; a symlink gets the flag "relative" |
    pub fn from_target(target: &WideString, kind: TargetKind) -> Self {
        let mut flags = 0;
        let substitute = if let Some(rest) = target.strip_prefix(r"\\?\") {
            WideString::prefixed(NT, rest)
        } else if let Some(rest) = target.strip_prefix(r"\\") {
            WideString::prefixed(NT_UNC, rest)
        } else if has_drive(target.units()) {
            WideString::prefixed(NT, target.units())
        } else {
            flags = SYMLINK_FLAG_RELATIVE;
            target.clone()
        };
        let print = target.clone();
        match kind {
            TargetKind::Symlink => {
                Self { tag: ReparseTag::SYMLINK, data: ReparseData::Symlink { substitute, print, flags } }
            }
            TargetKind::MountPoint => {
                Self { tag: ReparseTag::MOUNT_POINT, data: ReparseData::MountPoint { substitute, print } }
            }
        }
    }

    /// The kind of link, or `None` when the tag is neither symlink nor mount point.
    pub fn target_kind(&self) -> Option<TargetKind> {
        match self.data {
            ReparseData::Symlink { .. } => Some(TargetKind::Symlink),
            ReparseData::MountPoint { .. } => Some(TargetKind::MountPoint),
            _ => None,
        }
    }

    /// The target as a Windows path, `None` for other tags.
    ///
    /// The print name when there is one, as Microsoft's code takes it. PowerShell makes junctions without: then the
    /// substitute name, brought back from its NT form (`\??\C:\x` is `C:\x`, `\??\UNC\s\h` is `\\s\h`; also with forward
    /// slashes, and `\\?\UNC\s\h`).
    pub fn target(&self) -> Option<WideString> {
        match &self.data {
            ReparseData::Symlink { substitute, print, .. }
            | ReparseData::MountPoint { substitute, print } => {
                Some(if print.is_empty() { normalise(substitute) } else { print.clone() })
            }
            _ => None,
        }
    }

    /// The target as a path that a Unix user can read: forward slashes, `C:\` as `/`, another drive as `/d:/`, a UNC
    /// path as `//server/share`. For display, and not to be followed on the host: what a Windows target means
    /// depends on the container's drives.
    pub fn to_unix_target(&self) -> Option<Vec<u8>> {
        self.target().map(|target| to_unix_path(&target))
    }
}

/// See [`ReparsePoint::to_unix_target`].
fn to_unix_path(target: &WideString) -> Vec<u8> {
    let plain = if target.starts_with(r"\\?\") || target.starts_with(NT) {
        normalise(target)
    } else {
        target.clone()
    };
    let slashed: Vec<u16> =
        plain.units().iter().map(|&u| if u == u16::from(b'\\') { u16::from(b'/') } else { u }).collect();
    let text = WideString::from_units(slashed).to_wtf8();
    match text.as_slice() {
        [b'c' | b'C', b':'] => b"/".to_vec(),
        [b'c' | b'C', b':', rest @ ..] if rest.starts_with(b"/") => rest.to_vec(),
        [letter, b':', rest @ ..]
            if letter.is_ascii_alphabetic() && (rest.is_empty() || rest.starts_with(b"/")) =>
        {
            [b"/", &[letter.to_ascii_lowercase(), b':'][..], rest].concat()
        }
        _ => text,
    }
}

/// A letter and a colon, as go-winio tests it.
fn has_drive(units: &[u16]) -> bool {
    match units {
        [letter, colon, ..] => {
            *colon == u16::from(b':') && u8::try_from(*letter).is_ok_and(|b| b.is_ascii_alphabetic())
        }
        _ => false,
    }
}

/// Takes the NT or `\\?\` prefix off where what is left is an ordinary path; other forms (volumes, devices) stay.
fn normalise(name: &WideString) -> WideString {
    for prefix in [NT, "/??/", r"\\?\"] {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        if has_drive(rest) {
            return WideString::from_units(rest);
        }
        let rest = WideString::from_units(rest);
        for unc in [r"UNC\", "UNC/"] {
            if let Some(path) = rest.strip_prefix(unc) {
                return WideString::prefixed(r"\\", path);
            }
        }
        if prefix != r"\\?\" && rest.starts_with("Volume{") {
            return WideString::prefixed(r"\\?\", rest.units());
        }
    }
    name.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn junction(substitute: &str, print: &str) -> ReparsePoint {
        ReparsePoint {
            tag: ReparseTag::MOUNT_POINT,
            data: ReparseData::MountPoint { substitute: substitute.into(), print: print.into() },
        }
    }

    #[test]
    fn targets_become_substitute_names() {
        for (target, substitute, relative) in [
            (r"C:\t", r"\??\C:\t", false),
            ("C:foo", r"\??\C:foo", false),
            (r"\\s\h", r"\??\UNC\s\h", false),
            (r"\\?\C:\x", r"\??\C:\x", false),
            (r"\foo", r"\foo", true),
            ("a", "a", true),
            ("", "", true),
            ("1:x", "1:x", true),
        ] {
            let link = ReparsePoint::from_target(&target.into(), TargetKind::Symlink);
            let expected = ReparseData::Symlink {
                substitute: substitute.into(),
                print: target.into(),
                flags: u32::from(relative),
            };
            assert_eq!(link.data, expected, "{target}");
        }
    }

    #[test]
    fn an_empty_print_name_falls_back_to_the_substitute_name() {
        for (substitute, target) in [
            (r"\??\C:\x", r"C:\x"),
            ("/??/C:/x", "C:/x"),
            (r"\??\UNC\s\h", r"\\s\h"),
            (r"\\?\UNC\s\h", r"\\s\h"),
            (r"\??\GLOBALROOT\Device\x", r"\??\GLOBALROOT\Device\x"),
            (r"\Device\HarddiskVolume1", r"\Device\HarddiskVolume1"),
            (
                r"\??\Volume{01234567-89ab-cdef-0123-456789abcdef}\",
                r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\",
            ),
        ] {
            assert_eq!(junction(substitute, "").target(), Some(target.into()), "{substitute}");
        }
        assert_eq!(junction(r"\??\C:\x", "shown").target(), Some("shown".into()));
    }

    #[test]
    fn targets_show_as_unix_paths() {
        for (target, shown) in [
            (r"C:\Windows\x", "/Windows/x"),
            ("c:", "/"),
            (r"D:\x", "/d:/x"),
            ("C:x", "C:x"),
            (r"..\b.txt", "../b.txt"),
            (r"\\srv\share", "//srv/share"),
            (r"\\?\C:\x", "/x"),
        ] {
            let link = ReparsePoint::from_target(&target.into(), TargetKind::Symlink);
            assert_eq!(String::from_utf8(link.to_unix_target().unwrap()).unwrap(), shown, "{target}");
        }
    }
}
