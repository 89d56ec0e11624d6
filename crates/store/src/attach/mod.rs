//! Attaching: an image or a scratch becomes visible in a directory of the host, through the kernel.
//!
//! ```text
//! <runtime dir>/<store>/            /run/layerstone/<16 digits>: of this boot only, only root may look into it
//!   lock                            held while anything here changes
//!   root                            the store's directory, for people who look here
//!   attachments/<id>.json           one record an attachment, written before the first mount of it
//!   layers/<chain-id hex>/          the EROFS image of a layer, mounted once, whoever uses it
//!   empty/0, empty/1                fill up an overlay that has too few layers
//!   mounting/<id>/                  an overlay on its way to its target
//!
//!   layer.erofs ─► layers/<id> ─┐
//!   layer.erofs ─► layers/<id> ─┼─► overlay, source `layerstone:<id>` ─► target
//!   scratch/upper, work ────────┘   (of a Windows image only its `Files`, unless raw)
//! ```
//!
//! Rules that make it hold after a crash at any step:
//!
//! - What is mounted is read from the kernel; the record only says what was wanted. An overlay carries the id of its
//!   attachment as its source, which mountinfo shows: that is how it is told from any other mount.
//! - The record comes before the mounts and goes after them. A record in state `attaching` whose lock is free belongs
//!   to a process that died: the next sweep undoes it. A record of another boot stands for nothing.
//! - An overlay holds its layers by itself; the mounts in `layers/` only exist so that the next attachment finds the
//!   same page cache. Taking one away too early costs memory and nothing else.
//! - Attachments outlive the process, and belong to the mount namespace in which they were made. From another one
//!   they can be seen, not undone; they count as gone when no process sees them any more.

#[cfg(target_os = "linux")]
pub(crate) mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
use other as platform;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use layerstone_layer::Os;
use layerstone_oci::{ChainId, Digest};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::image::StoredImage;
use crate::root::Store;
use crate::scratch::Scratch;

/// The most layers that one attachment can have: the kernel's limit for an overlay (`OVL_MAX_STACK`).
pub const MAX_LAYERS: usize = 500;

/// Environment variable that says where the runtime directory is.
pub const RUNTIME_DIR_VARIABLE: &str = "LAYERSTONE_RUNTIME_DIR";

/// How to attach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Show a Windows image as it is stored (`Files`, `Hives`, `UtilityVM`) and not only what is `C:\` in a container.
    pub raw: bool,
    /// Of a scratch that is thrown away in any case: nothing that is written to it is synced, not even when it is detached. The
    /// kernel then refuses to attach it again.
    pub volatile: bool,
}

/// What is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attached {
    /// An image, read-only.
    Image {
        /// The name by which it was attached.
        name: String,
        /// Its manifest.
        manifest: Digest,
    },
    /// A scratch, writable.
    Scratch {
        /// Its name.
        name: String,
    },
}

/// Something attached. It stays when this value is dropped, and when the process ends: [`Store::detach`] undoes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Names the attachment; the overlay's source is `layerstone:<id>`.
    pub id: String,
    /// Where it can be seen.
    pub target: PathBuf,
    /// What it is.
    pub what: Attached,
    /// The layers, base first.
    pub chain_ids: Vec<ChainId>,
    /// A Windows image is shown as it is stored.
    pub raw: bool,
    /// The kernel's number of the mount, as in mountinfo; only as long as it is mounted, then another may have it.
    pub mount_id: Option<u64>,
    /// The mount namespace, as `/proc/self/ns/mnt` names it.
    pub namespace: String,
}

/// How detaching went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Detached {
    /// The attachment that is gone.
    pub attachment: Attachment,
    /// False when somebody had unmounted it by hand; then only what was left over has been cleaned up.
    pub was_mounted: bool,
    /// Somebody still had files open in it: it is out of sight, and really gone when they are closed. Until then a
    /// scratch must not be committed, removed or attached again.
    pub lazy: bool,
    /// Where it can still be seen because somebody has mounted it there too. It counts as attached as long as these are
    /// there.
    pub also_at: Vec<PathBuf>,
}

/// Something that attaching needs, and whether this host has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Capability {
    /// Short name, one word.
    pub name: &'static str,
    /// True when it works.
    pub available: bool,
    /// Attaching is not possible without it.
    pub required: bool,
    /// What was tried and what came of it.
    pub detail: String,
    /// What to do about it when it does not work.
    pub hint: Option<String>,
}

