//! The C interface, and nothing else: each function notes its arguments, lets a test make it fail, and hands them on.
//!
//! All of them may be called from any thread, and none of them unwinds into the client.

mod computecore;
mod computestorage;
mod control;
mod virtdisk;
mod vmcompute;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::code::Code;
use crate::fault;
use crate::record::{Call, Text};

/// Runs the body of an exported function. A panic is told as `E_UNEXPECTED`.
fn answer(function: &'static str, body: impl FnOnce(&mut Call) -> Result<(), Code>) -> Code {
    let running = fault::enter(function);
    let mut call = Call::new(function);
    let code = match catch_unwind(AssertUnwindSafe(|| body(&mut call))) {
        Ok(Ok(())) => Code::OK,
        Ok(Err(code)) => code,
        Err(_) => Code::UNEXPECTED,
    };
    // The note is complete when the client goes on; to write it may fail as well as the call itself.
    let noted = catch_unwind(AssertUnwindSafe(|| call.end(code)));
    drop(running);
    if noted.is_err() { Code::UNEXPECTED } else { code }
}

/// The same for a function that returns an `HRESULT`.
fn hresult(
    function: &'static str,
    body: impl FnOnce(&mut Call) -> Result<(), Code>,
) -> windows_sys::core::HRESULT {
    answer(function, body).0.cast_signed()
}

/// An argument that must not be null.
fn needed(text: Option<Text>) -> Result<Text, Code> {
    text.ok_or(Code::POINTER)
}

/// A document that must be there.
fn document(text: Option<Text>) -> Result<String, Code> {
    needed(text)?.document()
}

/// A document that may be left out.
fn optional(text: Option<Text>) -> Result<Option<String>, Code> {
    text.map(|text| text.document()).transpose()
}
