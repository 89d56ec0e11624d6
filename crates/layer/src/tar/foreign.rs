//! What writers other than Microsoft's put into the names and link targets of Windows layers, and what they mean by it.
//!
//! | written | by | read as | finding |
//! |---|---|---|---|
//! | `Files/d/` | containerd and BuildKit (generic differ), .NET SDK | `Files/d` | [`Finding::TrailingSlash`] |
//! | `Files/a\b` | tools that run on Windows | `Files/a/b`, as Windows opens it | [`Finding::BackslashName`] |
//! | hard link to `app/x` | go-containerregistry, imgutil | `Files/app/x` | [`Finding::UnprefixedLink`] |
//! | symlink to `Files//app/x`, hard link to `Files//app/x` | BuildKit, of `/app/x` | `/app/x`, `Files/app/x` | [`Finding::PrefixedLinkTarget`] |
//! | symlink to `Files/x` | BuildKit, of the relative `x` | `x` | [`Finding::PrefixedLinkTarget`] |
//!
//! BuildKit puts `Files/` before every target, also of relative links, where it changes the meaning. A relative target that really
//! begins with `Files/` cannot be told apart by its text; what BuildKit writes beside it can: a creation time and no attributes,
//! where Microsoft's tools write both and the others neither.

use std::borrow::Cow;

use layerstone_nt::tar as nt;

use super::read::Member;
use crate::path::display_name;
use crate::report::{Finding, Report};

const FILES: &[u8] = b"Files/";

/// A name of a Windows layer, its separators as tar wants them.
pub(super) fn name<'m>(raw: &'m [u8], report: &mut Report) -> Cow<'m, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    report.note(Finding::BackslashName, display_name(raw));
    Cow::Owned(raw.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect())
}

/// Counts a directory whose name ends with a slash.
pub(super) fn directory(member: &Member, report: &mut Report) {
    if member.name.ends_with(b"/") {
        report.note(Finding::TrailingSlash, display_name(&member.name));
    }
}

/// The target of a symlink without what BuildKit puts before it.
pub(super) fn symlink_target<'m>(member: &'m Member, report: &mut Report) -> &'m [u8] {
    let target = member.link_name.as_slice();
    let Some(rest) = target.strip_prefix(FILES) else { return target };
    let by_buildkit = member.record(nt::CREATION_TIME.as_bytes()).is_some()
        && member.record(nt::FILE_ATTRIBUTES.as_bytes()).is_none();
    if rest.is_empty() || !(rest.starts_with(b"/") || by_buildkit) {
        return target;
    }
    report.note(Finding::PrefixedLinkTarget, display_name(target));
    rest
}

/// The target of a hard link, still to be normalised.
pub(super) fn hard_link_target<'m>(member: &'m Member, report: &mut Report) -> Cow<'m, [u8]> {
    let target = name(&member.link_name, report);
    if target.strip_prefix(FILES).is_some_and(|rest| rest.starts_with(b"/")) {
        report.note(Finding::PrefixedLinkTarget, display_name(&member.link_name));
    }
    target
}
