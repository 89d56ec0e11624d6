//! The engine that makes real files: layers are laid out as Windows does, scratches are empty, filters are written down.
//!
//! It is for what runs programs of an image: their files are where Windows would have them. Nothing is merged: a scratch shows nothing of
//! its parents.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use layerstone_hcs::LayerData;
use layerstone_store::storage::SANDBOX_DISK;

use super::{Engine, Operation, files};
use crate::code::Code;
use crate::compute::document::Layer;
use crate::disk;

/// `ERROR_NOT_SUPPORTED`
const NOT_SUPPORTED: Code = Code::win32(50);
/// `ERROR_PATH_NOT_FOUND`
const PATH_NOT_FOUND: Code = Code::win32(3);
/// What others have measured that starting a container without the filter returns.
const NO_FILTER: Code = Code::win32(0x287);

/// Real files.
#[derive(Debug)]
pub(crate) struct OnDisk;

/// What is written down of a volume's filter: the document that it was attached with.
fn filter(volume: &Path) -> PathBuf {
    let text = volume.to_string_lossy();
    let name: String = text.chars().filter(|character| character.is_ascii_alphanumeric()).collect();
    std::env::temp_dir().join("layerstone-standin").join("filters").join(name)
}

fn read(layer_data: &str) -> Result<Vec<Layer>, Code> {
    let data: LayerData = serde_json::from_str(layer_data).map_err(|_| Code::INVALID_JSON)?;
    let layer = |layer: layerstone_hcs::schema::Layer| {
        let id = uuid::Uuid::parse_str(&layer.id).map_err(|_| Code::INVALID_JSON)?;
        Ok(Layer { id, path: layer.path.into() })
    };
    let layers: Vec<Layer> = data.layers.into_iter().map(layer).collect::<Result<_, Code>>()?;
    match layers.iter().all(|layer| layer.path.is_dir()) {
        true => Ok(layers),
        false => Err(PATH_NOT_FOUND),
    }
}

/// Removes a layer's or a scratch's folder.
fn destroy(folder: &Path) -> Result<(), Code> {
    match disk::look(&folder.join(SANDBOX_DISK)) {
        Ok(header) if header.attached != disk::Attached::No => Err(Code::SHARING_VIOLATION),
        _ => Ok(fs::remove_dir_all(folder)?),
    }
}

impl Engine for OnDisk {
    fn perform(&self, operation: Operation) -> Result<(), Code> {
        use Operation as Op;
        match operation {
            Op::HcsImportLayer { layer, source, layer_data } => {
                read(&layer_data)?;
                Ok(files::lay_out(&source, &layer)?)
            }
            Op::HcsSetupBaseOSLayer { layer, has_disk: false, .. } => files::set_up_base(&layer),
            Op::HcsDestroyLayer { layer } => destroy(&layer),
            Op::HcsInitializeWritableLayer { layer_data, .. } => read(&layer_data).map(drop),
            Op::HcsAttachLayerStorageFilter { layer, layer_data } => {
                read(&layer_data)?;
                let path = filter(&layer);
                fs::create_dir_all(path.parent().ok_or(Code::UNEXPECTED)?)?;
                Ok(fs::write(path, layer_data)?)
            }
            Op::HcsDetachLayerStorageFilter { layer } => match fs::remove_file(filter(&layer)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Code::NOT_FOUND),
                removed => Ok(removed?),
            },
            _ => Err(NOT_SUPPORTED),
        }
    }

    /// Only a disk of the stand-in has a volume.
    fn foreign_disk(&self, code: Code) -> Result<(), Code> {
        Err(code)
    }

    /// The filter was attached for these layers, in this order.
    fn container_storage(&self, volume: &Path, layers: &[Layer]) -> Result<(), Code> {
        let attached = fs::read_to_string(filter(volume)).map_err(|_| NO_FILTER)?;
        if read(&attached)? == layers { Ok(()) } else { Err(PATH_NOT_FOUND) }
    }

    fn mount_path(&self, _layer: PathBuf) -> Result<PathBuf, Code> {
        Err(NOT_SUPPORTED)
    }
}
