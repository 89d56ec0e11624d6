//! Windows metadata for what a scratch holds: files that a Linux kernel made or changed have none, or an old one.

use layerstone_layer::Metadata;
use layerstone_layer::view::{Node, NodeKind};
use layerstone_nt::reparse::TargetKind;
use layerstone_nt::security::{SecurityDescriptor, default_descriptor, inherit};
use layerstone_nt::{BasicInfo, FileAttributes, FileTime, ReparsePoint, WideString, WindowsMetadata};

/// What surrounds a file of the scratch.
pub(super) struct Surroundings<'a> {
    /// What the chain below shows at the same path.
    pub(super) below: Option<&'a Node>,
    /// The security descriptor of the directory it is in.
    pub(super) parent: Option<&'a [u8]>,
    /// For a symbolic link: what it leads to is a directory.
    pub(super) leads_to_directory: bool,
}

/// The metadata of `node` as it goes into a Windows layer. Mode and owner of the Linux file mean nothing there.
pub(super) fn metadata(node: &Node, around: &Surroundings<'_>) -> Metadata {
    let is_directory = node.kind.is_directory();
    let mtime = FileTime::from_unix(node.meta.mtime).unwrap_or(FileTime::NOT_SET);
    let untouched = around.below.is_some_and(|below| below.meta.mtime == node.meta.mtime);
    let below = around
        .below
        .filter(|below| below.kind.is_directory() == is_directory)
        .map(|below| &below.meta.windows);
    let windows = match (&node.meta.windows, below) {
        (Some(copied_up), _) => {
            let mut windows = copied_up.clone();
            // Linux changes a file's time; the attribute that came up with it stays.
            if !untouched && windows.basic.last_write != mtime {
                windows.basic.last_write = mtime;
                windows.basic.change = mtime;
            }
            Some(windows)
        }
        // A directory that no layer has an entry for.
        (None, Some(None)) if untouched => None,
        (None, Some(Some(replaced))) => Some(Box::new(replacing(replaced, node, mtime, around))),
        (None, _) => Some(Box::new(new(node, mtime, around))),
    };
    Metadata {
        mode: if is_directory { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        mtime: node.meta.mtime,
        xattrs: node.meta.xattrs.clone(),
        windows,
    }
}

/// A file that was written beside the old one and took its name, as editors do, is still that file to its user.
fn replacing(
    old: &WindowsMetadata,
    node: &Node,
    mtime: FileTime,
    around: &Surroundings<'_>,
) -> WindowsMetadata {
    let fresh = new(node, mtime, around);
    let kept = old.basic.attributes & !FileAttributes::REPARSE_POINT;
    let needed = fresh.basic.attributes & (FileAttributes::REPARSE_POINT | FileAttributes::DIRECTORY);
    WindowsMetadata {
        basic: BasicInfo { creation: old.basic.creation, attributes: kept | needed, ..fresh.basic },
        security_descriptor: old.security_descriptor.clone().or(fresh.security_descriptor),
        eas: old.eas.clone(),
        reparse: fresh.reparse,
    }
}

fn new(node: &Node, mtime: FileTime, around: &Surroundings<'_>) -> WindowsMetadata {
    let is_directory = node.kind.is_directory();
    let mut attributes = if is_directory { FileAttributes::DIRECTORY } else { FileAttributes::ARCHIVE };
    let reparse = match &node.kind {
        NodeKind::Symlink { target } => {
            attributes |= FileAttributes::REPARSE_POINT;
            if around.leads_to_directory {
                attributes |= FileAttributes::DIRECTORY;
            }
            Some(symlink(target))
        }
        _ => None,
    };
    let parent = around.parent.and_then(|bytes| SecurityDescriptor::parse(bytes).ok());
    let descriptor = match parent {
        Some(parent) => inherit(&parent, is_directory),
        None => default_descriptor(is_directory),
    };
    // Only a list over 64 KiB cannot be written; what is inherited from such a list is then the default.
    let bytes = descriptor.to_bytes().or_else(|_| default_descriptor(is_directory).to_bytes()).ok();
    WindowsMetadata {
        basic: BasicInfo {
            creation: mtime,
            last_access: mtime,
            last_write: mtime,
            change: mtime,
            attributes,
        },
        security_descriptor: bytes,
        eas: Vec::new(),
        reparse,
    }
}

/// A Linux link target as a Windows one: backslashes; an absolute target is relative to the drive.
fn symlink(target: &[u8]) -> ReparsePoint {
    let target: Vec<u8> = target.iter().map(|&b| if b == b'/' { b'\\' } else { b }).collect();
    let wide = WideString::from_wtf8(&target)
        .unwrap_or_else(|_| WideString::from(&*String::from_utf8_lossy(&target)));
    ReparsePoint::from_target(&wide, TargetKind::Symlink)
}

/// Whether two metadata mean the same to Windows.
pub(super) fn same(a: &Metadata, b: &Metadata) -> bool {
    a.windows == b.windows && a.xattrs == b.xattrs
}
