//! What a layer removes, done to the imported folder: the import has put placeholders for everything that the parents have.

use std::path::Path;

use layerstone_layer::transport::Outcome;

use crate::error::IoContext as _;
use crate::storage::error::Result;
use crate::storage::in_place::InPlaceWriter;
use crate::storage::places;

/// Removes the paths of whiteouts, and of what is below an opaque marker all that the layer does not have itself. What a layer
/// both removes and adds stays (OCI image-spec `layer.md`: a whiteout hides nothing of its own layer).
pub(super) fn apply(
    files: &mut dyn InPlaceWriter,
    layer: &Path,
    staged: &Path,
    outcome: &Outcome,
) -> Result<()> {
    for path in &outcome.tombstones {
        if let Some((host, _)) = places::walk(layer, path.components())? {
            files.remove(&host)?;
        }
    }
    for path in &outcome.opaque {
        let host = places::walk(layer, path.components())?;
        let own = places::walk(staged, path.components())?;
        if let (Some((host, stat)), Some((own, _))) = (host, own)
            && places::is_directory(&stat)
        {
            keep_own(files, &host, &own)?;
        }
    }
    Ok(())
}

/// Removes from a directory what the layer does not have itself.
fn keep_own(files: &mut dyn InPlaceWriter, host: &Path, own: &Path) -> Result<()> {
    let mut directories = vec![(host.to_path_buf(), own.to_path_buf())];
    while let Some((host, own)) = directories.pop() {
        for entry in std::fs::read_dir(&host).doing("read the folder", &host)? {
            let entry = entry.doing("read the folder", &host)?;
            let Some(staged) = places::find(&own, entry.file_name().as_encoded_bytes())? else {
                files.remove(&entry.path())?;
                continue;
            };
            if places::stat(&entry.path())?.is_some_and(|stat| places::is_directory(&stat)) {
                directories.push((entry.path(), staged));
            }
        }
    }
    Ok(())
}
