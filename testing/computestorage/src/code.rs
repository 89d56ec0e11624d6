//! The codes that calls end with.

use std::io;

/// What a call gives back, as an `HRESULT`. A failure that began as an error of Win32 is 0x8007xxxx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const OK: Self = Code(0);
    /// `E_UNEXPECTED`: a fault of the stand-in itself.
    pub(crate) const UNEXPECTED: Self = Code(0x8000_FFFF);
    /// `E_POINTER`
    pub(crate) const POINTER: Self = Code(0x8000_4003);
    /// `E_HANDLE`
    pub(crate) const HANDLE: Self = Code(0x8007_0006);
    /// `HCS_E_INVALID_STATE`
    pub(crate) const INVALID_STATE: Self = Code(0x8037_0105);
    /// `HCS_E_SYSTEM_NOT_FOUND`
    pub(crate) const SYSTEM_NOT_FOUND: Self = Code(0x8037_010E);
    /// `HCS_E_SYSTEM_ALREADY_EXISTS`
    pub(crate) const SYSTEM_ALREADY_EXISTS: Self = Code(0x8037_010F);
    /// `HCS_E_SYSTEM_ALREADY_STOPPED`
    pub(crate) const SYSTEM_ALREADY_STOPPED: Self = Code(0x8037_0110);
    /// `HCS_E_OPERATION_NOT_STARTED`
    pub(crate) const OPERATION_NOT_STARTED: Self = Code(0x8037_0115);
    /// `HCS_E_OPERATION_ALREADY_STARTED`
    pub(crate) const OPERATION_ALREADY_STARTED: Self = Code(0x8037_0116);
    /// `HCS_E_OPERATION_TIMEOUT`
    pub(crate) const OPERATION_TIMEOUT: Self = Code(0x8037_0118);
    /// `HCS_E_PROCESS_ALREADY_STOPPED`
    pub(crate) const PROCESS_ALREADY_STOPPED: Self = Code(0x8037_011F);
    /// `HCS_E_SYSTEM_NOT_CONFIGURED_FOR_OPERATION`
    pub(crate) const SYSTEM_NOT_CONFIGURED: Self = Code(0x8037_0120);
    /// `HCS_E_INVALID_JSON`
    pub(crate) const INVALID_JSON: Self = Code(0x8037_010D);
    pub(crate) const INVALID_HANDLE: Self = Code::win32(6);
    pub(crate) const OUT_OF_MEMORY: Self = Code::win32(14);
    pub(crate) const SHARING_VIOLATION: Self = Code::win32(32);
    pub(crate) const INVALID_PARAMETER: Self = Code::win32(87);
    pub(crate) const INSUFFICIENT_BUFFER: Self = Code::win32(122);
    pub(crate) const NOT_FOUND: Self = Code::win32(1168);
    pub(crate) const VIRTDISK_NOT_VIRTUAL_DISK: Self = Code(0xC03A_0015);

    /// A code of Win32.
    pub(crate) const fn win32(code: u32) -> Self {
        Code(0x8007_0000 | code)
    }

    /// As the functions of virtdisk.dll return it, which know no other codes than those of Win32.
    pub(crate) const fn as_win32(self) -> u32 {
        if self.0 & 0xFFFF_0000 == 0x8007_0000 { self.0 & 0xFFFF } else { self.0 }
    }
}

impl From<io::Error> for Code {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Code::win32(code.cast_unsigned() & 0xFFFF),
            None => Code::UNEXPECTED,
        }
    }
}
