//! What is mounted, as the kernel says: `/proc/thread-self/mountinfo`
//! ([proc_pid_mountinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html)).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};

/// Of this thread, not of the process: a thread may have its own mount namespace.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// Prefix of the source of all overlays of ours; the attachment's id follows.
pub(super) const SOURCE: &str = "layerstone:";

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) point: PathBuf,
    pub(super) source: OsString,
    /// The options of the file system, as they stand.
    options: Vec<u8>,
}

impl Mount {
    /// The attachment that this overlay belongs to.
    pub(super) fn attachment(&self) -> Option<&str> {
        self.source.to_str()?.strip_prefix(SOURCE)
    }

    /// It is an overlay that writes to `upper`.
    fn writes_to(&self, upper: &Path) -> bool {
        self.options
            .split(|&b| b == b',')
            .filter_map(|option| option.strip_prefix(b"upperdir="))
            .any(|value| unescape(value) == upper.as_os_str().as_bytes())
    }
}

/// All mounts of this mount namespace.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads them.
    pub(super) fn read() -> Result<Self> {
        let bytes = fs::read(MOUNTINFO).doing("read", MOUNTINFO)?;
        Ok(Mounts(bytes.split(|&b| b == b'\n').filter_map(parse).collect()))
    }

    /// The mounts that show an attachment.
    pub(super) fn of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| mount.attachment() == Some(id))
    }

    /// The mounts in a directory.
    pub(super) fn below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| mount.point.starts_with(directory) && mount.point != directory)
    }

    /// The mount that lies over `mount` on the same directory.
    pub(super) fn over(&self, mount: &Mount) -> Option<&Mount> {
        self.0.iter().find(|other| other.parent == mount.id && other.point == mount.point)
    }

    /// An overlay that writes to `upper`, whoever made it.
    pub(super) fn writing_to(&self, upper: &Path) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.writes_to(upper))
    }
}

/// `id parent major:minor root point options [optional...] - type source options`; `None` for anything else.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let point = fields.nth(2)?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(2);
    let source = fields.next()?;
    let options = fields.next().unwrap_or_default();
    Some(Mount {
        id,
        parent,
        point: OsString::from_vec(unescape(point)).into(),
        source: OsString::from_vec(unescape(source)),
        options: options.to_vec(),
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The kernel writes blanks, newlines, backslashes and some more as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let value = octal.and_then(|digits| {
            u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|d| !d.starts_with('+'))?, 8).ok()
        });
        match value {
            Some(value) => {
                out.push(value);
                rest = &after[3..];
            }
            None => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_optional_fields_and_escapes_is_understood() {
        let line = br"36 35 98:0 /Files /mnt/a\040b rw,noatime shared:1 master:2 - overlay layerstone:x1 rw,upperdir=/s\054t/upper,x=y";
        let mount = parse(line).expect("it is a mount");
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(mount.point, Path::new("/mnt/a b"));
        assert_eq!(mount.attachment(), Some("x1"));
        assert!(mount.writes_to(Path::new("/s,t/upper")));
        assert!(!mount.writes_to(Path::new("/s")));
    }

    #[test]
    fn lines_that_make_no_sense_are_no_mounts() {
        for line in
            [&b""[..], b"1", b"1 2 3:4 / /x rw", b"1 2 3:4 / /x rw - tmpfs", b"x y 3:4 / /x rw - a b c"]
        {
            assert!(parse(line).is_none());
        }
        assert_eq!(unescape(br"a\4"), br"a\4");
        assert_eq!(unescape(br"\777\"), br"\777\");
    }
}
