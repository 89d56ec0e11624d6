use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{
    ATIME, CREATION_TIME, CTIME, EA_PREFIX, EntryKind, FILE_ATTRIBUTES, MOUNT_POINT, MTIME, Note,
    RAW_SECURITY_DESCRIPTOR, WindowsMetadata,
};
use crate::error::{Error, Result};
use crate::reparse::{ReparseData, ReparsePoint, TargetKind, View};
use crate::time::FileTime;
use crate::wide::WideString;

const FORM: &str = "a layer tar";
/// The first second that does not fit the eleven octal digits of a tar header's mtime.
const OCTAL_END: i64 = 1 << 33;

impl WindowsMetadata {
    /// The PAX records of the entry as Microsoft's code writes them, sorted by key as Go sorts them. `path` and
    /// `linkpath` are for the writer of the tar to add.
    ///
    /// Times that are not set are left out, and `mtime` where the header can hold it. Fails on reparse points other than
    /// symlinks and mount points, and on names of EAs that no PAX key can hold.
    pub fn to_records(&self) -> Result<Vec<(String, String)>> {
        let mut records = self.to_time_records();
        let mut add = |key: String, value: String| records.push((key, value));
        if let Some(time) = self.basic.creation.to_pax() {
            add(CREATION_TIME.to_owned(), time);
        }
        add(FILE_ATTRIBUTES.to_owned(), self.basic.attributes.0.to_string());
        if let Some(sd) = &self.security_descriptor {
            add(RAW_SECURITY_DESCRIPTOR.to_owned(), STANDARD.encode(sd));
        }
        if let Some(point) = &self.reparse {
            match point.target_kind() {
                Some(TargetKind::MountPoint) => add(MOUNT_POINT.to_owned(), "1".to_owned()),
                Some(TargetKind::Symlink) => {}
                None => {
                    return Err(Error::NotRepresentable {
                        what: "reparse point",
                        form: FORM,
                        detail: match View::of(point) {
                            Ok(Some(view)) => format!("tag {}: {view}", point.tag),
                            _ => format!("tag {}", point.tag),
                        },
                    });
                }
            }
        }
        for ea in &self.eas {
            let name = std::str::from_utf8(&ea.name)
                .ok()
                .filter(|name| !name.contains(['=', '\0']))
                .ok_or_else(|| Error::NotRepresentable {
                    what: "extended attribute",
                    form: FORM,
                    detail: format!("the name {:?} is no PAX key", String::from_utf8_lossy(&ea.name)),
                })?;
            add(format!("{EA_PREFIX}{name}"), STANDARD.encode(&ea.value));
        }
        // Stable: of two EAs with one name, which NTFS does not have, the later one stays the later one.
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(records)
    }

    /// The records `atime`, `ctime` and, where needed, `mtime`: all that the entry of an alternate data stream has.
    pub fn to_time_records(&self) -> Vec<(String, String)> {
        let mut records = Vec::new();
        let mut add = |key: &str, time: FileTime| {
            records.extend(time.to_pax().map(|value| (key.to_owned(), value)));
        };
        add(ATIME, self.basic.last_access);
        add(CTIME, self.basic.change);
        let mtime = self.basic.last_write.to_unix();
        if mtime.nanoseconds() != 0 || !(0..OCTAL_END).contains(&mtime.seconds()) {
            add(MTIME, self.basic.last_write);
        }
        records
    }

    /// What the entry is in a tar: a link when there is a reparse point, else directory or file by attribute.
    pub fn entry_kind(&self) -> EntryKind {
        if self.reparse.is_some() {
            EntryKind::Symlink
        } else if self.basic.attributes.is_directory() {
            EntryKind::Directory
        } else {
            EntryKind::File
        }
    }

    /// The mode of the header as Microsoft's code writes it: type bits only. `has_data` tells whether the file has a data
    /// stream, be it an empty one.
    pub fn tar_mode(&self, has_data: bool) -> u32 {
        const REGULAR: u32 = 0o100_000;
        const DIRECTORY: u32 = 0o040_000;
        const SYMLINK: u32 = 0o120_000;
        let mut mode = 0;
        if self.basic.attributes.is_directory() {
            mode |= DIRECTORY;
        }
        if self.reparse.is_some() {
            mode |= SYMLINK;
        }
        if has_data && mode == 0 {
            mode = REGULAR;
        }
        mode
    }

    /// The target for the header's link name or the `linkpath` record: the reparse point's target with its backslashes, in
    /// WTF-8. `None` when there is none or the tag has no target.
    pub fn tar_link_name(&self) -> Option<Vec<u8>> {
        Some(self.reparse.as_ref()?.target()?.to_wtf8())
    }

    /// What writing this to a tar would lose without an error.
    pub fn tar_losses(&self) -> Vec<Note> {
        let flags = self.eas.iter().filter(|ea| ea.flags != 0).map(|ea| Note::EaFlagsLost {
            name: String::from_utf8_lossy(&ea.name).into_owned(),
            flags: ea.flags,
        });
        let unset = !self.basic.creation.is_set() && self.basic.last_write.is_set();
        let rebuilt = self.reparse.as_ref().and_then(|point| {
            let print = match &point.data {
                ReparseData::Symlink { print, .. } | ReparseData::MountPoint { print, .. } => print,
                _ => return None,
            };
            let target = point.target()?;
            let note = if print.is_empty() && !target.is_empty() {
                Note::SubstituteNameTaken
            } else {
                Note::SubstituteNameRebuilt
            };
            let again = ReparsePoint::from_target(&as_read(&target), point.target_kind()?);
            (again != *point).then_some(note)
        });
        flags.chain(rebuilt).chain(unset.then_some(Note::CreationNotSet)).collect()
    }
}

/// A link name as reading takes it: slashes are backslashes.
fn as_read(target: &WideString) -> WideString {
    let units =
        target.units().iter().map(|&unit| if unit == u16::from(b'/') { u16::from(b'\\') } else { unit });
    WideString::from_units(units.collect::<Vec<_>>())
}