/// Tries what attaching needs, each thing by itself, and leaves nothing behind.
pub fn probe() -> Vec<Capability> {
    probe_in(&std::env::temp_dir())
}

/// As [`probe`], with files in `directory`: whether a file can be mounted also depends on the file system it lies on.
pub fn probe_in(directory: &Path) -> Vec<Capability> {
    platform::probe(directory)
}

/// What the platform is asked to attach.
#[derive(Debug)]
struct Request<'a> {
    what: Attached,
    chain_ids: Vec<ChainId>,
    os: Os,
    scratch: Option<&'a Scratch>,
    options: AttachOptions,
}

impl Request<'_> {
    /// Only a part of the view is to be seen at the target.
    fn subtree(&self) -> Option<&'static str> {
        (self.os == Os::Windows && !self.options.raw).then_some("Files")
    }
}

impl Store {
    /// Shows an image at `target`, a directory, read-only.
    ///
    /// # Errors
    /// When the host cannot mount, a layer is missing or damaged, or something of this store is attached there.
    pub fn attach_image(
        &self,
        image: &StoredImage,
        target: &Path,
        options: AttachOptions,
    ) -> Result<Attachment> {
        let what = Attached::Image { name: image.name.clone(), manifest: image.manifest.digest() };
        let request = Request { what, chain_ids: image.chain_ids(), os: image.os(), scratch: None, options };
        platform::attach(self, &request, target)
    }

    /// Shows a scratch at `target`, a directory; what is changed there, is changed in the scratch.
    ///
    /// # Errors
    /// As [`Self::attach_image`]; and when the scratch is attached already.
    pub fn attach_scratch(
        &self,
        scratch: &Scratch,
        target: &Path,
        options: AttachOptions,
    ) -> Result<Attachment> {
        let description = scratch.description();
        let request = Request {
            what: Attached::Scratch { name: scratch.name().to_owned() },
            chain_ids: description.chain_ids.clone(),
            os: description.os,
            scratch: Some(scratch),
            options,
        };
        platform::attach(self, &request, target)
    }

    /// Undoes an attachment, and what only it needed. Gets as far as possible whatever was done by hand meanwhile, but
    /// never unmounts what is not this store's.
    ///
    /// # Errors
    /// When nothing is attached there, another mount lies over it, or the system refuses.
    pub fn detach(&self, target: &Path) -> Result<Detached> {
        platform::detach(self, target)
    }

    /// Everything that is attached now.
    ///
    /// # Errors
    /// When the records or the mounts cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        platform::attachments(self)
    }

    /// The layers that attachments use: a layer in this set must stay.
    ///
    /// # Errors
    /// When the records or the mounts cannot be read.
    pub fn attached_chain_ids(&self) -> Result<BTreeSet<ChainId>> {
        Ok(self.attachments()?.into_iter().flat_map(|attachment| attachment.chain_ids).collect())
    }

    /// Cleans up after crashes, reboots and unmounting by hand. Returns the attachments that were not there any more
    /// or had never been finished.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sweep_attachments(&self) -> Result<Vec<Attachment>> {
        platform::sweep(self)
    }

    /// Runs `work` while nothing can become attached; `Error::InUse` when the scratch is.
    pub(crate) fn while_detached<T>(&self, scratch: &Scratch, work: impl FnOnce() -> Result<T>) -> Result<T> {
        platform::while_detached(self, scratch, work)
    }

    /// The part of [`runtime_root`](Self::runtime_root) that is this store's alone. It may not exist yet.
    ///
    /// # Errors
    /// When the store or the runtime directory cannot be looked at.
    pub fn own_runtime_dir(&self) -> Result<PathBuf> {
        platform::own_runtime_dir(self)
    }

    /// The directory for what only concerns this boot; [`with_runtime_dir`](Self::with_runtime_dir) and the
    /// environment come first. It may not exist yet.
    pub fn runtime_root(&self) -> PathBuf {
        self.runtime_dir()
            .map(Path::to_path_buf)
            .or_else(|| std::env::var_os(RUNTIME_DIR_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from))
            .unwrap_or_else(|| platform::default_runtime_dir(self.root()))
    }
}

/// Names this boot; `None` where boots cannot be told apart.
///
/// # Errors
/// When the system does not tell.
pub fn boot() -> Result<Option<String>> {
    platform::this_boot()
}
