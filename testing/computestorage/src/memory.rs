//! Strings that the client has to free, and whether it did.
//!
//! `HcsGetLayerVhdMountPath` gives a string of `LocalAlloc`, and the client owes a `LocalFree`. Nothing tells the stand-in
//! when that happens, and a heap must not be asked about blocks that it does not have any more. But a block as large as
//! these lies in pages of its own, which go when it is freed: then what is read there, with a call that only fails where
//! nothing is, are not the bytes that were written. Others may get the same pages later; therefore each block carries a
//! number behind its NUL that no other has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Memory::{LMEM_FIXED, LocalAlloc};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Above what heaps keep among their small blocks: 1 MiB on Windows, half of that under Wine.
const BLOCK: usize = 4 << 20;

/// Nothing else begins with this by chance.
const MARK: u64 = 0x5374_616e_6469_6e21;

#[derive(Debug)]
struct Given {
    address: usize,
    /// Byte at which the mark and the number are.
    tail: usize,
    number: u64,
}

static GIVEN: Mutex<Vec<Given>> = Mutex::new(Vec::new());
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A string for the client, with its NUL. Null when there is no memory.
pub(crate) fn give(text: &[u16]) -> *mut u16 {
    let tail = (text.len() + 1) * 2;
    let size = BLOCK.max(tail + 16);
    // SAFETY: a fixed block of that size; nothing is passed in.
    let block = unsafe { LocalAlloc(LMEM_FIXED, size) }.cast::<u8>();
    if block.is_null() {
        return std::ptr::null_mut();
    }
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let mut bytes = Vec::with_capacity(tail + 16);
    bytes.extend(text.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend([0; 2]);
    bytes.extend(MARK.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    // SAFETY: the block is no smaller than `bytes`, and nobody else knows it yet.
    unsafe { block.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given.push(Given { address: block.expose_provenance(), tail, number });
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
    let mut found = [0u8; 16];
    let mut read = 0;
    // SAFETY: the buffer is as large as is said. The address may be anything: the system looks before it reads.
    let done = unsafe {
        ReadProcessMemory(
            GetCurrentProcess(),
            std::ptr::without_provenance(given.address + given.tail),
            found.as_mut_ptr().cast(),
            found.len(),
            &mut read,
        )
    };
    done != 0
        && read == found.len()
        && found[..8] == MARK.to_le_bytes()
        && found[8..] == given.number.to_le_bytes()
}
