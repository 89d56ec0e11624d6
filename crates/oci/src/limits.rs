//! Every bound that this crate puts on its input, in one place, each with where it comes from.

/// Largest manifest that is read: 4 MiB.
///
/// The [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests)
/// asks registries to take manifests of at least 4 MiB, and the common registries take no more.
pub const MAX_MANIFEST_SIZE: u64 = 4 << 20;

/// Largest image index that is read, `index.json` of a layout included: 8 MiB.
///
/// An index in a registry is a manifest and has the 4 MiB bound; a layout's `index.json` grows with the number of
/// images that are kept, so it gets twice that (some 20,000 images).
pub const MAX_INDEX_SIZE: u64 = 8 << 20;

/// Largest image configuration that is read: 8 MiB.
///
/// No specification bounds it; containerd and containers/image read configurations of up to 4 and 8 MiB respectively.
pub const MAX_CONFIG_SIZE: u64 = 8 << 20;

/// Largest `manifest.json` of a docker archive: 8 MiB, the same as an index, which it stands for.
pub const MAX_DOCKER_MANIFEST_SIZE: u64 = 8 << 20;

/// Most layers in one image: 4,096. Docker stops at 127 and overlayfs at 500; more is a mistake or an attack.
pub const MAX_LAYERS: usize = 4096;

/// Deepest nesting of an index in an index. The
/// [image specification](https://github.com/opencontainers/image-spec/blob/main/image-index.md) allows nesting and
/// sets no bound; tools produce one level below `index.json`.
pub const MAX_INDEX_DEPTH: usize = 4;

/// Most manifests that are looked at below one `index.json`, all nested indexes counted.
pub const MAX_INDEX_MANIFESTS: usize = 16_384;

/// Most entries in an image archive. The largest archives have a handful of entries per layer.
pub const MAX_ARCHIVE_ENTRIES: usize = 1 << 18;

/// Most bytes of names and link targets that are kept for one archive: 32 MiB, above 100 bytes for each entry.
pub const MAX_ARCHIVE_NAME_BYTES: usize = 32 << 20;

/// Largest PAX or GNU extended header in an image archive: 1 MiB. Their content is a name or a few numbers.
pub const MAX_ARCHIVE_EXTENSION_SIZE: u64 = 1 << 20;

/// Most links that are followed from one name in a docker archive: 40, as Linux does for paths (`path_resolution(7)`).
pub const MAX_ARCHIVE_LINKS: usize = 40;
