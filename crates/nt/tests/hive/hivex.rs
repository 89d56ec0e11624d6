//! hivex, an independent reader of hives.
