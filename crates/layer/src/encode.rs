//! How metadata lies in extended attributes: of images, and of the scratch directories that overlayfs fills from them.
//!
//! | attribute | holds |
//! | --- | --- |
//! | `trusted.overlay.opaque` = `y` | overlayfs: the directory hides what parent layers have in it |
//! | `<space>.winnt.basic` | FILE_BASIC_INFO, 40 bytes: times and attributes |
//! | `<space>.winnt.sd` | security descriptor, self-relative |
//! | `<space>.winnt.ea` | FILE_FULL_EA_INFORMATION list |
//! | `<space>.winnt.reparse` | REPARSE_DATA_BUFFER |
//! | `<space>.winnt.streams` | alternate streams: for each, u64 LE size, u16 LE name length, name, u16 LE key length, key in the stream directory |
//! | `trusted.layerstone.xattr.<name>` | an attribute whose own name Linux cannot store, or that would be taken for one of these |
//!
//! `<space>` is `user` for files and directories and `trusted` for everything else: Linux refuses `user` attributes
//! there, and overlayfs then fails to copy such a file up.
//!
//! Attributes of the layer that start with `trusted.overlay.` are data, not instructions; they are stored under
//! `trusted.overlay.overlay.`, which overlayfs (6.7 and later) shows under the original name.

use layerstone_nt::BasicInfo;
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{ea, reparse};

use crate::entry::{Metadata, Os, Xattr};
use crate::report::{Finding, Report};

/// Name of the overlayfs attribute of opaque directories.
pub const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// The directory at the root of a Windows layer's image that holds alternate data streams, by key. Windows ignores
/// whatever is beside `Files`, `Hives` and `UtilityVM`, and so does every view of ours.
pub const STREAM_DIRECTORY: &[u8] = b".layerstone-streams";

const OVERLAY: &[u8] = b"trusted.overlay.";
const OVERLAY_ESCAPED: &[u8] = b"trusted.overlay.overlay.";
const ESCAPED: &[u8] = b"trusted.layerstone.xattr.";

/// The longest attribute name (`XATTR_NAME_MAX` of Linux).
const MAX_XATTR_NAME: usize = 255;
/// The longest attribute value (`XATTR_SIZE_MAX` of Linux).
const MAX_XATTR_VALUE: usize = 65_535;

/// A stream as its owner's attribute names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRef {
    /// Its name.
    pub name: Vec<u8>,
    /// Its size.
    pub size: u64,
    /// Its file name in [`STREAM_DIRECTORY`].
    pub key: Vec<u8>,
}

/// A stored attribute that cannot be what it says.
#[derive(Debug, thiserror::Error)]
#[error("the attribute `{name}` is damaged: {reason}")]
pub struct DecodeError {
    /// Which attribute.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

fn space(is_file_or_directory: bool) -> &'static str {
    if is_file_or_directory { "user" } else { "trusted" }
}

/// The attributes to store for `meta`. What cannot be stored under its own name is escaped and counted.
pub fn to_xattrs(
    meta: &Metadata,
    is_file_or_directory: bool,
    streams: &[StreamRef],
    path: impl std::fmt::Display + Copy,
    report: &mut Report,
) -> Vec<Xattr> {
    let mut out = Vec::new();
    for xattr in &meta.xattrs {
        let name = stored_name(&xattr.name, is_file_or_directory);
        if name.len() > MAX_XATTR_NAME || xattr.value.len() > MAX_XATTR_VALUE {
            report.note(Finding::OversizedXattr, path);
            continue;
        }
        if name.starts_with(ESCAPED) {
            report.note(Finding::EscapedXattr, path);
        }
        out.push(Xattr { name, value: xattr.value.clone() });
    }
    if let Some(windows) = &meta.windows {
        let mut put = |key: &str, value: Vec<u8>| {
            if value.len() > MAX_XATTR_VALUE {
                report.note(Finding::OversizedXattr, path);
            } else {
                let name = format!("{}.winnt.{key}", space(is_file_or_directory)).into_bytes();
                out.push(Xattr { name, value });
            }
        };
        put("basic", windows.basic.to_bytes().to_vec());
        if let Some(descriptor) = &windows.security_descriptor {
            put("sd", descriptor.clone());
        }
        // Both came out of the same code that encodes them; what it refuses is over NTFS's own limits.
        if !windows.eas.is_empty()
            && let Ok(list) = ea::encode_list(&windows.eas)
        {
            put("ea", list);
        }
        if let Some(reparse) = &windows.reparse
            && let Ok(buffer) = reparse.encode()
        {
            put("reparse", buffer);
        }
        if !streams.is_empty() {
            put("streams", encode_streams(streams));
        }
    }
    out.sort();
    out
}

