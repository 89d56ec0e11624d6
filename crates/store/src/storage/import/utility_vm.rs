//! The copy of a parent's utility VM that a layer gets which touches it.

use std::fs;
use std::path::Path;

use layerstone_hcs::LayerChain;
use layerstone_layer::LayerPath;
use layerstone_layer::transport::FILES;

use super::boot;
use super::tree::{Kind, Rule, Tree};
use crate::error::IoContext as _;
use crate::storage::base::UTILITY_VM;
use crate::storage::error::Result;
use crate::storage::in_place::InPlaceWriter;
use crate::storage::places;

/// Copies the utility VM of the nearest parent that has one into `temporary`: directories, links, and the boot configuration, which
/// will be edited, as they are; everything else as hard links. Without such a parent the layer begins its own.
pub(super) fn copy(
    files: &mut dyn InPlaceWriter,
    layer: &Path,
    chain: &LayerChain,
    temporary: &Path,
) -> Result<Tree> {
    let mut tree = Tree::new(layer, temporary.to_path_buf(), Rule::Copy, temporary.to_path_buf());
    for parent in chain.parents() {
        let parent = places::literal(&parent.path)?;
        let Some((vm, _)) = places::walk(&parent, [UTILITY_VM])? else { continue };
        let Some((from, stat)) = places::walk(&parent, [UTILITY_VM, FILES])? else { continue };
        if !places::is_directory(&stat) {
            continue;
        }
        let path = LayerPath::from(UTILITY_VM);
        copy_directory(files, &mut tree, &vm, &path)?;
        let path = path.join(FILES.as_bytes());
        copy_directory(files, &mut tree, &from, &path)?;
        copy_content(files, &mut tree, &from, path)?;
        break;
    }
    Ok(tree)
}

fn copy_content(files: &mut dyn InPlaceWriter, tree: &mut Tree, from: &Path, path: LayerPath) -> Result<()> {
    let mut directories = vec![(from.to_path_buf(), path)];
    while let Some((from, path)) = directories.pop() {
        for entry in fs::read_dir(&from).doing("read the folder", &from)? {
            let entry = entry.doing("read the folder", &from)?;
            let (from, path) = (entry.path(), path.join(entry.file_name().as_encoded_bytes()));
            let Some(stat) = places::stat(&from)? else { continue };
            if places::is_directory(&stat) {
                copy_directory(files, tree, &from, &path)?;
                directories.push((from, path));
                continue;
            }
            let to = tree.host_of(&path)?;
            let kind = if places::is_link(&stat) { Kind::Link } else { Kind::File };
            if kind == Kind::Link || boot::copy_of(&path).is_some() {
                files.copy(&from, &to)?;
            } else {
                files.hard_link(&from, &to)?;
            }
            tree.copied(&path, to, kind, None);
        }
    }
    Ok(())
}

fn copy_directory(
    files: &mut dyn InPlaceWriter,
    tree: &mut Tree,
    from: &Path,
    path: &LayerPath,
) -> Result<()> {
    let to = tree.host_of(path)?;
    files.copy(from, &to)?;
    let basic = files.basic_info(from)?;
    tree.copied(path, to, Kind::Directory, Some(basic));
    Ok(())
}
