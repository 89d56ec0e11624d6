//! Systems whose kernel cannot show a stored layer.

use std::path::{Path, PathBuf};

use super::{Attachment, Capability, Detached, Request};
use crate::error::{Error, Result};
use crate::root::Store;
use crate::scratch::Scratch;

const MISSING: &str =
    "EROFS and overlayfs, which are parts of the Linux kernel; `tree`, `cat` and `export` work everywhere";

fn unsupported<T>() -> Result<T> {
    Err(Error::Unsupported { doing: "mount", missing: MISSING.into() })
}

pub(super) fn default_runtime_dir(root: &Path) -> PathBuf {
    root.join("run")
}

pub(super) fn this_boot() -> Result<Option<String>> {
    Ok(None)
}

pub(super) fn own_runtime_dir(store: &Store) -> Result<PathBuf> {
    Ok(store.runtime_root())
}

pub(super) fn attach(_store: &Store, request: &Request<'_>, _target: &Path) -> Result<Attachment> {
    // So that a request looks the same to the compiler on every system.
    let _ = (&request.what, &request.chain_ids, request.scratch, request.subtree());
    unsupported()
}

pub(super) fn detach(_store: &Store, target: &Path) -> Result<Detached> {
    Err(Error::NotAttached(target.to_path_buf()))
}

pub(super) fn attachments(_store: &Store) -> Result<Vec<Attachment>> {
    Ok(Vec::new())
}

pub(super) fn sweep(_store: &Store) -> Result<Vec<Attachment>> {
    Ok(Vec::new())
}

pub(super) fn while_detached<T>(
    store: &Store,
    _scratch: &Scratch,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let _ = store.runtime_root();
    work()
}

pub(super) fn probe(_directory: &Path) -> Vec<Capability> {
    vec![Capability {
        name: "linux",
        available: false,
        required: true,
        detail: "layers are shown and scratches changed by the Linux kernel's EROFS and overlayfs".into(),
        hint: Some("use a Linux host to mount, unpack, change and commit; everything else works here".into()),
    }]
}
