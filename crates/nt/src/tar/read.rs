use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{
    ATIME, CREATION_TIME, CTIME, EA_PREFIX, EntryKind, FILE_ATTRIBUTES, MOUNT_POINT, MTIME, Note,
    RAW_SECURITY_DESCRIPTOR, SDDL, TarFacts, WindowsMetadata,
};
use crate::attributes::FileAttributes;
use crate::basic_info::BasicInfo;
use crate::ea::{self, Ea};
use crate::error::{Error, Result};
use crate::reparse::{ReparsePoint, TargetKind};
use crate::sddl;
use crate::security::SecurityDescriptor;
use crate::time::{FileTime, UnixTime};
use crate::wide::WideString;

/// The records of one entry, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WindowsRecords {
    /// What they say.
    pub metadata: WindowsMetadata,
    /// What is unusual about them.
    pub notes: Vec<Note>,
}

/// The records that matter, the last of each key.
#[derive(Default)]
struct Found<'r> {
    attributes: Option<&'r [u8]>,
    raw_sd: Option<&'r [u8]>,
    sddl: Option<&'r [u8]>,
    mount_point: bool,
    creation: Option<&'r [u8]>,
    mtime: Option<&'r [u8]>,
    atime: Option<&'r [u8]>,
    ctime: Option<&'r [u8]>,
    eas: Vec<(&'r [u8], &'r [u8])>,
}

impl WindowsRecords {
    /// Reads an entry's PAX records as Microsoft's code does; of records with the same key the last one counts.
    ///
    /// An error is what stops their reader too: a bad number, time, base64 or SDDL text, an EA that is too long.
    pub fn parse<'r>(
        records: impl IntoIterator<Item = (&'r [u8], &'r [u8])>,
        entry: &TarFacts<'_>,
    ) -> Result<Self> {
        let mut notes = Vec::new();
        let found = Found::gather(records, &mut notes);
        let reparse = match entry.kind {
            EntryKind::Symlink => Some(link(entry.linkname, found.mount_point, &mut notes)?),
            _ if found.mount_point => {
                notes.push(Note::MountPointIgnored);
                None
            }
            _ => None,
        };
        let metadata = WindowsMetadata {
            basic: found.basic_info(entry, &mut notes)?,
            security_descriptor: found.security_descriptor(&mut notes)?,
            eas: found.extended_attributes(&mut notes)?,
            reparse,
        };
        Ok(Self { metadata, notes })
    }
}

impl<'r> Found<'r> {
    fn gather(records: impl IntoIterator<Item = (&'r [u8], &'r [u8])>, notes: &mut Vec<Note>) -> Self {
        let mut found = Self::default();
        for (key, value) in records {
            let Ok(text) = std::str::from_utf8(key) else {
                // An EA's name may be in an OEM code page; no other key of interest is beyond ASCII.
                if let Some(name) = key.strip_prefix(EA_PREFIX.as_bytes()) {
                    found.eas.push((name, value));
                }
                continue;
            };
            match text {
                FILE_ATTRIBUTES => found.attributes = Some(value),
                RAW_SECURITY_DESCRIPTOR => found.raw_sd = Some(value),
                SDDL => found.sddl = Some(value),
                MOUNT_POINT => found.mount_point = true,
                CREATION_TIME => found.creation = Some(value),
                MTIME => found.mtime = Some(value),
                ATIME => found.atime = Some(value),
                CTIME => found.ctime = Some(value),
                _ if text.starts_with(EA_PREFIX) => found.eas.push((&key[EA_PREFIX.len()..], value)),
                _ if text.starts_with("MSWINDOWS.") => {
                    notes.push(Note::UnknownRecord { key: text.to_owned() })
                }
                _ => {}
            }
        }
        found
    }

    fn basic_info(&self, entry: &TarFacts<'_>, notes: &mut Vec<Note>) -> Result<BasicInfo> {
        let mtime = time(MTIME, self.mtime, Some(entry.mtime), notes)?;
        Ok(BasicInfo {
            creation: match self.creation {
                Some(text) if self.is_unpadded(text, entry.mtime) => {
                    notes.push(Note::TimeUnpadded { key: CREATION_TIME });
                    mtime
                }
                Some(_) => time(CREATION_TIME, self.creation, None, notes)?,
                None => mtime,
            },
            last_access: time(ATIME, self.atime, entry.atime, notes)?,
            last_write: mtime,
            change: time(CTIME, self.ctime, entry.ctime, notes)?,
            attributes: self.attributes(entry.kind, notes)?,
        })
    }

    /// Whether a creation time is the modification time with its nanoseconds written as a number, without leading zeroes: BuildKit
    /// prints `%d.%d`, of the modification time. Where that has nine digits, or none but zeroes, the two forms are one; but before
    /// 1970 its seconds are rounded down and its fraction counts forward, so that every fraction is wrong there.
    fn is_unpadded(&self, text: &[u8], header: UnixTime) -> bool {
        let mtime = match self.mtime {
            Some(text) => UnixTime::parse(text).unwrap_or(header),
            None => header,
        };
        let differs = mtime.nanoseconds() != 0 && (mtime.nanoseconds() < 100_000_000 || mtime.seconds() < 0);
        differs && text == format!("{}.{}", mtime.seconds(), mtime.nanoseconds()).as_bytes()
    }

