//! `tombstones.txt`: the paths that the layer removes.
//!
//! ```text
//! EF BB BF "Version 1.0" LF
//! "\" path LF                one line for each; relative to Files, `\` between names, UTF-8
//! ```

use std::io::{BufRead, Read, Write};
use std::path::Path;

use super::error::{Doing, Error, TombstoneProblem};
use crate::path::LayerPath;

/// Byte order mark and version.
const FIRST_LINE: &[u8] = b"\xEF\xBB\xBFVersion 1.0";
/// The longest line, without its end: what Go's scanner takes.
const MAX_LINE: u64 = (64 << 10) - 1;

/// Reads the file. The paths begin with `Files`. CR before LF is accepted, and so is a last line without LF.
pub(super) fn parse(input: &mut impl BufRead, path: &Path) -> Result<Vec<LayerPath>, Error> {
    let mut found = Vec::new();
    let mut buffer = Vec::new();
    for line in 1.. {
        let bad = |problem| Error::Tombstones { line, problem };
        buffer.clear();
        // One more than fits, with CR and LF, tells that it is too long.
        input.take(MAX_LINE + 3).read_until(b'\n', &mut buffer).doing("read", path)?;
        if buffer.is_empty() && line > 1 {
            break;
        }
        let text = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() as u64 > MAX_LINE {
            return Err(bad(TombstoneProblem::TooLong));
        }
        if line == 1 {
            if text != FIRST_LINE {
                return Err(bad(TombstoneProblem::Version));
            }
            continue;
        }
        found.push(path_of(text).map_err(bad)?);
    }
    Ok(found)
}

fn path_of(line: &[u8]) -> Result<LayerPath, TombstoneProblem> {
    if line.is_empty() {
        return Err(TombstoneProblem::Empty);
    }
    if std::str::from_utf8(line).is_err() {
        return Err(TombstoneProblem::NotUtf8);
    }
    let Some(relative) = line.strip_prefix(b"\\") else { return Err(TombstoneProblem::NoBackslash) };
    let mut path = LayerPath::from(super::FILES);
    for name in relative.split(|&byte| byte == b'\\') {
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
            return Err(TombstoneProblem::Path);
        }
        path = path.join(name);
    }
    // The names are plain; what is left is their length.
    match LayerPath::normalise(path.as_bytes()) {
        Ok((path, _)) => Ok(path),
        Err(_) => Err(TombstoneProblem::Path),
    }
}

/// Writes the file. The paths begin with `Files`.
pub(super) fn write<'a>(
    output: &mut impl Write,
    path: &Path,
    tombstones: impl Iterator<Item = &'a LayerPath>,
) -> Result<(), Error> {
    let mut put = |bytes: &[u8]| output.write_all(bytes).doing("write", path);
    put(FIRST_LINE)?;
    put(b"\n")?;
    for tombstone in tombstones {
        put(&line_of(tombstone))?;
        put(b"\n")?;
    }
    output.flush().doing("write", path)
}

fn line_of(path: &LayerPath) -> Vec<u8> {
    let mut line = Vec::new();
    for name in path.components().skip(1) {
        line.push(b'\\');
        line.extend_from_slice(name);
    }
    line
}

/// Whether the file can say that this path is removed: it is text, on one line.
pub(super) fn check(path: &LayerPath) -> Result<(), Error> {
    let misplaced = |reason| Error::Misplaced { path: path.clone(), kind: "whiteout", reason };
    let line = line_of(path);
    if std::str::from_utf8(&line).is_err() {
        return Err(misplaced("tombstones.txt holds UTF-8 only"));
    }
    if line.iter().any(|&byte| matches!(byte, b'\r' | b'\n')) {
        return Err(misplaced("tombstones.txt has a line for each path, and the name has an end of line"));
    }
    if line.len() as u64 > MAX_LINE {
        return Err(misplaced("the path is longer than a line of tombstones.txt"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<String>, Error> {
        let paths = parse(&mut &text[..], Path::new("tombstones.txt"))?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    fn problem(text: &[u8]) -> (u64, TombstoneProblem) {
        match read(text) {
            Err(Error::Tombstones { line, problem }) => (line, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_are_read_with_either_end_of_line_and_without_the_last() {
        let want = ["Files/a/b", "Files/ü"];
        assert_eq!(read("\u{feff}Version 1.0\n\\a\\b\n\\ü\n".as_bytes()).unwrap(), want);
        assert_eq!(read("\u{feff}Version 1.0\r\n\\a\\b\r\n\\ü".as_bytes()).unwrap(), want);
        assert_eq!(read("\u{feff}Version 1.0".as_bytes()).unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_malformed_is_named_with_its_line() {
        use TombstoneProblem::*;
        let lines = |rest: &str| ["\u{feff}Version 1.0\n", rest].concat().into_bytes();
        assert_eq!(problem(b""), (1, Version));
        assert_eq!(problem(b"Version 1.0\n"), (1, Version));
        assert_eq!(problem("\u{feff}Version 1.1\n".as_bytes()), (1, Version));
        assert_eq!(problem("\u{feff}Version 1.0 \n".as_bytes()), (1, Version));
        assert_eq!(problem(&lines("\\a\n\n\\b")), (3, Empty));
        assert_eq!(problem(&lines("a\n")), (2, NoBackslash));
        for path in ["\\", "\\a\\", "\\..\\a", "\\a\\.", "\\a/b", "\\\\a", "\\a\0"] {
            assert_eq!(problem(&lines(path)), (2, Path), "{path}");
        }
        assert_eq!(problem(&[lines("\\a\n"), b"\\\xFF\n".to_vec()].concat()), (3, NotUtf8));
        let long = |length: usize| lines(&["\\", &"a\\".repeat(length / 2), "\n"].concat());
        assert_eq!(problem(&long(65_600)), (2, TooLong));
        assert_eq!(problem(&lines(&"\\a".repeat(40_000))), (2, TooLong));
    }
}
