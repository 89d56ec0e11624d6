//! Real files of the fake's layers: each operation is a call that is recorded and can fail.

use std::path::Path;

use layerstone_layer::Report;
use layerstone_layer::tar::Segment;
use layerstone_nt::BasicInfo;
use layerstone_nt::tar::WindowsMetadata;
use layerstone_store::storage::{InPlaceWriter, NewFile, PlainFiles, Result};

use super::Fake;

/// Writes as [`PlainFiles`] does.
pub(super) struct FakeFiles<'a> {
    pub(super) fake: &'a Fake,
    pub(super) plain: PlainFiles,
    pub(super) open: Option<std::path::PathBuf>,
}

impl InPlaceWriter for FakeFiles<'_> {
    fn create(&mut self, path: &Path, kind: NewFile<'_>, metadata: &WindowsMetadata) -> Result<()> {
        let shown = match kind {
            NewFile::Directory => "directory",
            NewFile::File => "file",
            NewFile::Link { .. } => "link",
        };
        self.fake.call("create", path, shown)?;
        self.open = Some(path.to_path_buf());
        self.plain.create(path, kind, metadata)
    }

    fn describe(&mut self, directory: &Path, metadata: &WindowsMetadata) -> Result<()> {
        self.fake.call("describe", directory, "")?;
        self.open = Some(directory.to_path_buf());
        self.plain.describe(directory, metadata)
    }

    fn begin_data(&mut self, size: u64, segments: Option<&[Segment]>) -> Result<()> {
        self.plain.begin_data(size, segments)
    }

    fn begin_stream(&mut self, name: &[u8], size: u64) -> Result<()> {
        self.plain.begin_stream(name, size)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(open) = &self.open {
            self.fake.call("data", open, &format!("{} bytes", bytes.len()))?;
        }
        self.plain.data(bytes)
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            self.fake.call("close", &open, "")?;
        }
        self.plain.close()
    }

    fn abandon(&mut self) {
        self.open = None;
        self.plain.abandon();
    }

    fn hard_link(&mut self, target: &Path, name: &Path) -> Result<()> {
        self.fake.call("hard_link", name, &format!("to {}", self.fake.shown(target)))?;
        if self.fake.state.lock().unwrap().copy_links {
            std::fs::copy(target, name).unwrap();
            return Ok(());
        }
        self.plain.hard_link(target, name)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.fake.call("copy", to, &format!("of {}", self.fake.shown(from)))?;
        self.plain.copy(from, to)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.fake.call("rename", to, &format!("from {}", self.fake.shown(from)))?;
        self.plain.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        self.fake.call("remove", path, "")?;
        self.plain.remove(path)
    }

    fn basic_info(&self, path: &Path) -> Result<BasicInfo> {
        self.plain.basic_info(path)
    }

    fn set_basic_info(&mut self, path: &Path, basic: &BasicInfo) -> Result<()> {
        self.fake.call("set_basic_info", path, "")?;
        self.plain.set_basic_info(path, basic)
    }

    fn take_report(&mut self) -> Report {
        self.plain.take_report()
    }
}
