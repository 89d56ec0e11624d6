//! A DLL in the place of four: computestorage.dll, the layer calls of vmcompute.dll, virtdisk.dll, and computecore.dll.
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
//!              ├─► compute   systems and their processes
//!              └─► engine    what a call on layers does
//! ```

// A C interface is what this is: every argument is a pointer from somebody else. Each block says what it relies on.
#![allow(unsafe_code)]
// It is empty elsewhere, so that the whole workspace builds there.
#![cfg(windows)]

mod code;
mod compute;
mod disk;
mod engine;
mod exports;
mod fault;
mod memory;
mod record;
