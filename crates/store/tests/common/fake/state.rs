//! What the fake remembers, and what it refuses because of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layerstone_hcs::{HResult, LayerChain};
use layerstone_store::storage::{NewDisk, Result, ScratchForm};

use super::disk::{Content, FakeDisk, OpenDisks};
use super::{ALREADY_EXISTS, FILE_NOT_FOUND, INVALID_PARAMETER, PATH_NOT_FOUND, SHARING_VIOLATION, refuse};

/// What marks a folder as an initialized scratch.
const MARK: &str = "initialized";

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) calls: Vec<String>,
    pub(super) counted: usize,
    pub(super) failures: Vec<(usize, HResult)>,
    pub(super) function_failures: Vec<(&'static str, usize, HResult)>,
    pub(super) hide_volumes: bool,
    pub(super) pretend_to_destroy: bool,
    pub(super) copy_links: bool,
    pub(super) open: OpenDisks,
    /// Attached disks, and the volume of each.
    attached: BTreeMap<PathBuf, String>,
    /// Volumes and folders with a filter.
    filters: Vec<PathBuf>,
    volumes: u32,
}

impl State {
    pub(super) fn next_failure(&mut self, function: &str) -> Option<HResult> {
        let number = self.counted;
        self.counted += 1;
        let mut code = self.failures.iter().find(|(at, _)| *at == number).map(|(_, code)| *code);
        for (name, times, failure) in &mut self.function_failures {
            if *name == function && *times > 0 {
                *times -= 1;
                code = Some(*failure);
            }
        }
        code
    }

    pub(super) fn in_use(&self, root: &Path) -> Vec<String> {
        let shown = |path: &Path| match path.strip_prefix(root) {
            Ok(path) => path.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("/"),
            Err(_) => path.display().to_string(),
        };
        let open = self.open.lock().unwrap();
        let open = open.iter().map(|path| format!("open {}", shown(path)));
        let attached = self.attached.keys().map(|path| format!("attached {}", shown(path)));
        let filters = self.filters.iter().map(|path| format!("filter {}", shown(path)));
        open.chain(attached).chain(filters).collect()
    }

    fn handles(&self, path: &Path) -> usize {
        self.open.lock().unwrap().iter().filter(|open| *open == path).count()
    }

    pub(super) fn is_closed(&self, path: &Path) -> bool {
        self.handles(path) == 0 && !self.attached.contains_key(path)
    }

    pub(super) fn is_attached(&self, path: &Path) -> bool {
        self.attached.contains_key(path)
    }

    pub(super) fn create(&self, path: &Path, disk: &NewDisk) -> Result<FakeDisk> {
        let refuse = |code| refuse("create_disk", path, code);
        if path.exists() {
            return refuse(ALREADY_EXISTS);
        }
        if !path.parent().is_some_and(Path::is_dir) {
            return refuse(PATH_NOT_FOUND);
        }
        let content = match disk {
            NewDisk::Empty { size: 0 } => return refuse(INVALID_PARAMETER),
            NewDisk::Empty { size } => Content { size: *size, ..Content::default() },
            NewDisk::Differencing { parent } => {
                let Some(below) = Content::read(parent) else { return refuse(FILE_NOT_FOUND) };
                if !parent.is_absolute() || !self.is_closed(parent) {
                    return refuse(SHARING_VIOLATION);
                }
                Content { parent: Some(parent.clone()), ..below }
            }
        };
        content.write(path);
        Ok(FakeDisk::open(path, &self.open))
    }

    pub(super) fn open(&self, path: &Path) -> Result<FakeDisk> {
        match Content::read(path) {
            Some(_) => Ok(FakeDisk::open(path, &self.open)),
            None => refuse("open_disk", path, FILE_NOT_FOUND),
        }
    }

    pub(super) fn format(&self, path: &Path) -> Result<()> {
        let refuse = |code| refuse("format_writable_layer_vhd", path, code);
        let Some(content) = Content::read(path) else { return refuse(FILE_NOT_FOUND) };
        if self.handles(path) != 1 || self.is_attached(path) {
            return refuse(SHARING_VIOLATION);
        }
        if content.formatted {
            return refuse(INVALID_PARAMETER);
        }
        Content { formatted: true, ..content }.write(path);
        Ok(())
    }

    pub(super) fn attach(&mut self, path: &Path) -> Result<()> {
        if self.is_attached(path) {
            return refuse("attach_disk", path, SHARING_VIOLATION);
        }
        self.volumes += 1;
        let volume = format!(r"\\?\Volume{{{:08x}-0000-4000-8000-000000000000}}", self.volumes);
        self.attached.insert(path.to_path_buf(), volume);
        Ok(())
    }

