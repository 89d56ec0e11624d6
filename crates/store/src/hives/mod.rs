//! The Windows registry of an image: which files of its layers hold it, read and stacked.
//!
//! ```text
//! base layer     Files/Windows/System32/config/SOFTWARE      or, once Windows has processed it, Hives/Software_Base
//! layers above   Hives/Software_Delta                        what each of them changes
//! ```
//!
//! A layer that Windows has imported may hold a `*_Base` of its own: the registry merged up to and including it. The topmost of
//! these is where the stack starts; otherwise it starts with the hive of the lowest layer. Hives among the files of an upper
//! layer are files like any other: Windows mounts none of them.
//!
//! Files are looked for in each layer by itself, in any case. What they mean together is [`layerstone_nt::hive::merge`].

mod installed;

use std::borrow::Cow;
use std::io::Read as _;
use std::path::PathBuf;

use layerstone_layer::LayerPath;
use layerstone_layer::view::{LayerView, NodeKind};
use layerstone_nt::hive::{self, CONFIG_DIRECTORY, HIVES_DIRECTORY, Hive, SystemHive};
use layerstone_nt::name::fold;

pub use installed::InstalledWindows;

use crate::error::{Error, Result};

/// The most bytes of a hive or log that are read. The largest of a Server image, SOFTWARE, has about 80 MiB.
pub const MAX_HIVE_SIZE: u64 = 1 << 30;

/// The logs that may lie beside a hive, by what is appended to its name.
const LOGS: [&str; 3] = [".LOG1", ".LOG2", ".LOG"];

/// One of the five hives, as the layers of an image have it.
#[derive(Debug, Clone)]
pub struct HiveStack {
    /// Which one.
    pub hive: SystemHive,
    /// Its files: the base first, then the changes up to the topmost layer. At least one.
    pub files: Vec<HiveFile>,
}

/// A hive in a layer.
#[derive(Debug, Clone)]
pub struct HiveFile {
    /// The layer, counted from 0 for the base.
    pub layer: usize,
    /// Where in the layer.
    pub path: LayerPath,
    /// The hive, up to date with the logs beside it.
    pub bytes: Vec<u8>,
    /// How many pages the logs have put in.
    pub recovered_pages: usize,
    /// Whether changes are missing: the hive was in use when it was copied, and there is no log for it.
    pub is_dirty: bool,
}

impl HiveStack {
    /// The files of `hive` in `layers`, topmost first; `None` when none has one. Empty files, with which some tools make base
    /// layers, count as none.
    ///
    /// # Errors
    /// When a layer cannot be read, or a hive neither by itself nor with its logs.
    pub fn find<V: LayerView<Error = Error>>(layers: &[V], hive: SystemHive) -> Result<Option<Self>> {
        let lowest_first: Vec<&V> = layers.iter().rev().collect();
        let base_path = format!("{HIVES_DIRECTORY}/{}", hive.base_name());
        let delta_path = format!("{HIVES_DIRECTORY}/{}", hive.delta_name());
        let mut files = Vec::new();
        let mut deltas_from = 0;
        for (number, layer) in lowest_first.iter().enumerate().rev() {
            if let Some(file) = read_hive(*layer, number, &base_path)? {
                files.push(file);
                deltas_from = number + 1;
                break;
            }
        }
        if files.is_empty()
            && let Some(base) = lowest_first.first()
        {
            files.extend(read_hive(*base, 0, &format!("{CONFIG_DIRECTORY}/{}", hive.file_name()))?);
        }
        for (number, layer) in lowest_first.iter().enumerate().skip(deltas_from) {
            files.extend(read_hive(*layer, number, &delta_path)?);
        }
        Ok((!files.is_empty()).then_some(Self { hive, files }))
    }

    /// The hives, in the order of the files, to be given to [`layerstone_nt::hive::Merged::new`].
    ///
    /// # Errors
    /// When one of them is no hive.
    pub fn open(&self) -> Result<Vec<Hive<'_>>> {
        self.files
            .iter()
            .map(|file| Hive::open(file.bytes.as_slice()).map_err(|source| file.error(source)))
            .collect()
    }
}

impl HiveFile {
    /// An error of the hive, with its place.
    pub fn error(&self, source: hive::Error) -> Error {
        Error::Hive { layer: self.layer, path: self.path.clone(), source }
    }
}

/// Reads a hive with its logs.
fn read_hive<V: LayerView<Error = Error>>(layer: &V, number: usize, path: &str) -> Result<Option<HiveFile>> {
    let Some((path, bytes)) = read_file(layer, number, path)? else { return Ok(None) };
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut logs = Vec::new();
    for suffix in LOGS {
        logs.extend(read_file(layer, number, &format!("{path}{suffix}"))?.map(|(_, log)| log));
    }
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).filter(|log| !log.is_empty()).collect();
    let recovered = hive::recover(&bytes, &logs).map_err(|source| Error::Hive {
        layer: number,
        path: path.clone(),
        source,
    })?;
    let (recovered_pages, is_dirty) = (recovered.pages(), recovered.is_dirty());
    let bytes = match recovered.bytes {
        Cow::Owned(changed) => changed,
        Cow::Borrowed(_) => bytes,
    };
    Ok(Some(HiveFile { layer: number, path, bytes, recovered_pages, is_dirty }))
}

/// A file of the layer itself, with its spelling there.
fn read_file<V: LayerView<Error = Error>>(
    layer: &V,
    number: usize,
    path: &str,
) -> Result<Option<(LayerPath, Vec<u8>)>> {
    let mut found = (LayerPath::root(), layer.root());
    for name in path.split('/') {
        if !layer.node(&found.1)?.kind.is_directory() {
            return Ok(None);
        }
        let wanted = fold(name.as_bytes());
        let mut children = layer.read_dir(&found.1)?.into_iter();
        let Some((name, id)) = children.find(|(name, _)| fold(name) == wanted) else { return Ok(None) };
        found = (found.0.join(&name), id);
    }
    let (path, id) = found;
    let NodeKind::File { size } = layer.node(&id)?.kind else { return Ok(None) };
    if size > MAX_HIVE_SIZE {
        return Err(Error::HiveTooLarge { layer: number, path, size, limit: MAX_HIVE_SIZE });
    }
    let mut bytes = Vec::new();
    layer.open(&id, None)?.take(MAX_HIVE_SIZE).read_to_end(&mut bytes).map_err(|source| Error::Io {
        doing: "read the hive",
        path: PathBuf::from(path.to_string()),
        source,
    })?;
    Ok(Some((path, bytes)))
}
