//! What the tests of the store share.

#![allow(dead_code, reason = "each test program uses a part of this")]

#[cfg(target_os = "linux")]
pub(crate) mod disk;
pub(crate) mod image;

/// Tells that a test could not run; with `REQUIRE_ALL=1` that is a failure.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|v| v != "1"), "SKIP {test}: {reason}");
    eprintln!("SKIP {test}: {reason}");
}
