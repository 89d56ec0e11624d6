//! Layer archives, written by the crate `tar`.

use tar::{Builder, EntryType, Header};

/// The modification time of everything that does not say another.
pub(crate) const THEN: u64 = 1_600_000_000;

/// An archive being made.
pub(crate) struct LayerTar(Builder<Vec<u8>>);

impl LayerTar {
    pub(crate) fn new() -> Self {
        LayerTar(Builder::new(Vec::new()))
    }

    /// The archive of the files of a base layer, but for those of a utility VM.
    pub(crate) fn base() -> Self {
        let mut tar = Self::new().dir("Files").dir("Files/Windows").dir("Files/Windows/System32");
        tar = tar.dir("Files/Windows/System32/config");
        for hive in ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"] {
            tar = tar.file(&format!("Files/Windows/System32/config/{hive}"), hive);
        }
        tar
    }

    /// The archive of a layer that has parents: `Files` and the five delta hives.
    pub(crate) fn layer() -> Self {
        let mut tar = Self::new().dir("Files").dir("Hives");
        for hive in ["DefaultUser", "Sam", "Security", "Software", "System"] {
            tar = tar.file(&format!("Hives/{hive}_Delta"), hive);
        }
        tar
    }

    /// The directories of a utility VM's boot files.
    pub(crate) fn boot_directories(mut self) -> Self {
        for directory in ["", "/Files", "/Files/EFI", "/Files/EFI/Microsoft", "/Files/EFI/Microsoft/Boot"] {
            self = self.dir(&format!("UtilityVM{directory}"));
        }
        self
    }

    fn add(mut self, path: &str, kind: EntryType, target: &str, content: &str, mtime: u64) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(mtime);
        if !target.is_empty() {
            header.set_link_name(target).unwrap();
        }
        // As it is: on Windows the crate would turn backslashes into slashes.
        header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.add(&format!("{path}/"), EntryType::Directory, "", "", THEN)
    }

    pub(crate) fn dir_of(self, path: &str, mtime: u64) -> Self {
        self.add(&format!("{path}/"), EntryType::Directory, "", "", mtime)
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.add(path, EntryType::Regular, "", content, THEN)
    }

    /// An empty file whose name removes another.
    pub(crate) fn whiteout(self, path: &str) -> Self {
        let (directory, name) = path.rsplit_once('/').unwrap();
        self.file(&format!("{directory}/.wh.{name}"), "")
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.add(path, EntryType::Link, target, "", THEN)
    }

    #[cfg(unix)]
    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.add(path, EntryType::Symlink, target, "", THEN)
    }

    pub(crate) fn fifo(self, path: &str) -> Self {
        self.add(path, EntryType::Fifo, "", "", THEN)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}
