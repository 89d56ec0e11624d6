//! Loop devices, for kernels that cannot mount an image file as it is (before Linux 6.12, or built without it).
//!
//! The only unsafe code of this crate: two ioctls that no safe interface has ([loop(4)], `linux/loop.h`).
//!
//! [loop(4)]: https://man7.org/linux/man-pages/man4/loop.4.html

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};

pub(super) const CONTROL: &str = "/dev/loop-control";

const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
/// Since Linux 5.8: sets everything at once, so that no half-configured device is ever seen.
const LOOP_CONFIGURE: Opcode = 0x4C0A;

const LO_FLAGS_READ_ONLY: u32 = 1;
/// The device is free again when its last user has closed it, however that user ends.
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// Pages are kept once, by EROFS, and not a second time for the file below. Ignored where it is not possible.
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// How often another process may be faster at taking a free device.
const ATTEMPTS: u32 = 64;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

struct GetFree;

// SAFETY: LOOP_CTL_GET_FREE takes no argument (the kernel ignores it) and returns the number of a device; it touches
// no memory of the caller.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        u32::try_from(out).map_err(|_| Errno::RANGE)
    }
}

struct Configure(LoopConfig);

// SAFETY: LOOP_CONFIGURE reads one `struct loop_config` through its argument and writes nothing back; `as_ptr` points
// to one that lives as long as `self`, with the size and layout of the kernel's (asserted above).
unsafe impl Ioctl for Configure {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CONFIGURE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

fn free_device(control: BorrowedFd<'_>) -> rustix::io::Result<u32> {
    // SAFETY: the request and its (absent) argument fit, see the implementation of `Ioctl`. On a file that is not the
    // loop control device the number is unknown or means something that takes no argument's memory either.
    unsafe { ioctl::ioctl(control, GetFree) }
}

fn configure(device: BorrowedFd<'_>, config: LoopConfig) -> rustix::io::Result<()> {
    // SAFETY: the argument is a valid `struct loop_config`, which the kernel copies; the file descriptor in it is open
    // during the call, as the caller holds the file.
    unsafe { ioctl::ioctl(device, Configure(config)) }
}

/// A loop device that shows an image file, read-only. It frees itself when it is neither open nor mounted any more.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: PathBuf,
    /// Keeps the device until it is mounted.
    _open: std::os::fd::OwnedFd,
}

impl LoopDevice {
    /// Takes a free device for `image`.
    pub(super) fn new(image: &Path) -> std::io::Result<Self> {
        use std::os::fd::AsFd as _;
        let file = File::open(image)?;
        let control = open(CONTROL, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let fd = u32::try_from(file.as_raw_fd()).map_err(|_| Errno::BADF)?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let path = PathBuf::from(format!("/dev/loop{}", free_device(control.as_fd())?));
            let device = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let info = LoopInfo {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            };
            let config = LoopConfig { fd, block_size: 0, info, reserved: [0; 8] };
            match configure(device.as_fd(), config) {
                Ok(()) => return Ok(LoopDevice { path, _open: device }),
                // Another process was faster.
                Err(Errno::BUSY) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The device's own file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
