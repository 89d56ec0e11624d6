//! A DLL in the place of three: computestorage.dll, the layer calls of vmcompute.dll, and virtdisk.dll.
//!
//! It has their C interface with its rules of ownership, so that the code that calls them is tested as it is, under Wine,
//! or on a Windows without these features. It is no part of the product. `README.md` beside this says how tests steer it.
//!
//! ```text
//! client ──► exports::*      the ABI: pointers in and out, panics stopped, handles
//!              ├─► record    each call as a line of JSON
//!              ├─► fault     calls that fail, or take long, because a test wants it
//!              ├─► memory    strings that the client has to free, and whether it did
//!              ├─► disk      virtual disks: files with a header
//!              └─► engine    what a call does
//! ```

// A C interface is what this is: every argument is a pointer from somebody else. Each block says what it relies on.
#![allow(unsafe_code)]
// It is empty elsewhere, so that the whole workspace builds there.
#![cfg(windows)]

mod code;
mod disk;
mod engine;
mod exports;
mod fault;
mod memory;
mod record;
