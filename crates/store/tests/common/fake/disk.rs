//! Disks of the fake: a text file each.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

/// What is open; shared with the handles, since dropping one closes it.
pub(super) type OpenDisks = Arc<Mutex<Vec<PathBuf>>>;

/// An open disk.
pub(crate) struct FakeDisk {
    path: PathBuf,
    open: Weak<Mutex<Vec<PathBuf>>>,
}

impl FakeDisk {
    pub(super) fn open(path: &Path, open: &OpenDisks) -> Self {
        open.lock().unwrap().push(path.to_path_buf());
        FakeDisk { path: path.to_path_buf(), open: Arc::downgrade(open) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FakeDisk {
    fn drop(&mut self) {
        if let Some(open) = self.open.upgrade() {
            let mut open = open.lock().unwrap();
            let index = open.iter().position(|path| *path == self.path).unwrap();
            open.remove(index);
        }
    }
}

impl fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeDisk({})", self.path.display())
    }
}

/// What a disk's file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) formatted: bool,
    pub(super) parent: Option<PathBuf>,
    /// The ids of the layers that a scratch on it was initialized for.
    pub(super) initialized: Option<String>,
}

impl Content {
    /// `None` when the file is missing or no disk.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut lines = text.lines();
        (lines.next()? == "fake disk").then_some(())?;
        let mut content = Content::default();
        for line in lines {
            match line.split_once('=')? {
                ("size", size) => content.size = size.parse().ok()?,
                ("formatted", formatted) => content.formatted = formatted.parse().ok()?,
                ("parent", parent) => content.parent = Some(parent.into()),
                ("initialized", ids) => content.initialized = Some(ids.into()),
                _ => return None,
            }
        }
        Some(content)
    }

    pub(super) fn write(&self, path: &Path) {
        use std::fmt::Write as _;
        let mut text = format!("fake disk\nsize={}\nformatted={}\n", self.size, self.formatted);
        if let Some(parent) = &self.parent {
            writeln!(text, "parent={}", parent.display()).unwrap();
        }
        if let Some(ids) = &self.initialized {
            writeln!(text, "initialized={ids}").unwrap();
        }
        std::fs::write(path, text).unwrap();
    }
}
