//! Layer storage as Windows would have it, on files of a temporary directory.
//!
//! It records every call, refuses what Windows refuses, and fails where it is told to. Disks are text files that say
//! what is on them, so that a copy of a formatted disk is formatted; what is open or attached is remembered here.

#![allow(dead_code, reason = "no test needs all of it")]

mod disk;
mod files;
mod layer;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use layerstone_hcs::{
    ExportLayerOptions, Guid, HResult, LayerChain, OsLayerOptions, OsLayerType, WritableLayerOptions,
};
use layerstone_store::storage::{
    BaseOs, Error, InPlaceWriter, LayerForm, LayerStorage, NewDisk, PlainFiles, Result, STAGING_PREFIX,
    ScratchForm,
};
use tempfile::TempDir;

pub(crate) use disk::FakeDisk;
use state::State;

pub(crate) const FILE_NOT_FOUND: HResult = HResult(0x8007_0002);
pub(crate) const PATH_NOT_FOUND: HResult = HResult(0x8007_0003);
pub(crate) const ACCESS_DENIED: HResult = HResult(0x8007_0005);
pub(crate) const NOT_READY: HResult = HResult(0x8007_0015);
pub(crate) const GEN_FAILURE: HResult = HResult(0x8007_001F);
pub(crate) const SHARING_VIOLATION: HResult = HResult(0x8007_0020);
pub(crate) const INVALID_PARAMETER: HResult = HResult(0x8007_0057);
pub(crate) const ALREADY_EXISTS: HResult = HResult(0x8007_00B7);
pub(crate) const DO_NOT_DETACH: HResult = HResult(0x801F_0010);

/// A storage to try orders of calls on.
#[derive(Debug)]
pub(crate) struct Fake {
    /// It goes with this.
    _dir: TempDir,
    root: PathBuf,
    scratch_form: ScratchForm,
    layer_form: LayerForm,
    state: Mutex<State>,
}

impl Fake {
    /// As Windows: scratches on disks, layers of files.
    pub(crate) fn windows() -> Self {
        Self::new(ScratchForm::Disk, LayerForm::Files)
    }

    /// Scratches in folders, packed layers.
    pub(crate) fn folders() -> Self {
        Self::new(ScratchForm::Folder, LayerForm::Packed)
    }

    fn new(scratch_form: ScratchForm, layer_form: LayerForm) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // On Windows the form that the imports make of every path.
        let root = std::fs::canonicalize(dir.path()).unwrap();
        Fake { _dir: dir, root, scratch_form, layer_form, state: Mutex::default() }
    }

    /// The directory that everything is in. Paths in [`Self::calls`] are below it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below [`Self::root`].
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        path.split('/').fold(self.root.clone(), |at, name| at.join(name))
    }

    /// The chain of these folders.
    pub(crate) fn parents(&self, folders: &[&str]) -> LayerChain {
        self.chain(&folders.iter().map(|folder| self.path(folder)).collect::<Vec<_>>()).unwrap()
    }

    /// What was called since this was called last, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// Makes the call with this number, from now and from 0, fail.
    pub(crate) fn fail_call(&self, number: usize, code: HResult) {
        self.state.lock().unwrap().failures.push((number, code));
    }

    /// Makes the next `times` calls of one function fail, leaving others alone.
    pub(crate) fn fail_function(&self, function: &'static str, times: usize, code: HResult) {
        self.state.lock().unwrap().function_failures.push((function, times, code));
    }

    /// Forgets failures that have not happened, and starts counting calls again.
    pub(crate) fn no_failures(&self) {
        let mut state = self.state.lock().unwrap();
        state.failures.clear();
        state.function_failures.clear();
        state.counted = 0;
    }

    /// Attached disks have no volume path, as without administrator rights.
    pub(crate) fn hide_volumes(&self) {
        self.state.lock().unwrap().hide_volumes = true;
    }

    /// `destroy_layer` reports success and does nothing.
    pub(crate) fn pretend_to_destroy(&self) {
        self.state.lock().unwrap().pretend_to_destroy = true;
    }

    /// Hard links of real files become copies, without a word.
    pub(crate) fn copy_links(&self) {
        self.state.lock().unwrap().copy_links = true;
    }

    /// What is attached or open, in words. Empty when nothing is.
    pub(crate) fn in_use(&self) -> Vec<String> {
        self.state.lock().unwrap().in_use(self.root())
    }

    /// Every path below a folder, sorted; directories end in `/`. Empty when the folder is missing.
    pub(crate) fn tree(&self, folder: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.path(folder), "", &mut found);
        found.sort();
        found
    }

    /// Records a call and lets it fail when it is its turn.
    fn call(&self, function: &'static str, subject: &Path, rest: &str) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        let shown = self.shown(subject);
        let rest = if rest.is_empty() { String::new() } else { format!(" {rest}") };
        state.calls.push(format!("{function} {shown}{rest}"));
        match state.next_failure(function) {
            Some(code) => refuse(function, subject, code),
            None => Ok(()),
        }
    }

    fn shown(&self, path: &Path) -> String {
        let Ok(path) = path.strip_prefix(self.root()) else { return path.display().to_string() };
        let shown = |name: &std::ffi::OsStr| match name.to_string_lossy() {
            name if name.starts_with(STAGING_PREFIX) => "STAGING".to_owned(),
            name => name.into_owned(),
        };
        path.iter().map(shown).collect::<Vec<_>>().join("/")
    }

    fn shown_chain(&self, chain: &LayerChain) -> String {
        let parents: Vec<_> = chain.parents().iter().map(|parent| self.shown(&parent.path)).collect();
        format!("over [{}]", parents.join(", "))
    }
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{name}/"), found);
            found.push(format!("{name}/"));
        } else {
            found.push(name);
        }
    }
}

