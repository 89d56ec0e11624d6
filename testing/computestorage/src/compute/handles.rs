//! The handles of a client: numbers that stand for what is behind them.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::operation::Operation;
use super::process::Process;
use super::system::System;
use crate::code::Code;

#[derive(Debug, Clone)]
pub(crate) enum Object {
    Operation(Arc<Operation>),
    System(Arc<System>),
    Process(Arc<Process>),
}

#[derive(Debug)]
struct Table {
    objects: HashMap<usize, Object>,
    next: usize,
}

static TABLE: LazyLock<Mutex<Table>> =
    LazyLock::new(|| Mutex::new(Table { objects: HashMap::new(), next: 0x1000 }));

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle for the client. No number is given twice, so that one that was closed is seen to be that.
pub(crate) fn give(object: Object) -> *mut c_void {
    let mut table = table();
    let handle = table.next;
    table.next += 0x10;
    table.objects.insert(handle, object);
    std::ptr::without_provenance_mut(handle)
}

fn find(handle: *mut c_void) -> Result<Object, Code> {
    table().objects.get(&handle.addr()).cloned().ok_or(Code::HANDLE)
}

pub(crate) fn operation(handle: *mut c_void) -> Result<Arc<Operation>, Code> {
    if let Object::Operation(operation) = find(handle)? { Ok(operation) } else { Err(Code::HANDLE) }
}

pub(crate) fn system(handle: *mut c_void) -> Result<Arc<System>, Code> {
    if let Object::System(system) = find(handle)? { Ok(system) } else { Err(Code::HANDLE) }
}

pub(crate) fn process(handle: *mut c_void) -> Result<Arc<Process>, Code> {
    if let Object::Process(process) = find(handle)? { Ok(process) } else { Err(Code::HANDLE) }
}

/// What was behind the handle lives on for as long as an operation works with it.
pub(crate) fn close(handle: *mut c_void) -> Result<(), Code> {
    // What closing it leads to must not happen under the lock.
    let object = table().objects.remove(&handle.addr());
    object.map(drop).ok_or(Code::HANDLE)
}

/// How many handles the client has not closed.
pub(crate) fn live() -> usize {
    table().objects.len()
}