    fn attributes(&self, kind: EntryKind, notes: &mut Vec<Note>) -> Result<FileAttributes> {
        let Some(text) = self.attributes else {
            return Ok(if kind == EntryKind::Directory {
                FileAttributes::DIRECTORY
            } else {
                FileAttributes::NONE
            });
        };
        // Digits only: u32's own parser takes a plus sign, Go's does not.
        let attributes = std::str::from_utf8(text)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(FileAttributes)
            .ok_or_else(|| {
                let found = format!("{:?}", String::from_utf8_lossy(&text[..text.len().min(20)]));
                Error::malformed("file attributes", 0, "a decimal number of 32 bits", found)
                    .in_record(FILE_ATTRIBUTES)
            })?;
        let is_link = kind == EntryKind::Symlink;
        match kind {
            EntryKind::Directory if !attributes.is_directory() => notes.push(Note::DirectoryBitMissing),
            EntryKind::File | EntryKind::Other if attributes.is_directory() => {
                notes.push(Note::DirectoryBitUnexpected);
            }
            _ => {}
        }
        if is_link && !attributes.is_reparse_point() {
            notes.push(Note::ReparseBitMissing);
        } else if !is_link && kind != EntryKind::HardLink && attributes.is_reparse_point() {
            notes.push(Note::ReparseBitUnexpected);
        }
        Ok(attributes)
    }

    fn security_descriptor(&self, notes: &mut Vec<Note>) -> Result<Option<Vec<u8>>> {
        let bytes = match (self.raw_sd, self.sddl) {
            (Some(text), sddl) => {
                if sddl.is_some() {
                    notes.push(Note::SddlIgnored);
                }
                let bytes = decode_base64(text).map_err(|error| error.in_record(RAW_SECURITY_DESCRIPTOR))?;
                if !bytes.is_empty()
                    && let Err(error) = SecurityDescriptor::validate(&bytes)
                {
                    notes.push(Note::InvalidSecurityDescriptor(error));
                }
                bytes
            }
            (None, Some(text)) => std::str::from_utf8(text)
                .map_err(|e| Error::malformed("SDDL", e.valid_up_to(), "UTF-8", "other bytes"))
                .and_then(sddl::parse)
                .and_then(|sd| sd.to_bytes())
                .map_err(|error| error.in_record(SDDL))?,
            (None, None) => return Ok(None),
        };
        // Microsoft's code writes a security stream only when there are bytes.
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn extended_attributes(&self, notes: &mut Vec<Note>) -> Result<Vec<Ea>> {
        let mut eas: Vec<Ea> = Vec::new();
        // Names already seen, to stay fast on an entry with very many records.
        let mut index = std::collections::HashMap::new();
        for (name, value) in &self.eas {
            let key = || format!("{EA_PREFIX}{}", String::from_utf8_lossy(name));
            let value = decode_base64(value).map_err(|error| error.in_record(&key()))?;
            let limits = [
                ("name of an extended attribute", ea::MAX_NAME, name.len()),
                ("value of an extended attribute", ea::MAX_VALUE, value.len()),
            ];
            for (what, limit, found) in limits {
                if found > limit {
                    return Err(Error::TooLong { what, limit, found }.in_record(&key()));
                }
            }
            match index.insert(*name, eas.len()) {
                Some(earlier) => {
                    index.insert(name, earlier);
                    eas[earlier].value = value;
                }
                None => eas.push(Ea::new(*name, value)),
            }
        }
        if let Err(error) = ea::check_ntfs(&eas) {
            notes.push(Note::EasOverNtfs(error));
        }
        Ok(eas)
    }
}

/// The time of a record or, without one, of the header.
fn time(
    key: &'static str,
    record: Option<&[u8]>,
    header: Option<UnixTime>,
    notes: &mut Vec<Note>,
) -> Result<FileTime> {
    let time = match (record, header) {
        (Some(text), _) => UnixTime::parse(text).map_err(|error| error.in_record(key))?,
        (None, Some(time)) => time,
        (None, None) => {
            notes.push(Note::TimeAbsent { key });
            return Ok(FileTime::NOT_SET);
        }
    };
    if time.is_wrapped_zero() {
        notes.push(Note::TimeWrapped { key });
        return Ok(FileTime::NOT_SET);
    }
    if time.nanoseconds() % 100 != 0 {
        notes.push(Note::TimeRounded { key });
    }
    Ok(FileTime::from_unix(time).unwrap_or_else(|_| {
        notes.push(Note::TimeOutOfRange { key, time });
        FileTime::NOT_SET
    }))
}

fn link(linkname: &[u8], mount_point: bool, notes: &mut Vec<Note>) -> Result<ReparsePoint> {
    let slashed: Vec<u8> = linkname.iter().map(|&b| if b == b'/' { b'\\' } else { b }).collect();
    let target = WideString::from_wtf8(&slashed).unwrap_or_else(|_| {
        notes.push(Note::LinkNameNotUtf8);
        WideString::from(&*String::from_utf8_lossy(&slashed))
    });
    let kind = if mount_point { TargetKind::MountPoint } else { TargetKind::Symlink };
    let point = ReparsePoint::from_target(&target, kind);
    // Whoever takes the metadata wants to write the buffer: say here that it cannot be.
    point.encode().map_err(|error| error.in_record("linkpath"))?;
    Ok(point)
}

/// Base64 as Go's `StdEncoding` takes it: padding required, line breaks skipped, unused bits of the last letter ignored.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    let joined: Vec<u8>;
    let text = if text.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        joined = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        &joined
    } else {
        text
    };
    ENGINE.decode(text).map_err(|error| {
        let position = match error {
            base64::DecodeError::InvalidByte(position, _)
            | base64::DecodeError::InvalidLastSymbol(position, _) => position,
            _ => text.len(),
        };
        Error::malformed("base64", position, "standard base64 with padding", error)
    })
}
