use std::borrow::Cow;

use layerstone_nt::reparse::{ReparsePoint, TargetKind};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{BasicInfo, FileAttributes, FileTime, WideString};

use super::Error;
use crate::entry::{Entry, EntryKind};
use crate::report::{Finding, Report};

/// What Windows is told about an entry: its Windows metadata, or what Microsoft's reader makes of an entry without.
pub(super) fn windows_part<'e>(
    entry: &'e Entry,
    report: &mut Report,
) -> Result<Cow<'e, WindowsMetadata>, Error> {
    let mut part = match &entry.meta.windows {
        Some(part) => Cow::Borrowed(&**part),
        None => {
            Cow::Owned(WindowsMetadata { basic: basic_info(entry, report), ..WindowsMetadata::default() })
        }
    };
    if let EntryKind::Symlink { target } = &entry.kind
        && part.reparse.is_none()
    {
        let target: Vec<u8> = target.iter().map(|&byte| if byte == b'/' { b'\\' } else { byte }).collect();
        let target = WideString::from_wtf8(&target)
            .map_err(|source| Error::Metadata { path: entry.path.clone(), source })?;
        part.to_mut().reparse = Some(ReparsePoint::from_target(&target, TargetKind::Symlink));
    }
    Ok(part)
}

fn basic_info(entry: &Entry, report: &mut Report) -> BasicInfo {
    let time = FileTime::from_unix(entry.meta.mtime).unwrap_or_else(|_| {
        report.note(Finding::TimesNotSet, &entry.path);
        FileTime::NOT_SET
    });
    BasicInfo {
        creation: time,
        last_access: time,
        last_write: time,
        change: FileTime::NOT_SET,
        attributes: match entry.kind {
            EntryKind::Directory => FileAttributes::DIRECTORY,
            _ => FileAttributes::NONE,
        },
    }
}
