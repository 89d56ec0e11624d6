//! Registry hives: real ones of other projects, damaged ones, logs, stacks, and those that this crate writes.

mod support;

mod counts;
