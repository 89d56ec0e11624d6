//! What can be wrong with a store.

use std::fmt;
use std::path::PathBuf;

use layerstone_oci::{ChainId, DiffId, Digest};

use crate::leftovers::Leftover;
use crate::verify::Damage;

/// Which of an image's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Document {
    /// The list of an image's platforms.
    Index,
    /// The list of an image's parts.
    Manifest,
    /// What the image runs, and its layers' DiffIDs.
    Config,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Document::Index => "index",
            Document::Manifest => "manifest",
            Document::Config => "configuration",
        })
    }
}

/// What can be wrong with a stored layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerDamage {
    /// One of its files is missing.
    MissingFile {
        /// Its name.
        name: &'static str,
    },
    /// `layer.json` cannot be read.
    Description {
        /// Why.
        reason: String,
    },
    /// `layer.json` is another layer's than the directory's name says.
    WrongName {
        /// The layer that it says it is.
        states: ChainId,
    },
    /// Its ChainID does not follow from its parent and its DiffID.
    Identity {
        /// What `layer.json` says.
        states: ChainId,
        /// What follows.
        computed: ChainId,
    },
    /// A file has another size than `layer.json` states.
    Size {
        /// Which file.
        name: &'static str,
        /// What is stated.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// The image's structure is damaged.
    Image {
        /// How.
        reason: String,
    },
    /// The image's metadata has another digest than `layer.json` states.
    Metadata,
    /// The split stream is damaged.
    Split {
        /// How.
        reason: String,
    },
    /// The bytes are not those of the archive.
    Content(Damage),
}