fn stored_name(name: &[u8], is_file_or_directory: bool) -> Vec<u8> {
    if let Some(rest) = name.strip_prefix(OVERLAY) {
        return [OVERLAY_ESCAPED, rest].concat();
    }
    let reserved = name.starts_with(b"user.winnt.")
        || name.starts_with(b"trusted.winnt.")
        || name.starts_with(ESCAPED)
        || (name.starts_with(b"user.") && !is_file_or_directory);
    let known = name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || name.starts_with(b"security.")
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default";
    let has_suffix = name.iter().position(|&b| b == b'.').is_some_and(|dot| dot + 1 < name.len());
    if known && has_suffix && !reserved { name.to_vec() } else { [ESCAPED, name].concat() }
}

/// What stored attributes say.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The attributes of the layer itself, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// The NTFS part.
    pub windows: Option<Box<WindowsMetadata>>,
    /// Alternate streams.
    pub streams: Vec<StreamRef>,
    /// The directory is opaque.
    pub opaque: bool,
}

/// Reads back what [`to_xattrs`] stored.
///
/// # Errors
/// When one of our own attributes is not as we write it.
pub fn from_xattrs(stored: Vec<Xattr>, os: Os) -> Result<Decoded, DecodeError> {
    let mut decoded = Decoded::default();
    let mut windows = WindowsMetadata::default();
    let mut has_windows = false;
    for Xattr { name, value } in stored {
        if let Some(rest) = name.strip_prefix(OVERLAY_ESCAPED) {
            decoded.xattrs.push(Xattr { name: [OVERLAY, rest].concat(), value });
        } else if name == OPAQUE {
            decoded.opaque = value == b"y";
        } else if name.starts_with(OVERLAY) {
            // overlayfs's own book-keeping in a scratch: origin, impure, ...
        } else if let Some(original) = name.strip_prefix(ESCAPED) {
            decoded.xattrs.push(Xattr { name: original.to_vec(), value });
        } else if os == Os::Windows
            && let Some(key) =
                name.strip_prefix(b"user.winnt.").or_else(|| name.strip_prefix(b"trusted.winnt."))
        {
            let bad =
                |reason: String| DecodeError { name: String::from_utf8_lossy(&name).into_owned(), reason };
            has_windows = true;
            match key {
                b"basic" => windows.basic = BasicInfo::parse(&value).map_err(|e| bad(e.to_string()))?,
                b"sd" => windows.security_descriptor = Some(value),
                b"ea" => windows.eas = ea::parse_list(&value).map_err(|e| bad(e.to_string()))?,
                b"reparse" => {
                    windows.reparse =
                        Some(reparse::ReparsePoint::parse(&value).map_err(|e| bad(e.to_string()))?);
                }
                b"streams" => {
                    decoded.streams = decode_streams(&value).ok_or_else(|| bad("it is cut short".into()))?;
                }
                _ => return Err(bad("it is none that this version knows".into())),
            }
        } else {
            decoded.xattrs.push(Xattr { name, value });
        }
    }
    decoded.xattrs.sort();
    decoded.windows = has_windows.then(|| Box::new(windows));
    Ok(decoded)
}

fn encode_streams(streams: &[StreamRef]) -> Vec<u8> {
    let mut out = Vec::new();
    for stream in streams {
        out.extend_from_slice(&stream.size.to_le_bytes());
        for text in [&stream.name, &stream.key] {
            // A name is at most 255 UTF-16 units on NTFS, which is up to three times as many bytes. One beyond 16 bits makes
            // the value too long for an attribute, which the caller counts.
            let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    out
}

fn decode_streams(mut bytes: &[u8]) -> Option<Vec<StreamRef>> {
    fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (&len, rest) = bytes.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(len)))?;
        *bytes = rest;
        Some(text)
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        bytes = rest;
        let name = text(&mut bytes)?.to_vec();
        let key = text(&mut bytes)?.to_vec();
        out.push(StreamRef { name, size: u64::from_le_bytes(*size), key });
    }
    Some(out)
}
