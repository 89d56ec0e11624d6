//! Registry hives: real ones of other projects, damaged ones, logs, stacks, and those that this crate writes.

mod support;

#[cfg(unix)]
mod cfreds;
mod check;
#[cfg(unix)]
mod hivex;
mod layers;
mod logs;
mod names;
mod samples;
mod values;
mod write;
