//! Which parents an operation is about.
//!
//! They are named on the command line, or listed in a file as Docker keeps one in each layer's folder: `layerchain.json`, a
//! JSON list of paths, nearest parent first, or `null` for a base layer.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use layerstone_hcs::LayerChain;
use layerstone_store::storage::LayerStorage;

use super::super::App;
use super::absolute;
use crate::args::hcs::Chain;
use crate::error::{Error, IoContext as _, Result};

/// The name of the file with a layer's parents.
const CHAIN_FILE: &str = "layerchain.json";
/// No chain is that long: paths of 32 KiB for every layer that Windows can stack.
const LONGEST: u64 = 16 << 20;

/// The folders of the parents, nearest first.
#[derive(Debug)]
pub(super) struct Parents {
    paths: Vec<PathBuf>,
    /// The file that they were found in, when nobody named it.
    found_in: Option<PathBuf>,
}

impl Parents {
    /// Those of `layer`: as given, else by the file in its folder, else by the one beside it, else none.
    pub(super) fn of(layer: &Path, given: &Chain) -> Result<Self> {
        if given.base || !given.parents.is_empty() {
            let paths = given.parents.iter().map(|path| absolute(path)).collect::<Result<_>>()?;
            return Ok(Parents { paths, found_in: None });
        }
        if let Some(file) = &given.file {
            let paths = read(file)?.ok_or_else(|| Error::Io {
                doing: "read the chain",
                path: file.clone(),
                source: ErrorKind::NotFound.into(),
            })?;
            return Ok(Parents { paths, found_in: None });
        }
        for folder in [Some(layer), layer.parent()].into_iter().flatten() {
            let file = folder.join(CHAIN_FILE);
            if let Some(paths) = read(&file)? {
                return Ok(Parents { paths, found_in: Some(file) });
            }
        }
        Ok(Parents { paths: Vec::new(), found_in: None })
    }

    /// Says which file decided, where nobody asked for it.
    pub(super) fn tell(self, app: &App) -> Self {
        if let Some(file) = &self.found_in {
            let count = crate::ui::text::count(self.paths.len() as u64, "parent");
            app.remark(format_args!("note: {count}, as `{}` says", file.display()));
        }
        self
    }

    /// With the ids by which the storage knows them.
    pub(super) fn chain<S: LayerStorage>(&self, storage: &S) -> Result<LayerChain> {
        Ok(storage.chain(&self.paths)?)
    }
}

/// The list in a file; `None` when there is no such file. Relative paths begin at the file's folder.
fn read(file: &Path) -> Result<Option<Vec<PathBuf>>> {
    let wrong = |what: String| Error::Usage(format!("`{}` is no list of layers: {what}", file.display()));
    let opened = match File::open(file) {
        Ok(opened) => opened,
        // A layer that does not exist yet, or what is no folder, has no list in it.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).doing("open", file),
    };
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes).doing("read", file)?;
    if bytes.len() as u64 > LONGEST {
        return Err(wrong(format!("it is larger than {LONGEST} bytes")));
    }
    let listed: Option<Vec<PathBuf>> =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let folder = absolute(file)?;
    let folder = folder.parent().unwrap_or(Path::new(""));
    Ok(Some(listed.unwrap_or_default().into_iter().map(|path| folder.join(path)).collect()))
}
