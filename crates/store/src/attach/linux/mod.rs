//! Attaching on Linux: EROFS for the layers, overlayfs for the view, both through the mount calls of Linux 5.2.

mod call;
pub(crate) mod folder;
mod layer;
mod loopdev;
mod mountinfo;
mod overlay;
mod probe;
mod runtime;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use layerstone_oci::ChainId;

use self::call::Unmounted;
use self::mountinfo::{Mount, Mounts};
use self::overlay::Overlay;
use self::runtime::{Record, Runtime, State};
use super::{Attached, Attachment, Detached, MAX_LAYERS, Request};
use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;
use crate::root::{Store, read_dir_or_empty};
use crate::scratch::Scratch;

pub(super) use self::probe::probe;

/// As root `/run/layerstone`; otherwise the user's own runtime directory.
pub(crate) fn default_runtime_dir(root: &Path) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/layerstone");
    }
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| !directory.is_empty())
        .map_or_else(|| root.join("run"), |directory| Path::new(&directory).join("layerstone"))
}

pub(super) fn this_boot() -> Result<Option<String>> {
    runtime::boot().map(Some)
}

pub(super) fn own_runtime_dir(store: &Store) -> Result<PathBuf> {
    runtime::directory(store, &store.runtime_root())
}

/// What a record is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// It is mounted; or another mount namespace has it.
    Live,
    /// Somebody unmounted it by hand, or its mount namespace is gone.
    Stale,
    /// The process that made it died on the way.
    Unfinished,
}

/// Only under the lock: whoever is still attaching holds it.
fn worth(record: &Record, runtime: &Runtime, mounts: &Mounts) -> Result<Worth> {
    let attachment = &record.attachment;
    if attachment.namespace != runtime.namespace {
        return Ok(if runtime::is_shown_elsewhere(&attachment.id, &attachment.namespace)? {
            Worth::Live
        } else {
            Worth::Stale
        });
    }
    Ok(match record.state {
        State::Attaching => Worth::Unfinished,
        State::Attached if mounts.of(&attachment.id).next().is_some() => Worth::Live,
        State::Attached => Worth::Stale,
    })
}

pub(super) fn attach(store: &Store, request: &Request<'_>, target: &Path) -> Result<Attachment> {
    if request.chain_ids.len() > MAX_LAYERS {
        return Err(Error::TooManyLayers { layers: request.chain_ids.len(), limit: MAX_LAYERS });
    }
    let target = target.canonicalize().doing("find", target)?;
    if !target.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::NotADirectory)).doing("mount on", target);
    }
    let shared = store.lock_shared()?;
    for chain in &request.chain_ids {
        if !store.has_layer(chain)? {
            return Err(Error::NoLayer(*chain));
        }
    }
    let _scratch = request.scratch.map(lock_scratch).transpose()?;
    let runtime = Runtime::lock(store)?;
    // It may have been removed while the lock was not ours.
    if let Some(scratch) = request.scratch
        && !scratch.upper().is_dir()
    {
        return Err(Error::NoScratch(scratch.name().to_owned()));
    }
    refuse_if_taken(&runtime, request, &target)?;

    let mut attachment = Attachment {
        id: runtime.new_id()?,
        target,
        what: request.what.clone(),
        chain_ids: request.chain_ids.clone(),
        raw: request.options.raw,
        mount_id: None,
        namespace: runtime.namespace.clone(),
    };
    runtime.write(State::Attaching, &attachment)?;
    failpoint("attach-recorded");
    match mount(store, &runtime, request, &attachment) {
        Ok(()) => {
            attachment.mount_id = call::mount_id(&attachment.target);
            runtime.write(State::Attached, &attachment)?;
            failpoint("attach-done");
            drop(shared);
            Ok(attachment)
        }
        Err(error) => {
            // The error that led here is the one to tell; what cannot be undone now is swept later.
            let _ = sweep_locked(&runtime);
            Err(error)
        }
    }
}