/// What Windows would return.
fn refuse<T>(function: &'static str, subject: &Path, code: HResult) -> Result<T> {
    Err(Error::Hcs(layerstone_hcs::Error::Call { function, subject: subject.to_path_buf(), code }))
}

impl LayerStorage for Fake {
    type Disk = FakeDisk;

    fn scratch_form(&self) -> ScratchForm {
        self.scratch_form
    }

    fn layer_form(&self) -> LayerForm {
        self.layer_form
    }

    fn layer_id(&self, layer: &Path) -> Result<Guid> {
        match layer.file_name() {
            Some(name) => Ok(Guid::new_v5(&Guid::NAMESPACE_OID, name.as_encoded_bytes())),
            None => refuse("layer_id", layer, INVALID_PARAMETER),
        }
    }

    fn import_layer(&self, layer: &Path, source: &Path, chain: &LayerChain) -> Result<()> {
        let rest = format!("from {} {}", self.shown(source), self.shown_chain(chain));
        self.call("import_layer", layer, &rest)?;
        layer::import(layer, source, chain)
    }

    fn import_archive(
        &self,
        layer: &Path,
        archive: &mut (dyn std::io::Read + Send),
        chain: &LayerChain,
    ) -> Result<()> {
        self.call("import_archive", layer, &self.shown_chain(chain))?;
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).unwrap();
        std::fs::create_dir(layer).unwrap();
        std::fs::write(layer.join("packed"), bytes).unwrap();
        Ok(())
    }

    fn in_place_writer(&self) -> Box<dyn InPlaceWriter + '_> {
        Box::new(files::FakeFiles { fake: self, plain: PlainFiles::default(), open: None })
    }

    fn export_layer(
        &self,
        layer: &Path,
        destination: &Path,
        chain: &LayerChain,
        options: &ExportLayerOptions,
    ) -> Result<()> {
        let rest = format!(
            "to {} {} {}",
            self.shown(destination),
            self.shown_chain(chain),
            options.is_writable_layer
        );
        self.call("export_layer", layer, &rest)?;
        refuse("export_layer", layer, HResult(0x8000_4001))
    }

    fn destroy_layer(&self, layer: &Path) -> Result<()> {
        self.call("destroy_layer", layer, "")?;
        self.state.lock().unwrap().destroy(layer)
    }

    fn setup_base_os_layer(
        &self,
        layer: &Path,
        target: BaseOs<'_, FakeDisk>,
        options: &OsLayerOptions,
    ) -> Result<()> {
        let (kind, disk) = match &target {
            BaseOs::Container => (OsLayerType::Container, String::new()),
            BaseOs::Vm(disk) => (OsLayerType::Vm, format!(" on {}", self.shown(disk.path()))),
        };
        self.call("setup_base_os_layer", layer, &format!("{kind:?}{disk}"))?;
        assert_eq!(options.layer_type, Some(kind), "the document has to say the same as the handle");
        let state = self.state.lock().unwrap();
        match target {
            BaseOs::Container => layer::setup_container(&state, layer),
            BaseOs::Vm(disk) => layer::setup_vm(&state, layer, disk),
        }
    }

    fn setup_base_os_volume(&self, layer: &Path, volume: &Path, _: &OsLayerOptions) -> Result<()> {
        self.call("setup_base_os_volume", layer, &format!("on {}", self.shown(volume)))?;
        refuse("setup_base_os_volume", layer, HResult(0x8000_4001))
    }

    fn initialize_writable_layer(
        &self,
        layer: &Path,
        chain: &LayerChain,
        _: &WritableLayerOptions,
    ) -> Result<()> {
        self.call("initialize_writable_layer", layer, &self.shown_chain(chain))?;
        self.state.lock().unwrap().initialize(self.scratch_form, layer, chain)
    }

    fn attach_layer_storage_filter(&self, layer: &Path, chain: &LayerChain) -> Result<()> {
        self.call("attach_layer_storage_filter", layer, &self.shown_chain(chain))?;
        self.state.lock().unwrap().attach_filter(self.scratch_form, layer, chain)
    }

    fn detach_layer_storage_filter(&self, layer: &Path) -> Result<()> {
        self.call("detach_layer_storage_filter", layer, "")?;
        self.state.lock().unwrap().detach_filter(layer)
    }

    fn format_writable_layer_vhd(&self, disk: &FakeDisk) -> Result<()> {
        self.call("format_writable_layer_vhd", disk.path(), "")?;
        self.state.lock().unwrap().format(disk.path())
    }

    fn layer_vhd_mount_path(&self, disk: &FakeDisk) -> Result<PathBuf> {
        self.call("layer_vhd_mount_path", disk.path(), "")?;
        self.state.lock().unwrap().volume_of(disk.path())
    }

    fn create_disk(&self, path: &Path, disk: &NewDisk) -> Result<FakeDisk> {
        let rest = match disk {
            NewDisk::Empty { size } => format!("empty {size}"),
            NewDisk::Differencing { parent } => format!("on {}", self.shown(parent)),
        };
        self.call("create_disk", path, &rest)?;
        self.state.lock().unwrap().create(path, disk)
    }

    fn open_disk(&self, path: &Path) -> Result<FakeDisk> {
        self.call("open_disk", path, "")?;
        self.state.lock().unwrap().open(path)
    }

    fn attach_disk(&self, disk: &FakeDisk) -> Result<()> {
        self.call("attach_disk", disk.path(), "")?;
        self.state.lock().unwrap().attach(disk.path())
    }

    fn detach_disk(&self, disk: &FakeDisk) -> Result<()> {
        self.call("detach_disk", disk.path(), "")?;
        self.state.lock().unwrap().detach(disk.path())
    }

    fn close_disk(&self, disk: FakeDisk) -> Result<()> {
        self.call("close_disk", disk.path(), "")
    }

    fn expand_scratch(&self, folder: &Path, size: u64) -> Result<()> {
        self.call("expand_scratch", folder, &size.to_string())?;
        self.state.lock().unwrap().expand(folder, size)
    }

    fn grant_vm_group_access(&self, path: &Path) -> Result<()> {
        self.call("grant_vm_group_access", path, "")?;
        if path.is_file() { Ok(()) } else { refuse("grant_vm_group_access", path, FILE_NOT_FOUND) }
    }
}
