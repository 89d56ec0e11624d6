//! Every bound on what a registry, a token service or a configuration file may make this crate read, wait for or repeat.

use std::time::Duration;

/// Largest answer of a token service: 1 MiB. Tokens are some kilobytes.
pub const MAX_TOKEN_RESPONSE: u64 = 1 << 20;

/// Largest body of an error that is read for its messages: 64 KiB.
pub const MAX_ERROR_BODY: u64 = 64 << 10;

/// Largest configuration or credentials file: 4 MiB.
pub const MAX_CONFIG_FILE: u64 = 4 << 20;

/// Largest answer of a credential helper: 1 MiB.
pub const MAX_HELPER_OUTPUT: u64 = 1 << 20;

/// Longest reference, registry and repository together, tag and digest not counted: 255 characters, as the
/// [reference grammar](https://github.com/distribution/reference/blob/main/reference.go) of Docker has it.
pub const MAX_NAME: usize = 255;

/// Longest tag: 128 characters
/// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests)).
pub const MAX_TAG: usize = 128;

/// Most challenges that are looked at in one answer, and parameters in one challenge.
pub const MAX_CHALLENGES: usize = 16;

/// Most redirects that are followed from one request.
pub const MAX_REDIRECTS: usize = 5;

/// Most times that credentials are sent anew within one request: with the token at hand, with a new one.
pub const MAX_AUTHORIZATIONS: usize = 2;

/// Most pages of a list of referrers, and most entries in all of them.
pub const MAX_PAGES: usize = 64;

/// Most referrers of one manifest that are listed.
pub const MAX_REFERRERS: usize = 16_384;

/// Most connections for one blob, however much progress each makes.
pub const MAX_RECONNECTS: u32 = 1000;

/// Bytes that a blob's connection has to bring for failures before it to be forgotten: 64 KiB.
pub const PROGRESS: u64 = 64 << 10;

/// Longest `Retry-After` that is waited for; a registry that asks for more gets an error that says so.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Tokens live at least this long, whatever `expires_in` says
/// ([token specification](https://distribution.github.io/distribution/spec/auth/token/)).
pub const MIN_TOKEN_LIFE: Duration = Duration::from_secs(60);
