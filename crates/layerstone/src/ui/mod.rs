//! How things are shown: tables, sizes, times, progress.

pub(crate) mod layers;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod text;
