//! The program that shims run: a copy of this one that no container can write to.
//!
//! For a moment a container's first process runs the shim's program, before it executes its own. Through `/proc/PID/exe` of that
//! moment a container could write to the program's file, and with it take over the host (CVE-2019-5736). So shims run from a
//! copy, and see it where nothing can be written: through an overlay that has no upper layer, and is mounted nowhere. One copy in the
//! runtime directory serves all shims. It is a copy, and not the program's own file below the overlay, because through an
//! overlay that file would not count as busy: copying another version over it would change the program of shims that run.
//!
//! Where the kernel makes no such overlay, the copy is a sealed memory file, shared by all shims that run at the same time.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    FsWord, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals,
    fstatfs, fstatvfs, memfd_create, open, openat,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::agent::private_directory;
use super::files::if_there;
use super::process;
use crate::error::{Error, IoContext as _, Result};
use crate::model::Identity;

/// `OVERLAYFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
const OVERLAY: FsWord = 0x794c_7630;

/// What keeps a memory file as it is.
fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// A copy of this program that cannot be written to.
#[derive(Debug)]
pub(crate) struct Sealed(File);

impl Sealed {
    /// The copy that is in `directory`, which is of this boot and belongs to this module; a new one if there is none of this program. `shims` tells
    /// the processes that may run from a memory file with it.
    pub(crate) fn get(directory: &Path, shims: impl FnOnce() -> Result<Vec<Identity>>) -> Result<Self> {
        let path = Path::new("/proc/self/exe");
        let mut own = File::open(path).doing("open", path)?;
        if is_sealed(&own) {
            return Ok(Sealed(own));
        }
        let name = name_of(&own)?;
        let copies = directory.join("copies");
        let copy = copies.join(&name);
        if !copy.try_exists().doing("look for", &copy)? {
            keep_copy(&mut own, directory, &name)?;
        }
        if let Ok(shown) = read_only(&copies, &directory.join("nothing"), &name) {
            return Ok(Sealed(shown));
        }
        for shim in shims()? {
            if let Some(copy) = of_process(&shim, &name)? {
                return Ok(copy);
            }
        }
        Self::in_memory(own, &name)
    }

    fn in_memory(mut own: File, name: &str) -> Result<Self> {
        let failed = |doing| {
            move |errno: rustix::io::Errno| Error::Io {
                doing,
                path: "a memory file".into(),
                source: errno.into(),
            }
        };
        let copy =
            memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(failed("create"))?;
        let mut copy = File::from(copy);
        copy_loaded(&mut own, &mut copy)?;
        fcntl_add_seals(&copy, seals()).map_err(failed("seal"))?;
        // One that was opened for writing cannot be executed.
        let path = descriptor_path(&copy);
        Ok(Sealed(File::open(&path).doing("open", path)?))
    }

    /// Where it can be executed from, in this process and in one that it starts.
    pub(crate) fn path(&self) -> PathBuf {
        descriptor_path(&self.0)
    }
}

/// Makes the copy, and removes those of other programs and boots: who runs from them keeps them.
fn keep_copy(own: &mut File, directory: &Path, name: &str) -> Result<()> {
    let all = directory.parent().unwrap_or(directory);
    private_directory(all)?;
    // Many containers may be the first at once.
    let lock = File::open(all).doing("open", all)?;
    lock.lock().doing("lock", all)?;
    let copies = &directory.join("copies");
    let path = copies.join(name);
    if path.try_exists().doing("look for", &path)? {
        return Ok(());
    }
    for entry in fs::read_dir(all).doing("list", all)? {
        let path = entry.doing("list", all)?.path();
        if_there(fs::remove_dir_all(&path)).doing("remove", path)?;
    }
    private_directory(copies)?;
    let mut copy = tempfile::NamedTempFile::new_in(copies).doing("create a file in", copies)?;
    copy_loaded(own, copy.as_file_mut())?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o500);
    copy.as_file().set_permissions(executable).doing("set the mode of", copy.path())?;
    copy.persist(&path).map(drop).map_err(|error| error.error).doing("write", path)
}