impl fmt::Display for LayerDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayerDamage::MissingFile { name } => write!(f, "`{name}` is missing"),
            LayerDamage::Description { reason } => write!(f, "its description cannot be read: {reason}"),
            LayerDamage::WrongName { states } => write!(f, "its description is that of layer {states}"),
            LayerDamage::Identity { states, computed } => {
                write!(f, "it says that it is {states}, but its parent and DiffID make {computed}")
            }
            LayerDamage::Size { name, expected, found } => {
                write!(f, "`{name}` stands for {found} bytes, not {expected}")
            }
            LayerDamage::Image { reason } => write!(f, "its image is damaged: {reason}"),
            LayerDamage::Metadata => f.write_str("the metadata of its image changed"),
            LayerDamage::Split { reason } => write!(f, "its split stream is damaged: {reason}"),
            LayerDamage::Content(damage) => damage.fmt(f),
        }
    }
}

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The file `oci-layout` is missing or wrong.
    LayoutFile {
        /// How.
        reason: String,
    },
    /// `index.json` is missing or cannot be read.
    Index {
        /// Why.
        reason: String,
    },
    /// A directory of the store is missing.
    MissingDirectory {
        /// Which.
        path: PathBuf,
    },
    /// A document of an image is not stored.
    MissingDocument {
        /// The image.
        image: String,
        /// The digest of its entry in `index.json`.
        entry: Digest,
        /// The manifest that needs it, or that it is.
        manifest: Digest,
        /// Which document.
        document: Document,
        /// Its digest.
        digest: Digest,
    },
    /// A document of an image is damaged.
    DamagedDocument {
        /// The image.
        image: String,
        /// The digest of its entry in `index.json`.
        entry: Digest,
        /// The manifest that needs it, or that it is.
        manifest: Digest,
        /// Which document.
        document: Document,
        /// Its digest.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A document has a digest that cannot be computed here.
    Unverifiable {
        /// The image.
        image: String,
        /// The digest.
        digest: Digest,
    },
    /// A blob's content is not what its name says.
    DamagedBlob {
        /// What it should be.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored layer is damaged.
    DamagedLayer {
        /// Which, by the name of its directory.
        chain: ChainId,
        /// What is wrong with it.
        damage: Vec<LayerDamage>,
    },
    /// A stored layer was written by a later version of this program.
    NewerLayer {
        /// Which.
        chain: ChainId,
        /// The version of its form.
        version: u32,
    },
    /// The layer below a stored layer is not stored.
    MissingParent {
        /// The layer.
        chain: ChainId,
        /// The layer below.
        parent: ChainId,
    },
    /// Layers of an image are not stored.
    MissingLayers {
        /// The image.
        image: String,
        /// Its manifest.
        manifest: Digest,
        /// Which layers.
        layers: Vec<ChainId>,
    },
    /// A scratch cannot be read.
    DamagedScratch {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Layers below a scratch are not stored.
    ScratchLayers {
        /// Its name.
        name: String,
        /// The image that it was made over.
        image: String,
        /// Which layers.
        layers: Vec<ChainId>,
    },
    /// The manifest of the image below a scratch is not stored, so the scratch cannot be committed.
    ScratchManifest {
        /// Its name.
        name: String,
        /// The image that it was made over.
        image: String,
        /// The manifest.
        digest: Digest,
    },
    /// Something lies where only layers or blobs belong.
    Foreign {
        /// Where.
        path: PathBuf,
    },
    /// A process died and left this.
    Leftover {
        /// Where.
        path: PathBuf,
        /// Bytes of disk that it takes.
        bytes: u64,
    },
}

impl Problem {
    pub(super) fn leftover(leftover: &Leftover) -> Self {
        Problem::Leftover { path: leftover.path.clone(), bytes: leftover.bytes }
    }

    /// False for what is only untidy: leftovers, and things that do not belong to the store.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Problem::Leftover { .. } | Problem::Foreign { .. })
    }

    /// A short, stable name of the kind of problem.
    pub fn kind(&self) -> &'static str {
        match self {
            Problem::LayoutFile { .. } => "layout-file",
            Problem::Index { .. } => "index",
            Problem::MissingDirectory { .. } => "missing-directory",
            Problem::MissingDocument { .. } => "missing-document",
            Problem::DamagedDocument { .. } => "damaged-document",
            Problem::Unverifiable { .. } => "unverifiable",
            Problem::DamagedBlob { .. } => "damaged-blob",
            Problem::DamagedLayer { .. } => "damaged-layer",
            Problem::NewerLayer { .. } => "newer-layer",
            Problem::MissingParent { .. } => "missing-parent",
            Problem::MissingLayers { .. } => "missing-layers",
            Problem::DamagedScratch { .. } => "damaged-scratch",
            Problem::ScratchLayers { .. } => "scratch-layers",
            Problem::ScratchManifest { .. } => "scratch-manifest",
            Problem::Foreign { .. } => "foreign",
            Problem::Leftover { .. } => "leftover",
        }
    }

    /// What repair does about it; for what it cannot mend, what the user can do.
    pub fn advice(&self) -> String {
        match self {
            Problem::LayoutFile { .. } => "repair writes it again".into(),
            Problem::Index { .. } => {
                "repair sets it aside and makes it again from the stored manifests; names that are lost must be given again"
                    .into()
            }
            Problem::MissingDirectory { .. } => "repair makes it again".into(),
            Problem::MissingDocument { image, .. } | Problem::DamagedDocument { image, .. } => {
                format!("repair takes the image out of the index; import `{image}` again to have it back")
            }
            Problem::Unverifiable { .. } => "use an image with sha256 digests".into(),
            Problem::DamagedBlob { .. } => "repair sets it aside; importing its image again brings it back".into(),
            Problem::DamagedLayer { .. } => {
                "repair unpacks it again if its blob is kept, and otherwise sets it aside: then import its image again"
                    .into()
            }
            Problem::NewerLayer { .. } => "use a newer version of this program".into(),
            Problem::MissingParent { parent, .. } => {
                format!("repair unpacks {parent} if its blob is kept; otherwise import the image again, or collect garbage if no image needs the layer")
            }
            Problem::MissingLayers { image, .. } => {
                format!("repair unpacks them if their blobs are kept; otherwise import `{image}` again")
            }
            Problem::DamagedScratch { .. } => "repair sets it aside, with all its files".into(),
            Problem::ScratchLayers { image, .. } | Problem::ScratchManifest { image, .. } => {
                format!("import `{image}` again")
            }
            Problem::Foreign { .. } => "repair sets it aside".into(),
            Problem::Leftover { .. } => "repair and garbage collection remove it".into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::LayoutFile { reason } => write!(f, "the file `oci-layout` is wrong: {reason}"),
            Problem::Index { reason } => write!(f, "`index.json` cannot be read: {reason}"),
            Problem::MissingDirectory { path } => write!(f, "the directory `{}` is missing", path.display()),
            Problem::MissingDocument { image, document, digest, .. } => {
                write!(f, "image `{image}`: its {document} {digest} is not stored")
            }
            Problem::DamagedDocument { image, document, digest, reason, .. } => {
                write!(f, "image `{image}`: its {document} {digest} is damaged: {reason}")
            }
            Problem::Unverifiable { image, digest } => {
                write!(f, "image `{image}`: {digest} cannot be checked: only sha256 digests are computed")
            }
            Problem::DamagedBlob { digest, reason } => write!(f, "blob {digest} is damaged: {reason}"),
            Problem::DamagedLayer { chain, damage } => {
                write!(f, "layer {chain} is damaged: ")?;
                join(f, damage, "; ")
            }
            Problem::NewerLayer { chain, version } => {
                write!(f, "layer {chain} has format version {version}, which this program does not know")
            }
            Problem::MissingParent { chain, parent } => {
                write!(f, "layer {chain}: the layer below it, {parent}, is not stored")
            }
            Problem::MissingLayers { image, layers, .. } => {
                write!(f, "image `{image}`: these layers are not stored: ")?;
                join(f, layers, ", ")
            }
            Problem::DamagedScratch { name, reason } => {
                write!(f, "scratch `{name}` cannot be read: {reason}")
            }
            Problem::ScratchLayers { name, image, layers } => {
                write!(f, "scratch `{name}` over `{image}`: these layers are not stored: ")?;
                join(f, layers, ", ")
            }
            Problem::ScratchManifest { name, image, digest } => {
                write!(f, "scratch `{name}` over `{image}`: the manifest {digest} is not stored")
            }
            Problem::Foreign { path } => write!(f, "`{}` does not belong there", path.display()),
            Problem::Leftover { path, bytes } => {
                write!(f, "`{}` was left by a process that died ({bytes} bytes)", path.display())
            }
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display], separator: &str) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at > 0 { separator } else { "" })?;
    }
    Ok(())
}

/// The DiffID and the parent make the identity.
pub(super) fn computed_chain(parent: Option<&ChainId>, diff_id: &DiffId) -> ChainId {
    parent.map_or_else(|| ChainId::base(diff_id), |parent| parent.child(diff_id))
}
