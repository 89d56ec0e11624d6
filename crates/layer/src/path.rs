//! Names inside a layer.

use std::fmt;

/// The longest name of one path component, in bytes (`NAME_MAX` of Linux, `EROFS_NAME_LEN`).
pub const MAX_NAME: usize = 255;

/// The longest path that is taken (`PATH_MAX` of Linux is 4096; NTFS holds 32,767 UTF-16 units, which is up to three
/// times as many bytes).
pub const MAX_PATH: usize = 3 * 32_767;

/// A path inside a layer: components joined by `/`, without a leading slash, without `.` and `..`. The root is empty.
/// Bytes, not text: tar names need not be UTF-8.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerPath(Vec<u8>);

/// What had to be changed about a name to make it a [`LayerPath`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Normalised {
    /// It started with `/`.
    pub absolute: bool,
    /// It held `..`, which was resolved by the text alone, never leaving the root.
    pub dot_dot: bool,
}

/// Why a name cannot be a path of a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A NUL inside.
    #[error("the name holds a NUL byte")]
    Nul,
    /// One component is over [`MAX_NAME`].
    #[error("a component of {0} bytes is longer than the 255 that Linux can hold")]
    NameTooLong(usize),
    /// The whole is over [`MAX_PATH`].
    #[error("the path of {0} bytes is longer than any file system can hold")]
    PathTooLong(usize),
}

impl LayerPath {
    /// The root of the layer.
    pub fn root() -> Self {
        LayerPath::default()
    }

    /// Normalises a name as a tar has it: `./a`, `/a`, `a/`, `a//b`, `b/../a` all become `a`-like paths.
    ///
    /// # Errors
    /// When the name holds a NUL or is too long.
    pub fn normalise(raw: &[u8]) -> Result<(Self, Normalised), PathError> {
        if raw.contains(&0) {
            return Err(PathError::Nul);
        }
        if raw.len() > MAX_PATH {
            return Err(PathError::PathTooLong(raw.len()));
        }
        let mut notes = Normalised { absolute: raw.first() == Some(&b'/'), dot_dot: false };
        let mut path = Vec::with_capacity(raw.len());
        for component in raw.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    notes.dot_dot = true;
                    let parent = path.iter().rposition(|&b| b == b'/').unwrap_or(0);
                    path.truncate(parent);
                }
                name if name.len() > MAX_NAME => return Err(PathError::NameTooLong(name.len())),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        Ok((LayerPath(path), notes))
    }

    /// The path as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// Parent and last component; `None` for the root.
    pub fn split_last(&self) -> Option<(LayerPath, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => (LayerPath(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (LayerPath::root(), &self.0),
        })
    }

    /// This path and one more component.
    pub fn join(&self, name: &[u8]) -> LayerPath {
        if self.is_root() {
            return LayerPath(name.to_vec());
        }
        LayerPath([&self.0, &b"/"[..], name].concat())
    }

    /// True when `self` is `other` or lies below it.
    pub fn starts_with(&self, other: &LayerPath) -> bool {
        other.is_root()
            || self.0.strip_prefix(other.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl From<&str> for LayerPath {
    /// For paths known to be short and plain; NULs and over-long names are cut to nothing by nobody, so this must not
    /// be used on outside data.
    fn from(text: &str) -> Self {
        LayerPath(text.trim_matches('/').as_bytes().to_vec())
    }
}

impl fmt::Display for LayerPath {
    /// Bytes that are not UTF-8, and control characters, are shown as `\xNN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        display_bytes(&self.0, f)
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Shows a name that may hold anything, on one line and without terminal escapes.
pub fn display_name(bytes: &[u8]) -> impl fmt::Display + '_ {
    struct Shown<'a>(&'a [u8]);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            display_bytes(self.0, f)
        }
    }
    Shown(bytes)
}

fn display_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    write!(f, "\\x{byte:02x}")?;
                }
            } else {
                write!(f, "{c}")?;
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_and_never_leave_the_root() {
        for (raw, want, absolute, dot_dot) in [
            ("a/b", "a/b", false, false),
            ("./a//b/", "a/b", false, false),
            ("/a", "a", true, false),
            ("../../a", "a", false, true),
            ("a/../../b/./c", "b/c", false, true),
            ("a/b/..", "a", false, true),
            (".", "", false, false),
            ("/", "", true, false),
        ] {
            let (path, notes) = LayerPath::normalise(raw.as_bytes()).unwrap();
            assert_eq!(path.as_bytes(), want.as_bytes(), "{raw}");
            assert_eq!(notes, Normalised { absolute, dot_dot }, "{raw}");
        }
        assert_eq!(LayerPath::normalise(b"a\0b").unwrap_err(), PathError::Nul);
        assert_eq!(LayerPath::normalise(&[b'x'; 256]).unwrap_err(), PathError::NameTooLong(256));
    }

    #[test]
    fn odd_names_are_shown_without_escapes_reaching_the_terminal() {
        let (path, _) = LayerPath::normalise(b"a\x1b[31m\xff/b\n").unwrap();
        assert_eq!(path.to_string(), "a\\x1b[31m\\xff/b\\x0a");
    }
}
