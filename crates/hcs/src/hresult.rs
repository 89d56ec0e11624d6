//! The codes that the service returns.

use std::fmt;

use crate::error::ErrorKind;

/// An `HRESULT`: negative means failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HResult(pub u32);

impl HResult {
    /// `S_OK`.
    pub const OK: Self = HResult(0);

    /// A code of Win32 (`GetLastError`) as an HRESULT.
    pub const fn from_win32(code: u32) -> Self {
        if code == 0 { Self::OK } else { HResult(0x8007_0000 | code & 0xFFFF) }
    }

    /// The Win32 code that it carries.
    pub const fn win32(self) -> Option<u32> {
        if self.0 & 0x1FFF_0000 == 0x0007_0000 && self.0 & 0x8000_0000 != 0 {
            Some(self.0 & 0xFFFF)
        } else {
            None
        }
    }

    /// Success, `S_FALSE` included.
    pub const fn is_success(self) -> bool {
        self.0 & 0x8000_0000 == 0
    }

    /// What sort of failure it is.
    pub fn kind(self) -> ErrorKind {
        match (self.win32(), self.0) {
            (Some(2 | 3), _) => ErrorKind::NotFound,
            (Some(80 | 183), _) => ErrorKind::AlreadyExists,
            (Some(32 | 33 | 170), _) => ErrorKind::InUse,
            (Some(5), _) => ErrorKind::AccessDenied,
            (Some(87), _) => ErrorKind::InvalidArgument,
            (Some(50 | 120 | 126 | 127), _) | (None, 0x8000_4001) => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

impl fmt::Display for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Debug for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