fn mount(store: &Store, runtime: &Runtime, request: &Request<'_>, attachment: &Attachment) -> Result<()> {
    let mut lowers = layer::mount_all(store, runtime, &request.chain_ids)?;
    failpoint("attach-layers-mounted");
    lowers.reverse();
    // An overlay needs two layers, the upper one included.
    let needed = if request.scratch.is_some() { 1 } else { 2 };
    let missing = usize::saturating_sub(needed, lowers.len());
    lowers.extend(runtime.empties().into_iter().take(missing));

    let subject = match &request.what {
        Attached::Image { name, .. } => format!("image {name}"),
        Attached::Scratch { name } => format!("scratch {name}"),
    };
    let directories = request.scratch.map(|scratch| (scratch.upper(), scratch.work()));
    let overlay = Overlay {
        id: &attachment.id,
        subject: &subject,
        target: &attachment.target,
        lowers: &lowers,
        writable: directories.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path())),
        volatile: request.options.volatile,
        mounting: &runtime.mounting(),
    };
    let view = overlay.view(request.subtree())?;
    failpoint("attach-overlay-made");
    call::show(view, &attachment.target)?;
    failpoint("attach-shown");
    Ok(())
}

/// One attachment a target, one a scratch. What is recorded but not there any more is in nobody's way.
fn refuse_if_taken(runtime: &Runtime, request: &Request<'_>, target: &Path) -> Result<()> {
    let records = runtime.records()?;
    let in_the_way = |record: &Record| {
        record.state == State::Attaching
            || record.attachment.target == target
            || matches!(&request.what, Attached::Scratch { .. } if record.attachment.what == request.what)
    };
    if records.iter().any(in_the_way) {
        sweep_locked(runtime)?;
        for Record { attachment, .. } in runtime.records()? {
            if attachment.target == target && attachment.namespace == runtime.namespace {
                return Err(Error::InUse { what: place(target), by: describe(&attachment) });
            }
            if request.scratch.is_some() && attachment.what == request.what {
                return Err(Error::InUse {
                    what: describe(&attachment),
                    by: format!("it is attached at `{}`", attachment.target.display()),
                });
            }
        }
    }
    match request.scratch {
        // The records cannot know what was mounted by hand or by another user.
        Some(scratch) => refuse_if_written(scratch, &Mounts::read()?),
        None => Ok(()),
    }
}

/// Keeps others from attaching or removing a scratch.
fn lock_scratch(scratch: &Scratch) -> Result<File> {
    let path = scratch.path().join("scratch.json");
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoScratch(scratch.name().to_owned()));
        }
        opened => opened.doing("open", &path)?,
    };
    file.lock().doing("lock", &path)?;
    Ok(file)
}

fn refuse_if_written(scratch: &Scratch, mounts: &Mounts) -> Result<()> {
    let upper = scratch.upper();
    let upper = upper.canonicalize().unwrap_or(upper);
    match mounts.writing_to(&upper).or_else(|| mounts.writing_to(&scratch.upper())) {
        Some(mount) => Err(Error::InUse {
            what: format!("scratch {}", scratch.name()),
            by: format!("the overlay at `{}` writes to it", mount.point.display()),
        }),
        None => Ok(()),
    }
}

fn place(target: &Path) -> String {
    format!("`{}`", target.display())
}

fn describe(attachment: &Attachment) -> String {
    match &attachment.what {
        Attached::Image { name, .. } => format!("image {name}"),
        Attached::Scratch { name } => format!("scratch {name}"),
    }
}

pub(super) fn detach(store: &Store, target: &Path) -> Result<Detached> {
    // A target that was removed cannot be resolved any more, but its record still has to go.
    let absolute = std::path::absolute(target).doing("find", target)?;
    let target = target.canonicalize().unwrap_or(absolute);
    let Some(runtime) = Runtime::lock_existing(store)? else { return Err(Error::NotAttached(target)) };
    let mounts = Mounts::read()?;
    let records = runtime.records()?;
    let attachment = find(&runtime, &records, &mounts, &target)?
        .ok_or_else(|| Error::NotAttached(target.clone()))?
        .clone();
    let here: Vec<&Mount> = mounts.of(&attachment.id).filter(|mount| mount.point == target).collect();
    // Another mount on top would be the one that goes.
    if let Some(over) = here
        .iter()
        .find_map(|mount| mounts.over(mount).filter(|over| over.attachment() != Some(attachment.id.as_str())))
    {
        let what = place(&target);
        let by = format!("another mount ({}) lies over it", over.source.to_string_lossy());
        return Err(Error::InUse { what, by });
    }
    let mut lazy = false;
    for _ in &here {
        lazy |= call::take_away(&target)? == Unmounted::Lazily;
    }
    let was_mounted = !here.is_empty();
    failpoint("detach-unmounted");
    let also_at: Vec<PathBuf> = mounts
        .of(&attachment.id)
        .map(|mount| mount.point.clone())
        .filter(|point| *point != target && !point.starts_with(&target))
        .collect();
    if also_at.is_empty() {
        runtime.remove(&attachment.id)?;
        failpoint("detach-unrecorded");
        // What the records of others are worth is not asked here: that is for a sweep, which takes longer.
        let others = records.into_iter().filter(|record| record.attachment.id != attachment.id);
        layer::sweep(&runtime, &others.flat_map(|record| record.attachment.chain_ids).collect())?;
    }
    Ok(Detached { attachment, was_mounted, lazy, also_at })
}

