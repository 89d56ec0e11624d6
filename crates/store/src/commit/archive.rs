//! From changes to the archive of a layer.

use std::io::{self, Read as _, Write};

use layerstone_layer::tar::TarWriter;
use layerstone_layer::view::LayerView as _;
use layerstone_layer::{Entry, EntryKind, LayerPath};

use super::changes::{Change, Changes};
use crate::error::{Error, Result};
use crate::upper::UpperLayer;

/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Writes `first` and all further changes, and gives the output back.
pub(super) fn write<W: Write>(
    upper: &UpperLayer,
    first: Change,
    changes: &mut Changes<'_>,
    output: W,
) -> Result<W> {
    let mut tar = TarWriter::new(output);
    let mut buffer = vec![0; CHUNK];
    let mut next = Some(first);
    while let Some(Change { entry, streams }) = next {
        tar.entry(&entry)?;
        if matches!(entry.kind, EntryKind::File { .. }) {
            copy(upper, &entry.path, None, &mut tar, &mut buffer)?;
        }
        // In a tar the streams of a file follow it at once.
        for (name, size) in streams {
            // Of the owner's metadata the archive has the times and the type bits with each stream.
            let meta = layerstone_layer::Metadata { xattrs: Vec::new(), ..entry.meta.clone() };
            let kind = EntryKind::Stream { name: name.clone(), size };
            tar.entry(&Entry { path: entry.path.clone(), kind, meta })?;
            copy(upper, &entry.path, Some(&name), &mut tar, &mut buffer)?;
        }
        next = changes.next_change()?;
    }
    changes.merge_report(&tar.take_report());
    Ok(tar.finish()?)
}

/// Copies the bytes of a file. One that changes its size meanwhile is an error of the archive.
fn copy<W: Write>(
    upper: &UpperLayer,
    path: &LayerPath,
    stream: Option<&[u8]>,
    tar: &mut TarWriter<W>,
    buffer: &mut [u8],
) -> Result<()> {
    let mut reader = upper.open(path, stream)?;
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => tar.data(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::ReadScratch { path: path.clone(), source }),
        }
    }
}
