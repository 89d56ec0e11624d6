//! Importing a layer whose archive is being made: nothing about it is known beforehand.

use std::io::Read;
use std::thread;

use layerstone_layer::Os;
use layerstone_oci::{ChainId, Compression, Digest};

use super::unpack::Job;
use super::{ImportedLayer, Limits, pipeline, publish, stage, unpack};
use crate::error::{Error, IoContext, Result};
use crate::failpoint::failpoint;
use crate::root::Store;

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
        let unknown = ChainId(UNKNOWN);
        let job = Job { directory: &directory, layer: &UNKNOWN, chain: &unknown, os, limits };
        let (unpacked, diff_id) = thread::scope(|scope| {
            let (input, pipeline) = pipeline::start(scope, Box::new(archive), Compression::None, None)
                .doing("read an archive into", &directory)?;
            let unpacked = unpack::unpack(job, input, &|_| {})?;
            let diff_id = pipeline.diff_id().ok_or(Error::Worker("hashing a layer"))?;
            Ok::<_, Error>((unpacked, diff_id))
        })?;
        failpoint("import-unpacked");
        let chain = match parents.last() {
            Some(parent) => parent.child(&diff_id),
            None => ChainId::base(&diff_id),
        };
        // Locked only now: whoever holds this lock waits for nothing else.
        let _lock = self.lock_layer(&chain)?;
        if self.has_layer(&chain)? {
            let description = self.layer(&chain)?.description().clone();
            return Ok(ImportedLayer { description, unpacked: false });
        }
        let job = Job { layer: &diff_id.0, chain: &chain, ..job };
        let description = publish(self, job, unpacked, parents, diff_id, None)?;
        Ok(ImportedLayer { description, unpacked: true })
    }
}
