//! What this host can do: each thing is tried, by itself, with files of its own.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use layerstone_erofs as erofs;

use super::super::Capability;
use super::call::{self, FileSystem};
use super::layer::{self, Backing};
use crate::error::{Error, IoContext, Result};

/// Tries everything that attaching needs.
pub(in super::super) fn probe(directory: &Path) -> Vec<Capability> {
    let mut found = vec![kernel()];
    if FileSystem::open("tmpfs", "nothing".into(), directory).is_err() {
        found.extend(untried());
        return found;
    }
    found.push(capability("privilege", true, Ok("mounts can be made".to_owned()), ""));
    for (name, hint) in [
        ("erofs", "load the module (`modprobe erofs`) or use a kernel with CONFIG_EROFS_FS"),
        ("overlay", "load the module (`modprobe overlay`) or use a kernel with CONFIG_OVERLAY_FS"),
    ] {
        let tried =
            FileSystem::open(name, "nothing".into(), directory).map(|_| "the kernel has it".to_owned());
        found.push(capability(name, true, tried, hint));
    }
    let folder = match tempfile::tempdir_in(directory).doing("create a directory in", directory) {
        Ok(folder) => folder,
        Err(error) => {
            found.push(capability("files", true, Err(error), "choose a directory that can be written to"));
            return found;
        }
    };
    found.extend(mounts(folder.path()));
    found
}

/// What can be told without the privilege to mount: nothing else can be tried.
fn untried() -> Vec<Capability> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let mut found = vec![Capability {
        name: "privilege",
        available: false,
        required: true,
        detail: "mounting needs CAP_SYS_ADMIN outside of a user namespace".to_owned(),
        hint: Some("run this as root; everything but attaching works without".to_owned()),
    }];
    for name in ["erofs", "overlay"] {
        let available = known.lines().any(|line| line.split_whitespace().last() == Some(name));
        found.push(Capability {
            name,
            available,
            required: false,
            detail: if available {
                "the kernel has it (not tried: that needs the privilege)".to_owned()
            } else {
                "not loaded (whether it can be, only root can try)".to_owned()
            },
            hint: None,
        });
    }
    found
}

/// Mounts a small image in every way, and an overlay over it.
fn mounts(folder: &Path) -> Vec<Capability> {
    let image = folder.join("image");
    if let Err(error) = write_image(&image) {
        return vec![capability("files", true, Err(error), "choose a directory that can be written to")];
    }
    let try_image = |backing| layer::mount_with(backing, "a small image", &image);
    let (file, loop_device) = (try_image(Backing::File), try_image(Backing::Loop));
    let by_file = file.is_ok();
    let overlay = file.as_ref().or(loop_device.as_ref()).ok().map(|lower| overlay(folder, lower));
    let told = |result: Result<OwnedFd>, what: &str| result.map(|_| what.to_owned());
    let mut found = vec![
        capability(
            "erofs-file",
            false,
            told(file, "image files are mounted as they are"),
            "not needed where loop devices work; Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE has it",
        ),
        capability(
            "loop",
            !by_file,
            told(loop_device, "image files can be mounted through loop devices"),
            "only needed where image files cannot be mounted as they are: `modprobe loop`; in a container pass \
             /dev/loop-control and /dev/loop* in",
        ),
    ];
    if let Some(overlay) = overlay {
        found.push(capability(
            "overlay-over-erofs",
            true,
            overlay,
            "put the store on an ordinary file system (ext4, xfs, btrfs): not on an overlay",
        ));
    }
    found
}

/// A writable overlay over a mounted image, and whether it takes its layers one by one.
fn overlay(folder: &Path, lower: &OwnedFd) -> Result<String> {
    let point = folder.join("lower");
    for name in ["lower", "upper", "work"] {
        let path = folder.join(name);
        fs::create_dir(&path).doing("create", &path)?;
    }
    call::show(lower, &point)?;
    let tried = try_overlay(folder, &point);
    call::take_away(&point)?;
    tried
}

fn try_overlay(folder: &Path, lower: &Path) -> Result<String> {
    let overlay = FileSystem::open("overlay", "a small overlay".into(), folder)?;
    let path = |path: &Path| call::OptionPath::new(path);
    let (lower, upper, work) = (path(lower)?, path(&folder.join("upper"))?, path(&folder.join("work"))?);
    let one_by_one = overlay.try_set("lowerdir+", lower.as_bytes()).is_ok();
    if !one_by_one {
        overlay.set("lowerdir", lower.as_bytes())?;
    }
    overlay.set("upperdir", upper.as_bytes())?;
    overlay.set("workdir", work.as_bytes())?;
    overlay.try_create().map_err(|errno| overlay.failed("create", errno))?;
    Ok(if one_by_one {
        "layers can be put over each other, 500 at most"
    } else {
        "layers can be put over each other, about 400 at most (Linux 6.7 takes 500)"
    }
    .to_owned())
}

fn capability(name: &'static str, required: bool, tried: Result<String>, hint: &str) -> Capability {
    let available = tried.is_ok();
    let detail = tried.unwrap_or_else(|error| with_cause(&error));
    let hint = (!available).then(|| hint.to_owned());
    Capability { name, available, required, detail, hint }
}

fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn kernel() -> Capability {
    let uname = rustix::system::uname();
    let detail = format!("Linux {}", uname.release().to_string_lossy());
    Capability { name: "kernel", available: true, required: false, detail, hint: None }
}

/// An image with nothing but a root directory.
fn write_image(path: &Path) -> Result<()> {
    let failed = |source| Error::Io {
        doing: "write",
        path: path.to_path_buf(),
        source: std::io::Error::other(source),
    };
    let writer = erofs::ImageWriter::new(Vec::new(), std::io::Cursor::new(Vec::new()));
    let mut tree = erofs::Tree::default();
    tree.push(erofs::Node {
        mode: 0o040_755,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nsec: 0,
        xattrs: Vec::new(),
        content: erofs::Content::Directory(Vec::new()),
    });
    let finished = writer.finish(tree, erofs::FinishOptions::new([0; 16])).map_err(failed)?;
    fs::write(path, finished.output).doing("write", path)
}
