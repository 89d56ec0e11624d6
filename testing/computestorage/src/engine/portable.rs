//! The engine that does what is asked for: the project's portable layer storage.
//!
//! Scratches of Windows are volumes on virtual disks, and those of the portable storage are folders. The volume of a disk is
//! therefore a folder here, named by the volume's GUID.

use std::path::{Path, PathBuf};
use std::{fs, io};

use layerstone_hcs::{ErrorKind, ExportLayerOptions, Guid, LayerChain, LayerData, WritableLayerOptions};
use layerstone_store::storage::{Error, LayerStorage as _, Portable as Storage, SANDBOX_DISK};

use crate::code::Code;
use crate::compute::document::Layer;
use crate::disk;
use crate::engine::{Engine, Operation, files};

/// `ERROR_NOT_SUPPORTED`
const NOT_SUPPORTED: Code = Code::win32(50);
/// What others have measured that starting a container without the filter returns.
const NO_FILTER: Code = Code::win32(0x287);
/// How the path of a volume begins.
const VOLUME: &str = r"\\?\Volume{";

/// The portable storage, and where it keeps what is attached.
#[derive(Debug)]
pub(crate) struct Portable {
    storage: Storage,
    volumes: PathBuf,
}

impl Portable {
    pub(crate) fn new() -> Self {
        let directory = std::env::temp_dir().join("layerstone-standin");
        Portable {
            storage: Storage::new().with_runtime_dir(directory.join("run")).without_kernel_views(),
            volumes: directory.join("volumes"),
        }
    }

    /// The folder that a path of the client means.
    fn folder(&self, path: PathBuf) -> PathBuf {
        let name = path.to_str().and_then(|text| text.strip_prefix(VOLUME));
        match name.and_then(|rest| rest.trim_end_matches('\\').strip_suffix('}')) {
            Some(guid) => self.volumes.join(guid),
            None => path,
        }
    }
}

impl Portable {
    /// Removes a layer; or a scratch with its disk, and what is on that.
    fn destroy(&self, folder: PathBuf) -> Result<(), Code> {
        let header = match disk::look(&folder.join(SANDBOX_DISK)) {
            Ok(header) => header,
            Err(_) => return self.storage.destroy_layer(&folder).map_err(told),
        };
        if header.attached != disk::Attached::No {
            return Err(Code::SHARING_VIOLATION);
        }
        let volume = self.volumes.join(header.volume.to_string());
        if volume.exists() {
            self.storage.destroy_layer(&volume).map_err(told)?;
        }
        Ok(fs::remove_dir_all(folder)?)
    }
}

/// The parents of a document.
fn chain(layer_data: &str) -> Result<LayerChain, Code> {
    let data: LayerData = serde_json::from_str(layer_data).map_err(|_| Code::INVALID_JSON)?;
    let mut chain = LayerChain::base();
    for layer in data.layers {
        let id = Guid::parse_str(&layer.id).map_err(|_| Code::INVALID_JSON)?;
        chain.push(id, layer.path);
    }
    Ok(chain)
}

fn told(error: Error) -> Code {
    Code(error.hresult().0)
}

impl Engine for Portable {
    fn perform(&self, operation: Operation) -> Result<(), Code> {
        use Operation as Op;
        let storage = &self.storage;
        match operation {
            Op::HcsImportLayer { layer, source, layer_data } => {
                storage.import_layer(&layer, &source, &chain(&layer_data)?).map_err(told)?;
                return Ok(files::lay_out(&source, &layer)?);
            }
            Op::HcsSetupBaseOSLayer { layer, has_disk: false, .. } => return files::set_up_base(&layer),
            Op::HcsExportLayer { layer, destination, layer_data, options } => {
                let options = match options.as_deref() {
                    None | Some("") => ExportLayerOptions::default(),
                    Some(text) => serde_json::from_str(text).map_err(|_| Code::INVALID_JSON)?,
                };
                storage.export_layer(&self.folder(layer), &destination, &chain(&layer_data)?, &options)
            }
            Op::HcsDestroyLayer { layer } | Op::DestroyLayer { layer } => return self.destroy(layer),
            Op::HcsInitializeWritableLayer { layer, layer_data, .. } => {
                let folder = self.folder(layer);
                std::fs::create_dir_all(&folder)?;
                let options = WritableLayerOptions::default();
                storage.initialize_writable_layer(&folder, &chain(&layer_data)?, &options)
            }
            Op::HcsAttachLayerStorageFilter { layer, layer_data } => {
                storage.attach_layer_storage_filter(&self.folder(layer), &chain(&layer_data)?)
            }
            Op::HcsDetachLayerStorageFilter { layer } => {
                storage.detach_layer_storage_filter(&self.folder(layer))
            }
            // Base layers, the older calls and other filters need files as Windows has them.
            _ => return Err(NOT_SUPPORTED),
        }
        .map_err(told)
    }

    /// Whatever a disk of that name once had on it is gone.
    fn formatted(&self, volume: Guid) -> Result<(), Code> {
        match fs::remove_dir_all(self.volumes.join(volume.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Only a disk of the stand-in has a volume.
    fn foreign_disk(&self, code: Code) -> Result<(), Code> {
        Err(code)
    }

    /// Start fails where the filter is not attached, or is attached for other layers.
    fn container_storage(&self, volume: &Path, layers: &[Layer]) -> Result<(), Code> {
        let mut chain = LayerChain::base();
        for layer in layers {
            chain.push(layer.id, &layer.path);
        }
        // The storage knows whether it is attached, and over what; asked to attach it once more it says so.
        let folder = self.folder(volume.to_owned());
        match self.storage.attach_layer_storage_filter(&folder, &chain) {
            Err(error) if error.kind() == ErrorKind::InUse => Ok(()),
            Err(error) => Err(told(error)),
            Ok(()) => {
                self.storage.detach_layer_storage_filter(&folder).map_err(told)?;
                Err(NO_FILTER)
            }
        }
    }

    fn mount_path(&self, _layer: PathBuf) -> Result<PathBuf, Code> {
        Err(NOT_SUPPORTED)
    }
}
