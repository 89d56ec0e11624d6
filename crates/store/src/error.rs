//! What can go wrong in a store, with what was being done and on what.

use std::io;
use std::path::{Path, PathBuf};

use layerstone_layer::LayerPath;
use layerstone_oci::{ChainId, DiffId, Digest};

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused something.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An image's manifest, configuration, layout or archive is wrong.
    #[error(transparent)]
    Oci(#[from] layerstone_oci::Error),
    /// A layer's archive is not a tar.
    #[error("layer {layer}")]
    Tar {
        /// Which layer.
        layer: Digest,
        /// What is wrong with it.
        source: layerstone_layer::tar::Error,
    },
    /// An entry of a layer cannot exist.
    #[error("layer {layer}")]
    Entry {
        /// Which layer.
        layer: Digest,
        /// What is wrong with it.
        source: layerstone_layer::tar::source::Error,
    },
    /// A layer is over a limit.
    #[error("layer {layer}: more than {limit} {what}")]
    Limit {
        /// Which layer.
        layer: Digest,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// What was unpacked is not what the image promises.
    #[error(
        "layer {layer}: its uncompressed bytes are {actual}, but the image's configuration promises {expected}"
    )]
    DiffIdMismatch {
        /// Digest of the blob.
        layer: Digest,
        /// What the configuration says.
        expected: DiffId,
        /// What was read.
        actual: DiffId,
    },
    /// A layer's image cannot be written.
    #[error("writing the image of layer {layer}")]
    WriteImage {
        /// Which layer.
        layer: Digest,
        /// What went wrong.
        source: layerstone_erofs::Error,
    },
    /// A stored image is damaged.
    #[error("the stored layer {chain} is damaged: its image")]
    Image {
        /// Which layer.
        chain: ChainId,
        /// What is wrong.
        source: layerstone_erofs::Error,
    },
    /// A stored attribute is damaged.
    #[error("the stored layer {chain} is damaged: inode {nid}")]
    Attribute {
        /// Which layer.
        chain: ChainId,
        /// Which inode.
        nid: u64,
        /// What is wrong.
        source: layerstone_layer::encode::DecodeError,
    },
    /// A split stream cannot be read or written.
    #[error("the split stream of layer {chain}")]
    Split {
        /// Which layer.
        chain: ChainId,
        /// What is wrong.
        source: layerstone_layer::split::Error,
    },
    /// A stored layer's own description is damaged.
    #[error("`{}` is damaged", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A store or layer of a later version.
    #[error("`{}` has format version {found}; this program knows up to {known}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The layer is not in the store.
    #[error("layer {0} is not stored")]
    NoLayer(ChainId),
    /// The image is not in the store.
    #[error("there is no image `{0}` in the store")]
    NoImage(String),
    /// A short id fits more than one thing.
    #[error("`{id}` fits more than one {what}: {}", fits.join(", "))]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// Images, layers.
        what: &'static str,
        /// What it fits.
        fits: Vec<String>,
    },
    /// A registry hive of a layer is damaged, or is none.
    #[error("the registry hive `{path}` of layer {layer}")]
    Hive {
        /// The layer, counted from 0 for the base.
        layer: usize,
        /// Which file.
        path: LayerPath,
        /// What is wrong with it.
        source: layerstone_nt::hive::Error,
    },
    /// A registry hive or its log is over the limit.
    #[error("the registry hive `{path}` of layer {layer} has {size} bytes; {limit} are read at most")]
    HiveTooLarge {
        /// The layer, counted from 0 for the base.
        layer: usize,
        /// Which file.
        path: LayerPath,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A path is not in an image or layer.
    #[error("`{path}` is not in {place}")]
    NoPath {
        /// Which path.
        path: LayerPath,
        /// Where it was looked for.
        place: String,
    },
    /// A path is not what the operation needs.
    #[error("`{path}` is not {wanted}")]
    WrongKind {
        /// Which path.
        path: LayerPath,
        /// What it should be.
        wanted: &'static str,
    },
    /// A name that cannot be used for a scratch.
    #[error(
        "`{0}` cannot be the name of a scratch: use letters, digits, `.`, `_` and `-`, at most 128, not starting with a dot"
    )]
    ScratchName(String),
    /// The scratch exists already.
    #[error("there is a scratch `{0}` already")]
    ScratchExists(String),
    /// The scratch does not exist.
    #[error("there is no scratch `{0}`")]
    NoScratch(String),
    /// Something is in use.
    #[error("{what} is in use: {by}")]
    InUse {
        /// What.
        what: String,
        /// By whom.
        by: String,
    },
    /// `index.json` cannot be read, so nothing tells what is needed.
    #[error(
        "the store's index is damaged, so nothing is removed: `fsck` says what is wrong, `fsck --repair` mends it"
    )]
    DamagedIndex {
        /// What is wrong with it.
        source: layerstone_oci::Error,
    },
    /// An image's documents cannot be read, so nothing tells what it needs.
    #[error(
        "image `{image}` is damaged, so nothing is removed: `fsck` says what is wrong, `fsck --repair` mends it"
    )]
    DamagedImage {
        /// The image's name, or its digest.
        image: String,
        /// What is wrong with it.
        source: layerstone_oci::Error,
    },
    /// A scratch cannot be read, so nothing tells what it needs.
    #[error(
        "scratch `{name}` is damaged, so nothing is removed: `fsck` says what is wrong, `fsck --repair` sets it aside"
    )]
    DamagedScratch {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// Another layer or thread failed first.
    #[error("the layer below failed, so this one was not finished")]
    ParentFailed,
    /// The host cannot do what was asked for.
    #[error("this host cannot {doing}: {missing}")]
    Unsupported {
        /// What was asked for.
        doing: &'static str,
        /// What is missing.
        missing: String,
    },
    /// Nothing of the store is attached there.
    #[error("nothing of this store is attached at `{}`", .0.display())]
    NotAttached(PathBuf),
    /// An image has more layers than the kernel can put over each other.
    #[error("the image has {layers} layers, but the kernel can show at most {limit} over each other")]
    TooManyLayers {
        /// How many there are.
        layers: usize,
        /// How many there can be.
        limit: usize,
    },
    /// A mount call failed.
    #[error("cannot {doing} `{}`{}", path.display(), explained(why))]
    Mount {
        /// Which step.
        doing: String,
        /// Of what.
        path: PathBuf,
        /// What the kernel said about it in words, and what that means here; empty when there is nothing to add.
        why: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Writing an archive failed.
    #[error("writing the layer archive")]
    TarWrite(#[from] layerstone_layer::tar::write::Error),
    /// Something of a file to be unpacked could not be set.
    #[error("cannot {doing} `{path}`")]
    Unpack {
        /// What was being done.
        doing: &'static str,
        /// On which path of the image.
        path: LayerPath,
        /// What the system said.
        source: io::Error,
    },
    /// An attribute of a scratch that this program writes is damaged.
    #[error("the scratch's `{path}`")]
    ScratchAttribute {
        /// Which file.
        path: LayerPath,
        /// What is wrong.
        source: layerstone_layer::encode::DecodeError,
    },
    /// A scratch was written with a feature of overlayfs that leaves part of a file elsewhere.
    #[error(
        "the scratch's `{path}` was written by an overlay mount with `{feature}`, so what it holds cannot be told from the scratch alone"
    )]
    OverlayFeature {
        /// Which file.
        path: LayerPath,
        /// Which feature.
        feature: String,
    },
    /// A file of a scratch could not be read.
    #[error("reading the scratch's `{path}`")]
    ReadScratch {
        /// Which file.
        path: LayerPath,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read to be compared with another one.
    #[error("reading `{path}` to compare it")]
    Compare {
        /// Which file.
        path: LayerPath,
        /// What the system said.
        source: io::Error,
    },
    /// A scratch could not be made into a layer.
    #[error("committing the scratch `{scratch}`")]
    Commit {
        /// Which scratch.
        scratch: String,
        /// Why not.
        source: Box<Error>,
    },
    /// A directory that was to be filled has something in it.
    #[error("`{}` is not an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// A manifest and its configuration do not have the same number of layers.
    #[error("{place} has another number of layers than its manifest")]
    LayerCount {
        /// Whose.
        place: String,
    },
    /// A thread of a pipeline ended without a word.
    #[error("a worker thread ended unexpectedly while {0}")]
    Worker(&'static str),
    /// Verification found damage where an operation needs sound bytes.
    #[error("layer {chain} is damaged: {what}")]
    Damaged {
        /// Which layer.
        chain: ChainId,
        /// How.
        what: String,
    },
}

/// An explanation as the end of a message.
fn explained(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

/// Adds what was being done, on which path, to an error of the system.
pub(crate) trait IoContext<T> {
    /// Names the operation.
    fn doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.as_ref().to_path_buf(), source })
    }
}

impl<T> IoContext<T> for Result<T, rustix_compat::Errno> {
    fn doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.as_ref().to_path_buf(), source: source.into() })
    }
}

/// So that the rest of the crate need not ask on which system it runs.
mod rustix_compat {
    #[cfg(target_os = "linux")]
    pub(crate) use rustix::io::Errno;

    /// Never made.
    #[cfg(not(target_os = "linux"))]
    #[derive(Debug)]
    pub(crate) enum Errno {}

    #[cfg(not(target_os = "linux"))]
    impl From<Errno> for std::io::Error {
        fn from(never: Errno) -> Self {
            match never {}
        }
    }
}
