//! `pull`, `push`, `login` and `logout` as they are typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use layerstone_oci::Platform;

use super::Compression;

/// How a registry is spoken to.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Access {
    /// Speak HTTP without TLS
    #[arg(long, help_heading = "Registry")]
    pub(crate) plain_http: bool,
    /// Do not check the registry's certificate
    #[arg(long, help_heading = "Registry")]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Trust this authority too (PEM); may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    pub(crate) ca_cert: Vec<PathBuf>,
    /// Take the credentials from this file only [default: $REGISTRY_AUTH_FILE, or those of podman and docker]
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    pub(crate) authfile: Option<PathBuf>,
    /// These credentials instead of those on file; without the password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]", help_heading = "Registry")]
    pub(crate) creds: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// What to pull: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// What to call it in the store [default: its full name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Which platform, as os/arch[/variant][:os.version] [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// All platforms that there are
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    /// Keep the compressed blobs, so that a push or an export has the same manifest digest
    #[arg(long)]
    pub(crate) keep_blobs: bool,
    /// How many layers to fetch at once [default: one per processor, at least 3]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// The most bytes that one layer may inflate to
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_layer_size: Option<u64>,
    /// The most entries that one layer may have
    #[arg(long, value_name = "N")]
    pub(crate) max_layer_entries: Option<u64>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The image
    pub(crate) image: String,
    /// Where to: [REGISTRY/]REPOSITORY[:TAG] [default: the image's name]
    #[arg(value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// Which platform, where the name stands for several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// All platforms that are stored under the name, with an index
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    /// How to compress layers [default: kept blobs as they were published, others with gzip]
    #[arg(long, value_enum)]
    pub(crate) compression: Option<Compression>,
    /// The compression's level
    #[arg(long, value_name = "N")]
    pub(crate) level: Option<i32>,
    /// Send layers, too, that may not be distributed
    #[arg(long)]
    pub(crate) allow_nondistributable_artifacts: bool,
    /// How many blobs to send at once
    #[arg(short, long, value_name = "N", default_value = "4")]
    pub(crate) jobs: NonZeroUsize,
    /// Send large blobs in requests of so many bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) chunk_size: Option<u64>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The registry, or a part of it (`quay.io/organisation`) [default: docker.io]
    pub(crate) registry: Option<String>,
    /// The name
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// The password; other users of this machine may see it
    #[arg(short, long)]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    pub(crate) password_stdin: bool,
    /// Keep the credentials in this file [default: $REGISTRY_AUTH_FILE, or podman's]
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// Speak HTTP without TLS
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Do not check the registry's certificate
    #[arg(long)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Trust this authority too (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The registry, or the part of it that was logged in to [default: docker.io]
    pub(crate) registry: Option<String>,
    /// All registries
    #[arg(short, long, conflicts_with = "registry")]
    pub(crate) all: bool,
    /// Where the credentials are [default: $REGISTRY_AUTH_FILE, or podman's]
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
}
