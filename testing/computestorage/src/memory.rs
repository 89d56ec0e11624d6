//! Strings that the client has to free, and whether it did.
//!
//! `HcsGetLayerVhdMountPath` gives a string of `LocalAlloc`, and the client owes a `LocalFree`. Nothing tells the stand-in
//! when that happens, but the process heap, from which `LocalAlloc(LMEM_FIXED)` takes its blocks, can be asked whether a
//! block is there. Another block may have taken the place of a freed one; therefore each of ours carries a number behind its
//! NUL that no other has, and only a block that still has it counts as alive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::System::Memory::{
    GetProcessHeap, HeapLock, HeapSize, HeapUnlock, HeapValidate, LMEM_FIXED, LocalAlloc,
};

/// Nothing else begins with this by chance.
const MARK: u64 = 0x5374_616e_6469_6e21;

#[derive(Debug)]
struct Given {
    address: usize,
    /// Bytes of the whole block.
    size: usize,
    number: u64,
}

static GIVEN: Mutex<Vec<Given>> = Mutex::new(Vec::new());
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A string for the client, with its NUL. Null when there is no memory.
pub(crate) fn give(text: &[u16]) -> *mut u16 {
    let string = (text.len() + 1) * 2;
    let size = string + 16;
    // SAFETY: a fixed block of that size; nothing is passed in.
    let block = unsafe { LocalAlloc(LMEM_FIXED, size) }.cast::<u8>();
    if block.is_null() {
        return std::ptr::null_mut();
    }
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(text.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend([0; 2]);
    bytes.extend(MARK.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    // SAFETY: the block is `size` bytes large, as is `bytes`, and nobody else knows it yet.
    unsafe { block.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given.push(Given { address: block.expose_provenance(), size, number });
    // A block of the heap is aligned for anything.
    block.cast()
}

/// How many of the strings given to the client it has not freed yet.
pub(crate) fn live() -> usize {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given.retain(is_alive);
    given.len()
}

fn is_alive(given: &Given) -> bool {
    let block: *const u8 = std::ptr::with_exposed_provenance(given.address);
    // SAFETY: the process heap is there as long as the process.
    let heap = unsafe { GetProcessHeap() };
    // SAFETY: it is a heap with a lock, which is given back below. Nobody frees or takes a block meanwhile.
    if unsafe { HeapLock(heap) } == 0 {
        return true;
    }
    // SAFETY: asks whether there is a block at that address; the address itself may be anything.
    let mut alive = unsafe { HeapValidate(heap, 0, block.cast()) } != 0;
    // SAFETY: there is such a block, and the lock keeps it.
    alive = alive && unsafe { HeapSize(heap, 0, block.cast()) } >= given.size;
    if alive {
        let mut tail = [0u8; 16];
        // SAFETY: the block has at least `size` bytes, and these are the last 16 of them. It may be somebody else's by now, who
        // may be writing to it: then what is read is anything, which is all right for bytes that are only compared.
        unsafe { block.add(given.size - 16).copy_to_nonoverlapping(tail.as_mut_ptr(), 16) };
        alive = tail[..8] == MARK.to_le_bytes() && tail[8..] == given.number.to_le_bytes();
    }
    // SAFETY: locked above.
    unsafe { HeapUnlock(heap) };
    alive
}
