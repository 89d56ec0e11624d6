//! The command line as it is typed. What each verb does is in [`crate::cmd`].

pub(crate) mod container;
pub(crate) mod hcs;
pub(crate) mod registry;

use std::path::PathBuf;

use clap::{
    ArgMatches, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};
use layerstone_oci::Platform;

/// Stores, proves, mounts, edits and ships container image layers, Windows layers included.
#[derive(Debug, Parser)]
#[command(name = "layerstone", version, propagate_version = true, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags of every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The store [default: /var/lib/layerstone as root, else $XDG_DATA_HOME/layerstone, on Windows %LOCALAPPDATA%]
    #[arg(long, global = true, env = "LAYERSTONE_ROOT", value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no remarks
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice for even more
    #[arg(long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// `-v` for `--verbose`, wherever it does not mean something else: of `run` and `create`, it is a volume, as everybody knows it.
const SHORT_VERBOSE: &str = "v";

fn with_short_verbose(command: Command) -> Command {
    let argument = clap::Arg::new(SHORT_VERBOSE).short('v').action(clap::ArgAction::Count).hide(true);
    let is_taken = command.get_arguments().any(|argument| argument.get_short() == Some('v'));
    let command = if is_taken { command } else { command.arg(argument) };
    command.mut_subcommands(with_short_verbose)
}

fn short_verbose(matches: &ArgMatches) -> u8 {
    let own = matches.try_get_one::<u8>(SHORT_VERBOSE).ok().flatten().copied().unwrap_or(0);
    own.saturating_add(matches.subcommand().map_or(0, |(_, matches)| short_verbose(matches)))
}

impl Cli {
    /// Everything that can be typed.
    pub(crate) fn whole_command() -> Command {
        with_short_verbose(Self::command())
    }

