//! Whole images: written, then read back by this crate, by `fsck.erofs` and by the kernel.

mod damage;
#[cfg(target_os = "linux")]
mod linux;
mod model;
mod random;
mod round_trip;
mod rules;

/// Says that a test could not run. With `REQUIRE_ALL=1` that is a failure.
#[cfg(target_os = "linux")]
fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|v| v != "1"), "{test} must run, but: {reason}");
    eprintln!("SKIP {test}: {reason}");
}
