//! Importing a layer whose archive is being made: nothing about it is known beforehand.

use std::io::Read;
use std::path::Path;
use std::thread;

use layerstone_layer::Os;
use layerstone_layer::merge::Merged;
use layerstone_oci::{ChainId, Compression, DiffId, Digest};

use super::unpack::{Job, Unpacked};
use super::{ImportedLayer, Limits, finish, pipeline, publish, stage, unpack};
use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;
use crate::layer::{Description, StoredLayer};
use crate::root::{Store, sync_directory};

/// Unpacks an uncompressed archive into `directory`, which is empty, as a layer over `parents`, topmost first. The files of
/// the layer are complete and durable when this returns; the directory's own name is not.
pub(crate) fn store_archive<'a>(
    directory: &Path,
    archive: impl Read + Send + 'a,
    parents: Vec<StoredLayer>,
    os: Os,
    limits: Limits,
) -> Result<Description> {
    let (unpacked, diff_id) = unpack_archive(directory, archive, os, limits)?;
    let parent = parents.first().map(|layer| *layer.chain_id());
    let chain = chain_of(parent.as_ref(), &diff_id);
    let job = Job { directory, layer: &diff_id.0, chain: &chain, os, limits };
    let below = Merged::new(parents, os);
    let description = finish::finish(job, unpacked, &below, diff_id, parent)?;
    sync_directory(directory)?;
    Ok(description)
}

/// The first part of it, which needs no parents.
fn unpack_archive<'a>(
    directory: &Path,
    archive: impl Read + Send + 'a,
    os: Os,
    limits: Limits,
) -> Result<(Unpacked, DiffId)> {
    let unknown = ChainId(UNKNOWN);
    let job = Job { directory, layer: &UNKNOWN, chain: &unknown, os, limits };
    thread::scope(|scope| {
        let (input, pipeline) = pipeline::start(scope, Box::new(archive), Some(Compression::None), None)
            .doing("read an archive into", directory)?;
        let unpacked = unpack::unpack(job, input, &|_| {})?;
        let diff_id = pipeline.diff_id().ok_or(Error::Worker("hashing a layer"))?;
        Ok((unpacked, diff_id))
    })
}

fn chain_of(parent: Option<&ChainId>, diff_id: &DiffId) -> ChainId {
    match parent {
        Some(parent) => parent.child(diff_id),
        None => ChainId::base(diff_id),
    }
}

/// What errors call a layer whose digest is not known yet.
const UNKNOWN: Digest = Digest::from_sha256([0; 32]);

impl Store {
    /// Stores an uncompressed layer archive as a layer on top of `parents`, base first. Its DiffID is computed as it
    /// passes. Errors about its content name it by a digest of zeroes.
    ///
    /// # Errors
    /// When the archive or the store fails; then nothing stays.
    pub fn import_stream<'a>(
        &self,
        archive: impl Read + Send + 'a,
        parents: &[ChainId],
        os: Os,
        limits: Limits,
    ) -> Result<ImportedLayer> {
        let _shared = self.lock_shared()?;
        let (_staging, directory) = stage(self)?;
        let (unpacked, diff_id) = unpack_archive(&directory, archive, os, limits)?;
        failpoint("import-unpacked");
        let chain = chain_of(parents.last(), &diff_id);
        // Locked only now: whoever holds this lock waits for nothing else.
        let _lock = self.lock_layer(&chain)?;
        if self.has_layer(&chain)? {
            let description = self.layer(&chain)?.description().clone();
            return Ok(ImportedLayer { description, unpacked: false });
        }
        let job = Job { directory: &directory, layer: &diff_id.0, chain: &chain, os, limits };
        let description = publish(self, job, unpacked, parents, diff_id, None)?;
        Ok(ImportedLayer { description, unpacked: true })
    }
}
