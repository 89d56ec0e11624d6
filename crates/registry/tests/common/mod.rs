//! What the tests share: images made here, and a registry that does what a test wants.

#![allow(dead_code, unreachable_pub, reason = "not every test uses everything")]

pub(crate) mod hostile;
pub(crate) mod image;
pub(crate) mod server;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use layerstone_oci::SourceLayer;
use layerstone_registry::{Client, ClientOptions, Event, Paths, Patience, Pull, Select};
use layerstone_store::import::{ImportedLayer, LayerBlobs};
use layerstone_store::{ImportOptions, Result as StoreResult, Store};

/// A client that knows no configuration, and has little patience.
pub(crate) fn client() -> Client {
    Client::new(options()).expect("a client")
}

pub(crate) fn options() -> ClientOptions {
    ClientOptions { plain_http: true, patience: patience(), ..ClientOptions::default() }
}

pub(crate) fn listening(options: ClientOptions, listener: impl Fn(Event) + Send + Sync + 'static) -> Client {
    Client::with_listener(options, Some(Box::new(listener))).expect("a client")
}

pub(crate) fn patience() -> Patience {
    Patience {
        attempts: 4,
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(20),
        answer: Duration::from_secs(5),
        stall: Duration::from_millis(1500),
        window: Duration::from_millis(1500),
        least_bytes: 1 << 10,
    }
}

/// Paths of which none exists but these.
pub(crate) fn paths_in(directory: &Path) -> Paths {
    Paths {
        registries: vec![directory.join("registries.conf")],
        registries_dirs: vec![directory.join("registries.conf.d")],
        auth_files: vec![directory.join("auth.json"), directory.join("config.json")],
        login_file: directory.join("auth.json"),
        certificate_dirs: vec![directory.join("certs.d")],
    }
}

/// A registry as a source of layers.
pub(crate) struct Remote<'a>(pub(crate) &'a Pull);

impl LayerBlobs for Remote<'_> {
    fn open(&self, layer: &SourceLayer) -> StoreResult<Box<dyn Read + Send + '_>> {
        self.open_from(layer, 0)
    }

    fn open_from(&self, layer: &SourceLayer, offset: u64) -> StoreResult<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.0.blob(&layer.descriptor, offset)))
    }
}

/// Pulls into a store, as the program does.
pub(crate) fn pull(
    client: &Client,
    store: &Store,
    name: &str,
    options: &ImportOptions,
) -> Result<Vec<ImportedLayer>, Box<dyn std::error::Error>> {
    let pull = client.resolve(name, &Select::Host)?;
    let image = &pull.images()[0];
    Ok(store.import_image(&Remote(&pull), image, &pull.reference().to_string(), options, &|_| ())?)
}

/// An error with all its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A store finds nothing wrong with itself.
pub(crate) fn assert_sound(store: &Store) {
    let outcome = store.fsck(layerstone_store::FsckOptions::default(), &|_| ()).expect("fsck");
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
}

/// Numbers that look like chance and are the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}
