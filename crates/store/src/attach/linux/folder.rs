//! Views of layers that lie in folders of their own: made at once and without a trace beside the overlay itself, so that
//! mountinfo alone tells whether one is there.

use std::fs;
use std::path::{Path, PathBuf};

use super::call;
use super::layer::{self, remove_point};
use super::mountinfo::Mounts;
use super::overlay::Overlay;
use super::runtime;
use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;
use crate::layer::{IMAGE, StoredLayer};
use crate::root::read_dir_or_empty;

pub(crate) use super::default_runtime_dir;
pub(crate) use super::runtime::boot;

/// The writable view to be made.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The overlay's source is `layerstone:<id>`.
    pub(crate) id: &'a str,
    /// Topmost first.
    pub(crate) layers: &'a [StoredLayer],
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
    /// Only this directory of it is shown.
    pub(crate) subtree: Option<&'a str>,
    pub(crate) target: &'a Path,
    /// A directory for mounts on the way; only the holder of its lock uses it.
    pub(crate) mounting: &'a Path,
}

impl View<'_> {
    /// Mounts it.
    pub(crate) fn show(&self) -> Result<()> {
        if self.layers.len() > super::MAX_LAYERS {
            return Err(Error::TooManyLayers { layers: self.layers.len(), limit: super::MAX_LAYERS });
        }
        if let Some(mount) = Mounts::read()?.writing_to(self.upper) {
            return Err(Error::InUse {
                what: format!("`{}`", self.upper.display()),
                by: format!("the overlay at `{}` writes to it", mount.point.display()),
            });
        }
        let _points = Points(self.mounting);
        let mut lowers = Vec::with_capacity(self.layers.len());
        for (at, layer) in self.layers.iter().enumerate() {
            // An overlay only takes layers that are mounted somewhere.
            let point = self.mounting.join(at.to_string());
            fs::create_dir(&point).doing("create", &point)?;
            call::show(layer::image(layer.chain_id(), &layer.path().join(IMAGE))?, &point)?;
            lowers.push(point);
        }
        let overlay = Overlay {
            id: self.id,
            subject: "scratch",
            target: self.target,
            lowers: &lowers,
            writable: Some((self.upper, self.work)),
            volatile: false,
            mounting: self.mounting,
        };
        let view = overlay.view(self.subtree)?;
        failpoint("attach-overlay-made");
        call::show(view, self.target)
    }
}

/// The mounts on the way: the overlay holds what it needs of them by itself.
struct Points<'a>(&'a Path);

impl Drop for Points<'_> {
    fn drop(&mut self) {
        // What cannot be taken away now is swept later.
        let _ = sweep(self.0);
    }
}

/// Takes away what an attachment left on its way.
pub(crate) fn sweep(mounting: &Path) -> Result<()> {
    for entry in read_dir_or_empty(mounting)? {
        remove_point(&entry.path())?;
    }
    Ok(())
}

/// Names this thread's mount namespace.
pub(crate) fn namespace() -> Result<String> {
    runtime::namespace("thread-self")
}

/// Whether an attachment can be seen anywhere, in the mount namespace in which it was made.
pub(crate) fn is_shown(id: &str, in_namespace: &str) -> Result<bool> {
    if in_namespace == namespace()? {
        return Ok(Mounts::read()?.of(id).next().is_some());
    }
    runtime::is_shown_elsewhere(id, in_namespace)
}

/// Takes an attachment away from wherever it can be seen.
pub(crate) fn hide(id: &str) -> Result<()> {
    let mounts = Mounts::read()?;
    let points: Vec<PathBuf> = mounts
        .of(id)
        .map(|mount| match mounts.over(mount) {
            // Another mount on top would be the one that goes.
            Some(over) if over.attachment() != Some(id) => Err(Error::InUse {
                what: format!("`{}`", mount.point.display()),
                by: format!("another mount ({}) lies over it", over.source.to_string_lossy()),
            }),
            _ => Ok(mount.point.clone()),
        })
        .collect::<Result<_>>()?;
    for point in points {
        call::take_away(&point)?;
    }
    Ok(())
}
