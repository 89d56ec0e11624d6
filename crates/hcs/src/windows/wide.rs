//! Strings of Windows: UTF-16 that may be ill-formed, ended by a NUL.

use std::ffi::{OsStr, OsString};
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf, Prefix};

use crate::error::{Error, Result};
use crate::schema::Document;

/// A string that ends with its only NUL. Lone surrogates are in it as they were in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WideString(Vec<u16>);

impl WideString {
    /// A path as it is: relative or absolute, with whichever slashes; nothing is resolved or changed.
    pub(super) fn from_path(path: &Path) -> Result<Self> {
        Self::new(path.as_os_str()).ok_or_else(|| Error::Nul(path.to_owned()))
    }

    /// A document's text.
    pub(super) fn from_document(document: &(impl Document + ?Sized)) -> Result<Self> {
        let text = document.to_json()?;
        match Self::new(OsStr::new(&text)) {
            Some(wide) => Ok(wide),
            None => Err(Error::NulInDocument(text)),
        }
    }

    /// Any text; `None` when it has a NUL in it.
    pub(super) fn new(text: &OsStr) -> Option<Self> {
        let mut units: Vec<u16> = text.encode_wide().collect();
        if units.contains(&0) {
            return None;
        }
        units.push(0);
        Some(WideString(units))
    }

    /// For a call; valid for as long as `self` is.
    pub(super) fn as_ptr(&self) -> *const u16 {
        self.0.as_ptr()
    }
}

/// The text up to the first NUL, or all of it.
pub(super) fn until_nul(units: &[u16]) -> OsString {
    let length = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    OsString::from_wide(&units[..length])
}

/// The `\\?\` form of a path, which has no limit of 260 characters: `\\?\C:\layers`, or `\\?\UNC\server\share\layers`.
///
/// A relative path is taken from the current folder, and `.`, `..` and `/` are resolved, because nothing resolves them
/// later: the file system takes a `\\?\` path literally. A path that begins with `\\?\` or `\\.\` is returned as it is.
/// Symbolic links are not followed, and the path need not exist.
///
/// The functions of this crate hand paths over untouched; this is for callers whose paths may be long.
///
/// # Errors
/// [`Error::Nul`]; [`Error::Argument`] for an empty path.
pub fn verbatim(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().encode_wide().any(|unit| unit == 0) {
        return Err(Error::Nul(path.to_owned()));
    }
    let absolute = std::path::absolute(path).map_err(|_| Error::Argument {
        function: "verbatim",
        subject: path.to_owned(),
        reason: "an empty path names nothing",
    })?;
    let Some(Component::Prefix(prefix)) = absolute.components().next() else { return Ok(absolute) };
    let start = match prefix.kind() {
        Prefix::Disk(_) => OsString::from(r"\\?\"),
        Prefix::UNC(..) => OsString::from(r"\\?\UNC"),
        _ => return Ok(absolute),
    };
    // `\\server\share` keeps one of its two backslashes.
    let skipped = usize::from(matches!(prefix.kind(), Prefix::UNC(..)));
    let mut units: Vec<u16> = start.encode_wide().collect();
    units.extend(absolute.as_os_str().encode_wide().skip(skipped));
    Ok(OsString::from_wide(&units).into())
}