    pub(super) fn detach(&mut self, path: &Path) -> Result<()> {
        let Some(volume) = self.attached.get(path) else {
            return refuse("detach_disk", path, PATH_NOT_FOUND);
        };
        if self.filters.contains(&PathBuf::from(format!("{volume}\\"))) {
            return refuse("detach_disk", path, SHARING_VIOLATION);
        }
        self.attached.remove(path);
        Ok(())
    }

    pub(super) fn volume_of(&self, path: &Path) -> Result<PathBuf> {
        match self.attached.get(path) {
            Some(_) if self.hide_volumes => Ok(PathBuf::new()),
            Some(volume) => Ok(volume.into()),
            None => refuse("layer_vhd_mount_path", path, PATH_NOT_FOUND),
        }
    }

    /// The disk of a volume that is written with a backslash at the end.
    fn disk_of(&self, volume: &Path) -> Option<PathBuf> {
        let volume = volume.to_str()?.strip_suffix('\\')?;
        self.attached.iter().find(|(_, name)| *name == volume).map(|(disk, _)| disk.clone())
    }

    pub(super) fn expand(&self, folder: &Path, size: u64) -> Result<()> {
        let disk = folder.join("sandbox.vhdx");
        let refuse = |code| refuse("expand_scratch", folder, code);
        let Some(content) = Content::read(&disk) else { return refuse(FILE_NOT_FOUND) };
        if !self.is_closed(&disk) {
            return refuse(SHARING_VIOLATION);
        }
        Content { size: content.size.max(size), ..content }.write(&disk);
        Ok(())
    }

    pub(super) fn initialize(&self, form: ScratchForm, layer: &Path, chain: &LayerChain) -> Result<()> {
        let refuse = |code| refuse("initialize_writable_layer", layer, code);
        if chain.is_empty() {
            return refuse(INVALID_PARAMETER);
        }
        if !chain.parents().iter().all(|parent| parent.path.is_dir()) {
            return refuse(PATH_NOT_FOUND);
        }
        if form == ScratchForm::Folder {
            if !layer.is_dir() {
                return refuse(PATH_NOT_FOUND);
            }
            if layer.read_dir().unwrap().next().is_some() {
                return refuse(ALREADY_EXISTS);
            }
            std::fs::write(layer.join(MARK), ids(chain)).unwrap();
            return Ok(());
        }
        let Some(disk) = self.disk_of(layer) else { return refuse(PATH_NOT_FOUND) };
        let content = Content::read(&disk).unwrap();
        if !content.formatted {
            return refuse(INVALID_PARAMETER);
        }
        if content.initialized.is_some() {
            return refuse(ALREADY_EXISTS);
        }
        Content { initialized: Some(ids(chain)), ..content }.write(&disk);
        Ok(())
    }

    pub(super) fn attach_filter(
        &mut self,
        form: ScratchForm,
        layer: &Path,
        chain: &LayerChain,
    ) -> Result<()> {
        let refuse = |code| refuse("attach_layer_storage_filter", layer, code);
        let initialized = match form {
            ScratchForm::Folder => std::fs::read_to_string(layer.join(MARK)).ok(),
            ScratchForm::Disk => {
                let Some(disk) = self.disk_of(layer) else { return refuse(PATH_NOT_FOUND) };
                if self.handles(&disk) != 0 {
                    return refuse(SHARING_VIOLATION);
                }
                Content::read(&disk).unwrap().initialized
            }
        };
        match initialized {
            None => refuse(PATH_NOT_FOUND),
            Some(made_for) if made_for != ids(chain) => refuse(INVALID_PARAMETER),
            Some(_) if self.filters.iter().any(|path| path == layer) => refuse(SHARING_VIOLATION),
            Some(_) => {
                self.filters.push(layer.to_path_buf());
                Ok(())
            }
        }
    }

    pub(super) fn detach_filter(&mut self, layer: &Path) -> Result<()> {
        match self.filters.iter().position(|path| path == layer) {
            Some(index) => {
                self.filters.remove(index);
                Ok(())
            }
            None => refuse("detach_layer_storage_filter", layer, PATH_NOT_FOUND),
        }
    }

    pub(super) fn destroy(&self, layer: &Path) -> Result<()> {
        let refuse = |code| refuse("destroy_layer", layer, code);
        if self.pretend_to_destroy {
            return Ok(());
        }
        if !layer.is_dir() {
            return refuse(PATH_NOT_FOUND);
        }
        let open = self.open.lock().unwrap();
        let used = open.iter().chain(self.attached.keys()).chain(&self.filters);
        if used.into_iter().any(|path| path.starts_with(layer)) {
            return refuse(SHARING_VIOLATION);
        }
        std::fs::remove_dir_all(layer).unwrap();
        Ok(())
    }
}

fn ids(chain: &LayerChain) -> String {
    let ids: Vec<_> = chain.parents().iter().map(|parent| parent.id.to_string()).collect();
    ids.join(",")
}
