//! The codes that the service returns.

use std::fmt;

use crate::catalogue::{self, Known};
use crate::error::ErrorKind;

/// An `HRESULT`: negative means failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HResult(pub u32);

impl HResult {
    /// `S_OK`.
    pub const OK: Self = HResult(0);
    /// `S_FALSE`: done, there was nothing to do. A success.
    pub const FALSE: Self = HResult(1);
    /// `ERROR_SHARING_VIOLATION`: somebody has it open.
    pub const SHARING_VIOLATION: Self = Self::from_win32(32);
    /// `ERROR_NOT_READY`: the disk has not arrived yet.
    pub const NOT_READY: Self = Self::from_win32(21);
    /// `ERROR_DEVICE_NOT_CONNECTED`: the disk has not arrived yet.
    pub const DEVICE_NOT_CONNECTED: Self = Self::from_win32(1167);
    /// `ERROR_FLT_DO_NOT_DETACH`: the filter is still in use.
    pub const DO_NOT_DETACH: Self = HResult(0x801F_0010);

    /// A code of Win32 (`GetLastError`) as an HRESULT. Codes that are HRESULTs already, as those of virtual disks
    /// (`0xC03Axxxx`), stay as they are: the rule of `HRESULT_FROM_WIN32`.
    pub const fn from_win32(code: u32) -> Self {
        if code == 0 || code & 0x8000_0000 != 0 {
            HResult(code)
        } else {
            HResult(0x8007_0000 | code & 0xFFFF)
        }
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

    /// The one spelling of a code that has two: vmcompute.dll returns `0xC037xxxx` where computestorage.dll has
    /// `0x8037xxxx`, and `0xC007xxxx` is Win32 as `0x8007xxxx` is.
    #[must_use]
    pub const fn canonical(self) -> Self {
        match self.0 & 0xFFFF_0000 {
            0xC007_0000 | 0xC037_0000 => HResult(self.0 & !0x4000_0000),
            _ => self,
        }
    }

    /// What is known about the code.
    pub fn known(self) -> Option<&'static Known> {
        catalogue::find(self)
    }

    /// What sort of failure it is. Codes that the [catalogue] does not have are [`ErrorKind::Other`].
    pub fn kind(self) -> ErrorKind {
        self.known().map_or(ErrorKind::Other, |known| known.kind)
    }
}

impl fmt::Display for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)?;
        match (self.known(), self.win32()) {
            (Some(known), _) => write!(f, " {} ({})", known.name, known.text),
            (None, Some(code)) => write!(f, " (error {code} of Win32)"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}
