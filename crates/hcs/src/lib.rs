//! The Host Compute Service's layer storage.
//!
//! What is here on every system: the JSON documents ([`schema`]), chains of parent layers ([`LayerChain`]), and what the
//! service's codes mean ([`HResult`]). The calls themselves exist on Windows only.

#![deny(unsafe_code)]

mod chain;
mod error;
mod hresult;
pub mod schema;

pub use chain::{LayerChain, Parent};
pub use error::{Error, ErrorKind, Result};
pub use hresult::HResult;
pub use schema::{
    Document, ExportLayerOptions, FilterType, LayerData, OsLayerOptions, OsLayerType, RawDocument,
    WritableLayerOptions,
};
pub use uuid::Uuid as Guid;
