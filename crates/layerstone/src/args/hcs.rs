//! `layerstone hcs`: each operation of layer storage, as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `layerstone hcs OP`.
#[derive(Debug, Args)]
pub(crate) struct Hcs {
    /// Do it with the engine that runs on every system, in place of the Host Compute Service of Windows
    #[arg(long, global = true)]
    pub(crate) portable: bool,
    #[command(subcommand)]
    pub(crate) op: HcsOp,
}

/// The parents of a layer, nearest first.
#[derive(Debug, Args)]
pub(crate) struct Chain {
    /// A parent layer; once for each, nearest first, the base layer last
    #[arg(long = "parent", value_name = "PATH")]
    pub(crate) parents: Vec<PathBuf>,
    /// A JSON list of the parents' paths, nearest first [default: layerchain.json in the layer's folder or beside it]
    #[arg(long = "chain", value_name = "FILE", conflicts_with = "parents")]
    pub(crate) file: Option<PathBuf>,
    /// There are no parents, whatever layerchain.json says
    #[arg(long, conflicts_with_all = ["parents", "file"])]
    pub(crate) base: bool,
}

/// One operation.
#[derive(Debug, Subcommand)]
pub(crate) enum HcsOp {
    /// Make a layer folder from a transport folder
    Import {
        /// The layer's folder, absent or empty
        layer: PathBuf,
        /// The transport folder
        source: PathBuf,
        #[command(flatten)]
        chain: Chain,
    },
    /// Make a layer folder from the layer's archive
    ImportArchive(Box<ImportArchive>),
    /// Write a layer, or what an attached scratch has changed, as a transport folder
    Export {
        /// The layer's folder, or with --writable the path of the scratch
        layer: PathBuf,
        /// An empty folder; it is made when it is absent
        dest: PathBuf,
        /// It is an attached scratch
        #[arg(long)]
        writable: bool,
        #[command(flatten)]
        chain: Chain,
    },
    /// Remove a layer or a scratch that is not attached
    Destroy {
        /// Its folder
        layer: PathBuf,
    },
    /// Set up the files of a base layer: one call, on disks that are there (`process-base` makes them)
    SetupBase {
        /// The layer's folder
        layer: PathBuf,
        /// For a utility VM, with this disk as its system disk: it is attached meanwhile
        #[arg(long, value_name = "VHD")]
        vm: Option<PathBuf>,
    },
    /// Set up a base layer on a mounted volume
    SetupVolume {
        /// The layer's folder
        layer: PathBuf,
        /// The volume, `\\?\Volume{...}`
        volume: PathBuf,
    },
    /// Do all that a base layer needs once: its disks, its hives, its utility VM
    ProcessBase {
        /// The layer's folder
        layer: PathBuf,
        /// Size of the disk that scratches start from
        #[arg(long, value_name = "SIZE", value_parser = size)]
        scratch_size: Option<u64>,
    },
    /// Prepare an empty writable layer
    Initialize {
        /// The volume of its disk, or the folder where scratches are folders
        layer: PathBuf,
        #[command(flatten)]
        chain: Chain,
    },
    /// Show the parents through a writable layer
    Attach {
        /// The volume of its disk, or its folder
        layer: PathBuf,
        #[command(flatten)]
        chain: Chain,
    },
    /// Undo `attach`
    Detach {
        /// The volume of its disk, or its folder
        layer: PathBuf,
    },
    /// Put partitions and an empty NTFS on a disk
    Format {
        /// The disk
        vhd: PathBuf,
    },
    /// Print the path of the volume on an attached disk
    MountPath {
        /// The disk
        vhd: PathBuf,
    },
    /// Make a virtual disk
    CreateVhd(CreateVhd),
    /// Attach a virtual disk to this host until it is detached
    AttachVhd {
        /// The disk
        vhd: PathBuf,
    },
    /// Detach a virtual disk
    DetachVhd {
        /// The disk
        vhd: PathBuf,
    },
    /// Make the disk of a scratch that is not attached larger
    Expand {
        /// The scratch's folder
        folder: PathBuf,
        /// How large: bytes, or with K, M, G or T
        #[arg(value_parser = size)]
        size: u64,
    },
    /// Print the id by which a layer is known
    Id {
        /// The layer's folder; it need not exist
        layer: PathBuf,
    },
    /// A scratch, from its disk to its mount
    #[command(subcommand)]
    Scratch(HcsScratch),
}

/// `layerstone hcs import-archive`.
#[derive(Debug, Args)]
pub(crate) struct ImportArchive {
    /// The layer's folder, absent or empty
    pub(crate) layer: PathBuf,
    /// The archive: a tar, as it is or compressed with gzip or zstd; `-` reads standard input
    #[arg(value_name = "TAR")]
    pub(crate) archive: PathBuf,
    /// A registry file to put in the place of those that the archive lacks, instead of an empty one
    #[arg(long, value_name = "FILE")]
    pub(crate) empty_hive: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) chain: Chain,
}

/// `layerstone hcs create-vhd`.
#[derive(Debug, Args)]
pub(crate) struct CreateVhd {
    /// The disk's file, which must not exist
    pub(crate) path: PathBuf,
    /// An empty disk of this size: bytes, or with K, M, G or T
    #[arg(long, value_parser = size, required_unless_present = "parent", conflicts_with = "parent")]
    pub(crate) size: Option<u64>,
    /// A disk that stores what differs from this one; neither may be moved afterwards
    #[arg(long, value_name = "VHD")]
    pub(crate) parent: Option<PathBuf>,
}

/// `layerstone hcs scratch`.
#[derive(Debug, Subcommand)]
pub(crate) enum HcsScratch {
    /// Make a scratch and attach it; it stays attached
    Create {
        /// Its folder, absent or empty
        folder: PathBuf,
        /// Its size: bytes, or with K, M, G or T
        #[arg(long, value_parser = size)]
        size: Option<u64>,
        #[command(flatten)]
        chain: Chain,
    },
    /// Detach a scratch when it is attached, and remove it
    Destroy {
        /// Its folder
        folder: PathBuf,
    },
}

/// Bytes: a number, perhaps with a unit of 1024, 1024², … bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err("a size is a number of bytes, or a number with K, M, G or T".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "a size begins with a whole number".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than 64 bits can say".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024_and_no_others() {
        for (text, bytes) in [("0", 0), ("512", 512), ("20G", 20 << 30), ("1 MiB", 1 << 20), ("3t", 3 << 40)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "20X", "20GB", "99999999T", "1é"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