/// Opens a file of `directory` through an overlay of it that cannot be written to: it has no upper layer. `nothing` is an empty
/// directory, because an overlay needs two.
fn read_only(directory: &Path, nothing: &Path, name: &str) -> Result<File> {
    private_directory(nothing)?;
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).doing("make", "an overlay")?;
    let opened = |path: &Path| -> Result<OwnedFd> {
        open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing("open", path)
    };
    let (above, below) = (opened(directory)?, opened(nothing)?);
    // Paths may be too long for an option, or have characters that it treats specially.
    let layers = format!("/proc/self/fd/{}:/proc/self/fd/{}", above.as_raw_fd(), below.as_raw_fd());
    fsconfig_set_string(overlay.as_fd(), "source", "layerstone-program").doing("make", "an overlay")?;
    fsconfig_set_string(overlay.as_fd(), "lowerdir", layers).doing("make", "an overlay")?;
    fsconfig_create(overlay.as_fd()).doing("make", "an overlay")?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).doing("make", "an overlay")?;
    let file = openat(&mount, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing("open", name)?;
    let file = File::from(file);
    if is_sealed(&file) {
        Ok(file)
    } else {
        Err(Error::Unsupported { doing: "seal a program", missing: "read-only overlays".to_owned() })
    }
}

/// Copies what is loaded when the program is executed.
fn copy_loaded(own: &mut File, copy: &mut File) -> Result<()> {
    let loaded = loaded_part(own).doing("read", "/proc/self/exe")?;
    own.seek(SeekFrom::Start(0)).doing("read", "/proc/self/exe")?;
    std::io::copy(&mut own.take(loaded), copy).doing("copy the program to", "its copy")?;
    Ok(())
}

/// How much of a program is there to be executed: up to the end of its last segment. What follows are symbols and debugging
/// information, most of the file, which would only take memory. Of a file of another form, everything.
fn loaded_part(program: &mut File) -> std::io::Result<u64> {
    // ELF-64 of little-endian machines (System V ABI, "ELF Header" and "Program Header").
    let whole = program.metadata()?.len();
    let mut header = [0; 64];
    program.seek(SeekFrom::Start(0))?;
    if program.read_exact(&mut header).is_err() || header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(whole);
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (table, size, count) = (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    let mut end = table.saturating_add(size * count);
    for at in 0..count {
        let mut segment = [0; 56];
        program.seek(SeekFrom::Start(table.saturating_add(at * size)))?;
        if size < 56 || program.read_exact(&mut segment).is_err() {
            return Ok(whole);
        }
        end = end.max(number(&segment[8..16]).saturating_add(number(&segment[32..40])));
    }
    Ok(end.min(whole))
}

fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Nobody can write to the file, on whatever way it is reached from here: it is sealed, or of an overlay without an upper layer.
fn is_sealed(file: &File) -> bool {
    fcntl_get_seals(file).is_ok_and(|found| found.contains(seals()))
        || fstatfs(file).is_ok_and(|found| found.f_type == OVERLAY)
            && fstatvfs(file).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Says which file a copy is of. A file that was replaced or changed has another name.
fn name_of(program: &File) -> Result<String> {
    let metadata = program.metadata().doing("look at", "/proc/self/exe")?;
    Ok(format!(
        "layerstone-{:x}-{:x}-{:x}-{:x}.{:x}",
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec()
    ))
}

fn of_process(shim: &Identity, name: &str) -> Result<Option<Sealed>> {
    // The process is looked at once more after its program was opened: then it was its program.
    let path = PathBuf::from(format!("/proc/{}/exe", shim.pid));
    let Ok(target) = std::fs::read_link(&path) else { return Ok(None) };
    if target.as_os_str() != format!("/memfd:{name} (deleted)").as_str() {
        return Ok(None);
    }
    let Ok(file) = File::open(&path) else { return Ok(None) };
    Ok((process::is_alive(shim)? && is_sealed(&file)).then_some(Sealed(file)))
}
