//! Finding damage in a store, and mending what can be.
//!
//! ```text
//! scan   ─► problems ─► repair ─► scan again ─► ... until repair changes nothing ─► what remains
//! ```
//!
//! Repair never removes what may be somebody's data: what is damaged is moved to `damaged/` below the store's root. A layer
//! whose compressed blob is kept is unpacked again; any other is missing until its image is imported again.

mod problem;
mod repair;
mod scan;

use std::path::PathBuf;

use layerstone_oci::{ChainId, Digest};

pub use problem::{Document, LayerDamage, Problem};

use crate::error::{Error, Result};
use crate::leftovers::remove_tree;
use crate::root::Store;

/// How many times a store is looked through at most: each repair can uncover what was hidden behind it.
const MAX_PASSES: usize = 6;

/// How to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FsckOptions {
    /// Mend what can be. Waits until nobody else works on the store, and holds it alone.
    pub repair: bool,
    /// Prove each layer too: write its archive again and compare the digest. This reads all of the store.
    pub verify_content: bool,
}

/// Outcome of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckOutcome {
    /// Everything that was found, including what only showed while mending.
    pub problems: Vec<Problem>,
    /// What was done about it.
    pub repaired: Vec<Repaired>,
    /// What is still wrong; without repair, the same as `problems`.
    pub remaining: Vec<Problem>,
    /// Layers that were looked at.
    pub layers: usize,
    /// Blobs that were looked at.
    pub blobs: usize,
}

impl FsckOutcome {
    /// True when nothing is damaged any more. Leftovers of processes that died are no damage.
    pub fn is_sound(&self) -> bool {
        !self.remaining.iter().any(Problem::is_damage)
    }
}

/// A problem, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// What was wrong.
    pub problem: Problem,
    /// What was done.
    pub remedy: Remedy,
}

/// What repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// A directory was made again.
    Created,
    /// A file was written again.
    Rewritten,
    /// The index was made again from the manifests that are stored.
    IndexRebuilt {
        /// Where the damaged one is now, if there was one.
        aside: Option<PathBuf>,
        /// The images that it lists; those whose name is lost, by digest.
        images: Vec<String>,
    },
    /// The image's entry was taken out of the index.
    EntryRemoved,
    /// It was moved out of the way.
    SetAside {
        /// Where it is now.
        to: PathBuf,
    },
    /// It got the name that belongs to it.
    Renamed {
        /// Its new place.
        to: PathBuf,
    },
    /// The layers were unpacked again from the blobs that the store keeps.
    Unpacked,
    /// It was removed.
    Removed,
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Remedy::Created => f.write_str("made again"),
            Remedy::Rewritten => f.write_str("written again"),
            Remedy::IndexRebuilt { aside, images } => {
                write!(f, "made again from the stored manifests ({} images)", images.len())?;
                match aside {
                    Some(path) => write!(f, "; the damaged one is `{}`", path.display()),
                    None => Ok(()),
                }
            }
            Remedy::EntryRemoved => f.write_str("taken out of the index"),
            Remedy::SetAside { to } => write!(f, "moved to `{}`", to.display()),
            Remedy::Renamed { to } => write!(f, "moved to where it belongs, `{}`", to.display()),
            Remedy::Unpacked => f.write_str("unpacked again from the kept blobs"),
            Remedy::Removed => f.write_str("removed"),
        }
    }
}

/// What is being looked at, for a progress display.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum FsckStep<'a> {
    /// A blob is being hashed.
    Blob {
        /// Which.
        digest: &'a Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A layer is being looked at.
    Layer {
        /// Which.
        chain: &'a ChainId,
        /// How many were looked at before it.
        done: usize,
        /// How many there are.
        of: usize,
    },
    /// So many bytes of the layer's archive have been written again.
    Bytes {
        /// Bytes of this layer so far.
        bytes: u64,
    },
    /// The store is being mended.
    Repair,
}

/// Something that hears about the progress of a check.
pub type FsckProgress<'a> = &'a dyn Fn(FsckStep<'_>);

impl Store {
    /// Looks for damage, and mends it if asked to.
    ///
    /// # Errors
    /// When the store cannot be read, or something cannot be mended because the system refuses. Damage is no error.
    pub fn fsck(&self, options: FsckOptions, progress: FsckProgress<'_>) -> Result<FsckOutcome> {
        if options.repair {
            let _lock = self.lock_exclusive()?;
            return self.fsck_repair(options, progress);
        }
        // What nobody holds at a moment when the store is at rest is stale; while others work, nobody can tell.
        let leftovers = match self.try_lock_exclusive() {
            Ok(_lock) => self.leftovers()?,
            Err(Error::InUse { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let _shared = self.lock_shared()?;
        let mut found = scan::scan(self, scan::Depth::asked(options), progress)?;
        found.problems.extend(leftovers.iter().map(Problem::leftover));
        Ok(FsckOutcome {
            remaining: found.problems.clone(),
            problems: found.problems,
            repaired: Vec::new(),
            layers: found.layers,
            blobs: found.blobs,
        })
    }

    fn fsck_repair(&self, options: FsckOptions, progress: FsckProgress<'_>) -> Result<FsckOutcome> {
        let mut outcome = FsckOutcome::default();
        for pass in 0..MAX_PASSES {
            // Content that was sound a moment ago need not be read again.
            let depth = if pass == 0 { scan::Depth::asked(options) } else { scan::Depth::Structure };
            let mut found = scan::scan(self, depth, progress)?;
            let mut leftovers = self.leftovers()?;
            found.problems.extend(leftovers.iter().map(Problem::leftover));
            if pass == 0 {
                (outcome.layers, outcome.blobs) = (found.layers, found.blobs);
            }
            for problem in &found.problems {
                if !outcome.problems.contains(problem) {
                    outcome.problems.push(problem.clone());
                }
            }
            progress(FsckStep::Repair);
            let mut repaired = repair::repair(self, &found, &mut leftovers)?;
            outcome.remaining = found.problems;
            if repaired.is_empty() {
                break;
            }
            outcome.repaired.append(&mut repaired);
        }
        self.drop_mended(&mut outcome)?;
        Ok(outcome)
    }

    /// Removes the damaged copies of layers that were unpacked again.
    fn drop_mended(&self, outcome: &mut FsckOutcome) -> Result<()> {
        for repaired in &mut outcome.repaired {
            if let (Problem::DamagedLayer { chain, .. }, Remedy::SetAside { to }) =
                (&repaired.problem, &repaired.remedy)
                && self.has_layer(chain)?
            {
                remove_tree(to)?;
                repaired.remedy = Remedy::Unpacked;
            }
        }
        Ok(())
    }
}