/// The attachment at a directory: as recorded, or where its overlay has been moved to.
fn find<'a>(
    runtime: &Runtime,
    records: &'a [Record],
    mounts: &Mounts,
    target: &Path,
) -> Result<Option<&'a Attachment>> {
    let mut foreign = None;
    let mut recorded = None;
    for Record { attachment, .. } in records {
        if attachment.namespace != runtime.namespace {
            if attachment.target == target
                && runtime::is_shown_elsewhere(&attachment.id, &attachment.namespace)?
            {
                foreign = Some(attachment);
            }
        } else if mounts.of(&attachment.id).any(|mount| mount.point == target) {
            return Ok(Some(attachment));
        } else if attachment.target == target {
            recorded = Some(attachment);
        }
    }
    match (recorded, foreign) {
        (None, Some(foreign)) => Err(Error::InUse {
            what: place(target),
            by: format!("{} in the mount namespace {}", describe(foreign), foreign.namespace),
        }),
        (recorded, _) => Ok(recorded),
    }
}

pub(super) fn attachments(store: &Store) -> Result<Vec<Attachment>> {
    let Some(runtime) = Runtime::lock_existing(store)? else { return Ok(Vec::new()) };
    let mounts = Mounts::read()?;
    let mut live = Vec::new();
    for record in runtime.records()? {
        if worth(&record, &runtime, &mounts)? == Worth::Live {
            live.push(record.attachment);
        }
    }
    live.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(live)
}

pub(super) fn sweep(store: &Store) -> Result<Vec<Attachment>> {
    match Runtime::lock_existing(store)? {
        Some(runtime) => sweep_locked(&runtime),
        None => Ok(Vec::new()),
    }
}

/// Removes what is left of attachments that are not there, then every mount of ours that no attachment needs.
fn sweep_locked(runtime: &Runtime) -> Result<Vec<Attachment>> {
    let mounts = Mounts::read()?;
    let mut gone = Vec::new();
    let mut used = BTreeSet::<ChainId>::new();
    for record in runtime.records()? {
        match worth(&record, runtime, &mounts)? {
            Worth::Unfinished if !undo(&record.attachment, &mounts)? => continue,
            Worth::Unfinished | Worth::Stale => {}
            Worth::Live => {
                used.extend(record.attachment.chain_ids);
                continue;
            }
        }
        runtime.remove(&record.attachment.id)?;
        gone.push(record.attachment);
    }
    let mounting = runtime.mounting();
    for entry in read_dir_or_empty(&mounting)? {
        layer::remove_point(&entry.path())?;
    }
    layer::sweep(runtime, &used)?;
    Ok(gone)
}

/// Takes away what a dead process has shown at its target: nobody was told of it, so nobody uses it on purpose. False
/// when another mount lies over it; then it stays for the next time.
fn undo(attachment: &Attachment, mounts: &Mounts) -> Result<bool> {
    for mount in mounts.of(&attachment.id).filter(|mount| mount.point == attachment.target) {
        if mounts.over(mount).is_some() {
            return Ok(false);
        }
        call::take_away(&mount.point)?;
    }
    Ok(true)
}

pub(super) fn while_detached<T>(
    store: &Store,
    scratch: &Scratch,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // Both held so that it is not attached meanwhile: where nothing ever was, there is no runtime directory to lock.
    let _scratch = lock_scratch(scratch)?;
    let runtime = Runtime::lock_existing(store)?;
    let mounts = Mounts::read()?;
    if let Some(runtime) = &runtime {
        for record in runtime.records()? {
            let this =
                matches!(&record.attachment.what, Attached::Scratch { name } if name == scratch.name());
            if this && worth(&record, runtime, &mounts)? == Worth::Live {
                return Err(Error::InUse {
                    what: format!("scratch {}", scratch.name()),
                    by: format!("it is attached at `{}`", record.attachment.target.display()),
                });
            }
        }
    }
    refuse_if_written(scratch, &mounts)?;
    work()
}