    /// Reads the command line; ends the process when it is wrong, or asks for help.
    pub(crate) fn read() -> Self {
        let matches = Self::whole_command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.global.verbose = cli.global.verbose.saturating_add(short_verbose(&matches));
        cli
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Do the main job on samples that are in the program: import, verify, change, commit, export
    Demo(Demo),
    /// Import an image: OCI layout, OCI archive or docker archive, `-` for standard input
    Import(Import),
    /// Write an image out
    Export(Export),
    /// Fetch an image from a registry
    Pull(Box<registry::Pull>),
    /// Send an image to a registry
    Push(Box<registry::Push>),
    /// Keep the credentials for a registry
    Login(Box<registry::Login>),
    /// Forget the credentials for a registry
    Logout(registry::Logout),
    /// List the images
    Images,
    /// List the stored layers
    Layers,
    /// Show an image, layer, scratch or container in full
    Inspect(Box<Inspect>),
    /// Show the files of an image (merged) or of one layer
    Tree(Tree),
    /// Print a file of an image; `PATH:STREAM` for an alternate data stream
    Cat(Cat),
    /// Show what differs between two images, or what a scratch has changed
    Diff(Diff),
    /// Prove that what is stored is what was published
    Verify(Verify),
    /// Write the merged tree of an image as plain files
    Unpack(Unpack),
    /// Writable layers
    #[command(subcommand)]
    Scratch(ScratchVerb),
    /// Attach an image (read-only) or a scratch (writable) to a directory
    Mount(Mount),
    /// Detach what `mount` attached
    Umount(Umount),
    /// Make the changes of a scratch a layer, and a new image
    Commit(Commit),
    /// Remove images (`gc` then frees what they took)
    Rmi(Rmi),
    /// Free what no image and no scratch needs
    Gc(Gc),
    /// Show what the store takes on disk
    Df,
    /// Check the whole store
    Fsck(Fsck),
    /// Show what this host can do, and what is missing
    Doctor,
    #[command(flatten)]
    Container(container::ContainerVerb),
    /// Do one operation of Windows layer storage by itself, for debugging
    Hcs(hcs::Hcs),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the manual pages to a directory
    Man(Man),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the store and everything else in DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// An OCI layout directory, an OCI archive or a docker archive; `-` reads an archive from standard input
    #[arg(value_name = "SRC")]
    pub(crate) source: PathBuf,
    /// Which image of the source, where it has several
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// What to call it in the store [default: its name in the source]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Which platform, as os/arch[/variant][:os.version]; of Windows also the name of a release: windows/amd64:ltsc2022
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Keep the compressed blobs, so that an export has the same manifest digest
    #[arg(long)]
    pub(crate) keep_blobs: bool,
    /// How many layers to unpack at once [default: one per processor]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroUsize>,
    /// The most bytes that one layer may inflate to
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_layer_size: Option<u64>,
    /// The most entries that one layer may have
    #[arg(long, value_name = "N")]
    pub(crate) max_layer_entries: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// A directory
    Oci,
    /// A tar of such a directory
    OciArchive,
    /// What `docker load` reads
    DockerArchive,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Compression {
    /// gzip, with all processors
    Gzip,
    /// Zstandard
    Zstd,
    /// As it is
    None,
}

impl Compression {
    /// What layers are compressed with when none is named: what every tool reads.
    pub(crate) fn or_gzip(named: Option<Self>) -> layerstone_oci::Compression {
        match named {
            None | Some(Self::Gzip) => layerstone_oci::Compression::Gzip,
            Some(Self::Zstd) => layerstone_oci::Compression::Zstd,
            Some(Self::None) => layerstone_oci::Compression::None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The image
    pub(crate) image: String,
    /// Where to; `-` writes an archive to standard output
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
    /// What to write [default: by DEST: an archive for `-` and names that end in .tar, else a layout directory]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// How to compress the layers [default: kept blobs as they were published, others with gzip]
    #[arg(long, value_enum)]
    pub(crate) compression: Option<Compression>,
    /// The compression's level
    #[arg(long, value_name = "N")]
    pub(crate) level: Option<i32>,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Name or id of an image, id of a layer, name of a scratch or of an artifact, name or id of a container; with --remote or
    /// --referrers a name in a registry
    pub(crate) object: String,
    /// Show what a registry has, without pulling it
    #[arg(long)]
    pub(crate) remote: bool,
    /// List what refers to it in its registry: signatures, attestations, SBOMs
    #[arg(long)]
    pub(crate) referrers: bool,
    #[command(flatten)]
    pub(crate) registry: registry::Access,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// An image, a layer (its own entries only) or a scratch
    pub(crate) object: String,
    /// Where to start
    pub(crate) path: Option<String>,
    /// Show mode or Windows attributes, owner, size, time and the layer that an entry comes from
    #[arg(short, long)]
    pub(crate) long: bool,
    /// How deep to go
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<usize>,
    /// Show the Windows registry from KEY down, as all layers together make it; of a layer, its own changes.
    /// KEY is a path like `HKLM\SOFTWARE\Microsoft`; `HKLM` alone shows all hives
    #[arg(long, value_name = "KEY", conflicts_with = "path")]
    pub(crate) registry: Option<String>,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// An image or scratch
    pub(crate) object: String,
    /// Which file; Windows paths are understood for Windows images. With --registry, the name of a value; that without a
    /// name is taken when there is none
    #[arg(required_unless_present = "registry")]
    pub(crate) path: Option<String>,
    /// Print a value of this key of the Windows registry: text as UTF-8, numbers in decimal, anything else as its bytes
    #[arg(long, value_name = "KEY")]
    pub(crate) registry: Option<String>,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// An image, or a scratch when it stands alone
    pub(crate) a: String,
    /// The image to compare with
    pub(crate) b: Option<String>,
    /// Which platform, where a name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// An image or layer [default: everything]
    pub(crate) object: Option<String>,
    /// Everything
    #[arg(long, conflicts_with = "object")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Unpack {
    /// The image
    pub(crate) image: String,
    /// A directory that is new or empty
    pub(crate) dir: PathBuf,
    /// Of a Windows image, unpack Files/, Hives/ and UtilityVM/ instead of what is C:\
    #[arg(long)]
    pub(crate) raw: bool,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScratchVerb {
    /// Make a writable layer over an image
    Create(Box<ScratchCreate>),
    /// Remove writable layers, and what was written to them
    Rm {
        /// Which
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// List them
    Ls,
}

#[derive(Debug, Args)]
pub(crate) struct ScratchCreate {
    /// What to call it
    pub(crate) name: String,
    /// The image below
    pub(crate) image: String,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Mount {
    /// An image or scratch
    pub(crate) object: String,
    /// Where to
    pub(crate) dir: PathBuf,
    /// Of a Windows image, show Files/, Hives/ and UtilityVM/ instead of what is C:\
    #[arg(long)]
    pub(crate) raw: bool,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// Where it is attached
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The scratch
    pub(crate) scratch: String,
    /// What to call the new image
    pub(crate) name: String,
    /// Who made it
    #[arg(long)]
    pub(crate) author: Option<String>,
    /// What it is for
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// Creation time, RFC 3339 [default: $SOURCE_DATE_EPOCH or now]
    #[arg(long, value_name = "TIME")]
    pub(crate) created: Option<String>,
    /// Store the new layer's compressed blob too
    #[arg(long)]
    pub(crate) keep_blobs: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Which images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Also when a scratch lies over it
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be freed
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Mend what can be mended, set aside what cannot
    #[arg(long)]
    pub(crate) repair: bool,
    /// Do not read the contents of the layers
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// For which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write them
    pub(crate) dir: PathBuf,
}
