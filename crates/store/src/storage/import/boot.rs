//! Copies of the boot configuration of a utility VM, as the layer has it.
//!
//! Setting up a utility VM edits its boot configuration. To write the layer's archive again, the original is needed: it is kept in the
//! layer's folder, as hcsshim does.

use std::path::Path;

use layerstone_layer::LayerPath;
use layerstone_nt::name::eq_ignore_case;

use crate::storage::error::Result;
use crate::storage::in_place::InPlaceWriter;
use crate::storage::places;

const DIRECTORY: &str = "UtilityVM/Files/EFI/Microsoft/Boot/";

/// The files that the setup edits, and what their copies are called.
const COPIES: [(&str, &str); 4] = [
    ("BCD", "bcd.bak"),
    ("BCD.LOG", "bcd.log.bak"),
    ("BCD.LOG1", "bcd.log1.bak"),
    ("BCD.LOG2", "bcd.log2.bak"),
];

/// What the copy of this file is called, when it has one.
pub(super) fn copy_of(path: &LayerPath) -> Option<&'static str> {
    let is = |file: &str| eq_ignore_case(path.as_bytes(), [DIRECTORY, file].concat().as_bytes());
    COPIES.iter().find(|(file, _)| is(file)).map(|(_, copy)| *copy)
}

/// Moves the copies that were made into the layer.
pub(super) fn put_in_place(files: &mut dyn InPlaceWriter, from: &Path, layer: &Path) -> Result<()> {
    for (_, copy) in COPIES {
        let made = from.join(copy);
        if places::stat(&made)?.is_some() {
            files.rename(&made, &layer.join(copy))?;
        }
    }
    Ok(())
}
